"""The most memory that a piece of work held."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import memory
from benchmarks.memory import CLEAR, measure_peak, reset_peak

MIB = 2**20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can reset its peak")
def test_the_peak_is_of_what_came_since_the_reset() -> None:
    reset_peak()
    before = measure_peak()
    np.ones(64 * MIB, np.uint8)  # let go at once
    high = measure_peak()
    assert 60 * MIB < high - before < 100 * MIB
    reset_peak()
    assert measure_peak() < before + 32 * MIB
    assert CLEAR.exists()


def test_where_nothing_can_be_reset_the_peak_is_since_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "CLEAR", tmp_path / "none" / "clear_refs")
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none" / "status")
    reset_peak()
    array = np.ones(8 * MIB, np.uint8)
    assert measure_peak() > array.nbytes
