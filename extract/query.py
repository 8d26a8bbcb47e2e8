"""One picture as a query: embedded as a store's own images were, or not at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embeddings.errors import SearchError
from embeddings.provenance import Space
from embeddings.store import EmbeddingStore
from extract.checks import repeat_job
from extract.references import Reference
from extract.rendering import Rendering
from extract.worker import Embedder

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Query:
    """
    A picture and its vector.

    Attributes
    ----------
    vector : (embed_dim,) float32 array
    picture : (height, width, 3) uint8 array
        As the backbone's recipe gets it.
    """

    vector: Array
    picture: Array


def embed_query(
    store: EmbeddingStore,
    space: Space,
    path: str,
    backbone: str | None = None,
    device: str = "auto",
    ra: float = math.nan,
    dec: float = math.nan,
) -> Query:
    """
    Embed one picture with the model, recipe, stretch and precision that made a store.

    Parameters
    ----------
    store : EmbeddingStore
    space : Space
        Which of its vectors; may be a concatenation.
    path : str
        An image, as a catalog may name it (``file.fits[1]``, ``shard.parquet#17``).
    backbone : str, optional
        Where the weights are now; as recorded by default.
    device : str
    ra, dec : float
        Degrees ICRS; for stores of cut-outs.

    Raises
    ------
    SommelierError
        When the picture cannot be read as the store's images were, or when the weights that made the store are not
        to be had.
    """
    rendering = Rendering.from_dict(store.provenance.images)
    if rendering.cutout is not None and math.isnan(ra + dec):
        raise SearchError(
            f"the images of {store.path} were cut out of mosaics, {rendering.cutout:g} arcsec wide: "
            f"say where on {path} to cut with --at RA,DEC."
        )
    _, picture = rendering.load(path, ra, dec)
    if isinstance(picture, str):
        hint = ""
        if "stretch" in picture:
            hint = f" {store.path} was made of pictures, not of FITS: render it first, or search a store made of FITS."
        raise SearchError(f"{path}: {picture}. It cannot be embedded as the images of {store.path} were.{hint}")
    status, vectors, _ = Embedder(repeat_job(store, backbone, device)).embed_images([path], [(ra, dec)])
    if status[0] != "ok":
        raise SearchError(f"{path}: {status[0].removeprefix('failed: ')}")
    return Query(np.concatenate([vectors[part][0] for part in space.parts()]), picture)


def choose_model(stores: list[EmbeddingStore], path: str, survey: str | None = None) -> EmbeddingStore:
    """
    The store whose images a query picture is to be treated like.

    Parameters
    ----------
    stores : list of EmbeddingStore
    path : str
    survey : str, optional
        Of which survey; needed where the stores stretch FITS in different ways.

    Raises
    ------
    SearchError
    """
    if survey is not None:
        named = [store for store in stores if store.survey == survey]
        if not named:
            known = ", ".join(dict.fromkeys(store.survey for store in stores))
            raise SearchError(f"no survey is called {survey!r}; known: {known}.")
        return named[0]
    ways = {repr(store.provenance.images): store for store in stores}
    if len(ways) > 1 and Reference.parse(path).is_fits:
        names = ", ".join(store.survey for store in ways.values())
        raise SearchError(
            f"{Path(path).name} is FITS, and the surveys ({names}) make pictures of FITS in different ways: "
            "say whose way it takes with --as SURVEY."
        )
    return stores[0]
