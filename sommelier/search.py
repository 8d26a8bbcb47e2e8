"""Commands that search: an index, neighbours, near-duplicates, a map."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sommelier.group import PATH, as_json, print_table, seed

if TYPE_CHECKING:
    import numpy as np

    from embeddings.search import Found, GalaxyIndex

KINDS = ("auto", "exact", "ivf", "hnsw", "pq")


class Place(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3
    """``RA,DEC`` in degrees."""

    name = "ra,dec"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> tuple[float, float]:
        """Text to two numbers."""
        try:
            ra, dec = (float(part) for part in str(value).replace(",", " ").split())
        except ValueError:
            self.fail(f"{value!r} is no place: write RA,DEC in degrees, as 150.1,2.2.", param, context)
        return ra, dec


@contextmanager
def _say() -> Iterator[Callable[[str], None]]:
    """What is being done, on one line, where somebody looks."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console

    with Console(stderr=True).status("opening") as status:
        yield status.update


def space_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which of a store's vectors."""
    command = click.option("--pool", "pooling", help="cls, patch-mean or cls+patch-mean. [default: cls]")(command)
    return click.option("--layer", default=-1, help="-1 is the highest that the store holds.")(command)


@click.command()
@click.argument("stores", nargs=-1, required=True, type=PATH)
@click.option("-o", "--output", required=True, type=PATH, help="Folder of the index.")
@click.option("--recall", default=0.95, type=click.FloatRange(0, 1, min_open=True), help="Recall@10 to be reached.")
@click.option("--kind", default="auto", type=click.Choice(KINDS), help="auto chooses by the number of rows.")
@click.option("--whiten", is_flag=True, help="Compare whitened vectors.")
@space_options
@seed
def index(stores: tuple[Path, ...], output: Path, seed: int, **options: Any) -> None:
    """
    Build an index over stores, or add what they have new.

    Its recall is measured on galaxies that it does not hold yet, and printed with every result.

    \b
    sommelier index spiral.h5 decals.h5 -o galaxies.index --recall 0.95
    """
    from benchmarks.exhibition import describe_recall
    from embeddings.search.build import build_index
    from embeddings.store import EmbeddingStore

    opened = [EmbeddingStore.open(path) for path in stores]
    with _say() as say:
        built = build_index(opened, output, random_state=seed, say=say, **options)
    click.echo(f"{output}: {built.rows} rows, {built.added} of them new; {built.index.label['kind']} ({built.reason})")
    click.echo(f"  {describe_recall(built.index.label)}")
    if built.note:
        click.secho(f"  {built.note}", fg="yellow", err=True)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="{INDEX|STORE...}")
@click.option("--id", "id_str", help="Of a galaxy that is there.")
@click.option("--radec", type=Place(), help="The galaxy nearest to a place: RA,DEC in degrees ICRS.")
@click.option("--radius", default=5.0, help="How near, in arcsec.")
@click.option("--image", help="A picture, embedded as the store's images were.")
@click.option("--vector", type=PATH, help="A .npy file with one vector, as a store holds it.")
@click.option("-k", "--neighbours", "k", default=10, type=click.IntRange(1), help="How many.")
@click.option("--survey", "surveys", multiple=True, help="Only galaxies of this survey; repeat for several.")
@click.option("--where", multiple=True, help="Only galaxies for which COLUMN OP VALUE holds; repeat for several.")
@click.option("--distinct", is_flag=True, help="Of near-duplicate images only the nearest.")
@click.option("--whiten", is_flag=True, help="Compare whitened vectors (stores; an index has its own).")
@click.option("--gallery", type=PATH, help="Write the result as an HTML page with pictures.")
@click.option("--as", "like", help="The survey whose --id is meant, or as whose --image is treated.")
@click.option("--at", type=Place(), help="Where to cut --image, where the store's images are cut-outs.")
@click.option("--backbone", help="Where the weights are now, for --image.")
@click.option("--device", default="auto", help="For --image.")
@space_options
@as_json
def search(paths: tuple[Path, ...], gallery: Path | None, as_json: bool, layer: int, pooling: str | None,
           whiten: bool, **options: Any) -> None:  # fmt: skip
    """
    Galaxies that look like one galaxy, picture or vector.

    The galaxy itself is left out, whichever survey shows it. Filters are applied before the k.

    \b
    sommelier search spiral.h5 --id 101654 -k 10 --gallery out.html
    sommelier search galaxies.index --radec 150.1,2.2 --radius 5 --survey decals --where 'redshift < 0.1' --json
    sommelier search galaxies.index --image cutout.fits --distinct
    """
    from embeddings.search import open_index

    if gallery:
        from benchmarks.pages import refuse_foreign_page

        refuse_foreign_page(gallery)
    opened = open_index(paths, layer, pooling, whiten)
    found, shown = _search(opened, **options)
    if gallery:
        from benchmarks.exhibition import write_gallery

        write_gallery(gallery, opened, [(found, shown)])
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=1))
    else:
        _print_found(opened, found, gallery)
    _say_lacking(opened, options["where"], options["surveys"])


def _search(
    opened: GalaxyIndex, id_str: str | None, radec: tuple[float, float] | None, radius: float, image: str | None,
    vector: Path | None, like: str | None, at: tuple[float, float] | None, backbone: str | None, device: str,
    **options: Any,
) -> tuple[Found, int | np.ndarray[Any, Any] | None]:  # fmt: skip
    """What was found, and the query as a gallery shows it."""
    if sum(query is not None for query in (id_str, radec, image, vector)) != 1:
        raise click.UsageError("give one query: --id, --radec, --image or --vector.")
    if id_str is not None or radec is not None:
        ra, dec = radec or (0.0, 0.0)
        position = opened.find_id(id_str, like) if id_str is not None else opened.find_place(ra, dec, radius)
        return opened.search(position, **options), position
    if vector is not None:
        return opened.search(_read_vector(vector), name={"vector": str(vector)}, **options), None
    from extract.query import choose_model, embed_query

    store = choose_model(opened.rows.stores, str(image), like)
    query = embed_query(store, opened.rows.space, str(image), backbone, device, *(at or ()))
    return opened.search(query.vector, name={"image": str(image)}, **options), query.picture


def _say_lacking(opened: GalaxyIndex, where: Sequence[str], surveys: Sequence[str]) -> None:
    """Say which surveys a condition left out whole, because they lack its column."""
    from embeddings.search.filters import Condition

    for condition in map(Condition.parse, where):
        lacking = [survey for survey in opened.rows.list_lacking(condition) if not surveys or survey in surveys]
        if lacking:
            said = f"{condition}: left out all of {', '.join(lacking)}, where there is no column {condition.column!r}"
            click.secho(said, fg="yellow", err=True)


def _read_vector(path: Path) -> np.ndarray[Any, Any]:
    import numpy as np

    from embeddings.errors import SearchError

    try:
        vector = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise SearchError(f"{path} does not exist.") from None
    except (OSError, ValueError, EOFError) as error:
        raise SearchError(f"{path} is no .npy file of numbers: {error}.") from None
    if not isinstance(vector, np.ndarray) or vector.dtype.kind not in "fiu":
        raise SearchError(f"{path} holds no single array of numbers: save one vector with numpy.save.")
    return vector[0] if vector.ndim == 2 and len(vector) == 1 else vector


def _print_found(opened: GalaxyIndex, found: Found, gallery: Path | None) -> None:
    from benchmarks.exhibition import describe_recall

    query = found.query.get("id_str") or found.query.get("image") or found.query.get("vector")
    places = any("ra" in row for row in found.neighbours)
    columns = ("similarity", "id_str", "survey", *(("ra", "dec") if places else ()))
    rows = [
        (f"{row['similarity']:.4f}", row["id_str"], row["survey"],
         *((f"{row[name]:.5f}" if name in row else "" for name in ("ra", "dec")) if places else ()))
        for row in found.neighbours
    ]  # fmt: skip
    print_table(columns, rows, f"Like {query}, of {found.searched} galaxies")
    click.echo(describe_recall(found.label))
    for row in found.itself:
        click.echo(f"left out, because it shows the query galaxy: {row['id_str']} of {row['survey']}")
    if not found.searched:
        click.secho("no galaxy passes the filters", fg="yellow", err=True)
    if gallery:
        click.echo(f"{gallery}: pictures")


@click.command()
@click.argument("stores", nargs=-1, required=True, type=PATH)
@click.option("-o", "--output", required=True, type=PATH, help="A Parquet file.")
@click.option("--threshold", type=float, help="Cosine above which images are one. [default: 0.85, plain 0.998]")
@click.option("--whiten/--plain", default=None, help="Which vectors. [default: whitened, of few rows plain]")
@space_options
@seed
@as_json
def duplicates(stores: tuple[Path, ...], output: Path, seed: int, as_json: bool, **options: Any) -> None:
    """
    Near-identical images, within and between stores.

    Every pair of images is compared. Columns: id_a, survey_a, id_b, survey_b, similarity.

    \b
    sommelier duplicates A.h5 B.h5 -o pairs.parquet
    """
    from embeddings.duplicates import find_duplicates, refuse_foreign_pairs
    from embeddings.store import EmbeddingStore

    refuse_foreign_pairs(output, stores)
    opened = [EmbeddingStore.open(path) for path in stores]
    with _say() as say:
        pairs = find_duplicates(
            opened, random_state=seed, report=lambda done, total: say(f"{done} of {total} rows compared"), **options
        )
    pairs.write(output)
    within = int((pairs.rows.store[pairs.a] == pairs.rows.store[pairs.b]).sum())
    summary = {"rows": len(pairs.rows), "pairs": len(pairs), "within_a_store": within, "threshold": pairs.threshold}
    summary["vectors"] = "whitened" if pairs.whitened else "plain"  # type: ignore[assignment]
    if as_json:
        click.echo(json.dumps(summary, indent=1))
        return
    click.echo(
        f"{output}: {len(pairs)} pairs of near-identical images among {len(pairs.rows)}, {within} of them within a "
        f"store (cosine of {summary['vectors']} {pairs.rows.space.name} at least {pairs.threshold:g})"
    )


@click.command("map")
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="{INDEX|STORE...}")
@click.option("-o", "--output", required=True, type=PATH, help="An HTML file.")
@click.option(
    "--color", "colors", multiple=True, help="Column to colour by; repeat to offer several. [default: survey]"
)
@click.option("--layout", default="pca", type=click.Choice(["pca", "umap"]), help="umap needs the extra of that name.")
@click.option("--whiten", is_flag=True, help="Compare whitened vectors (stores; an index has its own).")
@click.option("--thumbnails", default=5000, type=click.IntRange(0), help="Pictures in the page; others stay on disk.")
@space_options
@seed
def map_(paths: tuple[Path, ...], output: Path, colors: tuple[str, ...], layout: str, whiten: bool, thumbnails: int,
         layer: int, pooling: str | None, seed: int) -> None:  # fmt: skip
    """
    The embedding as a picture to walk in: zoom, hover, click for neighbours.

    One HTML page, which needs neither server nor network.

    \b
    sommelier map A.h5 B.h5 --color survey -o map.html
    """
    from benchmarks.map import write_map
    from embeddings.search import open_index
    from embeddings.search.build import quicken

    opened = open_index(paths, layer, pooling, whiten)
    with _say() as say:
        opened = quicken(opened, random_state=seed, say=say)
        made = write_map(output, opened, colors, layout, thumbnails, seed, say)
    size = f"{made['bytes'] / 2**20:.1f} MiB"
    click.echo(f"{output}: {made['points']} galaxies by {layout}, {made['thumbnails']} thumbnails, {size}")
