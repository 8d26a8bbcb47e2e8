"""The figures of docs/search.md, from stores of real galaxies: python docs/search.py --help says which."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from embeddings.duplicates import find_duplicates
from embeddings.errors import SommelierError
from embeddings.provenance import Space
from embeddings.search import GalaxyIndex, open_index
from embeddings.store import EmbeddingStore

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


if __name__ == "__main__":
    try:
        main()
    except SommelierError as error:
        raise SystemExit(str(error)) from None
