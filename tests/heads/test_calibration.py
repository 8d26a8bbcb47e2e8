"""The randomised PIT against scipy's distribution functions, and what it makes of right and wrong predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import betabinom, binom, kstest

from heads.calibration import randomised_pit, tabulate_pit

NAN = float("nan")


class Fixed(np.random.Generator):
    """Draws the same number always."""

    def __init__(self, value: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.value = value

    def uniform(self, *args: Any, size: Any = None, **options: Any) -> Any:
        return np.full(size, self.value)


@pytest.mark.parametrize("precision", [0.3, 8.0, np.inf])
def test_pit_lies_between_scipys_distribution_functions(precision: float, rng: np.random.Generator) -> None:
    totals = rng.integers(1, 60, size=50)
    counts, means = rng.integers(0, totals + 1), rng.uniform(0.05, 0.95, size=50)
    if np.isinf(precision):
        expected = [binom.cdf(counts - step, totals, means) for step in (1, 0)]
    else:
        expected = [betabinom.cdf(counts - step, totals, precision * means, precision * (1 - means)) for step in (1, 0)]
    given = counts, totals, means, np.full(50, precision)
    assert randomised_pit(*given, Fixed(0.0)) == pytest.approx(expected[0], abs=1e-9)
    assert randomised_pit(*given, Fixed(1.0)) == pytest.approx(expected[1], abs=1e-9)


@pytest.mark.parametrize("total", [1, 5, 40])
def test_pit_of_the_truth_is_uniform_and_of_another_is_not(total: int, rng: np.random.Generator) -> None:
    n = 4000
    means, precision = rng.uniform(0.1, 0.9, size=n), np.full(n, 6.0)
    counts = betabinom.rvs(total, precision * means, precision * (1 - means), random_state=rng)
    totals = np.full(n, total)
    assert kstest(randomised_pit(counts, totals, means, precision, rng), "uniform").pvalue > 0.01
    assert kstest(randomised_pit(counts, totals, means**2, precision, rng), "uniform").pvalue < 1e-6
    too_sure = kstest(randomised_pit(counts, totals, means, np.full(n, np.inf), rng), "uniform").pvalue
    assert (too_sure < 1e-6) == (total > 1)  # one vote knows of no precision


def test_pit_of_nobody() -> None:
    assert randomised_pit(*np.zeros((4, 0)), np.random.default_rng(0)).shape == (0,)


# by vote total


def test_table_by_votes() -> None:
    pit = np.array([0.1, 0.9, 0.5, NAN, 0.3])
    totals = np.array([1, 4, 40, 3, 0])
    rows = list(tabulate_pit(pit, totals, (1, 10, 20, 30)))
    assert [(row["votes_from"], row["votes_to"], row["n"]) for row in rows] == [
        (1, 9, 2),
        (10, 19, 0),
        (20, 29, 0),
        (30, None, 1),
    ]
    assert rows[0]["mean"] == pytest.approx(0.5)
    assert rows[0]["spread"] == pytest.approx(12 * 0.16)
    assert rows[0]["p_value"] == pytest.approx(kstest([0.1, 0.9], "uniform").pvalue)
    assert rows[1]["mean"] is rows[1]["spread"] is rows[1]["p_value"] is None
    assert rows[3]["mean"] == 0.5


def test_uniform_places_have_spread_one() -> None:
    (row,) = tabulate_pit((np.arange(10_000) + 0.5) / 10_000, np.full(10_000, 7), (1,))
    assert row["mean"] == pytest.approx(0.5)
    assert row["spread"] == pytest.approx(1, abs=1e-6)
    assert row["p_value"] == pytest.approx(1)
