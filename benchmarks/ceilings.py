"""How well anything could predict votes: what their own noise leaves."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
MIN_VOTES = 2  # of one vote the noise cannot be told


def noise_ceiling(F: Array, totals: Array) -> Array:
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

    Returns
    -------
    (n_targets,) float64 array
        Below zero where galaxies differ by less than noise alone would make them; NaN where there are fewer than two
        galaxies or all are alike.
    """
    F, totals = np.asarray(F, np.float64), np.asarray(totals, np.float64)
    known = ~np.isnan(F) & (totals >= MIN_VOTES)
    n = known.sum(axis=0)
    kept = np.where(known, F, 0)
    noise = np.divide(kept * (1 - kept), totals - 1, out=np.zeros_like(kept), where=known)
    counted = np.maximum(n, 1)
    centred = np.where(known, F - kept.sum(axis=0) / counted, 0)
    spread = (centred**2).sum(axis=0) / counted
    varies = (n >= 2) & (spread > 1e-12)
    return np.where(varies, 1 - noise.sum(axis=0) / counted / np.where(varies, spread, 1), np.nan)


def ceiling_of_r(ceiling_of_r2: Array) -> Array:
    """Pearson's r of true fractions with voted ones: the root of `noise_ceiling`, 0 below zero."""
    return np.asarray(np.sqrt(np.maximum(ceiling_of_r2, 0)))
