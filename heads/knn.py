"""k nearest neighbours by cosine, weighted by distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embeddings.questions import Question
from embeddings.search import find_neighbours
from heads.base import Array, Head, group_targets, mean_r2

K_CHOICES = (3, 5, 10, 20, 40, 80)
MIN_DISTANCE = 1e-3  # below this two images are the same to float16


class KNNHead(Head):
    """
    Distance-weighted mean of the labels of the nearest training galaxies.

    Parameters
    ----------
    questions, random_state
        As in `Head`.
    k_choices : sequence of int
        Numbers of neighbours to choose from, for each target, in inner folds.

    Attributes
    ----------
    X_ : (n_galaxies, embed_dim) array
        Standardised training vectors of length one.
    Y_ : (n_galaxies, n_targets) array
    k_ : (n_targets,) int array
        The number of neighbours chosen for each target.
    """

    name = "knn"
    saved = ("X_", "Y_", "k_", "target_mean_")

    def __init__(
        self,
        questions: Sequence[Question] | None = None,
        random_state: int = 0,
        k_choices: Sequence[int] = K_CHOICES,
    ) -> None:
        super().__init__(questions, random_state)
        self.k_choices = k_choices

    def _fit(self, X: Array, Y: Array, votes: Array | None, groups: Array) -> None:
        self.X_, self.Y_ = _normalise(X), Y
        self.target_mean_ = np.nanmean(Y, axis=0)
        choices = np.array([k for k in self.k_choices if k <= len(X)] or [len(X)])
        residual = np.zeros((len(choices), Y.shape[1]))
        folds = self._inner_folds(groups)
        for fold in range(folds.max() + 1):
            inside, held_out = folds != fold, folds == fold
            mean = self._fill(Y[inside])
            predictions = _predict_ks(self.X_[inside], Y[inside], self.X_[held_out], choices, mean)
            residual += np.nansum((predictions - Y[held_out]) ** 2, axis=1)
        best = residual.argmin(axis=0)
        self.k_ = choices[best]
        self.inner_score_ = mean_r2(residual[best, np.arange(Y.shape[1])], Y)

    def _fill(self, Y: Array) -> Array:
        """Target means where some neighbour-less prediction needs one; the overall mean where a fold has none."""
        asked = (~np.isnan(Y)).sum(axis=0)
        return np.asarray(np.where(asked > 0, np.nansum(Y, axis=0) / np.maximum(asked, 1), self.target_mean_))

    def _predict(self, X: Array) -> Array:
        choices = np.unique(self.k_)
        predictions = _predict_ks(self.X_, self.Y_, _normalise(X), choices, self.target_mean_)
        chosen = np.searchsorted(choices, self.k_)
        return np.asarray(np.take_along_axis(predictions, chosen[None, None, :], axis=0)[0])


def _normalise(X: Array) -> Array:
    """Rows of length one; a row of zeros stays."""
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return np.asarray(X / np.where(length > 0, length, 1))


def _predict_ks(X: Array, Y: Array, queries: Array, ks: Array, fill: Array) -> Array:
    """
    Weighted means over the nearest k of the galaxies that have the target, for several k at once.

    Returns
    -------
    (n_ks, n_queries, n_targets) array
        `fill` where no galaxy has the target.
    """
    out = np.tile(fill, (len(ks), len(queries), 1)).astype(Y.dtype)
    for rows, targets in group_targets(Y):
        if not rows.any():
            continue
        similarity, near = find_neighbours(X[rows], queries, int(ks.max()))
        distance = np.sqrt(np.maximum(2 - 2 * similarity.astype(np.float64), 0))
        weight = 1 / np.maximum(distance, MIN_DISTANCE)
        total = np.cumsum(weight, axis=1)
        for target in targets:
            labels = Y[rows, target][near]
            mean = np.cumsum(weight * labels, axis=1) / total
            out[:, :, target] = mean[:, np.minimum(ks, near.shape[1]) - 1].T
    return out
