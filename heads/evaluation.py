"""Fit a head on stores, and say how well it does on galaxies that chose nothing."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from sklearn.base import clone

from embeddings.errors import HeadError
from embeddings.labels import read_labels
from embeddings.provenance import Space, list_differences, require_same_model
from embeddings.questions import Question, list_targets, merge_questions, select_questions
from embeddings.store import EmbeddingStore
from heads.base import Array, Head
from heads.io import FittedHead, make_head
from heads.metrics import METRICS, count, is_binary
from heads.splits import cut_folds, group_galaxies


@dataclass(frozen=True)
class Labels:
    """
    Labels from a catalog, to be used instead of a store's.

    Attributes
    ----------
    ids : (n_rows,) array of str
    columns : dict of str to (n_rows,) array
    questions : tuple of Question
    """

    ids: Array
    columns: dict[str, Array]
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class TrainingSet:
    """The rows of one or more stores that have vectors and at least one label, without the vectors."""

    stores: tuple[EmbeddingStore, ...]
    kept: tuple[Array, ...]
    ids: Array
    Y: Array
    votes: Array
    groups: Array
    questions: tuple[Question, ...]

    def read(self, space: Space) -> Array:
        """(n_galaxies, embed_dim) float32."""
        parts = [store.read_vectors(space, kept) for store, kept in zip(self.stores, self.kept, strict=True)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def gather_training_set(
    stores: Sequence[EmbeddingStore],
    labels: Labels | None = None,
    targets: Sequence[str] = (),
    min_votes: int = 0,
) -> TrainingSet:
    """
    Put the labelled rows of stores together.

    Raises
    ------
    ProvenanceMismatch
        When different models made the stores.
    HeadError
        When there is nothing to predict or nothing to learn from.
    """
    first = stores[0]
    _require_one_model(stores)
    for store in stores[1:]:
        _warn_of_differences(first, store)
    asked = labels.questions if labels else merge_questions(*(store.questions for store in stores))
    questions = select_questions(asked, targets)
    if not questions:
        raise HeadError(
            f"{first.path} has no labels to predict. Give some with: sommelier relabel {first.path} CATALOG, "
            "or --catalog CATALOG."
        )
    rows = [_read_rows(store, labels, questions, min_votes) for store in stores]
    kept = tuple(ok & ~np.isnan(Y).all(axis=1) for ok, Y, _ in rows)
    columns = [[s.ids[k], s.ra[k], s.dec[k], s.dataset("image_sha256")[k]] for s, k in zip(stores, kept, strict=True)]
    ids, ra, dec, images = (np.concatenate(values) for values in zip(*columns, strict=True))
    Y = np.concatenate([Y[k] for (_, Y, _), k in zip(rows, kept, strict=True)])
    votes = np.concatenate([votes[k] for (_, _, votes), k in zip(rows, kept, strict=True)])
    if not len(ids):
        cut = f" with at least {min_votes} votes (--min-votes)" if min_votes else ""
        raise HeadError(f"no galaxy of {', '.join(str(s.path) for s in stores)} has both a vector and a label{cut}.")
    return TrainingSet(tuple(stores), kept, ids, Y, votes, group_galaxies(ids, ra, dec, images), questions)


def _require_one_model(stores: Sequence[EmbeddingStore]) -> None:
    """Raise `ProvenanceMismatch` unless one model made all stores."""
    for store in stores[1:]:
        what = f"{stores[0].path} (here) and {store.path} (there)"
        require_same_model(stores[0].provenance.model, store.provenance.model, what)


def _warn_of_differences(first: EmbeddingStore, other: EmbeddingStore) -> None:
    """Say what may differ between stores that are used together, and does."""
    here, there = (
        {"precision": store.provenance.precision, "images": store.provenance.images} for store in (first, other)
    )
    changes = "; ".join(list_differences(here, there))
    if changes:
        warnings.warn(f"{first.path} (here) and {other.path} (there) were made differently: {changes}", stacklevel=3)


def _read_rows(
    store: EmbeddingStore, labels: Labels | None, questions: Sequence[Question], min_votes: int
) -> tuple[Array, Array, Array]:
    """The state, targets and votes of all rows of a store; NaN where it has no such question."""
    if labels is None:
        Y = np.full((len(store), len(list_targets(questions))), np.nan, np.float32)
        votes = np.full_like(Y, np.nan)
        own = {question.name for question in store.questions}
        position = 0
        for question in questions:
            width = len(question.targets)
            if question.name in own:
                Y[:, position : position + width], votes[:, position : position + width] = store.labels(
                    [question], min_votes
                )
            position += width
        return store.ok, Y, votes
    Y, votes = read_labels(
        questions,
        list(labels.columns),
        labels.columns.__getitem__,
        len(labels.ids),
        min_votes,
        "the catalog",
        labels.questions,
    )
    place = {id_str: row for row, id_str in enumerate(labels.ids.tolist())}
    rows = np.array([place.get(id_str, -1) for id_str in store.ids.tolist()])
    unlabelled = np.full((1, Y.shape[1]), np.nan, np.float32)  # row -1
    Y, votes = (np.concatenate([values, unlabelled])[rows] for values in (Y, votes))
    return store.ok, Y, votes


def fit_head(
    stores: EmbeddingStore | Sequence[EmbeddingStore],
    head: str | Head = "ridge",
    labels: Labels | None = None,
    targets: Sequence[str] = (),
    min_votes: int = 0,
    spaces: Sequence[Space] | None = None,
    n_folds: int = 5,
    random_state: int = 0,
) -> FittedHead:
    """
    Fit a head on all labelled galaxies, and score it by nested cross-validation.

    Every choice (layer, pooling, penalty, number of neighbours) is made anew inside each outer fold's training
    galaxies, so the scores come from galaxies that chose nothing. Folds keep sky objects whole.

    Parameters
    ----------
    stores : EmbeddingStore or sequence of EmbeddingStore
        One or more surveys of equal space ids.
    head : str or Head
        ``mean``, ``knn`` or ``ridge``, or an unfitted head; it stays as it is, a copy gets the questions.
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

    Returns
    -------
    FittedHead
        ``scores`` has one dict a target: ``target, r, r2, mae, auc, n`` and ``<metric>_sd``; figures are means over
        the outer folds, ``_sd`` the standard deviation between folds, ``n`` the galaxies with that label.
    """
    stores = [stores] if isinstance(stores, EmbeddingStore) else list(stores)
    data = gather_training_set(stores, labels, targets, min_votes)
    template = make_head(head, random_state=random_state) if isinstance(head, str) else clone(head)
    template.set_params(questions=data.questions)
    folds = cut_folds(data.groups, n_folds, random_state)
    candidates = [stores[0].space(*space) for space in spaces] if spaces else list_candidates(stores)
    trials = [run_trial(template, data, folds, space) for space in candidates]
    chosen = [max(trials, key=lambda trial: trial.fold_scores[fold]) for fold in range(n_folds)]
    best = max(trials, key=lambda trial: trial.head.inner_score_)
    P = np.empty_like(data.Y)
    for fold, trial in enumerate(chosen):
        P[folds == fold] = trial.P[folds == fold]
    return FittedHead(
        best.head,
        best.space,
        stores[0].space_id(best.space),
        stores[0].provenance.model,
        data.ids,
        list(score_folds(data.Y, P, folds, list_targets(data.questions))),
        {
            "stores": [str(store.path) for store in stores],
            "surveys": [store.survey for store in stores],
            "backbone": stores[0].provenance.runs[-1]["backbone"],
            "galaxies": len(data.ids),
            "objects": int(data.groups.max()) + 1,
            "folds": n_folds,
            "random_state": random_state,
            "min_votes": min_votes,
            "spaces_tried": [space.name for space in candidates],
            "chosen_in_folds": [trial.space.name for trial in chosen],
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
        Fitted on all galaxies.
    fold_scores : list of float
        Inner score in each outer fold's training galaxies.
    P : (n_galaxies, n_targets) array
        Each galaxy predicted by the fold that did not see it.
    """

    space: Space
    head: Head
    fold_scores: list[float]
    P: Array


def run_trial(template: Head, data: TrainingSet, folds: Array, space: Space) -> Trial:
    """Fit a head on one space: in each outer fold, and on everything. One space is in memory at a time."""
    X = data.read(space)
    P = np.empty_like(data.Y)
    scores = []
    for fold in range(folds.max() + 1):
        inside = folds != fold
        head = clone(template).fit(X[inside], data.Y[inside], data.votes[inside], data.groups[inside])
        P[~inside] = head.predict(X[~inside])
        scores.append(head.inner_score_)
    return Trial(space, clone(template).fit(X, data.Y, data.votes, data.groups), scores, P)


def list_candidates(stores: Sequence[EmbeddingStore]) -> list[Space]:
    """
    The spaces that all stores hold, the last layer first, with concatenations.

    Raises
    ------
    HeadError
        When they have none in common.
    """
    _require_one_model(stores)
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


def score_folds(Y: Array, P: Array, folds: Array, targets: Sequence[str]) -> Iterator[dict[str, Any]]:
    """
    Scores of each target: mean and standard deviation over folds.

    Yields
    ------
    dict
        ``target, r, r_sd, r2, r2_sd, mae, mae_sd, auc, auc_sd, n``; None where a figure does not exist.
    """
    for index, target in enumerate(targets):
        y, p = Y[:, index], P[:, index]
        record: dict[str, Any] = {"target": target}
        for name, metric in METRICS.items():
            skip = name == "auc" and not is_binary(y)
            values = [] if skip else [metric(y[folds == f], p[folds == f]) for f in range(folds.max() + 1)]
            finite = [value for value in values if np.isfinite(value)]
            record[name] = float(np.mean(finite)) if finite else None
            record[f"{name}_sd"] = float(np.std(finite, ddof=1)) if len(finite) > 1 else None
        yield record | {"n": count(y, p)}
