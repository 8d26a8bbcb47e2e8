"""A multi-layer perceptron, after the reference study's head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy.special import expit, logit

from embeddings.questions import Question
from heads.base import Array, Head, TargetsError
from heads.layers import FILE, apply_layers, pack_layers, unpack_layers
from heads.scores import score_held_out
from heads.threads import limit_threads


class MLPHead(Head):
    """
    Hidden layers with batch normalisation and dropout, trained until held-out galaxies say stop.

    All targets share the hidden layers; a fraction comes out of a sigmoid. The loss is the squared error over each
    target's variance, over the labels that are there. One inner fold is held out: it stops the training and gives the
    inner score.

    Parameters
    ----------
    questions, random_state, weight_by_votes
        As in `Head`.
    hidden : sequence of int
        Widths of the hidden layers.
    dropout : float
    learning_rate, weight_decay : float
        Of AdamW.
    batch_size, max_epochs, patience : int
        Batches are smaller where galaxies are few. Training stops after `patience` epochs without a better held-out
        loss.

    Attributes
    ----------
    layers_ : list of (weight, bias)
        Batch normalisation taken into them.
    target_mean_, target_scale_ : (n_targets,) arrays

    References
    ----------
    The widths, batch normalisation, dropout, sigmoid and squared error are those of the head of the public study
    "Galaxy Sommelier" (SandyYuan/galaxy-sommelier, scripts/model_setup.py); its learning rate was 1e-4 for 5 epochs.
    """

    name = "mlp"
    saved = ("target_mean_", "target_scale_")

    def __init__(
        self,
        questions: Sequence[Question] | None = None,
        random_state: int = 0,
        weight_by_votes: bool = False,
        hidden: Sequence[int] = (512, 256),
        dropout: float = 0.2,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.01,
        batch_size: int = 512,
        max_epochs: int = 100,
        patience: int = 6,
    ) -> None:
        super().__init__(questions, random_state, weight_by_votes)
        self.hidden = hidden
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience

    def _fit(self, X: Array, Y: Array, votes: Array | None, groups: Array) -> None:
        import torch  # on use: what is fitted predicts without it

        from heads.losses import squared_error
        from heads.networks import Schedule, build_network, fold_network, train_network

        weights = self._weigh(Y, votes)
        held_out = self._inner_folds(groups) == 0
        if (~held_out).sum() < 2:
            raise TargetsError("an mlp learns from at least 2 galaxies beside those it holds out. Give more galaxies.")
        learned = groups >= 0
        self.target_mean_ = np.nanmean(Y[learned], axis=0)
        spread = np.nanstd(Y[learned], axis=0)
        self.target_scale_ = np.where(spread > 0, spread, 1).astype(Y.dtype)
        fractions = self._find_fractions()
        scale = torch.from_numpy(self.target_scale_).float()
        labels = torch.from_numpy(np.where(fractions, Y, (Y - self.target_mean_) / self.target_scale_)).float()
        each = torch.from_numpy(np.ones_like(Y) if weights is None else weights).float()
        each = torch.where(torch.from_numpy(fractions), each / scale**2, each)
        inputs, chosen = torch.from_numpy(X).float().contiguous(), torch.from_numpy(fractions)

        def loss(outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            return squared_error(torch.where(chosen, torch.sigmoid(outputs), outputs), labels[rows], each[rows])

        with torch.random.fork_rng(devices=[]), limit_threads(X.size):
            torch.manual_seed(self.random_state)
            start = np.where(fractions, logit(np.clip(self.target_mean_, 0.001, 0.999)), 0)
            network = build_network(X.shape[1], self.hidden, start, self.dropout)
            schedule = Schedule(self.batch_size, self.learning_rate, self.weight_decay, self.max_epochs, self.patience)
            train_network(network, inputs, loss, torch.from_numpy(held_out), schedule)
        self.layers_ = fold_network(network)
        self.inner_score_ = score_held_out(Y, self._predict(X[held_out]), held_out, weights)

    def _predict(self, X: Array) -> Array:
        outputs = apply_layers(self.layers_, X)
        values = outputs * self.target_scale_ + self.target_mean_
        return np.asarray(np.where(self._find_fractions(), expit(outputs), values))

    def to_files(self) -> dict[str, bytes]:
        """The layers."""
        return {FILE: pack_layers(self.layers_)}

    def from_files(self, files: dict[str, bytes]) -> Self:
        """The inverse of `to_files`."""
        self.layers_ = unpack_layers(files[FILE])
        return self
