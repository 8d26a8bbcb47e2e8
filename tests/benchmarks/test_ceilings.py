"""The ceiling by hand, and against votes whose true fractions are known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.ceilings import ceiling_of_r, noise_ceiling


def test_by_hand() -> None:
    F = np.array([[0.2], [0.8], [0.5]])
    totals = np.array([[5.0], [5.0], [11.0]])
    # noise: 0.16 / 4, 0.16 / 4, 0.25 / 10: mean 0.035; variance: (0.09 + 0.09 + 0) / 3 = 0.06
    assert noise_ceiling(F, totals)[0] == pytest.approx(1 - 0.035 / 0.06)
    assert ceiling_of_r(noise_ceiling(F, totals))[0] == pytest.approx((1 - 0.035 / 0.06) ** 0.5)


def test_single_votes_and_unasked_questions_do_not_count() -> None:
    F = np.array([[0.2], [0.8], [0.5], [1.0], [np.nan], [0.3]])
    totals = np.array([[5.0], [5.0], [11.0], [1.0], [0.0], [np.nan]])
    assert noise_ceiling(F, totals)[0] == pytest.approx(1 - 0.035 / 0.06)


@pytest.mark.parametrize("n", [3, 10, 40])
def test_it_is_what_the_true_fractions_reach(rng: np.random.Generator, n: int) -> None:
    truth = rng.beta(0.8, 1.6, 40_000)
    F = rng.binomial(n, truth) / n
    reached = 1 - ((F - truth) ** 2).sum() / ((F - F.mean()) ** 2).sum()
    ceiling = noise_ceiling(F[:, None], np.full((len(F), 1), n))
    assert ceiling[0] == pytest.approx(reached, abs=0.01)
    assert ceiling_of_r(ceiling)[0] == pytest.approx(np.corrcoef(F, truth)[0, 1], abs=0.01)


def test_galaxies_that_are_all_alike_leave_nothing_to_predict(rng: np.random.Generator) -> None:
    F = rng.binomial(10, 0.3, (20_000, 1)) / 10
    assert noise_ceiling(F, np.full_like(F, 10))[0] == pytest.approx(0, abs=0.03)


def test_where_there_is_none() -> None:
    F = np.array([[0.5, np.nan, 0.4], [0.5, np.nan, np.nan]])
    assert np.isnan(noise_ceiling(F, np.full(F.shape, 9))).all()
    assert ceiling_of_r(np.array([-0.2, 0.25])).tolist() == [0, 0.5]
