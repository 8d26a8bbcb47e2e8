"""Trackers: what a log holds after a kill, what Weights & Biases wrote, and that none of them stops a run."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

import finetune.tracking
from finetune.config import Config, load_config
from finetune.tracking import LOG, JsonlTracker, Tracker, Trackers, WandbTracker, read_log


@pytest.fixture
def config(tmp_path: Path) -> Config:
    values = {"run": str(tmp_path / "run"), "data": {"catalogs": ["a.parquet"]}, "model": {"backbone": "tiny"}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    return load_config(tmp_path / "c.yaml", ["tracking.wandb=true", "tracking.mode=offline", "tracking.project=test"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def step(number: int, loss: float = 0.5) -> dict[str, Any]:
    return {"kind": "step", "step": number, "epoch": 1 + (number - 1) // 2, "loss": loss}


def epoch(number: int, **figures: float) -> dict[str, Any]:
    return {"kind": "epoch", "step": 2 * number, "epoch": number, **figures}


def tell(tracker: Tracker, config: Config, folder: Path, n_steps: int = 1) -> None:
    """A whole run."""
    tracker.start(config, folder, 0, n_steps)
    for number in range(1, n_steps + 1):
        tracker.log(step(number))
    tracker.finish({})


# the log


def test_every_record_is_a_line_at_once(config: Config, folder: Path) -> None:
    tracker = JsonlTracker()
    tracker.start(config, folder, 0, 4)
    tracker.log(step(1) | {"loss": np.float32(0.25)})
    assert read_log(folder / LOG) == [step(1, 0.25)]  # before it is closed
    tracker.log(epoch(1, val_r=float("nan"), val_loss=float("inf")))
    tracker.finish({})
    lines = (folder / LOG).read_text().splitlines()
    assert [json.loads(line, parse_constant=pytest.fail) for line in lines] == [
        step(1, 0.25),
        epoch(1) | {"val_r": None, "val_loss": None},
    ]


@pytest.mark.parametrize("left", ["", '{"kind": "st', '{"kind": "step", "step": 9, "epoch": 5}'])
def test_going_on_drops_what_came_after_the_checkpoint(config: Config, folder: Path, left: str) -> None:
    records = [step(1), step(2), epoch(1), step(3), step(4), epoch(2)]
    (folder / LOG).write_text("".join(json.dumps(record) + "\n" for record in records) + left)
    tracker = JsonlTracker()
    tracker.start(config, folder, 2, 4)
    assert read_log(folder / LOG) == records[:3]
    tracker.log(step(3, loss=0.1))
    tracker.finish({})
    assert read_log(folder / LOG) == [*records[:3], step(3, loss=0.1)]
    assert [path.name for path in folder.iterdir()] == [LOG]


def test_a_beginning_starts_an_empty_log(config: Config, folder: Path) -> None:
    (folder / LOG).write_text(json.dumps(step(1)) + "\n")
    JsonlTracker().start(config, folder, 0, 4)
    assert read_log(folder / LOG) == []


def test_reading_a_log_of_a_run_that_was_stopped(folder: Path) -> None:
    assert read_log(folder / LOG) == []
    lines = [json.dumps(record) for record in (step(1), step(2, 0.4), epoch(1), step(2, 0.3))]
    (folder / LOG).write_text("\n".join([*lines[:2], "[]", *lines[2:], '{"kind": "ep']))
    assert read_log(folder / LOG) == [step(1), step(2, 0.3), epoch(1)]


# failures


class Failing:
    """Fails at one of its calls; remembers those before."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.calls: list[str] = []

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.where:
            raise OSError("no space")

    def start(self, config: Config, folder: Path, step: int, n_steps: int) -> None:
        self._call("start")

    def log(self, record: dict[str, Any]) -> None:
        self._call("log")

    def finish(self, summary: dict[str, Any]) -> None:
        self._call("finish")


@pytest.mark.parametrize(("where", "calls"), [("start", 1), ("log", 2), ("finish", 4)])
def test_one_that_fails_is_left_out_with_one_warning(config: Config, folder: Path, where: str, calls: int) -> None:
    bad, good = Failing(where), Failing("never")
    trackers = Trackers([bad, good])
    with pytest.warns(RuntimeWarning, match="Failing failed and is left out .* OSError: no space") as caught:
        tell(trackers, config, folder, n_steps=2)
    assert len(caught) == 1
    assert bad.calls == ["start", "log", "log", "finish"][:calls]
    assert good.calls == ["start", "log", "log", "finish"]


def test_a_stop_is_passed_on(config: Config, folder: Path) -> None:
    def stop(record: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    tracker = Failing("never")
    tracker.log = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        Trackers([tracker]).log(step(1))


def test_without_the_package_it_says_how_to_get_it(
    config: Config, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.warns(RuntimeWarning, match=r"pip install 'galaxy-sommelier\[wandb\]'"):
        Trackers([WandbTracker()]).start(config, folder, 0, 2)


class Server:
    """What stands for the package: a run that hangs or fails when it is told to."""

    def __init__(self, hangs: str = "", fails: str = "") -> None:
        self.hangs, self.fails, self.free = hangs, fails, threading.Event()
        self.logged: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.Settings = SimpleNamespace

    def _serve(self, what: str) -> None:
        if what == self.hangs:
            self.free.wait(30)
        if what == self.fails:
            raise KeyboardInterrupt("as its prompt does")

    def setup(self, settings: object) -> None: ...

    def init(self, **_: object) -> Server:
        self._serve("init")
        return self

    def define_metric(self, *_: object, **__: object) -> None: ...

    def log(self, record: dict[str, Any]) -> None:
        self._serve("log")
        self.logged.append(record)

    def finish(self) -> None:
        self._serve("finish")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    servers: list[Server] = []

    def start(**how: str) -> Server:
        servers.append(Server(**how))
        monkeypatch.setitem(sys.modules, "wandb", servers[-1])
        monkeypatch.setattr(finetune.tracking, "FINISH_SECONDS", 0.2)
        monkeypatch.setattr(finetune.tracking, "WAITING", 5)
        return servers[-1]

    yield start
    for server in servers:
        server.free.set()


@pytest.mark.parametrize("where", ["init", "log", "finish"])
def test_a_server_that_hangs_makes_nobody_wait(config: Config, folder: Path, serve: Any, where: str) -> None:
    serve(hangs=where)
    trackers, begin = Trackers([WandbTracker()]), time.perf_counter()
    with pytest.warns(RuntimeWarning, match="TimeoutError") as caught:
        tell(trackers, config, folder)
    assert len(caught) == 1
    assert time.perf_counter() - begin < 5


def test_records_do_not_pile_up_for_ever(config: Config, folder: Path, serve: Any) -> None:
    serve(hangs="init")
    trackers = Trackers([WandbTracker()])
    with pytest.warns(RuntimeWarning, match="records wait for it; it hangs") as caught:
        tell(trackers, config, folder, n_steps=100)
    assert len(caught) == 1


@pytest.mark.parametrize("where", ["init", "log", "finish"])
def test_an_error_in_its_thread_comes_out(config: Config, folder: Path, serve: Any, where: str) -> None:
    serve(fails=where)
    trackers = Trackers([WandbTracker()])
    with pytest.warns(RuntimeWarning, match="KeyboardInterrupt: as its prompt does") as caught:
        tell(trackers, config, folder)
    assert len(caught) == 1


# Weights & Biases itself


def read_back(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any], list[Any]]:
    """History, summary and run records of the offline runs below a folder, by the package's own reader."""
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    history: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    runs = []
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        store = DataStore()
        store.open_for_scan(str(file))
        while (data := store.scan_data()) is not None:
            record = Record()
            record.ParseFromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "history":
                items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
                history.append({key: json.loads(value) for key, value in items.items()})
            elif kind == "summary":
                summary |= {item.key: json.loads(item.value_json) for item in record.summary.update}
            elif kind == "run":
                runs.append(record.run)
        store.close()
    return history, summary, runs


def test_what_weights_and_biases_wrote_reads_back(config: Config, folder: Path) -> None:
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    for start, records in ((0, [step(1), step(2), epoch(1, val_loss=0.75, val_r=0.5)]), (2, [step(3, 0.125)])):
        tracker = WandbTracker()
        tracker.start(config, folder, start, 4)
        for record in records:
            tracker.log(record)
        tracker.finish({"test": {"average": {"r": 0.625}}, "epochs": 2})
        time.sleep(1.1 if start == 0 else 0)  # it names its folders by the second
    history, summary, runs = read_back(folder)
    own = [{key: value for key, value in entry.items() if not key.startswith("_")} for entry in history]
    assert own == [
        {"step": 1, "epoch": 1, "step/loss": 0.5},
        {"step": 2, "epoch": 1, "step/loss": 0.5},
        {"step": 2, "epoch": 1, "epoch/val_loss": 0.75, "epoch/val_r": 0.5},
        {"step": 3, "epoch": 2, "step/loss": 0.125},
    ]
    assert summary["test"] == {"average": {"r": 0.625}}
    assert summary["epochs"] == 2
    assert len({run.run_id for run in runs}) == 1  # it went on with the same run
    assert (runs[0].project, runs[0].display_name) == ("test", "run")
    settings = {item.key: json.loads(item.value_json) for item in runs[0].config.update}
    assert settings["training"]["epochs"] == config.training.epochs
