"""Runs that are killed, resumed, repeated, changed and divided: the same results, and nothing computed twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import runner
from benchmarks.cells import Cell, Outcome
from benchmarks.gathering import read_record, read_results
from benchmarks.results import CELLS, RECORD, Results
from benchmarks.runner import run_suite
from benchmarks.splits import SkySplit
from benchmarks.suite import Suite
from embeddings.errors import BusyError, ProvenanceMismatch, SommelierError
from tests.benchmarks.stores import MODEL
from tests.benchmarks.suites import INFRARED, NORTH, make_keys, make_suite, write_survey

ROOT = Path(__file__).parents[2]
Computed = list[str]


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take seconds, and tests of their own."""
    monkeypatch.setattr(runner, "write_report", lambda results: results.folder)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Computed:
    """The names of the cells that are fitted from now on."""
    names: Computed = []
    real = runner.fit_cell

    def fit(bench: Any, cell: Cell, *rest: Any) -> Outcome:
        names.append(cell.name)
        return real(bench, cell, *rest)

    monkeypatch.setattr(runner, "fit_cell", fit)
    return names


def read_predictions(folder: Path) -> dict[str, dict[str, bytes]]:
    """What every cell predicts, bit for bit."""
    found = {}
    for file in sorted((folder / CELLS).glob("*.npz")):
        with np.load(file) as saved:
            found[file.stem] = {name: saved[name].tobytes() for name in saved.files}
    return found


def start(suite: Suite, folder: Path, before: str = "", after: str = "") -> subprocess.Popen[bytes]:
    """The same run in a process of its own."""
    file = folder.with_suffix(".yaml")
    file.write_text(suite.to_yaml())
    script = f"""
        import sys, time
        from pathlib import Path
        from benchmarks import runner
        from benchmarks.suite import load_suite
        {before}
        runner.run_suite(load_suite({str(file)!r}), Path({str(folder)!r}))
        {after}
    """
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT)


def wait_for(done: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not done():
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_results(surveys: Path, tmp_path: Path, computed: Computed) -> None:
    suite = make_suite(surveys, models={"mean": {"head": "mean"}, "knn": {"head": "knn"}, "ridge": {"head": "ridge"}})
    run_suite(suite, tmp_path / "whole")
    assert len(computed) == 6
    computed.clear()
    slow = "fit = runner.fit_cell; runner.fit_cell = lambda *a: (time.sleep(0.5), fit(*a))[1]"
    killed = tmp_path / "killed"
    process = start(suite, killed, slow, after="time.sleep(60)")
    wait_for(lambda: len([*(killed / CELLS).glob("*--s?.json")]) >= 3, process)
    with pytest.raises(BusyError, match=str(process.pid)):  # meanwhile nobody else may write there
        run_suite(suite, killed)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert "cells" not in read_record(killed)
    with pytest.raises(SommelierError, match=r"is not finished\. Go on with: sommelier benchmark run"):
        read_results(killed)
    there = {file.stem for file in (killed / CELLS).glob("*--s?.json")}
    assert 3 <= len(there) < 6
    # what a kill leaves of a file that was being written is in nobody's way
    (killed / CELLS / ".sdss--ridge--L2-cls--s1.npz.123.tmp").write_bytes(b"half")
    results = run_suite(suite, killed)
    assert len(computed) == 6 - len(there)
    assert not set(computed) & there
    assert read_predictions(killed) == read_predictions(tmp_path / "whole")
    whole = read_results(tmp_path / "whole")
    assert [e.macro["r"].to_list() for e in results.entries] == [e.macro["r"].to_list() for e in whole.entries]


def test_a_finished_run_computes_nothing_again(finished: Results, computed: Computed) -> None:
    record = read_record(finished.folder)
    before = {file.name: file.stat().st_mtime_ns for file in (finished.folder / CELLS).iterdir()}
    said: list[str] = []
    again = run_suite(finished.suite, finished.folder, say=said.append)
    assert not computed
    assert said[-1].startswith("14 cells, 0 of them computed now")  # (1 + 3 + 3) seeds on two training sets
    assert {file.name: file.stat().st_mtime_ns for file in (finished.folder / CELLS).iterdir()} == before
    assert again.to_dict() == finished.to_dict()
    now = read_record(finished.folder)
    assert {name for name in record if record[name] != now[name]} <= {"started", "finished"}


def test_damaged_cells_are_computed_again(surveys: Path, tmp_path: Path, computed: Computed) -> None:
    suite, folder = make_suite(surveys, seeds={"heads": 1}), tmp_path / "run"
    run_suite(suite, folder)
    whole = read_predictions(folder)
    computed.clear()
    npz, record = folder / CELLS / "sdss--ridge--L2-cls--s0.npz", folder / CELLS / "sdss--mean--L2-cls--s0.json"
    npz.write_bytes(npz.read_bytes()[:-20])
    record.write_text("{}")
    run_suite(suite, folder)
    assert sorted(computed) == ["sdss--mean--L2-cls--s0", "sdss--ridge--L2-cls--s0"]
    assert read_predictions(folder) == whole


@pytest.mark.slow
def test_a_changed_suite_computes_what_changed(surveys: Path, tmp_path: Path, computed: Computed) -> None:
    keys = make_keys(surveys, seeds={"heads": 1})
    folder = tmp_path / "run"
    run_suite(Suite.model_validate(keys), folder)
    computed.clear()

    def rerun(**changes: Any) -> list[str]:
        computed.clear()
        keys.update(changes)
        run_suite(Suite.model_validate(keys), folder)
        return sorted(computed)

    kept = {file.name for file in folder.glob("cache/scores/*.npz")}
    assert rerun(title="Another", resamples=11_000) == []
    scores = {file.name for file in folder.glob("cache/scores/*.npz")}
    assert len(scores) == len(kept)  # those of 10,000 resamples are of no use any more
    assert len(scores & kept) < len(kept)
    assert rerun(models=keys["models"] | {"knn": {"head": "knn"}}) == ["sdss--knn--L2-cls--s0"]
    assert rerun(seeds={"heads": 2}) == [f"sdss--{model}--L2-cls--s1" for model in ("knn", "mean", "ridge")]
    mixed = {"sdss": {"surveys": ["sdss"]}, "mixed": {"surveys": ["sdss", "decals"]}}
    mixed_only = {"knn": {"head": "knn", "trainings": ["mixed"]}, "ridge": {"head": "ridge", "trainings": ["sdss"]}}
    assert rerun(trainings=mixed, models=mixed_only, seeds={"heads": 1}, reference={"model": "ridge"}) == [
        "mixed--knn--L2-cls--s0"
    ]
    assert rerun(split={"val": 0.1, "test": 0.3, "seed": 3}) == ["mixed--knn--L2-cls--s0", "sdss--ridge--L2-cls--s0"]


def test_other_labels_and_vectors_are_noticed(tmp_path: Path, computed: Computed) -> None:
    for name, objects in (("sdss", NORTH), ("ukidss", INFRARED)):
        write_survey(tmp_path / f"{name}.h5", name, objects, 1)
    stores = {name: {"store": str(tmp_path / f"{name}.h5")} for name in ("sdss", "ukidss")}
    suite = make_suite(tmp_path, surveys=stores, seeds={"heads": 1})
    run_suite(suite, tmp_path / "run")
    computed.clear()
    write_survey(tmp_path / "ukidss.h5", "ukidss", INFRARED, 9)  # of a survey that is tested alone
    run_suite(suite, tmp_path / "run")
    assert len(computed) == 2


@pytest.mark.slow
def test_processes_side_by_side_give_the_same(finished: Results, tmp_path: Path) -> None:
    results = run_suite(finished.suite, tmp_path / "two", jobs=2)
    assert read_predictions(tmp_path / "two") == read_predictions(finished.folder)
    for one, other in zip(results.entries, finished.entries, strict=True):
        assert one.contender == other.contender
        assert one.macro["r"].to_list() == other.macro["r"].to_list()


@pytest.mark.slow
def test_heads_on_stores_that_are_there_need_no_torch(surveys: Path, tmp_path: Path) -> None:
    suite = make_suite(
        surveys, models={name: {"head": name} for name in ("mean", "random", "knn", "ridge", "logistic")}
    )
    process = start(
        suite, tmp_path / "run", "runner.write_report = lambda results: 0", "assert 'torch' not in sys.modules"
    )
    assert process.wait() == 0


# what is refused


def test_folders_with_other_things_are_refused(surveys: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SommelierError, match="holds other things: a benchmark is written into a new or empty folder"):
        run_suite(make_suite(surveys), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(SommelierError, match="is a file; a benchmark needs a folder"):
        run_suite(make_suite(surveys), tmp_path / "mine.txt")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / RECORD).write_text(json.dumps({"format": "something/else", "version": "1.0"}))
    with pytest.raises(SommelierError, match="holds another benchmark: format something/else there"):
        run_suite(make_suite(surveys), tmp_path / "other")


def test_a_store_of_another_survey_is_refused(surveys: Path, tmp_path: Path) -> None:
    stores = {"sdss": {"store": str(surveys / "decals.h5")}}
    with pytest.raises(SommelierError, match=r"decals\.h5 holds galaxies of decals; the suite calls them sdss"):
        run_suite(make_suite(surveys, surveys=stores), tmp_path / "run")


def test_stores_of_different_models_are_refused(surveys: Path, tmp_path: Path) -> None:
    write_survey(tmp_path / "decals.h5", "decals", NORTH, model=MODEL | {"weights_sha256": "00" * 32})
    stores = {"sdss": {"store": str(surveys / "sdss.h5")}, "decals": {"store": str(tmp_path / "decals.h5")}}
    with pytest.raises(ProvenanceMismatch, match="weights_sha256"):
        run_suite(make_suite(surveys, surveys=stores), tmp_path / "run")


def test_a_store_is_not_extracted_at_another_size(surveys: Path, tmp_path: Path) -> None:
    with pytest.raises(SommelierError, match=r"surveys.sdss is a store, .* images of 28 pixels: give a catalog"):
        run_suite(make_suite(surveys, trainings={"sdss": {"surveys": ["sdss"], "size": 28}}), tmp_path / "run")


def test_a_test_without_any_new_galaxy_is_refused(surveys: Path, tmp_path: Path) -> None:
    write_survey(tmp_path / "ukidss.h5", "ukidss", NORTH[:144], 2)  # under this split by order, all trained
    stores = {"sdss": {"store": str(surveys / "sdss.h5")}, "ukidss": {"store": str(tmp_path / "ukidss.h5")}}
    split = {"method": "sequential", "val": 0.1, "test": 0.3}
    with pytest.raises(SommelierError, match=r"no test galaxy is left of UKIDSS, new objects: .* Take objects: same"):
        run_suite(make_suite(surveys, surveys=stores, split=split), tmp_path / "run")


def test_a_missing_catalog_says_how_to_give_yours(tmp_path: Path) -> None:
    suite = make_suite(tmp_path, surveys={"sdss": {"catalog": str(tmp_path / "sdss.parquet")}})
    with pytest.raises(SommelierError, match=r"--set surveys\.sdss\.catalog=FILE\.parquet"):
        run_suite(suite, tmp_path / "run")


# what is written


def test_the_record_says_what_was_run(finished: Results, surveys: Path) -> None:
    record = read_record(finished.folder)
    split = SkySplit.read(finished.folder / "split.parquet")
    assert record["split"]["digest"] == split.digest
    assert record["split"]["counts"] == split.count()
    assert record["split"]["excluded"] == dict.fromkeys(record["samples"], 0)
    assert record["suite_digest"] == finished.suite.digest
    assert record["samples"] == [
        "sdss-new", "decals-new", "ukidss-new", "ukidss-same", "decals-pool", "ukidss-pool",
    ]  # fmt: skip
    assert record["joined_space"] == "L2-cls"
    assert [one["name"] for one in record["questions"]] == ["shape", "arms"]
    assert record["left_out"] == []
    assert record["environment"]["numpy"] == np.__version__
    assert {name: one["rows"] for name, one in record["surveys"].items()} == {"sdss": 240, "decals": 240, "ukidss": 120}
    assert record["surveys"]["sdss"]["stores"][0]["path"] == str(surveys / "sdss.h5")
    assert {(cell["training"], cell["model"]) for cell in record["cells"]} == {
        (t, m) for t in ("sdss", "mixed") for m in ("mean", "ridge", "knn")
    }


def test_results_of_a_suite_that_was_begun_anew_are_not_read(surveys: Path, tmp_path: Path) -> None:
    run_suite(make_suite(surveys, seeds={"heads": 1}), tmp_path / "run")
    # a run of another suite that was killed at once has put down what it will do, and computed nothing
    (tmp_path / "run" / "suite.yaml").write_text(make_suite(surveys, seeds={"heads": 1}, resamples=12_000).to_yaml())
    with pytest.raises(SommelierError, match="was begun anew with another suite, and is not finished"):
        read_results(tmp_path / "run")


def test_results_are_not_read_where_a_later_run_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_survey(tmp_path / "sdss.h5", "sdss", NORTH, 1)
    suite = make_suite(
        tmp_path, surveys={"sdss": {"store": str(tmp_path / "sdss.h5")}}, models={"ridge": {"head": "ridge"}},
        seeds={"heads": 1},
    )  # fmt: skip
    run_suite(suite, tmp_path / "run")
    write_survey(tmp_path / "sdss.h5", "sdss", NORTH, 9)  # other vectors, the same suite

    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runner, "fit_cell", stop)
        with pytest.raises(KeyboardInterrupt):
            run_suite(suite, tmp_path / "run")
    with pytest.raises(SommelierError, match="is not finished"):
        read_results(tmp_path / "run")
    run_suite(suite, tmp_path / "run")
    assert read_results(tmp_path / "run").entries


def test_cautions_are_there_though_a_kill_came_while_scoring(finished: Results, tmp_path: Path) -> None:
    record = read_record(finished.folder)
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in finished.folder.iterdir():
        if file.name != RECORD and not file.name.startswith("."):
            (folder / file.name).symlink_to(file)
    (folder / RECORD).write_text(json.dumps({name: value for name, value in record.items() if name != "cautions"}))
    assert read_results(folder).record["cautions"] == record["cautions"]
    assert record["cautions"]
