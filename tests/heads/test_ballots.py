"""Votes as counts, and predicted distributions against scipy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import beta, betabinom, binom

from embeddings.questions import Question
from heads.ballots import Ballots, VoteDistribution, collect_ballots
from heads.base import TargetsError

NAN = float("nan")
SHAPE = Question("shape", ("round", "flat", "odd"))
BAR = Question("bar", ("yes", "no"), parent="shape_flat")


def collect(question: Question, Y: Any, votes: Any = None) -> Ballots:
    Y = np.array(Y, float)
    return collect_ballots([(question, range(Y.shape[1]))], Y, None if votes is None else np.array(votes, float))


# counts


def test_counts_are_the_votes_and_zero_where_not_asked() -> None:
    Y = np.array([[0.5, 0.25, 0.25, NAN, NAN], [0, 1, 0, 0.5, 0.5]])
    votes = np.array([[2, 1, 1, NAN, NAN], [0, 30, 0, 15, 15]])
    ballots = collect_ballots([(SHAPE, range(3)), (BAR, range(3, 5))], Y, votes)
    assert ballots.counts.tolist() == [[2, 1, 1, 0, 0], [0, 30, 0, 15, 15]]
    assert ballots.widths == (3, 2)
    assert ballots.totals.tolist() == [[4, 0], [30, 30]]
    assert ballots.take(np.array([False, True])).counts.tolist() == [[0, 30, 0, 15, 15]]


def test_shares_have_half_a_vote_more() -> None:
    ballots = Ballots(np.array([[3.0, 0, 5, 1], [1, 0, 0, 0]]), (2, 2))
    # (4.5, 0.5) / 5 and (5.5, 1.5) / 7
    assert ballots.shares == pytest.approx([0.9, 0.1, 5.5 / 7, 1.5 / 7])


def test_a_label_without_counts_is_one_vote() -> None:
    assert collect(SHAPE, [[1, 0, 0], [0, 0.5, 0.5]]).counts.tolist() == [[1, 0, 0], [0, 0.5, 0.5]]
    some = collect(SHAPE, [[1, 0, 0], [0, 0.5, 0.5]], [[7, 0, 0], [NAN] * 3])
    assert some.counts.tolist() == [[7, 0, 0], [0, 0.5, 0.5]]


def test_a_single_number_has_a_counterpart() -> None:
    assert collect(Question("odd"), [[1], [0.25], [NAN]]).counts.tolist() == [[1, 0], [0.25, 0.75], [0, 0]]


def test_answers_that_were_left_out_are_one_answer() -> None:
    part = Question("shape", ("round", "flat"))
    assert collect(part, [[0.5, 0.25], [0, 0]]).counts.tolist() == [[0.5, 0.25, 0.25], [0, 0, 1]]


def test_weighted_fractions_keep_the_total() -> None:
    weighted = Question("bar", ("yes", "no"), fractions="weighted")
    assert collect(weighted, [[0.75, 0.25]], [[2, 2]]).counts.tolist() == [[3, 1]]


def test_debiased_fractions_are_refused() -> None:
    with pytest.raises(TargetsError, match=r"bar are debiased.*--fractions raw"):
        collect(Question("bar", ("yes", "no"), fractions="debiased"), [[0.75, 0.25]], [[3, 1]])


def test_votes_of_some_answers_are_refused() -> None:
    with pytest.raises(TargetsError, match="do not add up to one"):
        collect(Question("shape", ("round", "flat")), [[0.5, 0.25], [0, 0.5]], [[2, 1], [0, 5]])


def test_a_question_of_which_no_galaxy_has_all_answers() -> None:
    with pytest.raises(TargetsError, match="all answers of bar"):
        collect(BAR, [[1, NAN], [NAN, 1]])


# distributions


@pytest.mark.parametrize("outputs", [[-3.0], [0.0], [2.0], [-2.0, 0.0, 3.0]], ids=str)
def test_std_is_that_of_scipys_beta_binomial(outputs: list[float]) -> None:
    distribution = VoteDistribution.from_outputs(np.log([[0.2, 0.3, 0.5]]), np.array([outputs]))
    assert distribution.means == pytest.approx(np.array([[0.2, 0.3, 0.5]]))
    (precision,) = distribution.precision
    assert len(set(precision.tolist())) == len(outputs)
    both = list(zip(precision, (0.2, 0.3, 0.5), strict=True))
    for n in (1, 5, 40):
        expected = [betabinom.std(n, s * p, s * (1 - p)) / n for s, p in both]
        assert distribution.std(n)[0] == pytest.approx(expected)
    limit = [beta.std(s * p, s * (1 - p)) for s, p in both]
    assert distribution.std(np.inf)[0] == pytest.approx(limit)


def test_without_precision_it_is_a_binomial() -> None:
    distribution = VoteDistribution.from_outputs(np.log([[0.2, 0.8]] * 2), np.empty((2, 0)))
    expected = [[binom.std(n, 0.2) / n] * 2 for n in (5, 40)]
    assert distribution.std(np.array([5, 40])) == pytest.approx(np.array(expected))
    assert distribution.std(np.inf).tolist() == [[0, 0], [0, 0]]
