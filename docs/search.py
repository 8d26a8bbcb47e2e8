"""The figures of docs/search.md, from stores of real galaxies: python docs/search.py --help says which."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from PIL import Image

from benchmarks.thumbnails import find_pictures
from embeddings.duplicates import find_duplicates
from embeddings.errors import SommelierError
from embeddings.provenance import Space
from embeddings.search import GalaxyIndex, open_index
from embeddings.search.index import fit_whitening
from embeddings.search.whitening import transform
from embeddings.store import EmbeddingStore
from extract.checks import repeat_job
from extract.worker import Embedder

K = 10


@click.group()
def main() -> None:
    """Measure what a search finds among real galaxies."""


@main.command()
@click.argument("stores", nargs=-1, required=True, type=click.Path(path_type=Path))
def shares(stores: tuple[Path, ...]) -> None:
    """
    How many of the ten nearest share the answer and the survey, beside chance.

    The catalogs have the columns question_title and answer, as gz4_interface_examples/labels.csv.
    """
    opened = [EmbeddingStore.open(path) for path in stores]
    for space in opened[0].spaces:
        for whiten in (False, True):
            index = GalaxyIndex.over(opened, *space, whiten=whiten)
            for name, (share, error, chance) in measure_shares(index).items():
                words = "whitened" if whiten else "plain"
                click.echo(
                    f"{space.name:14s} {words:9s} same {name:7s} {share:.3f} ± {error:.3f}, by chance {chance:.3f}"
                )


def measure_shares(index: GalaxyIndex) -> dict[str, tuple[float, float, float]]:
    """Share of the `K` nearest other images with the same value, its standard error over galaxies, and by chance."""
    rows = index.rows
    values = {"survey": rows.column("survey"), "answer": join_columns(index)}
    images = np.ascontiguousarray(rows.column("image_sha256")).view("V32").ravel()
    _, codes = np.unique(images, return_inverse=True)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in values}
    # an image that illustrates several answers is there several times: each counts once, under its first
    first = np.sort(np.unique(codes, return_index=True)[1])
    keep = np.isin(np.arange(len(rows)), first)
    _, near = index.neighbours(rows.take_vectors(first), K + 1, keep)
    for row, others in zip(first, near, strict=True):
        others = others[others != row][:K]
        rest = first[first != row]
        for name, value in values.items():
            found[name].append((float((value[others] == value[row]).mean()), float((value[rest] == value[row]).mean())))
    table = {name: np.array(pairs) for name, pairs in found.items()}
    return {
        name: (pairs[:, 0].mean(), pairs[:, 0].std(ddof=1) / np.sqrt(len(pairs)), pairs[:, 1].mean())
        for name, pairs in table.items()
    }


def join_columns(index: GalaxyIndex) -> np.ndarray:
    """Question and answer of every row."""
    out = np.empty(len(index), object)
    for number, store in enumerate(index.rows.stores):
        mine = index.rows.store == number
        titles, answers = (store.column(name)[index.rows.row[mine]] for name in ("question_title", "answer"))
        out[mine] = [f"{title}: {answer}" for title, answer in zip(titles, answers, strict=True)]
    return out


@main.command()
@click.argument("stores", nargs=2, type=click.Path(path_type=Path))
def copies(stores: tuple[Path, Path]) -> None:
    """
    How copies of the same galaxy fare, in every space: found pairs, false pairs, and those that were missed.

    Rows of equal names in two stores, the last part of the path counted, are the same galaxy.
    """
    opened = [EmbeddingStore.open(path) for path in stores]
    for space in opened[0].spaces:
        for whiten in (True, False):
            pairs = find_duplicates(opened, None, whiten, *space)
            count_pairs(pairs.to_columns(), f"{space.name} {'whitened' if whiten else 'plain'} at {pairs.threshold:g}")
    rank_missed(opened)


def count_pairs(columns: dict[str, list[str]], title: str) -> None:
    """Print how many pairs name one galaxy."""
    ends = [[name.rsplit("/", 1)[-1] for name in columns[side]] for side in ("id_a", "id_b")]
    right = sum(a == b for a, b in zip(*ends, strict=True))
    click.echo(f"{title}: {right} pairs of one galaxy, {len(ends[0]) - right} of two")


def rank_missed(stores: list[EmbeddingStore]) -> None:
    """Print where the small copies come among the neighbours of the large ones."""
    small = {name.rsplit("/", 1)[-1]: name for name in stores[1].ids.tolist() if "/" in name}
    space: Space = stores[0].space()
    for whiten in (False, True):
        index = open_index([store.path for store in stores], *space, whiten=whiten)
        for name in sorted(set(small) & set(stores[0].ids.tolist())):
            vector = index.rows.take_vectors(np.array([index.find_id(name)]))[0]
            target = index.find_id(small[name])
            similarity, positions = index.neighbours(vector[None], len(index))
            rank = int(np.flatnonzero(positions[0] == target)[0])
            cosine = similarity[0, rank]
            words = "whitened" if whiten else "plain"
            click.echo(f"{name}, {words}: the small copy is neighbour {rank} of {len(index) - 1}, cosine {cosine:.3f}")


@main.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--galaxies", default=30, help="How many are encoded again.")
@click.option("--backbone", help="Where the weights are now.")
def encodings(store: Path, galaxies: int, backbone: str | None) -> None:
    """Encode galaxies again in several ways, and compare the copies with the originals, as `duplicates` does."""
    index = GalaxyIndex.over([EmbeddingStore.open(store)])
    rows = np.sort(np.random.default_rng(0).choice(len(index), galaxies, replace=False))
    embedder = Embedder(repeat_job(index.rows.stores[0], backbone, "auto"))
    whitening = fit_whitening(index.rows)
    pictures = [Image.open(path).convert("RGB") for path in find_pictures(index.rows, rows)]
    click.echo("| copies | plain: lowest | tenth | whitened: lowest | tenth |\n|--|--|--|--|--|")
    for name, encode in WAYS.items():
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder, f"{number}.jpg")) for number in range(galaxies)]
            for picture, path in zip(pictures, paths, strict=True):
                encode(picture, path)
            _, vectors, _ = embedder.embed_images(paths)
        cells = [name]
        for way in (None, whitening):
            own = transform(index.rows.take_vectors(rows), way)
            cosines = (own * transform(vectors[index.rows.space], way)).sum(axis=1)
            cells += [f"{value:.3f}" for value in (cosines.min(), np.quantile(cosines, 0.1))]
        click.echo(f"| {' | '.join(cells)} |")
    for way, words in ((None, "plain"), (whitening, "whitened")):
        X = transform(index.rows.read_vectors(), way)
        scores = X @ X.T
        np.fill_diagonal(scores, -1)
        click.echo(f"{words}: the highest cosine of two different galaxies is {scores.max():.3f}")


WAYS: dict[str, Callable[[Image.Image, str], None]] = {
    "JPEG quality 95": lambda picture, path: picture.save(path, quality=95),
    "JPEG quality 75": lambda picture, path: picture.save(path, quality=75),
    "JPEG quality 50": lambda picture, path: picture.save(path, quality=50),
    "JPEG quality 30": lambda picture, path: picture.save(path, quality=30),
    "half the size": lambda picture, path: picture.resize((picture.width // 2, picture.height // 2)).save(
        path, quality=92
    ),
    "mirrored": lambda picture, path: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path, quality=95),
    "turned by 90 degrees": lambda picture, path: picture.transpose(Image.Transpose.ROTATE_90).save(path, quality=95),
}


if __name__ == "__main__":
    try:
        main()
    except SommelierError as error:
        raise SystemExit(str(error)) from None
