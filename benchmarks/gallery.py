"""Galaxies to look at: the same ones as several surveys see them, and those that lie near each other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Tile, draw_sheet
from benchmarks.galaxies import Galaxies, name_survey
from embeddings.search import find_neighbours
from embeddings.store import EmbeddingStore
from extract.images import decode_image, read_image

Array = np.ndarray[Any, Any]
EXAMPLES = {
    "round": "how-rounded_round",
    "cigar-shaped": "how-rounded_cigar",
    "disk, edge-on": "disk-edge-on_yes",
    "spiral arms": "has-spiral-arms_yes",
    "bar": "bar_yes",
    "something odd": "something-odd_yes",
}
FIRST_TOTAL = "smooth-or-featured_total-votes"
FIRST_QUESTION = {"smooth": "smooth", "featured-or-disk": "featured or disk", "artifact": "artifact"}


@dataclass(frozen=True)
class Album:
    """One survey's pictures and votes, by id."""

    survey: str
    rows: dict[str, int]
    paths: list[str]
    votes: dict[str, Array]

    @classmethod
    def of(cls, store: EmbeddingStore) -> Album:
        """What a store says of its images and of the questions shown here."""
        names = [f"smooth-or-featured_{answer}" for answer in FIRST_QUESTION] + list(EXAMPLES.values())
        columns = set(store.columns)
        wanted = [column for name in names for column in (name, f"{name}_fraction") if column in columns]
        wanted += [FIRST_TOTAL]
        paths = [os.path.join(*place) for place in zip(store.image_roots, store.images, strict=True)]
        rows = {id_str: row for row, id_str in enumerate(store.ids.tolist())}
        return cls(store.survey, rows, paths, {column: store.column(column) for column in wanted})

    def look(self, id_str: str) -> Array:
        """The picture, (height, width, 3) uint8."""
        path = self.paths[self.rows[id_str]]
        return decode_image(read_image(path), path)

    def leading_answer(self, id_str: str) -> str:
        """What most volunteers said first."""
        row = self.rows[id_str]
        shares = {words: self.votes[f"smooth-or-featured_{answer}_fraction"][row]
                  for answer, words in FIRST_QUESTION.items()}  # fmt: skip
        answer = max(shares, key=lambda words: np.nan_to_num(shares[words]))
        return f"{answer} {shares[answer]:.0%}"

    def share(self, id_str: str, target: str) -> float:
        """What share of all volunteers said it, those who were led elsewhere in the tree too."""
        row = self.rows[id_str]
        return float(np.nan_to_num(self.votes[target][row]) / max(self.votes[FIRST_TOTAL][row], 1))

    def said(self, id_str: str, words: str, target: str) -> str:
        """What share of those who were asked said it."""
        share = self.votes[f"{target}_fraction"][self.rows[id_str]] if f"{target}_fraction" in self.votes else np.nan
        return f"{words}: not asked" if np.isnan(share) else f"{words} {share:.0%}"


def choose_examples(surveys: Sequence[Galaxies], album: Album) -> dict[str, int]:
    """
    For each kind an object that no earlier kind has: of those that the most surveys saw, the one of which the largest
    share of all the first survey's volunteers said it.

    Shares of those who were asked would favour galaxies where only a few were led to the question.

    Returns
    -------
    dict of str to int
        The number of the object, by kind.
    """
    seen = [set(galaxies.objects.tolist()) for galaxies in surveys]
    first = dict(zip(surveys[0].objects.tolist(), surveys[0].ids.tolist(), strict=True))
    chosen: dict[str, int] = {}
    for words, target in EXAMPLES.items():
        if target in album.votes:
            rank = {number: (sum(number in s for s in seen), album.share(id_str, target))
                    for number, id_str in first.items() if number not in chosen.values()}  # fmt: skip
            if rank:
                chosen[words] = max(rank, key=lambda number: rank[number])
    return chosen


def draw_contact_sheet(path: Path, surveys: Sequence[Galaxies], albums: Sequence[Album]) -> None:
    """The same galaxies as each survey sees them, with what its volunteers said."""
    chosen = choose_examples(surveys, albums[0])
    rows = []
    for galaxies, album in zip(surveys, albums, strict=True):
        ids = dict(zip(galaxies.objects.tolist(), galaxies.ids.tolist(), strict=True))
        rows.append([_show(album, ids.get(number), words) for words, number in chosen.items()])
    title = "The same galaxies, as each survey sees them"
    subtitle = (
        "Each column: of the other galaxies in the most surveys, the one of which most of "
        f"{name_survey(albums[0].survey)}'s volunteers (as a share) said the word above. "
        "Below: what those who saw this picture said."
    )
    draw_sheet(path, title, subtitle, rows, [name_survey(album.survey) for album in albums], list(chosen))


def _show(album: Album, id_str: str | None, words: str) -> Tile:
    if id_str is None:
        return Tile(None)
    return Tile(album.look(id_str), _caption(album, id_str, words))


def _caption(album: Album, id_str: str, words: str) -> str:
    return f"{album.leading_answer(id_str)}\n{album.said(id_str, words, EXAMPLES[words])}"


def draw_neighbours(path: Path, galaxies: Galaxies, album: Album, backbone: str, k: int = 6) -> None:
    """A few galaxies of a survey, and the other galaxies whose embeddings are nearest."""
    queries = choose_examples([galaxies], album)
    rows = []
    others = _find_others(galaxies, list(queries.values()), k)
    for (words, number), found in zip(queries.items(), others, strict=True):
        id_str = str(galaxies.ids[galaxies.objects == number][0])
        tiles = [Tile(album.look(id_str), f"query\n{_caption(album, id_str, words)}")]
        for near, similarity in found:
            caption = f"cosine {similarity:.2f}\n{_caption(album, near, words)}"
            tiles.append(Tile(album.look(near), caption))
        rows.append(tiles)
    title = f"Nearest neighbours among {len(galaxies)} galaxies of {name_survey(album.survey)}"
    subtitle = (
        f"By the cosine of standardised embeddings of {backbone}, which no votes have shaped. "
        "Do neighbours share the row's word?"
    )
    labels = [words.replace(", ", ",\n") for words in queries]
    draw_sheet(path, title, subtitle, rows, labels, side=1.5, caption_lines=3)


def _find_others(galaxies: Galaxies, numbers: Sequence[int], k: int) -> Iterator[list[tuple[str, float]]]:
    """The ids of the k nearest rows of other objects and their cosines, for one row of each object."""
    spread = galaxies.X.std(axis=0)
    X = (galaxies.X - galaxies.X.mean(axis=0)) / np.where(spread > 0, spread, 1)
    X /= np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)
    rows = np.array([np.flatnonzero(galaxies.objects == number)[0] for number in numbers], int)
    most = int(np.bincount(galaxies.objects).max())  # rows that show the query's own object
    for row, similarity, near in zip(rows, *find_neighbours(X, X[rows], k + most), strict=True):
        others = galaxies.objects[near] != galaxies.objects[row]
        yield list(zip(galaxies.ids[near[others]][:k].tolist(), similarity[others][:k].tolist(), strict=True))
