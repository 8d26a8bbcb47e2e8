"""Likelihoods against scipy's, gradients against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import gammaln, softmax
from scipy.stats import betabinom, dirichlet_multinomial, multinomial

from heads.ballots import Likelihood
from heads.losses import (
    VoteLoss,
    beta_binomial_loss,
    bound_log_precision,
    dirichlet_multinomial_loss,
    multinomial_loss,
    squared_error,
)

NAN = float("nan")
LIKELIHOODS: tuple[Likelihood, ...] = ("beta-binomial", "dirichlet-multinomial", "multinomial")


def coefficient(counts: np.ndarray) -> np.ndarray:
    """log(n! / (k1! k2! ...)), which the losses leave out."""
    return gammaln(counts.sum(1) + 1) - gammaln(counts + 1).sum(1)


@pytest.fixture
def logits(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0, 2, size=(7, 3))


@pytest.fixture
def counts(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 30, size=(7, 3)).astype(float)


def test_multinomial_is_scipys(logits: np.ndarray, counts: np.ndarray) -> None:
    expected = [multinomial.logpmf(k, k.sum(), p) for k, p in zip(counts, softmax(logits, axis=1), strict=True)]
    loss = multinomial_loss(torch.from_numpy(logits), torch.from_numpy(counts))
    assert coefficient(counts) - loss.numpy() == pytest.approx(np.array(expected), rel=1e-10)


@pytest.mark.parametrize("precision", [0.05, 1.0, 10.0, 1e4])
def test_dirichlet_multinomial_is_scipys(precision: float, logits: np.ndarray, counts: np.ndarray) -> None:
    concentration = precision * softmax(logits, axis=1)
    expected = dirichlet_multinomial.logpmf(counts.astype(int), concentration, counts.sum(1).astype(int))
    log_precision = torch.full((7,), np.log(precision), dtype=torch.float64)
    loss = dirichlet_multinomial_loss(torch.from_numpy(logits), log_precision, torch.from_numpy(counts))
    assert coefficient(counts) - loss.numpy() == pytest.approx(expected, rel=1e-8)


def test_beta_binomial_is_scipys(logits: np.ndarray, counts: np.ndarray) -> None:
    precision, share, total = np.array([0.05, 4.0, 1e4]), softmax(logits, axis=1), counts.sum(1, keepdims=True)
    expected = betabinom.logpmf(counts, total, precision * share, precision * (1 - share))
    chosen = gammaln(total + 1) - gammaln(counts + 1) - gammaln(total - counts + 1)  # the coefficient, left out
    log_precision = torch.from_numpy(np.log(precision)).expand(7, 3)
    loss = beta_binomial_loss(torch.from_numpy(logits), log_precision, torch.from_numpy(counts))
    assert loss.numpy() == pytest.approx(2 / 3 * (chosen - expected).sum(1), rel=1e-8)


def test_of_two_answers_it_is_the_dirichlet_multinomial(logits: np.ndarray, counts: np.ndarray) -> None:
    two, votes = torch.from_numpy(logits[:, :2]), torch.from_numpy(counts[:, :2])
    log_precision = torch.linspace(-3, 5, 7, dtype=torch.float64)
    loss = beta_binomial_loss(two, log_precision[:, None], votes)
    assert loss.numpy() == pytest.approx(dirichlet_multinomial_loss(two, log_precision, votes).numpy(), rel=1e-10)


def test_a_hand_computed_case() -> None:
    # concentrations 1 and 1, votes 2 and 0: 1/2 * 2/3 = 1/3 (Polya's urn); a multinomial says 1/4
    logits, counts = torch.zeros(1, 2), torch.tensor([[2.0, 0.0]])
    assert float(dirichlet_multinomial_loss(logits, torch.log(torch.tensor([2.0])), counts)) == pytest.approx(np.log(3))
    assert float(multinomial_loss(logits, counts)) == pytest.approx(np.log(4), rel=1e-6)


def test_one_vote_says_nothing_of_the_precision(logits: np.ndarray) -> None:
    vote = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0, 1, 2, 0]]
    given_logits = torch.from_numpy(logits)
    expected = multinomial_loss(given_logits, vote).numpy()
    for precision in (0.1, 10.0, 1000.0):
        log_precision = torch.full((7,), np.log(precision), dtype=torch.float64)
        assert dirichlet_multinomial_loss(given_logits, log_precision, vote).numpy() == pytest.approx(expected)


def test_how_many_precisions() -> None:
    counted = {likelihood: VoteLoss((3, 2), likelihood).precisions for likelihood in LIKELIHOODS}
    assert counted == {"beta-binomial": (3, 1), "dirichlet-multinomial": (1, 1), "multinomial": (0, 0)}


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_gradient_against_finite_differences(likelihood: Likelihood, rng: np.random.Generator) -> None:
    loss = VoteLoss((3, 2), likelihood)
    outputs = rng.normal(0, 1.5, size=(5, 5 + sum(loss.precisions)))
    counts = torch.from_numpy(rng.integers(0, 40, size=(5, 5)).astype(float))
    counts[0] = 0
    at = torch.from_numpy(outputs).requires_grad_()
    (slope,) = torch.autograd.grad(loss(at, counts).sum(), at)
    step = 1e-6
    for place in np.ndindex(outputs.shape):
        moved = np.stack([outputs, outputs])
        moved[(0, *place)] += step
        moved[(1, *place)] -= step
        above, below = (float(loss(torch.from_numpy(values), counts).sum()) for values in moved)
        assert float(slope[place]) == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_who_was_not_asked_costs_nothing_and_pulls_nowhere(likelihood: Likelihood) -> None:
    whole = VoteLoss((5,), likelihood)
    outputs = torch.randn(4, 5 + sum(whole.precisions)).requires_grad_()
    loss = whole(outputs, torch.zeros(4, 5))
    (slope,) = torch.autograd.grad(loss.sum(), outputs)
    assert loss.tolist() == [0]
    assert not slope.any()


@settings(deadline=None, max_examples=50)
@given(
    arrays(np.float64, (3, 8), elements=st.floats(-1e4, 1e4)),
    arrays(np.int64, (3, 4), elements=st.integers(0, 10_000)),
)
@example(np.tile([36.0, *[0.0] * 7], (3, 1)), np.tile([10_000, 0, 0, 0], (3, 1)))  # all for a sure thing
def test_losses_stay_finite(outputs: np.ndarray, counts: np.ndarray) -> None:
    for likelihood in LIKELIHOODS:
        loss = VoteLoss((4,), likelihood)
        at = torch.from_numpy(outputs[:, : 4 + sum(loss.precisions)].copy()).requires_grad_()
        value = loss(at, torch.from_numpy(counts)).sum()
        (slope,) = torch.autograd.grad(value, at)
        assert np.isfinite(float(value.detach()))
        assert bool(torch.isfinite(slope).all())


def test_questions_are_apart(logits: np.ndarray, counts: np.ndarray) -> None:
    both = VoteLoss((3, 3), "multinomial")(
        torch.from_numpy(np.hstack([logits, -logits])), torch.from_numpy(np.hstack([counts, counts[:, ::-1]]).copy())
    )
    first = multinomial_loss(torch.from_numpy(logits), torch.from_numpy(counts)).sum()
    second = multinomial_loss(torch.from_numpy(-logits), torch.from_numpy(counts[:, ::-1].copy())).sum()
    assert both.tolist() == pytest.approx([float(first), float(second)])


def test_precision_is_bounded() -> None:
    precision = bound_log_precision(torch.tensor([-1e3, -1.0, 0.0, 1.0, 1e3], dtype=torch.float64)).exp().tolist()
    assert precision == pytest.approx([0.01, 10 / np.e, 10, 10 * np.e, 10_000], rel=0.01)


def test_squared_error_leaves_out_what_was_not_asked() -> None:
    Y = torch.tensor([[0.0, NAN], [1.0, 1.0]])
    P = torch.tensor([[0.5, 9.0], [0.0, 1.0]]).requires_grad_()
    weights = torch.tensor([[2.0, 5.0], [1.0, 1.0]])
    loss = squared_error(P, Y, weights)
    # (2 x 0.25 + 1 x 1 + 1 x 0) / (2 + 1 + 1)
    assert float(loss.detach()) == pytest.approx(0.375)
    (slope,) = torch.autograd.grad(loss, P)
    # 2 w (P - Y) / 4
    assert slope.tolist() == [[0.5, 0], [-0.5, 0]]


def test_squared_error_of_nothing_is_zero() -> None:
    assert float(squared_error(torch.ones(2, 1), torch.full((2, 1), NAN), torch.ones(2, 1))) == 0
