"""Near-identical images within and between stores: the same picture under other bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embeddings.errors import SearchError
from embeddings.files import refuse_overwrite, replace_file
from embeddings.search.index import fit_whitening
from embeddings.search.rows import Rows, choose_space
from embeddings.search.whitening import DUPLICATE, MIN_FIT_ROWS, PLAIN_DUPLICATE, transform
from embeddings.store import EmbeddingStore

FORMAT = "galaxy-sommelier/duplicates"
BLOCK, WIDTH = 2048, 65_536  # rows compared with rows at once: 512 MB of products

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Pairs:
    """
    Pairs of near-identical images, most similar first.

    Attributes
    ----------
    rows : Rows
    a, b : (n_pairs,) int arrays
        Positions among the rows, a before b.
    similarity : (n_pairs,) float32 array
        Cosines, of whitened vectors if `whitened`.
    threshold : float
    whitened : bool
    """

    rows: Rows
    a: Array
    b: Array
    similarity: Array
    threshold: float
    whitened: bool

    def __len__(self) -> int:
        return len(self.a)

    def to_columns(self) -> dict[str, list[Any]]:
        """The columns ``id_a, survey_a, id_b, survey_b, similarity``."""
        columns: dict[str, list[Any]] = {}
        for side, positions in (("a", self.a), ("b", self.b)):
            columns[f"id_{side}"] = self.rows.text("id_str", positions) if len(self) else []
            columns[f"survey_{side}"] = [self.rows.stores[number].survey for number in self.rows.store[positions]]
        return {**columns, "similarity": self.similarity.astype(float).tolist()}

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the columns as Parquet; nothing but such pairs is replaced."""
        path = Path(path)
        refuse_foreign_pairs(path, [store.path for store in self.rows.stores])
        kinds = [*((f"{name}_{side}", pa.string()) for side in "ab" for name in ("id", "survey"))]
        schema = pa.schema([*kinds, ("similarity", pa.float64())], metadata={"format": FORMAT})
        with replace_file(path) as temporary:
            pq.write_table(pa.table(self.to_columns(), schema=schema), temporary)
        return path


def refuse_foreign_pairs(path: Path, inputs: Sequence[Path]) -> None:
    """Raise unless pairs may be written to a path: before the work, not after it."""
    refuse_overwrite(path, *inputs, mark=FORMAT)


def find_duplicates(
    stores: Sequence[EmbeddingStore],
    threshold: float | None = None,
    whiten: bool | None = None,
    layer: int = -1,
    pooling: str | None = None,
    random_state: int = 0,
    report: Callable[[int, int], None] | None = None,
    between: bool = False,
) -> Pairs:
    """
    All pairs of rows whose vectors are nearly the same; every pair of rows is compared, or every pair between stores.

    Parameters
    ----------
    stores : sequence of EmbeddingStore
        Of equal space ids.
    threshold : float, optional
        Cosine above which two images are one; by default 0.85 of whitened vectors, 0.998 of plain ones.
    whiten : bool, optional
        Whether vectors are whitened first, which parts look-alikes from copies; by default where there are at least
        30 rows to learn a covariance from.
    layer, pooling
        As in `EmbeddingStore.space`.
    random_state : int
    report : callable, optional
        Called with rows compared and rows in all.
    between : bool
        Leave out pairs within one store, and the time that they take; vectors are whitened by all rows all the same.

    Raises
    ------
    SearchError
        When the threshold is no cosine, or there is one store to compare between.
    ProvenanceMismatch
        When different models made the stores.
    """
    if threshold is not None and not -1 <= threshold <= 1:
        raise SearchError(f"the threshold is a cosine, from -1 to 1, not {threshold}.")
    if between and len(stores) == 1:
        raise SearchError(f"{stores[0].path} is one store: between stores there is nothing to compare. Give another.")
    rows = Rows(stores, choose_space(stores, layer, pooling))
    whitened = len(rows) >= MIN_FIT_ROWS if whiten is None else whiten
    limit = threshold if threshold is not None else DUPLICATE if whitened else PLAIN_DUPLICATE
    whitening = fit_whitening(rows, random_state) if whitened else None
    X = rows.read_vectors(lambda X: transform(X, whitening))
    ends = np.searchsorted(rows.store, np.arange(len(stores)), side="right") if between else np.array([len(rows)])
    a, b, similarity = _compare(X, limit, report or (lambda done, total: None), ends, within=not between)
    order = np.lexsort((b, a, -similarity))
    return Pairs(rows, a[order], b[order], similarity[order], limit, whitened)


def _compare(
    X: Array, limit: float, report: Callable[[int, int], None], ends: Array, within: bool
) -> tuple[Array, Array, Array]:
    """The pairs a < b whose inner product reaches a limit; `ends` part the rows into groups, `within` which or not."""
    found = []
    for start, end in pairwise([0, *ends.tolist()]):
        for top in range(start, end, BLOCK):
            block = X[top : min(top + BLOCK, end)]
            for left in range(top if within else end, len(X), WIDTH):
                scores = block @ X[left : left + WIDTH].T
                a, b = np.nonzero(scores >= limit)
                once = a + top < b + left
                a, b = a[once], b[once]
                found.append((a + top, b + left, np.minimum(scores[a, b], 1)))
            report(top + len(block), len(X))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    a, b, similarity = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    return a, b, similarity
