"""Test sets as files and as what scores need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.samples import ARRAYS, Sample
from embeddings.errors import SommelierError


def make_sample() -> Sample:
    """Four galaxies, one seen in training, one without any label that counts."""
    Y = np.float32([[0.1, 0.9], [np.nan, 0.2], [np.nan, np.nan], [0.5, 0.5]])
    whole = np.float32([[0.1, 0.9], [0.3, 0.2], [np.nan, 0.7], [0.5, 0.5]])
    return Sample(
        "decals", "same", np.array(["J1", "ü 2", "3", "587722952231026744"]), Y, whole, 10 * whole,
        np.full((4, 2), 10, np.float32), np.array([4, 4, 7, 9]), np.array([True, False, False, False]),
        np.array([1.5, np.nan, 2, 3]), np.array([-1.0, np.nan, 2, 3]), {"magnitude": np.array([14.5, np.nan, 16, 17])},
    )  # fmt: skip


def test_a_sample_reads_back_as_it_was_written(tmp_path: Path) -> None:
    sample = make_sample()
    sample.write(tmp_path / "a.npz")
    read = Sample.read(tmp_path / "a.npz")
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(read, name), getattr(sample, name))
        assert getattr(read, name).dtype == getattr(sample, name).dtype
    assert (read.survey, read.objects, [*read.properties]) == ("decals", "same", ["magnitude"])
    np.testing.assert_array_equal(read.properties["magnitude"], sample.properties["magnitude"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    with pytest.raises(SommelierError, match=r"a\.npz cannot be read .* Run the benchmark again"):
        Sample.read(file)
    make_sample().write(file)
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF  # the zip's own checksums tell
    for raw in (b"", whole[: len(whole) // 2], bytes(damaged), b"no zip at all"):
        file.write_bytes(raw)
        with pytest.raises(SommelierError, match=r"a\.npz cannot be read"):
            Sample.read(file)


def test_rows_and_answers_are_taken_together() -> None:
    taken = make_sample().take(np.array([False, True, False, True]))
    assert taken.ids.tolist() == ["ü 2", "587722952231026744"]
    assert taken.groups.tolist() == [4, 9]
    assert taken.seen.tolist() == [False, False]
    np.testing.assert_array_equal(taken.properties["magnitude"], [np.nan, 17])
    one = make_sample().answer(np.array([1]))
    assert one.Y.shape == one.whole.shape == one.votes.shape == one.totals.shape == (4, 1)
    np.testing.assert_array_equal(one.Y[:, 0], make_sample().Y[:, 1])


def test_a_sample_says_what_it_is() -> None:
    sample = make_sample()
    assert (len(sample), sample.n_labelled) == (4, 3)
    assert sample.name == "decals-same"
    assert sample.title == "DECaLS, all objects (1 of 4 seen in training)"
    # the published protocol tests the last rows of a survey that was learned from, whatever they show
    assert replace(sample, objects="new").title == "DECaLS, test objects (1 of 4 seen in training)"
    assert replace(sample, objects="new", seen=np.zeros(4, bool)).title == "DECaLS, new objects"
