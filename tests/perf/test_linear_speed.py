"""Ridge and logistic regression beside what people write with scikit-learn, at the same or better score."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, KFold

from heads.linear import RidgeHead, fit_sizes
from heads.logistic import LogisticHead
from heads.metrics import r2
from tests.perf.conftest import Survey
from tests.perf.timing import measure

pytestmark = [pytest.mark.perf, pytest.mark.slow]
ALPHAS = tuple(10.0 ** np.linspace(-2, 6, 20))
RIDGE_GALAXIES = 100_000  # GridSearchCV takes minutes, so both others run once


def score(Y: np.ndarray, P: np.ndarray) -> float:
    return float(np.mean([r2(y, p) for y, p in zip(Y.T, P.T, strict=True)]))


def standardise(X: np.ndarray) -> np.ndarray:
    return (X - X.mean(axis=0)) / X.std(axis=0)


def clock(way: Callable[[], object]) -> float:
    """Seconds of what takes minutes, once."""
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def test_ridge_of_a_survey(draw_survey: Callable[[int, int], Survey]) -> None:
    # everybody was asked: GridSearchCV and RidgeCV know no missing labels
    survey = draw_survey(RIDGE_GALAXIES + 10_000, 768)
    X, Y = standardise(survey.X), survey.Y[:, :3]
    X, Y, new, truth = X[:RIDGE_GALAXIES], Y[:RIDGE_GALAXIES], X[RIDGE_GALAXIES:], Y[RIDGE_GALAXIES:]
    models: dict[str, Any] = {
        "ours": RidgeHead(alphas=ALPHAS),
        "ridge_cv": RidgeCV(ALPHAS, alpha_per_target=True),
        "grid_search": GridSearchCV(Ridge(), {"alpha": ALPHAS}, cv=KFold(5, shuffle=True, random_state=0)),
    }
    times = measure(3, ours=lambda: models["ours"].fit(X, Y))
    times |= {name: clock(lambda name=name: models[name].fit(X, Y)) for name in ("ridge_cv", "grid_search")}
    scores = {name: score(truth, model.predict(new)) for name, model in models.items()}
    print("  R2", scores, "ratio", {name: times[name] / times["ours"] for name in times})
    assert scores["ours"] > max(scores.values()) - 1e-3
    assert times["grid_search"] / times["ours"] > 10
    assert times["ridge_cv"] / times["ours"] > 3


def test_sizes_cost_less_together(draw_survey: Callable[[int, int], Survey]) -> None:
    survey = draw_survey(100_000, 384)
    sizes = [20_000, 40_000, 60_000, 80_000, 100_000]
    X, Y, head = survey.X, survey.Y, RidgeHead(survey.questions, alphas=ALPHAS)
    times = measure(
        1,
        shared=lambda: fit_sizes(head, X, Y, sizes),
        largest=lambda: RidgeHead(survey.questions, alphas=ALPHAS).fit(X, Y),
        each=lambda: [RidgeHead(survey.questions, alphas=ALPHAS).fit(X[:size], Y[:size]) for size in sizes],
    )
    assert times["shared"] < times["each"]


def repeat(X: np.ndarray, F: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each galaxy once an answer, weighing its fraction."""
    return np.repeat(X, F.shape[1], axis=0), np.tile(np.arange(F.shape[1]), len(F)), F.ravel()


def fit_repeated(X: np.ndarray, survey: Survey, alpha: float) -> list[tuple[np.ndarray, LogisticRegression]]:
    """One LogisticRegression a question, and who was asked."""
    fitted, start = [], 0
    for question in survey.questions:
        Y = survey.Y[: len(X), start : start + len(question.targets)]
        start += len(question.targets)
        rows = ~np.isnan(Y[:, 0])
        model = LogisticRegression(C=(2 if Y.shape[1] == 2 else 1) / alpha, max_iter=1000)
        repeated, labels, weights = repeat(X[rows], Y[rows])
        fitted.append(model.fit(repeated, labels, sample_weight=weights))
    return fitted


def test_logistic_of_ten_targets(draw_survey: Callable[[int, int], Survey]) -> None:
    survey = draw_survey(24_000, 384)
    X = standardise(survey.X)
    train, new, truth = X[:20_000], X[20_000:], survey.Y[20_000:]
    Y = survey.Y[:20_000]
    chosen = LogisticHead(survey.questions)
    one = LogisticHead(survey.questions, alphas=(100.0,))
    models: list[LogisticRegression] = []
    times = measure(3, one_penalty=lambda: one.fit(train, Y), thirteen_penalties=lambda: chosen.fit(train, Y))
    times["repeated_labels"] = clock(lambda: models.extend(fit_repeated(train, survey, 100.0)))
    theirs = np.concatenate([model.predict_proba(new) for model in models], axis=1)
    scores = {"one": one.predict(new), "chosen": chosen.predict(new), "repeated": theirs}
    print("  R2", {name: score(truth, P) for name, P in scores.items()})
    print("  ratio", {name: times["repeated_labels"] / seconds for name, seconds in times.items()})
    assert score(truth, scores["one"]) == pytest.approx(score(truth, theirs), abs=2e-3)
    assert score(truth, scores["chosen"]) > score(truth, theirs) - 2e-3
    assert times["repeated_labels"] / times["one_penalty"] > 1  # 12 on real vectors, 2 on synthetic ones


FIT = """
import json
import sys
import numpy as np
from heads.io import find_head
from embeddings.questions import Question
X = np.random.default_rng(0).standard_normal((240_000, 768), np.float32)
votes = np.random.default_rng(1).multinomial(40, [0.5, 0.4, 0.1], len(X)).astype(np.float32)
head = find_head(sys.argv[1])((Question("arms", ("one", "two", "more")),))
head.set_params(**json.loads(sys.argv[2])).fit(X, votes / 40, votes)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # maxrss counts the parent's
print(int(peak.split()[1]) / 2**20)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize(
    ("name", "options"),
    [("ridge", {}), ("logistic", {}), ("knn", {}), ("xgboost", {}), ("votes", {}), ("mlp", {"max_epochs": 1})],
)
def test_memory_of_a_large_survey(name: str, options: dict[str, int]) -> None:
    # one epoch of the mlp needs as much memory as all
    command = [sys.executable, "-c", FIT, name, json.dumps(options)]
    output = subprocess.run(command, check=True, capture_output=True, text=True)
    print(f"  {name} on 240,000 x 768: peak {float(output.stdout):.2f} GiB")
    assert float(output.stdout) < 8
