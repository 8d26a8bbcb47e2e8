"""The mean predictor against scikit-learn's DummyRegressor."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor

from embeddings.questions import Question
from heads.baselines import MeanHead

NAN = float("nan")


def test_mean_by_hand() -> None:
    # (0 + 1 + 0.5) / 3; (2 + 4) / 2, without the galaxy that was not asked
    Y = np.array([[0, 2], [1, NAN], [0.5, 4]])
    head = MeanHead().fit(np.eye(3), Y)
    assert head.predict(np.ones((2, 3))).tolist() == [[0.5, 3], [0.5, 3]]


def test_mean_is_scikit_learns_dummy(rng: np.random.Generator) -> None:
    X, Y = rng.normal(size=(50, 3)), rng.uniform(size=(50, 2))
    head = MeanHead((Question("shape", ("round", "flat")),)).fit(X, Y)
    assert head.predict(X) == pytest.approx(DummyRegressor().fit(X, Y).predict(X))


def test_mean_looks_at_no_vector(rng: np.random.Generator) -> None:
    Y = rng.uniform(size=(20, 1))
    P = [MeanHead().fit(rng.normal(size=(20, 3)), Y).predict(rng.normal(size=(5, 3))) for _ in range(2)]
    assert np.array_equal(*P)


def test_mean_chose_nothing() -> None:
    assert MeanHead().fit(np.eye(2), np.arange(2)).inner_score_ == -np.inf


def test_predictions_are_not_the_heads_own_memory() -> None:
    head = MeanHead().fit(np.eye(2), np.arange(2))
    head.predict(np.eye(2))[:] = 99
    assert head.predict(np.eye(2)).tolist() == [[0.5], [0.5]]
