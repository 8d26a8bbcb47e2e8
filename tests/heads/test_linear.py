"""Ridge against scikit-learn's Ridge, GridSearchCV and RidgeCV."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.preprocessing import StandardScaler

from embeddings.errors import HeadError
from embeddings.questions import Question
from heads.base import INNER_FOLDS
from heads.linear import ALPHAS, RidgeHead, fit_sizes
from heads.splits import cut_folds

NAN = float("nan")
FEW = (0.01, 1.0, 30.0, 1e3, 1e5)
TOLERANCE = {np.float64: 1e-6, np.float32: 1e-4}
both_precisions = pytest.mark.parametrize("dtype", [np.float64, np.float32])


class Sample(NamedTuple):
    X: np.ndarray
    Y: np.ndarray
    new: np.ndarray


def draw(rng: np.random.Generator, n: int, d: int, n_targets: int = 3, noise: float = 0.5, dtype=float) -> Sample:
    """Features of unlike means and spreads, labels of spread one, and new galaxies."""
    X = rng.normal(size=(n + 40, d)) * rng.uniform(0.1, 5, d) + rng.uniform(-10, 10, d)
    Y = StandardScaler().fit_transform(X) @ rng.normal(size=(d, n_targets)) / np.sqrt(d)
    Y = (Y + noise * rng.normal(size=Y.shape)).astype(dtype)
    X = X.astype(dtype)
    return Sample(X[:n], Y[:n], X[n:])


def reference(X: np.ndarray, y: np.ndarray, alpha: float) -> Ridge:
    return Ridge(alpha=alpha, solver="svd").fit(X, y)


def search(X: np.ndarray, y: np.ndarray, folds: np.ndarray, alphas: tuple[float, ...]) -> tuple[float, float]:
    """The best alpha over the folds and its summed squared residuals, by a plain loop."""
    residuals = dict.fromkeys(alphas, 0.0)
    for alpha in alphas:
        for fold in np.unique(folds):
            model = reference(X[folds != fold], y[folds != fold], alpha)
            residuals[alpha] += ((model.predict(X[folds == fold]) - y[folds == fold]) ** 2).sum()
    best = min(alphas, key=residuals.__getitem__)
    return best, residuals[best]


def inner_folds(groups: np.ndarray, seed: int = 0) -> np.ndarray:
    return cut_folds(groups, min(INNER_FOLDS, len(set(groups.tolist()))), seed)


def check_equal(head: RidgeHead, sample: Sample, tolerance: float) -> None:
    """Coefficients, intercepts and predictions of every target against a Ridge of its own."""
    X, Y, new = (np.asarray(values, np.float64) for values in sample)
    scaler = StandardScaler().fit(X)
    for target, alpha in enumerate(head.alpha_):
        asked = ~np.isnan(Y[:, target])
        model = reference(scaler.transform(X[asked]), Y[asked, target], alpha)
        assert head.coef_[:, target] == pytest.approx(model.coef_, abs=tolerance)
        assert head.intercept_[target] == pytest.approx(model.intercept_, abs=tolerance)
        expected = model.predict(scaler.transform(new))
        assert head.predict(sample.new)[:, target] == pytest.approx(expected, abs=tolerance)


# one penalty


@both_precisions
@pytest.mark.parametrize("alpha", [0.01, 1.0, 1e4])
@pytest.mark.parametrize(("n", "d"), [(400, 30), (25, 60), (30, 30), (300, 1), (2, 3)])
def test_equals_ridge(n: int, d: int, alpha: float, dtype: type, rng: np.random.Generator) -> None:
    sample = draw(rng, n, d, dtype=dtype)
    head = RidgeHead(alphas=(alpha,)).fit(sample.X, sample.Y)
    assert head.coef_.dtype == dtype
    assert head.alpha_ == pytest.approx(alpha)
    check_equal(head, sample, TOLERANCE[dtype])


@both_precisions
def test_equals_ridge_with_constant_features(dtype: type, rng: np.random.Generator) -> None:
    sample = draw(rng, 100, 8, dtype=dtype)
    for values in (sample.X, sample.new):
        values[:, [2, 5]] = [0, 0.1]
    check_equal(RidgeHead().fit(sample.X, sample.Y), sample, TOLERANCE[dtype])


@both_precisions
def test_a_feature_constant_in_training_moves_no_prediction(dtype: type, rng: np.random.Generator) -> None:
    # a channel that is dead in the training survey and alive in the next
    sample = draw(rng, 3000, 8, dtype=dtype)
    sample.X[:, 3] = 0.1
    alive, dead = sample.new.copy(), sample.new.copy()
    alive[:, 3], dead[:, 3] = 5.0, 0.1
    head = RidgeHead().fit(sample.X, sample.Y)
    assert head.predict(alive) == pytest.approx(head.predict(dead), abs=1e-4)


@both_precisions
def test_equals_ridge_with_duplicate_features_and_galaxies(dtype: type, rng: np.random.Generator) -> None:
    X, Y, new = draw(rng, 100, 8, dtype=dtype)
    doubled = Sample(np.tile(X, (2, 2)), np.tile(Y, (2, 1)), np.tile(new, (1, 2)))
    check_equal(RidgeHead(alphas=(1.0,)).fit(doubled.X, doubled.Y), doubled, TOLERANCE[dtype])


@both_precisions
def test_equals_ridge_with_far_means(dtype: type, rng: np.random.Generator) -> None:
    sample = draw(rng, 300, 10, dtype=dtype)
    far = Sample(sample.X + dtype(100), sample.Y + dtype(5), sample.new + dtype(100))
    check_equal(RidgeHead(alphas=(1.0,)).fit(far.X, far.Y), far, TOLERANCE[dtype])


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(1, 30), st.integers(1, 3), st.floats(-2, 4), st.integers(0, 9999))
def test_equals_ridge_whatever_the_shape(n: int, d: int, n_targets: int, exponent: float, seed: int) -> None:
    sample = draw(np.random.default_rng(seed), n, d, n_targets)
    check_equal(RidgeHead(alphas=(10**exponent,)).fit(sample.X, sample.Y), sample, 1e-6)


# the choice of the penalty


@both_precisions
@pytest.mark.parametrize(("n", "d", "seed"), [(203, 20, 0), (40, 60, 4)])
def test_alpha_and_inner_score_are_those_of_a_plain_loop(n: int, d: int, seed: int, dtype: type) -> None:
    rng = np.random.default_rng(1)
    sample = draw(rng, n, d, n_targets=4, noise=1.0, dtype=dtype)
    sample.Y[:, 3] = rng.normal(size=n)
    groups = rng.integers(0, 40, n)
    head = RidgeHead(random_state=seed, alphas=FEW).fit(sample.X, sample.Y, groups=groups)

    X, Y = StandardScaler().fit_transform(sample.X.astype(float)), sample.Y.astype(float)
    chosen = [search(X, y, inner_folds(groups, seed), FEW) for y in Y.T]
    assert head.alpha_ == pytest.approx([alpha for alpha, _ in chosen])
    scores = [1 - residual / ((y - y.mean()) ** 2).sum() for y, (_, residual) in zip(Y.T, chosen, strict=True)]
    assert head.inner_score_ == pytest.approx(np.mean(scores), abs=TOLERANCE[dtype])
    check_equal(head, sample, TOLERANCE[dtype])


def test_alpha_is_that_of_grid_search(rng: np.random.Generator) -> None:
    # five folds of 20: the mean of the folds' errors, which GridSearchCV compares, orders as their sum
    X, Y, _ = draw(rng, 100, 30, noise=2.0)
    head = RidgeHead().fit(X, Y)
    splits = PredefinedSplit(inner_folds(np.arange(100)))
    scaled = StandardScaler().fit_transform(X)
    grid = GridSearchCV(Ridge(), {"alpha": ALPHAS}, cv=splits, scoring="neg_mean_squared_error")
    assert head.alpha_ == pytest.approx([grid.fit(scaled, y).best_params_["alpha"] for y in Y.T])


def test_alpha_is_that_of_leave_one_out() -> None:
    # five galaxies in five folds: RidgeCV's own leave-one-out, for each target
    found = set()
    for seed in range(10):
        X, Y, _ = draw(np.random.default_rng(seed), 5, 3, noise=1.0)
        head = RidgeHead().fit(X, Y)
        model = RidgeCV(ALPHAS, alpha_per_target=True).fit(StandardScaler().fit_transform(X), Y)
        assert head.alpha_ == pytest.approx(model.alpha_)
        found.update(model.alpha_)
    assert len(found) > 3


def test_each_target_has_its_own_alpha(rng: np.random.Generator) -> None:
    X = rng.normal(size=(200, 40))
    Y = np.stack([X[:, 0], rng.normal(size=200)], axis=1)  # the first is there, the second is noise
    clear, noise = RidgeHead().fit(X, Y).alpha_
    assert clear == pytest.approx(min(ALPHAS))
    assert noise > 100


def test_inner_score_of_noise_is_not_above_chance(rng: np.random.Generator) -> None:
    X, Y = rng.normal(size=(60, 100)), rng.normal(size=(60, 6))
    head = RidgeHead().fit(X, Y)
    assert r2_score(Y, RidgeHead(alphas=(0.01,)).fit(X, Y).predict(X)) > 0.99  # it could learn them by heart
    assert head.inner_score_ < 0.05


def test_alpha_is_not_chosen_on_copies(rng: np.random.Generator) -> None:
    # noise, each galaxy four times: where copies are torn apart the smallest penalty looks best
    X, Y = np.repeat(rng.normal(size=(60, 100)), 4, axis=0), np.repeat(rng.normal(size=(60, 1)), 4, axis=0)
    whole = RidgeHead().fit(X, Y, groups=np.repeat(np.arange(60), 4))
    torn = RidgeHead().fit(X, Y)
    assert torn.inner_score_ > 0.8
    assert whole.inner_score_ < 0.05
    assert whole.alpha_ > 100 * torn.alpha_


# questions that were not asked


@both_precisions
def test_unasked_galaxies_equal_separate_fits(dtype: type, rng: np.random.Generator) -> None:
    sample = draw(rng, 240, 12, n_targets=5, noise=1.0, dtype=dtype)
    groups = rng.integers(0, 100, 240)
    sample.Y[:80, 1] = NAN
    sample.Y[40:200, 2:4] = NAN  # two answers of one question
    sample.Y[::2, 4] = NAN
    head = RidgeHead(alphas=FEW).fit(sample.X, sample.Y, groups=groups)

    X = StandardScaler().fit_transform(sample.X.astype(float))
    scores = []
    for target, y in enumerate(sample.Y.astype(float).T):
        asked = ~np.isnan(y)
        alpha, residual = search(X[asked], y[asked], inner_folds(groups[asked]), FEW)
        assert head.alpha_[target] == pytest.approx(alpha)
        scores.append(1 - residual / ((y[asked] - y[asked].mean()) ** 2).sum())
        alone = RidgeHead(alphas=FEW).fit(sample.X, sample.Y[:, target], groups=groups)
        assert alone.coef_[:, 0] == pytest.approx(head.coef_[:, target], abs=TOLERANCE[dtype])
    assert head.inner_score_ == pytest.approx(np.mean(scores), abs=TOLERANCE[dtype])
    check_equal(head, sample, TOLERANCE[dtype])


def test_unasked_is_not_zero(rng: np.random.Generator) -> None:
    X = rng.normal(size=(100, 3))
    y = np.where(np.arange(100) < 50, 7.0, NAN)
    assert RidgeHead().fit(X, y).predict(X) == pytest.approx(7.0)


def test_a_target_with_labels_of_one_galaxy(rng: np.random.Generator) -> None:
    X, Y, _ = draw(rng, 20, 3, n_targets=2)
    Y[1:, 1] = NAN
    questions = (Question("shape", ("round", "flat"), kind="fraction"),)
    with pytest.raises(HeadError, match="shape_flat has labels of one galaxy only"):
        RidgeHead(questions).fit(X, Y)
    # with a single penalty there is nothing to choose
    head = RidgeHead(questions, alphas=(1.0,)).fit(X, Y)
    assert head.predict(X)[:, 1] == pytest.approx(np.clip(Y[0, 1], 0, 1))


def test_constant_labels_are_predicted_as_they_are(rng: np.random.Generator) -> None:
    X = rng.normal(size=(40, 3))
    head = RidgeHead().fit(X, np.full(40, 0.3))
    assert head.predict(X) == pytest.approx(0.3)
    assert head.inner_score_ == -np.inf


# weights


def draw_votes(rng: np.random.Generator, n: int, answers: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Fractions and counts of totals between 1 and 60."""
    total = rng.integers(1, 61, n)
    votes = np.array([rng.multinomial(t, rng.dirichlet(np.ones(answers))) for t in total]).astype(float)
    return votes / total[:, None], votes


@both_precisions
@pytest.mark.parametrize(("n", "d"), [(300, 20), (25, 60)])
def test_weighted_ridge_is_scikit_learns(n: int, d: int, dtype: type, rng: np.random.Generator) -> None:
    X = draw(rng, n, d, dtype=dtype).X
    Y, votes = draw_votes(rng, n)
    groups = rng.integers(0, n // 2, n)
    question = Question("shape", ("round", "flat"))
    head = RidgeHead((question,), weight_by_votes=True, alphas=FEW)
    head.fit(X, Y.astype(dtype), votes, groups)

    scaled, weight = StandardScaler().fit_transform(X.astype(float)), votes.sum(axis=1) / votes.sum(axis=1).mean()
    folds = inner_folds(groups)
    residuals = np.zeros((len(FEW), 2))
    for row, alpha in enumerate(FEW):
        for fold in range(5):
            inside, held_out = folds != fold, folds == fold
            model = Ridge(alpha=alpha, solver="svd").fit(scaled[inside], Y[inside], weight[inside])
            residuals[row] += weight[held_out] @ (Y[held_out] - model.predict(scaled[held_out])) ** 2
    assert head.alpha_ == pytest.approx(np.array(FEW)[residuals.argmin(axis=0)])
    for target, alpha in enumerate(head.alpha_):
        model = Ridge(alpha=alpha, solver="svd").fit(scaled, Y[:, target], weight)
        assert head.coef_[:, target] == pytest.approx(model.coef_, abs=TOLERANCE[dtype])
        assert head.intercept_[target] == pytest.approx(model.intercept_, abs=TOLERANCE[dtype])
    scores = 1 - residuals.min(axis=0) / (weight @ (Y - np.average(Y, axis=0, weights=weight)) ** 2)
    assert head.inner_score_ == pytest.approx(scores.mean(), abs=TOLERANCE[dtype])


def test_equal_totals_weigh_nothing(rng: np.random.Generator) -> None:
    X = rng.normal(size=(80, 6))
    votes = rng.multinomial(40, [0.5, 0.3, 0.2], 80).astype(float)
    question = (Question("arms", ("one", "two", "more")),)
    weighted, plain = (RidgeHead(question, weight_by_votes=flag).fit(X, votes / 40, votes) for flag in (True, False))
    assert weighted.coef_ == pytest.approx(plain.coef_, abs=1e-12)
    assert weighted.inner_score_ == pytest.approx(plain.inner_score_, abs=1e-12)


# sizes of the training set


@both_precisions
@pytest.mark.parametrize("weighted", [False, True])
def test_sizes_are_separate_fits(weighted: bool, dtype: type, rng: np.random.Generator) -> None:
    X, new = draw(rng, 400, 30, dtype=dtype)[::2]
    X[:, 4] = np.where(np.arange(400) < 100, 2.5, X[:, 4])  # does not vary in the smaller sets
    Y, votes = draw_votes(rng, 400)
    Y[::3] = NAN
    Y = np.column_stack([Y, X @ rng.normal(size=30) + rng.normal(size=400)]).astype(dtype)
    votes = np.column_stack([votes, np.full(400, NAN)])
    groups = rng.integers(0, 250, 400)
    questions = (Question("shape", ("round", "flat")), Question("size", kind="value"))
    head = RidgeHead(questions, weight_by_votes=weighted, alphas=FEW[1:])
    sizes = [30, 100, 101, 400]
    for size, fitted in zip(sizes, fit_sizes(head, X, Y, sizes, votes, groups), strict=True):
        for target, alpha in enumerate(fitted.alpha_):
            alone = RidgeHead(questions, weight_by_votes=weighted, alphas=(float(alpha),))
            alone.fit(X[:size], Y[:size], votes[:size], groups[:size])
            expected = alone.predict(new)[:, target]
            assert fitted.predict(new)[:, target] == pytest.approx(expected, abs=10 * TOLERANCE[dtype])
    whole = clone(head).fit(X, Y, votes, groups)
    assert fitted.alpha_ == pytest.approx(whole.alpha_)
    assert fitted.inner_score_ == pytest.approx(whole.inner_score_, abs=TOLERANCE[dtype])


def test_alpha_of_a_size_is_that_of_a_plain_loop(rng: np.random.Generator) -> None:
    X, Y, _ = draw(rng, 300, 20, noise=2.0)
    small, _ = fit_sizes(RidgeHead(alphas=FEW), X, Y, [90, 300])
    scaled, folds = StandardScaler().fit_transform(X[:90]), inner_folds(np.arange(300))[:90]
    chosen = [search(scaled, y[:90], folds, FEW) for y in Y.T]
    assert small.alpha_ == pytest.approx([alpha for alpha, _ in chosen])
    scores = [1 - residual / (90 * y[:90].var()) for y, (_, residual) in zip(Y.T, chosen, strict=True)]
    assert small.inner_score_ == pytest.approx(np.mean(scores))


@pytest.mark.parametrize("sizes", [[10, 10], [20, 10], [0, 10], [10, 41]])
def test_sizes_ascend(sizes: list[int], rng: np.random.Generator) -> None:
    X, Y, _ = draw(rng, 40, 3)
    with pytest.raises(HeadError, match="sizes ascend from 1 to the number of galaxies, 40"):
        fit_sizes(RidgeHead(), X, Y, sizes)


def test_a_size_too_small_to_choose_from(rng: np.random.Generator) -> None:
    X, Y, _ = draw(rng, 40, 3)
    groups = np.arange(40)
    groups[:5] = 0
    with pytest.raises(HeadError, match="too few galaxies to choose a penalty from"):
        fit_sizes(RidgeHead(), X, Y, [5, 40], groups=groups)
