"""One fine-tuning run, from its configuration to its folder: started, gone on with, or found finished."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from embeddings.files import hash_file, replace_file
from embeddings.parts import FileLock
from embeddings.runs import FINISHED, FORMAT, RUN_CONFIG, RUN_RECORD, SPLIT, VERSION, RunRecord, Split
from extract.devices import choose_precision, describe_device
from extract.preprocessing import Recipe
from extract.rendering import Rendering, choose_rendering
from extract.weights import BackboneSource, find_backbone
from extract.worker import stop_on_signals
from finetune.augmentation import Augmenter
from finetune.batches import Feeder
from finetune.checkpoint import BEST, read_checkpoint
from finetune.config import Config, list_changes
from finetune.curves import draw_curves
from finetune.data import GalaxyTable, TrainingError, read_galaxies
from finetune.model import build_galaxy_network, count_parameters, merge_adapters
from finetune.objective import Objective, make_objective
from finetune.parallel import World, join_world
from finetune.results import (
    METRICS,
    score_predictions,
    write_backbone,
    write_card,
    write_head,
    write_json,
    write_test_predictions,
)
from finetune.sampling import Sampler, split_surveys
from finetune.split import choose_parts, tabulate_split, write_split
from finetune.squares import Decoder, Report, SquareCache, Squares, State, fill_cache
from finetune.tracking import LOG, JsonlTracker, Tracker, Trackers, WandbTracker, read_log
from finetune.train import Trainer

Array = np.ndarray[Any, Any]
CHECKPOINTS, IMAGES = "checkpoints", "images"
MAX_FAILURES = 0.1  # of the images, as extraction allows


@dataclass(frozen=True)
class Run:
    """
    A finished run.

    Attributes
    ----------
    folder : Path
    record : dict
        What made it: run.json.
    metrics : dict
        ``test`` (None without test galaxies; see `finetune.results.score_predictions`), ``best_epoch, history, split``
        and costs.
    """

    folder: Path
    record: dict[str, Any]
    metrics: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Run:
        """
        Read a run.

        Raises
        ------
        RunError
            When it is none, or not finished.
        """
        record = RunRecord.open(folder).require_finished()
        return cls(folder, dict(record.record), json.loads((folder / METRICS).read_text()))


def finetune(config: Config, trackers: Sequence[Tracker] = (), report: Report | None = None) -> Run:
    """
    Train, go on where a run stopped, or return what is there, if it is finished.

    Parameters
    ----------
    config : Config
    trackers : sequence of Tracker
        Told of every step and epoch, beside the run's own log.
    report : callable, optional
        Takes images decoded, failed and in all, before training.

    Returns
    -------
    Run

    Raises
    ------
    TrainingError
        When the run cannot start or go on.
    KeyboardInterrupt
        When Ctrl-C or SIGTERM stopped it; the state is written.
    """
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    with join_world(config.training.device) as world, _hold_folder(config, world) as finished:
        if not finished:
            _train(config, world, trackers, report)
            world.collect(None)  # the others open what the first has written
    return Run.open(config.run)


@contextmanager
def _hold_folder(config: Config, world: World) -> Iterator[bool]:
    """The run folder, this run's alone; whether the run is finished."""
    if not world.leads:
        world.collect(None)
        yield _is_finished(config.run)
        return
    _refuse_foreign(config)
    config.run.mkdir(parents=True, exist_ok=True)
    with FileLock(config.run / ".lock"):
        _sweep(config.run)
        _claim_folder(config)
        finished = _is_finished(config.run)
        world.collect(None)
        yield finished


def _claim_folder(config: Config) -> None:
    """Put the configuration into the folder; one that never came to train makes way for it."""
    if (config.run / RUN_RECORD).exists():
        return
    (config.run / SPLIT).unlink(missing_ok=True)
    with replace_file(config.run / RUN_CONFIG) as temporary:
        temporary.write_text(config.to_yaml(), encoding="utf-8")


def _sweep(folder: Path) -> None:
    """Remove what a kill left half written."""
    for path in (*folder.glob(".*.tmp"), *(folder / CHECKPOINTS).glob(".*.tmp")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _is_finished(folder: Path) -> bool:
    return (folder / RUN_RECORD).exists() and RunRecord.open(folder).record["status"] == FINISHED


def _refuse_foreign(config: Config) -> None:
    """Raise unless the folder is new, of this very run, or of one that failed before it trained."""
    folder = config.run
    if not folder.exists():
        return
    if not folder.is_dir():
        raise TrainingError(f"{folder} is a file; a run needs a folder. Choose another with --set run=FOLDER.")
    if (folder / RUN_RECORD).exists():
        changes = list_changes(Config.from_yaml(folder / RUN_CONFIG), config)
        if changes:
            raise TrainingError(
                f"{folder} holds a run of another configuration: {'; '.join(changes)}. "
                "Give this one a new folder: --set run=FOLDER."
            )
    elif not (folder / RUN_CONFIG).exists() and any(
        path.name != ".lock" and not path.name.startswith(f".{RUN_CONFIG}.") for path in folder.iterdir()
    ):
        raise TrainingError(f"{folder} holds other things: a run is written into a new folder. Choose another.")


@dataclass(frozen=True)
class Material:
    """What a run learns from: galaxies whose images are there, their pictures and parts."""

    table: GalaxyTable
    squares: Squares
    parts: Array
    split_sha256: str

    def rows(self, part: str) -> Array:
        """The rows of a part."""
        return np.flatnonzero(self.parts == part)


def _train(config: Config, world: World, trackers: Sequence[Tracker], report: Report | None) -> None:
    if config.init:
        RunRecord.open(config.init).require_finished()
    table = read_galaxies(  # before the backbone: a hub that does not answer takes its time
        config.data.catalogs, config.data.images, config.data.targets, config.data.min_votes, config.data.limit,
        config.seed,
    )  # fmt: skip
    source = find_backbone(str(config.init or config.model.backbone), None if config.init else config.model.revision)
    source.check_size(config.data.size)
    recipe = Recipe(config.data.recipe, config.data.size)
    rendering = choose_rendering(
        table.paths, config.data.stretch, config.data.bands, config.data.cutout, config.data.max_missing
    )
    earlier = source.run.read_split() if source.run else None
    material = gather_material(config, table, rendering, recipe, world, earlier, report)
    trainer, objective = _prepare(config, material, source, recipe, world)
    trainer.resume()
    record = _describe_run(config, material, source, recipe, rendering)
    telling = Trackers([JsonlTracker(), *([WandbTracker()] if config.tracking.wandb else []), *trackers])
    if world.leads:
        _write_record(config.run, record, trainer)
        telling.start(config, config.run, trainer.progress.step, trainer.n_steps)
    flag = StopFlag()
    with stop_on_signals(flag):
        trainer.train(lambda entry: _log(entry, telling, config.run, record, trainer), lambda: flag.stopped)
    _finish(config, material, trainer, objective, recipe, record, telling)


class StopFlag:
    """Raised by a signal, looked at after every step."""

    stopped = False

    def stop(self) -> None:
        """Raise it."""
        self.stopped = True


def gather_material(
    config: Config,
    table: GalaxyTable,
    rendering: Rendering,
    recipe: Recipe,
    world: World,
    earlier: Split | None = None,
    report: Report | None = None,
) -> Material:
    """
    Decode images, leave out those that cannot be read, and cut the split; a run that goes on must find its own again.

    Parameters
    ----------
    earlier : Split, optional
        Of the run that trained the backbone: its galaxies keep their parts.

    Raises
    ------
    TrainingError
        When too many images fail, or the galaxies are others than when the run began.
    """
    decoder = Decoder(table, rendering, recipe, config.data.workers)
    with world.lead_first():
        squares, state = _decode(config, decoder, report if world.leads else None)
        ok = np.flatnonzero(state.ok)
        _check_failures(table, state)
        table, digests = table.take(ok), state.digests[ok]
        parts = choose_parts(table, digests, config.split, config.seed, earlier)
        named = parts != ""
        if not named.all():
            warnings.warn(
                f"{(~named).sum()} galaxies are left out: {config.split.file} does not name them", stacklevel=2
            )
            table, digests, parts = table.take(named), digests[named], parts[named]
        split = tabulate_split(table, digests, parts, earlier)
        file = config.run / SPLIT
        if not file.exists():
            write_split(file, split)
        elif not _same_split(Split.read(file), split):
            raise TrainingError(
                f"the catalogs or images are not those that {config.run} began with ({file} has others). "
                "Put them back, or start a new run: --set run=FOLDER."
            )
    return Material(table, squares, parts, hash_file(file))


def _decode(config: Config, decoder: Decoder, report: Report | None) -> tuple[Squares, State]:
    if config.data.cache:
        cache: tuple[SquareCache, State] = fill_cache(config.run / IMAGES, decoder, report)
        return cache
    return decoder, decoder.check(report)


def _check_failures(table: GalaxyTable, state: State) -> None:
    failed = np.flatnonzero(~state.ok)
    if not len(failed):
        return
    examples = "; ".join(f"{table.ids[row]}: {state.problems[row]}" for row in failed[:3])
    if len(failed) > MAX_FAILURES * len(table):
        share = f"{len(failed)} of {len(table)} images cannot be read"
        raise TrainingError(f"{share} ({examples}). Mend them, or data.images.")
    warnings.warn(f"{len(failed)} galaxies are left out, their images cannot be read: {examples}", stacklevel=2)


def _same_split(known: Split, split: pa.Table) -> bool:
    here: list[list[Any]] = [split[name].to_pylist() for name in ("id_str", "image_sha256", "part")]
    return [known.ids.tolist(), [digest.tobytes() for digest in known.image_sha256], known.parts.tolist()] == here


def _prepare(
    config: Config, material: Material, source: BackboneSource, recipe: Recipe, world: World
) -> tuple[Trainer, Objective]:
    """The network on its device, and what trains it."""
    table, training = material.table, config.training
    objective, labels, bias = make_objective(
        table, material.parts == "train", training.loss, config.data.weights, config.data.unasked == "zero"
    )
    torch.manual_seed(config.seed)
    network = build_galaxy_network(source.load().model, config.model, bias, source.name, world)
    if config.init:
        _load_head(network.head, config, table)
    network.to(world.device)
    if training.batch_size % world.size:
        raise TrainingError(f"training.batch_size {training.batch_size} cannot be shared by {world.size} processes.")
    surveys = split_surveys(material.rows("train"), table.surveys)
    sampler = Sampler(
        surveys, config.data.mixing, config.data.budget, training.batch_size * training.accumulate, config.seed
    )
    augmenter = Augmenter(config.augmentation, config.data.size, config.seed, world.device)
    feeder = Feeder(
        table, material.squares, labels, sampler, augmenter, recipe, world, training.accumulate, config.seed
    )
    folder = config.run / CHECKPOINTS
    folder.mkdir(exist_ok=True)
    precision = choose_precision(training.precision, world.device.type)
    trainer = Trainer(config, network, objective, feeder, material.rows("val"), folder, source.name, precision)
    return trainer, objective


def _load_head(head: torch.nn.Module, config: Config, table: GalaxyTable) -> None:
    """The head of the run to start from."""
    assert config.init is not None  # the caller looked
    record = RunRecord.open(config.init).record
    if record["targets"] != table.targets:
        raise TrainingError(
            f"init: {config.init} predicts {', '.join(record['targets'])}; this run has {', '.join(table.targets)}. "
            f"Take the same data.targets, or start from its backbone alone: model.backbone={config.init}."
        )
    file = config.init / CHECKPOINTS / BEST
    if not file.exists():
        raise TrainingError(
            f"init: {file} is not there any more. Start from the run's backbone alone: model.backbone={config.init}."
        )
    tensors = read_checkpoint(file).take("network/head.")
    try:
        head.load_state_dict(tensors)
    except RuntimeError as error:
        raise TrainingError(
            f"init: the head of {config.init} has another shape. Take its model.head and training.loss, or start from "
            f"its backbone alone: model.backbone={config.init}."
        ) from error


def _describe_run(
    config: Config, material: Material, source: BackboneSource, recipe: Recipe, rendering: Rendering
) -> dict[str, Any]:
    table = material.table
    return {
        "format": FORMAT,
        "version": VERSION,
        "epochs": config.training.epochs,
        "backbone": {
            "name": source.name,
            "revision": source.revision,
            "weights_sha256": source.weights_sha256,
            "trained": source.trained,
        },
        "recipe": {"name": recipe.name, "size": recipe.size, "mean": list(recipe.mean), "std": list(recipe.std)},
        "rendering": rendering.to_dict(),
        "space": {"layer": source.depth, "pooling": config.model.pooling},
        "split_sha256": material.split_sha256,
        "surveys": sorted(set(table.surveys.tolist())),
        "targets": table.targets,
        "questions": [question.to_dict() for question in table.questions],
        "versions": {name: version(name) for name in ("galaxy-sommelier", "torch", "transformers")},
    }


def _write_record(folder: Path, record: dict[str, Any], trainer: Trainer, status: str = "training") -> None:
    write_json(folder / RUN_RECORD, record | {"status": status, "epoch": len(trainer.progress.history)})


def _log(entry: dict[str, Any], telling: Trackers, folder: Path, record: dict[str, Any], trainer: Trainer) -> None:
    telling.log(entry)
    if entry["kind"] == "epoch":
        _write_record(folder, record, trainer)


def _finish(
    config: Config, material: Material, trainer: Trainer, objective: Objective, recipe: Recipe, record: dict[str, Any],
    telling: Trackers,
) -> None:  # fmt: skip
    """Score the best epoch on the test galaxies, and write what is to be used; the word that it is done comes last."""
    best, world, network = trainer.load_best(), trainer.world, trainer.network
    network.backbone = merge_adapters(network.backbone)
    test = material.rows("test")
    P = objective.predict(trainer.predict_outputs(test)).numpy()
    if not world.leads:
        return
    progress, table = trainer.progress, material.table
    metrics = {
        "test": score_predictions(table.take(test), P, config.data.unasked == "zero") if len(test) else None,
        "best_epoch": best["epoch"], "epochs": len(progress.history), "steps": progress.step,
        "history": progress.history,
        "split": {part: len(material.rows(part)) for part in ("train", "val", "test")},
        "parameters": count_parameters(list(network.parameters())),
        "learning_parameters": count_parameters(list(trainer.learning.values())),
        "device": f"{world.size} x {describe_device(str(world.device))}", "precision": trainer.precision,
    }  # fmt: skip
    write_backbone(network.to("cpu").backbone, config.run)
    write_head(network, objective, table, material.parts == "train", recipe, metrics, config.run)
    if len(test):
        write_test_predictions(config.run, table.take(test), P)
    write_json(config.run / METRICS, metrics)
    write_card(config.run, config, record, metrics)
    telling.finish(metrics)
    draw_curves(read_log(config.run / LOG), config.run / "curves.png")
    _write_record(config.run, record, trainer, FINISHED)
    shutil.rmtree(config.run / IMAGES, ignore_errors=True)
