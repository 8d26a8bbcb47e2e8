"""Folds and parts that never put one galaxy on both sides."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold

from embeddings.errors import HeadError
from embeddings.runs import PARTS

Array = np.ndarray[Any, Any]
OUTSIDE = -1  # the fold of rows that are learned from in every fold


def find_learned(folds: Array) -> Array:
    """(n_rows,) bool: what the last fit learns from. All rows, or where folds leave some outside, these alone."""
    outside = folds == OUTSIDE
    return outside if outside.any() else np.ones(len(folds), bool)


def hash_share(text: str) -> float:
    """A number in [0, 1) that looks drawn, the same everywhere."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def name_objects(ids: Array, groups: Array) -> list[str]:
    """
    Name the sky object of each row: by the least id that shows it, whatever the order of rows.

    Parameters
    ----------
    ids : (n_rows,) array of str
    groups : (n_rows,) int array

    Returns
    -------
    (n_rows,) list of str
    """
    least: dict[int, str] = {}
    for group, id_str in zip(groups.tolist(), ids.tolist(), strict=True):
        least[group] = min(least.get(group, id_str), id_str)
    return [least[group] for group in groups.tolist()]


def choose_part(share: float, val: float, test: float) -> str:
    """The part of what lies at `share`, in [0, 1), of all: test galaxies first, then validation, then training."""
    return "test" if share < test else "val" if share < test + val else "train"


def cut_in_order(n: int, val: float, test: float) -> Array:
    """
    The reference study's parts: the first share of the rows, the next, the rest, whatever they show.

    Returns
    -------
    (n,) array of {'train', 'val', 'test'}
    """
    n_train, n_val = int(n * (1 - val - test) + 1e-9), int(n * val + 1e-9)  # down both, as the study
    return np.repeat(np.array(PARTS, object), [n_train, n_val, n - n_train - n_val])


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
