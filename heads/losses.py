"""What networks and vote models minimise: torch, differentiable, and silent where a question was not asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from heads.ballots import LOG_PRECISION_REACH, MIDDLE_PRECISION

LOG_FLOOR = -500.0  # exp of less would be 0, and lgamma(0) infinite


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
    dirichlet : bool
        Dirichlet-multinomial: after all logits comes one output a question for its precision.
    """

    widths: tuple[int, ...]
    dirichlet: bool

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
        if not self.dirichlet:
            losses = [multinomial_loss(*pair) for pair in zip(logits, votes, strict=True)]
        else:
            precisions = bound_log_precision(outputs[:, n_answers:].double()).unbind(dim=1)
            losses = [dirichlet_multinomial_loss(*three) for three in zip(logits, precisions, votes, strict=True)]
        return torch.stack([loss.sum() for loss in losses])
