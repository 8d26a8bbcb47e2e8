"""Runs a suite: extracts what is missing, cuts the split, audits the tests, computes the cells that are not there."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.auditing import PAIRS, audit_samples, exclude_leaks
from benchmarks.cells import Cell, Outcome, read_outcome
from benchmarks.finetunes import digest_finetune, digest_tested, embed_tuned, tune_cell
from benchmarks.fits import Bench, Vectors, find_frozen, fit_cell, identify_store
from benchmarks.gathering import read_results
from benchmarks.keeping import Keeper
from benchmarks.material import (
    SurveyTable,
    cut_samples,
    find_columns,
    keep_answered,
    read_table,
    share_questions,
)
from benchmarks.plan import check_models, list_seeds, plan_cells
from benchmarks.report import write_report
from benchmarks.results import CELLS, FORMAT, KIND, RECORD, SAMPLES, SPLIT, SUITE, VERSION, Results
from benchmarks.splits import SkySplit, cut_stores
from benchmarks.statistics import MIN_LABELS
from benchmarks.suite import FROZEN, Suite
from benchmarks.supply import CACHE, Supply, Watch, watch_nothing
from benchmarks.trainings import count_objects, draw_training
from embeddings.errors import SommelierError
from embeddings.files import claim_folder, replace_file
from embeddings.parts import FileLock
from embeddings.provenance import Space, require_same_model
from embeddings.questions import list_targets
from embeddings.store import EmbeddingStore
from extract.processes import count_cpus

Array = np.ndarray[Any, Any]
Say = Callable[[str], None]
HEADER = {"format": FORMAT, "version": VERSION}
PACKAGES = ("numpy", "scikit-learn", "torch", "transformers", "xgboost", "faiss-cpu", "h5py", "galaxy-sommelier")


def run_suite(
    suite: Suite, folder: Path, jobs: int = 1, say: Say = lambda line: None, watch: Watch = watch_nothing
) -> Results:
    """
    Compute what a suite asks for and is not there yet, and score it.

    Parameters
    ----------
    suite : Suite
    folder : Path
        New, or of an earlier run: cells that follow from the same things are kept, others are computed anew.
    jobs : int
        Processes that fit heads side by side.
    say : callable
        Called with a line when a step is done.
    watch : callable
        Gives a context manager around a long step, from its title and first words; what it yields is called with what
        is done, failed, and in all.

    Returns
    -------
    Results

    Raises
    ------
    SommelierError
        With what to do; what is done is kept.
    """
    check_models(suite)
    claim_folder(folder, RECORD, HEADER, KIND, "Choose another folder with -o.")
    with FileLock(folder / ".lock"):
        started = _now()
        _write_text(folder / SUITE, suite.to_yaml())
        supply = Supply(suite, folder / CACHE, watch)
        prepared = prepare(suite, folder, supply, say)
        cells = plan_cells(suite, prepared.layers, _count_least(prepared.bench.tables, suite))
        _begin(prepared.bench)
        done = _compute(prepared, cells, supply, jobs, say, watch)
        record = _describe(prepared, cells, supply, started)
        _write_json(folder / RECORD, record)
        with watch("Scoring", "") as report:
            results = read_results(folder, report, tidy=True)
        _write_json(folder / RECORD, results.record)
        _write_json(folder / "results.json", results.to_dict())
        page = write_report(results)
    say(f"{len(cells)} cells, {done} of them computed now; {page}")
    return results


@dataclass(frozen=True)
class Prepared:
    """A suite whose stores are there, whose split is cut and whose tests are audited."""

    bench: Bench
    split: SkySplit
    layers: tuple[int, ...]
    left_out: tuple[str, ...]
    audit: list[dict[str, Any]]
    excluded: dict[str, int]
    tuned: dict[str, int]


def prepare(suite: Suite, folder: Path, supply: Supply, say: Say = lambda line: None) -> Prepared:
    """
    Extract what is missing, cut the split and write it down, read labels, audit the tests.

    Raises
    ------
    SommelierError
        When a survey cannot be read, or there are too few galaxies.
    """
    stores = {(survey, size): supply.find_frozen(survey, size or None) for survey, size in _list_sizes(suite)}
    base = {survey: path for (survey, size), path in stores.items() if size == _base_size(suite, survey)}
    opened = [EmbeddingStore.open(base[survey]) for survey in suite.surveys]
    for store in opened[1:]:
        if _base_size(suite, store.survey) == _base_size(suite, opened[0].survey):
            what = f"{opened[0].path} (here) and {store.path} (there)"
            require_same_model(opened[0].provenance.model, store.provenance.model, what)
    layers = tuple(sorted({space.layer for space in opened[0].spaces}))
    split = cut_stores(opened, suite.split.to_recipe())
    split.write(folder / SPLIT)
    asked = share_questions(opened, suite.targets)
    tables = {store.survey: read_table(store, asked, split, suite) for store in opened}
    samples = cut_samples(tables, suite)
    tests = {name: sample for name, sample in samples.items() if sample.objects != "pool"}
    pairs = Keeper(folder / CACHE / PAIRS)
    found = audit_samples(suite, tables, base, tests, split, pairs, supply.watch)
    pairs.prune()
    samples, excluded = exclude_leaks(suite, samples, found)
    tests = {name: samples[name] for name in tests}
    empty = [sample.title for sample in tests.values() if not len(sample)]
    if empty:
        raise SommelierError(
            f"no test galaxy is left of {', '.join(empty)}: all are sky objects that training shows. Take objects: "
            "same, and read its cautions, or give more galaxies."
        )
    learned = [table.Y[table.parts == "train"] for name, table in tables.items() if name in suite.learned]
    questions = keep_answered(asked, [*learned, *(sample.Y for sample in tests.values())], MIN_LABELS)
    columns = find_columns(asked, questions)
    tables = {name: table.answer(columns) for name, table in tables.items()}
    samples = {name: sample.answer(columns) for name, sample in samples.items()}
    for store in opened:
        store.close()
    left_out = tuple(question.name for question in asked if question not in questions)
    say(f"{len(tests)} tests, {len(list_targets(questions))} answers; split {split.digest[:12]}")
    bench = Bench(suite, folder, questions, tables, samples, stores, split.digest)
    return Prepared(bench, split, layers, left_out, found.records, excluded, found.tuned)


def _begin(bench: Bench) -> None:
    """Write down who is tested; an earlier run's record goes first, that nobody reads its cells beside new samples."""
    _write_json(bench.folder / RECORD, HEADER)
    (bench.folder / SAMPLES).mkdir(exist_ok=True)
    (bench.folder / CELLS).mkdir(exist_ok=True)
    for name, sample in bench.samples.items():
        sample.write(bench.folder / SAMPLES / f"{name}.npz")


def _base_size(suite: Suite, survey: str) -> int:
    """The size of the store that labels and audits are read from, if possible one for all; 0 is the suite's own."""
    sizes = [{size for name, size in _list_sizes(suite) if name == each} for each in suite.surveys]
    own = {size for name, size in _list_sizes(suite) if name == survey}
    return min(set.intersection(*sizes) or own)


def _list_sizes(suite: Suite) -> list[tuple[str, int]]:
    """Which surveys are needed at which sizes of their images; 0 is the suite's own."""
    needed: dict[tuple[str, int], None] = {}
    for training in suite.trainings.values():
        for survey in suite.surveys:
            away = survey not in training.surveys
            needed[survey, (suite.test_size if away else None) or training.size or 0] = None
            if not away:
                needed[survey, training.size or 0] = None
    return [*needed]


def _compute(prepared: Prepared, cells: Sequence[Cell], supply: Supply, jobs: int, say: Say, watch: Watch) -> int:
    """
    Compute the cells that are missing or changed; how many those were.

    Heads on frozen embeddings come first: what a suite has wrong then shows in seconds, and not after a fine-tune.
    """
    bench, suite = prepared.bench, prepared.bench.suite
    heads = [cell for cell in cells if suite.models[cell.model].head]
    frozen = [cell for cell in heads if suite.models[cell.model].embeddings == FROZEN]
    done = _fit_heads(bench, list(_list_frozen(bench, frozen)), jobs, watch)
    keys: dict[Cell, str] = {}
    for cell in cells:
        if suite.models[cell.model].finetune:
            keys[cell] = digest_finetune(bench, cell, keys, prepared.split)
            asked = digest_tested(bench, cell, keys[cell], prepared.split)
            if read_outcome(bench.folder / CELLS, cell, asked) is None:
                tune_cell(bench, cell, keys, prepared.split, supply).write(bench.folder / CELLS)
                say(f"fine-tuned {cell.name}")
                done += 1
    tuned = [cell for cell in heads if suite.models[cell.model].embeddings != FROZEN]
    return done + _fit_heads(bench, list(_list_tuned(prepared, tuned, keys, supply)), jobs, watch)


Task = tuple[Cell, str, Vectors]


def _list_frozen(bench: Bench, cells: Sequence[Cell]) -> Iterator[Task]:
    """The heads on frozen embeddings to fit."""
    for cell in cells:
        space = Space.parse(cell.space)
        vectors = find_frozen(bench, cell, space)
        key = bench.digest(cell, *sorted({identify_store(path, space) for path in vectors.list_files()}))
        if read_outcome(bench.folder / CELLS, cell, key) is None:
            yield cell, key, vectors


def _list_tuned(prepared: Prepared, cells: Sequence[Cell], keys: Mapping[Cell, str], supply: Supply) -> Iterator[Task]:
    """The heads on fine-tuned embeddings to fit."""
    bench = prepared.bench
    for cell in cells:
        origin = replace(cell, model=bench.suite.models[cell.model].embeddings)
        asked = digest_tested(bench, origin, keys[origin], prepared.split)
        key = bench.digest(cell, asked)
        if read_outcome(bench.folder / CELLS, cell, key) is None:
            yield cell, key, embed_tuned(bench, origin, keys[origin], asked, supply).vectors


def _fit_heads(bench: Bench, tasks: Sequence[Task], jobs: int, watch: Watch) -> int:
    """Fit heads and write their cells; how many those are."""
    with watch("Fitting heads", "") as report:
        for n, outcome in enumerate(_fit_all(bench, tasks, jobs), 1):
            outcome.write(bench.folder / CELLS)
            if report:
                report(n, 0, len(tasks))
    return len(tasks)


def _fit_all(bench: Bench, tasks: Sequence[Task], jobs: int) -> Iterator[Outcome]:
    """Fit heads, here or in processes of their own."""
    if jobs < 2 or len(tasks) < 2:
        for task in tasks:
            yield fit_cell(bench, *task)
        return
    threads = max(1, count_cpus() // jobs)
    # spawned: a fork after libraries have started threads may hang
    with ProcessPoolExecutor(min(jobs, len(tasks)), get_context("spawn"), _start, (bench,)) as pool:
        futures = [pool.submit(_fit_one, task, threads) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise SommelierError(
                "a process that fits heads was killed, most likely for want of memory. What is done is kept: run the "
                f"same command again with fewer --jobs than {jobs}."
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_BENCH: list[Bench] = []  # of a worker


def _start(bench: Bench) -> None:
    _BENCH[:] = [bench]


def _fit_one(task: Task, threads: int) -> Outcome:
    return fit_cell(_BENCH[0], *task, threads)


def _describe(prepared: Prepared, cells: Sequence[Cell], supply: Supply, started: str) -> dict[str, Any]:
    """benchmark.json: what was run with what."""
    bench, suite, split = prepared.bench, prepared.bench.suite, prepared.split
    trainings = {name: _count_training(bench.tables, suite, name) for name in suite.trainings}
    return {
        **HEADER, "title": suite.title, "question": suite.question,
        "protocol": suite.protocol, "started": started, "finished": _now(), "suite_digest": suite.digest,
        "questions": [question.to_dict() for question in bench.questions], "left_out": list(prepared.left_out),
        "split": {
            "digest": split.digest, "recipe": split.recipe.to_dict(), "counts": split.count(),
            "excluded": prepared.excluded, "tuned": prepared.tuned,
        },
        "surveys": _describe_surveys(bench), "trainings": trainings, "samples": list(bench.samples),
        "joined_space": suite.join_space(prepared.layers).name, "audit": prepared.audit,
        "environment": describe_environment(), "costs": {"extraction": [*supply.costs.values()]},
        "cells": [vars(cell) for cell in cells],
    }  # fmt: skip


def _count_training(tables: Mapping[str, SurveyTable], suite: Suite, name: str) -> dict[str, int]:
    """Sky objects of each survey in a training set, with the first seed."""
    rows = draw_training(tables, suite, name, suite.seeds.first)
    return {survey: count_objects({survey: own}, tables) for survey, own in rows.items()}


def _count_least(tables: Mapping[str, SurveyTable], suite: Suite) -> int:
    """The least sky objects that any seed has of the reference training set."""
    seeds = {seed for model in suite.models for seed in list_seeds(suite, model)}
    drawn = (draw_training(tables, suite, suite.reference_training, seed) for seed in seeds)
    return min(count_objects(rows, tables) for rows in drawn)


def _describe_surveys(bench: Bench) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for name, source in bench.suite.surveys.items():
        stores = []
        for (survey, _), path in bench.stores.items():
            if survey == name:
                with EmbeddingStore.open(path) as store:
                    provenance = store.provenance
                runs = provenance.runs
                stores.append(
                    {"path": str(path), "size": provenance.model.get("resize", {}).get("size"),
                     "backbone": str(runs[-1].get("backbone", "")) if runs else "", "provenance": provenance.to_dict()}
                )  # fmt: skip
        described[name] = {
            "catalog": str(source.catalog or source.store), "rows": len(bench.tables[name]), "stores": stores,
        }  # fmt: skip
    return described


def describe_environment() -> dict[str, str]:
    """The machine and the libraries, in words."""
    found = {"python": platform.python_version(), "system": platform.platform(), "processors": str(count_cpus())}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except ModuleNotFoundError:
            continue
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write_text(file: Path, text: str) -> None:
    with replace_file(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _write_json(file: Path, record: dict[str, Any]) -> None:
    _write_text(file, json.dumps(record, indent=1, default=_to_json) + "\n")


def _to_json(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
