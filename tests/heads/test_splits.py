"""Folds that keep galaxies whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from embeddings.errors import HeadError
from heads.splits import cut_folds


@settings(deadline=None)
@given(st.lists(st.integers(0, 15), min_size=2, max_size=60), st.integers(2, 6), st.integers(0, 3))
def test_folds_keep_groups_whole(groups: list[int], n_folds: int, seed: int) -> None:
    assume(len(set(groups)) >= n_folds)
    folds = cut_folds(np.array(groups), n_folds, seed)
    assert folds.shape == (len(groups),)
    assert set(folds.tolist()) == set(range(n_folds))
    where = {number: set(folds[np.array(groups) == number].tolist()) for number in groups}
    assert all(len(fold) == 1 for fold in where.values())


def test_folds_are_even_and_follow_the_seed() -> None:
    groups = np.arange(103)
    folds = cut_folds(groups, 5, 0)
    assert sorted(np.bincount(folds).tolist()) == [20, 20, 21, 21, 21]
    assert np.array_equal(folds, cut_folds(groups, 5, 0))
    assert not np.array_equal(folds, cut_folds(groups, 5, 1))
    assert not np.array_equal(folds, np.sort(folds))  # catalog order is not fold order


def test_folds_do_not_depend_on_the_rows_around() -> None:
    groups = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3])
    order = np.random.default_rng(0).permutation(10)
    assert np.array_equal(cut_folds(groups, 3, 0)[order], cut_folds(groups[order], 3, 0))


def test_too_few_galaxies_for_the_folds() -> None:
    with pytest.raises(HeadError, match="3 different galaxies cannot be cut into 5 folds"):
        cut_folds(np.array([0, 1, 2, 2, 2, 1]), 5, 0)


@pytest.mark.parametrize("n_folds", [1, 0])
def test_fewer_than_two_folds(n_folds: int) -> None:
    with pytest.raises(HeadError, match="at least 2"):
        cut_folds(np.arange(10), n_folds, 0)
