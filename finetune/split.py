"""Who trains, who chooses, who is tested: sky objects whole, and a file that says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embeddings.files import replace_file
from embeddings.objects import group_galaxies
from embeddings.runs import SPLIT_FORMAT, Split
from finetune.data import GalaxyTable, TrainingError
from finetune.sections import Split as Settings
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
        parts = _follow(Split.read(settings.file), known, settings)
    else:
        parts = cut_parts(table, group_galaxies(*known), settings.method, settings.val, settings.test, seed)
    if earlier:
        kept = _follow(earlier, known, settings)
        parts = np.where((kept != "") & (parts != ""), kept, parts)
    missing = [part for part in ("train", "val") if not (parts == part).any()]
    if missing:
        source = settings.file or "the split of the run that trained the backbone"
        raise TrainingError(f"{source} gives none of these galaxies to {' or '.join(missing)}.")
    return parts.astype(object)


def _follow(split: Split, known: tuple[Array, Array, Array, Array], settings: Settings) -> Array:
    """The parts that a split gives to galaxies; those that it names itself keep theirs in the study's order of rows."""
    parts = split.match(*known)
    if settings.method != "sequential":
        return parts
    # an object may be on both sides, and stays there
    named = dict(zip(split.ids.tolist(), split.parts.tolist(), strict=True))
    return np.array([named.get(name, part) for name, part in zip(known[0].tolist(), parts.tolist(), strict=True)])


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
    return Split(ids, np.array(surveys), ra, dec, images, parts).tabulate(group_galaxies(ids, ra, dec, images))


def write_split(file: Path, split: pa.Table) -> None:
    """Write a split as Parquet."""
    with replace_file(file) as temporary:
        pq.write_table(split.replace_schema_metadata({"format": SPLIT_FORMAT}), temporary)
