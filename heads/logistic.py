"""Logistic regression on vote fractions: the answers of a question add up to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import helmert
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from embeddings.questions import Question
from heads.base import WHOLE_SHARE, WHOLE_TOLERANCE, Array, Head, TargetsError
from heads.moments import Moments, Sample
from heads.scores import mean_r2
from heads.threads import limit_blas, limit_threads

ALPHAS = tuple(10.0 ** np.arange(5, -1.25, -0.5))
RANK_TOLERANCE = 1e-10  # of the largest eigenvalue: directions below have no say under any penalty above
MAX_JUDGED = 4096  # galaxies of a question that choose its penalty: more make it no better, only later
ROUGH = 10  # times the tolerance where the fit is not the last
MIN_SHARE = 1e-6  # an answer that nobody gave starts here


class LogisticHead(Head):
    """
    Fractional logit, multinomial within a question; the penalty of each question comes from inner folds.

    Maximises the quasi-likelihood of the fractions, sum_k f_k log p_k (Papke & Wooldridge 1996, J. Appl. Econometrics
    11, 619), which weighted by votes is the multinomial likelihood of the counts. Where a question's answers do not add
    up to one (a single answer, some of them), what is left over is an answer too, and is not predicted.

    All inner folds and the whole are fitted in one L-BFGS, so that each of its steps reads the vectors once for all,
    along a path from the strongest penalty on, until the held-out likelihood falls; on the path with at most
    `MAX_JUDGED` galaxies, evenly spread. The basis is that of the Gram matrix, in which the Hessian is close to
    diagonal.

    Parameters
    ----------
    questions, random_state, weight_by_votes
        As in `Head`.
    alphas : sequence of float
        Penalties to choose from: alpha / 2 times the squared coefficients, on standardised vectors.
    tolerance : float
        Relative change of the likelihood at which a fit is done.

    Attributes
    ----------
    coef_ : (embed_dim, n_targets) array
    intercept_ : (n_targets,) array
    alpha_ : (n_targets,) array
    open_ : (n_targets,) bool array
        Whether the question's answers leave something over; its logit is zero.
    """

    name = "logistic"
    saved = ("coef_", "intercept_", "alpha_", "open_")
    fractions_only = True

    def __init__(
        self,
        questions: Sequence[Question] | None = None,
        random_state: int = 0,
        weight_by_votes: bool = False,
        alphas: Sequence[float] = ALPHAS,
        tolerance: float = 1e-7,
    ) -> None:
        super().__init__(questions, random_state, weight_by_votes)
        self.alphas = alphas
        self.tolerance = tolerance

    def _fit(self, X: Array, Y: Array, votes: Array | None, groups: Array) -> None:
        weights = self._weigh(Y, votes)
        self.coef_ = np.zeros((X.shape[1], Y.shape[1]), X.dtype)
        self.intercept_, self.alpha_ = np.zeros((2, Y.shape[1]), X.dtype)
        self.open_ = np.zeros(Y.shape[1], bool)
        used, residual = np.full_like(Y, np.nan), np.zeros(Y.shape[1])
        for question, columns in self._columns(Y):
            index, shares = share_out(question, Y[:, columns])
            weight = np.ones(len(index)) if weights is None else weights[index, columns[0]].astype(np.float64)
            folds = self._inner_folds(groups[index], columns[0])
            block = np.ix_(index, np.array(columns))
            used[block] = Y[block]
            with limit_threads(X.size):
                fits = FoldFits.prepare(X, shares, weight, index, folds)
                residual[columns] = weight @ (Y[block] - self._keep_best(fits, columns)) ** 2
        self.inner_score_ = mean_r2(residual, used, weights)

    def _keep_best(self, fits: FoldFits, columns: range) -> Array:
        """Keep the best fit of a question; what the inner folds predict under its penalty, (n_rows, n_answers)."""
        alpha, coef, intercept, P = fits.fit(sorted(self.alphas, reverse=True), self.tolerance)
        if P.shape[1] > len(columns):
            self.open_[columns] = True
            coef, intercept = coef - coef[:, -1:], intercept - intercept[-1]
        self.coef_[:, columns], self.intercept_[columns] = coef[:, : len(columns)], intercept[: len(columns)]
        self.alpha_[columns] = alpha
        return P[:, : len(columns)]

    def _predict(self, X: Array) -> Array:
        P = X @ self.coef_ + self.intercept_
        for _, columns in self._columns(P):
            logits = P[:, columns]
            if self.open_[columns[0]]:
                logits = np.pad(logits, ((0, 0), (0, 1)))
            P[:, columns] = softmax(logits, axis=1)[:, : len(columns)]
        return np.asarray(P)


def share_out(question: Question, Y: Array) -> tuple[Array, Array]:
    """
    The galaxies that have all answers of a question, and their fractions, made to add up to one.

    Returns
    -------
    index : (n_rows,) int array
    shares : (n_rows, n_answers) array, or (n_rows, n_answers + 1) with what is left over
    """
    total = Y.sum(axis=1)
    asked = ~np.isnan(total)
    if not asked.any():
        raise TargetsError(f"no training galaxy has labels of all answers of {question.name}; leave some out.")
    if Y.shape[1] == 1 or (total[asked] > 1 - WHOLE_TOLERANCE).mean() < WHOLE_SHARE:
        rest = np.maximum(1 - total, 0)
        Y, total = np.column_stack([Y, rest]), total + rest
    index = np.flatnonzero(total > 0)
    return index, Y[index] / total[index, None]


@dataclass(frozen=True)
class FoldFits:
    """
    The fits of one question on all but each inner fold, and on everything.

    The best coefficients add up to zero over the answers, so one fewer than answers are fitted: along orthonormal
    contrasts, which leave the penalty as it is.

    Attributes
    ----------
    Z : (n_rows, rank) array
        Centred vectors in the basis of their Gram matrix.
    S : (n_answers, n_rows) array
        Fractions that add up to one.
    W : (n_folds + 1, n_rows) array
        What a row weighs in each fit, the whole last.
    folds : (n_rows,) int array
    values, vectors, mean : (rank,), (embed_dim, rank) and (embed_dim,) arrays
        Eigenvalues, basis and centre.
    contrasts : (n_answers, n_answers - 1) array
    """

    Z: Array
    S: Array
    W: Array
    folds: Array
    values: Array
    vectors: Array
    mean: Array
    contrasts: Array

    @classmethod
    def prepare(cls, X: Array, shares: Array, weight: Array, index: Array, folds: Array) -> FoldFits:
        """Rotate the rows of an index, whose fractions, weights and folds are given."""
        spread = np.zeros(len(X))
        spread[index] = weight
        sample = Sample(X, np.zeros((len(X), 0), X.dtype), spread)
        moments = Moments.of(sample, index)
        with limit_blas():
            spectrum = moments.decompose(sample, index)
        kept = spectrum.values >= RANK_TOLERANCE * spectrum.values.max()
        values, vectors = spectrum.values[kept], spectrum.vectors[:, kept]
        Z = (X[index] - moments.x_mean.astype(X.dtype)) @ vectors.astype(X.dtype)
        inside = folds != np.arange(folds.max() + 2)[:, None]
        W, S = (inside * weight).astype(X.dtype), shares.T.astype(X.dtype, order="C")
        return cls(Z, S, W, folds, values, vectors, moments.x_mean, helmert(len(S)).T)

    def thin(self, most: int) -> FoldFits:
        """The same from at most so many rows, evenly spread."""
        n = len(self.Z)
        rows = np.linspace(0, n - 1, min(most, n)).astype(np.int64)
        thinned = {name: getattr(self, name)[..., rows] for name in ("S", "W", "folds")}
        return replace(self, Z=self.Z[rows], values=self.values * len(rows) / n, **thinned)

    def fit(self, alphas: Sequence[float], tolerance: float) -> tuple[float, Array, Array, Array]:
        """
        The penalty with the best held-out likelihood, and the fit on everything under it.

        Parameters
        ----------
        alphas : sequence of float
            The strongest first; none is tried after one that did worse.
        tolerance : float

        Returns
        -------
        alpha : float
        coef, intercept : (embed_dim, n_answers) and (n_answers,) arrays
        P : (n_rows, n_answers) array
            Each row predicted by the fit that did not see it.
        """
        if len(self.Z) > MAX_JUDGED and len(alphas) > 1:
            alpha, coef, intercept = self.thin(MAX_JUDGED).choose(alphas, ROUGH * tolerance)
            coef, intercept = self.minimise(coef, intercept, alpha, tolerance)
        else:
            alpha, coef, intercept = self.choose(alphas, tolerance)
        P = np.exp(self.hold_out(coef, intercept)).T
        whole = self.vectors @ coef[:, :, -1] @ self.contrasts.T
        return alpha, whole, self.contrasts @ intercept[:, -1] - self.mean @ whole, P

    def choose(self, alphas: Sequence[float], tolerance: float) -> tuple[float, Array, Array]:
        """The best of some penalties by what is held out, and the coefficients and intercepts under it."""
        best, state = np.inf, self.start()
        for alpha in alphas:
            state = self.minimise(*state, alpha, tolerance)
            loss = -(self.W[-1] * self.S * self.hold_out(*state)).sum(dtype=np.float64)
            if loss >= best:
                break
            best, found = loss, (alpha, *state)
        return found

    def hold_out(self, coef: Array, intercept: Array) -> Array:
        """Log probabilities (n_answers, n_rows) by the fits that did not see a row."""
        return np.asarray(log_softmax(self.apply(coef, intercept)[:, self.folds, np.arange(len(self.Z))], axis=0))

    def start(self) -> tuple[Array, Array]:
        """Coefficients (rank, n_contrasts, n_fits) of zero, and their intercepts (n_contrasts, n_fits)."""
        shares = np.maximum((self.W @ self.S.T).T / self.W.sum(axis=1), MIN_SHARE)
        intercept = self.contrasts.T @ np.log(shares)
        return np.zeros((self.Z.shape[1], *intercept.shape)), intercept

    def apply(self, coef: Array, intercept: Array) -> Array:
        """Logits, (n_answers, n_fits, n_rows)."""
        along = self.Z @ coef.reshape(len(coef), -1).astype(self.Z.dtype)
        along += intercept.ravel().astype(self.Z.dtype)
        logits = self.contrasts.astype(self.Z.dtype) @ along.T.reshape(len(intercept), -1)
        return np.asarray(logits.reshape(len(logits), -1, len(self.Z)))

    def minimise(self, coef: Array, intercept: Array, alpha: float, tolerance: float) -> tuple[Array, Array]:
        """
        Fit all folds from where another penalty left them.

        In steps of 1 / sqrt(c l + alpha), c the likelihood's curvature along a contrast and l an eigenvalue, the
        Hessian is about the identity.
        """
        n = len(self.Z)
        mean = np.clip((self.S @ self.W[-1]) / self.W[-1].sum(), MIN_SHARE, 1 - MIN_SHARE).astype(np.float64)
        curvature = (mean @ self.contrasts**2 - (mean @ self.contrasts) ** 2)[:, None]
        steps = np.sqrt(n / (curvature * self.values[:, None, None] + alpha)), 1 / np.sqrt(curvature)

        def unpack(u: Array) -> tuple[Array, Array]:
            parts = u[: coef.size].reshape(coef.shape), u[coef.size :].reshape(intercept.shape)
            return parts[0] * steps[0], parts[1] * steps[1]

        def loss(u: Array) -> tuple[float, Array]:
            coef, intercept = unpack(u)
            value, slope, intercept_slope = self.evaluate(coef, intercept)
            slopes = (slope + alpha * coef) * steps[0], intercept_slope * steps[1]
            return (value + alpha / 2 * (coef**2).sum()) / n, np.concatenate([part.ravel() for part in slopes]) / n

        start = np.concatenate([(coef / steps[0]).ravel(), (intercept / steps[1]).ravel()])
        options = {"ftol": tolerance, "gtol": tolerance, "maxiter": 1000}
        return unpack(minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x)

    def evaluate(self, coef: Array, intercept: Array) -> tuple[float, Array, Array]:
        """Minus the log likelihood, summed over the fits, and its slopes in coefficients and intercepts."""
        logits = self.apply(coef, intercept)
        logits -= logits.max(axis=0)
        p = np.exp(logits)
        total = p.sum(axis=0)
        cost = self.W * (np.log(total) - np.einsum("an,afn->fn", self.S, logits))
        p /= total
        p -= self.S[:, None]
        p *= self.W
        error = self.contrasts.T.astype(p.dtype) @ p.reshape(len(p), -1)
        slope = (self.Z.T @ error.reshape(-1, len(self.Z)).T).reshape(coef.shape)
        sums = error.reshape(*intercept.shape, -1).sum(axis=2, dtype=np.float64)
        return float(cost.sum(dtype=np.float64)), slope, sums
