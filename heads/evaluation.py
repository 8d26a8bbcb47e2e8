"""Fit a head on stores, and say how well it does on galaxies that chose nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from sklearn.base import clone

from embeddings.errors import HeadError
from embeddings.provenance import Space
from embeddings.questions import Question
from embeddings.runs import PARTS
from embeddings.store import EmbeddingStore
from heads.base import Array, Head
from heads.io import FittedHead, make_head
from heads.metrics import METRICS, count, is_binary, leading_accuracy, score_pooled
from heads.splits import OUTSIDE, cut_folds
from heads.training import Labels, TrainingSet, gather_training_set, require_one_model


def fit_head(
    stores: EmbeddingStore | Sequence[EmbeddingStore],
    head: str | Head = "ridge",
    labels: Labels | None = None,
    targets: Sequence[str] = (),
    min_votes: int = 0,
    spaces: Sequence[Space] | None = None,
    n_folds: int = 5,
    random_state: int = 0,
    weight_by_votes: bool = False,
    seen: bool = False,
) -> FittedHead:
    """
    Fit a head on all labelled galaxies, and score it by nested cross-validation.

    Every choice (layer, pooling, penalty, number of neighbours) is made anew inside each outer fold's training
    galaxies, so the scores come from galaxies that chose nothing. Folds keep sky objects whole.

    Where a fine-tuning run trained the backbone on some of the galaxies, the run's own split takes the place of all
    folds: fitted on its training galaxies, chosen on its validation galaxies, scored on its test galaxies.

    Parameters
    ----------
    stores : EmbeddingStore or sequence of EmbeddingStore
        One or more surveys of equal space ids.
    head : str or Head
        A name of `heads.io.HEADS`, or an unfitted head; it stays as it is, a copy gets the questions.
    labels : Labels, optional
        Instead of the stores' own.
    targets : sequence of str
        Globs over target names.
    min_votes : int
        Questions that fewer volunteers answered count as not asked.
    spaces : sequence of Space, optional
        To choose from; by default every layer and pooling that all stores hold, and where a layer has both,
        CLS and patch mean side by side.
    n_folds : int
    random_state : int
    weight_by_votes : bool
        Of a head that is named; scores weigh all galaxies the same.
    seen : bool
        Cross-validate over all galaxies, also those that the backbone was trained on: scores look better than they are.

    Returns
    -------
    FittedHead
        ``scores`` and ``details`` as `evaluate_head` says.

    Raises
    ------
    HeadError
        When there is nothing to learn from, or only galaxies that the backbone was trained on.
    """
    stores = [stores] if isinstance(stores, EmbeddingStore) else list(stores)
    data = gather_training_set(stores, labels, targets, min_votes, seen)
    split = cut_split(data, n_folds, random_state, spaces)
    if isinstance(head, str):
        head = name_head(head, random_state, weight_by_votes)
    fitted = evaluate_head(head, split)
    fitted.details["min_votes"] = min_votes
    return fitted


def name_head(name: str, random_state: int, weight_by_votes: bool) -> Head:
    """An unfitted head; one that learns from counts weighs votes in any case, and has no such switch."""
    head = make_head(name, random_state=random_state)
    return head.set_params(weight_by_votes=True) if weight_by_votes and "weight_by_votes" in head.get_params() else head


@dataclass(frozen=True)
class Split:
    """
    What heads are compared on.

    Attributes
    ----------
    data : TrainingSet
    folds : (n_galaxies,) int array
        The outer fold of each galaxy; `OUTSIDE` where galaxies of the backbone's run are no test galaxies.
    candidates : list of Space
    random_state : int
        That cut the folds.
    """

    data: TrainingSet
    folds: Array
    candidates: list[Space]
    random_state: int

    @property
    def n_folds(self) -> int:
        """How many outer folds there are."""
        return int(self.folds.max()) + 1

    def describe(self) -> str:
        """What galaxies the scores are of."""
        if (self.folds == OUTSIDE).any():
            counts = ", ".join(f"{(self.data.parts == part).sum()} {part}" for part in PARTS)
            return f"the split of the backbone's run: {counts}"
        note = f": {self.data.note}" if self.data.note else ""
        return f"nested {self.n_folds}-fold cross-validation{note}"


def cut_split(data: TrainingSet, n_folds: int, random_state: int, spaces: Sequence[Space] | None = None) -> Split:
    """
    Cut outer folds, or take the test galaxies of the backbone's run for one; and list the spaces to choose from.

    Raises
    ------
    HeadError
        With fewer sky objects than folds, or no space in common.
    StoreError
        When the first store does not hold a space that is asked for.
    """
    own = data.parts == "test"
    folds = np.where(own, 0, OUTSIDE) if own.any() else cut_folds(data.groups, n_folds, random_state)
    candidates = [data.stores[0].space(*space) for space in spaces] if spaces else list_candidates(data.stores)
    return Split(data, folds, candidates, random_state)


def evaluate_head(head: Head, split: Split) -> FittedHead:
    """
    Fit a copy of a head on everything that may teach it, and score it by the split.

    Returns
    -------
    FittedHead
        ``scores`` has one dict a target: ``target, r, r2, mae, rmse, bias, slope, auc, n`` and ``<metric>_sd``; figures
        are means over the outer folds, ``_sd`` the standard deviation between folds, ``n`` the galaxies with that
        label. ``details`` has the same of the average over targets (``average``), the leading answer of each question
        (``questions``), the reference study's figures over everything (``pooled``), and what was done.
    """
    data, folds, store = split.data, split.folds, split.data.stores[0]
    template = clone(head).set_params(questions=data.questions)
    trials = [run_trial(template, data, folds, space) for space in split.candidates]
    chosen = [max(trials, key=lambda trial: trial.fold_scores[fold]) for fold in range(split.n_folds)]
    best = max(trials, key=lambda trial: trial.head.inner_score_)
    P = np.full_like(data.Y, np.nan)
    for fold, trial in enumerate(chosen):
        P[folds == fold] = trial.P[folds == fold]
    figures = measure_folds(data.Y, P, folds)
    return FittedHead(
        best.head,
        best.space,
        store.space_id(best.space),
        store.provenance.model,
        data.ids[data.parts != "test"],
        list(score_targets(data.Y, P, figures, data.targets)),
        {
            "stores": [str(store.path) for store in data.stores],
            "surveys": [store.survey for store in data.stores],
            "backbone": store.provenance.runs[-1]["backbone"],
            "galaxies": len(data.ids),
            "objects": data.n_objects,
            "split": split.describe(),
            "seen": data.n_seen,
            "folds": split.n_folds,
            "random_state": split.random_state,
            "spaces_tried": [space.name for space in split.candidates],
            "chosen_in_folds": [trial.space.name for trial in chosen],
            "average": score_average(figures),
            "questions": list(score_questions(data.Y, P, folds, data.questions)),
            "pooled": {name: _drop_nan(value) for name, value in score_pooled(data.Y, P).items()},
        },
    )


@dataclass(frozen=True)
class Trial:
    """
    One space, tried.

    Attributes
    ----------
    space : Space
    head : Head
        Fitted on all galaxies that may teach it.
    fold_scores : list of float
        Inner score in each outer fold's training galaxies.
    P : (n_galaxies, n_targets) array
        Each galaxy predicted by the fold that did not see it; NaN where all did.
    """

    space: Space
    head: Head
    fold_scores: list[float]
    P: Array


def run_trial(template: Head, data: TrainingSet, folds: Array, space: Space) -> Trial:
    """Fit a head on one space: in each outer fold, and on everything. One space is in memory at a time."""
    X = data.read(space)
    P = np.full_like(data.Y, np.nan)
    scores = []
    for fold in range(folds.max() + 1):
        inside = folds != fold
        head = _fit(template, X, data, inside)
        P[~inside] = head.predict(X[~inside])
        scores.append(head.inner_score_)
    whole = head if (folds == OUTSIDE).any() else _fit(template, X, data, slice(None))
    return Trial(space, whole, scores, P)


def _fit(template: Head, X: Array, data: TrainingSet, rows: Array | slice) -> Head:
    """Fit a copy of a head on some rows; those that chose the backbone's weights choose here as well."""
    validation = data.parts[rows] == "val"
    columns = (X[rows], data.Y[rows], data.votes[rows], data.groups[rows])
    head: Head = clone(template)
    return head.fit(*columns, validation if validation.any() else None)


def list_candidates(stores: Sequence[EmbeddingStore]) -> list[Space]:
    """
    The spaces that all stores hold, the last layer first, with concatenations.

    Raises
    ------
    HeadError
        When they have none in common.
    """
    require_one_model(stores)
    shared = set(stores[0].spaces).intersection(*(store.spaces for store in stores[1:]))
    if not shared:
        raise HeadError(
            "the stores have no layer and pooling in common. Extract them with the same --layer and --pool."
        )
    candidates = []
    ordered = sorted(shared, key=lambda space: (-space.layer, space.pooling))
    for layer, group in groupby(ordered, key=lambda space: space.layer):
        held = list(group)
        candidates += held
        if len(held) > 1:
            candidates.append(Space(layer, "+".join(space.pooling for space in held)))
    return candidates


def select_candidates(
    stores: Sequence[EmbeddingStore], layer: int | None = None, pooling: str | None = None
) -> list[Space]:
    """
    The candidates of one layer, of one pooling, or all.

    Raises
    ------
    StoreError
        When the first store holds none such.
    """
    candidates = list_candidates(stores)
    if layer is not None:
        layer = stores[0].space(layer, pooling).layer
    selected = [s for s in candidates if layer in (None, s.layer) and pooling in (None, s.pooling)]
    return selected or [stores[0].space(-1 if layer is None else layer, pooling)]


# scores


def measure_folds(Y: Array, P: Array, folds: Array) -> dict[str, Array]:
    """
    Every metric of every target in every fold.

    Returns
    -------
    dict of str to (n_targets, n_folds) array
        By metric; NaN where a figure does not exist.
    """
    n_folds = int(folds.max()) + 1
    figures = {name: np.full((Y.shape[1], n_folds), np.nan) for name in METRICS}
    for target, (y, p) in enumerate(zip(Y.T, P.T, strict=True)):
        for name, metric in METRICS.items():
            if name == "auc" and not is_binary(y):
                continue
            figures[name][target] = [metric(y[folds == fold], p[folds == fold]) for fold in range(n_folds)]
    return figures


def score_targets(Y: Array, P: Array, figures: dict[str, Array], targets: Sequence[str]) -> Iterator[dict[str, Any]]:
    """
    Scores of each target: mean and standard deviation over folds.

    Yields
    ------
    dict
        ``target``, each metric, ``<metric>_sd`` and ``n``; None where a figure does not exist.
    """
    for index, target in enumerate(targets):
        record: dict[str, Any] = {"target": target}
        for name, values in figures.items():
            record |= _summarise(name, values[index])
        yield record | {"n": count(Y[:, index], P[:, index])}


def score_average(figures: dict[str, Array]) -> dict[str, Any]:
    """Mean and standard deviation over folds of each metric's average over the targets that have it in that fold."""
    record: dict[str, Any] = {}
    for name, values in figures.items():
        there = np.isfinite(values)
        average = np.where(there, values, 0).sum(axis=0) / np.where(there.any(axis=0), there.sum(axis=0), np.nan)
        record |= _summarise(name, average)
    return record


def score_questions(Y: Array, P: Array, folds: Array, questions: Sequence[Question]) -> Iterator[dict[str, Any]]:
    """
    How often the answer that is predicted to lead a question does lead.

    Yields
    ------
    dict
        ``question, accuracy, accuracy_sd, n``, of questions with at least two answers.
    """
    end = 0
    for question in questions:
        start, end = end, end + len(question.targets)
        if end - start > 1:
            columns = slice(start, end)
            parts = [leading_accuracy(Y[folds == f, columns], P[folds == f, columns]) for f in range(folds.max() + 1)]
            accuracy = _summarise("accuracy", np.array([accuracy for accuracy, _ in parts]))
            yield {"question": question.name, **accuracy, "n": sum(n for _, n in parts)}


def _summarise(name: str, values: Array) -> dict[str, float | None]:
    """Mean and standard deviation of the values that are numbers; None where there are too few."""
    finite = values[np.isfinite(values)]
    mean = float(finite.mean()) if len(finite) else None
    return {name: mean, f"{name}_sd": float(finite.std(ddof=1)) if len(finite) > 1 else None}


def _drop_nan(value: float) -> float | None:
    """JSON has no NaN."""
    return value if np.isfinite(value) else None
