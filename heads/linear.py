"""Ridge regression in closed form, for all targets and all penalties at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh, svd

from embeddings.questions import Question
from heads.base import Array, Head, group_targets, mean_r2

ALPHAS = tuple(10.0 ** np.arange(-2, 6.25, 0.5))


class RidgeHead(Head):
    """
    Ridge regression; the penalty of each target comes from inner folds.

    One Gram matrix a fold and a question serves every penalty: with X'X = V diag(l) V', the coefficients for
    alpha are V diag(1 / (l + alpha)) V'X'y (Hastie, Tibshirani & Friedman 2009, eq. 3.47). A fold's training
    matrix is the whole less the fold's own.

    Parameters
    ----------
    questions, random_state
        As in `Head`.
    alphas : sequence of float
        Penalties to choose from, on standardised vectors, as scikit-learn's Ridge defines them.

    Attributes
    ----------
    coef_ : (embed_dim, n_targets) array
    intercept_ : (n_targets,) array
    alpha_ : (n_targets,) array
        The penalty chosen for each target.
    """

    name = "ridge"
    saved = ("coef_", "intercept_", "alpha_")

    def __init__(
        self,
        questions: Sequence[Question] | None = None,
        random_state: int = 0,
        alphas: Sequence[float] = ALPHAS,
    ) -> None:
        super().__init__(questions, random_state)
        self.alphas = alphas

    def _fit(self, X: Array, Y: Array, votes: Array | None, groups: Array) -> None:
        n_targets = Y.shape[1]
        self.coef_ = np.zeros((X.shape[1], n_targets), X.dtype)
        self.intercept_ = np.zeros(n_targets, X.dtype)
        self.alpha_ = np.zeros(n_targets, X.dtype)
        residual = np.zeros(n_targets)
        for rows, targets in group_targets(Y):
            whole = rows.all()
            Xq, Yq = X if whole else X[rows], np.ascontiguousarray(Y[rows][:, targets])
            alpha, residual[targets] = self._choose_alpha(Xq, Yq, groups if whole else groups[rows], targets[0])
            moments = Moments.of(Xq, Yq)
            spectrum = moments.decompose(Xq, Yq)
            self.coef_[:, targets] = spectrum.solve(alpha)
            self.intercept_[targets] = moments.y_mean - moments.x_mean @ self.coef_[:, targets]
            self.alpha_[targets] = alpha
        self.inner_score_ = mean_r2(residual, Y)

    def _choose_alpha(self, X: Array, Y: Array, groups: Array, target: int) -> tuple[Array, Array]:
        """The best alpha of each target, `target` the first, and its summed squared residuals over the inner folds."""
        alphas = np.asarray(self.alphas, np.float64)
        if len(alphas) == 1 and len(np.unique(groups)) < 2:
            return np.repeat(alphas, Y.shape[1]), np.full(Y.shape[1], np.inf)
        folds = self._inner_folds(groups, target)
        parts = [Moments.of(X[folds == fold], Y[folds == fold]) for fold in range(folds.max() + 1)]
        whole = sum(parts[1:], parts[0])
        residual = np.zeros((len(alphas), Y.shape[1]))
        for fold, part in enumerate(parts):
            training, held_out = whole - part, folds == fold
            spectrum = training.decompose(X[~held_out], Y[~held_out])
            rotated = (X[held_out] - training.x_mean.astype(X.dtype)) @ spectrum.vectors.astype(X.dtype)
            centred = Y[held_out] - training.y_mean
            for row, alpha in enumerate(alphas):
                shrunk = spectrum.projection / (spectrum.values + alpha)[:, None]
                residual[row] += ((centred - rotated @ shrunk.astype(X.dtype)) ** 2).sum(axis=0)
        best = residual.argmin(axis=0)
        return alphas[best], residual[best, np.arange(Y.shape[1])]

    def _predict(self, X: Array) -> Array:
        return np.asarray(X @ self.coef_ + self.intercept_)


@dataclass(frozen=True)
class Spectrum:
    """A centred Gram matrix's eigenvalues and vectors, and X'Y in their basis."""

    values: Array
    vectors: Array
    projection: Array

    def solve(self, alpha: Array) -> Array:
        """Coefficients (embed_dim, n_targets) for one alpha a target."""
        return np.asarray(self.vectors @ (self.projection / (self.values[:, None] + alpha)))


@dataclass(frozen=True)
class Moments:
    """Sums over some galaxies from which a ridge follows; large products in X's precision, all else in float64."""

    n: int
    x_sum: Array
    y_sum: Array
    gram: Array
    cross: Array

    @classmethod
    def of(cls, X: Array, Y: Array) -> Moments:
        """The sums over the rows of X (n, embed_dim) and Y (n, n_targets)."""
        if len(X) < 8 * X.shape[1]:  # float32 blurs small penalties here, and float64 costs less than to diagonalise
            X, Y = X.astype(np.float64), Y.astype(np.float64)
        sums = X.sum(axis=0, dtype=np.float64), Y.sum(axis=0, dtype=np.float64)
        return cls(len(X), *sums, (X.T @ X).astype(np.float64), (X.T @ Y).astype(np.float64))

    def __add__(self, other: Moments) -> Moments:
        return self._combine(other, 1)

    def __sub__(self, other: Moments) -> Moments:
        return self._combine(other, -1)

    def _combine(self, other: Moments, sign: int) -> Moments:
        return Moments(
            self.n + sign * other.n,
            self.x_sum + sign * other.x_sum,
            self.y_sum + sign * other.y_sum,
            self.gram + sign * other.gram,
            self.cross + sign * other.cross,
        )

    @property
    def x_mean(self) -> Array:
        """(embed_dim,)."""
        return self.x_sum / self.n

    @property
    def y_mean(self) -> Array:
        """(n_targets,)."""
        return self.y_sum / self.n

    def decompose(self, X: Array, Y: Array) -> Spectrum:
        """
        Centre and diagonalise.

        With fewer galaxies than dimensions the rows themselves, of which these are the sums, are decomposed: X = U s V'
        has the same V, s^2 = l, and costs n^2 d instead of d^3.
        """
        if self.n < X.shape[1]:
            u, s, vt = svd(X.astype(np.float64) - self.x_mean, full_matrices=False, check_finite=False)
            return Spectrum(s**2, vt.T, s[:, None] * (u.T @ (Y - self.y_mean)))
        gram = self.gram - self.n * np.outer(self.x_mean, self.x_mean)
        cross = self.cross - self.n * np.outer(self.x_mean, self.y_mean)
        values, vectors = eigh(gram, overwrite_a=True, check_finite=False, driver="evd")
        return Spectrum(np.maximum(values, 0), vectors, vectors.T @ cross)
