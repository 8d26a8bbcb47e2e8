"""Galaxy Zoo on the Hugging Face hub: Parquet files that hold labels and image bytes together."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embeddings.errors import CatalogError, did_you_mean
from extract.catalog import Catalog
from extract.folder import walk_files
from extract.images import ImageError
from extract.positions import take_positions
from extract.schema import CAMPAIGNS, Campaign, Dialect, find_campaign
from extract.tables import Columns, read_columns, read_ids
from extract.tidy import Choices, Core, tidy_catalog

IMAGE = "image"  # the hub's feature of that type: a structure of bytes and path
BYTES_KEPT = 2**28  # of row groups in memory: neighbours in a shard are read together


def read_hub_catalog(
    paths: Sequence[str | os.PathLike[str]], campaign: str, name: str | None = None, **choices: Any
) -> Catalog:
    """
    Read a Hugging Face release of Galaxy Zoo.

    Parameters
    ----------
    paths : sequence of path
        Parquet files, or folders of them.
    campaign : str
        Whose votes are the labels: the part of ``<question>-<campaign>_<answer>``.
    name : str, optional
        What the survey is called in stores; the campaign's by default.
    **choices
        Fields of `extract.tidy.Choices`.

    Returns
    -------
    Catalog
        Its images are ``shard.parquet#row``: they stay where they are.

    Raises
    ------
    CatalogError
    """
    known = find_campaign(campaign)
    files = _list_shards(paths)
    root = Path(os.path.commonpath([file.parent for file in files]))
    tables = [_read_shard(file, root) for file in files]
    columns = [set(table) for table in tables]
    if any(names != columns[0] for names in columns):
        odd = next(i for i, names in enumerate(columns) if names != columns[0])
        differ = ", ".join(sorted(columns[0] ^ columns[odd])[:5])
        raise CatalogError(f"{files[odd]} and {files[0]} have different columns ({differ}): they are not one release.")
    table: Columns = {column: pd.concat([t[column] for t in tables], ignore_index=True) for column in tables[0]}
    dialect = _find_hub_dialect(known, table, files[0])
    if "id_str" not in table:
        raise CatalogError(
            f"{files[0]} has no column 'id_str', as the hub's releases do. {did_you_mean('id_str', table)}"
        )
    ids = read_ids(table.pop("id_str"), files[0], allow_repeats=True)
    image = table.pop("").tolist()
    ra, dec = take_positions(table, files[0])
    core = Core(ids, name or known.survey, ra, dec, image, np.ones(len(ids), bool), str(root))
    source = files[0] if len(files) == 1 else root / f"{len(files)} files"
    return tidy_catalog(core, table, dialect, False, Choices(**choices), source)


def _list_shards(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    files: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise CatalogError(f"{path} does not exist. Give Parquet files of the release, or their folder.")
        below = [path / name for name in walk_files(path, (".parquet",))] if path.is_dir() else [path]
        files |= dict.fromkeys(
            Path(os.path.abspath(file)) for file in below
        )  # links stay: the hub's cache is made of them
    if not files:
        raise CatalogError(f"{paths[0]} holds no Parquet files.")
    return list(files)


def _read_shard(file: Path, root: Path) -> Columns:
    """The labels of one file, and under an empty name where each row's image is."""
    try:
        schema = pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise CatalogError(f"{file} cannot be read as Parquet: {error}. Download it again.") from error
    if IMAGE not in schema.names or not pa.types.is_struct(schema.field(IMAGE).type):
        raise CatalogError(
            f"{file} has no column {IMAGE!r} that holds image bytes. A table beside image files is read by: "
            "sommelier catalog table"
        )
    table: Columns = dict(read_columns(file))
    place = file.relative_to(root).as_posix()
    n_rows = pq.read_metadata(file).num_rows
    table[""] = pd.Series([f"{place}#{row}" for row in range(n_rows)], dtype=object)
    return table


def _find_hub_dialect(campaign: Campaign, table: Columns, file: Path) -> Dialect:
    dialect = Dialect.modern(campaign, f"-{campaign.name}")
    if dialect.columns & table.keys():
        return dialect
    there = [name for name, other in CAMPAIGNS.items() if Dialect.modern(other, f"-{name}").columns & table.keys()]
    raise CatalogError(
        f"{file} has no columns of the campaign {campaign.name!r} ({min(dialect.columns)} ...). "
        + (
            f"It has those of: {', '.join(there)}. Choose one with --campaign."
            if there
            else "It has none of a known one."
        )
    )


_kept: list[tuple[str, int, int, pa.Array]] = []  # path, when it was written, first row, images; the newest last
_reading = threading.Lock()  # one thread reads a group, the others take it


def read_shard_image(path: str, row: int) -> bytes:
    """
    The bytes of the image in one row of a shard.

    Parameters
    ----------
    path : str
    row : int

    Raises
    ------
    ImageError
        When file, row or image are not there.
    """
    try:
        with _reading:
            first, images = _find_group(path, Path(path).stat().st_mtime_ns, row)
    except FileNotFoundError:
        raise ImageError("no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise ImageError(f"cannot be read: {' '.join(str(error).split())}") from None
    data = images[row - first].as_py()
    if data is None:
        raise ImageError("the row has no image")
    return bytes(data)


def _find_group(path: str, written: int, row: int) -> tuple[int, pa.Array]:
    """The number of the first row of the row group that holds a row, and the group's images."""
    for place, when, first, images in _kept:
        if (place, when) == (path, written) and first <= row < first + len(images):
            return first, images
    first, images = _read_group(path, row)
    _kept.append((path, written, first, images))
    while len(_kept) > 1 and sum(kept[-1].nbytes for kept in _kept) > BYTES_KEPT:
        del _kept[0]
    return first, images


def _read_group(path: str, row: int) -> tuple[int, pa.Array]:
    with pq.ParquetFile(path) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        if not 0 <= row < sum(sizes):
            raise ImageError(f"the shard has {sum(sizes)} rows, none is number {row}")
        ends = np.cumsum(sizes)
        group = int(np.searchsorted(ends, row, side="right"))
        table = file.read_row_group(group, columns=[f"{IMAGE}.bytes"], use_threads=False)
    if IMAGE not in table.column_names:
        raise ImageError(f"the shard has no column {IMAGE!r} that holds image bytes")
    return int(ends[group]) - sizes[group], pc.struct_field(table[IMAGE], "bytes").combine_chunks()
