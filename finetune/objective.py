"""What a fine-tune minimises, and what its outputs mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from finetune.data import GalaxyTable, TrainingError
from heads.ballots import Likelihood, collect_ballots
from heads.base import weigh_by_votes
from heads.losses import VoteLoss, binary_cross_entropy, squared_error

Array = np.ndarray[Any, Any]
Loss = Literal["mse", "bce", "multinomial", "dirichlet-multinomial", "beta-binomial"]
Weights = Literal["none", "votes", "published"]
EDGE = 1e-3  # mean labels are kept so far from 0 and 1 as the bias that predicts them


@dataclass(frozen=True)
class Labels:
    """
    What the loss needs of galaxies.

    Attributes
    ----------
    Y, weights : (n_galaxies, n_targets) float32 tensors
    counts : (n_galaxies, n_answers) float32 tensor
        Votes, one question after another; without columns where the loss is of fractions.
    """

    Y: Tensor
    weights: Tensor
    counts: Tensor

    def take(self, rows: Array) -> Labels:
        """Those of some galaxies."""
        index = torch.as_tensor(rows)
        return Labels(self.Y[index], self.weights[index], self.counts[index])

    def to(self, device: torch.device) -> Labels:
        """The same on a device."""
        return Labels(*(values.to(device, non_blocking=True) for values in (self.Y, self.weights, self.counts)))


@dataclass(frozen=True)
class Objective:
    """
    A loss and the outputs that it takes.

    Attributes
    ----------
    loss : {'mse', 'bce', 'multinomial', 'dirichlet-multinomial', 'beta-binomial'}
        Each output through a sigmoid, with squared errors or cross-entropy; or each question's outputs through a
        softmax, as likelihood of its votes.
    widths : tuple of int
        Outputs of each question, with the one that stands for answers that are no targets.
    answers : tuple of int
        Targets of each question.
    relative : bool
        The study's weighting: over the largest weight in the batch instead of their sum.
    totals : tuple of float
        The median votes on each question among the training galaxies that were asked; of likelihoods alone.
    """

    loss: Loss
    widths: tuple[int, ...]
    answers: tuple[int, ...]
    relative: bool = False
    totals: tuple[float, ...] = ()

    @property
    def counts_votes(self) -> bool:
        """Whether it is a likelihood of counts."""
        return self.loss not in ("mse", "bce")

    @property
    def n_outputs(self) -> int:
        """Of the network."""
        return sum(self.widths) + (sum(self._likelihood.precisions) if self.counts_votes else 0)

    @property
    def _likelihood(self) -> VoteLoss:
        return VoteLoss(self.widths, cast("Likelihood", self.loss))

    def __call__(self, outputs: Tensor, labels: Labels) -> Tensor:
        """
        The mean loss over galaxies.

        Parameters
        ----------
        outputs : (n_galaxies, n_outputs) tensor
        labels : Labels

        Returns
        -------
        () tensor
        """
        outputs = outputs.float()
        if self.counts_votes:
            return self._likelihood(outputs, labels.counts).sum().float() / len(outputs)
        if self.loss == "mse":
            loss = squared_error(torch.sigmoid(outputs), labels.Y, labels.weights)
        else:
            loss = binary_cross_entropy(outputs, labels.Y, labels.weights)
        if not self.relative:
            return loss
        weights = torch.where(torch.isnan(labels.Y), 0, labels.weights)
        asked = (~torch.isnan(labels.Y)).sum()
        return loss * weights.sum() / (weights.max() * asked).clamp_min(torch.finfo(weights.dtype).tiny)

    def predict(self, outputs: Tensor) -> Tensor:
        """(n_galaxies, n_targets) fractions."""
        outputs = outputs.float()
        if not self.counts_votes:
            return torch.sigmoid(outputs)
        logits = torch.split(outputs[:, : sum(self.widths)], list(self.widths), dim=1)
        shares = [torch.softmax(part, dim=1)[:, :n] for part, n in zip(logits, self.answers, strict=True)]
        return torch.cat(shares, dim=1)


def make_objective(
    table: GalaxyTable, train: Array, loss: Loss, weights: Weights, zero_unasked: bool
) -> tuple[Objective, Labels, Array]:
    """
    The loss on the labels of a table.

    Parameters
    ----------
    table : GalaxyTable
    train : (n_galaxies,) bool array
        The training galaxies: means come from them.
    loss, weights : str
        Likelihoods count each vote, and take no weights.
    zero_unasked : bool
        A question that was not asked counts as 0, as in the study.

    Returns
    -------
    Objective, Labels
    bias : (n_outputs,) array
        The outputs that predict the mean labels; for likelihoods, the shares of all votes.

    Raises
    ------
    TrainingError
        When a target has no training labels, or weights are asked of catalogs without votes.
    TargetsError
        When votes do not fit the loss or the weights.
    """
    Y = np.nan_to_num(table.Y) if zero_unasked else table.Y
    empty = np.isnan(Y[train]).all(axis=0)
    if empty.any():
        names = ", ".join(np.array(table.targets)[empty])
        raise TrainingError(f"no training galaxy has a label for {names}. Choose others with data.targets.")
    answers = tuple(len(columns) for _, columns in table.columns)
    weighed = torch.from_numpy(_weigh(table, Y, weights))
    if loss in ("mse", "bce"):
        objective = Objective(loss, answers, answers, weights == "published")
        means = np.clip(np.nanmean(Y[train], axis=0, dtype=np.float64), EDGE, 1 - EDGE)
        return objective, Labels(torch.from_numpy(Y), weighed, torch.empty(len(Y), 0)), np.log(means / (1 - means))
    ballots = collect_ballots(table.columns, Y, table.votes)
    trained = ballots.take(train)
    medians = tuple(float(np.median(total[total > 0])) if total.any() else 1.0 for total in trained.totals.T)
    objective = Objective(loss, ballots.widths, answers, totals=medians)
    bias = np.zeros(objective.n_outputs)
    bias[: sum(ballots.widths)] = np.log(trained.shares)
    counts = torch.from_numpy(ballots.counts.astype(np.float32))
    return objective, Labels(torch.from_numpy(Y), weighed, counts), bias


def _weigh(table: GalaxyTable, Y: Array, weights: Weights) -> Array:
    """(n_galaxies, n_targets) float32."""
    if weights == "none":
        return np.ones_like(Y)
    if weights == "votes":
        return np.where(np.isnan(Y), 1, weigh_by_votes(table.columns, Y, table.votes)).astype(np.float32)
    totals = np.nansum(table.votes, axis=1)
    if not totals.any():
        raise TrainingError("data.weights: published needs vote counts, and the catalogs have none. Take none.")
    return np.broadcast_to(totals[:, None], Y.shape).astype(np.float32)
