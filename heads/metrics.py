"""How good predictions are: pure functions that leave NaN out and always say over how many galaxies."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

Array = np.ndarray[Any, Any]


def keep_asked(y: Array, p: Array) -> tuple[Array, Array]:
    """The entries that have both a label and a prediction, as float64."""
    y, p = np.asarray(y, np.float64), np.asarray(p, np.float64)
    there = ~(np.isnan(y) | np.isnan(p))
    return y[there], p[there]


def pearson_r(y: Array, p: Array) -> float:
    """Pearson's correlation coefficient; NaN with fewer than two galaxies or without variance."""
    y, p = keep_asked(y, p)
    if len(y) < 2 or np.ptp(y) == 0 or np.ptp(p) == 0:
        return float("nan")
    y, p = y - y.mean(), p - p.mean()
    return float(y @ p / np.sqrt((y @ y) * (p @ p)))


def r2(y: Array, p: Array) -> float:
    """
    Coefficient of determination, 1 - residual / total sum of squares.

    Not the square of `pearson_r`: a biased prediction lowers it, and it is negative where the mean of the
    labels would have done better. NaN with fewer than two galaxies or without variance.
    """
    y, p = keep_asked(y, p)
    if len(y) < 2 or np.ptp(y) == 0:
        return float("nan")
    return float(1 - ((y - p) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def mae(y: Array, p: Array) -> float:
    """Mean absolute error; NaN without galaxies."""
    y, p = keep_asked(y, p)
    return float(np.abs(y - p).mean()) if len(y) else float("nan")


def auc(y: Array, p: Array) -> float:
    """Area under the ROC curve; NaN unless the labels are 0 and 1 and both occur."""
    y, p = keep_asked(y, p)
    if not is_binary(y):
        return float("nan")
    return float(roc_auc_score(y, p))


def is_binary(y: Array) -> bool:
    """Whether the labels that are there are 0 and 1, and both occur."""
    values = np.unique(np.asarray(y, np.float64))
    return np.array_equal(values[~np.isnan(values)], [0.0, 1.0])


def count(y: Array, p: Array) -> int:
    """Over how many galaxies the other figures are."""
    return len(keep_asked(y, p)[0])


METRICS = {"r": pearson_r, "r2": r2, "mae": mae, "auc": auc}
