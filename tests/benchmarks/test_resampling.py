"""Draws: whole objects, the same for all models, with the variances that theory gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.resampling import BLOCK, Resampling, draw_seeds, inflate_luck, resample_objects
from embeddings.errors import SommelierError


def draw(resampling: Resampling) -> np.ndarray:
    return np.concatenate(list(resampling.draw_blocks()))


def test_as_many_objects_are_drawn_as_there_are_and_each_as_often_as_a_multinomial_says() -> None:
    weights = draw(Resampling(np.array(["b", "a", "b", "c", "d", "e"]), 3, 20_000))
    assert weights.shape == (20_000, 5)
    assert weights.dtype == np.float32
    assert (weights.sum(axis=1) == 5).all()
    # n = 5 draws with p = 1/5: variance n p (1 - p) = 0.8, covariance -n p^2 = -0.2
    expected = np.full((5, 5), -0.2) + np.eye(5)
    assert np.abs(np.cov(weights.T) - expected).max() < 0.04  # 0.8 sqrt(3 / 20,000) is 0.01
    assert np.abs(weights.mean(axis=0) - 1).max() < 0.03


def test_draws_follow_from_objects_and_seed_and_fewer_are_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = np.array([7, 3, 7, 9])
    many = draw(Resampling(objects, 5, 100))
    assert (draw(Resampling(objects * 10, 5, 30)) == many[:30]).all()
    assert (draw(Resampling(objects, 6, 100)) != many).any()
    monkeypatch.setattr("benchmarks.resampling.BLOCK", 10)  # three resamples at a time
    assert [len(block) for block in Resampling(objects, 5, 7).draw_blocks()] == [3, 3, 1]
    assert (draw(Resampling(objects, 5, 100)) == many).all()
    assert BLOCK * 4 <= 2**26


def test_the_key_tells_what_is_paired() -> None:
    objects = np.array(["a", "b", "a"])
    key = Resampling(objects, 0, 10).key
    assert Resampling(np.array([4, 9, 4]), 0, 10).key == key
    others = [Resampling(objects, 1, 10), Resampling(objects, 0, 11), Resampling(objects[::-1][:2], 0, 10),
              Resampling(np.array(["a", "b", "b"]), 0, 10)]  # fmt: skip
    assert len({key, *(other.key for other in others)}) == 5


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_gathered_rows_weigh_what_their_objects_do(objects: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(len(objects), 2))
    resampling = Resampling(np.array(objects), seed, 4)
    by_row = resample_objects(np.array(objects), seed, 4) @ values
    assert draw(resampling) @ resampling.gather(values) == pytest.approx(by_row)


def test_what_seeds_add_has_the_variance_of_their_mean() -> None:
    scores = np.array([0.3, 0.1, 0.7])
    added = draw_seeds([4, 2, 9], 0, 100_000) @ scores
    assert added.mean() == pytest.approx(0, abs=0.003)
    assert added.std() == pytest.approx(scores.std(ddof=1) / np.sqrt(3), rel=0.01)  # sd / sqrt(S)


def test_a_seed_keeps_its_weights_whatever_the_order_and_one_adds_nothing() -> None:
    weights = draw_seeds([4, 2, 9], 1, 50)
    assert weights.sum(axis=1) == pytest.approx(0)
    assert draw_seeds([9, 4, 2], 1, 50) == pytest.approx(weights[:, [2, 0, 1]])
    assert (draw_seeds([4, 2, 8], 1, 50) != weights).all()
    assert not draw_seeds([7], 1, 50).any()


@pytest.mark.parametrize("seeds", [[1, 1], [-1, 2], []])
def test_seeds_that_cannot_be(seeds: list[int]) -> None:
    with pytest.raises(SommelierError, match="seeds must be different and not negative"):
        draw_seeds(seeds, 0, 10)


def test_parts_of_the_same_objects_spread_too_little_by_so_much() -> None:
    # the mean of 8 of 10 values: variance v / 8 (1 - 8 / 10) among parts (Cochran 1977, theorem 2.2), of three such
    # means v / 10 + v / 8 (1 - 8 / 10) / 3 in all, since the mean of the 10 itself has v / 10
    among, all_in_all = 0.2 / 8, 0.1 + 0.2 / 8 / 3
    assert inflate_luck(0.8, 3) == pytest.approx(np.sqrt(all_in_all / (among / 3)))
    assert inflate_luck(0, 5) == 1
    # many seeds leave the delete-d jackknife: among times s / (1 - s) is 4 times as much, v / 10
    assert inflate_luck(0.8, 10**6) ** 2 / 10**6 * among == pytest.approx(4 * among, rel=1e-5)
    for share, n in ((1, 3), (-0.1, 3), (0.8, 0), (np.nan, 2)):
        with pytest.raises(SommelierError, match=r"a share from 0 to below 1 were expected"):
            inflate_luck(share, n)


def test_nothing_to_resample() -> None:
    with pytest.raises(SommelierError, match="no galaxy to resample"):
        Resampling(np.array([]))
    with pytest.raises(SommelierError, match="0 resamples say nothing"):
        Resampling(np.array([1]), 0, 0)
