"""What each epoch holds, for surveys of any sizes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data import TrainingError
from finetune.sampling import Sampler, split_surveys

SIZES = st.lists(st.integers(4, 30), min_size=1, max_size=4)
BATCHES = st.integers(1, 4)


def make_surveys(sizes: list[int]) -> tuple[np.ndarray, ...]:
    """Rows 0, 3, 6, ... in order, survey after survey."""
    return tuple(np.split(3 * np.arange(sum(sizes)), np.cumsum(sizes)[:-1]))


def count_surveys(rows: np.ndarray, surveys: tuple[np.ndarray, ...]) -> list[int]:
    return [int(np.isin(rows, survey).sum()) for survey in surveys]


@given(sizes=SIZES, batch=BATCHES, seed=st.integers(0, 5))
def test_natural_takes_every_galaxy_at_most_once(sizes: list[int], batch: int, seed: int) -> None:
    surveys = make_surveys(sizes)
    sampler = Sampler(surveys, "natural", None, batch, seed)
    rows = sampler.draw_epoch(0)
    assert rows.shape == (sampler.n_steps, batch) == (sum(sizes) // batch, batch)
    assert max(Counter(rows.ravel().tolist()).values()) == 1
    assert set(rows.ravel().tolist()) <= set(np.concatenate(surveys).tolist())


@given(sizes=SIZES, batch=BATCHES)
def test_balanced_takes_equal_shares(sizes: list[int], batch: int) -> None:
    surveys = make_surveys(sizes)
    sampler = Sampler(surveys, "balanced", None, batch, 1)
    assert sampler.n_rows == min(sizes) * len(sizes)
    rows = sampler.draw_epoch(2).ravel()
    counts = count_surveys(rows, surveys)
    left_over = sampler.n_rows - len(rows)
    assert left_over < batch
    assert len(set(rows.tolist())) == len(rows)
    assert all(min(sizes) - left_over <= count <= min(sizes) for count in counts)


@given(sizes=SIZES, extra=st.integers(0, 3))
def test_a_budget_takes_the_same_galaxies_in_all_epochs(sizes: list[int], extra: int) -> None:
    surveys = make_surveys(sizes)
    budget = (min(sizes) - 1) * len(sizes) + extra % len(sizes)
    sampler = Sampler(surveys, "budget", budget, 1, 7)
    first, later = (sampler.draw_epoch(epoch).ravel() for epoch in (0, 4))
    assert len(first) == budget == len(set(first.tolist()))
    assert set(first.tolist()) == set(later.tolist())
    counts = count_surveys(first, surveys)
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("mixing", ["natural", "balanced", "budget"])
def test_the_order_is_one_of_seed_and_epoch(mixing: str) -> None:
    def draw(seed: int, epoch: int) -> list[int]:
        surveys = make_surveys([40, 60])
        budget = 50 if mixing == "budget" else None
        return list(Sampler(surveys, mixing, budget, 10, seed).draw_epoch(epoch).ravel())  # type: ignore[arg-type]

    assert draw(3, 5) == draw(3, 5)
    assert draw(3, 5) != draw(3, 6)
    assert draw(3, 5) != draw(4, 5)
    assert draw(3, 5) != sorted(draw(3, 5))


def test_what_waits_comes_in_another_epoch() -> None:
    """Seven galaxies in steps of four: three wait, others each time."""
    sampler = Sampler((np.arange(7),), "natural", None, 4, 0)
    assert {row for epoch in range(12) for row in sampler.draw_epoch(epoch).ravel().tolist()} == set(range(7))


def test_balanced_takes_others_of_a_large_survey() -> None:
    surveys = make_surveys([10, 1000])
    sampler = Sampler(surveys, "balanced", None, 20, 0)
    seen = {row for epoch in range(5) for row in sampler.draw_epoch(epoch).ravel().tolist() if row in surveys[1]}
    assert len(seen) > 40  # 50 draws of 1000: no two alike but by chance


def test_batches_are_mixed() -> None:
    """Of each survey's 500 rows, a batch of 100 has 50 within 4 sigma (5 each, less for a finite lot)."""
    surveys = make_surveys([500, 500])
    for batch in Sampler(surveys, "natural", None, 100, 0).draw_epoch(0):
        assert abs(count_surveys(batch, surveys)[0] - 50) < 20


def test_surveys_come_in_order_of_first_appearance() -> None:
    names = np.array(["sdss", "decals", "sdss", "ukidss", "decals"], object)
    first, second = split_surveys(np.array([1, 2, 4, 0]), names)
    assert (first.tolist(), second.tolist()) == ([1, 4], [2, 0])


def test_a_budget_that_a_survey_cannot_fill() -> None:
    with pytest.raises(
        TrainingError, match=r"asks 7 training galaxies of each survey, and one has 5\. Give at most 10"
    ):
        Sampler(make_surveys([5, 9]), "budget", 13, 2, 0)
    assert Sampler(make_surveys([5, 9]), "budget", 10, 2, 0).n_rows == 10


def test_fewer_galaxies_than_a_step() -> None:
    with pytest.raises(TrainingError, match=r"an epoch has 9 training galaxies, .*: 10\)\. .* at most 9\."):
        Sampler(make_surveys([9]), "natural", None, 10, 0)
