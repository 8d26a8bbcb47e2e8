"""Scores and intervals against scikit-learn, scipy, and rows written out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, pearsonr
from sklearn.metrics import mean_absolute_error, r2_score

from benchmarks.resampling import Resampling, inflate_luck, resample_objects
from benchmarks.statistics import Score, macro_scores, pooled_r, score_predictions, score_runs
from embeddings.errors import SommelierError

Array = np.ndarray
ROOT = Path(__file__).parents[2]


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


def test_no_interval_goes_beyond_what_a_score_can_be() -> None:
    """Two seeds far apart: Student's t with one degree of freedom is wider than what is possible."""
    rng = np.random.default_rng(0)
    y = rng.random((60, 3))
    predictions = {0: y + rng.normal(0, 0.05, y.shape), 1: rng.random(y.shape)}
    scores = score_runs(y, predictions, Resampling(np.arange(60), 0, 2000))
    for name, (low, high) in {"r": (-1, 1), "r2": (-np.inf, 1), "mae": (0, np.inf)}.items():
        for score in (scores.macro[name], *scores.targets[name]):
            assert low <= score.interval[0] <= score.value <= score.interval[1] <= high
    assert scores.macro["r"].interval == (-1, 1)
    assert scores.macro["r"].spread.max() > 1  # which tests go by
    single = score_runs(y, {0: predictions[0]}, Resampling(np.arange(60), 0, 2000)).macro["r"]
    difference = single - scores.macro["r"]
    assert -2 <= difference.interval[0] < difference.value < difference.interval[1] <= 2
    bias = scores.macro["bias"]  # of either sign, however large
    assert bias.bounds == (-np.inf, np.inf)


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


def by_loop(Y: Array, P: Array, resampling: Resampling) -> dict[str, list[float]]:
    """The plain way: rows of the drawn objects, one target after another."""
    found: dict[str, list[float]] = {"r": [], "r2": [], "mae": [], "rmse": [], "bias": []}
    for block in resampling.draw_blocks():
        for weights in block.astype(int):
            rows = np.repeat(np.arange(len(Y)), weights[resampling.index])
            scores = []
            for y, p in zip(Y[rows].T, P[rows].T, strict=True):
                y, p = y[~np.isnan(y)], p[~np.isnan(y)]
                error = p - y
                scores.append((pearsonr(y, p).statistic, r2_score(y, p), mean_absolute_error(y, p),
                               (error**2).mean() ** 0.5, error.mean()))  # fmt: skip
            for name, value in zip(found, np.mean(scores, axis=0), strict=True):
                found[name].append(float(value))
    return found


def test_sums_in_blocks_are_the_plain_loop() -> None:
    Y, P = make_labels(11, 90)
    resampling = Resampling(np.arange(90) // 2, 4, 40)
    scores = score_runs(Y, {0: P}, resampling, Y)
    for name, values in by_loop(Y, P, resampling).items():
        assert scores.macro[name].draws == pytest.approx(values, abs=2e-5)  # of float32 sums
        column = scores.targets[name][1]
        alone = score_runs(Y[:, 1:2], {0: P[:, 1:2]}, resampling).macro[name]
        assert column.draws == pytest.approx(alone.draws, abs=1e-6)
        assert column.value == pytest.approx(alone.value)
    assert scores.n.tolist() == (~np.isnan(Y)).sum(axis=0).tolist()
    weights = resample_objects(resampling.objects, 4, 40)
    old = score_predictions(Y, P, weights, Y)
    for name in ("r", "r2", "mae", "pooled_r"):
        assert scores.macro[name].value == pytest.approx(old[name].value)
        assert scores.macro[name].draws == pytest.approx(old[name].draws, abs=2e-5)
    assert scores.macro["r"].label == "single run"


@pytest.mark.parametrize("spread", [1e-2, 1e-5])
def test_predictions_that_hardly_vary_lose_no_digits(spread: float) -> None:
    Y, P = make_labels(12, 200)
    resampling = Resampling(np.arange(200), 0, 20)
    wide, narrow = (score_runs(Y, {0: p}, resampling).macro["r"] for p in (P, 0.9 + spread * P))
    if spread < 1e-4:  # below what fractions of votes could show
        assert np.isnan(narrow.value)
    else:
        assert narrow.draws == pytest.approx(wide.draws, abs=1e-4)


def test_resamples_in_which_labels_are_all_alike_give_nothing_whatever_rounding_leaves() -> None:
    Y = np.array([[0.123456], [0.123456], [0.987654]])
    draws = score_runs(Y, {0: Y + np.array([[0.1], [0.0], [0.2]])}, Resampling(np.arange(3), 0, 200)).macro
    varied = resample_objects(np.arange(3), 0, 200)[:, 2]
    alike = (varied == 0) | (varied == 3)
    assert alike.sum() > 20
    assert np.isnan(draws["r2"].draws[alike]).all()
    assert np.isfinite(draws["r2"].draws[~alike]).all()


def test_several_seeds_are_their_mean_and_seeds_add_to_the_spread() -> None:
    Y, P = make_labels(13, 300)
    rng = np.random.default_rng(0)
    runs = {seed: P + rng.normal(0, 0.05 * (1 + seed), P.shape) for seed in range(4)}
    resampling = Resampling(np.arange(300), 0, 4000)
    each = [score_runs(Y, {seed: run}, resampling).macro["r"] for seed, run in runs.items()]
    score = score_runs(Y, runs, resampling).macro["r"]
    values = np.array([one.value for one in each])
    assert score.value == pytest.approx(values.mean())
    assert score.draws == pytest.approx(np.mean([one.draws for one in each], axis=0))
    assert (score.runs, score.label, score.freedom) == (4, "4 seeds", 3)
    galaxies, seeds = score.draws.var(), values.var(ddof=1) / 4
    # Cochran's t: the mean of normal and Student's 97.5 % points, 1.960 and of 3 degrees of freedom 3.182, by variance
    point = (galaxies * 1.960 + seeds * 3.182) / (galaxies + seeds)
    low, high = score.interval
    assert (high - low) / 2 == pytest.approx(point * np.sqrt(galaxies + seeds), rel=0.05)
    assert score.luck is not None
    assert np.corrcoef(score.luck, score.draws)[0, 1] == pytest.approx(0, abs=0.1)


def test_what_a_seed_does_to_both_models_cancels() -> None:
    Y, P = make_labels(14, 300)
    rng = np.random.default_rng(0)
    runs = {seed: P + rng.normal(0, 0.3 * seed, P.shape) for seed in range(3)}
    closer = {seed: run * 0.999 + 0.001 * Y.clip(0, 1) for seed, run in runs.items()}
    resampling = Resampling(np.arange(300), 0, 2000)
    one, other = (score_runs(Y, {s: np.nan_to_num(r) for s, r in model.items()}, resampling).macro["r"]
                  for model in (runs, closer))  # fmt: skip
    assert one.luck is not None
    assert (other - one).spread.std() < 0.05 * one.spread.std()
    with_others = score_runs(Y, {seed + 5: run for seed, run in runs.items()}, resampling).macro["r"]
    assert (other - with_others).spread.std() > one.luck.std()


def test_a_seed_that_predicts_the_same_everywhere_has_an_r_of_0_beside_others() -> None:
    Y, P = make_labels(15, 100)
    resampling = Resampling(np.arange(100), 0, 50)
    good = score_runs(Y, {0: P}, resampling).macro["r"]
    mixed = score_runs(Y, {0: P, 1: np.full_like(P, 0.5)}, resampling).macro["r"]
    assert mixed.value == pytest.approx(good.value / 2)
    assert mixed.draws == pytest.approx(good.draws / 2)
    assert np.isnan(score_runs(Y, {0: np.full_like(P, 0.5)}, resampling).macro["r"].value)


def test_shapes_that_do_not_fit() -> None:
    Y, P = make_labels(16, 10)
    with pytest.raises(SommelierError, match=r"labels \(10, 3\), predictions of seed 2 \(10, 2\) and 10 sky objects"):
        score_runs(Y, {2: P[:, :2]}, Resampling(np.arange(10), 0, 5))


def test_the_luck_of_seeds_is_inflated_and_never_made_less() -> None:
    Y, P = make_labels(17, 100)
    rng, resampling = np.random.default_rng(0), Resampling(np.arange(100), 0, 50)
    runs = {seed: P + rng.normal(0, 0.1, P.shape) for seed in range(3)}
    plain, wide = (score_runs(Y, runs, resampling, inflation=factor) for factor in (1, 3))
    for one, other in ((plain.macro["r"], wide.macro["r"]), (plain.targets["mae"][1], wide.targets["mae"][1])):
        assert one.luck is not None
        assert other.luck is not None
        assert other.luck == pytest.approx(3 * one.luck)
        assert (one.value, one.draws.tolist()) == (other.value, other.draws.tolist())
    assert score_runs(Y, {0: P}, resampling, inflation=3).macro["r"].luck is None
    for factor in (0.5, np.nan, np.inf):
        with pytest.raises(SommelierError, match="cannot be inflated by"):
            score_runs(Y, runs, resampling, inflation=factor)


class Experiment(NamedTuple):
    """A training set of 60 galaxies, models of parts of 48 of them, a test; `slopes` of 0 leave the mean."""

    slopes: Array
    noise: float = 0.8

    def draw(self, rng: np.random.Generator, n: int) -> tuple[Array, Array]:
        X = rng.normal(size=(n, len(self.slopes)))
        return X, X @ self.slopes + rng.normal(0, self.noise, n)

    def fit(self, X: Array, y: Array) -> Array:
        """Offset and slopes of a ridge."""
        X = np.column_stack([np.ones(len(X)), X])
        return np.linalg.solve(X.T @ X + np.eye(X.shape[1]) * np.arange(X.shape[1]).clip(0, 1), X.T @ y)

    def count_covered(self, metric: str, truth: float, rng: np.random.Generator, seeds: int = 5) -> Array:
        """Of 300 intervals, the share that hold the truth: as seeds spread, by s / (1 - s) alone, by `inflate_luck`."""
        held, factors = np.zeros(3), (1, np.sqrt(0.8 / 0.2), inflate_luck(0.8, seeds))
        for trial in range(300):
            (X, y), (X_test, y_test) = self.draw(rng, 60), self.draw(rng, 400)
            models = [self.fit(X[rows], y[rows]) for rows in (rng.permutation(60)[:48] for _ in range(seeds))]
            runs = {seed: (model[0] + X_test @ model[1:])[:, None] for seed, model in enumerate(models)}
            resampling = Resampling(np.arange(400), trial, 200)
            score = score_runs(y_test[:, None], runs, resampling, inflation=factors[-1]).macro[metric]
            assert score.luck is not None
            for number, factor in enumerate(factors):
                low, high = replace(score, luck=score.luck * factor / factors[-1]).interval
                held[number] += low <= truth <= high
        return held / 300


@pytest.mark.slow
def test_intervals_hold_the_truth_of_independent_training_sets_though_seeds_share_theirs() -> None:
    """The truth is of models that are trained on 48 other galaxies each, and of any test galaxies."""
    rng = np.random.default_rng(21)
    mean = Experiment(np.zeros(0))
    plain, jackknife, inflated = mean.count_covered("bias", 0, rng)  # on average a mean is right
    assert inflated == pytest.approx(0.95, abs=0.04)  # three binomial errors
    assert plain < 0.7
    assert jackknife < 0.9  # what the seeds have in common does not average out

    ridge = Experiment(np.array([0.5, -0.3, 0.2, 0.4, 0]))
    models = np.stack([ridge.fit(*ridge.draw(rng, 48))[1:] for _ in range(4000)])
    sizes = np.linalg.norm(models, axis=1) * np.sqrt(ridge.slopes @ ridge.slopes + ridge.noise**2)
    truth = float((models @ ridge.slopes / sizes).mean())  # of normal x with unit variance cov(x b, y) = b slopes
    plain, jackknife, inflated = ridge.count_covered("r", truth, rng)
    assert inflated >= 0.93
    assert plain < jackknife < inflated


def test_the_documented_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    example = re.findall(r"```python\n(.*?)```", (ROOT / "docs/statistics.md").read_text(), re.DOTALL)[0]
    exec(compile(example, "statistics.md", "exec"), {})
    scores, verdict, worst = capsys.readouterr().out.splitlines()
    # labels of variance 1/12 with noise 0.3 and 0.2: r = 1 / sqrt(1 + 12 noise^2) = 0.69 and 0.82
    values = [float(value) for value in re.findall(r"0\.\d+", scores)]
    assert values == pytest.approx([0.69, 0.82], abs=0.03)
    assert scores.count("3 seeds") == 2
    assert verdict == "higher {'ridge': '2', 'mlp': '1'}"
    assert worst.endswith("mag_r 6")
