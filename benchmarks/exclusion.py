"""What leaked galaxies do to a score: a head on a test set, before and after they are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.leakage import Audit
from benchmarks.resampling import resample_objects
from benchmarks.statistics import MIN_LABELS, Score, score_predictions
from embeddings.errors import SommelierError
from embeddings.questions import Question, list_targets
from embeddings.store import EmbeddingStore
from heads.io import FittedHead

Array = np.ndarray[Any, Any]
Scores = dict[str, Score]  # r, r2, mae


@dataclass(frozen=True)
class Exclusion:
    """
    Scores of one head, on the same draws of sky objects.

    Attributes
    ----------
    targets : tuple of str
        Over which scores are averaged: those with at least 20 labels before, and after where anything is left.
    left_out : tuple of str
        The head's other targets: too few labels, or not asked alike.
    n_before, n_after : int
        Galaxies with a label of any target.
    before : dict of str to Score
        ``r, r2, mae``.
    after : dict of str to Score, optional
        Without the leaked sky objects; None where too few galaxies are left.
    seen : int
        Galaxies with ids that the head or its backbone was trained on.
    """

    targets: tuple[str, ...]
    left_out: tuple[str, ...]
    n_before: int
    n_after: int
    before: Scores
    after: Scores | None
    seen: int

    @property
    def difference(self) -> Scores | None:
        """After less before: paired, so what both share cancels."""
        if self.after is None:
            return None
        return {name: score - self.before[name] for name, score in self.after.items()}

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; each score is ``[value, low, high]``."""
        record: dict[str, Any] = {
            "targets": list(self.targets), "left_out": list(self.left_out), "seen": self.seen,
            "n_before": self.n_before, "n_after": self.n_after,
        }  # fmt: skip
        for name, scores in (("before", self.before), ("after", self.after), ("difference", self.difference)):
            record[name] = None if scores is None else {key: score.to_list() for key, score in scores.items()}
        return record


def score_without(found: Audit, head: FittedHead, random_state: int = 0) -> Exclusion:
    """
    Score a head on B as it is, and without the galaxies that are in A.

    Parameters
    ----------
    found : Audit
        B is a store.
    head : FittedHead
    random_state : int
        Of the resamples.

    Raises
    ------
    SommelierError
        When B is a catalog, or has no label that the head predicts.
    ProvenanceMismatch
        When another model made B's vectors.
    """
    store = found.b.store
    if store is None:
        raise SommelierError(
            f"a head is scored on embeddings, and {found.b.path} is a {found.b.kind}. Give the store that was "
            f"extracted from it: sommelier extract {found.b.path} --backbone BACKBONE -o STORE"
        )
    questions = _share_questions(head, store)
    predictions = head.predict(store)
    P = predictions.P[:, [predictions.targets.index(target) for target in list_targets(questions)]]
    Y = store.labels(questions)[0][store.ok]
    without = np.where(found.leaked[:, None], np.nan, Y)
    before, after = ((~np.isnan(labels)).sum(axis=0) >= MIN_LABELS for labels in (Y, without))
    used = after if after.any() else before
    if not used.any():
        raise SommelierError(f"no target has {MIN_LABELS} labels in {store.path}: on fewer a score says nothing.")
    names = np.array(list_targets(questions))[used].tolist()
    weights = resample_objects(found.objects, random_state)
    return Exclusion(
        tuple(names),
        tuple(target for target in head.targets if target not in names),
        _count_labelled(Y[:, used]),
        _count_labelled(without[:, used]),
        score_predictions(Y[:, used], P[:, used], weights),
        score_predictions(without[:, used], P[:, used], weights) if after.any() else None,
        predictions.seen,
    )


def _count_labelled(Y: Array) -> int:
    return int((~np.isnan(Y)).any(axis=1).sum())


def _share_questions(head: FittedHead, store: EmbeddingStore) -> tuple[Question, ...]:
    """The head's questions that the store has labels of, of the same kind."""
    theirs = {question.name: question for question in store.questions}
    shared = tuple(
        question
        for question in head.questions
        if question.name in theirs
        and (question.kind, question.fractions) == (theirs[question.name].kind, theirs[question.name].fractions)
        and set(question.target_columns) <= set(theirs[question.name].target_columns)
    )
    if not shared:
        asked = ", ".join(question.name for question in head.questions)
        raise SommelierError(
            f"{store.path} has no labels of what the head predicts ({asked}). Give it some: sommelier relabel "
            f"{store.path} CATALOG"
        )
    return shared
