"""Ridge regression in closed form, for all targets, all penalties and all sizes of training set at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from sklearn.base import clone

from embeddings.questions import Question
from heads.base import Array, Head, TargetsError, group_targets
from heads.moments import Moments, Sample
from heads.scores import mean_r2
from heads.splits import find_learned
from heads.threads import limit_blas, limit_threads

ALPHAS = tuple(10.0 ** np.arange(-2, 6.25, 0.5))


class RidgeHead(Head):
    """
    Ridge regression; the penalty of each target comes from inner folds.

    One Gram matrix a fold and a question serves every penalty: with X'X = V diag(l) V', the coefficients for
    alpha are V diag(1 / (l + alpha)) V'X'y (Hastie, Tibshirani & Friedman 2009, eq. 3.47). A fold's training
    matrix is the whole less the fold's own, and its errors follow from the fold's own: no vector is read twice.
    Products are in X's precision.

    Parameters
    ----------
    questions, random_state, weight_by_votes
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
        weight_by_votes: bool = False,
        alphas: Sequence[float] = ALPHAS,
    ) -> None:
        super().__init__(questions, random_state, weight_by_votes)
        self.alphas = alphas

    def _fit(self, X: Array, Y: Array, votes: Array | None, groups: Array) -> None:
        weights = self._weigh(Y, votes)
        residual = self._allocate(X)
        for rows, targets in group_targets(Y, weights):
            sample, index = Sample.of(X, Y, weights, targets), np.flatnonzero(rows)
            folds = self._cut(groups[index], targets[0])
            with limit_threads(X.size):
                parts = [Moments.of(sample, index[folds == fold]) for fold in range(folds.max() + 1)]
                if not (folds >= 0).all():
                    parts.append(Moments.of(sample, index[folds < 0]))
            residual[targets] = self._solve(sample, index, folds, parts, targets)
        judges = groups < 0 if (groups < 0).any() else groups >= 0
        self.inner_score_ = mean_r2(residual, Y[judges], None if weights is None else weights[judges])

    def _allocate(self, X: Array) -> Array:
        """Make room for what is fitted, and for each target's residual."""
        self.coef_ = np.zeros((X.shape[1], self.n_targets_), X.dtype)
        self.intercept_, self.alpha_ = np.zeros((2, self.n_targets_), X.dtype)
        return np.zeros(self.n_targets_)

    def _cut(self, groups: Array, target: int) -> Array:
        """Inner folds, or a single one where there is nothing to choose and nothing to cut."""
        if len(self.alphas) == 1 and len(np.unique(groups)) < 2:
            return np.zeros(len(groups), np.int64)
        return self._inner_folds(groups, target)

    def _solve(self, sample: Sample, index: Array, folds: Array, parts: list[Moments], targets: Array) -> Array:
        """Choose and fit some targets from the sums of each fold (and of what lies outside); their residuals."""
        rows = index[find_learned(folds)]
        whole = parts[-1] if len(rows) < len(index) else sum(parts[1:], parts[0])
        alphas = np.asarray(self.alphas, np.float64) * whole.n / len(rows)  # as if the weights' mean were one
        with limit_blas():  # LAPACK's threads wait for each other longer than they work
            best, residual = choose_alpha(sample, index, folds, parts, alphas)
            coef = whole.decompose(sample, rows).solve(alphas[best])
        self.coef_[:, targets] = coef
        self.intercept_[targets] = whole.y_mean - whole.x_mean @ coef
        self.alpha_[targets] = np.asarray(self.alphas)[best]
        return residual

    def _solve_first(
        self, size: int, top: Head, sample: Sample, index: Array, folds: Array, sums: list[Moments], targets: Array
    ) -> Array:
        """The same from the first rows, whose sums were taken of vectors that `top` standardised."""
        shift = (self.mean_ - top.mean_) / top.scale_
        varies = np.ptp(sample.X[:size], axis=0) > 0  # what does not has rounding errors for a spread
        factor = np.where(varies, top.scale_ / self.scale_, 0)
        seen = index < size
        held, folds = np.unique(folds[seen], return_inverse=True)
        parts = [sums[fold].about(shift, np.zeros(len(targets))).stretch(factor) for fold in held]
        if seen.sum() - np.bincount(folds).max() < len(shift):  # too few for sums alone: the rows are read again
            sample = Sample((sample.X[:size] - shift) * factor, sample.Y, sample.weights)
        return self._solve(sample, index[seen], folds, parts, targets)

    def _predict(self, X: Array) -> Array:
        return np.asarray(X @ self.coef_ + self.intercept_)


def choose_alpha(
    sample: Sample, index: Array, folds: Array, parts: list[Moments], alphas: Array
) -> tuple[Array, Array]:
    """
    The penalty of each target with the smallest sum of squared residuals over the folds.

    Returns
    -------
    best : (n_targets,) int array
        Positions in `alphas`.
    residual : (n_targets,) array
        Infinite with a single fold, which leaves nothing to learn from.
    """
    n_targets = len(parts[0].y_sum)
    if len(parts) < 2 and len(alphas) > 1:
        raise TargetsError("too few galaxies to choose a penalty from. Give more of them, or a single penalty.")
    if len(parts) < 2:
        return np.zeros(n_targets, np.int64), np.full(n_targets, np.inf)
    whole = sum(parts[1:], parts[0])

    def judge(fold: int) -> Array:
        training = whole - parts[fold]
        spectrum = training.decompose(sample, index[folds != fold])
        held_out = parts[fold].about(training.x_mean, training.y_mean)
        return np.array([held_out.residual(spectrum.solve(alpha)) for alpha in alphas])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        residual = np.sum(list(pool.map(judge, range(folds.max() + 1))), axis=0)
    best = residual.argmin(axis=0)
    return best, residual[best, np.arange(n_targets)]


def fit_sizes(
    head: RidgeHead,
    X: Array,
    Y: Array,
    sizes: Sequence[int],
    votes: Array | None = None,
    groups: Array | None = None,
) -> list[RidgeHead]:
    """
    Ridges of growing training sets, each row summed up once for all that hold it.

    Each size still has a matrix of embed_dim to diagonalise in each fold: this pays where sizes are many and large.

    Parameters
    ----------
    head : RidgeHead
        Its copies are fitted.
    X, Y, votes, groups
        As for `Head.fit`, in random order. Inner folds are cut once, for all sizes.
    sizes : sequence of int
        How many of the first rows to learn from, in ascending order.

    Returns
    -------
    list of RidgeHead
        One a size.

    Raises
    ------
    TargetsError
        When a size is too small to learn some target from, or sizes do not ascend to at most all rows.
    """
    if not (np.diff([0, *sizes, len(X) + 1]) > 0).all():
        raise TargetsError(f"sizes ascend from 1 to the number of galaxies, {len(X)}; got {list(sizes)}.")
    heads = [clone(head) for _ in sizes]
    residuals = []
    for fitted, size in zip(heads, sizes, strict=True):
        prepared = fitted._prepare(*(values if values is None else values[:size] for values in (X, Y, votes, groups)))
        residuals.append(fitted._allocate(prepared[0]))
    top, (X, Y, votes, groups) = heads[-1], prepared
    weights = top._weigh(Y, votes)
    for rows, targets in group_targets(Y, weights):
        sample, index = Sample.of(X, Y, weights, targets), np.flatnonzero(rows)
        folds = top._cut(groups[index], targets[0])
        sums = [Moments.of(sample, index[:0])] * (folds.max() + 1)
        for start, size, fitted, residual in zip([0, *sizes], sizes, heads, residuals, strict=False):
            new = (index >= start) & (index < size)
            sums = [total + Moments.of(sample, index[new & (folds == fold)]) for fold, total in enumerate(sums)]
            residual[targets] = fitted._solve_first(size, top, sample, index, folds, sums, targets)
    for fitted, size, residual in zip(heads, sizes, residuals, strict=True):
        fitted.inner_score_ = mean_r2(residual, Y[:size], None if weights is None else weights[:size])
    return heads
