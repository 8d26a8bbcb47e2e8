"""Nearest neighbours beside scikit-learn's, on a survey of 100,000."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor

from heads.knn import K_CHOICES, MIN_DISTANCE, KNNHead
from tests.perf.conftest import Survey
from tests.perf.timing import measure

pytestmark = [pytest.mark.perf, pytest.mark.slow]


def weigh(distance: np.ndarray) -> np.ndarray:
    return 1 / np.maximum(distance, MIN_DISTANCE)


def point(X: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Standardised, of length one."""
    X = (X - like.mean(axis=0)) / like.std(axis=0)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def test_predicting(draw_survey: Callable[[int, int], Survey]) -> None:
    survey = draw_survey(102_000, 768)
    X, Y, new = survey.X[:100_000], survey.Y[:100_000, :3], survey.X[100_000:]  # the question that everybody is asked
    ours = KNNHead(k_choices=(20,)).fit(X, Y)
    theirs = KNeighborsRegressor(20, weights=weigh, algorithm="brute").fit(point(X, X), Y)
    queries = point(new, X)
    apart = np.abs(ours.predict(new) - theirs.predict(queries)).max(axis=1)
    assert (apart < 1e-3).mean() > 0.99  # the twentieth neighbour may be a near tie
    times = measure(3, ours=lambda: ours.predict(new), sklearn=lambda: theirs.predict(queries))
    print(f"  ratio {times['sklearn'] / times['ours']:.2f}")
    assert times["sklearn"] / times["ours"] > 1.2


def test_choosing_k(draw_survey: Callable[[int, int], Survey]) -> None:
    survey = draw_survey(20_000, 384)
    X, Y = survey.X, survey.Y[:, :3]
    start = time.perf_counter()
    ours = KNNHead().fit(X, Y)
    seconds = time.perf_counter() - start
    search = GridSearchCV(KNeighborsRegressor(weights=weigh, algorithm="brute"), {"n_neighbors": K_CHOICES}, cv=5)
    start = time.perf_counter()
    search.fit(point(X, X), Y)
    ratio = (time.perf_counter() - start) / seconds
    print(f"  {seconds:.1f} s, GridSearchCV {ratio:.1f} x; k {ours.k_}, {search.best_params_}")
    assert ratio > 5
