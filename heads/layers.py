"""Fitted networks as plain arrays: applied by numpy, kept as safetensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from safetensors.numpy import load, save

Array = np.ndarray[Any, Any]
Layers = list[tuple[Array, Array]]
FILE = "model.safetensors"


def apply_layers(layers: Layers, X: Array) -> Array:
    """
    Affine layers with rectifiers between them.

    Parameters
    ----------
    layers : list of ((n_in, n_out) array, (n_out,) array)
    X : (n_galaxies, n_in) array
        Its precision is that of the result.

    Returns
    -------
    (n_galaxies, n_out) array
    """
    for number, (weight, bias) in enumerate(layers):
        X = np.maximum(X, 0) if number else X
        X = X @ weight.astype(X.dtype)
        X += bias.astype(X.dtype)
    return X


def pack_layers(layers: Layers) -> bytes:
    """The content of a safetensors file."""
    arrays: dict[str, Array] = {}
    for number, (weight, bias) in enumerate(layers):
        arrays |= {f"{number}.weight": np.ascontiguousarray(weight), f"{number}.bias": np.ascontiguousarray(bias)}
    return save(arrays)


def unpack_layers(content: bytes) -> Layers:
    """The inverse of `pack_layers`."""
    arrays = load(content)
    return [(arrays[f"{number}.weight"], arrays[f"{number}.bias"]) for number in range(len(arrays) // 2)]
