"""Who is on which side, and scores that a direct computation gives as well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from benchmarks.ceilings import noise_ceiling
from benchmarks.shift import COPY, Galaxies, copy_votes, divide_surveys, mix_at_budget, run_shift, split_objects
from embeddings.errors import SommelierError
from embeddings.questions import Question
from heads.linear import RidgeHead

QUESTIONS = (Question("shape", ("round", "flat")), Question("arms", ("yes", "no"), "shape_flat"))
SKY = np.random.default_rng(0).beta(1, 1, (400, 2))  # what each object truly is


def see(survey: str, objects: np.ndarray, seed: int, offset: float = 0.0) -> Galaxies:
    """A survey whose vectors show the truth with noise, and thirty volunteers."""
    rng = np.random.default_rng(seed)
    truth = np.stack([SKY[objects, 0], 1 - SKY[objects, 0], SKY[objects, 1], 1 - SKY[objects, 1]], axis=1)
    X = np.concatenate([truth + rng.normal(0, 0.1, truth.shape), rng.normal(size=(len(objects), 4))], axis=1) + offset
    flat = rng.binomial(30, truth[:, 1])
    arms = rng.binomial(flat, truth[:, 2])
    votes = np.stack([30 - flat, flat, arms, flat - arms], axis=1).astype(np.float32)
    totals = np.stack([np.full(len(objects), 30), np.full(len(objects), 30), flat, flat], axis=1).astype(np.float32)
    Y = np.divide(votes, totals, out=np.full_like(votes, np.nan), where=totals > 0)
    votes[np.isnan(Y)] = np.nan
    ids = np.array([f"{survey}-{number}" for number in objects])
    return Galaxies(survey, ids, X.astype(np.float32), Y, votes, totals, objects)


@pytest.fixture(scope="module")
def surveys() -> list[Galaxies]:
    north, south = np.arange(0, 300), np.arange(150, 400)
    return [see("north", north, 1), see("south", south, 2, 0.3), see("infrared", north[::2], 3, 0.1)]


def test_an_object_is_on_one_side_in_all_surveys(surveys: list[Galaxies]) -> None:
    tested = split_objects(surveys, 0)
    assert len(tested) / 400 == pytest.approx(0.4, abs=0.1)  # four binomial errors
    trainings, samples = divide_surveys(surveys, 0)
    assert [(sample.galaxies.survey, sample.objects) for sample in samples] == [
        ("north", "new"), ("south", "new"), ("infrared", "new"), ("infrared", "same"),
    ]  # fmt: skip
    seen = set(np.concatenate([training.objects for training in trainings]).tolist())
    for sample in samples[:3]:
        assert not seen & set(sample.galaxies.objects.tolist())
    assert set(samples[3].galaxies.objects.tolist()) <= set(trainings[0].objects.tolist())
    assert sum(len(sample.galaxies) for sample in samples[2:]) == len(surveys[2])
    assert len(trainings[0]) + len(samples[0].galaxies) == len(surveys[0])


def test_the_split_follows_names_and_seed_alone(surveys: list[Galaxies]) -> None:
    few = [galaxies.take(galaxies.objects % 3 > 0) for galaxies in surveys]
    assert split_objects(few, 0) == {number for number in split_objects(surveys, 0) if number % 3}
    renumbered = [replace(galaxies, objects=galaxies.objects + 1000) for galaxies in surveys]
    assert split_objects(renumbered, 0) == {number + 1000 for number in split_objects(surveys, 0)}
    assert split_objects(surveys, 1) != split_objects(surveys, 0)


def test_the_budget_is_kept_half_and_half_as_far_as_there_are_galaxies(surveys: list[Galaxies]) -> None:
    north, south = surveys[:2]
    mixed = mix_at_budget(north, south, 100, 0)
    assert (mixed.survey, len(mixed), len(set(mixed.ids.tolist()))) == ("north+south", 100, 100)
    assert sum(id_str.startswith("south") for id_str in mixed.ids.tolist()) == 50
    mixed = mix_at_budget(north, south.take(np.arange(20)), 100, 0)
    assert sum(id_str.startswith("south") for id_str in mixed.ids.tolist()) == 20
    assert len(mixed) == 100
    place = {id_str: row for row, id_str in enumerate(north.ids.tolist())}
    rows = [place[id_str] for id_str in mixed.ids.tolist() if id_str in place]
    np.testing.assert_array_equal(mixed.X[:80], north.X[rows])


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
    (training, _), samples = divide_surveys(surveys, 0)
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
        ceiling = shift.ceilings[test.survey, sample.objects]["r2"]
        assert ceiling == pytest.approx(noise_ceiling(test.labels, test.totals).mean())
        assert scores["r2"] < ceiling
    assert shift.trainings == {"north": len(training), "north+south": len(training)}
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
