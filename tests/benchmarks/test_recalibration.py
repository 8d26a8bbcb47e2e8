"""Offset and slope from few labels: against a solver, the known truth, and what cannot be."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, r2_score

from benchmarks.recalibration import Curve, fit_affine, recalibrate
from benchmarks.resampling import Resampling
from benchmarks.statistics import score_runs
from embeddings.errors import SommelierError

Array = np.ndarray
ROOT = Path(__file__).parents[2]


def make_survey(rng: np.random.Generator, n: int, seeds: int = 2) -> tuple[dict[int, Array], Array]:
    """Labels that are predicted too low and too steep, by each seed with its own noise; few for the third answer."""
    truth = rng.uniform(0.2, 0.8, (n, 3))
    Y = np.clip(truth + rng.normal(0, 0.1, truth.shape), 0, 1)
    Y[rng.uniform(size=n) < 0.7, 2] = np.nan
    runs = {seed: np.clip(1.3 * truth - 0.3 + rng.normal(0, 0.05, truth.shape), 0, 1) for seed in range(seeds)}
    return runs, Y


def draw_curve(seed: int = 0, **options) -> tuple[Curve, dict[int, Array], Array]:
    rng = np.random.default_rng(seed)
    (P_pool, Y_pool), (P_test, Y_test) = make_survey(rng, 400), make_survey(rng, 300)
    curve = recalibrate(P_pool, Y_pool, P_test, Y_test, **{"n_resamples": 300, "budgets": (5, 30, 200)} | options)
    assert curve is not None
    return curve, P_test, Y_test


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 8))
def test_the_fit_is_least_squares_with_two_rows_for_what_is_believed(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    P, Y = rng.uniform(size=(n + 1, 1)), rng.uniform(size=(n + 1, 1))
    Y[n] = np.nan
    offset, slope = fit_affine(P, Y, np.array([0.04]))
    p, y = P[:n, 0], Y[:n, 0]
    middle = p.mean() if n else 0
    # a at the middle and t, pulled to 0 by rows sqrt(2.5) (1, 0) and sqrt(10 * 0.04) (0, 1)
    rows = np.concatenate([np.stack([np.ones(n), p - middle], axis=1), np.diag([2.5**0.5, 0.4**0.5])])
    (a, t), *_ = np.linalg.lstsq(rows, np.concatenate([y - p, [0, 0]]))
    assert (offset[0], slope[0]) == pytest.approx((a - t * middle, 1 + t))
    if not n:
        assert (offset[0], slope[0]) == (0, 1)


def test_predictions_that_are_all_alike_are_moved_and_not_tilted() -> None:
    offset, slope = fit_affine(np.full((10, 1), 0.3), np.full((10, 1), 0.5), np.zeros(1))
    assert (offset[0], slope[0]) == pytest.approx((0.2 * 10 / 12.5, 1))


def test_with_many_labels_the_fit_is_plain_regression() -> None:
    runs, Y = make_survey(np.random.default_rng(1), 4000, 1)
    p, y = runs[0][:, :1], Y[:, :1]
    plain = LinearRegression().fit(p, y[:, 0])
    assert abs(plain.intercept_) > 0.2  # far from what is believed
    offset, slope = fit_affine(p, y, p.var(axis=0))
    assert (offset[0], slope[0]) == pytest.approx((plain.intercept_, plain.coef_[0]), abs=0.005)


@pytest.mark.parametrize(("offset", "slope"), [(0, 1), (0.1, 0.9), (0.05, 0.7)])
def test_with_few_labels_it_is_better_than_plain_regression(offset: float, slope: float) -> None:
    rng, gained = np.random.default_rng(2), []
    p = rng.uniform(size=(1010, 200))
    y = offset + slope * p + rng.normal(0, 0.2, p.shape)
    a, b = fit_affine(p[:10], y[:10], p.var(axis=0))
    for t in range(200):
        plain = LinearRegression().fit(p[:10, t : t + 1], y[:10, t]).predict(p[10:, t : t + 1])
        gained.append(r2_score(y[10:, t], a[t] + b[t] * p[10:, t]) - r2_score(y[10:, t], plain))
    assert np.mean(gained) > 3 * np.std(gained) / np.sqrt(200)


def test_labels_bring_the_scores_to_what_any_offset_and_slope_could() -> None:
    curve, P_test, Y_test = draw_curve(in_domain=0.6)
    r2, mae, bias = ([point.scores[name].value for point in curve.points] for name in ("r2", "mae", "bias"))
    assert curve.uncorrected["r2"].value < r2[0] < r2[1] < r2[2]
    assert curve.uncorrected["mae"].value > mae[0] > mae[1] > mae[2]
    assert abs(curve.uncorrected["bias"].value) > 0.1
    assert abs(bias[2]) < 0.01
    best = [
        r2_score(y, LinearRegression().fit(p[:, None], y).predict(p[:, None]))
        for P in P_test.values()
        for p, y in ((P[there, t], Y_test[there, t]) for t, there in enumerate(~np.isnan(Y_test).T))
    ]
    assert r2[2] == pytest.approx(np.mean(best), abs=0.03)
    assert r2[2] < np.mean(best)
    gain = curve.points[2].scores["r2"] - curve.uncorrected["r2"]
    assert gain.interval[0] > 0
    widths = [np.diff(point.scores["bias"].interval)[0] for point in curve.points]
    assert widths[0] > 1.5 * widths[1] > 1.5 * widths[2]


def test_a_point_is_the_mean_of_all_draws_scored_one_by_one() -> None:
    rng = np.random.default_rng(2)
    (P_pool, Y_pool), (P_test, Y_test) = make_survey(rng, 60), make_survey(rng, 100)
    objects = np.arange(60) // 2
    curve = recalibrate(P_pool, Y_pool, P_test, Y_test, (30,), 5, 0, objects, n_resamples=50)  # the whole pool
    assert curve is not None
    found, corrected = curve.points[0].scores, {}
    for seed, P in P_pool.items():
        offset, slope = fit_affine(P, Y_pool, P.var(axis=0))
        corrected[seed] = np.clip(offset + slope * P_test[seed], 0, 1)
    expected = score_runs(Y_test, corrected, Resampling(np.arange(100), 0, 50)).macro
    for name, score in found.items():
        assert score.value == pytest.approx(expected[name].value)
        assert score.draws == pytest.approx(expected[name].draws, abs=1e-5)
        assert score.luck == pytest.approx(expected[name].luck)  # whole pools differ by nothing
        assert score.freedom == pytest.approx(1)
        wider = recalibrate(P_pool, Y_pool, P_test, Y_test, (30,), 5, 0, objects, n_resamples=50, inflation=3)
        assert wider is not None
        assert wider.points[0].scores[name].luck == pytest.approx(3 * score.luck)
    there = ~np.isnan(Y_test)
    mae = [mean_absolute_error(Y_test[there[:, t], t], P[there[:, t], t]) for P in corrected.values() for t in range(3)]
    assert found["mae"].value == pytest.approx(np.mean(mae))
    assert curve.n_pool == 30


@pytest.mark.parametrize(("n_pool", "pools"), [(4000, 1), (40, 25)])
def test_the_interval_is_of_one_draw_of_other_labels(n_pool: int, pools: int) -> None:
    """
    The bias of K = 20 labels is their mean residual, shrunk by K / (K + 2.5): variance v / K.

    The mean of many draws is that of the pool, v / n_pool, from which a draw of other labels differs by the sum.
    """
    rng, noise, variances = np.random.default_rng(3), 0.1, []
    for _ in range(pools):
        p = np.full((n_pool + 200, 1), 0.5)
        y = p + rng.normal(0, noise, p.shape).clip(-0.4, 0.4)
        curve = recalibrate({0: p[200:]}, y[200:], {0: p[:200]}, y[:200], (20,), 400, n_resamples=500)
        assert curve is not None
        score = curve.points[0].scores["bias"]
        assert score.luck is not None
        variances.append(score.luck.var())
        assert score.freedom == pytest.approx(399)
    expected = noise**2 * (1 / 20 + 1 / n_pool) * (20 / 22.5) ** 2
    assert np.mean(variances) == pytest.approx(expected, rel=0.2)  # of 25 pools of 40: one standard error is 0.05


@pytest.mark.slow
def test_the_interval_holds_what_other_labels_bring_on_all_galaxies() -> None:
    rng = np.random.default_rng(7)
    (everyone, Y), held = make_survey(rng, 20_000, 1), {(k, name): 0 for k in (10, 100) for name in ("r2", "bias")}
    for trial in range(200):
        (P_pool, Y_pool), (P_test, Y_test) = make_survey(rng, 200, 1), make_survey(rng, 300, 1)
        curve = recalibrate(P_pool, Y_pool, P_test, Y_test, (10, 100), 20, trial, n_resamples=200)
        assert curve is not None
        for point in curve.points:
            P, labels = make_survey(rng, point.budget, 1)
            offset, slope = fit_affine(P[0], labels, P_pool[0].var(axis=0))
            error = np.clip(offset + slope * everyone[0], 0, 1) - Y
            truth = {"r2": np.mean(1 - np.nanmean(error**2, axis=0) / np.nanvar(Y, axis=0)),
                     "bias": np.nanmean(error, axis=0).mean()}  # fmt: skip
            for name, value in truth.items():
                low, high = point.scores[name].interval
                held[point.budget, name] += low <= value <= high
    assert {key: count / 200 for key, count in held.items()} == pytest.approx(dict.fromkeys(held, 0.95), abs=0.05)


def test_one_seed_is_a_single_run_and_seeds_share_the_labels() -> None:
    rng = np.random.default_rng(4)
    (P_pool, Y_pool), (P_test, Y_test) = make_survey(rng, 200, 1), make_survey(rng, 100, 1)
    one = recalibrate(P_pool, Y_pool, P_test, Y_test, (20,), n_resamples=200)
    same = recalibrate(
        {3: P_pool[0], 8: P_pool[0]}, Y_pool, {3: P_test[0], 8: P_test[0]}, Y_test, (20,), n_resamples=200
    )
    assert one is not None
    assert same is not None
    first, twice = one.points[0].scores["r2"], same.points[0].scores["r2"]
    assert (first.label, twice.label) == ("single run", "2 seeds")
    assert twice.value == pytest.approx(first.value)
    assert first.luck is not None
    assert twice.luck is not None
    assert twice.luck.std() == pytest.approx(first.luck.std(), rel=0.2)  # it is the labels' luck, and not halved


def test_how_many_labels_bring_half_back() -> None:
    curve, *_ = draw_curve()
    assert curve.find_budget() is None  # the score in domain is not known
    before = curve.uncorrected["r2"].value
    values = [point.scores["r2"].value for point in curve.points]
    assert replace(curve, in_domain=before + 2 * (values[0] - before) - 1e-9).find_budget() == 5
    assert replace(curve, in_domain=before + 2 * (values[0] - before) + 1e-9).find_budget() == 30
    assert replace(curve, in_domain=before + (values[2] - before) - 1e-9).find_budget(1) == 200
    assert replace(curve, in_domain=before + 3 * (values[2] - before)).find_budget() is None
    assert replace(curve, in_domain=before - 0.1).find_budget() == 0
    record = json.loads(json.dumps(replace(curve, in_domain=0.6).to_dict(), allow_nan=False))
    assert [row["labels"] for row in record["curve"]] == [0, 5, 30, 200]
    assert record["curve"][1]["r2"] == curve.points[0].scores["r2"].to_list()
    assert (record["labels_for_half"], record["pool"], record["runs"]) == (5, 400, 2)


def test_what_has_no_labels_is_left_out() -> None:
    rng = np.random.default_rng(5)
    (P_pool, Y_pool), (P_test, Y_test) = make_survey(rng, 100), make_survey(rng, 100)
    Y_test[19:, 1] = np.nan
    Y_pool[50:] = np.nan
    Y_pool[0, [0, 2]] = np.nan  # a label of the answer that does not count
    curve = recalibrate(P_pool, Y_pool, P_test, Y_test, (20, 49, 50), n_resamples=20)
    assert curve is not None
    assert curve.answers.tolist() == [0, 2]
    assert [point.budget for point in curve.points] == [20, 49]
    without = recalibrate(P_pool, np.full_like(Y_pool, np.nan), P_test, Y_test, n_resamples=20)
    assert without is not None
    assert without.points == ()
    Y_test[19:] = np.nan
    assert recalibrate(P_pool, Y_pool, P_test, Y_test) is None


def test_the_documented_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    example = re.findall(r"```python\n(.*?)```", (ROOT / "docs/statistics.md").read_text(), re.DOTALL)[1]
    exec(compile(example, "statistics.md", "exec"), {})
    drop, curve = capsys.readouterr().out.splitlines()
    image, annotation, total = (float(value) for value in re.findall(r"-?\d+\.\d+", drop))
    assert image + annotation == pytest.approx(total, abs=0.02)
    assert annotation > 0.1  # labels are 0.2 higher, whose square is half of their variance of 1/12
    assert curve.startswith("10 [(0, ")


def test_what_does_not_fit_is_refused() -> None:
    rng = np.random.default_rng(6)
    (P_pool, Y_pool), (P_test, Y_test) = make_survey(rng, 50), make_survey(rng, 40)
    with pytest.raises(SommelierError, match=r"seeds \[0, 1\] of the pool and \[0\] of the test"):
        recalibrate(P_pool, Y_pool, {0: P_test[0]}, Y_test)
    with pytest.raises(
        SommelierError, match=r"of the pool have the shapes \[\(50, 2\), \(50, 3\)\] for 50 sky objects"
    ):
        recalibrate(P_pool, Y_pool[:, :2], P_test, Y_test)
    with pytest.raises(SommelierError, match=r"labels of the test lie outside \[0, 1\]"):
        recalibrate(P_pool, Y_pool, P_test, Y_test * 5)
    with pytest.raises(SommelierError, match=r"3 sky objects \(37 \.\.\.\) are in the pool and in the test"):
        recalibrate(P_pool, Y_pool, P_test, Y_test, objects_pool=np.arange(50) + 37, objects_test=np.arange(40))
    for wrong in ({"budgets": (0, 10)}, {"n_draws": 1}):
        with pytest.raises(SommelierError, match="a label and two draws are the least"):
            recalibrate(P_pool, Y_pool, P_test, Y_test, **wrong)
