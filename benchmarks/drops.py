"""Of a benchmark's entries: where the out-of-domain drop comes from, and how few labels buy it back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.cells import Cell, require_outcome
from benchmarks.decomposition import Whole, decompose_drop
from benchmarks.keeping import NOT_KEPT, Keeper
from benchmarks.recalibration import recalibrate
from benchmarks.resampling import inflate_luck
from benchmarks.results import CELLS, Decomposed, Entry, Recalibrated, Results
from benchmarks.samples import Sample

Array = np.ndarray[Any, Any]


def list_drops(results: Results, keeper: Keeper = NOT_KEPT) -> Iterator[Decomposed]:
    """
    Decompose the drop of every contender that learned from one survey, to each other survey with paired test galaxies.

    Parameters
    ----------
    results : Results
    keeper : Keeper

    Yields
    ------
    Decomposed
        None for floors, budgets, or single layers.
    """
    for entry, home, away in _list_routes(results):
        own = results.predictions(entry)
        there = results.predictions(_find(results, entry, away))
        rows_s, rows_u = pair_rows(home, away)
        if not len(rows_s):
            continue
        found = keeper.call(
            decompose_drop,
            {seed: P[rows_s] for seed, P in own.items()}, {seed: P[rows_u] for seed, P in there.items()},
            home.Y[rows_s], away.Y[rows_u], home.groups[rows_s], 0, results.suite.resamples,
            results.mask_totals(home)[rows_s], results.mask_totals(away)[rows_u],
            Whole(own, home.Y, home.groups), inflation=_inflate(results, entry),
        )  # fmt: skip
        if found is not None:
            yield Decomposed(entry.training, entry.model, home.name, away.name, found)


def list_curves(results: Results, samples: Mapping[str, Sample], keeper: Keeper = NOT_KEPT) -> Iterator[Recalibrated]:
    """
    Recalibrate every contender that learned from one survey with labels of each survey that nothing learned from.

    Only fractions are: other values may lie anywhere, and corrections are clipped.

    Parameters
    ----------
    results : Results
    samples : mapping of str to Sample
        With the pools, whose labels correct.
    keeper : Keeper
    """
    wanted, questions = results.suite.recalibration, results.questions
    fractions = np.repeat([q.kind == "fraction" for q in questions], [len(q.targets) for q in questions])
    if not fractions.any():
        return
    for entry, home, away in _list_routes(results):
        pool = samples.get(f"{away.survey}-pool")
        if pool is None or not wanted.labels:
            continue
        cells = [Cell(entry.training, entry.model, seed, entry.space, entry.budget) for seed in entry.seeds]
        outcomes = {cell.seed: require_outcome(results.folder / CELLS, cell) for cell in cells}
        if any(pool.name not in outcome.predictions for outcome in outcomes.values()):
            continue
        drawn, tested = (np.where(fractions, sample.Y, np.nan) for sample in (pool, away))
        found = keeper.call(
            recalibrate,
            {seed: outcome.predictions[pool.name] for seed, outcome in outcomes.items()}, drawn,
            {seed: outcome.predictions[away.name] for seed, outcome in outcomes.items()}, tested,
            wanted.labels, wanted.draws, 0, pool.groups, away.groups, results.suite.resamples,
            entry.macro["r2"].value if fractions.all() else None, _inflate(results, entry),
        )  # fmt: skip
        if found is not None:
            yield Recalibrated(entry.training, entry.model, home.name, away.name, found)


def _list_routes(results: Results) -> Iterator[tuple[Entry, Sample, Sample]]:
    """The entries on the home test of one survey's training set, with each test of new objects of another survey."""
    if results.suite.spaces == "each":
        return
    for entry in results.headline:
        surveys = results.suite.trainings[entry.training].surveys
        home = results.samples[entry.test]
        floor = results.suite.models[entry.model].is_floor
        if floor or surveys != (home.survey,) or home.objects != "new":
            continue
        for away in results.samples.values():
            if away.survey != home.survey and away.objects == "new":
                yield entry, home, away


def _find(results: Results, entry: Entry, test: Sample) -> Entry:
    """The same contender on another test."""
    return next(one for one in results.pick(test=test.name) if one.contender == entry.contender)


def _inflate(results: Results, entry: Entry) -> float:
    share = results.suite.seeds.redraw
    return inflate_luck(share, len(entry.seeds)) if share < 1 and len(entry.seeds) > 1 else 1.0


def pair_rows(home: Sample, away: Sample) -> tuple[Array, Array]:
    """
    The rows of both tests that show the same sky objects, one of each an object.

    Returns
    -------
    (n_pairs,) int arrays
    """
    _, rows_s, rows_u = np.intersect1d(home.groups, away.groups, return_indices=True)
    return np.asarray(rows_s), np.asarray(rows_u)
