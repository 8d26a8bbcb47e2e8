"""Linear vote models against scikit-learn's logistic regression and scipy's minimum."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from heads.ballots import Ballots, Likelihood
from heads.losses import VoteLoss
from heads.maximum import Axes, LinearModel, Problem
from heads.threads import limit_threads


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    with limit_threads(0):  # as in a head's fit
        yield


@pytest.fixture
def X(rng: np.random.Generator) -> np.ndarray:
    X = rng.normal(size=(200, 6)) @ np.diag([5, 3, 2, 1, 0.5, 0.1]) @ rng.normal(size=(6, 6))  # of unlike spreads
    return (X - X.mean(0)) / X.std(0)


@pytest.fixture
def ballots(X: np.ndarray, rng: np.random.Generator) -> Ballots:
    chances = softmax(X @ rng.normal(size=(6, 3)), axis=1)
    first = rng.multinomial(20, chances)
    asked = first[:, 1]
    yes = rng.binomial(asked, 1 / (1 + np.exp(-X[:, 0])))
    return Ballots(np.column_stack([first, yes, asked - yes]).astype(float), (3, 2))


def predict(model: LinearModel, X: np.ndarray, columns: slice) -> np.ndarray:
    return softmax((X @ model.weight + model.bias)[:, columns], axis=1)


@pytest.mark.parametrize("alpha", [0.1, 10.0, 1e4])
def test_multinomial_is_scikit_learns_on_repeated_labels(alpha: float, X: np.ndarray, ballots: Ballots) -> None:
    # one row a galaxy and answer, weighted by its votes
    model = Problem(X, ballots, VoteLoss((3, 2), "multinomial"), Axes.of(X)).solve(np.array([alpha, alpha]))
    for columns in (slice(0, 3), slice(3, 5)):
        counts = ballots.counts[:, columns]
        labels = np.tile(np.arange(counts.shape[1]), len(X))
        # with two classes scikit-learn has one vector w = w1 - w0, and |w1|^2 + |w0|^2 = |w|^2 / 2
        penalty = alpha if counts.shape[1] > 2 else alpha / 2
        theirs = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000)
        theirs.fit(np.repeat(X, counts.shape[1], axis=0), labels, sample_weight=counts.ravel())
        assert predict(model, X, columns) == pytest.approx(theirs.predict_proba(X), abs=2e-4)


@pytest.mark.parametrize(
    ("likelihood", "penalty"),
    [
        ("dirichlet-multinomial", [3, 3, 3, 30, 30, 3, 30]),
        ("beta-binomial", [3, 3, 3, 30, 30, 3, 3, 3, 30]),
    ],
)
def test_it_is_the_minimum_without_scaling(
    likelihood: Likelihood, penalty: list[float], X: np.ndarray, ballots: Ballots
) -> None:
    loss, alphas, n_outputs = VoteLoss((3, 2), likelihood), np.array([3.0, 30.0]), len(penalty)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        theta = torch.from_numpy(flat.reshape(7, n_outputs)).requires_grad_()
        outputs = torch.from_numpy(X) @ theta[:-1] + theta[-1]
        value = loss(outputs, torch.from_numpy(ballots.counts)).sum()
        value = value + (torch.tensor(penalty) * theta[:-1] ** 2).sum() / 2
        (slope,) = torch.autograd.grad(value, theta)
        return float(value.detach()), slope.numpy().ravel()

    plain = minimize(
        objective, np.zeros(7 * n_outputs), jac=True, method="BFGS", options={"gtol": 1e-4, "maxiter": 2000}
    )
    model = Problem(X, ballots, loss, Axes.of(X)).solve(alphas)
    ours, slope = objective(np.vstack([model.weight, model.bias]).ravel())
    assert ours == pytest.approx(plain.fun, rel=2e-6)
    assert np.abs(slope).max() < 1e-3 * ours


def test_single_precision_finds_the_same(X: np.ndarray, ballots: Ballots) -> None:
    loss, alphas = VoteLoss((3, 2), "beta-binomial"), np.array([10.0, 10.0])
    double = Problem(X, ballots, loss, Axes.of(X)).solve(alphas)
    single = X.astype(np.float32)
    model = Problem(single, ballots, loss, Axes.of(single)).solve(alphas)
    for columns in (slice(0, 3), slice(3, 5)):
        assert predict(model, X, columns) == pytest.approx(predict(double, X, columns), abs=1e-3)


def test_the_path_ends_where_a_fresh_start_does(X: np.ndarray, ballots: Ballots) -> None:
    problem = Problem(X, ballots, VoteLoss((3, 2), "beta-binomial"), Axes.of(X))
    *_, last = problem.follow(np.array([1e4, 100.0, 1.0]))
    fresh = problem.solve(np.ones(2))
    assert predict(last, X, slice(0, 3)) == pytest.approx(predict(fresh, X, slice(0, 3)), abs=1e-3)


def test_a_question_nobody_was_asked_stays_at_its_start(X: np.ndarray, ballots: Ballots) -> None:
    silent = Ballots(ballots.counts * [1, 1, 1, 0, 0], (3, 2))
    model = Problem(X, silent, VoteLoss((3, 2), "beta-binomial"), Axes.of(X)).solve(np.ones(2))
    assert predict(model, X, slice(3, 5)) == pytest.approx(np.full((200, 2), 0.5))
    assert np.isfinite(model.weight).all()


def test_joined_models_have_each_output_of_its_own() -> None:
    first, second = (LinearModel(np.arange(6.0).reshape(2, 3) + 10 * k, np.arange(3.0) + 10 * k) for k in (0, 1))
    joined = LinearModel.join([first, second], np.array([0, 1, 0]))
    assert joined.weight.tolist() == [[0, 11, 2], [3, 14, 5]]
    assert joined.bias.tolist() == [0, 11, 2]


def test_axes_are_numpys_principal_ones(X: np.ndarray) -> None:
    axes = Axes.of(X)
    assert axes.variances[::-1] == pytest.approx(np.linalg.svd(X, compute_uv=False) ** 2 / 200)
    assert axes.axes.T @ axes.axes == pytest.approx(np.eye(6), abs=1e-12)
