"""Reads the cells of a benchmark's folder and scores them: the way from files to `Results`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cautions import list_cautions
from benchmarks.ceilings import Ceiling, resample_ceiling
from benchmarks.cells import Cell, require_outcome
from benchmarks.comparison import compare_models, rank_models
from benchmarks.drops import list_curves, list_drops
from benchmarks.keeping import NOT_KEPT, Keeper
from benchmarks.resampling import Resampling, inflate_luck
from benchmarks.results import CELLS, FORMAT, RECORD, SAMPLES, SUITE, VERSION, Contest, Entry, Results
from benchmarks.samples import Sample
from benchmarks.statistics import MIN_LABELS, ModelScores, score_runs
from benchmarks.suite import Suite, load_suite
from benchmarks.supply import CACHE
from benchmarks.weaknesses import find_worst_answer
from embeddings.errors import SommelierError
from embeddings.questions import Question, list_targets
from heads.metrics import score_pooled

Array = np.ndarray[Any, Any]
PER_TARGET = ("r", "r2", "mae", "bias")
CEILING_RESAMPLES = CURVE_RESAMPLES = 2000
SCORES = "scores"  # in the cache
Report = Callable[[int, int, int], None]


def read_results(folder: Path, report: Report | None = None, tidy: bool = False) -> Results:
    """
    Read what a benchmark computed, and score it; scores are kept in its cache.

    Parameters
    ----------
    folder : Path
    report : callable, optional
        Called with entries scored, 0, and entries in all.
    tidy : bool
        Remove scores that are of no use any more.

    Raises
    ------
    SommelierError
        When the folder holds no benchmark, or one that is not finished.
    """
    record = read_record(folder)
    if "cells" not in record:
        raise SommelierError(
            f"the benchmark in {folder} is not finished. Go on with: sommelier benchmark run {folder / SUITE} -o "
            f"{folder}"
        )
    suite = load_suite(folder / SUITE)
    if record.get("suite_digest", suite.digest) != suite.digest:
        raise SommelierError(
            f"{folder} was begun anew with another suite, and is not finished. Go on with: sommelier benchmark run "
            f"{folder / SUITE} -o {folder}"
        )
    questions = tuple(Question.from_dict(one) for one in record["questions"])
    samples = {name: Sample.read(folder / SAMPLES / f"{name}.npz") for name in record["samples"]}
    cells = [Cell(**one) for one in record["cells"]]
    tests = {name: sample for name, sample in samples.items() if sample.objects != "pool"}
    keeper = Keeper(folder / CACHE / SCORES)
    entries = list(score_entries(folder, suite, questions, tests, cells, record["joined_space"], report, keeper))
    results = Results(
        folder, record, suite, questions, tests, entries, _score_copies(suite, tests, keeper),
        {}, list_contests(suite, entries, record["joined_space"]),
    )  # fmt: skip
    for name, sample in tests.items():
        ceiling = _measure_ceiling(sample, results.mask_totals(sample), keeper)
        if ceiling is not None:
            results.ceilings[name] = ceiling
    results.drops.extend(list_drops(results, keeper))
    results.curves.extend(list_curves(results, samples, keeper))
    if tidy:
        keeper.prune()
    if "cautions" not in record:
        record["cautions"] = list_cautions(results)
    return results


def read_record(folder: Path) -> dict[str, Any]:
    """
    What a benchmark's folder says of itself.

    Raises
    ------
    SommelierError
        When it holds none, or one of another version.
    """
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except FileNotFoundError as error:
        raise SommelierError(
            f"{folder} holds no benchmark: {RECORD} is missing. Make one with: sommelier benchmark run SUITE -o "
            f"{folder}"
        ) from error
    except (OSError, ValueError) as error:
        raise SommelierError(f"{folder / RECORD} cannot be read: {error}. Run the benchmark again.") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise SommelierError(f"{folder / RECORD} is no record of a benchmark (its format is not {FORMAT!r}).")
    if str(record.get("version", VERSION)).split(".")[0] != VERSION.split(".")[0]:
        raise SommelierError(
            f"{folder} is a benchmark of version {record.get('version')}; this galaxy-sommelier reads {VERSION}."
        )
    return record


def score_entries(
    folder: Path, suite: Suite, questions: Sequence[Question], tests: Mapping[str, Sample], cells: Sequence[Cell],
    joined: str, report: Report | None = None, keeper: Keeper = NOT_KEPT,
) -> Iterator[Entry]:  # fmt: skip
    """
    Score every contender on every test, all its seeds together.

    Budgets and single layers are points of curves, which nothing is tested against: their intervals come from fewer
    resamples.

    Yields
    ------
    Entry
    """
    contenders: dict[tuple[str, str, str, int], list[Cell]] = {}
    for cell in cells:
        contenders.setdefault(cell.contender, []).append(cell)
    resamplings = {
        (name, n): Resampling(sample.groups, 0, n)
        for name, sample in tests.items()
        for n in (suite.resamples, CURVE_RESAMPLES)
    }
    done, total = 0, len(contenders) * len(tests)
    for group in sorted(contenders.values(), key=lambda group: _find_place(suite, group[0])):
        on_curve = group[0].budget > 0 or (suite.spaces != "each" and group[0].space not in ("", joined))
        n = CURVE_RESAMPLES if on_curve else suite.resamples
        outcomes = {cell.seed: require_outcome(folder / CELLS, cell) for cell in group}
        for name, sample in tests.items():
            if report:
                report(done, 0, total)
            done += 1
            predictions = {seed: outcome.predictions[name] for seed, outcome in outcomes.items()}
            costs = average_costs([outcome.costs for outcome in outcomes.values()])
            n_train = int(np.mean([outcome.n_train for outcome in outcomes.values()]))
            share = suite.seeds.redraw
            inflation = inflate_luck(share, len(predictions)) if share < 1 and len(predictions) > 1 else 1.0
            scored = keeper.call(
                score_contender, sample.Y, sample.whole, predictions, resamplings[name, n], inflation,
                list_targets(questions), sample.leaked,
            )  # fmt: skip
            yield Entry(*group[0].contender, name, tuple(predictions), **scored, n_train=n_train, costs=costs)


def score_contender(
    Y: Array, whole: Array, predictions: dict[int, Array], resampling: Resampling, inflation: float,
    targets: Sequence[str], leaked: Array | None = None,
) -> dict[str, Any]:  # fmt: skip
    """
    What an `Entry` says of scores: ``macro, targets, n, pooled, worst, without``.

    Parameters
    ----------
    Y, whole : (n_rows, n_targets) arrays
        As a `Sample` has them.
    predictions : dict of int to (n_rows, n_targets) array
        By seed.
    resampling, inflation
        As for `benchmarks.statistics.score_runs`.
    targets : sequence of str
        Names of the columns.
    leaked : (n_rows,) bool array, optional
        The rows to leave out in a second score.
    """
    scores = score_runs(Y, predictions, resampling, whole, inflation)
    without = {}
    if leaked is not None and (~np.isnan(Y[~leaked])).sum(axis=0).min() >= MIN_LABELS:
        clean = score_runs(np.where(leaked[:, None], np.nan, Y), predictions, resampling, inflation=inflation)
        without = {name: clean.macro[name] for name in ("r", "r2")}
    filled = np.nan_to_num(whole)
    pooled = [score_pooled(filled, P) for P in predictions.values()]
    return {
        "macro": scores.macro,
        "targets": {name: [score.to_list() for score in scores.targets[name]] for name in PER_TARGET},
        "n": scores.n,
        "pooled": {name: float(np.mean([one[name] for one in pooled])) for name in pooled[0] if name != "n"},
        "worst": find_worst_answer(scores, targets),
        "without": without,
    }


def _find_place(suite: Suite, cell: Cell) -> tuple[int, int]:
    """Training sets and models in the order of the suite; spaces and budgets stay as they come."""
    return list(suite.trainings).index(cell.training), list(suite.models).index(cell.model)


def average_costs(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means of numbers, over those records that have one; the first of what is no number."""
    found = dict(records[0])
    for name in found:
        numbers = [value for record in records if isinstance(value := record.get(name), int | float)]
        if numbers:
            found[name] = float(np.mean(numbers))
    return found


def _score_copies(suite: Suite, tests: Mapping[str, Sample], keeper: Keeper) -> dict[str, ModelScores]:
    """What labels of the first survey's test galaxies score as predictions of the others', where both saw them."""
    first = next(iter(tests.values()))
    found = {}
    for name, sample in tests.items():
        place = {group: row for row, group in enumerate(first.groups.tolist())}
        rows = np.array([place.get(group, -1) for group in sample.groups.tolist()], int)
        nothing = np.full((1, first.Y.shape[1]), np.nan, np.float32)
        copied = np.concatenate([first.Y, nothing])[rows]
        enough = ((~np.isnan(copied + sample.Y)).sum(axis=0) >= 20).any()
        if sample.survey != first.survey and sample.objects == "new" and enough:
            resampling = Resampling(sample.groups, 0, suite.resamples)
            found[name] = keeper.call(score_runs, sample.Y, {0: copied}, resampling)
    return found


def _measure_ceiling(sample: Sample, totals: Array, keeper: Keeper) -> Ceiling | None:
    """The vote-noise ceiling where fractions are shares of votes that are known; else None: not available."""
    if not (totals >= 2).any():
        return None
    return keeper.call(resample_ceiling, sample.Y, totals, Resampling(sample.groups, 0, CEILING_RESAMPLES))


def list_contests(suite: Suite, entries: Sequence[Entry], joined: str) -> list[Contest]:
    """
    The comparisons: for each training set its models, for each model its training sets, beside their reference.

    Budgets and, where each is read on its own, spaces are curves and no contest; floors are yardsticks, and neither
    ranked nor compared: each comparison makes the others' verdicts harder.
    """
    if suite.spaces == "each":
        return []
    rivals = [name for name, model in suite.models.items() if not model.is_floor or name == suite.reference_model]
    whole = [entry for entry in entries if not entry.budget and entry.space in ("", joined)]
    contests = []
    for varies, fixed, reference in (
        ("model", "training", suite.reference_model),
        ("training", "model", suite.reference_training),
    ):
        for name in dict.fromkeys(getattr(entry, fixed) for entry in whole):
            own = [entry for entry in whole if getattr(entry, fixed) == name and entry.model in rivals]
            names = list(dict.fromkeys(getattr(entry, varies) for entry in own))
            if len(names) < 2 or reference not in names:
                continue
            scores: dict[str, dict[str, Any]] = {}
            for entry in own:
                scores.setdefault(entry.test, {})[getattr(entry, varies)] = entry.macro["r"]
            ranks = {test: rank_models(models) for test, models in scores.items()}
            contests.append(Contest(varies, name, reference, compare_models(scores, reference), ranks))
    return contests
