"""The command line: one click group; a command opens, calls one library function, prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from extract.catalog import Catalog

PATH = click.Path(path_type=Path)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for other programs.")
seed = click.option("--seed", default=0, show_default=True, help="Random seed; the same one gives the same result.")
survey_name = click.option(
    "--survey", help="Name of the survey in stores and search results. [default: the output's name]"
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
            from embeddings.errors import SommelierError

            if not isinstance(error, SommelierError):
                raise
            click.secho(f"Error: {error}", fg="red", err=True)
            context.exit(1)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="galaxy-sommelier")
def main() -> None:
    """
    Embeddings of galaxies: made once, kept with proof, put to use in seconds.

    \b
    sommelier catalog folder images -o mine.parquet
    sommelier extract mine.parquet --backbone facebook/dinov2-base -o mine.h5
    sommelier head fit mine.h5 -o heads/ridge
    """


# catalogs


@main.group(cls=Group)
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
    from extract.catalog import catalog_from_table

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
        what = "a value" if question.kind == "value" else " | ".join(question.answers) or "a fraction"
        click.echo(f"  {question.name}: {what}")
    missing = made.missing_images()
    if missing:
        click.secho(f"  {len(missing)} images are not there: {', '.join(missing[:3])} ...", fg="yellow", err=True)


# stores


@main.command()
@click.argument("catalogs", nargs=-1, required=True, type=PATH)
@click.option("--backbone", required=True, help="Hub id (facebook/dinov2-base), model folder, or tiny.")
@click.option("-o", "--output", required=True, help="The store, an HDF5 file; 'DIR/{survey}.h5' makes one a survey.")
@click.option(
    "--layer",
    "layers",
    type=int,
    multiple=True,
    default=(-1,),
    help="Block, from 1; -1 is the last. Repeat for several.",
)
@click.option(
    "--pool",
    "pools",
    type=click.Choice(["cls", "patch-mean"]),
    multiple=True,
    default=("cls",),
    help="Repeat for several.",
)
@click.option("--size", default=224, help="Side of the square that the backbone sees, in pixels.")
@click.option(
    "--recipe",
    default="whole",
    type=click.Choice(["whole", "hf"]),
    help="whole: resize the whole cut-out. hf: as transformers does, resize to 256 and crop 224.",
)
@click.option("--revision", help="Branch, tag or commit on the hub.")
@click.option("--images", "image_root", type=PATH, help="Folder of the images, instead of the catalog's.")
@click.option("--precision", default="auto", help="fp32, bf16 or fp16; auto is bf16 on a GPU that has it.")
@click.option("--storage", default="float16", type=click.Choice(["float16", "float32"]))
@click.option("--batch-size", type=click.IntRange(1), help="Images in a batch. [default: auto]")
@click.option("--workers", type=click.IntRange(1), help="Processes on a CPU. [default: auto]")
@click.option("--threads", type=click.IntRange(1), help="Threads in each worker. [default: auto]")
@click.option("--device", default="auto", help="cpu, cuda, cuda:1, mps.")
@click.option("--shard", help="I/N: embed the I-th of N shares; the last to finish joins them.")
@click.option("--retry-failed", is_flag=True, help="Try images again that failed before.")
@click.option("--max-failures", default="10%", help="Stop when more images fail: a share or a number.")
@click.option("--dry-run", is_flag=True, help="Say what there is to do and how long it takes; write nothing.")
def extract(
    catalogs: tuple[Path, ...], output: str, backbone: str, shard: str | None, dry_run: bool, **options: Any
) -> None:
    """
    Embed the images of catalogs into a store.

    A store that exists gets only what it lacks; an interrupted run goes on where it stopped.

    \b
    sommelier extract spiral.parquet --backbone facebook/dinov2-base -o spiral.h5
    sommelier extract spiral.parquet --backbone DIR --layer 7 --layer -1 --pool cls --pool patch-mean -o spiral.h5
    sommelier extract *.parquet --backbone tiny -o 'stores/{survey}.h5'
    """
    from extract.catalog import Catalog, split_surveys
    from extract.plan import parse_shard

    options["shard"] = parse_shard(shard)
    run = _dry_run if dry_run else _extract
    for path, group in split_surveys([Catalog.read(path) for path in catalogs], output):
        run(group, backbone, path, options)


def _extract(group: list[Catalog], backbone: str, path: Path, options: dict[str, Any]) -> None:
    from extract.pipeline import extract_embeddings
    from extract.weights import find_backbone

    if not find_backbone(backbone, options["revision"]).trained:
        click.secho(f"{backbone} is untrained: random weights, for trying things out only.", fg="yellow", err=True)
    try:
        with _progress(f"Embedding {path.name}") as report:
            store = extract_embeddings(group, backbone, path, report, **options)
    except KeyboardInterrupt:
        click.secho(
            f"\nStopped. What is done is kept beside {path}; run the same command to go on.", fg="yellow", err=True
        )
        sys.exit(130)
    if store is None:
        click.echo(f"{path}: this share is done; other shards have rows to make. The last to finish joins them.")
        return
    ok = int(store.ok.sum())
    click.echo(
        f"{path}: {len(store)} rows, {ok} ok, {len(store) - ok} failed; {', '.join(s.name for s in store.spaces)}"
    )


def _dry_run(group: list[Catalog], backbone: str, path: Path, options: dict[str, Any]) -> None:
    from extract.checks import estimate_extraction
    from extract.pipeline import Extraction, Options

    estimate = estimate_extraction(Extraction(group, backbone, path, Options(**options)))
    click.echo(
        f"{path}: {estimate.rows} rows, {estimate.to_do} to embed, {estimate.missing_images} of them without an image "
        f"file; about {_show_seconds(estimate.seconds)} and {estimate.disk_bytes / 2**20:.1f} MiB of disk while joining"
    )


def _show_seconds(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int, int], None] | None]:
    """A bar with rate and time left; nothing where nobody looks."""
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
        task = progress.add_task(title, total=None, rate="loading the backbone")

        def report(done: int, failed: int, total: int) -> None:
            speed = progress.tasks[task].speed
            rate = f"{speed:.1f} images/s" if speed else ""
            progress.update(task, completed=done, total=total, rate=rate + (f", {failed} failed" if failed else ""))

        yield report


@main.command()
@click.argument("store", type=PATH)
@as_json
def info(store: Path, as_json: bool) -> None:
    """
    Say what a store holds and what made it; also of one that is not finished.

    \b
    sommelier info spiral.h5
    """
    import yaml

    from embeddings.summary import summarise_store

    summary = summarise_store(store)
    click.echo(
        json.dumps(summary, indent=1) if as_json else yaml.safe_dump(summary, sort_keys=False, width=110).rstrip()
    )


@main.command()
@click.argument("store", type=PATH)
@click.option("--deep", type=click.IntRange(0), default=0, help="Embed this many random rows again and compare.")
@click.option("--backbone", help="Where the weights are now, if not where they were.")
@click.option("--images", "image_root", type=PATH, help="Where the images are now, if not where they were.")
@click.option("--device", default="auto")
@seed
def verify(store: Path, deep: int, backbone: str | None, image_root: Path | None, device: str, seed: int) -> None:
    """
    Check every checksum and digest of a store; exit 1 if anything is wrong.

    \b
    sommelier verify spiral.h5 --deep 20
    """
    from embeddings.store import EmbeddingStore

    opened = EmbeddingStore.open(store)
    problems = opened.verify()
    if not problems:
        click.echo(f"{store}: every checksum and digest is right ({len(opened)} rows)")
    if deep and not problems:
        from extract.checks import verify_deep

        check = verify_deep(opened, deep, backbone, str(image_root) if image_root else None, device, seed)
        problems = check.problems
        click.echo(f"{store}: {check.checked} rows embedded again, worst cosine {check.min_cosine:.7f}")
    for problem in problems:
        click.secho(problem, fg="red", err=True)
    sys.exit(1 if problems else 0)


@main.command()
@click.argument("store", type=PATH)
@click.option("--to", required=True, type=PATH, help="A Parquet file.")
def export(store: Path, to: Path) -> None:
    """
    Write ids, status and vectors as a Parquet table.

    \b
    sommelier export spiral.h5 --to spiral-vectors.parquet
    """
    from embeddings.export import export_store
    from embeddings.store import EmbeddingStore

    opened = EmbeddingStore.open(store)
    export_store(opened, to)
    click.echo(f"{to}: {len(opened)} rows; id_str, status, {', '.join(space.name for space in opened.spaces)}")


@main.command()
@click.argument("store", type=PATH)
@click.argument("catalog", type=PATH)
def relabel(store: Path, catalog: Path) -> None:
    """
    Replace a store's labels and catalog columns by a catalog's; vectors stay.

    \b
    sommelier relabel spiral.h5 other-labels.parquet
    """
    from embeddings.relabel import relabel_store
    from extract.catalog import Catalog

    labels = Catalog.read(catalog)
    positions = (labels.frame["ra"].to_numpy(), labels.frame["dec"].to_numpy())
    found = relabel_store(store, labels.columns, labels.ids, labels.questions, positions)
    click.echo(f"{store}: {found} rows relabelled with {', '.join(q.name for q in labels.questions) or 'no questions'}")
    left = len(labels) - found
    if left:
        click.secho(f"  {left} galaxies of the catalog are not in the store", fg="yellow", err=True)


# heads


@main.group(cls=Group)
def head() -> None:
    """Fit light models on embeddings, and use them."""


@head.command("fit")
@click.argument("stores", nargs=-1, required=True, type=PATH)
@click.option("--head", "name", default="ridge", help="mean, knn or ridge.")
@click.option("--catalog", type=PATH, help="Labels from this catalog instead of the store's.")
@click.option("--targets", multiple=True, help="Only targets that match this glob; repeat for several.")
@click.option("--min-votes", default=0, help="Questions with fewer votes count as not asked.")
@click.option("--layer", type=int, help="Only this layer. [default: chosen inside the folds]")
@click.option("--pool", help="Only this pooling: cls, patch-mean or cls+patch-mean. [default: chosen inside the folds]")
@click.option(
    "--folds", "n_folds", default=5, type=click.IntRange(2), help="Outer folds of the nested cross-validation."
)
@click.option("-o", "--output", required=True, type=PATH, help="Folder for the fitted head.")
@seed
@as_json
def head_fit(stores: tuple[Path, ...], name: str, catalog: Path | None, layer: int | None, pool: str | None,
             output: Path, seed: int, as_json: bool, **options: Any) -> None:  # fmt: skip
    """
    Fit a head and print nested cross-validated scores.

    Layer, pooling and penalty are chosen inside the folds: the scores come from galaxies that chose nothing.

    \b
    sommelier head fit spiral.h5 --head ridge -o heads/ridge
    """
    from embeddings.store import EmbeddingStore
    from heads.evaluation import Labels, fit_head, select_candidates

    opened = [EmbeddingStore.open(path) for path in stores]
    labels = None
    if catalog:
        from extract.catalog import Catalog

        read = Catalog.read(catalog)
        labels = Labels(read.ids.astype(str), read.columns, read.questions)
    spaces = select_candidates(opened, layer, pool)
    fitted = fit_head(opened, name, labels, spaces=spaces, random_state=seed, **options)
    fitted.save(output)
    if as_json:
        record = {"head": name, "scores": fitted.scores, "space": fitted.space.name, "details": fitted.details}
        click.echo(json.dumps(record, indent=1))
    else:
        _print_scores(name, fitted.scores, fitted.details)
        click.echo(f"{output}: {name} on {fitted.space.name}, fitted on all {fitted.details['galaxies']} galaxies")


def _print_scores(name: str, scores: list[dict[str, Any]], details: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    folds = details["folds"]
    title = f"{name} on {details['backbone']}: nested {folds}-fold cross-validation, mean ± sd over folds"
    table = Table(title=title, title_justify="left")
    table.add_column("target")
    metrics = {"r": "Pearson r", "r2": "R2", "mae": "MAE", "auc": "AUC"}
    for column in (*metrics.values(), "n"):
        table.add_column(column, justify="right")
    for score in scores:
        cells = ["-" if score[m] is None else f"{score[m]:.3f} ± {score[f'{m}_sd'] or 0:.3f}" for m in metrics]
        table.add_row(score["target"], *cells, str(score["n"]))
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table)
    chosen = details["chosen_in_folds"]
    picks = ", ".join(f"{space} in {chosen.count(space)}" for space in dict.fromkeys(chosen))
    click.echo(f"chosen inside the {folds} folds: {picks} (of {', '.join(details['spaces_tried'])})")


@head.command("predict")
@click.argument("folder", type=PATH)
@click.argument("store", type=PATH)
@click.option("-o", "--output", required=True, type=PATH, help="A Parquet file: id_str and one column a target.")
def head_predict(folder: Path, store: Path, output: Path) -> None:
    """
    Predict the galaxies of a store.

    \b
    sommelier head predict heads/ridge spiral.h5 -o predictions.parquet
    """
    from embeddings.export import write_predictions
    from embeddings.store import EmbeddingStore
    from heads.io import load_head

    predictions = load_head(folder).predict(EmbeddingStore.open(store))
    write_predictions(output, predictions.ids, predictions.P, predictions.targets)
    click.echo(f"{output}: {len(predictions.ids)} galaxies, {', '.join(predictions.targets)}")
    if predictions.seen:
        click.secho(
            f"  the head was fitted on {predictions.seen} of them: on those its predictions look better than they are; "
            "its honest scores are those that 'head fit' printed",
            fg="yellow", err=True,
        )  # fmt: skip


@main.command()
@click.option("--folder", default=".", type=PATH, help="Where stores are going to be written.")
@as_json
def doctor(folder: Path, as_json: bool) -> None:
    """
    Say what this machine has, what is wrong with it, and what to do.

    \b
    sommelier doctor
    """
    from extract.doctor import diagnose

    diagnosis = diagnose(folder)
    if as_json:
        click.echo(json.dumps({"facts": diagnosis.facts, "advice": diagnosis.advice}, indent=1))
        return
    for name, fact in diagnosis.facts.items():
        click.echo(f"{name:18} {fact}")
    for advice in diagnosis.advice or ["Nothing to mend."]:
        click.secho(f"* {advice}", fg="yellow" if diagnosis.advice else "green")


if __name__ == "__main__":
    main()
