"""Layers as plain arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from heads.layers import apply_layers, pack_layers, unpack_layers

LAYERS = [
    (np.array([[1, -1], [0, 2]], np.float32), np.array([0.5, 0], np.float32)),
    (np.array([[1], [10]], np.float32), np.array([-1], np.float32)),
]


def test_a_hand_computed_case() -> None:
    # (1, 1): (1.5, 1) -> 1.5 + 10 - 1; (1, 0): (1.5, -1) -> (1.5, 0) -> 1.5 - 1
    assert apply_layers(LAYERS, np.array([[1.0, 1], [1, 0]])).tolist() == [[10.5], [0.5]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_that_of_the_vectors(dtype: type) -> None:
    X = np.zeros((3, 2), dtype)
    assert apply_layers(LAYERS, X).dtype == dtype
    assert not X.any()


def test_there_and_back(rng: np.random.Generator) -> None:
    layers = [(rng.normal(size=(4, 3)).T, rng.normal(size=4)), *LAYERS]  # not contiguous
    for (weight, bias), (other_weight, other_bias) in zip(layers, unpack_layers(pack_layers(layers)), strict=True):
        assert weight.dtype == other_weight.dtype
        assert np.array_equal(weight, other_weight)
        assert np.array_equal(bias, other_bias)


def test_it_is_safetensors(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(pack_layers(LAYERS))
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert sorted(file.keys()) == ["0.bias", "0.weight", "1.bias", "1.weight"]
        assert torch.equal(file.get_tensor("0.weight"), torch.from_numpy(LAYERS[0][0]))
