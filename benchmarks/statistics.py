"""Scores over all targets, and how far they could be off: resampling whole sky objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

Array = np.ndarray[Any, Any]
N_RESAMPLES = 2000
SMALL = 1e-10  # of a variance of fractions: below it they are all alike


@dataclass(frozen=True)
class Score:
    """
    A number and its 95 % interval.

    Attributes
    ----------
    value : float
        NaN where it does not exist (a constant has no correlation with anything).
    draws : (n_resamples,) array
        The number on each resample.
    """

    value: float
    draws: Array = field(repr=False)

    @property
    def interval(self) -> tuple[float, float]:
        """
        The bias-corrected percentiles (Efron & Tibshirani 1993, section 14.3, without acceleration).

        Plain ones would not do: with few galaxies nearly every resample has a smaller variance, and so a smaller R2,
        than the sample.
        """
        there = self.draws[np.isfinite(self.draws)]
        if not (np.isfinite(self.value) and len(there)):
            return float("nan"), float("nan")
        below = (there < self.value).mean() + (there == self.value).mean() / 2
        bias = ndtri(np.clip(below, 1 / (len(there) + 1), len(there) / (len(there) + 1)))
        low, high = np.quantile(there, ndtr(2 * bias + ndtri([0.025, 0.975])))
        return float(low), float(high)

    def __sub__(self, other: Score) -> Score:
        """The difference of two scores on the same resamples: paired, so what both share cancels."""
        return Score(self.value - other.value, self.draws - other.draws)

    def to_list(self) -> list[float | None]:
        """Value, low and high as JSON can hold them."""
        return [float(number) if np.isfinite(number) else None for number in (self.value, *self.interval)]


def resample_objects(objects: Array, random_state: int, n_resamples: int = N_RESAMPLES) -> Array:
    """
    How often each row is drawn when sky objects are drawn with replacement.

    The same objects and `random_state` give the same draws: scores on them are paired.

    Parameters
    ----------
    objects : (n_rows,) array
        Rows of one object are drawn together.
    random_state : int
    n_resamples : int

    Returns
    -------
    (n_resamples, n_rows) float64 array
    """
    _, index = np.unique(objects, return_inverse=True)
    n_objects = int(index.max()) + 1
    draws = np.random.default_rng(random_state).multinomial(n_objects, np.full(n_objects, 1 / n_objects), n_resamples)
    return np.asarray(draws[:, index], np.float64)


def macro_scores(Y: Array, P: Array, weights: Array) -> dict[str, Array]:
    """
    Pearson r, R2 and MAE, each the mean over targets.

    Parameters
    ----------
    Y, P : (n_rows, n_targets) arrays
        Labels and predictions; an entry counts where both are there.
    weights : (n_resamples, n_rows) array
        How often each row counts.

    Returns
    -------
    dict of str to (n_resamples,) array
        ``r, r2, mae``. A target whose labels are all alike is left out; a target that is predicted to be the same
        everywhere has an r of 0, and without any other there is no r (NaN).
    """
    asked = ~(np.isnan(Y) | np.isnan(P))
    # moments about the means lose no digits where a prediction hardly varies
    y, p = (_centre(np.asarray(values, np.float64), asked) for values in (Y, P))
    apart = np.where(asked, np.asarray(Y, np.float64) - P, 0)
    n = weights @ asked
    with np.errstate(invalid="ignore", divide="ignore"):
        y_mean, p_mean = weights @ y / n, weights @ p / n
        y_variance, p_variance = weights @ y**2 / n - y_mean**2, weights @ p**2 / n - p_mean**2
        covariance = weights @ (y * p) / n - y_mean * p_mean
        varies = y_variance > SMALL
        r = np.where(p_variance > SMALL, covariance / np.sqrt(y_variance * p_variance), 0)
        r2 = 1 - weights @ apart**2 / n / y_variance
        mae = weights @ np.abs(apart) / n
    scores = {name: mean_over(values, varies) for name, values in (("r", r), ("r2", r2), ("mae", mae))}
    scores["r"] = np.where((varies & (p_variance > SMALL)).any(axis=1), scores["r"], np.nan)
    return scores


def _centre(values: Array, asked: Array) -> Array:
    """Values less their column's mean, 0 where not asked."""
    kept = np.where(asked, values, 0)
    return np.asarray(np.where(asked, values - kept.sum(axis=0) / np.maximum(asked.sum(axis=0), 1), 0))


def mean_over(values: Array, there: Array) -> Array:
    """The mean of each row's entries that are `there`, (n_rows,); NaN where none is."""
    count = there.sum(axis=1)
    total = np.where(there, values, 0).sum(axis=1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def pooled_r(Y: Array, P: Array, weights: Array) -> Array:
    """
    Pearson r of all entries at once, with 0 for the label of a question that was not asked.

    What the reference study called its correlation. The differences between the targets' means alone make it large, so
    that a constant prediction scores high on it.

    Returns
    -------
    (n_resamples,) array
    """
    y, p = np.nan_to_num(np.asarray(Y, np.float64)), np.asarray(P, np.float64)
    y, p = y - y.mean(), p - p.mean()
    n = weights.sum(axis=1) * Y.shape[1]
    y_mean, p_mean = weights @ y.sum(axis=1) / n, weights @ p.sum(axis=1) / n
    y_variance = weights @ (y**2).sum(axis=1) / n - y_mean**2
    p_variance = weights @ (p**2).sum(axis=1) / n - p_mean**2
    covariance = weights @ (y * p).sum(axis=1) / n - y_mean * p_mean
    varies = (y_variance > SMALL) & (p_variance > SMALL)
    root = np.sqrt(np.where(varies, y_variance * p_variance, 1))
    return np.asarray(np.where(varies, covariance / root, np.nan))


def score_predictions(Y: Array, P: Array, weights: Array, whole: Array | None = None) -> dict[str, Score]:
    """
    Every score with its interval.

    Parameters
    ----------
    Y, P : (n_rows, n_targets) arrays
    weights : (n_resamples, n_rows) array
        Of `resample_objects`.
    whole : (n_rows, n_targets) array, optional
        All labels, however few votes they have: ``pooled_r`` is of these, and left out without them.

    Returns
    -------
    dict of str to Score
        ``r, r2, mae`` over the targets' means, ``pooled_r``.
    """
    weights = np.concatenate([np.ones((1, len(Y))), weights])  # the first row is the sample itself
    scores = macro_scores(Y, P, weights)
    if whole is not None:
        scores["pooled_r"] = pooled_r(whole, P, weights)
    return {name: Score(float(values[0]), values[1:]) for name, values in scores.items()}
