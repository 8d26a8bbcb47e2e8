"""Who trains, who chooses, who is tested: sky objects whole, and a file that says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from embeddings.runs import Split
from finetune.data import GalaxyTable, TrainingError
from heads.splits import choose_part, cut_in_order, hash_share, name_objects

Array = np.ndarray[Any, Any]


def cut_parts(
    table: GalaxyTable, groups: Array, method: Literal["hash", "sequential"], val: float, test: float, seed: int
) -> Array:
    """
    Give every galaxy a part.

    Parameters
    ----------
    table : GalaxyTable
    groups : (n_galaxies,) int array
        Sky objects.
    method : {'hash', 'sequential'}
        By a hash of each sky object's name (its least id): whatever other galaxies there are, one stays in its part. Or
        as the study did: the first share of the rows, the next, the rest, whatever they show.
    val, test : float
        Shares.
    seed : int

    Returns
    -------
    (n_galaxies,) array of {'train', 'val', 'test'}

    Raises
    ------
    TrainingError
        When a part comes out empty.
    """
    n = len(table)
    if method == "sequential":
        parts = cut_in_order(n, val, test)
    else:
        shares = [hash_share(f"{seed}/{name}") for name in name_objects(table.ids, groups)]
        parts = np.array([choose_part(share, val, test) for share in shares], object)
    for part, share in (("train", 1.0), ("val", val), ("test", test)):
        if share > 0 and not (parts == part).any():
            raise TrainingError(f"of {n} galaxies none is left for {part}; give more, or other shares in split.")
    return parts


def write_split(file: Path, table: GalaxyTable, digests: Array, groups: Array, parts: Array) -> None:
    """
    Write the parts as `embeddings.runs.Split.write` does.

    Parameters
    ----------
    digests : (n_galaxies, 32) uint8 array
        Of the images' bytes.
    groups, parts : (n_galaxies,) arrays
    """
    known = Split(table.ids, table.ra, table.dec, digests, parts)
    known.write(file, table.surveys, groups)
