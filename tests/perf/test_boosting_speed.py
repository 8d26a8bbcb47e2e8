"""Trees on a ridge's residuals beside XGBoost as people use it, a regressor a target."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV

from heads.boosting import XGBoostHead
from heads.metrics import r2
from tests.perf.conftest import Survey

pytestmark = [pytest.mark.perf, pytest.mark.slow]


def bend(survey: Survey) -> np.ndarray:
    """Labels that no plane follows: where two directions are both positive the fractions are turned round."""
    rng = np.random.default_rng(1)
    a, b = ((survey.X - survey.X.mean(axis=0)) @ rng.normal(size=(survey.X.shape[1], 2))).T
    return np.where(((a > 0) & (b > 0))[:, None], 1 - survey.Y, survey.Y)


def score(Y: np.ndarray, P: np.ndarray) -> float:
    return float(np.mean([r2(y, p) for y, p in zip(Y.T, P.T, strict=True)]))


@pytest.mark.parametrize("bent", [False, True])
def test_ten_targets(bent: bool, draw_survey: Callable[[int, int], Survey]) -> None:
    xgboost = pytest.importorskip("xgboost")
    survey = draw_survey(22_000, 384)
    Y = bend(survey) if bent else survey.Y
    X, Y, new, truth = survey.X[:20_000], Y[:20_000], survey.X[20_000:], Y[20_000:]
    start = time.perf_counter()
    ours = XGBoostHead().fit(X, Y).predict(new)
    seconds = time.perf_counter() - start
    theirs, ridge = np.empty_like(ours), np.empty_like(ours)
    start = time.perf_counter()
    for target, y in enumerate(Y.T):
        asked = ~np.isnan(y)
        theirs[:, target] = xgboost.XGBRegressor(n_estimators=30).fit(X[asked], y[asked]).predict(new)
    ratio = (time.perf_counter() - start) / seconds
    for target, y in enumerate(Y.T):
        asked = ~np.isnan(y)
        ridge[:, target] = RidgeCV(10.0 ** np.arange(0, 6)).fit(X[asked], y[asked]).predict(new)
    scores = {"ours": score(truth, ours), "regressors": score(truth, theirs), "ridge": score(truth, ridge)}
    print(f"  {seconds:.1f} s, a regressor a target {ratio:.1f} x the time; R2 {scores}")
    assert ratio > 1.8
    assert scores["ours"] > max(scores["regressors"], scores["ridge"] - 0.001)
