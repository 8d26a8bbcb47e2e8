"""Commands that read Galaxy Zoo's releases as they were published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sommelier.catalogs import catalog, print_catalog, release_name
from sommelier.group import PATH


def release_options(command: Callable[..., None]) -> Callable[..., None]:
    """What every release's reader takes."""
    options = (
        click.option(
            "--fractions",
            default="raw",
            type=click.Choice(["raw", "weighted", "debiased"]),
            help="Which of the release's fractions are the labels; the others stay beside them.",
        ),
        click.option(
            "--min-votes",
            type=click.IntRange(0),
            default=0,
            help="Leave out galaxies whose first question has fewer votes.",
        ),
        click.option("--drop", multiple=True, metavar="COLUMN", help="Leave out galaxies that this flag marks."),
        click.option("--drop-missing", is_flag=True, help="Leave out galaxies without an image file."),
        click.option("--cross", multiple=True, metavar="QUESTION", help="Also map this question to GZ2's, with loss."),
        release_name,
        click.option("-o", "--output", required=True, type=PATH, help="The catalog, a Parquet file."),
    )
    for option in reversed(options):
        command = option(command)
    return command


images_folder = click.option("--images", type=PATH, help="Folder of the images, if not the release's.")
release_folder = click.argument("release", type=PATH)


def _read(kind: str, release: Path, output: Path, survey: str | None, **options: Any) -> None:
    from embeddings.files import refuse_overwrite
    from extract.surveys import read_catalog

    refuse_overwrite(output, release)
    made = read_catalog(kind, release, name=survey, **options)
    made.write(output)
    print_catalog(made, output)


@catalog.command("sdss")
@release_folder
@images_folder
@release_options
def catalog_sdss(release: Path, output: Path, **options: Any) -> None:
    """
    Galaxy Zoo 2: gz2_hart16 (.csv, .csv.gz, .fits.gz) and other GZ2 tables.

    RELEASE is the folder with the table, gz2_filename_mapping.csv and images/<asset_id>.jpg, or the table itself.

    \b
    sommelier catalog sdss gz2 -o sdss.parquet
    sommelier catalog sdss gz2 --fractions debiased --min-votes 20 -o sdss.parquet
    """
    _read("sdss", release, output, **options)


@catalog.command("decals")
@release_folder
@images_folder
@release_options
def catalog_decals(release: Path, output: Path, **options: Any) -> None:
    """
    Galaxy Zoo DECaLS: volunteers 1 and 2, volunteers 5, or the automatic posteriors.

    RELEASE is the folder with the table and J???/<iauname>.png, or the table itself where there are several.

    \b
    sommelier catalog decals gz_decals --drop wrong_size_warning -o decals.parquet
    sommelier catalog decals gz_decals/gz_decals_volunteers_5.csv --min-votes 30 --cross bar-dr5 -o decals5.parquet
    """
    _read("decals", release, output, **options)


@catalog.command("ukidss")
@release_folder
@images_folder
@click.option("--crosswalk", type=PATH, help="Table of subject_id and dr7objid, and of ra and dec if it has them.")
@click.option("--positions", type=PATH, help="SDSS catalog that gives the crosswalk's galaxies their positions.")
@release_options
def catalog_ukidss(release: Path, output: Path, **options: Any) -> None:
    """
    Galaxy Zoo UKIDSS: ukidss_catalog and {subfolder}/{filename}.

    The release has no positions. They come from a crosswalk to SDSS; without one they are unknown.

    \b
    sommelier catalog ukidss gz_ukidss --crosswalk crosswalk.csv --positions sdss.parquet -o ukidss.parquet
    """
    _read("ukidss", release, output, **options)


@catalog.command("kaggle")
@release_folder
@images_folder
@release_options
def catalog_kaggle(release: Path, output: Path, **options: Any) -> None:
    """
    Kaggle's Galaxy Challenge: training_solutions_rev1.csv and images_training_rev1/<GalaxyID>.jpg.

    Its cumulative probabilities are turned back into fractions of those asked.

    \b
    sommelier catalog kaggle kaggle -o kaggle.parquet
    """
    _read("kaggle", release, output, **options)


@catalog.command("hf")
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PARQUET...")
@click.option("--campaign", required=True, help="Whose votes: gz2, ukidss, dr12, dr5 or dr8.")
@release_options
def catalog_hf(paths: tuple[Path, ...], campaign: str, output: Path, survey: str | None, **options: Any) -> None:
    """
    Galaxy Zoo on the Hugging Face hub: Parquet files with image bytes in them.

    \b
    sommelier catalog hf gz_ukidss/*.parquet --campaign ukidss -o ukidss.parquet
    """
    from embeddings.files import refuse_overwrite
    from extract.shards import read_hub_catalog

    refuse_overwrite(output, *paths)
    made = read_hub_catalog(paths, campaign, name=survey, **options)
    made.write(output)
    print_catalog(made, output)
