"""Trees on a ridge's residuals, against XGBoost's own scikit-learn interface."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from embeddings.errors import HeadError
from embeddings.provenance import Space
from embeddings.questions import Question
from heads import boosting
from heads.base import INNER_FOLDS
from heads.boosting import MIN_GALAXIES, XGBoostHead, choose_device
from heads.io import FittedHead, digest_space, load_head
from heads.linear import RidgeHead
from heads.splits import cut_folds
from tests.heads.conftest import MODEL

xgboost = pytest.importorskip("xgboost")
NAN = float("nan")
BEND = Question("bend", ("yes", "no"))
SIZE = Question("size", kind="value")


def draw_bent(rng: np.random.Generator, n: int = 600, d: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Vectors, and labels that a plane does not follow."""
    X = rng.normal(size=(n, d))
    return X, X[:, 1] + 2 * (X[:, 0] > 0) * (X[:, 2] > 0) + rng.normal(0, 0.3, n)


@pytest.fixture
def bent(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return draw_bent(rng)


# against what XGBoost and scikit-learn make of the same numbers


def build_by_hand(
    X: np.ndarray, y: np.ndarray, head: XGBoostHead, alphas: tuple[float, float], weights: np.ndarray | None = None
) -> Any:
    """The same predictor from scikit-learn's Ridge and XGBRegressor; for features of few values, so that bins agree."""
    asked, held_out = ~np.isnan(y), cut_folds(np.arange(len(X)), INNER_FOLDS, head.random_state) == 0
    scaler = StandardScaler().fit(X)
    Z, w = scaler.transform(X), np.ones(len(X)) if weights is None else weights
    training, stopping = asked & ~held_out, asked & held_out
    inner_scaler = StandardScaler().fit(Z[~held_out])  # all galaxies of the side, asked or not
    inner = Ridge(alphas[0]).fit(inner_scaler.transform(Z[training]), y[training], w[training])
    residual = y - inner.predict(inner_scaler.transform(Z))
    trees = xgboost.XGBRegressor(
        n_estimators=head.n_rounds, learning_rate=head.learning_rate, max_depth=head.max_depth, max_bin=head.max_bin,
        tree_method="hist", base_score=0.0, early_stopping_rounds=head.patience,
    )  # fmt: skip
    stop = {"eval_set": [(Z[stopping], residual[stopping])], "sample_weight_eval_set": [w[stopping]]}
    trees.fit(Z[training], residual[training], sample_weight=w[training], verbose=False, **stop)
    whole = Ridge(alphas[1]).fit(Z[asked], y[asked], w[asked])
    return lambda new: whole.predict(scaler.transform(new)) + trees.predict(scaler.transform(new))


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_xgboosts_own_interface(weighted: bool, rng: np.random.Generator, monkeypatch: Any) -> None:
    X = rng.integers(0, 8, size=(700, 5)).astype(float)
    fraction = np.clip(0.3 + 0.4 * (X[:, 0] > 3) * (X[:, 2] > 3) + 0.02 * X[:, 1] + rng.normal(0, 0.05, 700), 0, 1)
    Y = np.stack([fraction, 1 - fraction], axis=1)
    Y[rng.random(700) < 0.2] = NAN
    totals = rng.integers(1, 40, 700)
    alpha = 10.0
    monkeypatch.setattr(
        XGBoostHead, "_make_ridge", lambda self, questions: RidgeHead(questions, 0, weighted, alphas=(alpha,))
    )
    head = XGBoostHead((BEND,), weight_by_votes=weighted, n_components=None)
    head.fit(X, Y, Y * totals[:, None])
    asked = ~np.isnan(Y[:, 0])
    weights = totals / totals[asked].mean() if weighted else None
    scaled = (alpha, alpha)
    if weighted:  # the inner ridge's weights have a mean of one over its own galaxies
        training = asked & (cut_folds(np.arange(700), INNER_FOLDS, 0) != 0)
        scaled = (alpha * totals[training].mean() / totals[asked].mean(), alpha)
    expected = build_by_hand(X, Y[:, 0], head, scaled, weights)
    new = rng.integers(0, 8, size=(200, 5)).astype(float)
    assert set(head.boosters_) == {0, 1}
    assert head.predict(new)[:, 0] == pytest.approx(np.clip(expected(new), 0, 1), abs=2e-3)


def test_trees_see_the_leading_components(bent: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = bent
    X = X + X[:, :1] * [0, 0, 1, 1, 1, 1]  # so that the leading ones lead
    head = XGBoostHead(n_components=3).fit(X, y)
    Z = StandardScaler().fit_transform(X)
    expected = PCA(3, svd_solver="full").fit(Z).components_
    assert np.abs(np.sum(head.components_.T * expected, axis=1)) == pytest.approx(np.ones(3), abs=1e-6)
    trees = head.boosters_[0].inplace_predict(Z @ head.components_)
    assert head.predict(X)[:, 0] == pytest.approx(Z @ head.coef_[:, 0] + head.intercept_[0] + trees, abs=1e-5)


# what trees are for


def test_trees_learn_what_a_plane_cannot(rng: np.random.Generator) -> None:
    X, y = draw_bent(rng, 1500)
    new, truth = draw_bent(rng, 500)
    ridge, head = RidgeHead().fit(X, y), XGBoostHead().fit(X, y)
    # 2 x (A and B), with A and B of probability 1/2: variance 0.75, of which planes explain 4 cov^2 = 2 x 0.16 = 0.32;
    # the total is 1 + 0.75 + 0.09
    assert r2_score(truth, ridge.predict(new)) == pytest.approx(1.32 / 1.84, abs=0.05)
    assert r2_score(truth, head.predict(new)) > 0.85
    assert head.inner_score_ == pytest.approx(r2_score(truth, head.predict(new)), abs=0.06)


def test_what_is_linear_stays_the_ridge(rng: np.random.Generator) -> None:
    X = rng.normal(size=(300, 5))
    y = X @ rng.normal(size=5)  # without noise: nothing is left over
    head = XGBoostHead().fit(X, y)
    assert head.predict(X) == pytest.approx(RidgeHead().fit(X, y).predict(X), abs=1e-2)


def test_trees_that_do_not_help_are_left_out(rng: np.random.Generator) -> None:
    X, Y = rng.normal(size=(400, 5)), rng.normal(size=(400, 6))
    head = XGBoostHead(learning_rate=1.0, max_depth=8).fit(X, Y)  # wild trees on noise
    without = sorted(set(range(6)) - set(head.boosters_))
    assert len(without) >= 4
    assert head.predict(X)[:, without] == pytest.approx(RidgeHead().fit(X, Y).predict(X)[:, without], abs=1e-9)


def test_copies_do_not_stop_the_trees(rng: np.random.Generator) -> None:
    # noise, each galaxy four times: where copies are torn apart trees that learn by heart look good
    X, y = np.repeat(rng.normal(size=(150, 8)), 4, axis=0), np.repeat(rng.normal(size=150), 4)
    eager = XGBoostHead(n_components=None, max_depth=10)
    assert eager.fit(X, y).inner_score_ > 0.3
    assert eager.fit(X, y, groups=np.repeat(np.arange(150), 4)).inner_score_ < 0.1


def test_a_scarce_target_keeps_its_ridge(bent: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = bent
    scarce = np.where(np.arange(600) < 2 * MIN_GALAXIES, y, NAN)
    head = XGBoostHead((SIZE, Question("rare", kind="value"))).fit(X, np.stack([y, scarce], axis=1))
    assert set(head.boosters_) == {0}
    ridge = RidgeHead().fit(X, np.stack([y, scarce], axis=1))
    assert head.predict(X)[:, 1] == pytest.approx(ridge.predict(X)[:, 1], abs=1e-9)
    alone = XGBoostHead().fit(X, scarce)
    assert alone.boosters_ == {}
    assert alone.inner_score_ == RidgeHead().fit(StandardScaler().fit_transform(X), scarce).inner_score_


def test_targets_do_not_disturb_each_other(bent: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> None:
    X, y = bent
    other = np.where(rng.random(600) < 0.4, NAN, rng.normal(size=600))
    together = XGBoostHead().fit(X, np.stack([other, y], axis=1)).predict(X)[:, 1]
    assert together == pytest.approx(XGBoostHead().fit(X, y).predict(X)[:, 0], abs=1e-5)


# folders and machines


def test_boosters_are_files_that_xgboost_reads(bent: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    X, y = bent
    Y = np.stack([y, np.where(np.arange(600) < 30, y, NAN), -y], axis=1).astype(np.float32)
    head = XGBoostHead(tuple(Question(name, kind="value") for name in "abc")).fit(X.astype(np.float32), Y)
    space = Space(12, "cls")
    fitted = FittedHead(head, space, digest_space(MODEL, space), MODEL, np.array([f"g{row}" for row in range(600)]))
    folder = fitted.save(tmp_path / "head")
    assert {path.name for path in folder.iterdir()} == {"head.json", "arrays.npz", "booster-0.ubj", "booster-2.ubj"}
    loaded = load_head(folder)
    assert loaded.head.predict(X).tobytes() == head.predict(X).tobytes()
    Z = ((X - head.mean_) / head.scale_).astype(np.float32) @ head.components_
    trees = xgboost.Booster(model_file=folder / "booster-2.ubj").predict(xgboost.DMatrix(Z))
    assert np.ptp(trees) > 1
    again = loaded.save(folder)  # replaces its own files, and only those
    assert load_head(again).head.predict(X).tobytes() == head.predict(X).tobytes()

    (folder / "booster-0.ubj").write_bytes((folder / "booster-2.ubj").read_bytes())
    with pytest.raises(HeadError, match=r"damaged: booster-0\.ubj is not the one that head\.json describes"):
        load_head(folder)
    (folder / "booster-0.ubj").unlink()
    with pytest.raises(HeadError, match=r"booster-0\.ubj.* is missing"):
        load_head(folder)
    (folder / "booster-7.ubj").write_bytes(b"mine")
    with pytest.raises(HeadError, match=r"more than a head, and it would be lost: booster-7\.ubj"):
        fitted.save(folder)


def test_without_xgboost(monkeypatch: pytest.MonkeyPatch, bent: tuple[np.ndarray, np.ndarray]) -> None:
    def fail(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(boosting, "import_module", fail)
    with pytest.raises(HeadError, match="pip install xgboost-cpu"):
        XGBoostHead().fit(*bent)


@pytest.mark.parametrize(
    ("built", "there", "expected"), [(True, True, "cuda"), (True, False, "cpu"), (False, True, "cpu")]
)
def test_device(built: bool, there: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {
        "xgboost": SimpleNamespace(build_info=lambda: {"USE_CUDA": built}),
        "torch": SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: there)),
    }
    monkeypatch.setattr(boosting, "import_module", lambda name: modules.get(name) or import_module(name))
    assert choose_device() == expected
    assert choose_device("cpu") == "cpu"
