"""Commands that make catalogs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sommelier.group import PATH, Group, as_json, print_table

if TYPE_CHECKING:
    from extract.catalog import Catalog

survey_name = click.option("--survey", help="Name in stores and search results. [default: the output's name]")
release_name = click.option("--survey", help="Name in stores and search results. [default: the release's survey]")


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
    print_catalog(made, output, count_images=True)


@catalog.command("folder")
@click.argument("folder", type=PATH)
@click.option("--pattern", default="*", help="Only files that match this glob, as '*.fits'.")
@survey_name
@click.option("-o", "--output", required=True, type=PATH, help="The catalog, a Parquet file.")
def catalog_folder(folder: Path, output: Path, survey: str | None, pattern: str) -> None:
    """
    Every image in a folder and below; ids are file names without the ending.

    \b
    sommelier catalog folder images -o mine.parquet
    """
    from extract.catalog import catalog_from_folder

    made = catalog_from_folder(folder, survey or output.stem, pattern)
    made.write(output)
    print_catalog(made, output, count_images=True)


@catalog.command("info")
@click.argument("catalog_file", metavar="CATALOG", type=PATH)
@as_json
def catalog_info(catalog_file: Path, as_json: bool) -> None:
    """
    Say what a catalog holds: galaxies, images, positions, questions, and what its reader found.

    \b
    sommelier catalog info sdss.parquet
    """
    from extract.catalog import Catalog
    from extract.summary import summarise_catalog

    summary = summarise_catalog(Catalog.read(catalog_file))
    if as_json:
        click.echo(json.dumps(summary, indent=1))
        return
    missing = summary["missing_images"]
    click.echo(f"{catalog_file}: {summary['rows']} galaxies of {', '.join(summary['surveys'])}")
    click.echo(f"  images     {summary['images']} there, {missing['count']} not, under {summary['image_root']}")
    if missing["count"]:
        click.echo(f"             looked for {', '.join(missing['first'])}")
    click.echo(f"  positions  {summary['positions']} known")
    click.echo(f"  others     {_list_answers(tuple(summary['other_columns']), 12) or 'none'}")
    _print_questions(summary["questions"])
    for note in summary["notes"]:
        click.echo(f"  * {note}")


def _print_questions(questions: list[dict[str, Any]]) -> None:
    if not questions:
        return
    columns = ("question", "asked after", "galaxies", "votes", "reached", "expected")
    rows = [
        (
            record["name"] + _mark(record),
            record["parent"] or (f"all but {record['unless']}" if "unless" in record else "-"),
            str(record["asked"]),
            *(_show(record.get(name), digits) for name, digits in
              (("mean_votes", 1), ("share_reached", 3), ("share_expected", 3))),
        )
        for record in questions
    ]  # fmt: skip
    print_table(columns, rows, "questions: galaxies asked, mean votes, share of volunteers that got there, and should")


def _mark(record: dict[str, Any]) -> str:
    """What is not plain about a question."""
    marks = [record[key] for key in ("fractions", "crossed") if key in record]
    marks += ["value"] if record["kind"] == "value" else []
    return f" ({'; '.join(marks)})" if marks else ""


@catalog.command("match")
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@click.option("--radius", default=2.0, help="In arcsec.")
@click.option("-o", "--output", required=True, type=PATH, help="A Parquet file: ids, surveys, separation in arcsec.")
@as_json
def catalog_match(a: Path, b: Path, radius: float, output: Path, as_json: bool) -> None:
    """
    Galaxies of two catalogs at the same place, and how well their labels agree.

    A catalog matched with itself shows what it holds twice.

    \b
    sommelier catalog match sdss.parquet decals.parquet --radius 2 -o pairs.parquet
    """
    from extract.catalog import Catalog
    from extract.matching import compare_labels, describe_pairs, match_catalogs, write_pairs

    first = Catalog.read(a)
    second = first if a.resolve() == b.resolve() else Catalog.read(b)
    pairs = match_catalogs(first, second, radius)
    write_pairs(output, pairs, a, b)
    labels, counts = compare_labels(first, second, pairs), describe_pairs(first, second, pairs)
    if as_json:
        click.echo(json.dumps({**counts, "labels": labels}, indent=1))
        return
    members = (
        f", of {counts['galaxies_a']} galaxies in {a} and {counts['galaxies_b']} in {b}" if counts["pairs"] else ""
    )
    click.echo(f"{output}: {counts['pairs']} pairs within {radius:g} arcsec{members}")
    for side, name in (("a", a), ("b", b)):
        if counts[f"repeated_{side}"]:
            click.echo(f"  {counts[f'repeated_{side}']} galaxies of {name} are in more than one pair")
        if counts[f"unplaced_{side}"]:
            message = f"  {counts[f'unplaced_{side}']} galaxies of {name} have no position: not checkable"
            click.secho(message, fg="yellow", err=True)
    rows = [(s["target"], _show(s["r"], 3), str(s["n"]), _show(s["mean_a"], 3), _show(s["mean_b"], 3)) for s in labels]
    if counts["pairs"] and not rows:
        click.echo("  no question is asked alike in both, with the same kind of fractions: labels are not compared")
    elif counts["pairs"]:
        print_table(("target", "Pearson r", "n", "mean of A", "mean of B"), rows, "labels of the matched galaxies")


@catalog.command("schema")
@click.argument("campaign", required=False)
@as_json
def catalog_schema(campaign: str | None, as_json: bool) -> None:
    """
    Galaxy Zoo's decision trees, the lossy maps between them, and the reference study's lists.

    \b
    sommelier catalog schema dr5
    """
    from extract.schema import CAMPAIGNS, find_campaign
    from extract.study import STUDY_LISTS
    from extract.summary import describe_crossings

    chosen = [find_campaign(campaign)] if campaign else list(CAMPAIGNS.values())
    crossings = describe_crossings()
    if as_json:
        trees = {each.name: [question.to_dict() for question in each.questions] for each in chosen}
        click.echo(json.dumps({"campaigns": trees, "crossings": crossings, "lists": STUDY_LISTS}, indent=1))
        return
    for each in chosen:
        click.echo(f"{each.name}: {each.title} ({each.survey})")
        for question in each.questions:
            after = f", after {question.parent}" if question.parent else ""
            after = f", all but {question.unless}" if question.unless else after
            click.echo(f"  {question.name}: {' | '.join(question.answers)}{after}")
    click.echo(f"maps with loss, version {crossings['version']} (--cross NAME):")
    for name, record in crossings["maps"].items():
        click.echo(f"  {name} -> {record['target']}: {record['reason']}. Lost: {record['loss']}")
    for name, reason in crossings["none"].items():
        click.echo(f"  {name}: no map; {reason}")
    click.echo("lists of the reference study: " + ", ".join(f"{name} ({len(v)})" for name, v in STUDY_LISTS.items()))


def print_catalog(made: Catalog, output: Path, count_images: bool = False) -> None:
    """What was made, and what its reader found."""
    click.echo(f"{output}: {len(made)} galaxies of {', '.join(made.surveys)}, images under {made.image_root}")
    for question in made.questions:
        what = "a value" if question.kind == "value" else _list_answers(question.answers) or "a fraction"
        click.echo(f"  {question.name}: {what}")
    for note in made.notes:
        click.echo(f"  * {note}")
    missing = made.missing_images() if count_images else []
    if missing:
        click.secho(f"  {len(missing)} images are not there: {', '.join(missing[:3])} ...", fg="yellow", err=True)


def _show(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _list_answers(answers: tuple[str, ...], most: int = 8) -> str:
    shown = " | ".join(answers[:most])
    return shown if len(answers) <= most else f"{shown} ... ({len(answers)} in all)"
