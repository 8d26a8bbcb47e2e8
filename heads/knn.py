"""k nearest neighbours by cosine, weighted by distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embeddings.questions import Question
from embeddings.search import find_neighbours
from heads.base import Array, Head, group_targets
from heads.scores import mean_r2
from heads.splits import find_learned

K_CHOICES = (3, 5, 10, 20, 40, 80)
MIN_DISTANCE = 1e-3  # below this two images are the same to float16
MAX_JUDGED = 4096  # galaxies that choose k: the standard error of a mean over so many is 1.6 % of the spread


class KNNHead(Head):
    """
    Distance-weighted mean of the labels of the nearest training galaxies.

    Parameters
    ----------
    questions, random_state, weight_by_votes
        As in `Head`; a neighbour's weight is that of its votes over its distance.
    k_choices : sequence of int
        Numbers of neighbours to choose from, for each target, in inner folds, by at most `MAX_JUDGED` galaxies.

    Attributes
    ----------
    X_ : (n_galaxies, embed_dim) array
        Standardised training vectors of length one.
    Y_ : (n_galaxies, n_targets) array
    weights_ : (n_galaxies, n_targets) array
        Without rows where all galaxies weigh the same.
    k_ : (n_targets,) int array
        The number of neighbours chosen for each target.
    """

    name = "knn"
    saved = ("X_", "Y_", "weights_", "k_", "target_mean_")

    def __init__(
        self,
        questions: Sequence[Question] | None = None,
        random_state: int = 0,
        weight_by_votes: bool = False,
        k_choices: Sequence[int] = K_CHOICES,
    ) -> None:
        super().__init__(questions, random_state, weight_by_votes)
        self.k_choices = k_choices

    def _fit(self, X: Array, Y: Array, votes: Array | None, groups: Array) -> None:
        weights = self._weigh(Y, votes)
        self.X_, self.Y_ = _normalise(X), Y
        self.weights_ = np.empty((0, Y.shape[1]), Y.dtype) if weights is None else weights
        folds = self._inner_folds(groups)
        learned = find_learned(folds)
        self.target_mean_ = np.nanmean(Y[learned], axis=0)
        choices = np.array([k for k in self.k_choices if k <= learned.sum()] or [learned.sum()])
        self.k_, residual = np.zeros(Y.shape[1], np.int64), np.zeros(Y.shape[1])
        judged, rng = np.zeros(Y.shape, bool), np.random.default_rng(self.random_state)
        for rows, targets in group_targets(Y, weights):
            judges = np.sort(rng.permutation(np.flatnonzero(rows & (folds >= 0)))[:MAX_JUDGED])
            squares = self._judge(choices, rows, judges, targets, folds)
            best = squares.argmin(axis=0)
            self.k_[targets], residual[targets] = choices[best], squares[best, np.arange(len(targets))]
            judged[np.ix_(judges, targets)] = True
        self.inner_score_ = mean_r2(
            residual, np.where(judged, Y, np.nan), None if weights is None else np.where(judged, weights, 0)
        )
        if not learned.all():
            self.X_, self.Y_, self.weights_ = self.X_[learned], Y[learned], self.weights_[learned[: len(self.weights_)]]

    def _judge(self, choices: Array, rows: Array, judges: Array, targets: Array, folds: Array) -> Array:
        """Sums of squared residuals of some galaxies, (n_choices, n_targets), each by the folds that it is not in."""
        squares = np.zeros((len(choices), len(targets)))
        for fold in np.unique(folds[judges]):
            held_out = judges[folds[judges] == fold]
            predictions = self._average(choices, rows & (folds != fold), self.X_[held_out], targets)
            weights = self.weights_[np.ix_(held_out, targets)] if len(self.weights_) else 1
            squares += (weights * (predictions - self.Y_[np.ix_(held_out, targets)]) ** 2).sum(axis=1)
        return squares

    def _average(self, ks: Array, rows: Array, queries: Array, targets: Array) -> Array:
        """
        Weighted means over the nearest k of some galaxies, for several k at once.

        Returns
        -------
        (n_ks, n_queries, n_targets) array
            Means of all training galaxies where nothing weighs anything.
        """
        known = self.X_ if rows.all() else self.X_[rows]  # no copy without need
        similarity, near = find_neighbours(known, queries, int(ks.max()))
        distance = np.sqrt(np.maximum(2 - 2 * similarity.astype(np.float64), 0))
        weight = 1 / np.maximum(distance, MIN_DISTANCE)
        if len(self.weights_):
            weight *= self.weights_[rows, targets[0]][near]
        out = np.tile(self.target_mean_[targets], (len(ks), len(queries), 1))
        if not near.size:
            return out
        places = np.minimum(ks, near.shape[1]) - 1
        total = np.cumsum(weight, axis=1)[:, places]
        for column, target in enumerate(targets):
            sums = np.cumsum(weight * self.Y_[rows, target][near], axis=1)[:, places]
            np.divide(sums.T, total.T, out=out[:, :, column], where=total.T > 0, casting="same_kind")
        return out

    def _predict(self, X: Array) -> Array:
        P, queries = np.empty((len(X), len(self.k_)), self.Y_.dtype), _normalise(X)
        for rows, targets in group_targets(self.Y_, self.weights_ if len(self.weights_) else None):
            ks, chosen = np.unique(self.k_[targets], return_inverse=True)
            P[:, targets] = self._average(ks, rows, queries, targets)[chosen, :, np.arange(len(targets))].T
        return P


def _normalise(X: Array) -> Array:
    """Rows of length one; a row of zeros stays."""
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return np.asarray(X / np.where(length > 0, length, 1))
