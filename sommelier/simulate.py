"""The command that makes a sky where there is no data."""

from __future__ import annotations

from pathlib import Path

import click

from sommelier.group import AUTO, PATH, explain_stop, print_table, seed, show_progress


@click.command()
@click.option("--galaxies", required=True, type=click.IntRange(1), help="How many different galaxies.")
@click.option("--to", "folder", required=True, type=PATH, help="A new folder, or one with the same sky, to go on.")
@seed
@click.option("--size", default=424, type=click.IntRange(32), help="Pixels a side of the images.")
@click.option("--workers", default="auto", type=AUTO, help="Processes; the result does not depend on it.")
def simulate(galaxies: int, folder: Path, seed: int, size: int, workers: int | None) -> None:
    """
    Simulate galaxies as SDSS, DECaLS and UKIDSS see them, and volunteers' votes on them.

    Writes Galaxy Zoo's releases in their own files below the folder (sdss, decals, ukidss), and truth.parquet: what
    there is and what each image still shows. Stopped, the same command goes on.

    \b
    sommelier simulate --galaxies 2000 --to sky
    sommelier catalog sdss sky/sdss -o sdss.parquet
    """
    from extract.simulation import simulate_sky

    with (
        explain_stop(f"What is done is kept in {folder}"),
        show_progress("simulating", "drawing galaxies") as progress,
    ):
        truth = simulate_sky(folder, galaxies, seed, size, workers, progress)
    surveys = ("sdss", "decals", "ukidss")
    inside = truth[[f"in_{survey}" for survey in surveys]].set_axis(surveys, axis=1)
    rows = [[survey, *(str(int((inside[survey] & inside[other]).sum())) for other in surveys)] for survey in surveys]
    print_table(("in", *(f"and in {other}" for other in surveys)), rows, f"{folder}: {len(truth)} galaxies")
    click.echo("Next:")
    click.echo(f"  sommelier catalog sdss {folder}/sdss -o sdss.parquet")
    click.echo(f"  sommelier catalog decals {folder}/decals -o decals.parquet")
    crosswalk = f"--crosswalk {folder}/ukidss/crosswalk.csv --positions sdss.parquet"
    click.echo(f"  sommelier catalog ukidss {folder}/ukidss {crosswalk} -o ukidss.parquet")
