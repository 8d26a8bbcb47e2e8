"""How well anything could predict votes: what their own noise leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.moments import SMALL, mean_over
from benchmarks.resampling import Resampling
from benchmarks.statistics import BOUNDS, Score

Array = np.ndarray[Any, Any]
MIN_VOTES = 2  # of one vote the noise cannot be told


@dataclass(frozen=True)
class Ceiling:
    """
    What a head could reach on one test that knows every galaxy's true fractions.

    Attributes
    ----------
    scores : dict of str to Score
        ``r, r2``, the means over answers.
    n_noise : int
        Answers whose votes differ between galaxies by no more than their own noise: R2 is not above zero there, and r
        counts as 0.
    """

    scores: dict[str, Score]
    n_noise: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; each score is ``[value, low, high]``."""
        return {name: score.to_list() for name, score in self.scores.items()} | {"answers_of_noise": self.n_noise}


def measure_ceiling(F: Array, totals: Array, weights: Array) -> Ceiling:
    """
    The ceilings' means over answers, with intervals.

    Parameters
    ----------
    F, totals : (n_galaxies, n_targets) arrays
        As for `noise_ceiling`.
    weights : (n_resamples, n_galaxies) array
        Of `benchmarks.resampling.resample_objects`.
    """
    return _average(noise_ceiling(F, totals, np.concatenate([np.ones((1, len(F))), weights])))


def resample_ceiling(F: Array, totals: Array, resampling: Resampling) -> Ceiling:
    """
    The ceilings' means over answers, on the draws that models are scored on.

    Parameters
    ----------
    F, totals : (n_galaxies, n_targets) arrays
        As for `noise_ceiling`.
    resampling : Resampling
        Of the rows' sky objects; resamples are weighed some at a time, so that there may be any number.
    """
    rows = np.flatnonzero(~np.isnan(F).all(axis=1))
    F, totals, objects = F[rows], totals[rows], resampling.index[rows]
    found = [noise_ceiling(F, totals, np.ones((1, len(rows))))]
    found += [noise_ceiling(F, totals, block[:, objects]) for block in resampling.draw_blocks()]
    return _average(np.concatenate(found), resampling.key)


def _average(r2: Array, key: str = "") -> Ceiling:
    """Of each answer's ceiling, (1 + n_resamples, n_targets): first the sample itself."""
    there = np.isfinite(r2)
    means = {"r": mean_over(ceiling_of_r(r2), there), "r2": mean_over(r2, there)}
    scores = {name: Score(float(values[0]), values[1:], key=key, bounds=BOUNDS[name]) for name, values in means.items()}
    return Ceiling(scores, int((r2[0] <= 0).sum()))


def noise_ceiling(F: Array, totals: Array, weights: Array) -> Array:
    """
    R2 that a perfect knowledge of each galaxy's true fractions would reach.

    Of n votes, f (1 - f) / (n - 1) estimates the variance of the fraction f without bias, because that of the count is
    binomial (Cochran 1977, Sampling Techniques, theorem 3.2). The share of the variance between galaxies that is
    not noise is what can be predicted; its root is the ceiling of Pearson's r.

    Parameters
    ----------
    F : (n_galaxies, n_targets) array
        Vote fractions, NaN where not asked.
    totals : (n_galaxies, n_targets) array
        How many volunteers answered; galaxies with fewer than two are left out.
    weights : (n_resamples, n_galaxies) array
        How often each galaxy counts.

    Returns
    -------
    (n_resamples, n_targets) float64 array
        Below zero where galaxies differ by less than noise alone would make them; NaN where there are fewer than two
        galaxies or all are alike.
    """
    F, totals = np.asarray(F, np.float64), np.asarray(totals, np.float64)
    known = ~np.isnan(F) & (totals >= MIN_VOTES)
    kept = np.where(known, F, 0)
    noise = np.divide(kept * (1 - kept), totals - 1, out=np.zeros_like(kept), where=known)
    # moments about the mean lose no digits where galaxies hardly differ
    centred = np.where(known, F - kept.sum(axis=0) / np.maximum(known.sum(axis=0), 1), 0)
    n = np.maximum(weights @ known, 1)
    spread = weights @ centred**2 / n - (weights @ centred / n) ** 2
    varies = spread > SMALL
    return np.where(varies, 1 - weights @ noise / n / np.where(varies, spread, 1), np.nan)


def ceiling_of_r(ceiling_of_r2: Array) -> Array:
    """Pearson's r of true fractions with voted ones: the root of `noise_ceiling`, 0 below zero."""
    return np.asarray(np.sqrt(np.maximum(ceiling_of_r2, 0)))
