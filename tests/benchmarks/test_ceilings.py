"""The ceiling by hand, and against votes whose true fractions are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.ceilings import ceiling_of_r, measure_ceiling, noise_ceiling
from benchmarks.resampling import resample_objects


def once(F: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """The ceilings of the sample as it is."""
    return noise_ceiling(F, totals, np.ones((1, len(F))))[0]


def test_by_hand() -> None:
    F = np.array([[0.2], [0.8], [0.5]])
    totals = np.array([[5.0], [5.0], [11.0]])
    # noise: 0.16 / 4, 0.16 / 4, 0.25 / 10: mean 0.035; variance: (0.09 + 0.09 + 0) / 3 = 0.06
    assert once(F, totals)[0] == pytest.approx(1 - 0.035 / 0.06)
    assert ceiling_of_r(once(F, totals))[0] == pytest.approx((1 - 0.035 / 0.06) ** 0.5)


def test_single_votes_and_unasked_questions_do_not_count() -> None:
    F = np.array([[0.2], [0.8], [0.5], [1.0], [np.nan], [0.3]])
    totals = np.array([[5.0], [5.0], [11.0], [1.0], [0.0], [np.nan]])
    assert once(F, totals)[0] == pytest.approx(1 - 0.035 / 0.06)


@pytest.mark.parametrize("n", [3, 10, 40])
def test_it_is_what_the_true_fractions_reach(rng: np.random.Generator, n: int) -> None:
    truth = rng.beta(0.8, 1.6, 40_000)
    F = rng.binomial(n, truth) / n
    reached = 1 - ((F - truth) ** 2).sum() / ((F - F.mean()) ** 2).sum()
    ceiling = once(F[:, None], np.full((len(F), 1), n))
    assert ceiling[0] == pytest.approx(reached, abs=0.01)
    assert ceiling_of_r(ceiling)[0] == pytest.approx(np.corrcoef(F, truth)[0, 1], abs=0.01)


def test_galaxies_that_are_all_alike_leave_nothing_to_predict(rng: np.random.Generator) -> None:
    F = rng.binomial(10, 0.3, (20_000, 1)) / 10
    assert once(F, np.full_like(F, 10))[0] == pytest.approx(0, abs=0.03)


def test_where_there_is_none() -> None:
    F = np.array([[0.5, np.nan, 0.4], [0.5, np.nan, np.nan]])
    assert np.isnan(once(F, np.full(F.shape, 9))).all()
    assert ceiling_of_r(np.array([-0.2, 0.25])).tolist() == [0, 0.5]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 3), min_size=12, max_size=12).filter(any))
def test_a_weight_is_so_many_copies_of_the_galaxy(seed: int, times: list[int]) -> None:
    rng = np.random.default_rng(seed)
    totals = rng.integers(0, 12, (12, 3)).astype(float)
    F = np.where(totals > 0, rng.binomial(totals.astype(int), 0.4) / np.maximum(totals, 1), np.nan)
    copied = np.repeat(np.arange(12), times)
    weighted = noise_ceiling(F, totals, np.array([times], float))[0]
    assert weighted == pytest.approx(once(F[copied], totals[copied]), nan_ok=True)


def test_the_interval_holds_what_the_true_fractions_would_reach() -> None:
    """Beta(2, 3), twenty votes: its variance is 0.04, and E[p (1 - p)] is 0.2, so the noise is 0.01 (exactly)."""
    truth, covered = 0.04 / (0.04 + 0.01), 0
    for trial in range(100):
        rng = np.random.default_rng(trial)
        F = rng.binomial(20, rng.beta(2, 3, (80, 1))) / 20
        scores = measure_ceiling(F, np.full(F.shape, 20.0), resample_objects(np.arange(80), trial, 400)).scores
        assert scores["r"].draws ** 2 == pytest.approx(scores["r2"].draws)
        low, high = scores["r2"].interval
        covered += low <= truth <= high
    assert covered / 100 == pytest.approx(0.94, abs=0.07)  # three binomial errors


def test_answers_of_nothing_but_noise_are_counted_and_their_r_is_zero() -> None:
    F = np.array([[0.2, 0.4], [0.8, 0.6], [0.5, 0.5]])
    totals = np.array([[5.0, 5.0], [5.0, 5.0], [11.0, 11.0]])
    # of the second: noise (0.24 / 4 + 0.24 / 4 + 0.25 / 10) / 3 = 0.145 / 3; variance: (0.01 + 0.01) / 3
    ceiling = measure_ceiling(F, totals, np.ones((5, 3)))
    first, second = 1 - 0.035 / 0.06, 1 - 0.145 / 0.02
    assert ceiling.n_noise == 1
    assert ceiling.scores["r2"].value == pytest.approx((first + second) / 2)
    assert ceiling.scores["r"].value == pytest.approx(first**0.5 / 2)
    assert ceiling.to_dict() == {
        "r": pytest.approx([first**0.5 / 2] * 3), "r2": pytest.approx([(first + second) / 2] * 3),
        "answers_of_noise": 1,
    }  # fmt: skip


def test_without_any_label_that_varies_there_is_no_ceiling() -> None:
    ceiling = measure_ceiling(np.full((4, 2), 0.5), np.full((4, 2), 9.0), np.ones((3, 4)))
    assert ceiling.to_dict() == {"r": [None] * 3, "r2": [None] * 3, "answers_of_noise": 0}
