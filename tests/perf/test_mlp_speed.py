"""The perceptron against scikit-learn's, at the same score or better."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

from heads.mlp import MLPHead
from tests.perf.conftest import Survey

pytestmark = [pytest.mark.perf, pytest.mark.slow]


def test_ten_targets(draw_survey: Callable[[int, int], Survey]) -> None:
    survey = draw_survey(60_000, 384)
    complete = np.flatnonzero(~np.isnan(survey.Y).any(axis=1))  # MLPRegressor knows no missing labels
    assert len(complete) >= 22_000
    X, Y = survey.X[complete[:22_000]], survey.Y[complete[:22_000]]
    X, Y, new, truth = X[:20_000], Y[:20_000], X[20_000:], Y[20_000:]
    start = time.perf_counter()
    ours = MLPHead(survey.questions).fit(X, Y)
    middle = time.perf_counter()
    scaler = StandardScaler().fit(X)
    theirs = MLPRegressor(hidden_layer_sizes=(512, 256), early_stopping=True, random_state=0)
    theirs.fit(scaler.transform(X), Y)
    seconds = middle - start, time.perf_counter() - middle
    scores = r2_score(truth, ours.predict(new)), r2_score(truth, theirs.predict(scaler.transform(new)))
    print(
        f"  mlp {seconds[0]:.1f} s, R2 {scores[0]:.3f}; MLPRegressor {seconds[1]:.1f} s, R2 {scores[1]:.3f}, "
        f"{theirs.n_iter_} epochs: {seconds[1] / seconds[0]:.1f} x"
    )
    assert scores[0] >= scores[1]
    assert seconds[1] / seconds[0] > 1
