"""A model of the votes themselves: counts, given how many volunteers answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self, get_args

import numpy as np

from embeddings.questions import Question, expected_shares, list_targets
from heads.ballots import (
    Array,
    Ballots,
    Likelihood,
    VoteDistribution,
    collect_ballots,
    read_distributions,
    split_questions,
)
from heads.base import Head, TargetsError
from heads.layers import FILE, apply_layers, pack_layers, unpack_layers
from heads.scores import score_held_out
from heads.splits import find_learned
from heads.threads import limit_threads

if TYPE_CHECKING:
    from heads.maximum import Axes, LinearModel, Problem

ALPHAS = tuple(10.0 ** np.arange(6, -1, -1))
MAX_JUDGED = 10_000  # galaxies that choose penalties: more make them no better, only later
ROUGH = 10  # times the tolerance where a fit is not the last


class VotesHead(Head):
    """
    Maximum likelihood of each question's vote counts, given that question's own total.

    A softmax within each question gives the expected share of each answer, so they add up to one. How far galaxies of
    one look differ is one more output an answer (beta-binomial), or a question (Dirichlet-multinomial). Questions far
    down the tree need no special treatment: where few were asked, few votes speak. The tree enters only in
    `predict_asked`.

    Linear, it is the maximum of the likelihood with a penalty alpha / 2 |W|^2, alpha chosen for each question by the
    likelihood of held-out galaxies in inner folds of at most `MAX_JUDGED`. With a hidden layer it is trained until one
    inner fold says stop.

    Parameters
    ----------
    questions, random_state
        As in `Head`. Questions of kind value and debiased fractions are refused.
    likelihood : {'beta-binomial', 'dirichlet-multinomial', 'multinomial'}
        See `heads.losses`.
    hidden : int
        Width of the hidden layer; 0 for a linear model.
    alphas : sequence of float
        Penalties of the linear model to choose from.
    tolerance : float
        Relative change of the linear model's likelihood at which it is done.

    Attributes
    ----------
    layers_ : list of (weight, bias)
    widths_ : (n_questions,) int array
        How many logits each question has.
    totals_ : (n_questions,) array
        The median number of votes where it was asked.
    alpha_ : (n_questions,) array
        The penalty chosen for each question; NaN with a hidden layer.
    """

    name = "votes"
    saved = ("widths_", "totals_", "alpha_")
    fractions_only = True

    def __init__(
        self,
        questions: Sequence[Question] | None = None,
        random_state: int = 0,
        likelihood: Likelihood = "beta-binomial",
        hidden: int = 0,
        alphas: Sequence[float] = ALPHAS,
        tolerance: float = 1e-7,
    ) -> None:
        super().__init__(questions, random_state)
        self.likelihood = likelihood
        self.hidden = hidden
        self.alphas = alphas
        self.tolerance = tolerance

    def _fit(self, X: Array, Y: Array, votes: Array | None, groups: Array) -> None:
        if self.likelihood not in get_args(Likelihood):
            raise TargetsError(f"the likelihood is {' or '.join(get_args(Likelihood))}, not {self.likelihood!r}.")
        X, ballots = np.ascontiguousarray(X), collect_ballots(self._columns(Y), Y, votes)
        self.widths_ = np.array(ballots.widths)
        totals = ballots.totals[groups >= 0]
        self.totals_ = np.array([np.median(total[total > 0]) if total.any() else 1 for total in totals.T])
        folds = self._inner_folds(groups)
        with limit_threads(X.size):
            if self.hidden:
                self._fit_hidden(X, Y, ballots, folds == 0)
            else:
                self._fit_linear(X, Y, ballots, folds)

    def _fit_linear(self, X: Array, Y: Array, ballots: Ballots, folds: Array) -> None:
        """Choose penalties on held-out galaxies, then fit on all."""
        from heads.losses import VoteLoss  # on use: what is fitted predicts without torch
        from heads.maximum import Axes, Problem

        def pose(rows: Array | slice, tolerance: float) -> Problem:
            return Problem(X[rows], ballots.take(rows), loss, axes, tolerance)

        loss, axes = VoteLoss(ballots.widths, self.likelihood), Axes.of(X)
        few = np.linspace(0, len(X) - 1, min(MAX_JUDGED, len(X))).astype(np.int64)
        start = self._choose(X[few], Y[few], ballots.take(few), folds[few], axes)
        if len(few) < len(X):  # their scores are not those of so many
            start = pose(folds != 0, ROUGH * self.tolerance).solve(self.alpha_, start)
            self._keep(start)
            self.inner_score_ = score_held_out(Y, self._predict(X[folds == 0]), folds == 0)
        learned = find_learned(folds)
        rows = slice(None) if learned.all() else learned  # a mask would copy all
        self._keep(pose(rows, self.tolerance).solve(self.alpha_, start))

    def _choose(self, X: Array, Y: Array, ballots: Ballots, folds: Array, axes: Axes) -> LinearModel:
        """The penalty of each question that is best for the held-out galaxies, the score, and where a fit may start."""
        from heads.losses import VoteLoss
        from heads.maximum import LinearModel, Problem

        loss = VoteLoss(ballots.widths, self.likelihood)
        alphas = np.sort(np.asarray(self.alphas, np.float64))[::-1]
        costs, P = np.zeros((len(alphas), len(ballots.widths))), np.zeros((len(alphas), *Y.shape), Y.dtype)
        for fold in range(folds.max() + 1):
            held_out = folds == fold
            problem = Problem(X[~held_out], ballots.take(~held_out), loss, axes, ROUGH * self.tolerance)
            own, P[:, held_out], models = self._follow(problem, alphas, X[held_out], ballots.take(held_out))
            costs += own
        best = costs.argmin(axis=0)
        self.alpha_ = alphas[best]
        chosen = best.repeat([len(columns) for _, columns in self._columns(Y)])
        judged = folds >= 0
        held_out_P = np.take_along_axis(P[:, judged], chosen[None, None, :], axis=0)[0]
        self.inner_score_ = score_held_out(Y, held_out_P, judged)
        return LinearModel.join(models, best[problem.question])

    def _follow(
        self, problem: Problem, alphas: Array, X: Array, ballots: Ballots
    ) -> tuple[Array, Array, list[LinearModel]]:
        """
        Costs (n_alphas, n_questions) and predictions (n_alphas, n_held_out, n_targets) of held-out galaxies; models.

        From strong to weak penalties, until every question does worse than before: beyond, the cost counts as infinite.
        """
        import torch

        costs = np.full((len(alphas), len(ballots.widths)), np.inf)
        P, models = np.zeros((len(alphas), len(X), self.n_targets_), X.dtype), []
        for row, model in enumerate(problem.follow(alphas)):
            self._keep(model)
            models.append(model)
            outputs = torch.from_numpy(apply_layers(self.layers_, X))
            costs[row], P[row] = problem.loss(outputs, torch.from_numpy(ballots.counts)).numpy(), self._predict(X)
            if row and (costs[row] > costs[:row].min(axis=0)).all():
                break
        return costs, P, models

    def _fit_hidden(self, X: Array, Y: Array, ballots: Ballots, held_out: Array) -> None:
        """Train until the held-out galaxies say stop."""
        import torch

        from heads.losses import VoteLoss
        from heads.networks import Schedule, build_network, fold_network, train_network

        loss, counts = VoteLoss(ballots.widths, self.likelihood), torch.from_numpy(ballots.counts)
        votes = float(ballots.totals.mean() * len(ballots.widths))

        def mean_loss(outputs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            return loss(outputs, counts[rows]).sum() / (votes * len(rows))

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            start = np.concatenate([np.log(ballots.shares), np.zeros(sum(loss.precisions))])
            network = build_network(X.shape[1], (self.hidden,), start, dropout=0.2)
            train_network(network, torch.from_numpy(X).float(), mean_loss, torch.from_numpy(held_out), Schedule())
        self.layers_ = fold_network(network)
        self.alpha_ = np.full(len(ballots.widths), np.nan)
        self.inner_score_ = score_held_out(Y, self._predict(X[held_out]), held_out)

    def _keep(self, model: LinearModel) -> None:
        self.layers_ = [(np.ascontiguousarray(model.weight, np.float32), model.bias.astype(np.float32))]

    # what it says

    def predict_distributions(self, X: Array) -> list[VoteDistribution]:
        """
        The distribution of the votes on each question.

        Parameters
        ----------
        X : (n_galaxies, embed_dim) array

        Returns
        -------
        list of VoteDistribution
            One a question, or a target where there are no questions; the last of its answers may stand for all that
            are no targets.
        """
        return self._distribute(self._place(X))

    def predict_std(self, X: Array, totals: Array | None = None) -> Array:
        """
        How far each fraction may lie from its prediction.

        Parameters
        ----------
        X : (n_galaxies, embed_dim) array
        totals : (n_questions,) or (n_galaxies, n_questions) array, optional
            How many volunteers answer each question: by default the median in training. Infinitely many leave only
            what differs between galaxies of one look.

        Returns
        -------
        (n_galaxies, n_targets) array
            Standard deviations.
        """
        distributions = self.predict_distributions(X)
        each = np.broadcast_to(self.totals_ if totals is None else totals, (len(X), len(distributions)))
        return self._join([d.std(each[:, number]) for number, d in enumerate(distributions)])

    def place_votes(self, X: Array, Y: Array, votes: Array | None = None, random_state: int = 0) -> Array:
        """
        Where in its predicted distribution each answer's count lies; see `heads.calibration`.

        Parameters
        ----------
        X, Y, votes
            As in `fit`, of galaxies that were not in it.
        random_state : int

        Returns
        -------
        (n_galaxies, n_targets) array
            In [0, 1], uniform where the predictions are calibrated; NaN where a question was not asked.
        """
        from heads.calibration import randomised_pit

        rng, Y = np.random.default_rng(random_state), np.asarray(Y)
        ballots = collect_ballots(self._columns(Y), Y, votes)
        parts = []
        for counts, distribution in zip(
            split_questions(ballots.counts, ballots.widths), self.predict_distributions(X), strict=True
        ):
            total = counts.sum(axis=1)
            rows, places = total > 0, np.full(counts.shape, np.nan)
            for answer, chosen in enumerate(counts[rows].T):
                mean, precision = distribution.means[rows, answer], distribution.precision[rows, answer]
                places[rows, answer] = randomised_pit(chosen, total[rows], mean, precision, rng)
            parts.append(places)
        return self._join(parts)

    def predict_asked(self, X: Array) -> dict[str, Array]:
        """
        The share of a galaxy's volunteers whom the tree leads to each question.

        Returns
        -------
        dict of str to (n_galaxies,) array
            By question; without those whose way leaves the questions that were learned.
        """
        P = self.predict(X)
        column = {name: P[:, number] for number, name in enumerate(list_targets(self.questions or ()))}
        return expected_shares(self.questions or (), column.__getitem__)

    def predict_columns(self, X: Array) -> dict[str, Array]:
        """``<target>_std`` of each target, and ``<question>_asked`` of each question that not all are asked."""
        std = self.predict_std(X)
        names = [target for question, _ in self._columns(std) for target in question.targets]
        columns = {f"{name}_std": std[:, number] for number, name in enumerate(names)}
        always = {q.name for q in self.questions or () if q.parent is None and q.unless is None}
        asked = {name: share for name, share in self.predict_asked(X).items() if name not in always}
        return columns | {f"{name}_asked": share for name, share in asked.items()}

    def _predict(self, X: Array) -> Array:
        return self._join([distribution.means for distribution in self._distribute(X)])

    def _distribute(self, X: Array) -> list[VoteDistribution]:
        """The distributions from standardised vectors."""
        return read_distributions(apply_layers(self.layers_, X), self.widths_.tolist(), self.likelihood)

    def _join(self, parts: list[Array]) -> Array:
        """(n_galaxies, n_targets) from (n_galaxies, n_answers) of each question, less what stands for all others."""
        columns = self._columns(np.empty((0, self.n_targets_)))
        return np.concatenate([part[:, : len(own)] for part, (_, own) in zip(parts, columns, strict=True)], axis=1)

    def to_files(self) -> dict[str, bytes]:
        """The layers."""
        return {FILE: pack_layers(self.layers_)}

    def from_files(self, files: dict[str, bytes]) -> Self:
        """The inverse of `to_files`."""
        self.layers_ = unpack_layers(files[FILE])
        return self
