"""Commands that make catalogs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sommelier.group import PATH, Group

if TYPE_CHECKING:
    from extract.catalog import Catalog

survey_name = click.option("--survey", help="Name in stores and search results. [default: the output's name]")


@click.group(cls=Group)
def catalog() -> None:
    """Turn what you have into a catalog: one row a galaxy, its image, its labels."""


@catalog.command("table")
@click.argument("file", type=PATH)
@click.option("--images", required=True, type=PATH, help="Folder that the image column is relative to.")
@click.option("--id", "id_column", required=True, help="Column with ids.")
@click.option("--image", "image_column", required=True, help="Column with image files.")
@click.option("--label", "labels", multiple=True, help="Column to be predicted; repeat for several.")
@click.option("--ra", "ra_column", help="Column with right ascension in degrees. [default: ra, if there is one]")
@click.option("--dec", "dec_column", help="Column with declination in degrees. [default: dec, if there is one]")
@survey_name
@click.option("-o", "--output", required=True, type=PATH, help="The catalog, a Parquet file.")
def catalog_table(output: Path, survey: str | None, **options: Any) -> None:
    """
    Any table with an image file a row: CSV, Parquet, FITS, VOTable, ECSV.

    A text label becomes a question whose categories are its answers; numbers in [0, 1] become a fraction,
    other numbers a value.

    \b
    sommelier catalog table labels.csv --images . --id GalaxyID --image file --label class -o spiral.parquet
    """
    from embeddings.files import refuse_overwrite
    from extract.catalog import catalog_from_table

    refuse_overwrite(output, options["file"])
    made = catalog_from_table(survey=survey or output.stem, **options)
    made.write(output)
    _print_catalog(made, output)


@catalog.command("folder")
@click.argument("folder", type=PATH)
@survey_name
@click.option("-o", "--output", required=True, type=PATH, help="The catalog, a Parquet file.")
def catalog_folder(folder: Path, output: Path, survey: str | None) -> None:
    """
    Every image in a folder and below; ids are file names without the ending.

    \b
    sommelier catalog folder images -o mine.parquet
    """
    from extract.catalog import catalog_from_folder

    made = catalog_from_folder(folder, survey or output.stem)
    made.write(output)
    _print_catalog(made, output)


def _print_catalog(made: Catalog, output: Path) -> None:
    click.echo(f"{output}: {len(made)} galaxies of {', '.join(made.surveys)}, images under {made.image_root}")
    for question in made.questions:
        what = "a value" if question.kind == "value" else _list_answers(question.answers) or "a fraction"
        click.echo(f"  {question.name}: {what}")
    missing = made.missing_images()
    if missing:
        click.secho(f"  {len(missing)} images are not there: {', '.join(missing[:3])} ...", fg="yellow", err=True)


def _list_answers(answers: tuple[str, ...], most: int = 8) -> str:
    shown = " | ".join(answers[:most])
    return shown if len(answers) <= most else f"{shown} ... ({len(answers)} answers: is it an id?)"
