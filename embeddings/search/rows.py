"""The galaxies that are searched: rows of one or more stores, side by side, and how a query names one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from embeddings.errors import SearchError, did_you_mean
from embeddings.layout import PART, block_ranges, decode_strings
from embeddings.objects import measure_separations
from embeddings.provenance import Space, require_same_model
from embeddings.search.filters import Condition
from embeddings.store import EmbeddingStore

Array = np.ndarray[Any, Any]

SAME_PLACE = 2.0  # arcsec: what lies closer is one galaxy, as in heads.splits
STORE_COLUMNS = ("id_str", "survey", "ra", "dec", "image")  # that every store has beside its catalog's


def choose_space(stores: Sequence[EmbeddingStore], layer: int = -1, pooling: str | None = None) -> Space:
    """
    A space that all stores hold, made by one model.

    Raises
    ------
    SearchError
        When no store is given, or one twice.
    ProvenanceMismatch
        When different models made the stores.
    StoreError
        When a store lacks the space.
    """
    if not stores:
        raise SearchError("no store was given: what shall be searched?")
    first = stores[0]
    paths = [store.path.resolve() for store in stores]
    for store, path in zip(stores, paths, strict=True):
        if paths.count(path) > 1:
            raise SearchError(f"{store.path} is given twice: every galaxy would be its own neighbour. Give it once.")
    space = first.space(layer, pooling)
    for store in stores[1:]:
        what = f"{first.path} (here) and {store.path} (there)"
        require_same_model(first.provenance.model, store.provenance.model, what)
        store.space(*space)
    return space


class Rows:
    """
    Rows that have vectors, of several stores; a position counts them from 0.

    Parameters
    ----------
    stores : sequence of EmbeddingStore
    space : Space
        Which all of them hold.
    members : pair of (n_rows,) arrays, optional
        The number of the store and the row in it, of each position; by default every row that is ok, in order.
    """

    def __init__(
        self, stores: Sequence[EmbeddingStore], space: Space, members: tuple[Array, Array] | None = None
    ) -> None:
        self.stores, self.space = list(stores), space
        self.store, self.row = members or list_members(self.stores)
        self._columns: dict[str, Array] = {}

    def __len__(self) -> int:
        return len(self.store)

    @property
    def surveys(self) -> list[str]:
        """The surveys' names, each once."""
        return list(dict.fromkeys(store.survey for store in self.stores))

    # vectors

    @cached_property
    def width(self) -> int:
        """Dimensions of the space."""
        return int(self.take_vectors(np.array([0])).shape[1])

    def read_vectors(self, change: Callable[[Array], Array] = np.asarray) -> Array:
        """
        All vectors, checked against their checksums, (n_rows, embed_dim) float32.

        Parameters
        ----------
        change : callable
            Done to the rows of each block, so that unchanged ones need no memory of their own.
        """
        out = np.empty((len(self), self.width if len(self) else 0), np.float32)
        for positions, vectors in self.blocks():
            out[positions] = change(vectors)
        return out

    def take_vectors(self, positions: Array) -> Array:
        """Some vectors from the memory-mapped stores, unchecked, (n_positions, embed_dim) float32."""

        def read(store: EmbeddingStore, row: Array) -> Array:
            parts = [store.vectors(*part)[row] for part in self.space.parts()]
            return np.concatenate(parts, axis=1).astype(np.float32)

        return self._gather(read, np.asarray(positions))

    def blocks(self) -> Iterator[tuple[Array, Array]]:
        """All positions and their vectors, checked, in blocks of a store's rows."""
        for number, store in enumerate(self.stores):
            here = np.flatnonzero(self.store == number)
            row = self.row[here]
            order = np.argsort(row, kind="stable")
            here, row = here[order], row[order]
            readers = [store.vector_blocks(part).read for part in self.space.parts()]
            for start, stop in block_ranges(len(store)):
                left, right = np.searchsorted(row, (start, stop))
                if right > left:
                    inside = row[left:right] - start
                    vectors = np.concatenate([read(start, stop)[inside] for read in readers], axis=1)
                    yield here[left:right], vectors.astype(np.float32)

    # columns

    def list_columns(self) -> list[str]:
        """What to choose or colour by: the catalogs' columns, `STORE_COLUMNS`, ``part`` where a run knows its split."""
        parts = [PART] if any(store.has_parts for store in self.stores) else []
        return list(dict.fromkeys([*(name for store in self.stores for name in store.columns), *STORE_COLUMNS, *parts]))

    def column(self, name: str) -> Array:
        """One of `STORE_COLUMNS` or ``image_sha256`` of all rows, (n_rows, ...); strings are encoded."""
        if name not in self._columns:
            self._columns[name] = self._gather(lambda store, row: store.dataset(name)[row], np.arange(len(self)))
        return self._columns[name]

    def text(self, name: str, positions: Array) -> list[str]:
        """A text column of some rows, decoded."""
        return [str(value) for value in decode_strings(self.column(name)[np.asarray(positions)])]

    def describe(self, position: int) -> dict[str, Any]:
        """What one row is, as JSON can hold it: ``id_str, survey``, and ``ra, dec`` where they are known."""
        place = {name: float(self.column(name)[position]) for name in ("ra", "dec")}
        known = {name: value for name, value in place.items() if not np.isnan(value)}
        survey = self.stores[int(self.store[position])].survey
        return {"id_str": self.text("id_str", np.array([position]))[0], "survey": survey, **known}

    def _gather(self, read: Callable[[EmbeddingStore, Array], Array], positions: Array) -> Array:
        """Values of each store's rows, put at the places of their positions."""
        parts = []
        for number, store in enumerate(self.stores):
            mine = np.flatnonzero(self.store[positions] == number)
            parts.append((mine, read(store, self.row[positions[mine]])))
        if not parts:
            return np.empty(0)
        dtype = np.result_type(*(values.dtype for _, values in parts))
        out = np.zeros((len(positions), *parts[0][1].shape[1:]), dtype)
        for mine, values in parts:
            out[mine] = values
        return out

    # which rows a query means

    def find_id(self, id_str: str) -> Array:
        """
        The positions of an id.

        Raises
        ------
        SearchError
            When there is none, with the nearest names.
        """
        ids = self.column("id_str")
        found = np.flatnonzero(ids == id_str.encode())
        if not len(found):
            failed = self._explain_failed(id_str)
            raise SearchError(f"no galaxy has the id {id_str!r}. {failed or self._suggest(id_str)}")
        return found

    def _explain_failed(self, id_str: str) -> str:
        for store in self.stores:
            row = np.flatnonzero((store.dataset("id_str") == id_str.encode()) & ~store.ok)
            if len(row):
                return f"{store.path} has a row of that name without a vector: {store.status[row[0]]}."
        return ""

    def _suggest(self, id_str: str) -> str:
        ids = list(dict.fromkeys(self.text("id_str", np.arange(len(self)))))
        alike = [name for name in ids if name.startswith(id_str) or name.endswith(f"/{id_str}")]
        # difflib takes minutes over a million names: those that share a start come first
        near = alike or [name for name in ids if name[:3] == id_str[:3]] or ids
        return did_you_mean(id_str, near[:20_000])

    def find_place(self, ra: float, dec: float, radius: float) -> tuple[int, float]:
        """
        The galaxy nearest to a place on the sky.

        Parameters
        ----------
        ra, dec : float
            Degrees ICRS.
        radius : float
            Arcsec.

        Returns
        -------
        position : int
        separation : float
            Arcsec.

        Raises
        ------
        SearchError
            When none lies within the radius, with the nearest one and its distance.
        """
        if not (0 <= ra <= 360 and -90 <= dec <= 90):
            raise SearchError(f"{ra}, {dec} is no place on the sky: ra is 0 to 360, dec -90 to 90, in degrees.")
        if not radius >= 0:
            raise SearchError(f"the radius is an angle of 0 or more arcsec, not {radius}.")
        separation = measure_separations(self.column("ra"), self.column("dec"), ra, dec)
        if np.isnan(separation).all():
            raise SearchError("no galaxy here has a position: search by --id, or give a catalog with ra and dec.")
        nearest = int(np.nanargmin(separation))
        if separation[nearest] > radius:
            who = self.describe(nearest)
            raise SearchError(
                f"no galaxy lies within {radius:g} arcsec of {ra}, {dec}. The nearest is {who['id_str']} of "
                f"{who['survey']}, {_format_angle(separation[nearest])} away, at {who['ra']:.5f}, {who['dec']:.5f}."
            )
        return nearest, float(separation[nearest])

    def find_same(self, position: int) -> Array:
        """The positions that show the same galaxy: equal id, equal image bytes, or within `SAME_PLACE` on the sky."""
        same = self.column("id_str") == self.column("id_str")[position]
        digests = self.column("image_sha256")
        if digests[position].any():
            same |= (digests == digests[position]).all(axis=1)
        ra, dec = (float(self.column(name)[position]) for name in ("ra", "dec"))
        if not np.isnan(ra + dec):
            same |= measure_separations(self.column("ra"), self.column("dec"), ra, dec) < SAME_PLACE
        return np.flatnonzero(same)

    # which rows may be found

    def select(self, surveys: Sequence[str] = (), conditions: Sequence[Condition] = ()) -> Array | None:
        """
        Which rows pass all conditions and are of one of the surveys, (n_rows,) bool; None when all do.

        Raises
        ------
        SearchError
            When there is no such survey or column, or when text is compared with a number.
        """
        for survey in surveys:
            if survey not in self.surveys:
                raise SearchError(f"no survey is called {survey!r}. {did_you_mean(survey, self.surveys)}")
        if not surveys and not conditions:
            return None
        for condition in conditions:
            self._check_column(condition)
        keep = np.zeros(len(self), bool)
        for number, store in enumerate(self.stores):
            if not surveys or store.survey in surveys:
                mine = np.flatnonzero(self.store == number)
                keep[mine] = _test_store(store, conditions)[self.row[mine]]
        return keep

    def list_lacking(self, condition: Condition) -> list[str]:
        """The surveys without the column of a condition, of which therefore no galaxy passes it."""
        lacking = {store.survey for store in self.stores if condition.column not in (*store.columns, *STORE_COLUMNS)}
        return [survey for survey in self.surveys if survey in lacking]

    def _check_column(self, condition: Condition) -> None:
        known = self.list_columns()
        if condition.column not in known:
            raise SearchError(f"{condition}: no column is called {condition.column!r}. "
                              f"{did_you_mean(condition.column, known)}")  # fmt: skip


def list_members(stores: Sequence[EmbeddingStore]) -> tuple[Array, Array]:
    """The number of the store and the row in it of every row that has vectors."""
    rows = [np.flatnonzero(store.ok) for store in stores]
    numbers = np.repeat(np.arange(len(rows), dtype=np.uint16), [len(row) for row in rows])
    return numbers, np.concatenate(rows)


def read_column(store: EmbeddingStore, name: str) -> Array | None:
    """A catalog's or a store's own column; None where there is none."""
    if name in store.columns:
        return store.column(name)
    if name == PART:
        return store.parts if store.has_parts else None
    if name in STORE_COLUMNS:
        values = store.dataset(name)
        return decode_strings(values) if values.dtype.kind == "S" else values
    return None


def _test_store(store: EmbeddingStore, conditions: Sequence[Condition]) -> Array:
    keep = np.ones(len(store), bool)
    for condition in conditions:
        values = read_column(store, condition.column)  # a survey that lacks it has no galaxy that passes
        keep &= False if values is None else condition.test(values, str(store.path))
    return keep


def _format_angle(arcsec: float) -> str:
    for size, unit in ((3600, "degrees"), (60, "arcmin")):
        if arcsec >= size:
            return f"{arcsec / size:.3g} {unit}"
    return f"{arcsec:.3g} arcsec"
