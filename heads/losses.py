"""What networks and vote models minimise: torch, differentiable, and silent where a question was not asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from heads.ballots import LOG_PRECISION_REACH, MIDDLE_PRECISION, Likelihood, count_precisions

LOG_FLOOR = -500.0  # exp of less would be 0, and lgamma(0) infinite
NEARLY_ONE = 1 - 1e-15  # of more, nothing would be left for the other answers


def squared_error(P: Tensor, Y: Tensor, weights: Tensor) -> Tensor:
    """
    Weighted mean of squared errors over the labels that are there.

    Parameters
    ----------
    P, Y, weights : (n_galaxies, n_targets) tensors
        Y is NaN where a question was not asked; the weight there does not matter.

    Returns
    -------
    () tensor
        0 where nothing was asked.
    """
    asked = ~torch.isnan(Y)
    error = torch.where(asked, P - Y, 0)
    total = torch.where(asked, weights, 0).sum()
    return (weights * error**2).sum() / total.clamp_min(torch.finfo(total.dtype).tiny)


def binary_cross_entropy(logits: Tensor, Y: Tensor, weights: Tensor) -> Tensor:
    """
    Weighted mean of the cross-entropies between fractions and sigmoid(logits), over the labels that are there.

    Each answer alone, as a yes or no of which Y is the share of yes: -Y log p - (1 - Y) log(1 - p).

    Parameters
    ----------
    logits, Y, weights : (n_galaxies, n_targets) tensors
        Y in [0, 1], NaN where a question was not asked.

    Returns
    -------
    () tensor
        0 where nothing was asked.
    """
    asked = ~torch.isnan(Y)
    labels = torch.where(asked, Y, 0)
    loss = binary_cross_entropy_with_logits(logits, labels, reduction="none")
    weights = torch.where(asked, weights, 0)
    return (weights * loss).sum() / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)


def multinomial_loss(logits: Tensor, counts: Tensor) -> Tensor:
    """
    Negative log likelihood of vote counts, less the multinomial coefficient, which no model changes.

    Parameters
    ----------
    logits, counts : (n_galaxies, n_answers) tensors
        Counts of 0 throughout where nobody was asked: they cost nothing.

    Returns
    -------
    (n_galaxies,) tensor
    """
    return -(counts * torch.log_softmax(logits, dim=1)).sum(dim=1)


def dirichlet_multinomial_loss(logits: Tensor, log_precision: Tensor, counts: Tensor) -> Tensor:
    """
    Negative log likelihood of vote counts whose shares vary between galaxies of one look; less the coefficient.

    The shares are drawn from a Dirichlet distribution of mean softmax(logits) and precision (sum of concentrations)
    exp(log_precision), the votes from the shares.

    Parameters
    ----------
    logits, counts : (n_galaxies, n_answers) tensors
        Counts of 0 throughout where nobody was asked: they cost nothing.
    log_precision : (n_galaxies,) tensor

    Returns
    -------
    (n_galaxies,) tensor
        In float64: differences of large lgamma lose float32's digits.

    References
    ----------
    Mosimann 1962, Biometrika 49, 65, eq. 3 (the compound multinomial); used for Galaxy Zoo votes by Walmsley et al.
    2022, MNRAS 509, 3966.
    """
    logits, log_precision, counts = logits.double(), log_precision.double(), counts.double()
    log_concentration = torch.log_softmax(logits, dim=1) + log_precision[:, None]
    concentration = log_concentration.clamp_min(LOG_FLOOR).exp()
    precision, total = log_precision.exp(), counts.sum(dim=1)
    answers = torch.lgamma(concentration) - torch.lgamma(concentration + counts)
    return answers.sum(dim=1) + torch.lgamma(precision + total) - torch.lgamma(precision)


def beta_binomial_loss(logits: Tensor, log_precision: Tensor, counts: Tensor) -> Tensor:
    """
    Negative log likelihood of each answer's count against all others', each with its own precision.

    A Dirichlet distribution has one precision for all answers, and so cannot hold an answer that is rare nearly
    everywhere beside answers on which galaxies of one look differ widely. Here each answer's share is drawn from a beta
    distribution of its own mean and precision, and the answers' log likelihoods are summed (a composite likelihood),
    times (n_answers - 1) / n_answers, since the counts add up. Of two answers one says all: it is the
    Dirichlet-multinomial then. Coefficients that no model changes are left out.

    Parameters
    ----------
    logits, counts : (n_galaxies, n_answers) tensors
        Counts of 0 throughout where nobody was asked: they cost nothing.
    log_precision : (n_galaxies, n_answers) tensor, or (n_galaxies, 1) where there are two answers

    Returns
    -------
    (n_galaxies,) tensor
        In float64.

    References
    ----------
    Skellam 1948, J. R. Stat. Soc. B 10, 257 (the beta-binomial); Varin, Reid & Firth 2011, Statistica Sinica 21, 5
    (composite likelihoods).
    """
    n_answers, n_marginals = logits.shape[1], log_precision.shape[1]
    share = torch.softmax(logits.double(), dim=1)[:, :n_marginals].clamp(float(np.exp(LOG_FLOOR)), NEARLY_ONE)
    counts, precision = counts.double(), log_precision.double().exp()
    total, counts = counts.sum(dim=1, keepdim=True), counts[:, :n_marginals]
    yes, no = share * precision, (1 - share) * precision
    answers = torch.lgamma(yes) - torch.lgamma(yes + counts) + torch.lgamma(no) - torch.lgamma(no + (total - counts))
    losses = answers + torch.lgamma(precision + total) - torch.lgamma(precision)
    return losses.sum(dim=1) * (1 if n_marginals < n_answers else (n_answers - 1) / n_answers)


def bound_log_precision(output: Tensor) -> Tensor:
    """A network's output as the log of a precision: output + log 10 near 0, between log 0.01 and log 10,000."""
    reach = LOG_PRECISION_REACH
    return float(np.log(MIDDLE_PRECISION)) + reach * torch.tanh(output / reach)


@dataclass(frozen=True)
class VoteLoss:
    """
    Negative log likelihood of the votes on several questions.

    Attributes
    ----------
    widths : tuple of int
        How many answers each question has: so many outputs are its logits, one question after another.
    likelihood : {'multinomial', 'dirichlet-multinomial', 'beta-binomial'}
        After all logits come the outputs for the precisions, as many as `count_precisions` says.
    """

    widths: tuple[int, ...]
    likelihood: Likelihood

    @property
    def precisions(self) -> tuple[int, ...]:
        """How many outputs each question has for its precisions."""
        return count_precisions(self.widths, self.likelihood)

    def __call__(self, outputs: Tensor, counts: Tensor) -> Tensor:
        """
        Sum over galaxies.

        Parameters
        ----------
        outputs : (n_galaxies, n_outputs) tensor
        counts : (n_galaxies, sum of widths) tensor

        Returns
        -------
        (n_questions,) float64 tensor
        """
        n_answers = sum(self.widths)
        logits = torch.split(outputs[:, :n_answers].double(), list(self.widths), dim=1)
        votes = torch.split(counts.double(), list(self.widths), dim=1)
        precisions = bound_log_precision(outputs[:, n_answers:].double())
        if self.likelihood == "multinomial":
            losses = [multinomial_loss(*pair) for pair in zip(logits, votes, strict=True)]
        elif self.likelihood == "dirichlet-multinomial":
            shared = precisions.unbind(dim=1)
            losses = [dirichlet_multinomial_loss(*three) for three in zip(logits, shared, votes, strict=True)]
        else:
            own = torch.split(precisions, list(self.precisions), dim=1)
            losses = [beta_binomial_loss(*three) for three in zip(logits, own, votes, strict=True)]
        return torch.stack([loss.sum() for loss in losses])
