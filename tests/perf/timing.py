"""Ratios of interleaved medians: the only figures that a noisy machine gives."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def measure(repeats: int = 5, **ways: Callable[[], object]) -> dict[str, float]:
    """
    Time several ways of doing the same, in turns.

    Returns
    -------
    dict of str to float
        Median seconds of each, after one unmeasured turn.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print("  " + ", ".join(f"{name} {value:.3g} s" for name, value in medians.items()))
    return medians
