"""The command to begin with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sommelier.group import PATH, as_json, explain_stop, print_table, seed, show_progress

if TYPE_CHECKING:
    from benchmarks.demo import Demo


@click.command()
@click.option("--out", "folder", default="sommelier-demo", type=PATH, help="Folder for all that it makes.")
@click.option("--galaxies", default=1500, type=click.IntRange(400), help="How many to simulate.")
@seed
@as_json
def demo(folder: Path, galaxies: int, seed: int, as_json: bool) -> None:
    """
    Show the whole way on a simulated sky: no data, no network, two to five minutes.

    Simulates galaxies as three surveys see them, reads the releases, then runs the suite `demo`: embeds the images,
    fine-tunes, trains heads on several training sets and tests them on all surveys. Says what each number means, and
    writes a report. Stopped, the same command goes on.

    \b
    sommelier demo
    sommelier demo --galaxies 500 --seed 7 --out small-demo
    """
    click.echo(_announce(folder, galaxies), err=as_json)  # before the import, which takes seconds
    from benchmarks.demo import run_demo

    with explain_stop(f"What is done is kept in {folder}"):
        made = run_demo(folder, galaxies, seed, lambda line: click.echo(line, err=as_json), show_progress)
    if as_json:
        click.echo(json.dumps(made.to_dict(), indent=1))
    else:
        _print_demo(made)


def _announce(folder: Path, galaxies: int) -> str:
    """What will be done, where, and how long it takes: 1,500 galaxies two to five minutes."""
    least, most = (-(-galaxies // speed) for speed in (750, 300))
    time = f"{least} to {most} minutes" if most > least else "about a minute"
    return (
        f"Simulating {galaxies} galaxies as three surveys see them, then embedding, fine-tuning, fitting, scoring, "
        "drawing.\n"
        f"All goes into {folder}. The first time this takes {time} on two cores.\n"
    )


def _print_demo(made: Demo) -> None:
    from benchmarks.story import COMMANDS

    for paragraph in made.introduction:
        _print_paragraph(paragraph)
    for table in made.tables:
        click.echo()
        print_table(table.columns, table.texts, table.title)
        _print_paragraph(table.meaning)
    click.echo(f"\nLook at {made.folder}: contact_sheet.png, scores.png, neighbours.png; demo.md has all of this.")
    click.echo(f"The report, for a browser: {made.report}")
    click.echo("\nNext, on real data:")
    for command in COMMANDS:
        click.echo(f"  {command}")


def _print_paragraph(text: str) -> None:
    width = min(shutil.get_terminal_size((110, 24)).columns, 110)
    click.echo("\n" + click.wrap_text(text, width))
