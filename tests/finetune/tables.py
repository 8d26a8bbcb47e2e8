"""Galaxies with labels and no images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embeddings.questions import Question, list_targets
from finetune.data import GalaxyTable

SHAPE = Question("shape", ("smooth", "disk", "artifact"))
BAR = Question("bar", ("yes", "no"), "shape_disk")


def make_table(
    Y: np.ndarray,
    votes: np.ndarray | None = None,
    questions: Sequence[Question] = (SHAPE, BAR),
    ids: Sequence[str] | None = None,
) -> GalaxyTable:
    n = len(Y)
    assert Y.shape[1] == len(list_targets(questions))
    return GalaxyTable(
        rows=np.arange(n),
        ids=np.array(ids if ids is not None else [f"g{row}" for row in range(n)], object),
        surveys=np.full(n, "sky", object),
        ra=np.full(n, np.nan),
        dec=np.full(n, np.nan),
        paths=np.full(n, "", object),
        Y=Y.astype(np.float32),
        votes=np.full(Y.shape, np.nan, np.float32) if votes is None else votes.astype(np.float32),
        questions=tuple(questions),
    )


def draw_votes(rng: np.random.Generator, n: int, least: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Fractions and counts on `SHAPE` and `BAR`; every fifth galaxy was not asked for its bar."""
    totals = rng.integers(least, 40, size=(n, 2))
    shape = rng.multinomial(totals[:, 0], [0.5, 0.3, 0.2])
    bar = rng.multinomial(totals[:, 1], [0.25, 0.75])
    votes = np.concatenate([shape, bar], axis=1).astype(float)
    Y = votes / totals[:, [0, 0, 0, 1, 1]]
    Y[::5, 3:] = votes[::5, 3:] = np.nan
    return Y, votes
