"""All heads under one split: what each reaches, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from embeddings.errors import HeadError
from embeddings.provenance import Space
from embeddings.store import EmbeddingStore
from heads.evaluation import Split, cut_split, evaluate_head, name_head
from heads.io import HEADS, FittedHead, find_head
from heads.memory import PeakMemory
from heads.training import Labels, gather_training_set

YARDSTICK = "mean"


@dataclass(frozen=True)
class Contender:
    """
    One head of a comparison.

    Attributes
    ----------
    name : str
    fitted : FittedHead or None
        None where the head refuses these labels.
    refusal : str
        Why it does.
    seconds : float
        Of everything: each layer and pooling, in each outer fold and on all galaxies.
    peak_bytes : int or None
        The most memory that the process held meanwhile, libraries included; None where the system does not say.
    lost : tuple of str
        The targets on which it is worse than `YARDSTICK`, by R2.
    """

    name: str
    fitted: FittedHead | None
    refusal: str
    seconds: float
    peak_bytes: int | None
    lost: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """As JSON can hold it."""
        cost = {"seconds": self.seconds, "peak_bytes": self.peak_bytes}
        if self.fitted is None:
            return {"head": self.name, "refusal": self.refusal, **cost}
        return {
            "head": self.name,
            "scores": self.fitted.scores,
            "space": self.fitted.space.name,
            "worse_than_mean": list(self.lost),
            **cost,
            "details": self.fitted.details,
        }


def compare_heads(
    stores: EmbeddingStore | Sequence[EmbeddingStore],
    heads: Sequence[str] = (),
    labels: Labels | None = None,
    targets: Sequence[str] = (),
    min_votes: int = 0,
    spaces: Sequence[Space] | None = None,
    n_folds: int = 5,
    random_state: int = 0,
    weight_by_votes: bool = False,
    report: Callable[[Contender], None] | None = None,
    seen: bool = False,
) -> list[Contender]:
    """
    Fit and score several heads on the same galaxies, cut into the same folds.

    Parameters
    ----------
    stores, labels, targets, min_votes, spaces, n_folds, random_state, weight_by_votes, seen
        As for `heads.fit_head`.
    heads : sequence of str
        Names; all by default. The mean predictor always runs, and first: it is what others must beat.
    report : callable, optional
        Called with each contender when it is done.

    Returns
    -------
    list of Contender
        A head that cannot learn such labels is there with its refusal.

    Raises
    ------
    HeadError
        For an unknown name, or when there is nothing to learn from.
    """
    names = [YARDSTICK, *(name for name in dict.fromkeys(heads or HEADS) if name != YARDSTICK)]
    for name in names:
        find_head(name)  # a typing error shows before the work
    stores = [stores] if isinstance(stores, EmbeddingStore) else list(stores)
    data = gather_training_set(stores, labels, targets, min_votes, seen)
    split = cut_split(data, n_folds, random_state, spaces)
    contenders: list[Contender] = []
    for name in names:
        yardstick = contenders[0].fitted if contenders else None
        contenders.append(_run(name, split, weight_by_votes, yardstick))
        if report:
            report(contenders[-1])
    return contenders


def _run(name: str, split: Split, weight_by_votes: bool, yardstick: FittedHead | None) -> Contender:
    """Evaluate one head, and what it costs."""
    head = name_head(name, split.random_state, weight_by_votes)
    fitted, refusal = None, ""
    memory = PeakMemory()
    start = time.perf_counter()
    try:
        fitted = evaluate_head(head, split)
    except HeadError as error:
        refusal = str(error)
    seconds = time.perf_counter() - start
    lost = list_losses(fitted.scores, yardstick.scores) if fitted and yardstick else ()
    return Contender(name, fitted, refusal, seconds, memory.read(), lost)


def list_losses(scores: Sequence[dict[str, Any]], yardstick: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The targets whose R2, averaged over the folds, is below the yardstick's."""
    return tuple(
        ours["target"]
        for ours, theirs in zip(scores, yardstick, strict=True)
        if None not in (ours["r2"], theirs["r2"]) and ours["r2"] < theirs["r2"]
    )
