"""The perceptron: what it learns, what it leaves out, and the same after loading."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import r2_score

from embeddings.questions import Question
from heads.base import TargetsError
from heads.mlp import MLPHead

NAN = float("nan")
SHAPE = Question("shape", ("round", "flat"))
SIZE = Question("size", kind="value")


def make_head(**parameters: Any) -> MLPHead:
    return MLPHead((SHAPE, SIZE), **{"hidden": (32,), "batch_size": 64, "learning_rate": 0.01} | parameters)


@pytest.fixture
def X(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(3, 2, size=(900, 4)).astype(np.float32)


@pytest.fixture
def Y(X: np.ndarray) -> np.ndarray:
    """What no plane fits: fractions of a hill, and a value far from 0."""
    hill = np.exp(-(((X[:, 0] - 3) / 2) ** 2))
    return np.column_stack([hill, 1 - hill, 5000 + 300 * np.abs(X[:, 1] - 3)]).astype(np.float32)


def test_it_learns_what_is_not_linear(X: np.ndarray, Y: np.ndarray) -> None:
    head = make_head().fit(X[:600], Y[:600])
    P = head.predict(X[600:])
    assert min(r2_score(Y[600:], P, multioutput="raw_values")) > 0.8
    assert P[:, :2].min() >= 0
    assert P[:, :2].max() <= 1
    assert head.inner_score_ == pytest.approx(r2_score(Y[600:], P), abs=0.1)


def test_missing_labels_teach_nothing(X: np.ndarray, Y: np.ndarray) -> None:
    Y[::2, :2] = NAN
    head = make_head(max_epochs=3).fit(X, Y)
    assert np.isfinite(head.predict(X)).all()
    assert np.isfinite(head.inner_score_)


def test_votes_weigh(X: np.ndarray) -> None:
    # the half with many votes says 0.9, the other 0.1: unweighted 0.5, weighted (0.9 x 39 + 0.1) / 40
    fraction = np.tile([0.9, 0.1], 450)[:, None]
    Y, totals = np.hstack([fraction, 1 - fraction]), np.tile([39, 1], 450)[:, None]
    plain = MLPHead((SHAPE,), hidden=(4,), learning_rate=0.02).fit(X, Y, totals * Y)
    weighted = MLPHead((SHAPE,), weight_by_votes=True, hidden=(4,), learning_rate=0.02).fit(X, Y, totals * Y)
    assert plain.predict(X)[:, 0].mean() == pytest.approx(0.5, abs=0.05)
    assert weighted.predict(X)[:, 0].mean() == pytest.approx(0.88, abs=0.05)


def test_groups_are_held_out_whole(X: np.ndarray, Y: np.ndarray) -> None:
    # copies of 20 galaxies with labels of chance: seen on both sides, they could be learned by heart
    rng = np.random.default_rng(3)
    groups = np.arange(900) % 20
    head = MLPHead(hidden=(64,), batch_size=64, learning_rate=0.01)
    labels = rng.normal(size=20)[groups]
    assert head.fit(X[groups], labels, groups=groups).inner_score_ < 0.3
    assert clone(head).fit(X[groups], labels).inner_score_ > 0.7


def test_too_few_galaxies(X: np.ndarray, Y: np.ndarray) -> None:
    with pytest.raises(TargetsError, match="at least 2 galaxies"):
        make_head().fit(X[:2], Y[:2])
    with pytest.raises(TargetsError, match="one galaxy only"):
        make_head().fit(X, Y, groups=np.zeros(900))
    assert np.isfinite(make_head(max_epochs=2).fit(X[:3], Y[:3]).predict(X)).all()


def test_a_constant_target_is_predicted(X: np.ndarray) -> None:
    Y = np.tile([0.25, 0.75, 9], (900, 1))
    assert MLPHead((SHAPE, SIZE), hidden=(8,), max_epochs=5).fit(X, Y).predict(X) == pytest.approx(Y, abs=1e-3)


def test_the_seed_decides_and_others_chance_is_left_alone(X: np.ndarray, Y: np.ndarray) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first = make_head(max_epochs=2).fit(X, Y).predict(X)
    assert torch.equal(torch.rand(1), expected)
    assert np.array_equal(make_head(max_epochs=2).fit(X, Y).predict(X), first)
    assert not np.array_equal(make_head(max_epochs=2, random_state=1).fit(X, Y).predict(X), first)


def test_files_restore_it(X: np.ndarray, Y: np.ndarray) -> None:
    head = make_head(max_epochs=2).fit(X, Y)
    restored = clone(head).from_arrays(head.to_arrays()).from_files(head.to_files())
    assert restored.predict(X).tobytes() == head.predict(X).tobytes()
