"""Linear vote models of greatest penalised likelihood, all questions at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.optimize import minimize

from heads.ballots import Array, Ballots
from heads.losses import VoteLoss

MAX_ITERATIONS = 200
CURVATURE_ROWS = 1000  # that many galaxies tell how curved the loss is


@dataclass(frozen=True)
class LinearModel:
    """Outputs x W + b: W (embed_dim, n_outputs), b (n_outputs,)."""

    weight: Array
    bias: Array

    @classmethod
    def join(cls, models: Sequence[LinearModel], chosen: Array) -> LinearModel:
        """Each output from one of several models, by its place among them."""
        each = np.arange(len(chosen))
        weight, bias = (np.stack([getattr(model, name) for model in models]) for name in ("weight", "bias"))
        return cls(weight[chosen, :, each].T, bias[chosen, each])


@dataclass(frozen=True)
class Axes:
    """The principal axes of vectors: variances (embed_dim,) and axes (embed_dim, embed_dim) in columns."""

    variances: Array
    axes: Array

    @classmethod
    def of(cls, X: Array) -> Axes:
        """From standardised vectors (n_galaxies, embed_dim)."""
        variances, axes = eigh((X.T @ X).astype(np.float64) / len(X), check_finite=False, driver="evd")
        return cls(np.maximum(variances, 0), axes)


class Problem:
    """
    Minimise sum of losses + alpha / 2 |W|^2 over linear models.

    L-BFGS needs few steps where all directions are equally curved. So it works along the vectors' principal axes, each
    scaled by the square root of its curvature: that of the loss in an output times the axis' sum of squares, plus
    alpha. The minimum is the same.

    Parameters
    ----------
    X : (n_galaxies, embed_dim) array
        Standardised; products are in its precision, the rest in float64.
    ballots : Ballots
    loss : VoteLoss
    axes : Axes
    tolerance : float
        Relative change of what is minimised at which it is the minimum.
    """

    def __init__(self, X: Array, ballots: Ballots, loss: VoteLoss, axes: Axes, tolerance: float = 1e-9) -> None:
        self.X, self.counts = torch.from_numpy(X), torch.from_numpy(ballots.counts)
        self.loss, self.axes, self.tolerance = loss, axes, tolerance
        spread = np.zeros(sum(loss.precisions))
        self.start = LinearModel(
            np.zeros((X.shape[1], sum(ballots.widths) + len(spread))),
            np.concatenate([np.log(ballots.shares), spread]),
        )
        questions = np.arange(len(ballots.widths))
        self.question = np.concatenate(
            [questions.repeat(ballots.widths), questions.repeat(loss.precisions)]
        )  # of outputs

    def follow(self, alphas: Array) -> Iterator[LinearModel]:
        """The minimum for each penalty, each from the one before: strong penalties first."""
        model = self.start
        for alpha in alphas:
            model = self.solve(np.full(len(self.loss.widths), alpha), model)
            yield model

    def solve(self, alphas: Array, start: LinearModel | None = None) -> LinearModel:
        """The minimum for one penalty a question, (n_questions,)."""
        start = start or self.start
        alpha, curvature = alphas[self.question], self._measure_curvature(start)
        n, V = len(self.X), self.axes.axes
        scale = 1 / np.sqrt(n * self.axes.variances[:, None] * curvature + alpha)
        bias_scale = 1 / np.sqrt(n * curvature)

        def evaluate(flat: Array) -> tuple[float, Array]:
            theta = flat.reshape(-1, len(alpha))
            along = scale * theta[:-1]
            value, weight_slope, bias_slope = self._evaluate(V @ along, bias_scale * theta[-1])
            slopes = scale * (V.T @ weight_slope + alpha * along)
            return value + float((alpha * along**2).sum() / 2), np.vstack([slopes, bias_scale * bias_slope]).ravel()

        first = np.vstack([(V.T @ start.weight) / scale, start.bias / bias_scale])
        options = {"maxiter": MAX_ITERATIONS, "ftol": self.tolerance, "gtol": 1e-6, "maxcor": 20}
        found = minimize(evaluate, first.ravel(), jac=True, method="L-BFGS-B", options=options)
        theta = found.x.reshape(first.shape)
        return LinearModel(V @ (scale * theta[:-1]), bias_scale * theta[-1])

    def _apply(self, rows: slice, weight: Array, bias: Array) -> torch.Tensor:
        """Outputs of some galaxies, by which the loss can be differentiated."""
        outputs = self.X[rows] @ torch.from_numpy(weight).to(self.X.dtype) + torch.from_numpy(bias)
        return outputs.requires_grad_()

    def _evaluate(self, weight: Array, bias: Array) -> tuple[float, Array, Array]:
        """The loss without penalty, and its slopes in W and b."""
        outputs = self._apply(slice(None), weight, bias)
        value = self.loss(outputs, self.counts).sum()
        (slope,) = torch.autograd.grad(value, outputs)
        return float(value.detach()), (self.X.T @ slope.to(self.X.dtype)).double().numpy(), slope.sum(dim=0).numpy()

    def _measure_curvature(self, model: LinearModel) -> Array:
        """The mean second derivative of the loss in each output."""
        rows = slice(None, None, max(len(self.X) // CURVATURE_ROWS, 1))
        outputs = self._apply(rows, model.weight, model.bias)
        (slope,) = torch.autograd.grad(self.loss(outputs, self.counts[rows]).sum(), outputs, create_graph=True)
        bends = [torch.autograd.grad(s, outputs, retain_graph=True)[0][:, k].mean() for k, s in enumerate(slope.sum(0))]
        curvature = np.array([float(bend) for bend in bends])
        return np.asarray(np.maximum(curvature, 1e-3 * max(curvature.max(), 1e-12)))
