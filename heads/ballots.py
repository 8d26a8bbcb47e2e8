"""Votes on questions as likelihoods want them, and the distributions that a vote model predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import softmax

from embeddings.questions import Question
from heads.base import TargetsError, adds_up, count_volunteers

Array = np.ndarray[Any, Any]
Likelihood = Literal["beta-binomial", "dirichlet-multinomial", "multinomial"]
# Precisions lie between 0.01 (all volunteers of a galaxy say the same) and 10,000 (a multinomial, to 40 votes).
MIDDLE_PRECISION, LOG_PRECISION_REACH = 10.0, float(np.log(1000.0))


@dataclass(frozen=True)
class Ballots:
    """
    The votes on some questions.

    Attributes
    ----------
    counts : (n_galaxies, sum of widths) array
        One question after another; 0 throughout where a galaxy was not asked.
    widths : tuple of int
        How many answers each question has, with the one that stands for all that are not targets, if there is one.
    """

    counts: Array
    widths: tuple[int, ...]

    def take(self, rows: Array | slice) -> Ballots:
        """Those of some galaxies."""
        return Ballots(self.counts[rows], self.widths)

    @property
    def totals(self) -> Array:
        """(n_galaxies, n_questions): how many volunteers answered."""
        starts = np.cumsum([0, *self.widths[:-1]])
        return np.asarray(np.add.reduceat(self.counts, starts, axis=1))

    @property
    def shares(self) -> Array:
        """(sum of widths,): each answer's share of its question's votes, with half a vote more so that none is 0."""
        counts = self.counts.sum(axis=0, dtype=np.float64) + 0.5
        parts = split_questions(counts[None], self.widths)
        return np.asarray(np.concatenate([part / part.sum() for part in parts], axis=1)[0])


def split_questions(values: Array, widths: Sequence[int]) -> list[Array]:
    """(n, sum of widths) as one array a question."""
    return np.split(values, np.cumsum(widths)[:-1], axis=1)


def count_precisions(widths: Sequence[int], likelihood: Likelihood) -> tuple[int, ...]:
    """How many precisions each question has; beta-binomial, one an answer, but of two answers one says all."""
    if likelihood == "beta-binomial":
        return tuple(1 if width == 2 else width for width in widths)
    return (int(likelihood == "dirichlet-multinomial"),) * len(widths)


def collect_ballots(columns: Sequence[tuple[Question, range]], Y: Array, votes: Array | None) -> Ballots:
    """
    The votes on each question.

    A label without counts (a category, a 0/1 label, a release without votes) is one vote. Fractions that are weighted
    take the place of raw ones, with the same total. Where the targets leave some answers out, what is missing to one is
    an answer of its own.

    Parameters
    ----------
    columns : sequence of (Question, range)
        The questions and their columns of Y.
    Y : (n_galaxies, n_targets) array
        Fractions; NaN where a question was not asked.
    votes : (n_galaxies, n_targets) array, optional

    Raises
    ------
    TargetsError
        For debiased fractions, and where counts are there but not of all answers.
    """
    parts = [_count_votes(q, Y[:, cols], None if votes is None else votes[:, cols]) for q, cols in columns]
    return Ballots(np.concatenate(parts, axis=1), tuple(part.shape[1] for part in parts))


def _count_votes(question: Question, Y: Array, votes: Array | None) -> Array:
    """(n_galaxies, n_answers) counts on one question, 0 where it was not asked."""
    if question.fractions == "debiased":
        raise TargetsError(
            f"the fractions of {question.name} are debiased: corrected for distance, they are no shares of votes, and "
            "have no likelihood. Make the catalog with --fractions raw, or take another head."
        )
    asked = np.asarray(~np.isnan(Y).any(axis=1))
    if not asked.any():
        raise TargetsError(f"no training galaxy has labels of all answers of {question.name}; leave some out.")
    totals = np.full(len(Y), np.nan) if votes is None else count_volunteers(question, Y, votes)
    counted = ~np.isnan(totals)
    totals = np.where(counted, totals, 1).astype(Y.dtype)
    counts = np.where(asked[:, None], Y * totals[:, None], 0)
    if votes is not None and question.fractions == "raw":
        counts[counted] = votes[counted]
    if Y.shape[1] > 1 and adds_up(Y[asked]):
        return counts
    rest = np.where(asked, np.maximum(totals - counts.sum(axis=1), 0), 0)
    return np.column_stack([counts, rest])


@dataclass(frozen=True)
class VoteDistribution:
    """
    What a vote model says of the votes on one question.

    Attributes
    ----------
    means : (n_galaxies, n_answers) array
        Expected shares of the votes, adding up to one.
    precision : (n_galaxies, n_answers) array
        Between galaxies of one look, each answer's share varies as a beta distribution of this sum of parameters (alike
        for all answers, as a Dirichlet distribution of this sum of concentrations); infinite for a multinomial.
    """

    means: Array
    precision: Array

    @classmethod
    def from_outputs(cls, logits: Array, outputs: Array) -> VoteDistribution:
        """From logits (n_galaxies, n_answers) and outputs for precisions, none, one or one an answer."""
        means, reach = softmax(logits, axis=1), LOG_PRECISION_REACH
        precision = MIDDLE_PRECISION * np.exp(reach * np.tanh(outputs / reach)) if outputs.shape[1] else np.inf
        return cls(means, np.broadcast_to(precision, means.shape))

    def std(self, totals: Array | float) -> Array:
        """
        Standard deviation of each answer's fraction among so many votes: (n_galaxies, n_answers).

        With infinitely many it is that of the shares themselves, which no volunteer's chance enters.
        """
        one_vote = (1 / np.broadcast_to(np.asarray(totals, self.means.dtype), len(self.means)))[:, None]
        apart = 1 / (1 + self.precision)  # correlation of two votes on one galaxy
        return np.asarray(np.sqrt(self.means * (1 - self.means) * (one_vote + (1 - one_vote) * apart)))


def read_distributions(outputs: Array, widths: Sequence[int], likelihood: Likelihood) -> list[VoteDistribution]:
    """
    What a vote model's outputs say of each question.

    Parameters
    ----------
    outputs : (n_galaxies, n_outputs) array
        Logits of all answers; then the outputs for precisions, as many as `count_precisions` says.
    widths : sequence of int
        How many logits each question has.
    likelihood : {'beta-binomial', 'dirichlet-multinomial', 'multinomial'}
    """
    logits, precisions = np.split(outputs, [sum(widths)], axis=1)
    own = split_questions(precisions, count_precisions(widths, likelihood))
    return [VoteDistribution.from_outputs(*pair) for pair in zip(split_questions(logits, widths), own, strict=True)]
