"""The intervals and tests hold what they promise, by simulation."""

from __future__ import annotations

import pytest

from tests.benchmarks.coverage import Setting, measure_coverage


@pytest.mark.slow
def test_intervals_of_several_seeds_hold_the_truth_in_95_of_100() -> None:
    """500 experiments, two and a half per cent off at most: half of it is one binomial error."""
    coverage = measure_coverage(Setting(objects=150, seeds=5, spread=0.1, resamples=300), 500)
    assert coverage.score == pytest.approx(0.95, abs=0.025)
    assert coverage.difference == pytest.approx(0.95, abs=0.025)
