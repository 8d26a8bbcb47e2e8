"""Commands that make stores and look after them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sommelier.group import AUTO, BANDS, PATH, SHARE, as_json, explain_stop, format_seconds, seed, show_progress

if TYPE_CHECKING:
    from extract.pipeline import Extraction


@click.command()
@click.argument("catalogs", nargs=-1, required=True, type=PATH)
@click.option("--backbone", required=True, help="Hub id (facebook/dinov2-base), model folder, run folder, or tiny.")
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
    help="Repeat for several. [default: cls, or what the head of a run reads]",
)
@click.option(
    "--size",
    type=AUTO,
    default="auto",
    help="Side of the square that the backbone sees, in pixels; auto is 224, or that of a run.",
)
@click.option(
    "--recipe",
    type=click.Choice(["whole", "hf"]),
    help="whole: resize the whole cut-out. hf: as transformers does, resize to 256 and crop 224. "
    "[default: whole, or that of a run]",
)
@click.option("--stretch", help="For FITS: auto, lupton, dr2, asinh; lupton:Q=8,stretch=0.5. [default: auto]")
@click.option("--bands", type=BANDS, default="", help="For FITS, blue to red: g,r,z; fills {band} or picks planes.")
@click.option("--cutout", type=float, help="For FITS: cut a square of so many arcsec at each position.")
@click.option("--max-missing", type=SHARE, default="20%", help="FITS images with more missing pixels fail.")
@click.option("--revision", help="Branch, tag or commit on the hub.")
@click.option("--images", "image_root", type=PATH, help="Folder of the images, instead of the catalog's.")
@click.option("--precision", default="auto", help="fp32, bf16 or fp16; auto is bf16 on a GPU that has it.")
@click.option("--storage", default="float16", type=click.Choice(["float16", "float32"]))
@click.option("--batch-size", type=AUTO, default="auto", help="Images in a batch.")
@click.option("--workers", type=AUTO, default="auto", help="Processes on a CPU.")
@click.option("--threads", type=AUTO, default="auto", help="Threads in each worker.")
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
    sommelier extract spiral.parquet --backbone runs/full -o tuned.h5
    sommelier extract mosaic.parquet --backbone DIR --cutout 30 --stretch dr2 --bands g,r,z -o cutouts.h5
    """
    from extract.catalog import Catalog, split_surveys
    from extract.options import Options
    from extract.pipeline import Extraction
    from extract.plan import parse_shard

    chosen = Options(**options, shard=parse_shard(shard))
    for path, group in split_surveys([Catalog.read(path) for path in catalogs], output):
        extraction = Extraction(group, backbone, path, chosen)
        if not extraction.backbone.trained:
            click.secho(f"{backbone} is untrained: random weights, to try things out with.", fg="yellow", err=True)
        if extraction.caution:
            click.secho(f"  {extraction.caution}", fg="yellow", err=True)
        if dry_run:
            _dry_run(extraction, path)
        else:
            _extract(extraction, path)


def _extract(extraction: Extraction, path: Path) -> None:
    with explain_stop(f"What is done is kept beside {path}"), show_progress(f"Embedding {path.name}") as report:
        store = extraction.run(report)
    if store is None:
        click.echo(f"{path}: this share is done; other shards have rows to make. The last to finish joins them.")
        return
    ok, spaces = int(store.ok.sum()), ", ".join(space.name for space in store.spaces)
    click.echo(f"{path}: {len(store)} rows, {ok} ok, {len(store) - ok} failed; {spaces}")


def _dry_run(extraction: Extraction, path: Path) -> None:
    from extract.checks import estimate_extraction

    estimate = estimate_extraction(extraction)
    time, disk = format_seconds(estimate.seconds), f"{estimate.disk_bytes / 2**20:.1f} MiB"
    click.echo(f"{path}: {estimate.rows} rows, {estimate.to_do} to embed, about {time}, {disk} of disk while joining")
    if estimate.missing_images:
        click.secho(f"  {estimate.missing_images} of them have no image file and will fail", fg="yellow", err=True)


@click.command()
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


@click.command()
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


@click.command()
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


@click.command()
@click.argument("store", type=PATH)
@click.argument("catalog", type=PATH)
def relabel(store: Path, catalog: Path) -> None:
    """
    Replace a store's labels and catalog columns by a catalog's; vectors stay.

    \b
    sommelier relabel spiral.h5 other-labels.parquet
    """
    from embeddings.relabel import relabel_store
    from embeddings.store import EmbeddingStore
    from extract.catalog import Catalog

    labels = Catalog.read(catalog)
    positions = (labels.frame["ra"].to_numpy(), labels.frame["dec"].to_numpy())
    found = relabel_store(store, labels.columns, labels.ids, labels.questions, positions)
    click.echo(f"{store}: {found} rows relabelled with {', '.join(q.name for q in labels.questions) or 'no questions'}")
    lost = len(EmbeddingStore.open(store)) - found
    if lost:
        click.secho(f"  {lost} rows of the store are not in the catalog and have no labels now", fg="yellow", err=True)
    left = len(labels) - found
    if left:
        click.secho(f"  {left} galaxies of the catalog are not in the store", fg="yellow", err=True)
