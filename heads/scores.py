"""The score by which heads compare spaces: R2 in inner folds, averaged over targets."""

from __future__ import annotations

import numpy as np

from heads.base import Array


def mean_r2(residual: Array, Y: Array, weights: Array | None = None) -> float:
    """
    R2 from sums of squared residuals, averaged over the targets that vary.

    Parameters
    ----------
    residual : (n_targets,) array
        Sums over the galaxies that have the target, of weighted squares where there are weights.
    Y : (n_galaxies, n_targets) array
    weights : (n_galaxies, n_targets) array, optional
    """
    w = np.where(np.isnan(Y), 0, 1 if weights is None else weights)
    mean = np.nansum(w * Y, axis=0) / w.sum(axis=0)
    total = np.nansum(w * (Y - mean) ** 2, axis=0)
    varies = total > 0
    return float((1 - residual[varies] / total[varies]).mean()) if varies.any() else float("-inf")


def score_held_out(Y: Array, P: Array, held_out: Array, weights: Array | None = None) -> float:
    """
    `mean_r2` of predictions of the held-out galaxies.

    Parameters
    ----------
    Y : (n_galaxies, n_targets) array
    P : (n_held_out, n_targets) array
    held_out : (n_galaxies,) bool array
    weights : (n_galaxies, n_targets) array, optional
    """
    Y = Y[held_out]
    there = ~np.isnan(Y).all(axis=0)
    Y, P = Y[:, there], P[:, there]
    w = np.ones_like(Y) if weights is None else weights[held_out][:, there]
    return mean_r2(np.nansum(w * (Y - P) ** 2, axis=0), Y, None if weights is None else w)
