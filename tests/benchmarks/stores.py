"""Small stores of drawn galaxies, made without a backbone: vectors with clusters, pictures on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from embeddings.layout import Header, Vectors, encode_column, encode_strings, write_store
from embeddings.provenance import Provenance, Space
from embeddings.questions import Question
from tests.conftest import draw_galaxy

SPACE = Space(2, "cls")
IMAGES = {"range": "8-bit RGB", "stretch": None, "bands": None, "cutout": None}
MODEL = {"weights_sha256": "5e" * 32, "resize": {"size": 56}}


def write_pictured(
    path: Path, survey: str, n_rows: int, seed: int, embed_dim: int = 8, questions: tuple[Question, ...] = (),
    **columns: Any,
) -> np.ndarray:  # fmt: skip
    """Write a store whose images lie beside it, and give its vectors."""
    rng = np.random.default_rng(seed)
    folder = path.parent / f"{survey}-images"
    folder.mkdir()
    for row in range(n_rows):
        Image.fromarray(draw_galaxy(rng)).save(folder / f"{row}.png")
    arrays = {
        "id_str": encode_strings([f"{survey}-{row}" for row in range(n_rows)]),
        "survey": encode_strings([survey] * n_rows),
        "ra": 10 + np.arange(n_rows) / 10,
        "dec": np.full(n_rows, -5.5 if survey == "sdss" else 20.0),
        "image": encode_strings([f"{row}.png" for row in range(n_rows)]),
        "image_root": np.zeros(n_rows, np.uint16),
        "image_sha256": rng.integers(1, 256, (n_rows, 32)).astype(np.uint8),
        "status": encode_strings(["ok"] * n_rows),
        **{f"catalog/{name}": encode_column(np.asarray(values)) for name, values in columns.items()},
    }
    centres = np.random.default_rng(0).normal(size=(3, embed_dim))
    vectors = (centres[np.arange(n_rows) % 3] + 0.3 * rng.normal(size=(n_rows, embed_dim))).astype(np.float16)
    provenance = Provenance(MODEL, IMAGES, (SPACE,), runs=({"backbone": "tiny", "date": "2026-01-01"},))
    write_store(path, Header(survey, provenance, questions, (str(folder),)), arrays, {SPACE: Vectors.of(vectors)})
    return vectors.astype(np.float32)
