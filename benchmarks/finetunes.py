"""Cells that are computed from images: a backbone is fine-tuned, and embeds the galaxies of all surveys."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from glob import escape
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.cells import Cell, Outcome
from benchmarks.fits import Bench, Vectors
from benchmarks.material import digest_arrays, find_voted, read_vectors
from benchmarks.splits import SkySplit
from benchmarks.suite import Suite
from benchmarks.supply import CACHE, Supply, hash_backbone, write_subset
from benchmarks.trainings import Rows
from embeddings.errors import SommelierError
from embeddings.files import replace_file
from embeddings.provenance import Space
from embeddings.questions import list_targets
from embeddings.runs import SPLIT_FORMAT, RunRecord, Split
from embeddings.store import EmbeddingStore
from extract.catalog import Catalog
from finetune.config import IMMATERIAL, Config, load_config
from heads.io import load_head
from heads.memory import PeakMemory

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


def find_start(suite: Suite, cell: Cell) -> Cell | None:
    """The cell of the suite that a fine-tune starts from; None where it starts from the backbone."""
    origin = suite.find_origin(cell.model)
    return None if origin is None else replace(cell, model=origin)


def digest_finetune(bench: Bench, cell: Cell, keys: Mapping[Cell, str], split: SkySplit) -> str:
    """
    The key of a fine-tune: of what it learns from, its configuration, its backbone and the surveys' images.

    Who is tested is not in it: other tests train nothing anew, see `digest_tested`.

    Parameters
    ----------
    bench : Bench
    cell : Cell
    keys : mapping of Cell to str
        Of the cells before it.
    split : SkySplit
        Knows the images.
    """
    start = find_start(bench.suite, cell)
    places = {"run": "", "data.catalogs": [""], "split.file": None} | ({"init": None} if start else {})
    config = load_config(*_list_settings(bench, cell, places)).model_dump(mode="json")
    for name in (*IMMATERIAL, "tracking"):
        section, _, last = name.rpartition(".")
        (config[section] if section else config).pop(last)
    with EmbeddingStore.open(next(iter(bench.stores.values()))) as store:
        weights = store.provenance.model["weights_sha256"]
    other = config["model"]["backbone"] if config["model"]["backbone"] != bench.suite.backbone else ""
    folders = [hash_backbone(str(folder)) for folder in (other, config["init"] or "")]
    images = _digest_images(split, bench.suite.trainings[cell.training].surveys)
    extra = (config, weights, folders, images, bench.suite.extraction.precision, keys[start] if start else "")
    return bench.digest(cell, *extra, tested=False)


def digest_tested(bench: Bench, cell: Cell, key: str, split: SkySplit) -> str:
    """The key of a fine-tune's cell and of its embeddings: of the fine-tune's own, and of who is tested, by image."""
    return bench.digest(cell, key, _digest_images(split, [sample.survey for sample in bench.list_tests(cell)]))


def _digest_images(split: SkySplit, surveys: Sequence[str]) -> str:
    shown = np.isin(split.surveys, surveys)
    return digest_arrays(split.surveys[shown], split.ids[shown], split.image_sha256[shown])


def write_config(bench: Bench, cell: Cell, keys: Mapping[Cell, str], split: SkySplit) -> Config:
    """
    Put down the galaxies that a fine-tune learns from, and its configuration.

    Raises
    ------
    SommelierError
        When the configuration is none.
    """
    suite = bench.suite
    rows, choosers = bench.draw(cell)
    if cell.budget:
        rows, choosers = _set_aside(rows)
    zeroed = suite.trainings[cell.training].zeroed
    folder = bench.folder / CACHE / CATALOGS / f"{cell.name}-{keys[cell][:8]}"
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
    start = find_start(suite, cell)
    places = {
        "run": str(name_run(bench, cell, keys[cell])), "data.catalogs": [str(path) for path in catalogs],
        "split.file": str(file),
    }  # fmt: skip
    places |= {"init": str(name_run(bench, start, keys[start]))} if start else {}
    return load_config(*_list_settings(bench, cell, places))


def _list_settings(bench: Bench, cell: Cell, places: dict[str, Any]) -> tuple[str, list[str]]:
    """The configuration that a fine-tune begins with, and what replaces its values; `places` last."""
    suite, model = bench.suite, bench.suite.models[cell.model]
    assert model.finetune is not None
    surveys, extraction = suite.trainings[cell.training].surveys, suite.extraction
    size = suite.trainings[cell.training].size or extraction.size
    given: dict[str, Any] = {
        "data.targets": [escape(target) for target in list_targets(bench.questions)],
        "data.unasked": "zero" if suite.protocol == "published" else "missing",
        "data.min_votes": 0 if suite.protocol == "published" else _count_least(bench, surveys),
        "model.backbone": suite.backbone, "model.revision": suite.revision, "seed": cell.seed,
        "training.device": extraction.device, "init": None,
        "split.method": "sequential" if suite.split.method == "sequential" else "hash",
    }  # fmt: skip
    given |= {"data.size": size} if size else {}
    given |= {"data.recipe": extraction.recipe} if extraction.recipe else {}
    given |= {"data.stretch": extraction.stretch} if extraction.stretch else {}
    given |= {"data.bands": list(extraction.bands)} if extraction.bands else {}
    given |= {"data.cutout": extraction.cutout} if extraction.cutout else {}
    images = {suite.surveys[survey].images for survey in surveys}
    if len(images) > 1:
        raise SommelierError("a fine-tune of several surveys reads their images from one folder: surveys.NAME.images.")
    given |= {"data.images": str(images.pop())} if images != {None} else {}
    given |= model.set | places
    return model.finetune, [f"{name}={json.dumps(value)}" for name, value in given.items()]


def _count_least(bench: Bench, surveys: Sequence[str]) -> int:
    """The least votes of a label, where votes are known of all answers."""
    known = all(find_voted(bench.tables[survey].totals).all() for survey in surveys)
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


def tune_cell(bench: Bench, cell: Cell, keys: Mapping[Cell, str], split: SkySplit, supply: Supply) -> Outcome:
    """
    Fine-tune, embed all galaxies that are needed with the run's backbone, and predict every test.

    Raises
    ------
    SommelierError
    """
    from finetune.run import finetune
    from finetune.tracking import LOG, read_log

    memory = PeakMemory()
    config, key = write_config(bench, cell, keys, split), keys[cell]
    with supply.watch(f"Fine-tuning {cell.name}", "reading images") as report:
        run = finetune(config, report=report)
    log = read_log(run.folder / LOG)
    trained = sum(float(entry.get("seconds", 0)) for entry in log if entry.get("kind") == "epoch")
    peak, before = memory.read(), sum(cost["seconds"] for cost in supply.costs.values())
    asked = digest_tested(bench, cell, key, split)
    tuned = embed_tuned(bench, cell, key, asked, supply)
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
    return Outcome(cell, asked, run.metrics["split"]["train"], predictions, costs, details)


def embed_tuned(bench: Bench, cell: Cell, key: str, asked: str, supply: Supply) -> Tuned:
    """
    The stores that the run's backbone makes of the galaxies that a cell learns from, chooses with and is tested on.

    They are found by the key of the run and by that of `digest_tested`. Images of other surveys' tests have the suite's
    ``test_size``, where it has one.
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
        for group, pixels in ((training, home), (tested, size)):
            if group is training and survey not in rows:
                continue
            name = f"{run.name}-{asked[:8]}{f'-{pixels}' if pixels else ''}"
            group[survey] = supply.extract(
                catalog, survey, str(run), name, options | ({"size": pixels} if pixels else {})
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
    before = {name: [suite.find_origin(name)] for name in names}
    return [name for name in TopologicalSorter(before).static_order() if name in names]
