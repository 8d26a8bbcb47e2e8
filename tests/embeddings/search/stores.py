"""Stores to search: vectors, positions and columns as a test wants them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from embeddings.layout import Header, Vectors, encode_column, encode_strings, write_store
from embeddings.provenance import Provenance, Space
from embeddings.store import EmbeddingStore
from tests.embeddings.conftest import PROVENANCE


def write_vectors(
    path: Path,
    vectors: np.ndarray,
    survey: str = "north",
    ids: list[str] | None = None,
    failed: Collection[int] = (),
    ra: Any = None,
    dec: Any = None,
    provenance: Provenance = PROVENANCE,
    images: np.ndarray | None = None,
    part: list[str] | None = None,
    **columns: Any,
) -> EmbeddingStore:
    """Write a store with these vectors in all its spaces, and open it."""
    n_rows = len(vectors)
    ids = ids or [f"{survey}-{row}" for row in range(n_rows)]
    digests = np.random.default_rng(abs(hash_text(survey))).integers(1, 256, (n_rows, 32)).astype(np.uint8)
    arrays = {
        "id_str": encode_strings(ids),
        "survey": encode_strings([survey] * n_rows),
        "ra": np.full(n_rows, np.nan) if ra is None else np.asarray(ra, np.float64),
        "dec": np.full(n_rows, np.nan) if dec is None else np.asarray(dec, np.float64),
        "image": encode_strings([f"{id_str}.png" for id_str in ids]),
        "image_root": np.zeros(n_rows, np.uint16),
        "image_sha256": digests if images is None else images,
        "status": encode_strings(["failed: no such file" if row in failed else "ok" for row in range(n_rows)]),
        **{f"catalog/{name}": encode_column(np.asarray(values)) for name, values in columns.items()},
    }
    if part:
        arrays["part"] = encode_strings(part)
    stored = vectors.astype(provenance.storage)
    stored[list(failed)] = np.nan
    spaces: dict[Space, Vectors] = {space: Vectors.of(stored) for space in provenance.spaces}
    write_store(path, Header(survey, provenance, (), ("/images",)), arrays, spaces)
    return EmbeddingStore.open(path)


def hash_text(text: str) -> int:
    """A seed that is the same in every process."""
    return int.from_bytes(text.encode()[:6], "little")


def draw_clusters(n_rows: int, width: int, seed: int, n_clusters: int = 40, spread: float = 0.5) -> np.ndarray:
    """Vectors around centres that all seeds share."""
    centres = np.random.default_rng(99).normal(size=(n_clusters, width))
    rng = np.random.default_rng(seed)
    return (centres[rng.integers(0, n_clusters, n_rows)] + spread * rng.normal(size=(n_rows, width))).astype(np.float32)


def cosines(X: np.ndarray, query: np.ndarray) -> np.ndarray:
    """As one writes them, in float64, of vectors as float16 keeps them."""
    X, query = X.astype(np.float16).astype(np.float64), query.astype(np.float16).astype(np.float64)
    return X @ query / np.linalg.norm(X, axis=1) / np.linalg.norm(query)
