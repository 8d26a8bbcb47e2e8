"""Small stores, written through the format's own writer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings.layout import Header, Vectors, encode_column, encode_strings, escape_name, write_store
from embeddings.provenance import Provenance, Space
from embeddings.questions import Question
from embeddings.store import EmbeddingStore

MODEL = {"weights_sha256": "0" * 64, "architecture": {"depth": 12}, "resize": {"size": 224}, "normalisation": {}}
StoreMaker = Callable[..., EmbeddingStore]


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[StoreMaker]:
    """
    A function that writes a store and opens it.

    Rows differ in id, position and image bytes unless told otherwise, so that each is a galaxy of its own.
    """
    opened: list[EmbeddingStore] = []

    def make(
        vectors: Mapping[Space, np.ndarray],
        columns: Mapping[str, np.ndarray] | None = None,
        questions: Sequence[Question] = (),
        *,
        survey: str = "sky",
        ids: Sequence[str] | None = None,
        ra: np.ndarray | None = None,
        dec: np.ndarray | None = None,
        image_bytes: Sequence[str] | None = None,
        failed: Sequence[int] = (),
        model: Mapping[str, Any] = MODEL,
        precision: str = "fp32",
        storage: str = "float32",
        parts: Sequence[str] | None = None,
    ) -> EmbeddingStore:
        n = len(next(iter(vectors.values())))
        ids = [f"{survey}-{row}" for row in range(n)] if ids is None else ids
        image_bytes = ids if image_bytes is None else image_bytes
        status = np.full(n, "ok", dtype="U20")
        status[list(failed)] = "failed: unreadable"
        digests = [hashlib.sha256(image.encode()).digest() for image in image_bytes]
        arrays = {
            "id_str": encode_strings(ids),
            "survey": encode_strings([survey] * n),
            "ra": 10 + 0.01 * np.arange(n) if ra is None else np.asarray(ra, float),
            "dec": np.full(n, -5.0) if dec is None else np.asarray(dec, float),
            "image": encode_strings([f"{id_str}.png" for id_str in ids]),
            "image_root": np.zeros(n, np.uint16),
            "image_sha256": np.frombuffer(b"".join(digests), np.uint8).reshape(n, 32).copy(),
            "status": encode_strings(status),
        }
        arrays["image_sha256"][list(failed)] = 0
        if parts is not None:
            arrays["part"] = encode_strings(parts)
        for name, values in (columns or {}).items():
            arrays[f"catalog/{escape_name(name)}"] = encode_column(np.asarray(values))
        provenance = Provenance(dict(model), {}, tuple(vectors), precision, storage, ({"backbone": "none"},))
        sources = {}
        for space, X in vectors.items():
            X = np.array(X, dtype=storage)
            X[list(failed)] = np.nan
            sources[space] = Vectors.of(X)
        path = tmp_path / f"{survey}-{len(opened)}.h5"
        write_store(path, Header(survey, provenance, tuple(questions)), arrays, sources)
        opened.append(EmbeddingStore.open(path))
        assert opened[-1].verify() == []
        return opened[-1]

    yield make
    for store in opened:
        store.close()
