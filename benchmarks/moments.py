"""Sums that scores follow from: added up once a sky object, then weighed in matrix products for all resamples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.resampling import Resampling

Array = np.ndarray[Any, Any]
SMALL = 1e-10  # of a variance of fractions: below it they are all alike
SCORES = ("r", "r2", "mae", "rmse", "bias")


@dataclass(frozen=True)
class TargetScores:
    """
    What each resample says of each target.

    Attributes
    ----------
    r, r2, mae, rmse, bias : (n_resamples, n_targets) arrays
        Pearson's r, 0 where a prediction is the same everywhere; the coefficient of determination; the mean absolute
        error; the root of the mean squared error; the mean of prediction less label. NaN where labels are all alike.
    predicted : (n_resamples, n_targets) bool array
        Labels and predictions both vary.
    """

    r: Array
    r2: Array
    mae: Array
    rmse: Array
    bias: Array
    predicted: Array

    def average(self) -> dict[str, Array]:
        """
        Each score's mean over targets, (n_resamples,).

        A target whose labels are all alike is left out; a target that is predicted to be the same everywhere has an r
        of 0, and without any other there is no r (NaN).
        """
        means = {}
        for name in SCORES:
            values = getattr(self, name)
            means[name] = mean_over(values, np.isfinite(values))
        means["r"] = np.where(self.predicted.any(axis=1), means["r"], np.nan)
        return means


@dataclass(frozen=True)
class Moments:
    """
    Of each row or sky object: count, label, prediction, their squares and product, squared and absolute error.

    Attributes
    ----------
    columns : (n_rows, 8, n_targets) array
        Labels and predictions are less their means: moments about them lose no digits where a prediction hardly varies.
    offset : (n_targets,) array
        The mean prediction less the mean label.
    """

    columns: Array
    offset: Array

    @classmethod
    def of(cls, Y: Array, P: Array) -> Moments:
        """
        Of labels and predictions, (n_rows, n_targets) each; an entry counts where both are there.

        Returns
        -------
        Moments
            A row for each row.
        """
        Y, P = np.asarray(Y, np.float64), np.asarray(P, np.float64)
        asked = ~(np.isnan(Y) | np.isnan(P))
        n = np.maximum(asked.sum(axis=0), 1)
        y_mean, p_mean = (np.where(asked, values, 0).sum(axis=0) / n for values in (Y, P))
        return cls(_list_columns(Y, P, asked, y_mean, p_mean), p_mean - y_mean)

    @classmethod
    def pool(cls, Y: Array, P: Array) -> Moments:
        """Of all targets as if they were one, which is what the reference study scored."""
        Y, P = np.asarray(Y, np.float64), np.asarray(P, np.float64)
        asked = ~(np.isnan(Y) | np.isnan(P))
        y_mean, p_mean = (np.where(asked, values, 0).sum() / max(asked.sum(), 1) for values in (Y, P))
        columns = _list_columns(Y, P, asked, y_mean, p_mean).sum(axis=2, keepdims=True)
        return cls(columns, np.array([p_mean - y_mean]))

    def gather(self, resampling: Resampling) -> Moments:
        """A row for each sky object, in the order of the resampling, as float32."""
        n, *shape = self.columns.shape
        columns = resampling.gather(self.columns.reshape(n, -1)).reshape(-1, *shape)
        return replace(self, columns=columns.astype(np.float32))

    def score(self) -> TargetScores:
        """The sample itself, as one resample."""
        return self._finish(self.columns.sum(axis=0, keepdims=True, dtype=np.float64), np.float64)

    def weigh(self, weights: Array) -> TargetScores:
        """
        Score resamples.

        Parameters
        ----------
        weights : (n_resamples, n_rows) array
            How often each row counts. In the precision of `columns`, or the product takes long.
        """
        n, *shape = self.columns.shape
        sums = (weights @ self.columns.reshape(n, -1)).reshape(-1, *shape)
        return self._finish(sums.astype(np.float64), self.columns.dtype)

    def _finish(self, sums: Array, precision: Any) -> TargetScores:
        n = sums[:, 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            y, p, yy, pp, yp, squared, absolute = np.moveaxis(sums[:, 1:] / n[:, None], 1, 0)
            y_variance, p_variance, covariance = yy - y**2, pp - p**2, yp - y * p
            varies = _exceed_rounding(y_variance, yy, precision)
            predicted = varies & _exceed_rounding(p_variance, pp, precision)
            r = np.where(predicted, covariance / np.sqrt(np.where(predicted, y_variance * p_variance, 1)), 0)
            found = r, 1 - squared / y_variance, absolute, np.sqrt(squared), p - y + self.offset
        r, r2, mae, rmse, bias = (np.where(varies, values, np.nan) for values in found)
        return TargetScores(r, r2, mae, rmse, bias, predicted)


def _list_columns(Y: Array, P: Array, asked: Array, y_mean: Array, p_mean: Array) -> Array:
    y, p, apart = (np.where(asked, values, 0) for values in (Y - y_mean, P - p_mean, P - Y))
    return np.stack([asked.astype(np.float64), y, p, y**2, p**2, y * p, apart**2, np.abs(apart)], axis=1)


def _exceed_rounding(variance: Array, square: Array, precision: Any) -> Array:
    """Whether a variance, the mean square less the squared mean, is more than what rounding leaves of nothing."""
    return np.asarray((variance > SMALL) & (variance > 100 * np.finfo(precision).eps * square))


def weigh_auc(y: Array, p: Array, weights: Array) -> Array:
    """
    The area under the ROC curve of one target: how often a galaxy of class 1 is predicted above one of class 0.

    Ties count as half (Mann & Whitney 1947, Ann. Math. Statist. 18, 50).

    Parameters
    ----------
    y, p : (n_rows,) arrays
        Classes 0 and 1, predictions; an entry counts where both are there.
    weights : (n_resamples, n_rows) array
        How often each row counts.

    Returns
    -------
    (n_resamples,) float64 array
        NaN where a class has no row.
    """
    asked = ~(np.isnan(y) | np.isnan(p))
    y, p, weights = y[asked], p[asked], weights[:, asked].astype(np.float64)
    order = np.argsort(p, kind="stable")
    starts = np.unique(p[order], return_index=True)[1]  # of equal predictions
    zeros, ones = (np.add.reduceat(weights[:, order] * (y[order] == value), starts, axis=1) for value in (0, 1))
    below = np.cumsum(zeros, axis=1) - zeros / 2
    pairs = zeros.sum(axis=1) * ones.sum(axis=1)
    return np.where(pairs > 0, (below * ones).sum(axis=1) / np.where(pairs > 0, pairs, 1), np.nan)


def mean_over(values: Array, there: Array) -> Array:
    """The mean of each row's entries that are `there`, (n_rows,); NaN where none is."""
    count = there.sum(axis=1)
    total = np.where(there, values, 0).sum(axis=1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))
