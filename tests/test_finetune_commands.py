"""`sommelier finetune`: what it prints, what it refuses, and the shipped configurations on the simulated sky."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from rich.progress import Progress, TextColumn

from extract.catalog import catalog_from_table
from extract.simulation import simulate_sky
from extract.surveys import read_catalog
from finetune.config import Config, list_shipped, load_config
from finetune.run import finetune
from finetune.tracking import read_log
from sommelier import main
from sommelier.finetune import LineTracker, ProgressTracker

ROOT = Path(__file__).parents[1]


@pytest.fixture
def settings(image_folder: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of seconds, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    catalog_from_table(
        image_folder / "labels.csv", image_folder, "name", "file", labels=["kind", "odd"], survey="north"
    ).write(Path("north.parquet"))
    values = {
        "run": "runs/small",
        "data": {"catalogs": ["north.parquet"], "size": 28},
        "split": {"val": 0.2, "test": 0.2},
        "model": {"backbone": str(tiny_folder), "head": {"hidden": [8]}},
        "training": {"epochs": 2, "batch_size": 8, "device": "cpu", "threads": 1},
    }
    Path("small.yaml").write_text(yaml.safe_dump(values))
    return Path("small.yaml")


def call(*words: object) -> Result:
    return CliRunner().invoke(main, ["finetune", *map(str, words)])


def test_it_trains_and_says_how_well_and_what_comes_next(settings: Path) -> None:
    result = call(settings)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "runs/small: the best of 2 epochs by val_loss is " in result.output
    metrics = json.loads(Path("runs/small/metrics.json").read_text())
    assert f"{metrics['test']['galaxies']} test galaxies" in result.output
    for score in [*metrics["test"]["scores"], metrics["test"]["average"] | {"target": "mean"}]:
        (line,) = (line for line in result.output.splitlines() if f" {score['target']} " in line)
        assert f" {score['mae']:.3f} " in line
    assert "  sommelier extract north.parquet --backbone runs/small -o north-small.h5" in result.output
    assert "  sommelier head predict runs/small north-small.h5 -o predictions.parquet" in result.output

    lines = result.stderr.splitlines()  # no terminal: a line an epoch
    assert [line.partition(":")[0] for line in lines] == ["epoch 1", "epoch 2"]
    assert "finished before" not in result.output

    shown = call(settings)  # finished: it says so, and shows what is there
    assert shown.output == "runs/small was finished before, nothing is trained again.\n" + result.stdout
    again = json.loads(call(settings, "--json").output)
    assert again == {"run": "runs/small", "metrics": metrics}
    n_steps = metrics["steps"]
    assert [record["step"] for record in read_log(Path("runs/small/log.jsonl")) if record["kind"] == "step"] == [
        *range(1, n_steps + 1)
    ]


def test_an_early_stop_is_said(settings: Path) -> None:
    early = "training.early_stopping={patience: 1, min_delta: 100}"
    result = call(settings, "--set", "training.epochs=5", "--set", early)
    assert "runs/small: stopped early, after 2 of 5 epochs; the best of 2 epochs by val_loss is " in result.stdout


def test_a_batch_job_is_told_where_a_run_goes_on(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = LineTracker()
    tracker.start(load_config(settings), Path("runs/small"), 0, 20)
    assert capsys.readouterr().err == ""
    tracker.start(load_config(settings), Path("runs/small"), 4, 20)
    tracker.log({"kind": "step", "step": 5})
    assert capsys.readouterr().err == "goes on after step 4 of 20\n"


def test_other_settings_in_the_same_folder_are_refused(settings: Path) -> None:
    assert call(settings, "--set", "training.epochs=1").exit_code == 0
    result = call(settings)
    assert result.exit_code == 1
    assert "training.epochs: 1 (there), 2 (here)" in result.output


def test_show_prints_what_runs(settings: Path) -> None:
    text = call("full", "--show").output
    assert text.startswith("# Everything learns")
    changed = call("full", "--show", "--set", "training.epochs=3").output
    Path("changed.yaml").write_text(changed)
    assert Config.from_yaml(Path("changed.yaml")) == load_config("full", ["training.epochs=3"])
    assert not Path("runs").exists()


def test_mistakes_are_one_message(settings: Path) -> None:
    for words, said in (
        (["small.yml"], "small.yml is no file"),
        (["ful"], "Did you mean 'full'?"),
        ([settings, "--set", "training.epoch=1"], "Did you mean 'training.epochs'?"),
        ([settings, "--set", "data.catalogs=none.parquet"], "none.parquet"),
    ):
        result = call(*words)
        assert result.exit_code == 1
        assert result.output.startswith("Error: ")
        assert said in result.output
        assert isinstance(result.exception, SystemExit)


def test_without_test_galaxies_it_says_that_nothing_is_known(settings: Path) -> None:
    result = call(settings, "--set", "split.test=0", "--set", "training.epochs=1")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "no honest scores" in result.output
    assert "Next:" in result.output


def test_other_processes_of_a_run_are_silent(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finetune(load_config(settings))
    monkeypatch.setattr("finetune.run.finetune", lambda config, *_: SimpleNamespace(folder=config.run, metrics={}))
    monkeypatch.setenv("RANK", "1")
    assert call(settings).output == ""


def test_a_stop_says_how_to_go_on(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("finetune.run.finetune", stop)
    result = call(settings)
    assert result.exit_code == 130
    assert "What is done is kept in runs/small; run the same command to go on." in result.output


def test_progress_shows_loss_validation_and_speed(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(TextColumn("{task.fields[words]}"), disable=True)
    tracker = ProgressTracker(progress, "small")

    def words() -> Any:
        (task,) = progress.tasks
        return task.completed, task.total, task.fields["words"]

    tracker.report(3, 1, 40)
    assert words() == (3, 40, "images decoded, 1 failed")
    tracker.start(load_config(settings), Path("runs/small"), 4, 20)
    assert words()[:2] == (4, 20)
    step = {"kind": "step", "step": 5, "epoch": 2, "loss": 0.25, "images_per_second": 31.4}
    tracker.log(step)
    assert words() == (5, 20, "epoch 2, loss 0.25, 31 images/s")
    epoch = {"kind": "epoch", "step": 6, "epoch": 2, "train_loss": 0.5, "val_loss": 0.75, "val_r": 0.125, "best": True}
    tracker.log(epoch | {"val_r2": float("nan")})
    tracker.log(step | {"step": 7})
    assert words()[2] == "epoch 2, loss 0.25, val r 0.125, 31 images/s"
    printed = capsys.readouterr().out
    assert "epoch 2: loss 0.5, validation loss 0.75, r 0.125, R2 -, the best so far" in printed


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalog of a small simulated SDSS."""
    folder = tmp_path_factory.mktemp("sky")
    simulate_sky(folder / "sky", 100, size=64, workers=1)
    read_catalog("sdss", folder / "sky" / "sdss").write(folder / "sdss.parquet")
    return folder / "sdss.parquet"


@pytest.mark.slow
def test_every_shipped_configuration_runs_on_the_simulated_sky(sky: Path, tmp_path: Path) -> None:
    names = sorted(list_shipped(), key=lambda name: name == "published_full")  # which starts from published_head
    pytest.importorskip("peft", reason="the extra lora is not installed")
    for name in names:
        small = [f"data.catalogs=[{sky}]", "model.backbone=tiny", "data.size=28", f"run={tmp_path / name}",
                 "training.epochs=1", "training.batch_size=8", "training.device=cpu", "training.threads=1"]  # fmt: skip
        if name == "published_full":
            small.append(f"init={tmp_path / 'published_head'}")
        run = finetune(load_config(name, small))
        assert run.record["status"] == "finished"
        assert run.metrics["test"]["galaxies"] > 0


@pytest.mark.slow
def test_two_processes_print_once(settings: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run(
        [*launcher, "-m", "sommelier", "finetune", str(settings), "--json"],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] == "runs/small"
