"""Embeddings and votes to fit heads on, at the size of a survey."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import softmax

from embeddings.questions import Question
from embeddings.store import EmbeddingStore

QUESTIONS = (
    Question("smooth-or-featured", ("smooth", "featured-or-disk", "artifact")),
    Question("disk-edge-on", ("yes", "no"), parent="smooth-or-featured_featured-or-disk"),
    Question("has-spiral-arms", ("yes", "no"), parent="disk-edge-on_no"),
    Question("bulge-size", ("dominant", "obvious", "none"), parent="disk-edge-on_no"),
)
NOISE = 0.3  # of each feature's spread: copies of an image are no copies any more
ASKED = 5  # volunteers that a question needs


class Survey(NamedTuple):
    """Vectors, fractions and votes of ten targets; NaN where a question was not asked."""

    X: np.ndarray
    Y: np.ndarray
    votes: np.ndarray
    questions: tuple[Question, ...] = QUESTIONS


@pytest.fixture(scope="session")
def real_vectors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """CLS and patch mean of 800 real images side by side; without images and backbone, a decaying spectrum of noise."""
    try:
        data: Path = request.getfixturevalue("real_data")
        backbone: Path = request.getfixturevalue("real_backbone")
    except pytest.skip.Exception:
        return np.random.default_rng(0).normal(size=(2000, 768)) * np.arange(1, 769) ** -0.5
    from extract.catalog import Catalog, catalog_from_table
    from extract.pipeline import extract_embeddings

    folder = data / "sdss_kaggle_spiral"
    whole = catalog_from_table(folder / "labels.csv", folder, "GalaxyID", "file", ["class"])
    catalog = Catalog(whole.frame.head(800), whole.questions, whole.image_root)
    path = tmp_path_factory.mktemp("real") / "real.h5"
    extract_embeddings(catalog, str(backbone), path, pools=["cls", "patch-mean"])
    return EmbeddingStore.open(path).table(pooling="cls+patch-mean").X


@pytest.fixture(scope="session")
def draw_survey(real_vectors: np.ndarray) -> Callable[[int, int], Survey]:
    """A function that draws a survey of n galaxies in d dimensions: real vectors, resampled with noise, and votes."""

    def draw(n: int, d: int) -> Survey:
        rng = np.random.default_rng(n + d)
        base = real_vectors[:, :d].astype(np.float32)
        rows = rng.integers(len(base), size=n)
        X = base[rows] + NOISE * base.std(axis=0) * rng.standard_normal((n, d), np.float32)
        leading = (X - X.mean(axis=0)) @ np.linalg.svd(base - base.mean(axis=0), full_matrices=False)[2][:30].T
        leading /= leading.std(axis=0)
        blocks: list[np.ndarray] = []
        reached = {None: np.full(n, 40)}
        for question in QUESTIONS:
            P = softmax(leading @ rng.normal(size=(30, len(question.answers))) / 4, axis=1)
            counts = rng.multinomial(reached[question.parent], P).astype(np.float32)
            reached |= dict(zip(question.targets, counts.T.astype(int), strict=True))
            counts[reached[question.parent] < ASKED] = np.nan
            blocks.append(counts)
        Y = np.concatenate([counts / counts.sum(axis=1, keepdims=True) for counts in blocks], axis=1)
        return Survey(X, Y, np.concatenate(blocks, axis=1))

    return draw
