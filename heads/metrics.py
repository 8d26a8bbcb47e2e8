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


def rmse(y: Array, p: Array) -> float:
    """Root of the mean squared error; NaN without galaxies."""
    y, p = keep_asked(y, p)
    return float(np.sqrt(((y - p) ** 2).mean())) if len(y) else float("nan")


def bias(y: Array, p: Array) -> float:
    """Mean of prediction less label; NaN without galaxies."""
    y, p = keep_asked(y, p)
    return float((p - y).mean()) if len(y) else float("nan")


def slope(y: Array, p: Array) -> float:
    """
    Slope of the least-squares line of the labels on the predictions.

    1 where predictions mean what they say, below 1 where they lie too far apart. NaN with fewer than two galaxies or
    with predictions that do not vary.
    """
    y, p = keep_asked(y, p)
    if len(y) < 2 or np.ptp(p) == 0:
        return float("nan")
    p = p - p.mean()
    return float(p @ (y - y.mean()) / (p @ p))


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


def leading_accuracy(Y: Array, P: Array) -> tuple[float, int]:
    """
    How often the answer that is predicted to lead does lead.

    Of answers that share the lead each counts as right. Galaxies without a label or prediction of every answer are
    left out.

    Parameters
    ----------
    Y, P : (n_galaxies, n_answers) arrays
        Of one question.

    Returns
    -------
    accuracy : float
        NaN without galaxies.
    n : int
        Over how many galaxies.
    """
    Y, P = np.asarray(Y, np.float64), np.asarray(P, np.float64)
    there = ~np.isnan(Y + P).any(axis=1)
    if not there.any():
        return float("nan"), 0
    Y, P = Y[there], P[there]
    predicted = np.take_along_axis(Y, P.argmax(axis=1)[:, None], axis=1)[:, 0]
    return float((predicted == Y.max(axis=1)).mean()), len(Y)


def score_pooled(Y: Array, P: Array) -> dict[str, float | int]:
    """
    The reference study's figures: all targets of all galaxies as one list.

    They say little about any target: the means of the targets, predicted for every galaxy, already have a pooled r of
    about 0.7. The study calls `pooled_r_squared`, the square of r, R2; `r2` is the coefficient of determination.

    Parameters
    ----------
    Y, P : (n_galaxies, n_targets) arrays

    Returns
    -------
    dict
        ``pooled_r, pooled_r_squared, r2, mae, mse``, and ``n`` pairs of label and prediction.
    """
    y, p = keep_asked(Y, P)
    r = pearson_r(y, p)
    return {
        "pooled_r": r,
        "pooled_r_squared": r**2,
        "r2": r2(y, p),
        "mae": mae(y, p),
        "mse": rmse(y, p) ** 2,
        "n": len(y),
    }


METRICS = {"r": pearson_r, "r2": r2, "mae": mae, "rmse": rmse, "bias": bias, "slope": slope, "auc": auc}
