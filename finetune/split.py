"""Who trains, who chooses, who is tested: sky objects whole, and a file that says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embeddings.files import replace_file
from embeddings.objects import group_galaxies
from embeddings.runs import PARTS, Split
from finetune.data import GalaxyTable, TrainingError
from finetune.sections import Split as Settings
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


def choose_parts(
    table: GalaxyTable, digests: Array, settings: Settings, seed: int, earlier: Split | None = None
) -> Array:
    """
    Give every galaxy a part, as the settings say.

    What an earlier run knew keeps its part: a galaxy that the backbone was trained on once is no test.

    Parameters
    ----------
    digests : (n_galaxies, 32) uint8 array
        Of the images' bytes.
    settings : Split
        The section ``split`` of a configuration.
    seed : int
    earlier : Split, optional
        Of the run that trained the backbone.

    Returns
    -------
    (n_galaxies,) array of {'train', 'val', 'test', ''}
        Empty where the split that is followed does not know the galaxy.

    Raises
    ------
    TrainingError
        When a part comes out empty.
    """
    known = (table.ids.astype(str), table.ra, table.dec, digests)
    if settings.file:
        parts = Split.read(settings.file).match(*known)
    else:
        parts = cut_parts(table, group_galaxies(*known), settings.method, settings.val, settings.test, seed)
    if earlier:
        kept = earlier.match(*known)
        if settings.method == "sequential":  # the study's: an object may be on both sides, and stays there
            before = dict(zip(earlier.ids.tolist(), earlier.parts.tolist(), strict=True))
            kept = np.array(
                [before.get(name, part) for name, part in zip(known[0].tolist(), kept.tolist(), strict=True)]
            )
        parts = np.where((kept != "") & (parts != ""), kept, parts)
    missing = [part for part in ("train", "val") if not (parts == part).any()]
    if missing:
        source = settings.file or "the split of the run that trained the backbone"
        raise TrainingError(f"{source} gives none of these galaxies to {' or '.join(missing)}.")
    return parts.astype(object)


def tabulate_split(table: GalaxyTable, digests: Array, parts: Array, earlier: Split | None = None) -> pa.Table:
    """
    What split.parquet holds: ``id_str, survey, ra, dec, image_sha256, group, part``.

    Galaxies that only an earlier run knew follow after those of the table, with an empty survey: so the split names
    all galaxies that the backbone has ever seen.

    Parameters
    ----------
    digests : (n_galaxies, 32) uint8 array
        Of the images' bytes.
    parts : (n_galaxies,) array of {'train', 'val', 'test'}
    earlier : Split, optional
        Of the run that trained the backbone.
    """
    columns = [table.ids.astype(str), table.ra, table.dec, digests, parts.astype(str)]
    surveys = table.surveys.tolist()
    if earlier:
        gone = ~np.isin(earlier.ids, columns[0])
        others = (earlier.ids, earlier.ra, earlier.dec, earlier.image_sha256, earlier.parts)
        columns = [np.concatenate([here, there[gone]]) for here, there in zip(columns, others, strict=True)]
        surveys += [""] * int(gone.sum())
    ids, ra, dec, images, parts = columns
    return pa.table(
        {
            "id_str": pa.array(ids.tolist(), pa.string()),
            "survey": pa.array(surveys, pa.string()),
            "ra": ra,
            "dec": dec,
            "image_sha256": pa.array([digest.tobytes() for digest in images], pa.binary(32)),
            "group": group_galaxies(ids, ra, dec, images).astype(np.int64),
            "part": pa.array(parts.tolist(), pa.string()),
        }
    )


def write_split(file: Path, split: pa.Table) -> None:
    """Write a split as Parquet."""
    with replace_file(file) as temporary:
        pq.write_table(split.replace_schema_metadata({"format": FORMAT}), temporary)
