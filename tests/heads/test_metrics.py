"""Metrics against hand computation, scipy and scikit-learn."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from heads.metrics import (
    METRICS,
    auc,
    bias,
    count,
    is_binary,
    keep_asked,
    leading_accuracy,
    mae,
    pearson_r,
    r2,
    rmse,
    score_pooled,
    slope,
)

NAN = float("nan")
ALL = sorted(METRICS.items())
numbers = st.floats(-1e3, 1e3).map(lambda value: round(value, 3))
pairs = st.lists(st.tuples(numbers, numbers), min_size=2, max_size=30).map(lambda rows: np.array(rows).T)


def varies(values: np.ndarray) -> bool:
    return bool(np.ptp(values) > 0)


# by hand


def test_pearson_r_by_hand() -> None:
    # y - 2 = (-1, 0, 1), p - 3 = (-1, -1, 2): sum of products 1 + 0 + 2 = 3; norms sqrt(2), sqrt(6);
    # r = 3 / sqrt(12) = sqrt(3) / 2
    assert pearson_r([1, 2, 3], [2, 2, 5]) == pytest.approx(math.sqrt(3) / 2)


def test_r2_by_hand() -> None:
    # residuals (-1, 0, -2): 1 + 0 + 4 = 5; about the mean 2: 1 + 0 + 1 = 2; 1 - 5 / 2
    assert r2([1, 2, 3], [2, 2, 5]) == pytest.approx(-1.5)


def test_mae_by_hand() -> None:
    assert mae([1, 2, 3], [2, 2, 5]) == pytest.approx((1 + 0 + 2) / 3)


def test_rmse_by_hand() -> None:
    assert rmse([1, 2, 3], [2, 2, 5]) == pytest.approx(math.sqrt((1 + 0 + 4) / 3))


def test_bias_by_hand() -> None:
    # predicted less true: (1 + 0 + 2) / 3, and the other way round the other sign
    assert bias([1, 2, 3], [2, 2, 5]) == pytest.approx(1)
    assert bias([2, 2, 5], [1, 2, 3]) == pytest.approx(-1)


def test_slope_by_hand() -> None:
    # p - 3 = (-1, -1, 2), y - 2 = (-1, 0, 1): products 1 + 0 + 2 = 3, squares of p 1 + 1 + 4 = 6
    assert slope([1, 2, 3], [2, 2, 5]) == pytest.approx(3 / 6)
    # predictions twice too far apart have half the slope
    assert slope([1, 2, 3], [0, 2, 4]) == pytest.approx(0.5)


def test_auc_by_hand() -> None:
    # pairs (positive, negative): 0.8 beats 0.2 and 0.5; 0.5 beats 0.2 and ties with 0.5: (2 + 1 + 0.5) / 4
    assert auc([1, 0, 1, 0], [0.8, 0.2, 0.5, 0.5]) == pytest.approx(3.5 / 4)


def test_biased_prediction_r2_is_not_r_squared() -> None:
    # p = y + 1: r = 1. Residuals 4 x 1 = 4; about the mean 1.5: 2.25 + 0.25 + 0.25 + 2.25 = 5; R2 = 1 - 4 / 5
    y, p = np.arange(4.0), np.arange(4.0) + 1
    assert pearson_r(y, p) == pytest.approx(1)
    assert r2(y, p) == pytest.approx(0.2)


def test_mean_of_the_labels_scores_r2_zero_and_no_r() -> None:
    y = np.array([0.1, 0.4, 0.7])
    assert r2(y, np.full(3, 0.4)) == pytest.approx(0)
    assert math.isnan(pearson_r(y, np.full(3, 0.4)))


def test_leading_accuracy_by_hand() -> None:
    Y = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.4, 0.4, 0.2], [NAN, 1, 0], [1, 0, 0]]
    P = [[0.5, 0.4, 0.1], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0, 1, 0], [NAN, 0, 0]]
    # right; wrong; right, one of two that lead; wrong; the last two are left out: 2 of 4
    assert leading_accuracy(Y, P) == (0.5, 4)


def test_leading_accuracy_of_nobody() -> None:
    accuracy, n = leading_accuracy(np.full((3, 2), NAN), np.zeros((3, 2)))
    assert math.isnan(accuracy)
    assert n == 0


def test_pooled_by_hand() -> None:
    # of the pairs (1, 2), (2, 2), (3, 5), the figures above; the others have no label or no prediction
    pooled = score_pooled([[1, 2], [3, NAN], [7, NAN]], [[2, 2], [5, 9], [NAN, 1]])
    assert pooled.pop("n") == 3
    assert pooled == pytest.approx(
        {"pooled_r": math.sqrt(3) / 2, "pooled_r_squared": 3 / 4, "r2": -1.5, "mae": 1, "mse": 5 / 3}
    )


def test_pooled_r_rewards_the_means_of_targets(rng: np.random.Generator) -> None:
    # two targets of mean 0.1 and 0.9 with noise: predicting these means, which says nothing of any galaxy
    Y = np.array([0.1, 0.9]) + 0.05 * rng.normal(size=(200, 2))
    P = np.tile([0.1, 0.9], (200, 1))
    assert score_pooled(Y, P)["pooled_r"] > 0.98
    assert all(math.isnan(pearson_r(y, p)) for y, p in zip(Y.T, P.T, strict=True))


@pytest.mark.parametrize(
    ("survey", "published"),
    [
        ("sdss", (0.8928, 0.7971, 0.7970, 0.0852, 0.0248)),
        ("ukidss", (0.8393, 0.7043, 0.6892, 0.1411, 0.0459)),
    ],
)
def test_pooled_figures_are_the_reference_studys(survey: str, published: tuple[float, ...], real_data: Path) -> None:
    with np.load(real_data / f"gz_labels_and_predictions/{survey}_predictions_1000.npz") as file:
        Y, P = file["true_labels"], file["predictions"]
    pooled = score_pooled(Y, P)
    assert pooled.pop("n") == Y.size
    assert tuple(pooled.values()) == pytest.approx(published, abs=0.00005)
    if survey == "ukidss":  # smooth, featured and artifact are the first three
        accuracy, n = leading_accuracy(Y[:, :3], P[:, :3])
        assert (accuracy, n) == (pytest.approx(0.852, abs=0.0005), 1000)


# NaN, nothing, constants


@pytest.mark.parametrize(("name", "metric"), ALL)
@pytest.mark.parametrize(("y", "p"), [([], []), ([NAN, NAN], [1, 2]), ([1, NAN], [NAN, 2])])
def test_without_galaxies_nan_over_none(name: str, metric, y: list[float], p: list[float]) -> None:
    assert math.isnan(metric(y, p))
    assert count(y, p) == 0


@pytest.mark.parametrize("name", ["r", "r2", "auc"])
def test_constant_labels_are_nan(name: str) -> None:
    assert math.isnan(METRICS[name]([1, 1, 1], [0.2, 0.5, 0.9]))
    assert mae([1, 1], [0.2, 0.6]) == pytest.approx((0.8 + 0.4) / 2)


def test_constant_predictions_have_no_slope() -> None:
    assert math.isnan(slope([1, 2, 3], [5, 5, 5]))
    assert slope([5, 5, 5], [1, 2, 3]) == 0


@pytest.mark.parametrize("name", ["r", "r2", "slope", "auc"])
def test_one_galaxy_is_nan(name: str) -> None:
    assert math.isnan(METRICS[name]([1], [0.5]))
    assert mae([1], [0.25]) == 0.75


@pytest.mark.parametrize("labels", [[0, 0], [1, 1], [0, 0.5, 1], [1, 2], [0, 2], [-1, 1], [0.2, 0.9]])
def test_auc_needs_both_0_and_1_and_nothing_else(labels: list[float]) -> None:
    assert math.isnan(auc(labels, np.linspace(0, 1, len(labels))))
    assert not is_binary(labels)


def test_auc_leaves_unasked_labels_out() -> None:
    assert is_binary([NAN, 0, 1])
    # without the NaN rows 0.9 beats 0.1; with them in the pair order would be another
    assert auc([NAN, 0, 1, 1], [0.95, 0.1, 0.9, NAN]) == 1


def test_keep_asked_keeps_pairs_together() -> None:
    y, p = keep_asked([1, NAN, 3, 4], [10, 20, NAN, 40])
    assert y.tolist() == [1, 4]
    assert p.tolist() == [10, 40]
    assert y.dtype == p.dtype == np.float64


@pytest.mark.parametrize("name", ["r", "r2", "mae", "rmse"])
def test_float16_is_summed_in_float64(name: str, rng: np.random.Generator) -> None:
    # 3000 squares of about 100 overflow float16, which ends at 65504
    y = rng.normal(0, 100, 3000).astype(np.float16)
    p = (y + rng.normal(0, 30, 3000)).astype(np.float16)
    others = {"r": lambda y, p: stats.pearsonr(y, p).statistic, "r2": r2_score, "mae": mean_absolute_error}
    others["rmse"] = root_mean_squared_error
    assert METRICS[name](y, p) == pytest.approx(others[name](y.astype(float), p.astype(float)), abs=1e-12)


# against other programs


@settings(deadline=None)
@given(pairs)
def test_r_is_scipys(rows: np.ndarray) -> None:
    y, p = rows
    assume(varies(y) and varies(p))
    assert pearson_r(y, p) == pytest.approx(stats.pearsonr(y, p).statistic, abs=1e-9)


@settings(deadline=None)
@given(pairs)
def test_r2_and_errors_are_scikit_learns(rows: np.ndarray) -> None:
    y, p = rows
    assert rmse(y, p) == pytest.approx(root_mean_squared_error(y, p), abs=1e-12)
    assert mae(y, p) == pytest.approx(mean_absolute_error(y, p), abs=1e-12)
    assume(varies(y))
    assert r2(y, p) == pytest.approx(r2_score(y, p), rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(pairs)
def test_slope_is_scipys(rows: np.ndarray) -> None:
    y, p = rows
    assume(np.ptp(p) > 0.01)
    assert slope(y, p) == pytest.approx(stats.linregress(p, y).slope, rel=1e-6, abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=25))
def test_auc_is_the_share_of_ordered_pairs(rows: list[tuple[bool, int]]) -> None:
    positive, negative = [p for y, p in rows if y], [p for y, p in rows if not y]
    assume(positive and negative)
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(positive, negative)]
    y, p = np.array(rows, float).T
    assert auc(y, p) == pytest.approx(sum(wins) / len(wins))


@settings(deadline=None)
@given(pairs, st.data())
def test_nan_rows_change_nothing(rows: np.ndarray, data: st.DataObject) -> None:
    y, p = rows
    y = np.where(np.arange(len(y)) % 2, 1.0, 0.0)  # so that the AUC exists too
    holes = data.draw(st.lists(st.sampled_from(["none", "y", "p", "both"]), min_size=len(y), max_size=len(y)))
    holed_y = np.where([hole in ("y", "both") for hole in holes], NAN, y)
    holed_p = np.where([hole in ("p", "both") for hole in holes], NAN, p)
    there = np.array([hole == "none" for hole in holes])
    assert count(holed_y, holed_p) == there.sum()
    for metric in METRICS.values():
        assert metric(holed_y, holed_p) == pytest.approx(metric(y[there], p[there]), nan_ok=True)


@settings(deadline=None)
@given(pairs, st.floats(0.1, 10), numbers, st.sampled_from([-1, 1]))
def test_r_ignores_scale_and_offset(rows: np.ndarray, scale: float, offset: float, sign: int) -> None:
    y, p = rows
    assume(np.ptp(y) > 0.01 and np.ptp(p) > 0.01)
    assert pearson_r(y, sign * scale * p + offset) == pytest.approx(sign * pearson_r(y, p), abs=1e-6)
