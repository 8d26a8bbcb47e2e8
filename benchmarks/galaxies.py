"""Galaxies of a survey: vectors, votes, and the sky objects that they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.ceilings import MIN_VOTES
from embeddings.errors import SommelierError
from embeddings.objects import group_galaxies
from embeddings.provenance import Space, require_same_model
from embeddings.questions import Question
from embeddings.store import EmbeddingStore

Array = np.ndarray[Any, Any]
ARRAYS = ("ids", "X", "Y", "votes", "totals", "objects")  # that have a row a galaxy


def name_survey(survey: str) -> str:
    """As astronomers write it, ``sdss+decals`` also: SDSS+DECaLS."""
    return survey.upper().replace("DECALS", "DECaLS")


@dataclass(frozen=True)
class Galaxies:
    """
    Rows of one survey, or of several.

    Attributes
    ----------
    survey : str
    ids : (n_rows,) array of str
    X : (n_rows, embed_dim) float32 array
    Y, votes, totals : (n_rows, n_targets) float32 arrays
        Fractions (NaN where not asked), votes for the answer, votes for the question.
    objects : (n_rows,) int array
        The sky object that each row shows, numbered over all surveys.
    """

    survey: str
    ids: Array
    X: Array
    Y: Array
    votes: Array
    totals: Array
    objects: Array

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> Array:
        """Y with NaN where fewer than two volunteers answered: there noise cannot be told from the galaxy."""
        return np.where(self.totals < MIN_VOTES, np.nan, self.Y)

    def count_objects(self) -> int:
        """How many different sky objects there are."""
        return len(np.unique(self.objects))

    def take(self, rows: Array) -> Galaxies:
        """Some of the rows."""
        return replace(self, **{name: getattr(self, name)[rows] for name in ARRAYS})

    def answer(self, targets: Array) -> Galaxies:
        """Some of the targets."""
        return replace(self, **{name: getattr(self, name)[:, targets] for name in ("Y", "votes", "totals")})


def gather_galaxies(
    stores: Sequence[EmbeddingStore], questions: Sequence[Question], space: Space, seen: bool = False
) -> list[Galaxies]:
    """
    Read the rows that have vectors, with sky objects that run through all stores.

    Parameters
    ----------
    stores : sequence of EmbeddingStore
    questions : sequence of Question
    space : Space
    seen : bool
        Also of stores whose backbone was trained on some of their galaxies.

    Raises
    ------
    ProvenanceMismatch
        When different models made the stores.
    SommelierError
        When a backbone was trained on galaxies that would be scored.
    """
    if not seen:
        for store in stores:
            refuse_seen(store)
    for store in stores[1:]:
        what = f"{stores[0].path} (here) and {store.path} (there)"
        require_same_model(stores[0].provenance.model, store.provenance.model, what)
    kept = [store.ok for store in stores]
    names = ("ra", "dec", "image_sha256")
    columns = [[s.ids[ok], *(s.dataset(name)[ok] for name in names)] for s, ok in zip(stores, kept, strict=True)]
    ids, ra, dec, images = (np.concatenate(values) for values in zip(*columns, strict=True))
    objects = group_galaxies(ids, ra, dec, images)
    ends = np.cumsum([ok.sum() for ok in kept])[:-1]
    gathered = []
    for store, ok, numbers in zip(stores, kept, np.split(objects, ends), strict=True):
        Y, votes = store.labels(questions)
        totals = np.stack([store.column(q.total_column) for q in questions for _ in q.targets], axis=1)
        vectors = store.read_vectors(space, ok)
        gathered.append(
            Galaxies(store.survey, store.ids[ok], vectors, Y[ok], votes[ok], totals[ok].astype(np.float32), numbers)
        )
    return gathered


def refuse_seen(store: EmbeddingStore) -> None:
    """
    Refuse a store that holds galaxies which its backbone was trained on: tests on them show nothing.

    Raises
    ------
    SommelierError
    """
    n_train = int((store.parts == "train").sum())
    if n_train:
        raise SommelierError(
            f"the backbone that made {store.path} was trained on {n_train} of its {len(store)} galaxies: scores of "
            "them say nothing of new ones. Extract galaxies that the run did not know, or take these all the same "
            "(seen=True)."
        )


def join_galaxies(parts: Sequence[Galaxies]) -> Galaxies:
    """All rows of one survey, or of several that share their numbering of objects."""
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS}
    return Galaxies("+".join(part.survey for part in parts), **joined)
