"""Galaxies that are there to choose: no head learns from them, every head chooses by them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from scipy.stats import multinomial
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from embeddings.questions import Question
from heads.base import Head, TargetsError
from heads.io import HEADS, make_head
from heads.knn import KNNHead
from heads.linear import RidgeHead
from heads.logistic import LogisticHead
from heads.mlp import MLPHead
from heads.votes import VotesHead

NAMES = [name for name in HEADS if name != "xgboost" or find_spec("xgboost")]
ONE_CHOICE: dict[str, dict[str, Any]] = {  # nothing is left to choose
    "mean": {}, "random": {}, "knn": {"k_choices": (5,)}, "ridge": {"alphas": (3.0,)}, "logistic": {"alphas": (3.0,)},
    "votes": {"alphas": (3.0,)},
}  # fmt: skip
SHAPE = Question("shape", ("round", "flat"))
N, CHOOSING = 120, 40


class Sky:
    """Vectors that say what share of 20 volunteers called a galaxy round; the last rows are there to choose."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.X = rng.normal(2, 3, size=(N, 6)).astype(np.float32)
        yes = rng.binomial(20, 1 / (1 + np.exp(-(self.X[:, 0] - 2) / 3)))
        self.votes = np.column_stack([yes, 20 - yes]).astype(np.float32)
        self.Y = self.votes / 20
        self.validation = np.arange(N) >= N - CHOOSING
        self.groups = np.arange(N) // 2

    def fit(self, head: Head) -> Head:
        return head.fit(self.X, self.Y, self.votes, self.groups, self.validation)


@pytest.fixture
def sky() -> Sky:
    return Sky()


def make(name: str) -> Head:
    return make_head(name, (SHAPE,), **({"max_epochs": 3, "hidden": (8,)} if name == "mlp" else {}))


@pytest.mark.parametrize("name", NAMES)
def test_vectors_are_standardised_by_what_is_learned_from(name: str, sky: Sky) -> None:
    sky.X[sky.validation] += 100
    head = sky.fit(make(name))
    training = sky.X[~sky.validation]
    np.testing.assert_allclose(head.mean_, training.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(head.scale_, training.std(axis=0), rtol=1e-5)


@pytest.mark.parametrize("name", ONE_CHOICE)
def test_with_nothing_to_choose_it_is_a_fit_without_them(name: str, sky: Sky) -> None:
    """Neither their vectors nor their labels enter."""
    training, new = ~sky.validation, np.random.default_rng(1).normal(2, 3, size=(30, 6)).astype(np.float32)
    alone = make_head(name, (SHAPE,), **ONE_CHOICE[name])
    alone.fit(sky.X[training], sky.Y[training], sky.votes[training], sky.groups[training])
    with_them = sky.fit(make_head(name, (SHAPE,), **ONE_CHOICE[name]))
    np.testing.assert_allclose(with_them.predict(new), alone.predict(new), atol=2e-4)
    for column, values in with_them.predict_columns(new).items():
        np.testing.assert_allclose(values, alone.predict_columns(new)[column], atol=2e-4)
    assert len(getattr(with_them, "X_", sky.X[training])) == N - CHOOSING


@pytest.mark.parametrize("name", ["knn", "ridge", "logistic", "mlp", "votes"])
def test_the_inner_score_is_that_of_those_that_choose(name: str, sky: Sky) -> None:
    head = sky.fit(make(name))
    chosen_by = sky.validation
    expected = r2_score(sky.Y[chosen_by], head.predict(sky.X[chosen_by]))
    assert head.inner_score_ == pytest.approx(expected, abs=1e-2)  # ridge clips what it predicts, not what it judges


def test_ridge_chooses_as_scikit_learn_does(sky: Sky) -> None:
    alphas = [0.01, 1, 10, 100, 1000]
    head = sky.fit(RidgeHead((SHAPE,), alphas=alphas))
    scaled = (sky.X - head.mean_) / head.scale_
    split = PredefinedSplit(np.where(sky.validation, 0, -1))
    search = GridSearchCV(Ridge(), {"alpha": alphas}, cv=split, scoring="neg_mean_squared_error", refit=False)
    for target, y in enumerate(sky.Y.T):
        best = search.fit(scaled, y).best_params_["alpha"]
        assert head.alpha_[target] == best
        fitted = Ridge(alpha=best).fit(scaled[~sky.validation], y[~sky.validation])
        np.testing.assert_allclose(head.coef_[:, target], fitted.coef_, rtol=2e-3, atol=1e-5)


def test_noise_among_those_that_choose_gives_strong_penalties_and_many_neighbours(sky: Sky) -> None:
    """Training labels follow the vectors to the digit, so folds inside them would choose the opposite."""
    sky.Y = np.column_stack([sky.X[:, 0], -sky.X[:, 0]])
    rng, choices = np.random.default_rng(5), (1, 80)
    plain = KNNHead(k_choices=choices).fit(sky.X, sky.Y)
    assert plain.k_.tolist() == [1, 1]
    assert sky.fit(RidgeHead(alphas=(1.0, 1e6))).alpha_.tolist() == [1.0, 1.0]
    sky.Y[sky.validation] = rng.permutation(sky.Y[sky.validation])
    assert sky.fit(RidgeHead(alphas=(1.0, 1e6))).alpha_.tolist() == [1e6, 1e6]
    assert sky.fit(KNNHead(k_choices=choices)).k_.tolist() == [80, 80]


@pytest.mark.parametrize("head_class", [LogisticHead, VotesHead])
def test_penalties_follow_the_likelihood_of_those_that_choose(head_class: type[Head], sky: Sky) -> None:
    alphas, held_out = (1000.0, 100.0, 10.0, 1.0), sky.validation
    options = {"likelihood": "multinomial"} if head_class is VotesHead else {}
    head = sky.fit(head_class((SHAPE,), alphas=alphas, **options))
    likelihoods = []
    for alpha in alphas:
        alone = head_class((SHAPE,), alphas=(alpha,), **options)
        alone.fit(sky.X[~held_out], sky.Y[~held_out], sky.votes[~held_out])
        P = alone.predict(sky.X[held_out]).astype(np.float64)
        likelihoods.append(multinomial.logpmf(sky.votes[held_out], 20, P / P.sum(axis=1, keepdims=True)).sum())
    assert float(head.alpha_[0]) == alphas[int(np.argmax(likelihoods))]


def test_an_mlp_stops_by_those_that_choose(sky: Sky, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []

    def train(network: Any, X: Any, loss: Any, held_out: Any, schedule: Any) -> float:
        held.append(held_out.numpy())
        network.eval()
        return 0.0

    monkeypatch.setattr("heads.networks.train_network", train)
    sky.Y[sky.validation] = 1 - sky.Y[sky.validation]
    head = sky.fit(MLPHead((SHAPE,)))
    np.testing.assert_array_equal(held[0], sky.validation)
    np.testing.assert_allclose(head.target_mean_, sky.Y[~sky.validation].mean(axis=0), rtol=1e-5)
    sky.fit(VotesHead((SHAPE,), hidden=4))
    np.testing.assert_array_equal(held[1], sky.validation)


@pytest.mark.skipif(find_spec("xgboost") is None, reason="XGBoost is not installed")
def test_trees_stop_by_those_that_choose_and_add_to_the_ridge_that_predicts(sky: Sky) -> None:
    from heads.boosting import XGBoostHead

    bump = Question("bump", kind="value")
    y = (np.abs(sky.X[:, 1] - 2) < 2).astype(np.float32)[:, None]  # what a ridge cannot say and trees can
    head = XGBoostHead((bump,)).fit(sky.X, y, None, sky.groups, sky.validation)
    ridge = RidgeHead((bump,)).fit((sky.X - head.mean_) / head.scale_, y, None, sky.groups, sky.validation)
    np.testing.assert_allclose(head.coef_, ridge.coef_ / ridge.scale_[:, None], rtol=1e-3, atol=1e-5)
    assert list(head.boosters_) == [0]
    reached = r2_score(y[sky.validation], head.predict(sky.X[sky.validation]))
    assert head.inner_score_ == pytest.approx(reached, abs=1e-3)
    # the labels of those that choose say how many trees there are, and nothing of what the trees say
    y[sky.validation] = np.random.default_rng(0).permutation(y[sky.validation])
    assert XGBoostHead((bump,)).fit(sky.X, y, None, sky.groups, sky.validation).boosters_ == {}


def test_weights_count_on_both_sides(sky: Sky) -> None:
    """A galaxy without votes says nothing, whatever its labels."""
    rng = np.random.default_rng(3)
    silent = rng.random(N) < 0.3
    sky.votes[silent] = 0
    heads = []
    for labels in (0.0, 1.0):
        sky.Y[silent] = labels, 1 - labels
        heads.append(sky.fit(RidgeHead((SHAPE,), weight_by_votes=True)))
    assert heads[0].alpha_.tolist() == heads[1].alpha_.tolist()
    np.testing.assert_allclose(heads[0].coef_, heads[1].coef_, rtol=1e-4, atol=1e-6)
    assert heads[0].inner_score_ == pytest.approx(heads[1].inner_score_, abs=1e-5)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (np.zeros(N, bool), "0 of 120 galaxies choose"),
        (np.arange(N) > 0, "119 of 120 galaxies choose"),
        (np.ones(5, bool), r"one boolean for each of 120 galaxies; got bool of \(5,\)"),
        (np.zeros(N), r"one boolean for each of 120 galaxies; got float64"),
    ],
)
def test_what_cannot_choose(validation: np.ndarray, message: str, sky: Sky) -> None:
    with pytest.raises(TargetsError, match=message):
        RidgeHead().fit(sky.X, sky.Y, validation=validation)


@pytest.mark.parametrize(("side", "what"), [(True, "validation"), (False, "training")])
def test_labels_are_needed_on_both_sides(side: bool, what: str, sky: Sky) -> None:
    sky.Y[sky.validation == side] = np.nan
    with pytest.raises(TargetsError, match=f"no {what} galaxy has labels of shape_round, shape_flat"):
        sky.fit(RidgeHead((SHAPE,)))
