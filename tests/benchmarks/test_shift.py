"""Scores that a direct computation gives as well, and which labels count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from benchmarks.ceilings import noise_ceiling
from benchmarks.division import divide_surveys
from benchmarks.galaxies import Galaxies
from benchmarks.shift import COPY, copy_votes, run_shift
from benchmarks.statistics import MIN_LABELS
from embeddings.errors import SommelierError
from heads.linear import RidgeHead
from tests.benchmarks.surveys import QUESTIONS, see_all


@pytest.fixture(scope="module")
def surveys() -> list[Galaxies]:
    return see_all()


def test_copied_votes_are_those_of_the_same_object(surveys: list[Galaxies]) -> None:
    north, south = surveys[:2]
    copied = copy_votes(south, north)
    assert np.isnan(copied[150:]).all()  # objects from 300 on are not in the north
    np.testing.assert_array_equal(copied[:150], north.labels[150:])


def test_labels_of_one_volunteer_are_no_labels(surveys: list[Galaxies]) -> None:
    north = surveys[0]
    one = north.totals[:, 2] == 1
    assert one.any()
    assert not np.isnan(north.Y[one, 2]).any()
    assert np.isnan(north.labels[one, 2]).all()


def test_scores_are_those_of_a_direct_computation(surveys: list[Galaxies]) -> None:
    shift = run_shift(surveys, QUESTIONS, ["mean", "ridge"], 0)
    ((training,), parts), samples = divide_surveys(surveys, 0)
    head = RidgeHead(QUESTIONS).fit(training.X, training.labels, training.votes, training.objects)
    for sample in samples:
        test = sample.galaxies
        (mean, ridge) = shift.pick("north", test.survey, sample.objects)
        P = head.predict(test.X)
        there = ~np.isnan(test.labels)
        columns = [(test.labels[there[:, t], t], P[there[:, t], t]) for t in range(4)]
        scores = {name: score.value for name, score in ridge.scores.items()}
        assert scores["r2"] == pytest.approx(np.mean([r2_score(y, p) for y, p in columns]), abs=1e-4)
        assert scores["mae"] == pytest.approx(np.mean([mean_absolute_error(y, p) for y, p in columns]), abs=1e-4)
        assert scores["r"] == pytest.approx(np.mean([np.corrcoef(y, p)[0, 1] for y, p in columns]), abs=1e-4)
        zero_filled = np.corrcoef(np.nan_to_num(test.Y).ravel(), P.ravel())[0, 1]
        assert scores["pooled_r"] == pytest.approx(zero_filled, abs=1e-4)
        assert np.isnan(mean.scores["r"].value)
        assert mean.scores["r2"].value <= 0
        ceiling = shift.ceilings[test.survey, sample.objects].scores["r2"]
        assert ceiling.value == pytest.approx(noise_ceiling(test.labels, test.totals, np.ones((1, len(test)))).mean())
        assert ceiling.interval[0] < ceiling.value < ceiling.interval[1]
        assert scores["r2"] < ceiling.value
    n = len(training)
    assert [len(part) for part in parts] == [n - n // 2, n // 2]
    assert shift.trainings == {"north": {"north": n}, "north+south": {"north": n - n // 2, "south": n // 2}}
    assert {cell.objects for cell in shift.cells if cell.training == "north+south"} == {"new"}


def test_copies_and_heads_are_scored_on_the_labels_that_both_have(surveys: list[Galaxies]) -> None:
    twin = replace(surveys[0], survey="twin")  # the same votes: a copy is perfect
    shift = run_shift([surveys[0], surveys[1], twin], QUESTIONS, ["mean", "ridge"], 0)
    cells = {cell.head: cell for cell in shift.pick("north", "twin", "paired")}
    assert list(cells) == ["mean", "ridge", COPY]
    assert (cells[COPY].scores["r"].value, cells[COPY].scores["mae"].value) == pytest.approx((1, 0))
    south = shift.pick("north", "south", "paired")
    _, samples = divide_surveys([surveys[0], surveys[1], twin], 0)
    both = np.isin(samples[1].galaxies.objects, samples[0].galaxies.objects).sum()
    assert {cell.n for cell in south} == {both}
    assert "pooled_r" not in south[0].scores


@pytest.mark.parametrize("n", [MIN_LABELS - 1, MIN_LABELS])
def test_an_answer_that_few_were_asked_in_both_surveys_does_not_count_in_pairs(surveys: list[Galaxies], n: int) -> None:
    north, south, infrared = surveys
    _, samples = divide_surveys(surveys, 0)
    here, there = (sample.galaxies for sample in samples[:2])
    both = there.take(np.isin(there.objects, here.take(~np.isnan(here.labels[:, 2])).objects))
    both = both.objects[~np.isnan(both.labels[:, 2])]  # asked for arms by both
    assert len(both) > MIN_LABELS
    Y = south.Y.copy()
    Y[np.isin(south.objects, both[n:]), 2:] = np.nan
    changed = replace(south, Y=Y)
    shift = run_shift([north, changed, infrared], QUESTIONS, ["ridge"], 0)
    assert len(shift.questions) == 2  # elsewhere there are enough
    _, samples = divide_surveys([north, changed, infrared], 0)
    test, copied = samples[1].galaxies.labels, copy_votes(samples[1].galaxies, samples[0].galaxies)
    errors = np.nanmean(np.abs(test - copied), axis=0)
    assert (~np.isnan(test - copied)).sum(axis=0)[2] == n
    counted = errors if n == MIN_LABELS else errors[:2]
    mae = {cell.head: cell for cell in shift.pick("north", "south", "paired")}[COPY].scores["mae"].value
    assert mae == pytest.approx(counted.mean(), abs=1e-6)


def test_a_question_with_few_labels_is_left_out_and_none_is_an_error(surveys: list[Galaxies]) -> None:
    rare = []
    for galaxies in surveys:
        Y = galaxies.Y.copy()
        Y[galaxies.objects % 40 > 0, 2:] = np.nan
        rare.append(replace(galaxies, Y=Y))
    shift = run_shift(rare, QUESTIONS, ["mean"], 0)
    assert [question.name for question in shift.questions] == ["shape"]
    assert [question.name for question in shift.left_out] == ["arms"]
    with pytest.raises(SommelierError, match="there are too few galaxies"):
        run_shift([galaxies.take(galaxies.objects % 10 == 0) for galaxies in surveys], QUESTIONS, ["mean"], 0)
