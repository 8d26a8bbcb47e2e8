"""Who trains, who chooses, who is tested: sky objects whole, and a file that says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embeddings.files import replace_file
from embeddings.runs import PARTS
from finetune.data import GalaxyTable, TrainingError
from heads.splits import hash_share

Array = np.ndarray[Any, Any]
FORMAT = "galaxy-sommelier/split"


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
        n_train, n_val = int(n * (1 - val - test) + 1e-9), int(n * val + 1e-9)  # down both, as the study
        parts = np.repeat(np.array(PARTS, object), [n_train, n_val, n - n_train - n_val])
    else:
        parts = np.array([_name_part(name, val, test, seed) for name in _name_groups(table.ids, groups)], object)
    for part, share in (("train", 1.0), ("val", val), ("test", test)):
        if share > 0 and not (parts == part).any():
            raise TrainingError(f"of {n} galaxies none is left for {part}; give more, or other shares in split.")
    return parts


def _name_groups(ids: Array, groups: Array) -> list[str]:
    """Of each row, the least id of its sky object."""
    least: dict[int, str] = {}
    for group, id_str in zip(groups.tolist(), ids.tolist(), strict=True):
        least[group] = min(least.get(group, id_str), id_str)
    return [least[group] for group in groups.tolist()]


def _name_part(name: str, val: float, test: float, seed: int) -> str:
    share = hash_share(f"{seed}/{name}")
    return "test" if share < test else "val" if share < test + val else "train"


def write_split(file: Path, table: GalaxyTable, digests: Array, groups: Array, parts: Array) -> None:
    """
    Write ``id_str, survey, ra, dec, image_sha256, group, part`` as Parquet.

    Parameters
    ----------
    digests : (n_galaxies, 32) uint8 array
        Of the images' bytes.
    groups, parts : (n_galaxies,) arrays
    """
    columns = {
        "id_str": pa.array(table.ids.tolist(), pa.string()),
        "survey": pa.array(table.surveys.tolist(), pa.string()),
        "ra": table.ra,
        "dec": table.dec,
        "image_sha256": pa.array([digest.tobytes() for digest in digests], pa.binary(32)),
        "group": groups.astype(np.int64),
        "part": pa.array(parts.tolist(), pa.string()),
    }
    with replace_file(file) as temporary:
        pq.write_table(pa.table(columns).replace_schema_metadata({"format": FORMAT}), temporary)
