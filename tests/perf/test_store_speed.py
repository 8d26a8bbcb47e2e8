"""Reading a store of 240,000 rows beside plain numpy files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embeddings import layout
from embeddings.layout import Header, Vectors
from embeddings.provenance import Provenance, Space
from embeddings.store import EmbeddingStore
from tests.perf.timing import measure

pytestmark = [pytest.mark.perf, pytest.mark.slow]
ROWS, WIDTH = 240_000, 768
SPACE = Space(12, "cls")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same vectors as a store and as a .npy file."""
    folder = tmp_path_factory.mktemp("large")
    X = np.random.default_rng(0).standard_normal((ROWS, WIDTH), dtype=np.float32).astype(np.float16)
    np.save(folder / "x.npy", X)
    provenance = Provenance({"weights_sha256": "0" * 64}, {}, (SPACE,), runs=({"backbone": "none"},))
    arrays = {
        "id_str": layout.encode_strings(map(str, range(10**17, 10**17 + ROWS))),
        "survey": layout.encode_strings(["sdss"] * ROWS),
        "ra": np.zeros(ROWS),
        "dec": np.zeros(ROWS),
        "image": layout.encode_strings(f"images/{row}.jpg" for row in range(ROWS)),
        "image_root": np.zeros(ROWS, np.uint16),
        "image_sha256": np.zeros((ROWS, 32), np.uint8),
        "status": layout.encode_strings(["ok"] * ROWS),
    }
    layout.write_store(folder / "x.h5", Header("sdss", provenance, (), ("",)), arrays, {SPACE: Vectors.of(X)})
    return folder / "x.h5", folder / "x.npy"


def test_reading_everything_as_float32(files: tuple[Path, Path]) -> None:
    store, plain = EmbeddingStore.open(files[0]), files[1]
    times = measure(checked=lambda: store.read_vectors(SPACE), numpy=lambda: np.load(plain).astype(np.float32))
    assert times["checked"] / times["numpy"] < 1.5


def test_random_rows(files: tuple[Path, Path]) -> None:
    rows = np.random.default_rng(1).choice(ROWS, 2048, replace=False)
    vectors, plain = EmbeddingStore.open(files[0]).vectors(), np.load(files[1], mmap_mode="r")
    np.testing.assert_array_equal(vectors[rows], plain[rows])
    times = measure(9, store=lambda: vectors[rows], memmap=lambda: plain[rows])
    assert times["store"] / times["memmap"] < 2


def test_opening(files: tuple[Path, Path]) -> None:
    times = measure(9, open=lambda: EmbeddingStore.open(files[0]).close())
    assert times["open"] < 0.02


def test_info_takes_less_than_a_second(files: tuple[Path, Path]) -> None:
    command = [sys.executable, "-m", "sommelier", "info", str(files[0]), "--json"]
    times = measure(3, info=lambda: subprocess.run(command, check=True, capture_output=True))
    assert times["info"] < 1
