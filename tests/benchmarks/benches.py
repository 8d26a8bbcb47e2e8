"""Small benchmarks, computed already: folders with samples and cells as a run leaves them, made of drawn numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cells import Cell, Outcome
from benchmarks.gathering import read_results
from benchmarks.results import CELLS, FORMAT, RECORD, SAMPLES, SUITE, VERSION, Results
from benchmarks.samples import Sample
from benchmarks.suite import Suite
from embeddings.questions import Question, list_targets

QUESTIONS = (
    Question("smooth-or-featured", ("smooth", "featured-or-disk", "artifact")),
    Question("bar", ("yes", "no"), parent="smooth-or-featured_featured-or-disk"),
)
N, VOTES = 90, 20
# how near a head's predictions are to the truth, at home and elsewhere: 1 is all of it
SKILL = {"mean": 0.0, "ridge": 0.6, "knn": 0.5, "full": 0.85}
AWAY = {"sdss": 1.0, "decals": 0.7, "ukidss": 0.4}
MODELS: dict[str, dict[str, Any]] = {
    "mean": {"head": "mean"},
    "ridge": {"head": "ridge"},
    "knn": {"head": "knn"},
    "full": {"finetune": "full"},
}


def make_suite(**changes: Any) -> Suite:
    """Three surveys, two training sets, four models, four seeds; one of a fine-tune."""
    keys: dict[str, Any] = {
        "title": "Heads & a <fine-tune>",
        "question": "Does what holds on SDSS hold elsewhere?",
        "surveys": {name: {"catalog": f"{name}.parquet"} for name in AWAY},
        "backbone": "facebook/dinov2-small",
        "trainings": {"sdss": {"surveys": ["sdss"]}, "mixed": {"surveys": ["sdss", "decals"]}},
        "models": MODELS,
        "reference": {"model": "ridge"},
        "seeds": {"heads": 4, "finetunes": 1},
        "recalibration": {"labels": [10, 30], "draws": 3},
    }
    return Suite.model_validate(keys | changes)


def draw_sample(survey: str, objects: str, first: int, n: int = N, seed: int = 0) -> Sample:
    """Votes of twenty volunteers; the second question is asked of about half the galaxies."""
    rng = np.random.default_rng([seed, first, n])
    groups = first + np.arange(n)
    truth = make_truth(groups)
    smooth = np.stack([rng.multinomial(VOTES, shares) for shares in truth[:, :3]])
    bar = rng.binomial(VOTES, truth[:, 3])
    votes = np.column_stack([smooth, bar, VOTES - bar]).astype(np.float32)
    Y = votes / VOTES
    Y[truth[:, 1] < 0.3, 3:] = np.nan
    return Sample(
        survey, objects, np.array([f"{survey}{number}" for number in groups]), Y, Y, votes,  # type: ignore[arg-type]
        np.full_like(Y, VOTES), groups, np.full(n, objects == "same"), 150 + groups / 100, np.full(n, 2.0),
        {"magnitude": rng.uniform(14, 17, n)} if n >= 200 else {},
    )  # fmt: skip


def make_truth(groups: np.ndarray) -> np.ndarray:
    """The fractions that each sky object would have of infinitely many volunteers, (n, 5)."""
    rng = np.random.default_rng(99)
    disk, bar = rng.uniform(0.05, 0.9, 4000)[groups], rng.uniform(0.1, 0.9, 4000)[groups]
    return np.column_stack([0.95 - disk, disk, np.full(len(groups), 0.05), bar, 1 - bar])


def predict(sample: Sample, model: str, training: str, seed: int) -> np.ndarray:
    """The truth shrunk towards its mean, and noise: more of it for a head of less skill, and away from home."""
    truth, skill = make_truth(sample.groups), SKILL[model]
    if not skill:
        return np.tile(np.float32([0.4, 0.5, 0.1, 0.5, 0.5]), (len(sample), 1))
    away = AWAY[sample.survey] if training == "sdss" else np.sqrt(AWAY[sample.survey])
    rng = np.random.default_rng([int(100 * skill), len(training), seed, int(sample.groups[0])])
    share = skill * away
    mean = truth.mean(axis=0)
    return np.clip(mean + share * (truth - mean) + rng.normal(0, 0.12, truth.shape), 0, 1).astype(np.float32)


def make_samples(n: int = N) -> dict[str, Sample]:
    """The home test, two others, some of whose sky objects are the same, and galaxies to recalibrate with."""
    tests = [
        draw_sample("sdss", "new", 0, n),
        draw_sample("decals", "new", n // 3, n, 1),
        draw_sample("ukidss", "new", n // 2, n, 2),
        draw_sample("ukidss", "same", 1000, n, 3),
        draw_sample("ukidss", "pool", 2000, n, 4),
    ]
    return {sample.name: sample for sample in tests}


def write_bench(
    folder: Path, suite: Suite | None = None, samples: dict[str, Sample] | None = None, **record: Any
) -> Results:
    """Write a finished benchmark, and read it as the program does."""
    suite, samples = suite or make_suite(), samples or make_samples()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SUITE).write_text(suite.to_yaml())
    for name, sample in samples.items():
        sample.write(folder / SAMPLES / f"{name}.npz")
    cells = list_cells(suite)
    for cell in cells:
        predictions = {name: predict(sample, cell.model, cell.training, cell.seed) for name, sample in samples.items()}
        costs = {
            "fit_seconds": 0.5 + len(cell.model),
            "predict_seconds": 0.01,
            "peak_memory_bytes": 2**27,
            "device": "cpu",
        }
        if cell.model == "full":
            costs |= {"train_seconds": 300.0, "extract_seconds": 20.0}
        Outcome(cell, "key", 200, predictions, costs).write(folder / CELLS)
    (folder / RECORD).write_text(json.dumps(make_record(suite, samples, cells) | record))
    return read_results(folder)


def list_cells(suite: Suite) -> list[Cell]:
    """Every training set, model and seed; where there are budgets or single spaces, those as well."""
    spaces = ["L2-cls"] if suite.spaces == "joined" else ["L2-cls", "L1-cls"]
    return [
        Cell(training, name, seed, "" if model.finetune else space, budget)
        for training in suite.trainings
        for name, model in suite.models.items()
        for space in (spaces if model.head else spaces[:1])
        for budget in ((*suite.budgets, 0) if space == "L2-cls" else (0,))
        for seed in range(suite.seeds.heads if model.head else suite.seeds.finetunes)
    ]


def make_record(suite: Suite, samples: dict[str, Sample], cells: list[Cell]) -> dict[str, Any]:
    """What a run says of itself."""
    checked = {"test": "id", "how": "equal ids", "checkable": True, "rows": 3, "objects": 2, "reason": None}
    blind = {
        "test": "position", "how": "within 2 arcsec", "checkable": False, "rows": None, "objects": None,
        "reason": "no positions in UKIDSS",
    }  # fmt: skip
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": suite.title,
        "joined_space": "L2-cls",
        "questions": [question.to_dict() for question in QUESTIONS],
        "samples": list(samples),
        "cells": [vars(cell) for cell in cells],
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:14:05+00:00",
        "split": {
            "digest": "ab" * 32, "recipe": {"method": "hash", "val": 0.1},
            "counts": {name: {"train": 200, "val": 30, "test": N} for name in suite.surveys},
            "excluded": {"ukidss-new": 3},
        },
        "surveys": {name: {"catalog": f"{name}.parquet", "rows": 320, "stores": []} for name in suite.surveys},
        "trainings": {"sdss": {"sdss": 200}, "mixed": {"sdss": 100, "decals": 100}},
        "left_out": ["spiral-winding"],
        "audit": [
            {"training": "sdss", "test": "ukidss-same", "n": N, "tests": [checked, blind],
             "found": {"rows": 3, "objects": 2, "complete": False}}
        ],
        "cautions": [{"about": "UKIDSS", "text": "Its galaxies were drawn from SDSS & <seen>."}],
        "environment": {"python": "3.13", "torch": "2.13.0"},
        "costs": {"extraction": [{"survey": "sdss", "size": 224, "backbone": "dinov2", "images": 320, "seconds": 61.5,
                                  "device": "cpu"}]},
    }  # fmt: skip


TARGETS = list_targets(QUESTIONS)
