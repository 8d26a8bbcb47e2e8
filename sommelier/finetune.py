"""The command that trains backbone and head together."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sommelier.group import as_json, explain_stop, print_table, print_warnings

if TYPE_CHECKING:
    from rich.progress import Progress

    from finetune.config import Config
    from finetune.run import Run

METRICS = {"r": "Pearson r", "r2": "R2", "mae": "MAE", "auc": "AUC"}


@click.command()
@click.argument("config")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="In place of the file's; repeat for several."
)
@click.option("--show", is_flag=True, help="Print the configuration, with all that --set changes, and stop.")
@as_json
def finetune(config: str, overrides: tuple[str, ...], show: bool, as_json: bool) -> None:
    """
    Train a backbone and its head on images and labels, into a run folder.

    CONFIG is a YAML file, or one that comes with the program: head, full, lora, published_head, published_full. A run
    that was stopped goes on where it was; a finished one shows its scores.

    \b
    sommelier finetune full --set data.catalogs=sdss.parquet --set run=runs/full
    sommelier finetune full --show > mine.yaml
    sommelier finetune mine.yaml --set training.epochs=3 --set run=runs/short
    torchrun --nproc-per-node 2 -m sommelier finetune mine.yaml
    """
    from finetune.config import load_config, read_config

    loaded = load_config(config, overrides)
    if show:
        click.echo((loaded.to_yaml() if overrides else read_config(config)).rstrip())
        return
    run, words = _train(loaded)
    if os.environ.get("RANK", "0") == "0":  # of several processes the first speaks
        if as_json:
            click.echo(json.dumps({"run": str(run.folder), "metrics": run.metrics}, indent=1))
        else:
            click.echo(words, nl=False)
            _print_run(run, loaded)
    from finetune.parallel import leave_world

    leave_world()


def _train(config: Config) -> tuple[Run, str]:
    """The run, and what to say if there was nothing to train."""
    from finetune.run import finetune

    kept = f"What is done is kept in {config.run}"
    with explain_stop(kept), print_warnings(), _show_training(config.run.name) as shown:
        run = finetune(config, [shown] if shown else [], shown.report if shown else None)
    trained = shown is None or shown.started
    return run, "" if trained else f"{config.run} was finished before, nothing is trained again.\n"


@contextmanager
def _show_training(name: str) -> Iterator[ProgressTracker | LineTracker | None]:
    """A bar while images are decoded and while it trains; lines alone where nobody looks, as in a batch job's log."""
    if os.environ.get("RANK", "0") != "0":
        yield None
        return
    if not sys.stderr.isatty():
        yield LineTracker()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[words]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield ProgressTracker(progress, name)


class LineTracker:
    """A line for each epoch, and one where a run goes on."""

    report = None
    started = False

    def start(self, config: Config, folder: Path, step: int, n_steps: int) -> None:
        """Say where it goes on."""
        self.started = True
        if step:
            click.echo(_describe_start(step, n_steps), err=True)

    def log(self, record: dict[str, Any]) -> None:
        """Show an epoch."""
        if record["kind"] == "epoch":
            click.echo(_describe_epoch(record), err=True)

    def finish(self, summary: dict[str, Any]) -> None:
        """The scores say the rest."""


class ProgressTracker:
    """
    A live line for the terminal: loss, validation r, images/s, time left; above it a line for each epoch.

    Parameters
    ----------
    progress : Progress
        With the field ``words``.
    name : str
        Of the run.
    """

    started = False

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name, self._r = progress, name, ""
        self._task = progress.add_task(name, total=None, words="loading the backbone")

    def report(self, done: int, failed: int, total: int) -> None:
        """So many images are decoded."""
        words = "images decoded" + (f", {failed} failed" if failed else "")
        self._progress.update(self._task, completed=done, total=total, words=words)

    def start(self, config: Config, folder: Path, step: int, n_steps: int) -> None:
        """From images to steps: a new bar, so that the time left is of steps."""
        self.started = True
        if step:
            self._progress.console.print(_describe_start(step, n_steps), highlight=False)
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(self._name, total=n_steps, completed=step, words="first step")

    def log(self, record: dict[str, Any]) -> None:
        """Show a step, or an epoch."""
        if record["kind"] == "epoch":
            self._r = f", val r {_show(record['val_r'])}"
            self._progress.console.print(_describe_epoch(record), highlight=False)
            return
        words = (
            f"epoch {record['epoch']}, loss {record['loss']:.4g}{self._r}, {record['images_per_second']:.0f} images/s"
        )
        self._progress.update(self._task, completed=record["step"], words=words)

    def finish(self, summary: dict[str, Any]) -> None:
        """All is done."""
        self._progress.update(self._task, words="done")


def _describe_start(step: int, n_steps: int) -> str:
    return f"goes on after step {step} of {n_steps}"


def _describe_epoch(record: dict[str, Any]) -> str:
    return (
        f"epoch {record['epoch']}: loss {record['train_loss']:.4g}, validation loss {record['val_loss']:.4g}, "
        f"r {_show(record['val_r'])}, R2 {_show(record['val_r2'])}" + (", the best so far" if record["best"] else "")
    )


def _show(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:z.3f}"


def _print_run(run: Run, config: Config) -> None:
    metrics, test = run.metrics, run.metrics["test"]
    n_epochs, planned = metrics["epochs"], config.training.epochs
    early = f"stopped early, after {n_epochs} of {planned} epochs; " if n_epochs < planned else ""
    click.echo(
        f"{run.folder}: {early}the best of {n_epochs} epochs by {config.training.best} is {metrics['best_epoch']}"
    )
    if test is None:
        click.secho("  there are no test galaxies (split.test: 0), so no honest scores", fg="yellow", err=True)
    else:
        _print_scores(test)
    catalog = config.data.catalogs[0]
    click.echo(
        f"\nNext:\n  sommelier extract {catalog} --backbone {run.folder} -o {catalog.stem}-{run.folder.name}.h5\n"
        f"  sommelier head predict {run.folder} {catalog.stem}-{run.folder.name}.h5 -o predictions.parquet"
    )


def _print_scores(test: dict[str, Any]) -> None:
    scores = list(test["scores"])
    rows = [(score["target"], *_show_metrics(score.get), str(score["n"])) for score in scores]
    if len(scores) > 1:
        rows.append(("mean", *_show_metrics(test["average"].get), ""))
    print_table(("target", *METRICS.values(), "n"), rows, f"{test['galaxies']} test galaxies, that no choice saw")


def _show_metrics(find: Callable[[str], float | None]) -> Sequence[str]:
    return [_show(find(metric)) for metric in METRICS]
