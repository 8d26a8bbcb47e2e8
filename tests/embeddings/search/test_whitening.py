"""Whitening, against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from sklearn.decomposition import PCA

from embeddings.search import whitening
from embeddings.search.whitening import Whitening, choose_fit_rows, scale_to_unit, transform


def test_without_shrinking_it_is_scikit_learns(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whitening, "SHRINK", 0.0)
    monkeypatch.setattr(whitening, "SHRINK_FEW", 0.0)
    X = (rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 3).astype(np.float32)
    ours, theirs = Whitening.fit(X).apply(X), PCA(whiten=True).fit_transform(X)[:, ::-1]
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=2e-3)
    np.testing.assert_allclose(np.cov(ours.T), np.eye(6), atol=1e-3)


def test_shrinking_leaves_directions_of_noise_small(rng: np.random.Generator) -> None:
    # variances 9 and nearly 0, mean 4.5, shrunk by 0.1 + 0.25 x 2 / 1000 = 0.1005 of it, 0.452: 9 / 9.452 and 0
    X = np.stack([rng.permutation(np.repeat([-3.0, 3.0], 500)), 1e-4 * rng.normal(size=1000)], axis=1)
    spread = np.sort(Whitening.fit(X).apply(X.astype(np.float32)).var(axis=0))
    assert spread[1] == pytest.approx(9 / 9.452, abs=0.002)
    assert spread[0] < 1e-6


def test_equal_rows_stay_equal_and_finite() -> None:
    X = np.ones((60, 4), np.float32)
    assert np.isfinite(transform(X, Whitening.fit(X))).all()


@given(hnp.arrays(np.float32, (5, 3), elements={"min_value": -100, "max_value": 100}))
def test_rows_get_length_one_or_stay_zero(X: np.ndarray) -> None:
    length = np.linalg.norm(scale_to_unit(X).astype(np.float64), axis=1)
    tiny = np.linalg.norm(X.astype(np.float64), axis=1) < 1e-18  # their squares vanish in float32
    np.testing.assert_allclose(length[~tiny], 1, atol=1e-4)


def test_rows_to_fit_are_all_or_a_sample() -> None:
    assert choose_fit_rows(100, 8, 0).tolist() == list(range(100))
    rows = choose_fit_rows(50_000, 384, 0)
    assert len(np.unique(rows)) == 20_000
    assert (np.diff(rows) > 0).all()
