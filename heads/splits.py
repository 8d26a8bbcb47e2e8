"""Folds that never put one galaxy on both sides."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold

from embeddings.errors import HeadError

Array = np.ndarray[Any, Any]
OUTSIDE = -1  # the fold of rows that are learned from in every fold


def find_learned(folds: Array) -> Array:
    """(n_rows,) bool: what the last fit learns from. All rows, or where folds leave some outside, these alone."""
    outside = folds == OUTSIDE
    return outside if outside.any() else np.ones(len(folds), bool)


def hash_share(text: str) -> float:
    """A number in [0, 1) that looks drawn, the same everywhere."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def cut_folds(groups: Array, n_folds: int, random_state: int) -> Array:
    """
    Give every row a fold, whole groups together.

    Returns
    -------
    (n_rows,) int array
        0 to n_folds - 1.

    Raises
    ------
    HeadError
        With fewer groups than folds, or fewer than two folds.
    """
    if n_folds < 2:
        raise HeadError(f"{n_folds} folds leave nothing to learn from or nothing to test on. Use at least 2.")
    n_groups = len(np.unique(groups))
    if n_groups < n_folds:
        raise HeadError(
            f"{n_groups} different galaxies cannot be cut into {n_folds} folds. Use fewer folds or more galaxies."
        )
    folds = np.empty(len(groups), np.int64)
    splitter = GroupKFold(n_folds, shuffle=True, random_state=random_state)
    for fold, (_, test) in enumerate(splitter.split(groups, groups=groups)):
        folds[test] = fold
    return folds
