"""Galaxies of a survey to look at: their vectors, and the sky objects that they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embeddings.objects import group_galaxies
from embeddings.provenance import Space, require_same_model
from embeddings.store import EmbeddingStore

Array = np.ndarray[Any, Any]


def name_survey(survey: str) -> str:
    """As astronomers write it, ``sdss+decals`` also: SDSS+DECaLS."""
    return survey.upper().replace("DECALS", "DECaLS")


@dataclass(frozen=True)
class Galaxies:
    """
    Rows of one survey.

    Attributes
    ----------
    survey : str
    ids : (n_rows,) array of str
    X : (n_rows, embed_dim) float32 array
    objects : (n_rows,) int array
        The sky object that each row shows, numbered over all surveys.
    """

    survey: str
    ids: Array
    X: Array
    objects: Array

    def __len__(self) -> int:
        return len(self.ids)


def gather_galaxies(stores: Sequence[EmbeddingStore], space: Space) -> list[Galaxies]:
    """
    Read the rows that have vectors, with sky objects that run through all stores.

    Parameters
    ----------
    stores : sequence of EmbeddingStore
    space : Space

    Raises
    ------
    ProvenanceMismatch
        When different models made the stores.
    """
    for store in stores[1:]:
        what = f"{stores[0].path} (here) and {store.path} (there)"
        require_same_model(stores[0].provenance.model, store.provenance.model, what)
    kept = [store.ok for store in stores]
    names = ("ra", "dec", "image_sha256")
    columns = [[s.ids[ok], *(s.dataset(name)[ok] for name in names)] for s, ok in zip(stores, kept, strict=True)]
    ids, ra, dec, images = (np.concatenate(values) for values in zip(*columns, strict=True))
    objects = group_galaxies(ids, ra, dec, images)
    ends = np.cumsum([ok.sum() for ok in kept])[:-1]
    return [
        Galaxies(store.survey, store.ids[ok], store.read_vectors(space, ok), numbers)
        for store, ok, numbers in zip(stores, kept, np.split(objects, ends), strict=True)
    ]
