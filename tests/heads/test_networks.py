"""Networks: built as asked, stopped in time, and folded without a difference."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from heads.layers import apply_layers
from heads.networks import Schedule, build_network, fold_network, train_network
from heads.threads import limit_threads


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    with limit_threads(0):  # as in a head's fit
        yield


@pytest.fixture
def X() -> Tensor:
    return torch.from_numpy(np.random.default_rng(2).normal(size=(300, 5)).astype(np.float32))


def make_loss(labels: Tensor) -> object:
    return lambda outputs, rows: ((outputs - labels[rows]) ** 2).mean()


def test_the_network_of_the_reference_study_has_its_parameters() -> None:
    # 768-512-256-74: 545,610 parameters, as counted from the study's files
    network = build_network(768, (512, 256), np.zeros(74), 0.2)
    assert sum(values.numel() for values in network.parameters()) == 545_610
    kinds = [type(part).__name__ for part in network]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2 + ["Linear"]


def test_outputs_start_from_the_bias(X: Tensor) -> None:
    network = build_network(5, (8,), np.array([3.0, -2.0]), 0.0)
    assert network(X).detach().unique(dim=0).tolist() == [[3, -2]]


def test_folded_layers_give_the_same(X: Tensor) -> None:
    torch.manual_seed(0)
    network = build_network(5, (16, 8), np.zeros(2), 0.3)
    labels = torch.stack([X[:, 0] * 3 + 5, X[:, 1] ** 2], dim=1)
    train_network(network, X, make_loss(labels), torch.arange(300) < 60, Schedule(64, max_epochs=5))
    with torch.no_grad():
        expected = network(X).numpy()
    assert apply_layers(fold_network(network), X.numpy()) == pytest.approx(expected, abs=1e-4)
    assert expected.std(axis=0).min() > 0.01


def test_it_learns(X: Tensor) -> None:
    torch.manual_seed(0)
    network = build_network(5, (32,), np.zeros(1), 0.0)
    labels, held_out = (X[:, :1] * X[:, 1:2]).clone(), torch.arange(300) < 60
    best = train_network(network, X, make_loss(labels), held_out, Schedule(32, 0.01, max_epochs=60, patience=20))
    assert best < 0.3 * float((labels[held_out] ** 2).mean())
    with torch.no_grad():  # the state that is kept is the best one
        assert float(((network(X[held_out]) - labels[held_out]) ** 2).mean()) == pytest.approx(best, rel=1e-4)


def test_it_stops_when_nothing_is_learned(X: Tensor) -> None:
    torch.manual_seed(0)
    network = build_network(5, (32,), np.zeros(1), 0.0)
    labels = torch.randn(300, 1)
    epochs = 0

    def loss(outputs: Tensor, rows: Tensor) -> Tensor:
        nonlocal epochs
        epochs += not torch.is_grad_enabled()
        return ((outputs - labels[rows]) ** 2).mean()

    train_network(network, X, loss, torch.arange(300) < 60, Schedule(64, 0.01, max_epochs=200, patience=4))
    assert 5 <= epochs < 60


def test_held_out_rows_teach_nothing(X: Tensor) -> None:
    labels, held_out = X[:, :1].clone(), torch.arange(300) < 60
    changed = labels.clone()
    changed[held_out] += 5  # moves what is best to stop at, but with one epoch there is one state only
    states = []
    for given in (labels, changed):
        torch.manual_seed(0)
        network = build_network(5, (8,), np.zeros(1), 0.2)
        train_network(network, X, make_loss(given), held_out, Schedule(64, max_epochs=1))
        states.append(network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_last_batch_of_one_is_no_batch() -> None:
    torch.manual_seed(0)
    X = torch.randn(70, 3)  # 65 to train on: 64 and 1 would not normalise
    network = build_network(3, (4,), np.zeros(1), 0.0)
    assert np.isfinite(train_network(network, X, make_loss(X[:, :1]), torch.arange(70) < 5, Schedule(64, max_epochs=2)))
