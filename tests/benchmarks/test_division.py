"""Who is on which side, and that no object counts twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.division import divide_surveys, mix_at_budget, split_objects
from benchmarks.galaxies import Galaxies, join_galaxies
from tests.benchmarks.surveys import see, see_all


@pytest.fixture(scope="module")
def surveys() -> list[Galaxies]:
    return see_all()


def test_an_object_is_on_one_side_in_all_surveys(surveys: list[Galaxies]) -> None:
    tested = split_objects(surveys, 0)
    assert len(tested) / 400 == pytest.approx(0.4, abs=0.1)  # four binomial errors
    divided, samples = divide_surveys(surveys, 0)
    trainings = [join_galaxies(parts) for parts in divided]
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


@pytest.mark.parametrize("gone", [1, 2])
def test_an_object_stays_on_its_side_without_a_later_survey(surveys: list[Galaxies], gone: int) -> None:
    left = [galaxies for number, galaxies in enumerate(surveys) if number != gone]
    there = set(np.concatenate([galaxies.objects for galaxies in left]).tolist())
    assert split_objects(left, 0) == split_objects(surveys, 0) & there


def test_of_several_rows_of_an_object_the_order_does_not_matter(surveys: list[Galaxies]) -> None:
    twice = replace(surveys[0], objects=surveys[0].objects // 2)
    assert split_objects([twice.take(np.arange(300)[::-1])], 0) == split_objects([twice], 0)


def test_the_budget_is_kept_half_and_half_as_far_as_there_are_galaxies(surveys: list[Galaxies]) -> None:
    north, south = surveys[:2]
    parts = mix_at_budget(north, south, 100, 0)
    assert [(part.survey, part.count_objects()) for part in parts] == [("north", 50), ("south", 50)]
    few = south.take(np.arange(150, 170))  # not in the north
    parts = mix_at_budget(north, few, 100, 0)
    assert [len(part) for part in parts] == [80, 20]
    np.testing.assert_array_equal(parts[0].X, north.X[np.isin(north.objects, parts[0].objects)])
    assert [len(part) for part in mix_at_budget(few, north, 100, 0)] == [20, 80]
    with_all = mix_at_budget(north, south, 1000, 0)
    assert len(join_galaxies(with_all)) == 400  # as many as there are


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=40), st.lists(st.integers(0, 30), min_size=1, max_size=40),
    st.integers(0, 40), st.integers(0, 100),
)  # fmt: skip
def test_no_object_is_learned_from_twice(first: list[int], second: list[int], n: int, seed: int) -> None:
    """However often a survey shows an object, and however many objects both have."""
    north, south = see("north", np.array(first), 1), see("south", np.array(second), 2)
    parts = mix_at_budget(north, south, n, seed)
    objects = join_galaxies(parts).objects.tolist()
    assert len(set(objects)) == len(objects) == min(n, len({*first, *second}))
    if len(set(first)) >= n - n // 2 and len({*second} - {*first}) >= n // 2:
        assert [len(part) for part in parts] == [n - n // 2, n // 2]
