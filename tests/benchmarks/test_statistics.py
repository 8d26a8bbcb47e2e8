"""Scores and intervals against scikit-learn, scipy, and rows written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, pearsonr
from sklearn.metrics import mean_absolute_error, r2_score

from benchmarks.statistics import Score, macro_scores, pooled_r, resample_objects, score_predictions

Array = np.ndarray


def make_labels(seed: int, n: int = 60, targets: int = 3) -> tuple[Array, Array]:
    """Labels with gaps, and predictions that are right by half."""
    rng = np.random.default_rng(seed)
    Y = rng.uniform(size=(n, targets))
    P = 0.5 * Y + 0.2 + rng.normal(0, 0.15, Y.shape)
    Y[rng.uniform(size=Y.shape) < 0.2] = np.nan
    return Y, P


def test_scores_are_those_of_scipy_and_scikit_learn_averaged_over_targets() -> None:
    Y, P = make_labels(1)
    expected = []
    for y, p in zip(Y.T, P.T, strict=True):
        there = ~np.isnan(y)
        y, p = y[there], p[there]
        expected.append((pearsonr(y, p).statistic, r2_score(y, p), mean_absolute_error(y, p)))
    scores = macro_scores(Y, P, np.ones((1, len(Y))))
    assert [scores[name][0] for name in ("r", "r2", "mae")] == pytest.approx(np.mean(expected, axis=0))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 3), min_size=12, max_size=12).filter(any))
def test_a_weight_is_so_many_copies_of_the_row(seed: int, times: list[int]) -> None:
    Y, P = make_labels(seed, 12)
    weights = np.array([times], float)
    copied = np.repeat(np.arange(12), times)
    one = np.ones((1, len(copied)))
    for name, values in macro_scores(Y, P, weights).items():
        assert values[0] == pytest.approx(macro_scores(Y[copied], P[copied], one)[name][0], nan_ok=True)
    # both centre on all rows or on the copies: the correlation does not care
    assert pooled_r(Y, P, weights)[0] == pytest.approx(pooled_r(Y[copied], P[copied], one)[0], nan_ok=True)


def test_a_constant_has_no_correlation_and_one_among_others_counts_as_zero() -> None:
    Y, P = make_labels(2)
    one = np.ones((1, len(Y)))
    constant = np.tile(np.nanmean(Y, axis=0), (len(Y), 1))
    scores = macro_scores(Y, constant, one)
    assert np.isnan(scores["r"][0])
    assert scores["r2"][0] == pytest.approx(0)
    P[:, 0] = 0.4
    there = [~np.isnan(y) for y in Y.T]
    r = [pearsonr(Y[there[t], t], P[there[t], t]).statistic for t in (1, 2)]
    assert macro_scores(Y, P, one)["r"][0] == pytest.approx(sum(r) / 3)


def test_targets_whose_labels_are_all_alike_are_left_out() -> None:
    Y, P = make_labels(3)
    one = np.ones((1, len(Y)))
    without = macro_scores(Y[:, :2], P[:, :2], one)
    Y[:, 2] = 0.7
    assert {name: v[0] for name, v in macro_scores(Y, P, one).items()} == pytest.approx(
        {name: v[0] for name, v in without.items()}
    )


def test_pooled_r_fills_with_zero_and_rewards_a_constant() -> None:
    Y, P = make_labels(4)
    one = np.ones((1, len(Y)))
    assert pooled_r(Y, P, one)[0] == pytest.approx(pearsonr(np.nan_to_num(Y).ravel(), P.ravel()).statistic)
    # two answers, means 0.9 and 0.1 with variance 0.01 each: between them 0.16, so r = sqrt(0.16 / 0.17)
    Y = np.array([[0.8, 0.0], [1.0, 0.2]])
    assert pooled_r(Y, np.array([[0.9, 0.1], [0.9, 0.1]]), np.ones((1, 2)))[0] == pytest.approx((0.16 / 0.17) ** 0.5)


def test_objects_are_drawn_whole_as_often_as_there_are_objects_and_the_same_way_again() -> None:
    objects = np.array([7, 3, 7, 9, 3, 7])
    weights = resample_objects(objects, 5, 400)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] == weights[:, 5]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert weights[:, 3].mean() == pytest.approx(1, abs=0.15)  # variance 2/3 over 400: six standard errors are 0.24
    assert (weights == resample_objects(objects, 5, 400)).all()
    assert (weights != resample_objects(objects, 6, 400)).any()


def test_the_interval_of_a_correlation_is_scipys() -> None:
    Y, P = make_labels(6, 120, 1)
    there = ~np.isnan(Y[:, 0])
    y, p = Y[there, 0], P[there, 0]
    weights = resample_objects(np.arange(len(y)), 0, 8000)
    low, high = score_predictions(y[:, None], p[:, None], weights)["r"].interval
    theirs = bootstrap((y, p), lambda a, b: pearsonr(a, b).statistic, paired=True, vectorized=False, n_resamples=4000,
                       method="BCa", rng=np.random.default_rng(1)).confidence_interval  # fmt: skip
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.015)


def test_the_spread_of_a_mean_is_the_known_one(rng: np.random.Generator) -> None:
    error = rng.exponential(0.2, (400, 1))
    Y = np.linspace(0, 1, 400)[:, None]
    mae = score_predictions(Y, Y + error, resample_objects(np.arange(400), 0, 6000))["mae"]
    assert mae.value == pytest.approx(error.mean())
    assert mae.draws.std() == pytest.approx(error.std() / 20, rel=0.05)
    low, high = mae.interval
    assert (high - low) / 2 == pytest.approx(1.96 * error.std() / 20, rel=0.1)


def test_intervals_cover_what_they_promise() -> None:
    """Of R2 too, whose plain percentile intervals lie too low on small samples."""
    rng, truth, covered = np.random.default_rng(8), 1 - 0.04 / (1 / 12), 0
    for trial in range(200):
        y = rng.uniform(size=(40, 1))
        p = y + rng.normal(0, 0.2, y.shape)
        low, high = score_predictions(y, p, resample_objects(np.arange(40), trial, 400))["r2"].interval
        covered += low <= truth <= high
    assert covered / 200 == pytest.approx(0.93, abs=0.05)  # three binomial errors around 0.93


def test_differences_are_paired() -> None:
    Y, P = make_labels(9)
    weights = resample_objects(np.arange(len(Y)), 0)
    rng = np.random.default_rng(1)
    first, second = (score_predictions(Y, P + rng.normal(0, 0.01, P.shape), weights)["r"] for _ in range(2))
    low, high = (first - second).interval
    assert high - low < 0.3 * (first.interval[1] - first.interval[0])
    assert (first - first).interval == (0, 0)


def test_json_holds_no_nan() -> None:
    assert Score(float("nan"), np.array([1.0])).to_list() == [None, None, None]
    assert Score(1.0, np.full(10, np.nan)).to_list() == [1.0, None, None]
