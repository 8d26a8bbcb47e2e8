"""What beats what, and whether that is luck: paired differences, corrected for their number; ranks as intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from benchmarks.statistics import SINGLE_RUN, Score
from embeddings.errors import SommelierError, did_you_mean

Array = np.ndarray[Any, Any]
LEVEL = 0.05
MIN_RESAMPLES = 10_000  # for a p: the least one is 1 / 10,001, which 100 comparisons leave below 0.05


@dataclass(frozen=True)
class Comparison:
    """
    One model beside the reference on one test set.

    Attributes
    ----------
    test, model, reference : str
    difference : Score
        Model less reference, paired.
    p : float
        Of `compute_p`; NaN where one of them has no score.
    p_family : float
        Holm's, within all comparisons that were made together.
    note : str
        ``single run`` where one of them is: then the comparison is of that run and not of the way it was made.
    """

    test: str
    model: str
    reference: str
    difference: Score
    p: float
    p_family: float
    note: str = ""

    @property
    def verdict(self) -> str:
        """``higher``, ``lower``, ``not told apart``, or ``not comparable`` without a score."""
        if not np.isfinite(self.p_family):
            return "not comparable"
        if self.p_family >= LEVEL:
            return "not told apart"
        return "higher" if self.difference.value > 0 else "lower"

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; the difference is ``[value, low, high]``, its interval not widened for the family."""
        names = ("test", "model", "reference", "verdict", "note")
        record: dict[str, Any] = {name: getattr(self, name) for name in names}
        for name, value in (("p", self.p), ("p_family", self.p_family)):
            record[name] = value if np.isfinite(value) else None
        return record | {"difference": self.difference.to_list()}


def compute_p(difference: Score) -> float:
    """
    The two-sided p of a paired difference, by bootstrap.

    The spread less the observed difference d holds differences as they would be if the truth were 0; p is (k + 1) /
    (n + 1), where k of n are at least as far from 0 as d. (Efron & Tibshirani 1993, An Introduction to the Bootstrap,
    section 16.4; Davison & Hinkley 1997, section 4.4; the 1 because the observed one is a draw as well: Phipson & Smyth
    2010, Stat. Appl. Genet. Mol. Biol. 9, 39.) Draws without a difference count as far.

    Returns
    -------
    float
        NaN where there is no difference.

    Raises
    ------
    SommelierError
        With fewer than 10,000 resamples.
    """
    n = len(difference.draws)
    if n < MIN_RESAMPLES:
        raise SommelierError(
            f"a p needs at least {MIN_RESAMPLES} resamples, these are {n}: with fewer no difference is beyond chance "
            "once there are many comparisons. Score with n_resamples=10000."
        )
    if not np.isfinite(difference.value):
        return float("nan")
    nearer = np.abs(difference.spread - difference.value) < abs(difference.value)
    return float((n - nearer.sum() + 1) / (n + 1))


def adjust_holm(p: Sequence[float]) -> Array:
    """
    Correct for the number of tests: the chance of any false finding is at most the level.

    Of m values in ascending order the i-th is multiplied by m - i + 1, and none is less than one before it
    (Holm 1979, Scand. J. Statist. 6, 65).

    Parameters
    ----------
    p : (n_tests,) sequence of float
        NaN is no test.

    Returns
    -------
    (n_tests,) float64 array
    """
    adjusted = np.array(p, np.float64)
    there = np.flatnonzero(np.isfinite(adjusted))
    order = there[np.argsort(adjusted[there], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(adjusted[order] * factors), 1)
    return adjusted


def compare_models(scores: Mapping[str, Mapping[str, Score]], reference: str) -> list[Comparison]:
    """
    Compare each model with the table's one reference, on each test set.

    All comparisons of the table are one family.

    Parameters
    ----------
    scores : mapping of str to mapping of str to Score
        Macro r of each model, by test set.
    reference : str
        A model that every test set has.

    Returns
    -------
    list of Comparison
        In the order of the scores.

    Raises
    ------
    SommelierError
        When a test set lacks the reference, scores are not paired, or there are fewer than 10,000 resamples.
    """
    found = []
    for test, models in scores.items():
        if reference not in models:
            raise SommelierError(
                f"{test} has no score of {reference!r}, which all are compared with. {did_you_mean(reference, models)}"
            )
        for model, score in models.items():
            if model != reference:
                note = SINGLE_RUN if 1 in (score.runs, models[reference].runs) else ""
                found.append((test, model, score - models[reference], note))
    p = [compute_p(difference) for _, _, difference, _ in found]
    return [
        Comparison(test, model, reference, difference, raw, float(family), note)
        for (test, model, difference, note), raw, family in zip(found, p, adjust_holm(p), strict=True)
    ]


def rank_models(scores: Mapping[str, Score]) -> dict[str, tuple[int, int] | None]:
    """
    The ranks that each model of one test set may have.

    From 1 + how many are significantly better to n - how many are significantly worse, by the paired differences of all
    pairs, Holm's correction over them: with a confidence of 95 % all true ranks lie within (Al Mohamad, Goeman & van
    Zwet 2022, Biometrics 78, 238).

    Parameters
    ----------
    scores : mapping of str to Score
        Higher is better.

    Returns
    -------
    dict of str to (int, int)
        None for a model without a score, which is not among the n.
    """
    names = [name for name, score in scores.items() if np.isfinite(score.value)]
    pairs = list(combinations(names, 2))
    differences = [scores[a] - scores[b] for a, b in pairs]
    better = dict.fromkeys(names, 0)
    worse = dict.fromkeys(names, 0)
    p = adjust_holm([compute_p(difference) for difference in differences])
    for (a, b), difference, value in zip(pairs, differences, p, strict=True):
        if value < LEVEL:
            winner, loser = (a, b) if difference.value > 0 else (b, a)
            better[loser] += 1
            worse[winner] += 1
    return {name: (1 + better[name], len(names) - worse[name]) if name in better else None for name in scores}


def show_rank(rank: tuple[int, int] | None) -> str:
    """``2``, ``1-3``, or a dash."""
    if rank is None:
        return "-"
    return str(rank[0]) if rank[0] == rank[1] else f"{rank[0]}-{rank[1]}"
