"""Approximate search by FAISS: kinds, how one is chosen, and how much of the truth it finds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embeddings.errors import SearchError
from embeddings.search.exact import load_faiss, matrix_products

Array = np.ndarray[Any, Any]

KINDS = ("exact", "ivf", "hnsw", "pq")
EXACT_ROWS = 50_000  # below, an exact search of 384 dimensions takes less than 10 ms
MEMORY_SHARE = 0.5  # of the machine's: whole vectors that need more are compressed
RECALL_K = 10
MAX_QUERIES = 2000  # held out: half choose the effort, half measure
POINTS_PER_CELL = 64  # that k-means learns from
HNSW_LINKS, HNSW_MAX_EFFORT = 16, 1024
PQ_BYTES_PER_DIM = 1 / 8
REFINE = 20  # candidates a neighbour that are compared by their whole vectors


@dataclass(frozen=True)
class Choice:
    """A kind of index, and why."""

    kind: str
    reason: str


def choose_kind(asked: str, n_rows: int, embed_dim: int, memory: int | None = None) -> Choice:
    """
    Choose how to search so many rows.

    Parameters
    ----------
    asked : str
        One of `KINDS`, or ``auto``.
    n_rows, embed_dim : int
    memory : int, optional
        Bytes; this machine's by default.

    Raises
    ------
    SearchError
        When FAISS is asked for and not installed, or when the kind does not go with so few rows.
    """
    if asked != "auto":
        if asked != "exact" and load_faiss() is None:
            raise SearchError(f"an index of kind {asked} needs FAISS: pip install 'galaxy-sommelier[cpu]'.")
        if asked not in ("exact", "hnsw") and n_rows < 4 * POINTS_PER_CELL * 4:
            raise SearchError(f"{n_rows} rows are too few for kind {asked}: use --kind exact or auto.")
        return Choice(asked, "as asked for")
    if n_rows < EXACT_ROWS:
        return Choice("exact", f"{n_rows} rows; below {EXACT_ROWS} an exact search takes milliseconds")
    if load_faiss() is None:
        return Choice("exact", "FAISS is not installed: pip install 'galaxy-sommelier[cpu]'")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if memory is None else memory
    size = 4 * embed_dim * n_rows
    if size > MEMORY_SHARE * memory:
        return Choice("pq", f"{n_rows} whole vectors take {size / 2**30:.1f} GiB, over half of the memory")
    return Choice("ivf", f"{n_rows} rows; whole vectors take {size / 2**30:.1f} GiB")


class Engine:
    """
    One FAISS index and the effort at which it searches.

    Attributes
    ----------
    kind : {'ivf', 'hnsw', 'pq'}
    index : faiss.Index
    effort : int
        Cells probed (ivf, pq), or candidates kept (hnsw).
    """

    def __init__(self, kind: str, index: Any, effort: int = 1) -> None:
        self.kind, self.index, self.effort = kind, index, effort

    @classmethod
    def make(cls, kind: str, n_rows: int, embed_dim: int) -> Engine:
        """An empty index for so many rows."""
        faiss = _need_faiss()
        cells = choose_cells(n_rows)
        if kind == "hnsw":
            index = faiss.index_factory(embed_dim, f"HNSW{HNSW_LINKS},Flat", faiss.METRIC_INNER_PRODUCT)
        else:
            codes = "Flat" if kind == "ivf" else f"PQ{_count_codes(embed_dim)}np"
            index = faiss.index_factory(embed_dim, f"IVF{cells},{codes}", faiss.METRIC_INNER_PRODUCT)
            index.cp.niter, index.cp.max_points_per_centroid = 10, POINTS_PER_CELL
            index.cp.spherical = True
        return cls(kind, index)

    @classmethod
    def open(cls, kind: str, path: Path, effort: int, to_change: bool = False) -> Engine:
        """Read from disk: memory-mapped, or whole where it is to be changed."""
        faiss = _need_faiss()
        try:
            index = faiss.read_index(str(path), 0 if to_change else faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise SearchError(
                f"{path} cannot be read by FAISS: {error}. Remove the folder and build it again."
            ) from None
        return cls(kind, index, effort)

    def write(self, path: Path) -> None:
        """Write to disk."""
        _need_faiss().write_index(self.index, str(path))

    def __len__(self) -> int:
        return int(self.index.ntotal)

    @property
    def max_effort(self) -> int:
        """At which an ivf is exact; of hnsw, what is still faster than an exact search."""
        return HNSW_MAX_EFFORT if self.kind == "hnsw" else int(self.index.nlist)

    @property
    def refined(self) -> bool:
        """Whether similarities are those of codes, so that candidates must be compared by their whole vectors."""
        return self.kind == "pq"

    def train(self, X: Array) -> None:
        """Learn cells and codes; hnsw learns nothing."""
        with matrix_products(_need_faiss(), len(X)):
            self.index.train(np.ascontiguousarray(X, np.float32))

    def add(self, X: Array) -> None:
        """Append rows of length one; positions go on."""
        with matrix_products(_need_faiss(), len(X)):
            self.index.add(np.ascontiguousarray(X, np.float32))

    def search(self, queries: Array, k: int, keep: Array | None = None) -> tuple[Array, Array]:
        """
        The k nearest as far as the effort goes; of an ivf with `keep`, all that are kept, exactly.

        Returns
        -------
        similarity, positions : (n_queries, k) arrays
            Positions are -1 where fewer were found.
        """
        faiss = _need_faiss()
        effort = min(self.max_effort, self.effort * -(-k // RECALL_K))
        if self.kind == "hnsw":
            parameters = faiss.SearchParametersHNSW(efSearch=max(effort, k))
        elif keep is None:
            parameters = faiss.SearchParametersIVF(nprobe=effort)
        else:
            selector = faiss.IDSelectorBitmap(np.packbits(keep, bitorder="little"))
            parameters = faiss.SearchParametersIVF(nprobe=self.max_effort, sel=selector)
        with matrix_products(faiss, len(queries)):
            similarity, positions = self.index.search(np.ascontiguousarray(queries, np.float32), k, params=parameters)
        return similarity, positions

    def raise_effort(self, target: float, measure: Callable[[], Array]) -> Array:
        """
        Raise the effort until the recall, less two standard errors, reaches a target; give the recalls of the last.

        Parameters
        ----------
        target : float
        measure : callable
            Gives the recall of each query at the effort as it is.
        """
        while True:
            recalls = measure()
            low = recalls.mean() - 2 * recalls.std() / np.sqrt(len(recalls))
            if low >= target or self.effort >= self.max_effort:
                return recalls
            self.effort = min(self.max_effort, max(self.effort + 1, round(self.effort * 1.4)))


def choose_cells(n_rows: int) -> int:
    """The power of two nearest to four times the root of the number of rows, as FAISS's guidelines have it."""
    return int(2 ** round(np.log2(max(4 * np.sqrt(n_rows), 4))))


def recall_of(found: Array, truth: Array) -> Array:
    """For each query the share of its true neighbours that were found, (n_queries,)."""
    return np.array([np.isin(true, near).mean() for near, true in zip(found, truth, strict=True)])


def iterate_slices(n_rows: int, size: int) -> Iterator[slice]:
    """Slices that cover so many rows."""
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def _count_codes(embed_dim: int) -> int:
    """Bytes of a code: an eighth of the dimensions, or the next less that divides them."""
    return next(m for m in range(max(1, round(embed_dim * PQ_BYTES_PER_DIM)), 0, -1) if embed_dim % m == 0)


def _need_faiss() -> Any:
    faiss = load_faiss()
    if faiss is None:
        raise SearchError("this index was built by FAISS, which is not installed: pip install 'galaxy-sommelier[cpu]'.")
    return faiss
