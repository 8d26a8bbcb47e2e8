"""Inner scores against scikit-learn's R2."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import r2_score

from heads.scores import mean_r2, score_held_out

NAN = float("nan")


def test_mean_r2_is_the_mean_of_scikit_learns(rng: np.random.Generator) -> None:
    Y, P = rng.normal(size=(2, 40, 3))
    Y[:10, 1] = NAN
    Y[:, 2] = 0.5  # does not vary: left out
    there = ~np.isnan(Y[:, 1])
    expected = (r2_score(Y[:, 0], P[:, 0]) + r2_score(Y[there, 1], P[there, 1])) / 2
    assert mean_r2(np.nansum((Y - P) ** 2, axis=0), Y) == pytest.approx(expected)


def test_mean_r2_of_nothing_that_varies_is_the_worst() -> None:
    assert mean_r2(np.zeros(1), np.ones((5, 1))) == -np.inf


def test_weighted_mean_r2_is_the_mean_of_scikit_learns(rng: np.random.Generator) -> None:
    Y, P = rng.normal(size=(2, 40, 2))
    weights = rng.integers(0, 5, size=(40, 2)).astype(float)
    Y[:10, 1] = NAN  # whatever they weigh
    there = ~np.isnan(Y[:, 1])
    expected = [
        r2_score(Y[:, 0], P[:, 0], sample_weight=weights[:, 0]),
        r2_score(Y[there, 1], P[there, 1], sample_weight=weights[there, 1]),
    ]
    assert mean_r2(np.nansum(weights * (Y - P) ** 2, axis=0), Y, weights) == pytest.approx(np.mean(expected))


def test_score_of_held_out_galaxies_is_scikit_learns(rng: np.random.Generator) -> None:
    Y, P = rng.normal(size=(2, 40, 3))
    held_out = np.arange(40) < 15
    Y[:15, 2] = NAN  # has no label among them: left out
    Y[:5, 1] = NAN
    expected = (r2_score(Y[:15, 0], P[:15, 0]) + r2_score(Y[5:15, 1], P[5:15, 1])) / 2
    assert score_held_out(Y, P[:15], held_out) == pytest.approx(expected)
    weights = np.where(np.isnan(Y), 0, rng.uniform(1, 3, size=Y.shape))
    expected = np.mean(
        [
            r2_score(Y[r, k], P[r, k], sample_weight=weights[r, k])
            for r, k in ((np.arange(15), 0), (np.arange(5, 15), 1))
        ]
    )
    assert score_held_out(Y, P[:15], held_out, weights) == pytest.approx(expected)
