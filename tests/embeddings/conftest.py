"""Small stores, and ways to damage them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from embeddings.layout import Header, Vectors, encode_column, encode_strings, escape_name, write_store
from embeddings.provenance import Provenance, Space
from embeddings.questions import Question

CLS, MEAN = Space(2, "cls"), Space(2, "patch-mean")
PROVENANCE = Provenance(
    {
        "weights_sha256": "5e" * 32,
        "architecture": {"depth": 2},
        "resize": {"size": 56},
        "normalisation": {"std": [1.0]},
    },
    {"range": "8-bit RGB", "stretch": None},
    (CLS, MEAN),
    runs=({"backbone": "tiny", "date": "2026-01-01"},),
)
SHAPE = Question("shape", ("round", "flat"))
SIZE = Question("size", kind="value")

# a busy machine is no failure
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
on_disk = settings(max_examples=30)


def write_small(
    path: Path,
    ids: Sequence[str] = ("a", "b", "c", "d", "e", "f"),
    failed: Collection[int] = (),
    columns: Mapping[str, Any] | None = None,
    questions: Sequence[Question] = (),
    provenance: Provenance = PROVENANCE,
    embed_dim: int = 4,
    seed: int = 0,
) -> dict[Space, np.ndarray]:
    """Write a store of random vectors and give them back; rows in `failed` are NaN."""
    n_rows, rng = len(ids), np.random.default_rng(seed)
    arrays = {
        "id_str": encode_strings(ids),
        "survey": encode_strings(["spiral"] * n_rows),
        "ra": np.linspace(0, 359, n_rows),
        "dec": np.linspace(-90, 90, n_rows),
        "image": encode_strings([f"{id_str}.png" for id_str in ids]),
        "image_root": np.zeros(n_rows, np.uint16),
        "image_sha256": rng.integers(0, 256, (n_rows, 32)).astype(np.uint8),
        "status": encode_strings(["failed: no such file" if row in failed else "ok" for row in range(n_rows)]),
    }
    arrays |= {f"catalog/{escape_name(k)}": encode_column(np.asarray(v)) for k, v in (columns or {}).items()}
    vectors = {s: rng.normal(size=(n_rows, embed_dim)).astype(provenance.storage) for s in provenance.spaces}
    for values in vectors.values():
        values[list(failed)] = np.nan
    header = Header("spiral", provenance, tuple(questions), ("/images",))
    write_store(path, header, arrays, {space: Vectors.of(values) for space, values in vectors.items()})
    return vectors


def flip_byte(path: Path, dataset: str, row: int) -> None:
    """Turn one bit of the first byte of a row (d becomes $)."""
    with h5py.File(path) as file:
        values = file[dataset]
        position = values.id.get_offset() + row * values.dtype.itemsize * int(np.prod(values.shape[1:]))
    with open(path, "r+b") as raw:
        raw.seek(position)
        byte = raw.read(1)[0]
        raw.seek(position)
        raw.write(bytes([byte ^ 0x40]))


@contextmanager
def altered(path: Path) -> Iterator[h5py.File]:
    """The file, open for changes that no honest writer makes."""
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        yield file


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@contextmanager
def plain_user() -> Iterator[None]:
    """Whoever runs the tests, without root's right to write anywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Six rows, a to f; the third failed; two questions."""
    path = tmp_path / "small.h5"
    columns = {
        "shape_round": [6, 0, 1, 2, 3, 9],
        "shape_flat": [2, 5, 0, 2, 0, 1],
        "shape_total-votes": [8, 5, 1, 4, 3, 10],
        "shape_round_fraction": [0.75, 0.0, 1.0, 0.5, np.nan, 0.9],
        "shape_flat_fraction": [0.25, 1.0, 0.0, 0.5, np.nan, 0.1],
        "size": [1.5, -2.0, 3.0, np.nan, 5.0, 6.0],
        "remark": ["", "sch\u00f6n", "x", "y", "z", "w"],
    }
    write_small(path, failed=[2], columns=columns, questions=[SHAPE, SIZE])
    return path
