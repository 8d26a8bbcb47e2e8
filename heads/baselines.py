"""Heads that look at no image: what any other must beat."""

from __future__ import annotations

from typing import Any

import numpy as np

from heads.base import Array, Head


class MeanHead(Head):
    """Predicts the mean of the training labels for every galaxy."""

    name = "mean"
    saved = ("target_mean_",)

    def _fit(self, X: Array, Y: Array, votes: Array | None, groups: Array) -> None:
        self.target_mean_ = np.nanmean(Y, axis=0)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        return tags

    def _predict(self, X: Array) -> Array:
        return np.tile(self.target_mean_, (len(X), 1))
