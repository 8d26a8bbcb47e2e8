"""What all commands share: the group that prints errors, the options, the progress bar."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)


class AutoInteger(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3
    """A positive number, or ``auto`` (None) for the library's choice."""

    name = "integer|auto"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int | None:
        """Text to a number."""
        if value == "auto" or value is None:
            return None
        if not str(value).isdigit() or int(value) < 1:
            self.fail(f"{value!r} is neither a positive number nor 'auto'.", param, context)
        return int(value)


class Share(click.ParamType):  # type: ignore[type-arg]
    """A share of a whole: ``20%`` or ``0.2``."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        """Text to a number from 0 to 1."""
        text = str(value)
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            self.fail(f"{value!r} is no share: write 20% or 0.2.", param, context)
        return share


class Bands(click.ParamType):  # type: ignore[type-arg]
    """Names with commas between them."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> tuple[str, ...]:
        """Text to a tuple."""
        return value if isinstance(value, tuple) else tuple(filter(None, map(str.strip, str(value).split(","))))


AUTO, SHARE, BANDS = AutoInteger(), Share(), Bands()
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for other programs.")
seed = click.option(
    "--seed", default=0, type=click.IntRange(0), help="Random seed; the same one gives the same result."
)


class Group(click.Group):
    """Prints the library's errors without a traceback, keeps commands in the order of work, knows near names."""

    def list_commands(self, context: click.Context) -> list[str]:
        """In the order in which they are defined: the order of work."""
        return list(self.commands)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest names for a misspelt one."""
        try:
            return super().resolve_command(context, args)
        except click.UsageError as error:
            from embeddings.errors import did_you_mean

            raise click.UsageError(f"{error.message} {did_you_mean(args[0], self.commands)}", context) from None

    def invoke(self, context: click.Context) -> Any:
        """Run the command; exit 1 with the message alone on an error that the user can mend."""
        try:
            return super().invoke(context)
        except Exception as error:
            errors = sys.modules.get("embeddings.errors")  # not loaded: it cannot be one, and --help stays fast
            known = (OSError, errors.SommelierError) if errors else OSError
            if not isinstance(error, known) or isinstance(error, BrokenPipeError):  # the reader left: click knows
                raise
            click.secho(f"Error: {error}", fg="red", err=True)
            context.exit(1)


@contextmanager
def explain_stop(kept: str) -> Iterator[None]:
    """Stopped by Ctrl-C, say what is kept and how to go on; exit 130, as shells do."""
    try:
        yield
    except KeyboardInterrupt:
        click.secho(f"\nStopped. {kept}; run the same command to go on.", fg="yellow", err=True)
        sys.exit(130)


@contextmanager
def print_warnings() -> Iterator[None]:
    """Warnings as one reads them, without their place in the code; what libraries plan is none of the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.showwarning = lambda message, *_, **__: click.secho(f"Warning: {message}", fg="yellow", err=True)
        yield


@contextmanager
def show_progress(title: str, first: str = "loading the backbone") -> Iterator[Callable[[int, int, int], None] | None]:
    """A bar with rate and time left, and until there is one what comes `first`; nothing where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=None, rate=first)

        def report(done: int, failed: int, total: int) -> None:
            speed = progress.tasks[task].speed
            rate = f"{speed:.1f} images/s" if speed else ""
            progress.update(task, completed=done, total=total, rate=rate + (f", {failed} failed" if failed else ""))

        yield report


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    """A table for reading; figures to the right, all of it where nobody looks."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        figures = number > 0 and all(set(row[number]) <= set("0123456789.-+± ") for row in rows)
        table.add_column(name, justify="right" if figures else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    # names are names: "[/x]" is no markup
    console = Console(markup=False) if sys.stdout.isatty() else Console(width=200, markup=False)
    console.print(table)


def format_seconds(seconds: float) -> str:
    """Seconds, minutes or hours, as one reads them."""
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
