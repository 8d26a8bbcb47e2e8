"""The command that fetches Galaxy Zoo's releases."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sommelier.group import PATH, explain_stop

if TYPE_CHECKING:
    from extract.download import Download
    from extract.download.releases import ReleaseFile


@click.command()
@click.argument("survey", type=click.Choice(["sdss", "decals", "ukidss"]))
@click.option("--to", "folder", required=True, type=PATH, help="Folder for the files; made if need be.")
@click.option("--images", is_flag=True, help="Also the images: sdss 3.4 GB, decals 104 GB; as much again unpacked.")
@click.option(
    "--file", "names", multiple=True, help="Only this file of the release, whatever it is; repeat for several."
)
@click.option("--mirror", help="http(s)://HOST with the same paths, asked instead of the release's own servers.")
def download(survey: str, folder: Path, images: bool, names: tuple[str, ...], mirror: str | None) -> None:
    """
    Fetch a Galaxy Zoo release, check it, and say how to cite it.

    An interrupted run goes on where it stopped; what is there already is checked and not fetched again.

    \b
    sommelier download decals --to decals
    sommelier download sdss --to sdss --images
    sommelier download decals --to decals --file gz_decals_auto_posteriors.parquet
    """
    from extract.download import download_release
    from extract.download.releases import find_release

    release = find_release(survey)
    _announce(release.title, [file for file in release.select(images, names) if file.url], folder)
    with explain_stop("What was got is kept"), _show_bytes() as report:
        done = download_release(survey, folder, images, mirror, report, names)
    for one in done:
        _print_download(one)
    click.echo(f"Licence: {release.licence}")
    for citation in release.citations:
        click.echo(f"Cite: {citation}")
    click.echo(f"Next: sommelier catalog {survey} {shlex.quote(str(folder))} -o {survey}.parquet")


def _announce(title: str, files: list[ReleaseFile], folder: Path) -> None:
    if files:
        click.echo(f"{title}, {len(files)} files to {folder}")
    for file in files:
        click.echo(f"  {file.name}: {file.what} ({file.about})")


def _print_download(one: Download) -> None:
    click.echo(f"{one.path}: {'fetched' if one.fetched else 'was there'}, {one.proof}")
    if one.doubt:
        click.secho(f"  {one.doubt}", fg="yellow", err=True)


@contextmanager
def _show_bytes() -> Iterator[Callable[[str, int, int | None], None] | None]:
    """A bar a file, with rate and time left; nothing where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int | None) -> None:
            if what not in tasks:  # what an earlier run got must not count as speed
                tasks[what] = progress.add_task(what, completed=done, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield report
