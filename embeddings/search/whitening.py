"""What is done to vectors before they are compared: length one, and PCA whitening where it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

# of the mean variance, added to each direction's, so that directions that hold only noise are not blown up; and more,
# times dimensions over rows, because a covariance learnt from few rows is mostly noise
SHRINK, SHRINK_FEW = 0.1, 0.25
FIT_ROWS = 20_000  # or 20 for each dimension: enough for a covariance
# two images whose whitened cosine is above are one image, encoded twice: docs/search.md has the measurement
DUPLICATE = 0.85
MIN_FIT_ROWS = 30  # of fewer rows no covariance is learnt
PLAIN_DUPLICATE = 0.998  # instead, of plain cosines


@dataclass(frozen=True)
class Whitening:
    """
    Vectors turned so that every direction of their distribution varies alike.

    Attributes
    ----------
    mean : (embed_dim,) float32 array
    matrix : (embed_dim, embed_dim) float32 array
        Eigenvectors of the covariance over the square roots of their shrunken eigenvalues.
    """

    mean: Array
    matrix: Array

    @classmethod
    def fit(cls, X: Array) -> Whitening:
        """
        Learn mean and covariance.

        Parameters
        ----------
        X : (n_rows, embed_dim) array

        References
        ----------
        Kessy, Lewin and Strimmer 2018, The American Statistician 72, 309 (PCA whitening); the eigenvalues are shrunk
        towards their mean by addition, as in ridge regression.
        """
        mean = X.mean(axis=0, dtype=np.float64)
        centred = (X - mean).astype(np.float32)
        covariance = (centred.T @ centred).astype(np.float64) / max(len(X) - 1, 1)
        variances, directions = np.linalg.eigh(covariance)
        shrink = SHRINK + SHRINK_FEW * X.shape[1] / len(X)
        shrunken = np.maximum(variances, 0) + max(shrink * variances.mean(), np.finfo(np.float32).tiny)
        return cls(mean.astype(np.float32), (directions / np.sqrt(shrunken)).astype(np.float32))

    def apply(self, X: Array) -> Array:
        """Whitened rows, (n_rows, embed_dim) float32."""
        return np.asarray((X - self.mean) @ self.matrix)


def scale_to_unit(X: Array) -> Array:
    """Rows of length one as float32; a row of zeros stays."""
    X = np.asarray(X, np.float32)
    length = np.sqrt(np.einsum("ij,ij->i", X, X))[:, None]
    return np.asarray(X / np.where(length > 0, length, 1))


def transform(X: Array, whitening: Whitening | None) -> Array:
    """Vectors as they are compared, (n_rows, embed_dim) float32 of length one."""
    return scale_to_unit(X if whitening is None else whitening.apply(X))


def choose_fit_rows(n_rows: int, embed_dim: int, random_state: int) -> Array:
    """Rows to learn a covariance from, in ascending order."""
    enough = max(FIT_ROWS, 20 * embed_dim)
    if n_rows <= enough:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(random_state).choice(n_rows, enough, replace=False))
