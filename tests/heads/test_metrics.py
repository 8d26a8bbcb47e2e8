"""Metrics against hand computation, scipy and scikit-learn."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import mean_absolute_error, r2_score

from heads.metrics import METRICS, auc, count, is_binary, keep_asked, mae, pearson_r, r2

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


@pytest.mark.parametrize("name", ["r", "r2", "auc"])
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


@pytest.mark.parametrize("name", ["r", "r2", "mae"])
def test_float16_is_summed_in_float64(name: str, rng: np.random.Generator) -> None:
    # 3000 squares of about 100 overflow float16, which ends at 65504
    y = rng.normal(0, 100, 3000).astype(np.float16)
    p = (y + rng.normal(0, 30, 3000)).astype(np.float16)
    others = {"r": lambda y, p: stats.pearsonr(y, p).statistic, "r2": r2_score, "mae": mean_absolute_error}
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
def test_r2_and_mae_are_scikit_learns(rows: np.ndarray) -> None:
    y, p = rows
    assert mae(y, p) == pytest.approx(mean_absolute_error(y, p), abs=1e-12)
    assume(varies(y))
    assert r2(y, p) == pytest.approx(r2_score(y, p), rel=1e-9, abs=1e-9)


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
