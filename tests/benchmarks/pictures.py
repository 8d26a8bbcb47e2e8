"""Catalogs of surveys with pictures on disk, of 28 pixels, and suites of them with a backbone of three blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.suite import Suite
from extract.catalog import Catalog
from tests.benchmarks.suites import QUESTIONS, SKY, see
from tests.extract.models import save_model

SIDE = 28
NUMBERS = {"sdss": range(0, 160), "ukidss": range(20, 100)}
SETTINGS: dict[str, Any] = {
    "data.weights": "none", "data.workers": 1, "model.head.hidden": [8], "model.drop_path": 0, "training.epochs": 1,
    "training.batch_size": 16, "training.learning_rate": 1e-3, "training.head_learning_rate": 1e-2,
    "training.early_stopping": None, "training.threads": 1,
}  # fmt: skip


def draw(number: int, survey: str) -> np.ndarray:
    """A blob as wide as the object is round, as bright as it has arms; every survey has its own noise."""
    rng = np.random.default_rng([number, len(survey)])
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    round_, arms = SKY[number]
    blob = np.exp(-((x / 0.25) ** 2 + (y / (0.05 + 0.2 * round_)) ** 2))
    image = (60 + 150 * arms) * blob[:, :, None] * [1, 0.8, 0.6] + rng.normal(20, 4, (SIDE, SIDE, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def write_catalog(folder: Path, survey: str, numbers: Sequence[int], **columns: Any) -> Path:
    """Draw what is not drawn yet, and write NAME.parquet; columns may be changed."""
    images, objects = folder / f"{survey}-images", np.array(numbers)
    images.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        if not (images / f"{number}.png").exists():
            Image.fromarray(draw(number, survey)).save(images / f"{number}.png")
    _, Y, votes, totals = see(np.arange(400), len(survey))
    table: dict[str, Any] = {
        "id_str": [f"{survey}-{number}" for number in numbers],
        "survey": survey,
        "ra": 10 + objects / 100,
        "dec": 0.0,
        "image": [f"{number}.png" for number in numbers],
    }
    for column, (target, question) in enumerate((t, q) for q in QUESTIONS for t in q.targets):
        values = {f"{target}_fraction": Y, target: votes, question.total_column: totals}
        table |= {name: array[objects, column] for name, array in values.items()}
    return Catalog(pd.DataFrame(table | columns), QUESTIONS, str(images)).write(folder / f"{survey}.parquet")


def write_sky(folder: Path) -> Path:
    """Two catalogs, of which the second's sky objects are the first's, and a backbone."""
    for survey, numbers in NUMBERS.items():
        write_catalog(folder, survey, numbers)
    save_model(folder / "backbone")
    return folder


def make_pictured(folder: Path, **changes: Any) -> Suite:
    """A ridge on frozen embeddings; what else is compared is for the test to say."""
    keys: dict[str, Any] = {
        "surveys": {name: {"catalog": str(folder / f"{name}.parquet")} for name in NUMBERS},
        "backbone": str(folder / "backbone"),
        "extraction": {"pools": ["cls"], "size": SIDE, "device": "cpu", "workers": 1, "threads": 1, "batch_size": 64},
        "split": {"val": 0.2, "test": 0.35},
        "trainings": {"sdss": {"surveys": ["sdss"]}},
        "models": {"ridge": {"head": "ridge"}},
        "seeds": {"heads": 1, "finetunes": 1},
        "recalibration": {"labels": []},
        "audit": False,
    }
    return Suite.model_validate(keys | changes)
