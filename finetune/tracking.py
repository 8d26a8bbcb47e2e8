"""Who is told how training goes: the run's own log, and Weights & Biases; none of them ever stops a run."""

from __future__ import annotations

import json
import math
import queue
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from embeddings.files import replace_file
from finetune.config import Config

LOG = "log.jsonl"
WAITING = 10_000  # records that may wait for a tracker; more, and it hangs
FINISH_SECONDS = 60.0

Record = dict[str, Any]


class Tracker(Protocol):
    """
    What a run tells of itself.

    Records are of two kinds: ``{"kind": "step", "step", "epoch", "loss", ...}`` and ``{"kind": "epoch", "step",
    "epoch", "train_loss", "val_loss", ...}``.
    """

    def start(self, config: Config, folder: Path, step: int, n_steps: int) -> None:
        """The run goes on after `step` of `n_steps` optimiser steps; 0 is its beginning."""
        ...

    def log(self, record: Record) -> None:
        """A step or an epoch is done."""
        ...

    def finish(self, summary: Record) -> None:
        """The run is done, with these metrics."""
        ...


class Trackers:
    """
    Several trackers as one: one that fails is left out from then on, with one warning.

    Parameters
    ----------
    trackers : sequence of Tracker
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = list(trackers)

    def start(self, config: Config, folder: Path, step: int, n_steps: int) -> None:
        """Pass on."""
        self._tell(lambda tracker: tracker.start(config, folder, step, n_steps))

    def log(self, record: Record) -> None:
        """Pass on."""
        self._tell(lambda tracker: tracker.log(record))

    def finish(self, summary: Record) -> None:
        """Pass on."""
        self._tell(lambda tracker: tracker.finish(summary))

    def _tell(self, message: Callable[[Tracker], None]) -> None:
        for tracker in tuple(self._trackers):
            try:
                message(tracker)
            except Exception as error:  # whatever it is, training goes on
                self._trackers.remove(tracker)
                what = f"{type(tracker).__name__} failed and is left out from now on; training goes on"
                warnings.warn(f"{what}: {type(error).__name__}: {error}", RuntimeWarning, stacklevel=3)


class JsonlTracker:
    """Every record as one line of ``log.jsonl`` in the run folder; what is not a finite number is null."""

    _path: Path

    def start(self, config: Config, folder: Path, step: int, n_steps: int) -> None:
        """Records of steps after `step`, and half a line, are what a kill left, and go."""
        self._path = folder / LOG
        kept = [line for line, record in _read_lines(self._path) if record.get("step", 0) <= step and step > 0]
        with replace_file(self._path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def log(self, record: Record) -> None:
        """Write a line."""
        line = json.dumps(clean_numbers(record), default=float) + "\n"
        with self._path.open("a", encoding="utf-8") as file:  # a kill between two records finds it closed
            file.write(line)

    def finish(self, summary: Record) -> None:
        """The summary has a file of its own."""


def read_log(path: Path) -> list[Record]:
    """
    Read a run's ``log.jsonl``, also while it is being written.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of dict
        One a step and one an epoch, in order; of what was logged twice about a run that was stopped, the later.
    """
    records = {(record.get("kind"), record.get("step")): record for _, record in _read_lines(path)}
    return list(records.values())


def _read_lines(path: Path) -> Iterator[tuple[str, Record]]:
    """The whole lines of a log, and the records that they hold."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield line, record


def clean_numbers(value: Any) -> Any:
    """Dicts and lists with null for what is no number: JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: clean_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clean_numbers(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class WandbTracker:
    """
    Weights & Biases, in a thread of its own: a server that hangs makes nobody wait.

    A run that goes on after a stop goes on there too. Steps are logged as ``step/loss`` and so on, epochs as
    ``epoch/val_loss`` and so on.
    """

    def __init__(self) -> None:
        self._tasks: queue.Queue[Callable[[], None] | None] = queue.Queue(WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
        self._run: Any = None

    def start(self, config: Config, folder: Path, step: int, n_steps: int) -> None:
        """
        Begin a run there, or go on with it.

        Raises
        ------
        ImportError
            When the package is not there.
        """
        try:
            import wandb
        except ImportError as error:
            raise ImportError("install Weights & Biases with: pip install 'galaxy-sommelier[wandb]'") from error
        tracking = config.tracking
        # silent, from its set-up on: it never asks for a key on the terminal, which the progress display has
        settings = wandb.Settings(silent=True, console="off", disable_git=True, save_code=False)

        def begin() -> None:
            wandb.setup(settings)
            self._run = wandb.init(
                project=tracking.project, entity=tracking.entity, name=tracking.name or folder.name,
                id=_choose_id(folder / "wandb" / "id", step), mode=tracking.mode, dir=folder,
                resume="allow" if tracking.mode == "online" else None, config=config.model_dump(mode="json"),
                settings=settings,
            )  # fmt: skip
            self._run.define_metric("*", step_metric="step")  # its own counter forbids a step that comes twice

        self._thread.start()
        self._put(begin)

    def log(self, record: Record) -> None:
        """
        Hand a record over.

        Raises
        ------
        RuntimeError
            What went wrong with an earlier one.
        """
        kind = record["kind"]
        named = {f"{kind}/{name}": value for name, value in record.items() if name not in ("kind", "step", "epoch")}
        named |= {"step": record["step"], "epoch": record["epoch"]}
        self._put(lambda: self._run.log(named))

    def finish(self, summary: Record) -> None:
        """
        Hand the metrics over and wait, but not for ever.

        Raises
        ------
        RuntimeError
            What went wrong with an earlier record.
        TimeoutError
            When the server does not answer.
        """
        self._put(lambda: self._run.summary.update(clean_numbers(summary)))
        self._put(lambda: self._run.finish())
        self._tasks.put(None)
        self._thread.join(FINISH_SECONDS)
        self._raise()
        if self._thread.is_alive():
            raise TimeoutError(f"it was not done after {FINISH_SECONDS:.0f} s; 'wandb sync' sends the rest")

    def _raise(self) -> None:
        if self._error:
            raise RuntimeError(f"{type(self._error).__name__}: {self._error}") from self._error

    def _put(self, task: Callable[[], None]) -> None:
        self._raise()
        try:
            self._tasks.put_nowait(task)
        except queue.Full:
            raise TimeoutError(f"{WAITING} records wait for it; it hangs") from None

    def _work(self) -> None:
        while task := self._tasks.get():
            try:
                task()
            except BaseException as error:  # also its KeyboardInterrupt; told to the run by the next call
                self._error = error
                return


def _choose_id(file: Path, step: int) -> str:
    """The run's id at Weights & Biases: a new one at its beginning, the same when it goes on."""
    if step == 0 or not file.exists():
        with replace_file(file) as temporary:
            temporary.write_text(uuid4().hex)
    return file.read_text()
