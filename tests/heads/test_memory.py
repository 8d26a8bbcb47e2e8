"""The most memory that a piece of work held."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heads import memory
from heads.memory import PeakMemory

MIB = 2**20


@pytest.mark.skipif(not PeakMemory().known, reason="this system cannot let the peak start anew")
def test_the_peak_is_of_what_came_since() -> None:
    idle, hungry = PeakMemory(), PeakMemory()
    before = idle.read()
    np.ones(64 * MIB, np.uint8)  # let go at once
    high = hungry.read()
    assert before is not None
    assert high is not None
    assert 60 * MIB < high - before < 100 * MIB
    after = PeakMemory().read()
    assert after is not None
    assert after < before + 32 * MIB


def test_the_peak_is_not_known_where_it_cannot_start_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "PROCESS", tmp_path / "none")
    assert PeakMemory().read() is None
    (tmp_path / "status").write_text("VmPeak:\t  99 kB\nVmHWM:\t  2048 kB\nVmRSS:\t 7 kB\n")
    (tmp_path / "clear_refs").mkdir()  # is there, but nobody may write to it
    monkeypatch.setattr(memory, "PROCESS", tmp_path)
    assert PeakMemory().read() is None


def test_the_peak_is_read_in_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "PROCESS", tmp_path)
    (tmp_path / "status").write_text("VmPeak:\t  99 kB\nVmHWM:\t  2048 kB\nVmRSS:\t 7 kB\n")
    assert PeakMemory().read() == 2 * MIB
    assert (tmp_path / "clear_refs").read_text() == "5"
    (tmp_path / "status").write_text("VmRSS:\t 7 kB\n")
    assert PeakMemory().read() is None
