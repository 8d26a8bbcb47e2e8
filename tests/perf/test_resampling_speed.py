"""10,000 resamples of a survey's test galaxies, against the plain loop."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from benchmarks.resampling import Resampling
from benchmarks.statistics import score_runs

pytestmark = [pytest.mark.perf, pytest.mark.slow]
GALAXIES, TARGETS, LOOPS = 70_000, 30, 5


def score_plainly(Y: np.ndarray, P: np.ndarray) -> tuple[float, float, float]:
    """Macro r, R2 and MAE as they are written down."""
    found = []
    for y, p in zip(Y.T, P.T, strict=True):
        there = ~np.isnan(y)
        y, p = y[there], p[there]
        r2 = 1 - ((y - p) ** 2).sum() / ((y - y.mean()) ** 2).sum()
        found.append((np.corrcoef(y, p)[0, 1], r2, np.abs(y - p).mean()))
    r, r2, mae = np.mean(found, axis=0).tolist()
    return r, r2, mae


def test_ten_thousand_resamples() -> None:
    rng = np.random.default_rng(0)
    Y = rng.uniform(size=(GALAXIES, TARGETS)).astype(np.float32)
    P = 0.5 * Y + rng.normal(0, 0.2, Y.shape).astype(np.float32)
    Y[rng.uniform(size=Y.shape) < 0.3] = np.nan  # not asked
    resampling = Resampling(np.arange(GALAXIES))
    start = time.perf_counter(), time.process_time()
    scores = score_runs(Y, {0: P}, resampling)
    ours, processor = time.perf_counter() - start[0], time.process_time() - start[1]
    weights = next(Resampling(np.arange(GALAXIES), n_resamples=LOOPS).draw_blocks()).astype(int)
    start = time.perf_counter(), time.process_time()
    plain = [score_plainly(Y[rows], P[rows]) for rows in (np.repeat(np.arange(GALAXIES), times) for times in weights)]
    theirs = (time.perf_counter() - start[0]) * resampling.n_resamples / LOOPS
    loop = (time.process_time() - start[1]) * resampling.n_resamples / LOOPS
    print(
        f"  sums {ours:.1f} s (processor {processor:.1f} s), plain loop {theirs:.0f} s ({loop:.0f} s): "
        f"{theirs / ours:.0f} x, processor {loop / processor:.0f} x; load {os.getloadavg()[0]:.1f}"
    )
    for name, values in zip(("r", "r2", "mae"), np.transpose(plain), strict=True):
        assert scores.macro[name].draws[:LOOPS] == pytest.approx(values, abs=1e-4)
    assert processor < 60
    assert loop / processor > 10
