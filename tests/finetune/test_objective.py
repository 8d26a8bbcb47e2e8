"""Losses by hand, by torch's and scipy's own formulae; what the bias predicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, gammaln, softmax
from scipy.stats import dirichlet_multinomial, multinomial
from torch.nn.functional import binary_cross_entropy

from embeddings.questions import Question
from finetune.data import TrainingError
from finetune.objective import EDGE, Labels, Objective, make_objective
from heads.base import TargetsError
from tests.finetune.tables import BAR, SHAPE, draw_votes, make_table

N = 25
ALL = np.ones(N, bool)
NAN = float("nan")


@pytest.fixture
def labelled(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return draw_votes(rng, N)


def draw_outputs(objective: Objective) -> torch.Tensor:
    return torch.randn(N, objective.n_outputs, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def make(
    labelled: tuple[np.ndarray, np.ndarray], loss: Any, weights: Any = "none", zero: bool = False, train: Any = ALL
) -> tuple[Objective, Labels, np.ndarray]:
    return make_objective(make_table(*labelled), train, loss, weights, zero)


def test_the_studys_loss_by_hand() -> None:
    """Squared errors times w / max(w in the batch), and a plain mean; what was not asked is 0."""
    Y = np.array([[0.5, 0.25, 0.25, NAN, NAN], [1, 0, 0, 0.5, 0.5], [0, 1, 0, 1, 0]])
    votes = np.array([[2, 1, 1, NAN, NAN], [4, 0, 0, 2, 2], [0, 12, 0, 4, 0]])  # of all questions: 4, 8 and 16
    objective, labels, _ = make_objective(make_table(Y, votes), np.ones(3, bool), "mse", "published", True)
    outputs = np.linspace(-2, 2, 15).reshape(3, 5)
    error = (expit(outputs) - np.nan_to_num(Y)) ** 2
    whole = (error * np.array([[4], [8], [16]]) / 16).mean()
    assert float(objective(torch.from_numpy(outputs), labels)) == pytest.approx(whole, rel=1e-6)
    first_two = (error[:2] * np.array([[4], [8]]) / 8).mean()  # another batch has another largest
    batch = labels.take(np.array([0, 1]))
    assert float(objective(torch.from_numpy(outputs[:2]), batch)) == pytest.approx(first_two, rel=1e-6)


def test_the_studys_weights_without_its_zeros(labelled: tuple[np.ndarray, np.ndarray]) -> None:
    """The mean is of what was asked."""
    objective, labels, _ = make(labelled, "mse", "published")
    outputs = draw_outputs(objective)
    totals = np.nansum(labelled[1], axis=1)
    error = (expit(outputs.numpy()) - labelled[0]) ** 2 * (totals / totals.max())[:, None]
    assert float(objective(outputs, labels)) == pytest.approx(np.nanmean(error), rel=1e-5)


def test_errors_weigh_by_the_votes_of_their_question(labelled: tuple[np.ndarray, np.ndarray]) -> None:
    objective, labels, _ = make(labelled, "mse", "votes")
    outputs = draw_outputs(objective)
    totals = np.repeat([labelled[1][:, :3].sum(axis=1), labelled[1][:, 3:].sum(axis=1)], [3, 2], axis=0).T
    totals = totals / np.nanmean(totals, axis=0)  # of each question, on average 1
    error = (expit(outputs.numpy()) - labelled[0]) ** 2
    expected = np.nansum(totals * error) / np.nansum(totals)
    assert float(objective(outputs, labels)) == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_is_torchs_on_what_was_asked(labelled: tuple[np.ndarray, np.ndarray]) -> None:
    objective, labels, _ = make(labelled, "bce")
    outputs = draw_outputs(objective)
    asked = ~np.isnan(labelled[0])
    expected = binary_cross_entropy(torch.sigmoid(outputs)[asked], torch.from_numpy(labelled[0])[asked])
    assert float(objective(outputs, labels)) == pytest.approx(float(expected), rel=1e-5)


def coefficients(counts: np.ndarray) -> np.ndarray:
    return gammaln(counts.sum(axis=1) + 1) - gammaln(counts + 1).sum(axis=1)


@pytest.mark.parametrize("loss", ["multinomial", "dirichlet-multinomial"])
def test_likelihoods_are_scipys(labelled: tuple[np.ndarray, np.ndarray], loss: str) -> None:
    """Up to the coefficient, which no model changes; precisions are 10 where the network says 0."""
    objective, labels, _ = make(labelled, loss)
    assert objective.n_outputs == (5 if loss == "multinomial" else 7)
    outputs = draw_outputs(objective)
    outputs[:, 5:] = 0
    expected = 0.0
    for columns in (slice(0, 3), slice(3, 5)):
        asked = ~np.isnan(labelled[1][:, columns]).any(axis=1)
        counts = labelled[1][asked, columns].astype(int)
        means, totals = softmax(outputs.numpy()[asked, columns], axis=1), counts.sum(axis=1)
        if loss == "multinomial":
            logs = np.array([multinomial.logpmf(k, n, p) for k, n, p in zip(counts, totals, means, strict=True)])
        else:
            logs = dirichlet_multinomial.logpmf(counts, 10 * means, totals)
        expected -= (logs - coefficients(counts)).sum()
    assert float(objective(outputs, labels)) == pytest.approx(expected / N, rel=1e-5)
    torch.testing.assert_close(
        objective.predict(outputs),
        torch.cat([torch.softmax(outputs[:, c], 1) for c in (slice(3), slice(3, 5))], 1).float(),
    )


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_the_bias_predicts_the_mean_labels(labelled: tuple[np.ndarray, np.ndarray], loss: str) -> None:
    train = np.arange(N) < 15
    for zero in (False, True):
        objective, _, bias = make(labelled, loss, zero=zero, train=train)
        Y = np.nan_to_num(labelled[0]) if zero else labelled[0]
        means = objective.predict(torch.from_numpy(bias)[None])[0].numpy()
        assert means == pytest.approx(np.nanmean(Y[train], axis=0), abs=1e-6)


@pytest.mark.parametrize("loss", ["multinomial", "dirichlet-multinomial"])
def test_the_bias_predicts_the_shares_of_all_votes(labelled: tuple[np.ndarray, np.ndarray], loss: str) -> None:
    train = np.arange(N) < 15
    objective, _, bias = make(labelled, loss, train=train)
    votes = np.nansum(labelled[1][train], axis=0) + 0.5
    expected = np.concatenate([votes[:3] / votes[:3].sum(), votes[3:] / votes[3:].sum()])
    assert objective.predict(torch.from_numpy(bias)[None])[0].numpy() == pytest.approx(expected, abs=1e-6)
    assert not bias[5:].any()


def test_a_label_that_is_always_one_has_a_finite_bias() -> None:
    Y = np.tile([1.0, 0, 0, 0.5, 0.5], (4, 1))
    _, _, bias = make_objective(make_table(Y), np.ones(4, bool), "bce", "none", False)
    assert expit(bias) == pytest.approx([1 - EDGE, EDGE, EDGE, 0.5, 0.5])


@pytest.mark.parametrize("loss", ["mse", "bce", "multinomial", "dirichlet-multinomial", "beta-binomial"])
@pytest.mark.parametrize("weights", ["none", "votes", "published"])
def test_an_unasked_entry_gets_no_gradient(labelled: tuple[np.ndarray, np.ndarray], loss: str, weights: str) -> None:
    objective, labels, _ = make(labelled, loss, weights)
    outputs = draw_outputs(objective).requires_grad_()
    objective(outputs, labels).backward()
    asked = ~np.isnan(labelled[0])
    assert not outputs.grad[:, :5][~asked].any()
    assert (outputs.grad[:, :5][asked] != 0).all()
    assert not outputs.grad[::5, -1:].any()  # nor the precision of a question that was not asked


@pytest.mark.parametrize("loss", ["mse", "bce", "multinomial", "dirichlet-multinomial", "beta-binomial"])
def test_a_batch_without_labels_costs_nothing(labelled: tuple[np.ndarray, np.ndarray], loss: str) -> None:
    objective, labels, _ = make(labelled, loss)
    nothing = Labels(torch.full_like(labels.Y, NAN), labels.weights, torch.zeros_like(labels.counts))
    outputs = draw_outputs(objective).requires_grad_()
    value = objective(outputs, nothing)
    value.backward()
    assert float(value.detach()) == 0
    assert not outputs.grad.any()


def test_what_the_answers_leave_out_is_an_output_of_its_own() -> None:
    """Three answers of which two are learned, without counts: each galaxy is one vote, shared as its fractions."""
    question = Question(SHAPE.name, ("smooth", "disk"))
    Y = np.array([[0.5, 0.3], [0.1, 0.1], [0.4, 0.6]])
    objective, labels, bias = make_objective(
        make_table(Y, None, (question,)), np.ones(3, bool), "multinomial", "none", False
    )
    assert (objective.widths, objective.answers) == ((3,), (2,))
    assert labels.counts.numpy() == pytest.approx(np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.4, 0.6, 0]]), abs=1e-6)
    expected = (Y.sum(axis=0) + 0.5) / (3 + 1.5)
    assert objective.predict(torch.from_numpy(bias)[None])[0].numpy() == pytest.approx(expected)


def test_a_target_without_training_labels_is_an_error(labelled: tuple[np.ndarray, np.ndarray]) -> None:
    train = np.arange(N) % 5 == 0  # of these, nobody was asked for the bar
    with pytest.raises(TrainingError, match=r"no training galaxy has a label for bar_yes, bar_no\. .*data\.targets"):
        make(labelled, "bce", train=train)


def test_weights_without_votes_are_an_error(labelled: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(TrainingError, match=r"data\.weights: published needs vote counts.* Take none\."):
        make((labelled[0], np.full_like(labelled[1], NAN)), "mse", "published")


def test_debiased_fractions_have_no_likelihood(labelled: tuple[np.ndarray, np.ndarray]) -> None:
    debiased = Question(BAR.name, BAR.answers, fractions="debiased")
    table = make_table(labelled[0][:, 3:], labelled[1][:, 3:], (debiased,))
    with pytest.raises(TargetsError, match="the fractions of bar are debiased"):
        make_objective(table, ALL, "multinomial", "none", False)


def test_half_precision_outputs_are_summed_in_float32(labelled: tuple[np.ndarray, np.ndarray]) -> None:
    objective, labels, _ = make(labelled, "mse")
    outputs = draw_outputs(objective).to(torch.bfloat16)
    assert objective(outputs, labels).dtype == torch.float32
    assert objective.predict(outputs).dtype == torch.float32
