"""The worst errors, to look at: the galaxies whose label is farthest from the prediction."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.reporting.sources import is_simulated, open_stores
from benchmarks.results import Entry, Results
from benchmarks.samples import Sample
from benchmarks.thumbnails import encode_thumbnail
from benchmarks.viewers import link_viewer
from embeddings.store import EmbeddingStore
from extract.rendering import Rendering

Array = np.ndarray[Any, Any]
SURE = 10  # votes: of fewer the label's own noise is large
SHOWN, SIDE = 6, 180  # cards a test; pixels


@dataclass(frozen=True)
class Card:
    """
    One galaxy and its worst answer.

    Attributes
    ----------
    id_str, survey, target : str
    label, prediction : float
        The prediction is the mean over runs.
    votes : int
        For the question; 0 where not known.
    picture : str
        A ``data:`` address; empty where there is no picture.
    viewer, link : str
        Of the place on the sky; empty where it is not known, or not on the real one.
    """

    id_str: str
    survey: str
    target: str
    label: float
    prediction: float
    votes: int
    picture: str = ""
    viewer: str = ""
    link: str = ""

    @property
    def words(self) -> str:
        """In one line, which says all that the picture does not."""
        votes = f" of {self.votes} votes" if self.votes else ""
        return f"{self.id_str}: {self.target} {self.label:.2f}{votes}, predicted {self.prediction:.2f}"


def list_worst(results: Results, entry: Entry, count: int = SHOWN) -> list[Card]:
    """
    The worst errors of an entry, each of another sky object, worst first.

    Only labels of at least ten votes, where votes are known and any label has so many.
    """
    sample = results.samples[entry.test]
    mean = np.mean(list(results.predictions(entry).values()), axis=0)
    chosen = choose_worst(sample, mean, count)
    pictures = draw_pictures(results, sample, [row for row, _ in chosen])
    real = not is_simulated(results, sample.survey)
    cards = []
    for (row, column), picture in zip(chosen, pictures, strict=True):
        ra, dec, votes = float(sample.ra[row]), float(sample.dec[row]), sample.totals[row, column]
        viewer, link = link_viewer(sample.survey, ra, dec) if real and np.isfinite(ra + dec) else ("", "")
        label, prediction = float(sample.Y[row, column]), float(mean[row, column])
        known = int(votes) if np.isfinite(votes) else 0
        cards.append(
            Card(str(sample.ids[row]), sample.survey, results.targets[column], label, prediction, known, picture,
                 viewer, link)
        )  # fmt: skip
    return cards


def choose_worst(sample: Sample, predictions: Array, count: int) -> list[tuple[int, int]]:
    """The rows and columns of the largest errors, one a sky object."""
    error = np.abs(sample.Y - predictions)
    sure = error[sample.totals >= SURE]
    if np.isfinite(sure).any():
        error = np.where(sample.totals >= SURE, error, np.nan)
    error = np.where(np.isfinite(error), error, -1)
    column, worst = error.argmax(axis=1), error.max(axis=1)
    chosen: dict[int, tuple[int, int]] = {}
    for row in np.argsort(-worst, kind="stable"):
        if worst[row] < 0 or len(chosen) == count:
            break
        chosen.setdefault(int(sample.groups[row]), (int(row), int(column[row])))
    return list(chosen.values())


def draw_pictures(results: Results, sample: Sample, rows: Sequence[int]) -> list[str]:
    """Thumbnails from the survey's stores, as the backbone saw them; empty where none can be read."""
    ids = [str(sample.ids[row]) for row in rows]
    found: dict[str, str] = {}
    for store in open_stores(results, sample.survey):
        with store:
            found |= {id_str: picture for id_str, picture in _draw(store, set(ids) - set(found)) if picture}
        if len(found) == len(set(ids)):
            break
    return [found.get(id_str, "") for id_str in ids]


def _draw(store: EmbeddingStore, ids: set[str]) -> Iterator[tuple[str, str]]:
    """The pictures of those galaxies that a store holds."""
    rendering = Rendering.from_dict(store.provenance.images)
    roots, images, ra, dec = store.image_roots, store.images, store.ra, store.dec
    for row, id_str in enumerate(store.ids.tolist()):
        if id_str in ids:
            path = os.path.join(str(roots[row]), str(images[row]))
            yield id_str, encode_thumbnail(rendering, path, SIDE, float(ra[row]), float(dec[row]))
