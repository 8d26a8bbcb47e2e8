"""New labels for a store, without embedding again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from embeddings import layout
from embeddings.errors import StoreError
from embeddings.layout import Array, Header
from embeddings.parts import FileLock, lock_path, remove_leftovers
from embeddings.questions import Question
from embeddings.store import EmbeddingStore


def relabel_store(
    path: str | os.PathLike[str],
    columns: dict[str, Array],
    ids: Array,
    questions: Iterable[Question],
    positions: tuple[Array, Array] | None = None,
) -> int:
    """
    Replace a store's labels and catalog columns; vectors stay as they are.

    Parameters
    ----------
    path : path
        The store; it is replaced at once, a kill leaves the old one.
    columns : dict of str to (n_catalog,) array
        The new catalog columns, by name.
    ids : (n_catalog,) array of str
        The catalog's ids; rows are matched by them.
    questions : iterable of Question
        What the new labels are.
    positions : pair of (n_catalog,) arrays, optional
        ra and dec in degrees; kept as they are without.

    Returns
    -------
    int
        How many rows of the store are in the catalog; the others get missing labels.

    Raises
    ------
    StoreError
        When none is, when the catalog has an id twice, or when the store is damaged.
    BusyError
        When an extraction is at work on the store.
    """
    EmbeddingStore.open(path).close()  # before there is a lock file beside something that is no store
    with FileLock(lock_path(Path(path))), EmbeddingStore.open(path) as store:
        remove_leftovers(store.path)
        arrays = {name: values for name, values in store.to_arrays().items() if not name.startswith("catalog/")}
        place = {str(id_str): row for row, id_str in enumerate(ids)}
        if len(place) != len(ids):
            raise StoreError(f"the catalog has {len(ids) - len(place)} ids twice: which labels are right?")
        rows = np.array([place.get(id_str, -1) for id_str in store.ids.tolist()], dtype=np.int64)
        found = int((rows >= 0).sum())
        if not found:
            raise StoreError(
                f"none of the {len(store)} ids of {store.path} is in the catalog "
                f"(ids here: {', '.join(store.ids[:3])}; there: {', '.join(map(str, ids[:3]))}). Check the id column."
            )
        for name, values in columns.items():
            arrays[f"catalog/{layout.escape_name(name)}"] = layout.encode_column(take_rows(values, rows))
        if positions:
            for name, values in zip(("ra", "dec"), positions, strict=True):
                fresh = take_rows(values, rows)
                arrays[name] = np.where(np.isnan(fresh), arrays[name], fresh)
        header = Header(store.survey, store.provenance, tuple(questions), store.header.image_roots)
        vectors = {space: store.vector_blocks(space) for space in store.spaces}
        layout.write_store(store.path, header, arrays, vectors)
    return found


def take_rows(values: Array, rows: Array) -> Array:
    """
    ``values[rows]``, with a missing value (NaN, or empty text) where a row is -1.

    Integers become floats where some are missing, or text where a float would lose digits.
    """
    if not len(values):
        return np.full(len(rows), np.nan)
    taken = values[rows]
    if (rows >= 0).all():
        return taken
    if taken.dtype.kind in "biu":
        exact = not ((taken > 2**53) | (taken < -(2**53))).any()
        taken = taken.astype(np.float64 if exact else str)
    taken[rows < 0] = np.nan if taken.dtype.kind == "f" else b"" if taken.dtype.kind == "S" else ""
    return taken
