"""Cells that are computed from images: a backbone is fine-tuned, and embeds the galaxies of all surveys."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from glob import escape
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.cells import Cell, Outcome
from benchmarks.fits import Bench, Vectors
from benchmarks.material import read_vectors
from benchmarks.memory import measure_peak, reset_peak
from benchmarks.splits import SkySplit
from benchmarks.suite import Suite
from benchmarks.supply import CACHE, Supply, write_subset
from benchmarks.trainings import Rows
from embeddings.errors import SommelierError
from embeddings.files import replace_file
from embeddings.provenance import Space
from embeddings.questions import list_targets
from embeddings.runs import SPLIT_FORMAT, RunRecord, Split
from extract.catalog import Catalog
from finetune.config import Config, load_config
from heads.io import load_head

Array = np.ndarray[Any, Any]
RUNS, CATALOGS = "runs", "catalogs"
CHOOSING = 5  # of a budget, every fifth galaxy chooses


@dataclass(frozen=True)
class Tuned:
    """
    What a fine-tune left.

    Attributes
    ----------
    cell : Cell
    run : Path
    vectors : Vectors
        What its backbone makes of the galaxies, in the space that its head reads.
    """

    cell: Cell
    run: Path
    vectors: Vectors


def name_run(bench: Bench, cell: Cell, key: str) -> Path:
    """The folder of a fine-tune: one for each key, so that a changed suite trains anew and keeps what was."""
    return bench.folder / RUNS / f"{cell.name}-{key[:8]}"


def write_config(bench: Bench, cell: Cell, key: str, split: SkySplit) -> Config:
    """
    Put down the galaxies that a fine-tune learns from, and its configuration.

    Raises
    ------
    SommelierError
        When the configuration is none, or starts from a model that the suite does not have.
    """
    suite, model = bench.suite, bench.suite.models[cell.model]
    assert model.finetune is not None
    rows, choosers = bench.draw(cell)
    if cell.budget:
        rows, choosers = _set_aside(rows)
    zeroed = suite.trainings[cell.training].zeroed
    folder = bench.folder / CACHE / CATALOGS / f"{cell.name}-{key[:8]}"
    parts: dict[str, dict[str, str]] = {}
    catalogs = []
    for survey, own in rows.items():
        known = bench.tables[survey].ids
        chosen = {"train": known[own].tolist(), "val": known[choosers[survey]].tolist()}
        parts[survey] = {id_str: part for part, names in chosen.items() for id_str in names}
        whole = Catalog.read(_find_catalog(bench, survey)).of_survey(survey)
        catalogs.append(
            write_subset(whole, np.array(list(parts[survey])), folder / f"{survey}.parquet", survey in zeroed)
        )
    file = folder / "split.parquet"
    _write_split(split, parts, file)
    training = suite.trainings[cell.training]
    size = training.size or suite.extraction.size
    given: dict[str, Any] = {
        "run": str(name_run(bench, cell, key)), "data.catalogs": [str(path) for path in catalogs],
        "data.targets": [escape(target) for target in list_targets(bench.questions)],
        "data.unasked": "zero" if suite.protocol == "published" else "missing",
        "data.min_votes": 0 if suite.protocol == "published" else _count_least(bench),
        "model.backbone": suite.backbone, "model.revision": suite.revision, "seed": cell.seed,
        "split.file": str(file), "training.device": suite.extraction.device, "init": None,
    }  # fmt: skip
    given |= {"data.size": size} if size else {}
    given |= {"data.recipe": suite.extraction.recipe} if suite.extraction.recipe else {}
    given |= {"data.stretch": suite.extraction.stretch} if suite.extraction.stretch else {}
    given |= {"data.bands": list(suite.extraction.bands)} if suite.extraction.bands else {}
    given |= {"data.cutout": suite.extraction.cutout} if suite.extraction.cutout else {}
    images = {suite.surveys[survey].images for survey in rows} - {None}
    if len(images) > 1:
        raise SommelierError("a fine-tune of several surveys reads their images from one folder: surveys.NAME.images.")
    given |= {"data.images": str(images.pop())} if images else {}
    given |= model.set
    if given["init"] in suite.models:
        before = Cell(cell.training, given["init"], cell.seed, cell.space, cell.budget)
        given["init"] = str(name_run(bench, before, bench.digest(before)))
    return load_config(model.finetune, [f"{name}={json.dumps(value)}" for name, value in given.items()])


def _count_least(bench: Bench) -> int:
    """The least votes of a label, where votes are known at all."""
    known = all((table.totals >= bench.suite.min_votes).any() for table in bench.tables.values())
    return bench.suite.min_votes if known else 0


def _find_catalog(bench: Bench, survey: str) -> Path:
    catalog = bench.suite.surveys[survey].catalog
    assert catalog is not None  # of the suite's own check
    return catalog


def _set_aside(rows: Rows) -> tuple[Rows, Rows]:
    """Of a budget, every fifth galaxy chooses: its label is paid for as well."""
    chooses = {survey: np.arange(len(own)) % CHOOSING == 0 for survey, own in rows.items()}
    return (
        {survey: own[~chooses[survey]] for survey, own in rows.items()},
        {survey: own[chooses[survey]] for survey, own in rows.items()},
    )


def _write_split(split: SkySplit, parts: dict[str, dict[str, str]], file: Path) -> None:
    """The galaxies of a fine-tune with their parts, as ``split.file`` takes them."""
    names = zip(split.surveys.tolist(), split.ids.tolist(), strict=True)
    own = [(row, parts[survey][name]) for row, (survey, name) in enumerate(names) if name in parts.get(survey, {})]
    rows = np.array([row for row, _ in own])
    known = Split(
        split.ids[rows], split.surveys[rows], split.ra[rows], split.dec[rows], split.image_sha256[rows],
        np.array([part for _, part in own]),
    )  # fmt: skip
    table = known.tabulate(split.groups[rows]).replace_schema_metadata({"format": SPLIT_FORMAT})
    file.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(file) as temporary:
        pq.write_table(table, temporary)


def tune_cell(bench: Bench, cell: Cell, key: str, split: SkySplit, supply: Supply) -> Outcome:
    """
    Fine-tune, embed all galaxies that are needed with the run's backbone, and predict every test.

    Raises
    ------
    SommelierError
    """
    from finetune.run import finetune

    reset_peak()
    config = write_config(bench, cell, key, split)
    with supply.watch(f"Fine-tuning {cell.name}", "reading images") as report:
        run = finetune(config, report=report)
    trained = sum(float(epoch.get("seconds", 0)) for epoch in run.metrics["history"])
    peak, before = measure_peak(), sum(cost["seconds"] for cost in supply.costs.values())
    tuned = embed_tuned(bench, cell, key, supply)
    embedded = sum(cost["seconds"] for cost in supply.costs.values()) - before
    head = load_head(run.folder).head
    targets, own = list_targets(bench.questions), list_targets(head.questions or ())
    columns = [own.index(target) for target in targets]
    start = time.perf_counter()
    predictions = {}
    for sample in bench.list_tests(cell):
        X = read_vectors(tuned.vectors.tests[sample.survey], tuned.vectors.space, sample.ids)
        predictions[sample.name] = np.asarray(head.predict(X)[:, columns], np.float32)
    costs = {
        "train_seconds": trained, "extract_seconds": embedded, "predict_seconds": time.perf_counter() - start,
        "peak_memory_bytes": peak, "device": run.metrics["device"],
    }  # fmt: skip
    details = {"run": str(run.folder.relative_to(bench.folder)), "best_epoch": run.metrics["best_epoch"]}
    return Outcome(cell, key, run.metrics["split"]["train"], predictions, costs, details)


def embed_tuned(bench: Bench, cell: Cell, key: str, supply: Supply) -> Tuned:
    """
    The stores that the run's backbone makes of the galaxies that a cell learns from, chooses with and is tested on.

    Images of other surveys' tests have the suite's ``test_size``, where it has one.
    """
    run = name_run(bench, cell, key)
    record = RunRecord.open(run).require_finished().record
    space = Space(record["space"]["layer"], record["space"]["pooling"])
    rows, choosers = bench.draw(cell)
    tests = bench.list_tests(cell)
    folder = bench.folder / CACHE / CATALOGS / f"{cell.name}-{key[:8]}"
    training: dict[str, Path] = {}
    tested: dict[str, Path] = {}
    for survey in dict.fromkeys([*rows, *(sample.survey for sample in tests)]):
        learned = [bench.tables[survey].ids[group[survey]] for group in (rows, choosers) if survey in group]
        wanted = [sample.ids for sample in tests if sample.survey == survey]
        whole = Catalog.read(_find_catalog(bench, survey)).of_survey(survey)
        size, home = bench.test_size(cell, survey), bench.suite.trainings[cell.training].size or 0
        ids = np.concatenate([*learned, *wanted])
        catalog = write_subset(whole, ids, folder / f"all-{survey}.parquet")
        options = _list_options(bench, survey)
        for group, asked in ((training, home), (tested, size)):
            if group is training and survey not in rows:
                continue
            name = f"{run.name}{f'-{asked}' if asked else ''}"
            group[survey] = supply.extract(
                catalog, survey, str(run), name, options | ({"size": asked} if asked else {})
            )
    return Tuned(cell, run, Vectors(space, training, tested))


def _list_options(bench: Bench, survey: str) -> dict[str, Any]:
    extraction, images = bench.suite.extraction, bench.suite.surveys[survey].images
    names = ("device", "batch_size", "workers", "threads", "precision")
    options = {name: getattr(extraction, name) for name in names if getattr(extraction, name) is not None}
    return options | ({"image_root": str(images)} if images else {})


def order_finetunes(suite: Suite) -> list[str]:
    """The names of the fine-tunes, each after the one that it starts from."""
    names = [name for name, model in suite.models.items() if model.finetune]
    before = {name: [suite.models[name].set.get("init")] for name in names}
    return [name for name in TopologicalSorter(before).static_order() if name in names]
