"""Folders of fine-tuning runs, as the fine-tune leaves them: for tests of what uses them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.extract.models import save_model

NAN = float("nan")


def write_split(
    file: Path,
    ids: Sequence[str],
    parts: Sequence[str],
    ra: Sequence[float] | None = None,
    dec: Sequence[float] | None = None,
    images: Sequence[bytes] | None = None,
) -> str:
    """A split.parquet; its sha256. Without positions and images only ids tell galaxies."""
    n = len(ids)
    columns = {
        "id_str": pa.array(ids, pa.string()),
        "survey": pa.array(["sdss"] * n),
        "ra": pa.array([NAN] * n if ra is None else ra, pa.float64()),
        "dec": pa.array([NAN] * n if dec is None else dec, pa.float64()),
        "image_sha256": pa.array([bytes(32)] * n if images is None else images, pa.binary(32)),
        "group": pa.array(np.arange(n), pa.int64()),
        "part": pa.array(parts, pa.string()),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_run(folder: Path, split_sha256: str, seed: int = 0, **changes: Any) -> Path:
    """run.json of a finished run on 56-pixel images, and a backbone of three blocks, 32 wide."""
    save_model(folder / "backbone", seed=seed)
    return write_record(folder, split_sha256, **changes)


def write_record(folder: Path, split_sha256: str, **changes: Any) -> Path:
    """run.json alone: for tests that need no weights."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "format": "galaxy-sommelier/run",
        "version": "1.0",
        "status": "finished",
        "epoch": 10,
        "epochs": 10,
        "backbone": {"name": "tiny", "weights_sha256": "0" * 64},
        "recipe": {"name": "whole", "size": 56, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
        "rendering": {},
        "space": {"layer": 3, "pooling": "cls"},
        "split_sha256": split_sha256,
        "targets": ["odd"],
        "questions": [],
    }
    (folder / "run.json").write_text(json.dumps(record | changes))
    return folder
