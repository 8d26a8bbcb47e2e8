"""Nearest neighbours by inner product, exactly: numpy, FAISS or a GPU, whichever is fastest, the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SCORES = 2**26  # inner products that a numpy search holds at once: 256 MB
# FAISS takes its matrix-product path only for large batches (faiss.cvar.distance_compute_blas_threshold); that path
# wins from about eight queries on, and one query alone is fastest as a product of matrix and vector
BLAS_QUERIES = 8
GPU_ROWS = 50_000  # fewer are searched faster than they are moved there
GPU_MAX_K = 2048  # FAISS's limit on GPUs


def load_faiss() -> ModuleType | None:
    """The faiss module, or None where it is not installed."""
    try:
        return import_module("faiss")
    except ImportError:
        return None


class ExactSearch:
    """
    Vectors to be searched many times; on a GPU where they are many, faiss-gpu is installed and a device is there.

    Parameters
    ----------
    X : (n_galaxies, embed_dim) array
        Kept as float32 without a copy where it is that already.
    """

    def __init__(self, X: Array) -> None:
        self.X = np.ascontiguousarray(X, np.float32)
        self._gpu = _copy_to_gpu(self.X)

    def __len__(self) -> int:
        return len(self.X)

    def search(self, queries: Array, k: int) -> tuple[Array, Array]:
        """
        The k rows with the largest inner product with each query; see `find_neighbours`.

        Parameters
        ----------
        queries : (n_queries, embed_dim) array
        k : int

        Returns
        -------
        similarity, rows : (n_queries, min(k, n_galaxies)) arrays
        """
        queries = np.ascontiguousarray(queries, np.float32)
        k = min(k, len(self.X))
        if not k or not len(queries):
            return np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        similarity, rows = self._search(queries, k)
        order = np.lexsort((rows, -similarity), axis=1)  # each way has its own order of equals
        return np.take_along_axis(similarity, order, 1), np.take_along_axis(rows, order, 1)

    def _search(self, queries: Array, k: int) -> tuple[Array, Array]:
        if self._gpu is not None and k <= GPU_MAX_K:
            similarity, rows = self._gpu.search(queries, k)
            return similarity, rows
        faiss = load_faiss()
        if faiss is None or len(queries) == 1:
            size = max(1, SCORES // len(self.X))
            blocks = [_search_block(self.X, queries[i : i + size], k) for i in range(0, len(queries), size)]
            similarity, rows = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
            return similarity, rows
        if len(queries) < BLAS_QUERIES:
            similarity, rows = faiss.knn(queries, self.X, k, metric=faiss.METRIC_INNER_PRODUCT)
            return similarity, rows
        return _search_parts(faiss, self.X, queries, k)


@contextmanager
def matrix_products(faiss: ModuleType, n_queries: int) -> Iterator[None]:
    """Let FAISS take its matrix-product path for a batch that gains by it."""
    usual = faiss.cvar.distance_compute_blas_threshold
    if n_queries >= BLAS_QUERIES:
        faiss.cvar.distance_compute_blas_threshold = 1
    try:
        yield
    finally:
        faiss.cvar.distance_compute_blas_threshold = usual


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
    return ExactSearch(X).search(queries, k)


def merge_neighbours(found: list[tuple[Array, Array]], k: int) -> tuple[Array, Array]:
    """The k best of several searches over disjoint rows, as `find_neighbours` orders them."""
    similarity, rows = (np.concatenate(arrays, axis=1) for arrays in zip(*found, strict=True))
    order = np.lexsort((rows, -similarity), axis=1)[:, :k]
    return np.take_along_axis(similarity, order, 1), np.take_along_axis(rows, order, 1)


def _copy_to_gpu(X: Array) -> Any:
    """A flat index on the first GPU; None where FAISS knows none, or where the vectors are few or do not fit."""
    faiss = load_faiss()
    if faiss is None or len(X) < GPU_ROWS or not getattr(faiss, "get_num_gpus", int)():
        return None
    try:
        index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), X.shape[1])
        index.add(X)
    except RuntimeError:  # out of memory: the CPU gives the same answers
        return None
    return index


def _search_parts(faiss: ModuleType, X: Array, queries: Array, k: int) -> tuple[Array, Array]:
    """Each thread searches its own rows: threads that wait for each other at every block lose where others compute."""
    n_parts = min(faiss.omp_get_max_threads(), len(X))
    edges = np.linspace(0, len(X), n_parts + 1).astype(np.int64)

    def search(start: int, stop: int) -> tuple[Array, Array]:
        faiss.omp_set_num_threads(1)  # of this thread alone
        part = X[start:stop]
        similarity, rows = faiss.knn(queries, part, min(k, len(part)), metric=faiss.METRIC_INNER_PRODUCT)
        return similarity, rows + start

    with matrix_products(faiss, len(queries)), ThreadPoolExecutor(n_parts) as pool:
        return merge_neighbours(list(pool.map(search, edges[:-1], edges[1:])), k)


def _search_block(X: Array, queries: Array, k: int) -> tuple[Array, Array]:
    scores = (X @ queries[0])[None] if len(queries) == 1 else queries @ X.T
    rows = np.argpartition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k :]
    return np.take_along_axis(scores, rows, 1), rows.astype(np.int64)
