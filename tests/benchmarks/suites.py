"""Suites that need no images: stores of surveys whose vectors show the truth with noise, and what is compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.material import SurveyTable, read_table
from benchmarks.runner import Prepared, prepare
from benchmarks.splits import cut_stores
from benchmarks.suite import Suite
from benchmarks.supply import CACHE, Supply
from embeddings.layout import Header, Vectors, encode_strings, write_store
from embeddings.provenance import Provenance, Space
from embeddings.questions import Question
from embeddings.store import EmbeddingStore
from tests.benchmarks.stores import IMAGES, MODEL

QUESTIONS = (Question("shape", ("round", "flat")), Question("arms", ("yes", "no"), "shape_flat"))
SKY = np.random.default_rng(0).uniform(size=(400, 2))  # what each object truly is: round, and with arms
NORTH, SOUTH = np.arange(0, 240), np.arange(120, 360)  # sky objects 120 to 239 are in both
INFRARED = np.arange(0, 240, 2)  # drawn from those of the first
SURVEYS = {"sdss": (NORTH, 1, 0.0), "decals": (SOUTH, 2, 0.3), "ukidss": (INFRARED, 3, 0.1)}
SPACES = (Space(1, "cls"), Space(2, "cls"))


def write_survey(
    file: Path, survey: str, objects: np.ndarray, seed: int = 0, offset: float = 0.0, **changes: Any
) -> Path:
    """
    A store of a survey of some sky objects, in the order given; `changes` replace columns or arrays.

    Ids, image bytes and vectors differ from survey to survey; places, 36 arcsec apart, tell the objects.
    """
    questions: tuple[Question, ...] = changes.pop("questions", QUESTIONS)
    model = changes.pop("model", MODEL)
    rng, n = np.random.default_rng([seed, 5]), len(objects)
    X, Y, votes, totals = see(objects, seed, offset)
    arrays = {
        "id_str": encode_strings([f"{survey}-{number}" for number in objects]),
        "survey": encode_strings([survey] * n),
        "ra": 10 + objects / 100,
        "dec": np.zeros(n),
        "image": encode_strings([f"{number}.png" for number in objects]),
        "image_root": np.zeros(n, np.uint16),
        "image_sha256": rng.integers(1, 256, (n, 32)).astype(np.uint8),
        "status": encode_strings(["ok"] * n),
        "catalog/mag_r": 14 + objects / 100,
    }
    columns = [(target, question) for question in QUESTIONS for target in question.targets]
    for column, (target, question) in enumerate(columns):
        arrays[f"catalog/{target}_fraction"] = Y[:, column]
        arrays[f"catalog/{target}"] = votes[:, column]
        arrays[f"catalog/{question.total_column}"] = totals[:, column]
    arrays |= {name.replace("__", "/"): np.asarray(values) for name, values in changes.items()}
    provenance = Provenance(model, IMAGES, SPACES, runs=({"backbone": "tiny", "date": "2026-01-01"},))
    vectors = {SPACES[0]: Vectors.of(X[:, ::-1].copy() / 2), SPACES[1]: Vectors.of(X)}
    write_store(file, Header(survey, provenance, questions, (str(file.parent),)), arrays, vectors)
    return file


def see(objects: np.ndarray, seed: int, offset: float = 0.0) -> tuple[np.ndarray, ...]:
    """Vectors that show the truth with noise, and the fractions, votes and totals of thirty volunteers."""
    rng = np.random.default_rng(seed)
    truth = np.stack([SKY[objects, 0], 1 - SKY[objects, 0], SKY[objects, 1], 1 - SKY[objects, 1]], axis=1)
    X = np.concatenate([truth + rng.normal(0, 0.1, truth.shape), rng.normal(size=(len(objects), 4))], axis=1) + offset
    flat = rng.binomial(30, truth[:, 1])
    arms = rng.binomial(flat, truth[:, 2])
    votes = np.stack([30 - flat, flat, arms, flat - arms], axis=1).astype(np.float32)
    totals = np.stack([np.full(len(objects), 30), np.full(len(objects), 30), flat, flat], axis=1).astype(np.float32)
    Y = np.divide(votes, totals, out=np.full_like(votes, np.nan), where=totals > 0)
    return X.astype(np.float16), Y, np.where(np.isnan(Y), np.nan, votes).astype(np.float32), totals


def write_surveys(folder: Path) -> Path:
    """Three stores, NAME.h5: 240 objects, 240 of which it shares 120, and every second of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (objects, seed, offset) in SURVEYS.items():
        write_survey(folder / f"{name}.h5", name, objects, seed, offset)
    return folder


def make_keys(folder: Path, **changes: Any) -> dict[str, Any]:
    """What a suite of these stores asks for: few things, on the last layer."""
    keys: dict[str, Any] = {
        "surveys": {name: {"store": str(folder / f"{name}.h5")} for name in SURVEYS},
        "backbone": "tiny",
        "extraction": {"pools": ["cls"]},
        "split": {"val": 0.1, "test": 0.3},
        "trainings": {"sdss": {"surveys": ["sdss"]}},
        "models": {"mean": {"head": "mean"}, "ridge": {"head": "ridge"}},
        "seeds": {"heads": 2},
        "recalibration": {"labels": [10], "draws": 2},
        "audit": False,  # vectors of eight numbers are often alike by chance
    }
    return keys | changes


def make_suite(folder: Path, **changes: Any) -> Suite:
    """The suite itself."""
    return Suite.model_validate(make_keys(folder, **changes))


def read_tables(suite: Suite) -> dict[str, SurveyTable]:
    """The suite's surveys, cut by its split."""
    stores = {name: EmbeddingStore.open(source.store) for name, source in suite.surveys.items() if source.store}
    split = cut_stores([*stores.values()], suite.split.to_recipe())
    tables = {name: read_table(store, QUESTIONS, split, suite) for name, store in stores.items()}
    for store in stores.values():
        store.close()
    return tables


def prepare_suite(suite: Suite, folder: Path) -> Prepared:
    """As the runner does before it computes."""
    folder.mkdir(parents=True, exist_ok=True)
    return prepare(suite, folder, Supply(suite, folder / CACHE))


def sky_numbers(ids: np.ndarray) -> np.ndarray:
    """The sky objects of some galaxies, as their ids have them: ``sdss-12`` shows object 12."""
    return np.array([int(name.rpartition("-")[2]) for name in ids.tolist()], int)
