"""Nearest neighbours by inner product: FAISS where it is installed, numpy elsewhere, the same answers."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

QUERY_BLOCK = 1024  # queries a numpy product takes at once: bounds memory at 1024 x n_galaxies


def load_faiss() -> ModuleType | None:
    """The faiss module, or None where it is not installed."""
    try:
        return import_module("faiss")
    except ImportError:
        return None


def find_neighbours(X: Array, queries: Array, k: int) -> tuple[Array, Array]:
    """
    The k rows of X with the largest inner product with each query, exactly.

    Parameters
    ----------
    X : (n_galaxies, embed_dim) float32 array
    queries : (n_queries, embed_dim) float32 array
    k : int
        At most n_galaxies are returned.

    Returns
    -------
    similarity : (n_queries, k) float32 array
        In descending order.
    rows : (n_queries, k) int64 array
        Equals in ascending order; which of them take the last places is not defined.
    """
    X, queries = (np.ascontiguousarray(a, np.float32) for a in (X, queries))
    k = min(k, len(X))
    if not k or not len(queries):
        return np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    faiss = load_faiss()
    if faiss is not None:
        index = faiss.IndexFlatIP(X.shape[1])
        index.add(X)
        similarity, rows = index.search(queries, k)
    else:
        blocks = [_search_block(X, queries[i : i + QUERY_BLOCK], k) for i in range(0, len(queries), QUERY_BLOCK)]
        similarity, rows = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
    order = np.lexsort((rows, -similarity), axis=1)  # each has its own order of equals
    return np.take_along_axis(similarity, order, 1), np.take_along_axis(rows, order, 1)


def _search_block(X: Array, queries: Array, k: int) -> tuple[Array, Array]:
    scores = queries @ X.T
    rows = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    return np.take_along_axis(scores, rows, 1), rows.astype(np.int64)
