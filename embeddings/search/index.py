"""GalaxyIndex: galaxies that look like this one, over stores or over an index folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from embeddings.errors import SearchError
from embeddings.search.engine import REFINE, Engine
from embeddings.search.exact import Array, ExactSearch, merge_neighbours
from embeddings.search.filters import Condition
from embeddings.search.folder import NAME, open_folder
from embeddings.search.rows import Rows, choose_space
from embeddings.search.whitening import (
    DUPLICATE,
    MIN_FIT_ROWS,
    PLAIN_DUPLICATE,
    Whitening,
    choose_fit_rows,
    scale_to_unit,
    transform,
)
from embeddings.store import EmbeddingStore

FEW_ROWS = 20_000  # that a filter leaves: gathered and compared at once


@dataclass(frozen=True)
class Found:
    """
    The neighbours of one query.

    Attributes
    ----------
    query : dict
        What was asked for, as JSON can hold it.
    neighbours : list of dict
        ``id_str, survey, similarity``, and ``ra, dec`` where they are known; most similar first.
    positions : (n_neighbours,) int array
        Of the neighbours, among the index's rows.
    searched : int
        How many rows passed the filters.
    itself : list of dict
        Rows that show the query galaxy, left out.
    label : dict
        ``kind`` of the search, and of an approximate one ``recall_at_10, standard_error, queries``.
    """

    query: dict[str, Any]
    neighbours: list[dict[str, Any]]
    positions: Array
    searched: int
    itself: list[dict[str, Any]]
    label: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As ``search --json`` prints it."""
        return {
            "query": self.query,
            "neighbours": self.neighbours,
            "searched": self.searched,
            "itself": self.itself,
            "index": self.label,
        }


class GalaxyIndex:
    """
    Galaxies of one or more stores that share a space, to be searched.

    Parameters
    ----------
    rows : Rows
    whitening : Whitening, optional
        Compare whitened vectors.
    engine : Engine, optional
        Approximate search; exact without.
    label : dict, optional
        What is known of how well the engine finds; see `Found`.

    Examples
    --------
    >>> index = open_index(["spiral.h5", "decals.h5"])          # doctest: +SKIP
    >>> index.search(index.find_id("101654"), k=10).neighbours  # doctest: +SKIP
    """

    def __init__(
        self,
        rows: Rows,
        whitening: Whitening | None = None,
        engine: Engine | None = None,
        label: dict[str, Any] | None = None,
    ) -> None:
        self.rows, self.whitening, self.engine = rows, whitening, engine
        self.label = label or {"kind": "exact"}

    @classmethod
    def over(
        cls,
        stores: Sequence[EmbeddingStore],
        layer: int = -1,
        pooling: str | None = None,
        whiten: bool = False,
        random_state: int = 0,
    ) -> GalaxyIndex:
        """
        Search stores as they are, exactly; vectors are read at the first search.

        Parameters
        ----------
        stores : sequence of EmbeddingStore
        layer, pooling
            As in `EmbeddingStore.space`.
        whiten : bool
            Compare vectors whitened over all stores.
        random_state : int
            Of the rows that the whitening is learnt from, where there are many.

        Raises
        ------
        ProvenanceMismatch
            When different models made the stores.
        """
        index = cls(Rows(stores, choose_space(stores, layer, pooling)))
        if not len(index.rows):
            raise SearchError(f"no row of {', '.join(str(store.path) for store in stores)} has a vector.")
        if whiten:
            index.whitening = fit_whitening(index.rows, random_state)
        return index

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> GalaxyIndex:
        """
        Open an index folder.

        Raises
        ------
        SearchError
            When it is not one, is not finished, or is older than its stores.
        """
        rows, whitening, engine, label = open_folder(Path(folder))
        return cls(rows, whitening, engine, label)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<GalaxyIndex: {len(self)} rows of {', '.join(self.rows.surveys)}, {self.label['kind']}>"

    # queries

    def find_id(self, id_str: str, survey: str | None = None) -> int:
        """
        The position of an id; the first one where several stores have it.

        Raises
        ------
        SearchError
            When there is none, with the nearest names.
        """
        found = self.rows.find_id(id_str)
        if survey is not None:
            names = [self.rows.stores[number].survey for number in self.rows.store[found]]
            found = found[[name == survey for name in names]]
            if not len(found):
                raise SearchError(f"{id_str} is not in {survey}, but in {', '.join(names)}.")
        return int(found[0])

    def find_place(self, ra: float, dec: float, radius: float) -> int:
        """The position of the galaxy nearest to a place, within a radius in arcsec; see `Rows.find_place`."""
        return self.rows.find_place(ra, dec, radius)[0]

    def search(
        self,
        query: int | Array,
        k: int = 10,
        surveys: Sequence[str] = (),
        where: Sequence[str] = (),
        distinct: bool = False,
        name: dict[str, Any] | None = None,
    ) -> Found:
        """
        Find the galaxies most like a row or a vector.

        Parameters
        ----------
        query : int or (embed_dim,) array
            A position, which never finds itself, or a vector as a store holds it.
        k : int
        surveys, where : sequences of str
            Only these surveys; only galaxies for which every ``COLUMN OP VALUE`` holds. Applied before the k.
        distinct : bool
            Leave out images that are near-duplicates of the query or of a nearer neighbour.
        name : dict, optional
            What the result calls a query that is a vector.

        Returns
        -------
        Found
        """
        keep = self.rows.select(surveys, [Condition.parse(text) for text in where])
        row = int(query) if isinstance(query, int | np.integer) else None
        vector = self._check_vector(query) if row is None else self.rows.take_vectors(np.array([row]))[0]
        itself = np.empty(0, np.int64) if row is None else self.rows.find_same(row)
        searched = len(self) if keep is None else int(keep.sum())
        similarity, positions = self._find(vector, k, keep, itself, distinct)
        neighbours = [
            {**self.rows.describe(int(position)), "similarity": round(float(value), 6)}
            for value, position in zip(similarity, positions, strict=True)
        ]
        asked = (name or {"vector": len(vector)}) if row is None else self.rows.describe(row)
        shown = [self.rows.describe(int(position)) for position in itself if position != row]
        label = self.label if keep is None else {**self.label, "filtered": "exact"}
        return Found(asked, neighbours, positions, searched, shown, label)

    def neighbours(self, queries: Array, k: int, keep: Array | None = None) -> tuple[Array, Array]:
        """
        The k rows nearest to each of many vectors, nothing left out.

        Parameters
        ----------
        queries : (n_queries, embed_dim) array
            As a store holds them.
        k : int
        keep : (n_rows,) bool array, optional
            Which rows may be found.

        Returns
        -------
        similarity : (n_queries, k) float32 array
            Cosines, of whitened vectors if the index whitens, in descending order.
        positions : (n_queries, k) int64 array
            -1 where there are fewer rows.
        """
        return self.search_prepared(transform(queries, self.whitening), k, keep)

    def search_prepared(self, prepared: Array, k: int, keep: Array | None = None) -> tuple[Array, Array]:
        """`neighbours` of vectors that are whitened and of length one already."""
        if keep is not None:
            return self._search_kept(prepared, k, keep)
        if self.engine is None:
            return self._exact.search(prepared, k)
        similarity, positions = refine(self.engine, self.rows, self.whitening, prepared, k)
        short = (positions[:, : min(k, len(self))] < 0).any(axis=1)
        if short.any():  # the cells probed held too few
            similarity[short], positions[short] = _pad(self._search_blocks(prepared[short], k, None), k)
        return similarity, positions

    @cached_property
    def _exact(self) -> ExactSearch:
        return ExactSearch(self.rows.read_vectors(lambda X: transform(X, self.whitening)))

    def _search_kept(self, prepared: Array, k: int, keep: Array) -> tuple[Array, Array]:
        """Exactly, among the rows that are kept."""
        kept = np.flatnonzero(keep)
        if self.engine is None:
            similarity, rows = ExactSearch(self._exact.X[kept]).search(prepared, k)
            return similarity, kept[rows]
        if self.engine.kind == "ivf" and len(kept) > FEW_ROWS:
            return self.engine.search(prepared, min(k, len(kept)), keep)
        return self._search_blocks(prepared, k, kept)

    def _search_blocks(self, prepared: Array, k: int, kept: Array | None) -> tuple[Array, Array]:
        """Exactly, reading the vectors from the stores block by block."""
        kept = np.arange(len(self)) if kept is None else kept
        found = [(np.empty((len(prepared), 0), np.float32), np.empty((len(prepared), 0), np.int64))]
        for start in range(0, len(kept), FEW_ROWS):
            block = kept[start : start + FEW_ROWS]
            X = transform(self.rows.take_vectors(block), self.whitening)
            similarity, rows = ExactSearch(X).search(prepared, k)
            found = [merge_neighbours([*found, (similarity, block[rows])], k)]
        return found[0]

    def _find(self, vector: Array, k: int, keep: Array | None, itself: Array, distinct: bool) -> tuple[Array, Array]:
        """Neighbours of one vector without what shows the query, and of near-duplicates the nearest one."""
        limit = len(self) if keep is None else int(keep.sum())
        want = min(limit, k + len(itself) + (k if distinct else 0))
        while True:
            similarity, positions = (found[0] for found in self.neighbours(vector[None], max(want, 1), keep))
            good = (positions >= 0) & ~np.isin(positions, itself)
            similarity, positions = similarity[good], positions[good]
            if distinct:
                fresh = self._drop_duplicates(vector, positions, k)
                similarity, positions = similarity[fresh], positions[fresh]
            if len(positions) >= k or want >= limit:
                return similarity[:k], positions[:k]
            want = min(limit, 2 * want)

    def _drop_duplicates(self, vector: Array, positions: Array, k: int) -> Array:
        """Which rows are no near-duplicate of the vector or of a row before them."""
        prepare, threshold = self.duplicate_test
        units = prepare(np.concatenate([vector[None], self.rows.take_vectors(positions)]))
        kept, fresh = [0], []
        for number in range(1, len(units)):
            if (units[kept] @ units[number]).max() < threshold:
                kept.append(number)
                fresh.append(number - 1)
            if len(fresh) == k:
                break
        return np.array(fresh, np.int64)

    @cached_property
    def duplicate_test(self) -> tuple[Callable[[Array], Array], float]:
        """How vectors are prepared to tell near-duplicates, and the cosine above which they are; see `DUPLICATE`."""
        if len(self) < MIN_FIT_ROWS:
            return scale_to_unit, PLAIN_DUPLICATE
        whitening = self.whitening or fit_whitening(self.rows)
        return (lambda X: transform(X, whitening)), DUPLICATE

    def _check_vector(self, vector: int | Array) -> Array:
        vector = np.asarray(vector, np.float32)
        width = self.rows.width
        if vector.shape != (width,):
            raise SearchError(
                f"the vector has the shape {vector.shape}; {self.rows.space.name} has {width} dimensions: ({width},)."
            )
        if not np.isfinite(vector).all() or not vector.any():
            raise SearchError("the vector holds NaN, infinity, or nothing but zeros: nothing is like it.")
        return vector


def fit_whitening(rows: Rows, random_state: int = 0) -> Whitening:
    """
    Whitening over the rows, or over a sample where they are many.

    Raises
    ------
    SearchError
        When there are too few rows to learn a covariance from.
    """
    refuse_few_rows(rows)
    return Whitening.fit(rows.take_vectors(choose_fit_rows(len(rows), rows.width, random_state)))


def refuse_few_rows(rows: Rows) -> None:
    """Raise unless there are enough rows to learn a covariance from."""
    if len(rows) < MIN_FIT_ROWS:
        raise SearchError(f"{len(rows)} rows are too few to whiten by: at least {MIN_FIT_ROWS} are needed.")


def refine(engine: Engine, rows: Rows, whitening: Whitening | None, prepared: Array, k: int) -> tuple[Array, Array]:
    """Search an engine; where it compares codes, compare its candidates again by their whole vectors."""
    if not engine.refined:
        return engine.search(prepared, k)
    _, candidates = engine.search(prepared, min(k * REFINE, len(engine)))
    similarity = np.full((len(prepared), k), -np.inf, np.float32)
    positions = np.full((len(prepared), k), -1, np.int64)
    for number, near in enumerate(candidates):
        near = np.sort(near[near >= 0])
        X = transform(rows.take_vectors(near), whitening)
        cosines, order = ExactSearch(X).search(prepared[number : number + 1], k)
        similarity[number, : order.shape[1]], positions[number, : order.shape[1]] = cosines[0], near[order[0]]
    return similarity, positions


def _pad(found: tuple[Array, Array], k: int) -> tuple[Array, Array]:
    short = k - found[0].shape[1]
    return (
        np.pad(found[0], ((0, 0), (0, short)), constant_values=-np.inf),
        np.pad(found[1], ((0, 0), (0, short)), constant_values=-1),
    )


def open_index(
    paths: Sequence[str | os.PathLike[str]], layer: int = -1, pooling: str | None = None, whiten: bool = False
) -> GalaxyIndex:
    """
    Open an index folder, or stores to be searched as they are.

    Parameters
    ----------
    paths : sequence of path
        One index folder, or stores.
    layer, pooling, whiten
        Of stores; an index has its own.

    Raises
    ------
    SommelierError
    """
    folders = [Path(path) for path in paths if Path(path).is_dir()]
    if not folders:
        return GalaxyIndex.over([EmbeddingStore.open(path) for path in paths], layer, pooling, whiten)
    if len(paths) > 1:
        raise SearchError(f"{folders[0]} is a folder: search one index, or one or more stores, not both.")
    if layer != -1 or pooling is not None or whiten:
        raise SearchError(f"{folders[0]} has its space and whitening in {NAME}; choose them when it is built.")
    return GalaxyIndex.open(folders[0])
