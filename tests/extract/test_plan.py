"""Properties of the plan: which rows are wanted, in which batches, and whose they are."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import SommelierError
from embeddings.parts import Source
from embeddings.provenance import Provenance
from extract.plan import cut_batches, match_rows, parse_shard, parse_share, take_shard

NAMES = [f"g{number}" for number in range(12)]
names = st.lists(st.sampled_from(NAMES), unique=True)


def digest(name: str, version: int = 0) -> bytes:
    return hashlib.sha256(f"{name}/{version}".encode()).digest()


def source(rows: list[tuple[str, bool, int]]) -> Source:
    """A part: id, whether it is good, and which version of its image it was made of."""
    hashes = np.frombuffer(b"".join(digest(name, version) for name, _, version in rows), np.uint8).reshape(-1, 32)
    status = np.array([b"ok" if good else b"failed: no such file" for _, good, _ in rows], dtype="S32")
    return Source(Path("part"), Provenance({}, {}, ()), [name for name, _, _ in rows], hashes, status, {})


@st.composite
def parts(draw: Any) -> list[Source]:
    row = st.tuples(st.sampled_from(NAMES), st.booleans(), st.integers(0, 1))
    return [source(rows) for rows in draw(st.lists(st.lists(row, max_size=8, unique_by=lambda r: r[0]), max_size=4))]


@st.composite
def batches(draw: Any) -> list[np.ndarray]:
    ids = draw(names)
    return cut_batches(ids, np.arange(len(ids)), draw(st.integers(1, 5)))


# matching


@given(names, parts(), st.booleans())
def test_a_pick_is_the_same_galaxy_of_the_same_image(ids: list[str], sources: list[Source], retry: bool) -> None:
    hashes = {name: digest(name) for name in ids}
    for name, (part, row) in zip(ids, match_rows(ids, sources, hashes, retry).tolist(), strict=True):
        if part >= 0:
            assert sources[part].ids[row] == name
            assert sources[part].image_sha256[row].tobytes() == digest(name)
            assert not retry or sources[part].status[row] == b"ok"


@given(names, parts(), st.booleans())
def test_nothing_that_is_there_is_missed_and_good_rows_win(ids: list[str], sources: list[Source], retry: bool) -> None:
    hashes = {name: digest(name) for name in ids}
    picks = match_rows(ids, sources, hashes, retry)
    assert picks.shape == (len(ids), 2)
    for name, (part, row) in zip(ids, picks.tolist(), strict=True):
        there = [
            (each.status[index] == b"ok", -number)
            for number, each in enumerate(sources)
            for index, other in enumerate(each.ids)
            if other == name and each.image_sha256[index].tobytes() == digest(name)
        ]
        there = [pair for pair in there if pair[0]] if retry else there
        if not there:
            assert (part, row) == (-1, -1)
        else:  # the best there is: a good row, of the first source that has one
            assert (sources[part].status[row] == b"ok", -part) == max(there)


def test_a_changed_image_is_not_matched() -> None:
    part = source([("g1", True, 0), ("g2", True, 0)])
    now = {"g1": digest("g1"), "g2": digest("g2", version=1)}
    assert match_rows(["g2", "g1"], [part], now).tolist() == [[-1, -1], [0, 0]]


def test_without_a_hash_the_id_is_enough() -> None:
    assert match_rows(["g1"], [source([("g1", True, 5)])], {}).tolist() == [[0, 0]]


def test_a_good_row_beats_a_failed_one_of_an_earlier_source() -> None:
    failed, good = source([("g1", False, 0)]), source([("g2", True, 0), ("g1", True, 0)])
    hashes = {"g1": digest("g1")}
    assert match_rows(["g1"], [failed, good], hashes).tolist() == [[1, 1]]
    assert match_rows(["g1"], [failed], hashes).tolist() == [[0, 0]]
    assert match_rows(["g1"], [failed], hashes, retry_failed=True).tolist() == [[-1, -1]]


# batches


@given(names, st.integers(1, 5), st.randoms())
def test_the_order_of_the_catalog_does_not_matter(ids: list[str], size: int, random: Any) -> None:
    other = list(ids)
    random.shuffle(other)
    first = [[ids[row] for row in batch] for batch in cut_batches(ids, np.arange(len(ids)), size)]
    second = [[other[row] for row in batch] for batch in cut_batches(other, np.arange(len(other)), size)]
    assert first == second


@given(names, st.data(), st.integers(1, 5))
def test_batches_hold_each_row_once_and_are_full_but_the_last(ids: list[str], data: Any, size: int) -> None:
    wanted = [row for row in range(len(ids)) if data.draw(st.booleans())]
    cut = cut_batches(ids, np.array(wanted, dtype=np.int64), size)
    assert sorted(row for batch in cut for row in batch.tolist()) == wanted
    assert all(len(batch) == size for batch in cut[:-1])
    assert all(0 < len(batch) <= size for batch in cut)
    assert all(batch.dtype == np.int64 for batch in cut)


# shards


@given(batches(), st.integers(1, 9))
def test_shards_partition_the_batches(cut: list[np.ndarray], count: int) -> None:
    shares = [take_shard(cut, (number, count)) for number in range(1, count + 1)]
    joined = [batch for share in shares for batch in share]
    assert len(joined) == len(cut)
    assert all(one is other for one, other in zip(joined, cut, strict=True))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 500), st.integers(1, 500))
def test_every_shard_can_be_written_down(number: int, count: int) -> None:
    text = f"{number}/{count}"
    if number <= count:
        assert parse_shard(text) == (number, count)
    else:
        with pytest.raises(SommelierError, match="--shard is I/N"):
            parse_shard(text)


def test_no_shard_is_everything() -> None:
    assert parse_shard(None) == (1, 1)


@pytest.mark.parametrize("text", ["", "1", "0/4", "5/4", "-1/4", "1/0", "1/2/3", "a/b", "1.5/2", "/2"])
def test_shards_that_are_none(text: str) -> None:
    with pytest.raises(SommelierError, match=r"--shard is I/N with I from 1 to N, for example 2/4; not '"):
        parse_shard(text)


# shares


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10%", 20), ("100%", 200), ("0%", 0), ("0.5%", 1), ("0.1", 20), (0.1, 20), ("0", 0), (0, 0), ("7", 7), (7, 7),
     ("1", 1), (1, 1), ("0.999", 199.8), ("1e2", 100)],
)  # fmt: skip
def test_a_share_or_a_number_of_rows(text: Any, expected: float) -> None:
    assert parse_share(text, 200) == pytest.approx(expected)


@given(st.integers(0, 100), st.integers(0, 10**6))
def test_per_cent_and_fraction_agree(per_cent: int, total: int) -> None:
    expected = pytest.approx(total * per_cent / 100)
    assert parse_share(f"{per_cent}%", total) == expected
    if per_cent < 100:
        assert parse_share(per_cent / 100, total) == expected


@pytest.mark.parametrize("text", ["", "many", "ten%", "-1", -1, "-0.1", "-5%", "nan", "nan%", float("nan"), "%"])
def test_shares_that_are_none(text: Any) -> None:
    with pytest.raises(SommelierError, match=r"--max-failures is a share \(10%\) or a number of images, not"):
        parse_share(text, 200)
