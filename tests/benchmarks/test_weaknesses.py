"""The worst answer and bin, planted."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr

from benchmarks.resampling import Resampling
from benchmarks.statistics import score_runs
from benchmarks.weaknesses import cut_bins, find_worst_answer, find_worst_bin, score_bins
from embeddings.errors import SommelierError

rng = np.random.default_rng(3)
N = 1200
MAGNITUDE = rng.uniform(14, 17, N)
MAGNITUDE[:50] = np.nan
Y = rng.uniform(size=(N, 4))
# the second answer is predicted worst, and the faintest galaxies are; the fourth has hardly a label
P = Y + rng.normal(0, 1, Y.shape) * np.array([0.2, 0.6, 0.2, 3]) * (1 + 3 * (np.nan_to_num(MAGNITUDE) > 16.4))[:, None]
Y[19:, 3] = np.nan
TARGETS = ("smooth", "bar", "arms", "odd")
RESAMPLING = Resampling(np.arange(N), 0, 300)


def test_the_worst_answer_among_those_with_labels() -> None:
    scores = score_runs(Y, {0: P}, RESAMPLING)
    worst = find_worst_answer(scores, TARGETS)
    assert worst is not None
    assert (worst.target, worst.n, worst.share) == ("bar", N, 1.0)
    assert worst.score.value == pytest.approx(pearsonr(Y[:, 1], P[:, 1]).statistic)
    assert find_worst_answer(scores, TARGETS, min_labels=N + 1) is None
    rare = find_worst_answer(scores, TARGETS, min_labels=19)
    assert rare is not None
    assert rare.target == "odd"


def test_which_answer_is_worst_may_be_a_matter_of_luck() -> None:
    twin = np.stack([Y[:, 0], Y[::-1, 0]], axis=1)
    scores = score_runs(twin, {0: np.stack([P[:, 0], P[::-1, 0]], axis=1)}, RESAMPLING)
    worst = find_worst_answer(scores, ("one", "other"))
    assert worst is not None
    assert 0.2 < worst.share < 0.8


def test_the_worst_bin_and_what_a_bin_holds() -> None:
    bins = score_bins(Y, {0: P}, RESAMPLING, {"mag_r": MAGNITUDE, "redshift": np.full(N, np.nan)})
    assert [one.name for one in bins] == ["mag_r"] * 10
    assert sum(one.n for one in bins) == N - 50
    assert all(one.n >= 100 for one in bins)
    assert all(before.high < after.low for before, after in pairwise(bins))
    worst = find_worst_bin(bins)
    assert worst is not None
    assert worst.low > 16.3
    rows = (worst.low <= MAGNITUDE) & (worst.high >= MAGNITUDE)
    expected = np.mean([pearsonr(Y[rows, t], P[rows, t]).statistic for t in range(3)])  # too few labels of the fourth
    assert worst.score.value == pytest.approx(expected)
    assert worst.to_dict()["score"][0] == worst.score.value
    assert find_worst_bin([]) is None


@given(st.lists(st.one_of(st.integers(0, 8).map(float), st.just(np.nan)), max_size=60), st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_bins_are_full_ordered_and_keep_equal_values_together(values: list[float], least: int) -> None:
    array, objects = np.array(values), np.arange(len(values)) // 2
    bins = cut_bins(array, objects, least, 5)
    known = np.isfinite(array)
    if len(set(objects[known])) < least:
        assert (bins == -1).all()
        return
    assert ((bins >= 0) == known).all()
    for number in range(bins.max() + 1):
        assert len(set(objects[bins == number])) >= least
    assert len(set(zip(array[known], bins[known], strict=True))) == len(set(array[known]))
    order = np.argsort(array[known], kind="stable")
    assert (np.diff(bins[known][order]) >= 0).all()


def test_a_property_of_other_galaxies() -> None:
    with pytest.raises(SommelierError, match="size has 3 values for 1200 galaxies"):
        score_bins(Y, {0: P}, RESAMPLING, {"size": np.zeros(3)})
