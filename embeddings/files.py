"""Files that are put in place whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from embeddings.errors import SommelierError, StoreError


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """
    Give a temporary path beside `path`; on a clean exit flush it to disk and rename it to `path`.

    Raises
    ------
    StoreError
        When the disk is full or the folder cannot be written; what was there stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync_path(temporary)
        os.replace(temporary, path)
        sync_path(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path} could not be written: {error.strerror or error}. Nothing that was there is lost; "
            "free some space or choose another place, and run the same command again."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def claim_folder(
    folder: Path, name: str, record: Mapping[str, Any], kind: str, advice: str = "Choose another folder."
) -> dict[str, Any]:
    """
    Take a new or empty folder by writing a JSON record into it, or go on in one that has the same record.

    Parameters
    ----------
    folder : Path
    name : str
        Of the record's file in the folder.
    record : mapping of str to JSON values
        What must be the same to go on; a record that is there may have more entries.
    kind : str
        What the folder is for, as errors call it: "sky".
    advice : str
        How to choose another folder.

    Returns
    -------
    dict
        The record that is there now, with the entries that were added to it.

    Raises
    ------
    SommelierError
        When the folder is a file, holds other things, another record, or something that is no record; all stays.
    """
    if folder.exists() and not folder.is_dir():
        raise SommelierError(f"{folder} is a file; a {kind} needs a folder. {advice}")
    file = folder / name
    if not file.exists():
        # a kill while the record was written leaves its temporary file, and nothing else
        if folder.exists() and any(not path.name.startswith(f".{name}.") for path in folder.iterdir()):
            raise SommelierError(
                f"{folder} holds other things: a {kind} is written into a new or empty folder. {advice}"
            )
        with replace_file(file) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n")
        return dict(record)
    there = _read_record(file, kind, advice)
    changes = [f"{key} {there.get(key)} there, {record[key]} here" for key in record if there.get(key) != record[key]]
    if changes:
        raise SommelierError(f"{folder} holds another {kind}: {'; '.join(changes)}. {advice}")
    return there


def _read_record(file: Path, kind: str, advice: str) -> dict[str, Any]:
    try:
        there = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise SommelierError(f"{file} is no record of a {kind} ({error}). {advice}") from error
    if not isinstance(there, dict):
        raise SommelierError(f"{file} is no record of a {kind} (it holds {there!r:.40}). {advice}")
    return there


def refuse_overwrite(target: Path, *inputs: Path, mark: str = "") -> None:
    """
    Refuse to put a Parquet table in the place of something else, or of what it is made from.

    Parameters
    ----------
    target : Path
    *inputs : Path
    mark : str
        The ``format`` in the metadata of what may be replaced; any Parquet file may without one.

    Raises
    ------
    StoreError
    """
    if not target.exists():
        return
    if any(path.exists() and target.samefile(path) for path in inputs):
        raise StoreError(f"{target} is what is being read: writing onto it would lose it. Choose another output.")
    if not target.is_file() or _read_start(target) not in (b"", b"PAR1"):
        raise StoreError(f"{target} exists and is no Parquet file: it would be lost. Choose another output.")
    if mark and read_mark(target) != mark:
        raise StoreError(
            f"{target} exists and was not made by this program for this: it would be lost. Choose another output."
        )


def read_mark(file: Path) -> str:
    """The ``format`` in a Parquet file's metadata, empty where there is none."""
    import pyarrow.parquet as pq

    try:
        return str((pq.read_schema(file).metadata or {}).get(b"format", b"").decode())
    except (OSError, ValueError):
        return ""


def sync_path(path: Path) -> None:
    """Flush a file or a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def hash_file(path: Path) -> str:
    """The sha256 of a file, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
