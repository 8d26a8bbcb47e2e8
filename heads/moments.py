"""Sums over galaxies from which a ridge follows: blocks of galaxies add up, and one sum serves every penalty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh, svd

from heads.base import Array

CHUNK = 8192  # rows a product: float32 adds up no more than these, and chunks are added up in float64
FLOAT32_ROWS = (
    8  # times the dimensions; with fewer, float32 blurs small penalties, and to diagonalise costs more anyway
)


@dataclass(frozen=True)
class Sample:
    """
    What sums are taken of.

    Attributes
    ----------
    X : (n_galaxies, embed_dim) array
    Y : (n_galaxies, n_targets) array
    weights : (n_galaxies,) array, optional
    """

    X: Array
    Y: Array
    weights: Array | None = None

    @classmethod
    def of(cls, X: Array, Y: Array, weights: Array | None, targets: Array) -> Sample:
        """Some targets, which weigh the same galaxies alike."""
        return cls(X, Y[:, targets], None if weights is None else weights[:, targets[0]])

    def take(self, rows: Array, dtype: type | None = None) -> tuple[Array, Array, Array]:
        """X and Y of some rows, both times the root of their weights, and these roots as (n_rows, 1)."""
        X, Y = self.X[rows].astype(dtype, copy=False), self.Y[rows].astype(dtype, copy=False)
        if self.weights is None:
            return X, Y, np.ones((len(X), 1), X.dtype)
        root = np.sqrt(self.weights[rows, None]).astype(X.dtype)
        return X * root, Y * root, root


@dataclass(frozen=True)
class Moments:
    """
    Weighted sums over some galaxies; large products in X's precision, all else in float64.

    Attributes
    ----------
    n : float
        Sum of the weights.
    x_sum, y_sum : (embed_dim,) and (n_targets,) arrays
    y_squares : (n_targets,) array
    gram, cross : (embed_dim, embed_dim) and (embed_dim, n_targets) arrays
        X'X and X'Y.
    """

    n: float
    x_sum: Array
    y_sum: Array
    y_squares: Array
    gram: Array
    cross: Array

    @classmethod
    def of(cls, sample: Sample, rows: Array) -> Moments:
        """The sums over the rows of an index."""
        d, n_targets = sample.X.shape[1], sample.Y.shape[1]
        total = cls(
            0, np.zeros(d), np.zeros(n_targets), np.zeros(n_targets), np.zeros((d, d)), np.zeros((d, n_targets))
        )
        dtype = np.float64 if len(rows) < FLOAT32_ROWS * d else sample.X.dtype.type
        for start in range(0, len(rows), CHUNK):
            X, Y, root = sample.take(rows[start : start + CHUNK], dtype)
            squares = (Y.astype(np.float64) ** 2).sum(axis=0)
            x_sum, y_sum = (X.T @ root)[:, 0], (root * Y).sum(axis=0, dtype=np.float64)
            total += cls(float((root.astype(np.float64) ** 2).sum()), x_sum, y_sum, squares, X.T @ X, X.T @ Y)
        return total

    def __add__(self, other: Moments) -> Moments:
        return self._combine(other, 1)

    def __sub__(self, other: Moments) -> Moments:
        return self._combine(other, -1)

    def _combine(self, other: Moments, sign: int) -> Moments:
        return Moments(
            self.n + sign * other.n,
            self.x_sum + sign * other.x_sum,
            self.y_sum + sign * other.y_sum,
            self.y_squares + sign * other.y_squares,
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

    def about(self, x: Array, y: Array) -> Moments:
        """The sums of X - x and Y - y."""
        between = np.outer(self.x_sum, x)
        return Moments(
            self.n,
            self.x_sum - self.n * x,
            self.y_sum - self.n * y,
            self.y_squares - 2 * y * self.y_sum + self.n * y**2,
            self.gram - between - between.T + self.n * np.outer(x, x),
            self.cross - np.outer(self.x_sum, y) - np.outer(x, self.y_sum) + self.n * np.outer(x, y),
        )

    def stretch(self, factor: Array) -> Moments:
        """The sums of X * factor, one factor a dimension."""
        gram, cross = self.gram * np.outer(factor, factor), self.cross * factor[:, None]
        return Moments(self.n, self.x_sum * factor, self.y_sum, self.y_squares, gram, cross)

    def residual(self, coef: Array) -> Array:
        """Sums of squares of Y - X coef, (n_targets,), for coefficients (embed_dim, n_targets)."""
        return np.asarray(self.y_squares + (coef * (self.gram @ coef - 2 * self.cross)).sum(axis=0))

    def decompose(self, sample: Sample, rows: Array) -> Spectrum:
        """
        Centre and diagonalise.

        With fewer galaxies than dimensions the rows themselves, of which these are the sums, are decomposed: X = U s V'
        has the same V, s^2 = l, and costs n^2 d instead of d^3.
        """
        if len(rows) < len(self.x_sum):
            X, Y, root = sample.take(rows, np.float64)
            u, s, vt = svd(X - root * self.x_mean, full_matrices=False, check_finite=False)
            return Spectrum(s**2, vt.T, s[:, None] * (u.T @ (Y - root * self.y_mean)))
        centred = self.about(self.x_mean, self.y_mean)
        values, vectors = eigh(centred.gram, overwrite_a=True, check_finite=False, driver="evd")
        return Spectrum(np.maximum(values, 0), vectors, vectors.T @ centred.cross)


@dataclass(frozen=True)
class Spectrum:
    """A centred Gram matrix's eigenvalues and vectors, and X'Y in their basis."""

    values: Array
    vectors: Array
    projection: Array

    def solve(self, alpha: Array | float) -> Array:
        """Ridge coefficients (embed_dim, n_targets), for one alpha or one a target."""
        return np.asarray(self.vectors @ (self.projection / (self.values[:, None] + alpha)))
