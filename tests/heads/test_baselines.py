"""The mean predictor against scikit-learn's DummyRegressor, the untrained head against torch."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor

from embeddings.questions import Question
from heads.baselines import MeanHead, RandomHead
from heads.metrics import pearson_r

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


def test_mean_weighted_by_votes(rng: np.random.Generator) -> None:
    votes = rng.integers(1, 40, size=(50, 2)).astype(float)
    total = votes.sum(axis=1, keepdims=True)
    head = MeanHead((Question("shape", ("round", "flat")),), weight_by_votes=True)
    # of fractions weighted by totals, the mean is the share of all votes
    P = head.fit(rng.normal(size=(50, 3)), votes / total, votes=votes).predict(np.zeros((1, 3)))
    assert P[0] == pytest.approx(votes.sum(axis=0) / votes.sum())


# untrained


def test_random_is_the_reference_studys_head_before_training(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    X = rng.normal(size=(40, 20))
    head = RandomHead().fit(X, rng.uniform(size=(40, 3)))
    norms = (torch.nn.BatchNorm1d(width, eps=0).double() for width in (512, 256))
    layers = [torch.nn.Linear(*sizes).double() for sizes in ((20, 512), (512, 256), (256, 3))]
    for layer, weights in zip(layers, (head.hidden1_, head.hidden2_, head.output_), strict=True):
        assert weights.shape == layer.weight.T.shape
        torch.nn.init.zeros_(layer.bias)
        layer.weight.data = torch.from_numpy(weights.T.copy())
    relu, dropout = torch.nn.ReLU(), torch.nn.Dropout(0.2)
    hidden = [part for layer, norm in zip(layers, norms, strict=False) for part in (layer, norm, relu, dropout)]
    network = torch.nn.Sequential(*hidden, layers[-1], torch.nn.Sigmoid()).eval()
    with torch.no_grad():
        expected = network(torch.from_numpy((X - X.mean(axis=0)) / X.std(axis=0)))
    assert head.predict(X) == pytest.approx(expected.numpy())


def test_random_weights_are_glorots(rng: np.random.Generator) -> None:
    head = RandomHead().fit(rng.normal(size=(5, 768)), np.arange(5) / 4)
    limit = np.sqrt(6 / (768 + 512))
    assert 0.99 * limit < np.abs(head.hidden1_).max() <= limit
    assert head.hidden1_.std() == pytest.approx(limit / np.sqrt(3), rel=0.01)  # a uniform's


def test_random_looks_at_no_label_and_follows_the_seed(rng: np.random.Generator) -> None:
    X, Y = rng.normal(size=(30, 5)), rng.uniform(size=(2, 30, 2))
    first, second = (RandomHead(random_state=4).fit(X, labels).predict(X) for labels in Y)
    assert np.array_equal(first, second)
    assert not np.allclose(first, RandomHead(random_state=5).fit(X, Y[0]).predict(X))


def test_random_knows_nothing_on_average(rng: np.random.Generator) -> None:
    X = rng.normal(size=(300, 30))
    Y = X[:, :1] > 0
    scores = [pearson_r(Y[:, 0], RandomHead(random_state=seed).fit(X, Y).predict(X)[:, 0]) for seed in range(30)]
    # thirty directions: of one, a random one has a correlation of about 1 / sqrt(30) = 0.18, of either sign
    assert abs(np.mean(scores)) < 0.1
    assert 0.05 < np.std(scores) < 0.3
