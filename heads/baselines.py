"""Heads that know nothing of images: what any other must beat."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from heads.base import Array, Head

WIDTHS = (512, 256)  # the reference study's head


class Baseline(Head):
    """A head of which nobody expects a good score."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags


class MeanHead(Baseline):
    """Predicts the mean of the training labels for every galaxy."""

    name = "mean"
    saved = ("target_mean_",)

    def _fit(self, X: Array, Y: Array, votes: Array | None, groups: Array) -> None:
        weights, learned = self._weigh(Y, votes), groups >= 0
        Y, weights = Y[learned], None if weights is None else weights[learned]
        if weights is None:
            self.target_mean_ = np.nanmean(Y, axis=0)
        else:
            self.target_mean_ = np.nansum(weights * Y, axis=0) / weights.sum(axis=0)

    def _predict(self, X: Array) -> Array:
        return np.tile(self.target_mean_, (len(X), 1))


class RandomHead(Baseline):
    """
    A network that was never trained, which the reference study calls its pretrained baseline.

    Two hidden layers of 512 and 256, ReLU, and a sigmoid for every target; weights uniform within
    +- sqrt(6 / (inputs + outputs)), biases 0 (Glorot & Bengio 2010, eq. 16). Batch norm that has seen nothing changes
    nothing. It looks at no label.
    """

    name = "random"
    saved = ("hidden1_", "hidden2_", "output_")

    def _fit(self, X: Array, Y: Array, votes: Array | None, groups: Array) -> None:
        rng = np.random.default_rng(self.random_state)
        widths = (X.shape[1], *WIDTHS, Y.shape[1])
        for name, inputs, outputs in zip(self.saved, widths[:-1], widths[1:], strict=True):
            limit = np.sqrt(6 / (inputs + outputs))
            setattr(self, name, rng.uniform(-limit, limit, (inputs, outputs)).astype(X.dtype))

    def _predict(self, X: Array) -> Array:
        hidden = np.maximum(X @ self.hidden1_, 0)
        return np.asarray(expit(np.maximum(hidden @ self.hidden2_, 0) @ self.output_))
