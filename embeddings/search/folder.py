"""An index on disk: a record, the rows, what FAISS wrote; built once, added to, never half written."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from embeddings.errors import SearchError
from embeddings.files import claim_folder, hash_file, replace_file
from embeddings.provenance import Space
from embeddings.search.engine import Engine
from embeddings.search.exact import load_faiss
from embeddings.search.rows import Rows
from embeddings.search.whitening import Whitening
from embeddings.store import EmbeddingStore

Array = np.ndarray[Any, Any]

NAME = "index.json"
FORMAT, VERSION = "galaxy-sommelier/index", "1.0"
# what a build writes beside the record, whole or as a draft; a vector that the user put there is not among it
OURS = re.compile(r"(rows|whitening|index)-([0-9a-f]{16}|draft)\.(npy|npz|faiss)|\..*\.tmp")
TOLD = ("recall_at_10", "standard_error", "queries")


@dataclass(frozen=True)
class Wish:
    """What an index is to be; the same for every addition to it."""

    space: Space
    space_id: str
    whiten: bool
    kind: str
    recall: float
    random_state: int

    def to_record(self) -> dict[str, Any]:
        """The part of the record that must be equal to go on in a folder."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "space": self.space.name,
            "space_id": self.space_id,
            "whiten": self.whiten,
            "kind_asked": self.kind,
            "recall_asked": self.recall,
            "random_state": self.random_state,
        }


def claim(folder: Path, wish: Wish) -> dict[str, Any]:
    """Take a new folder for an index, or go on in one that was wished alike; give its record."""
    return claim_folder(folder, NAME, wish.to_record(), "index", "Choose another folder, or the options it has.")


def digest_rows(store: EmbeddingStore, space: Space) -> str:
    """What an index must share with its store: the checksums of ids, images, states and vectors. Labels may change."""
    names = ("id_str", "image_sha256", "status", *(f"vectors/{part.name}" for part in space.parts()))
    digest = hashlib.sha256()
    for name in names:
        digest.update(store.checksums(name).tobytes())
    return digest.hexdigest()


def describe_store(store: EmbeddingStore, space: Space, folder: Path) -> dict[str, Any]:
    """A store as the record names it."""
    return {
        "path": os.path.relpath(store.path.resolve(), folder.resolve()),
        "survey": store.survey,
        "rows": len(store),
        "cache_digest": store.provenance.cache_digest,
        "digest": digest_rows(store, space),
    }


def make_table(rows: Rows) -> Array:
    """What each position is: number of the store, row, id and image, as one structured array."""
    ids, images = rows.column("id_str"), rows.column("image_sha256")
    kinds = [("store", "u2"), ("row", "i8"), ("id_str", ids.dtype.str), ("image", "V8")]
    table = np.empty(len(rows), kinds)
    table["store"], table["row"], table["id_str"] = rows.store, rows.row, ids
    table["image"] = np.ascontiguousarray(images[:, :8]).view("V8").ravel()
    return table


def save(folder: Path, record: dict[str, Any], rows: Rows, whitening: Whitening | None, engine: Engine | None) -> None:
    """
    Write the files under new names, then the record that names them, then remove the old ones.

    A kill at any moment leaves the index as it was, or as it is to be.
    """
    files: dict[str, str] = {"rows": _place(folder, "rows", ".npy", lambda path: _save_array(path, make_table(rows)))}
    if whitening is not None:
        files["whitening"] = _place(folder, "whitening", ".npz", lambda path: _save_whitening(path, whitening))
    if engine is not None:
        files["faiss"] = _place(folder, "index", ".faiss", engine.write)
    stores = [describe_store(store, rows.space, folder) for store in rows.stores]
    versions = {name: version(name) for name in ("galaxy-sommelier", "numpy")}
    if (faiss := load_faiss()) is not None:  # of faiss-cpu or faiss-gpu
        versions["faiss"] = faiss.__version__
    date = datetime.now(UTC).isoformat(timespec="seconds")
    whole = {**record, "rows": len(rows), "stores": stores, "files": files, "versions": versions, "date": date}
    with replace_file(folder / NAME) as temporary:
        temporary.write_text(json.dumps(whole, indent=2) + "\n")
    tidy(folder, files)


def tidy(folder: Path, files: dict[str, str]) -> None:
    """Remove what earlier builds and killed ones left; only the folder's lock makes that safe."""
    for path in folder.iterdir():
        if OURS.fullmatch(path.name) and path.name not in files.values():
            path.unlink()


def _place(folder: Path, stem: str, suffix: str, write: Any) -> str:
    """Write a file and name it by its content; give the name."""
    draft = folder / f"{stem}-draft{suffix}"
    with replace_file(draft) as temporary:
        write(temporary)
    name = f"{stem}-{hash_file(draft)[:16]}{suffix}"
    os.replace(draft, folder / name)
    return name


def _save_array(path: Path, table: Array) -> None:
    with path.open("wb") as file:
        np.save(file, table)


def _save_whitening(path: Path, whitening: Whitening) -> None:
    with path.open("wb") as file:
        np.savez(file, mean=whitening.mean, matrix=whitening.matrix)


@dataclass(frozen=True)
class Opened:
    """A finished index's files; the engine is memory-mapped unless it is to be changed."""

    record: dict[str, Any]
    table: Array
    whitening: Whitening | None
    engine: Engine | None


def read_folder(folder: Path, to_change: bool = False) -> Opened:
    """
    Read an index without its stores.

    Raises
    ------
    SearchError
        When it is not one, or not finished.
    """
    record = _read_record(folder)
    files = record["files"]
    try:
        table = np.load(folder / files["rows"], mmap_mode="r")
        whitening = None
        if "whitening" in files:
            with np.load(folder / files["whitening"]) as arrays:
                whitening = Whitening(arrays["mean"], arrays["matrix"])
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise SearchError(f"{folder} is damaged: {error}. Remove it and build it again: sommelier index.") from error
    engine = None
    if "faiss" in files:
        engine = Engine.open(record["kind"], folder / files["faiss"], record["effort"], to_change)
    if len(table) != record["rows"] or (engine is not None and len(engine) != record["rows"]):
        raise SearchError(
            f"{folder} is damaged: its files have different numbers of rows. Remove it and build it again."
        )
    return Opened(record, table, whitening, engine)


def open_folder(folder: Path) -> tuple[Rows, Whitening | None, Engine | None, dict[str, Any]]:
    """
    Read an index and open its stores, which must be as they were.

    Raises
    ------
    SearchError
    """
    opened = read_folder(folder)
    record = opened.record
    space = Space.parse(record["space"])
    stores = [_open_store(folder, entry, space) for entry in record["stores"]]
    rows = Rows(stores, space, (opened.table["store"], opened.table["row"]))
    label = {"kind": record["kind"], **{name: record[name] for name in TOLD if name in record}}
    return rows, opened.whitening, opened.engine, label


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / NAME).read_bytes())
    except FileNotFoundError:
        raise SearchError(f"{folder} is no index: it has no {NAME}. Make one: sommelier index STORE -o DIR.") from None
    except (OSError, ValueError) as error:
        raise SearchError(f"{folder / NAME} cannot be read: {error}. Build the index again.") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise SearchError(f"{folder} is no index: {NAME} does not say format {FORMAT!r}.")
    if str(record.get("version")).split(".")[0] != VERSION.split(".")[0]:
        raise SearchError(
            f"{folder} has index version {record.get('version')}; this galaxy-sommelier reads {VERSION}. "
            "Upgrade galaxy-sommelier, or build the index again."
        )
    if "files" not in record:
        raise SearchError(f"{folder} is not finished: its build was stopped. Run the same sommelier index again.")
    return record


def _open_store(folder: Path, entry: dict[str, Any], space: Space) -> EmbeddingStore:
    path = Path(os.path.normpath(folder.resolve() / entry["path"]))
    if not path.exists():
        raise SearchError(
            f"{path}, which {folder} is an index of, is not there. Put it back, or build the index of where it is now."
        )
    store = EmbeddingStore.open(path)
    if digest_rows(store, space) != entry["digest"]:
        raise SearchError(
            f"{folder} is older than {path}: that has {len(store)} rows now, and had {entry['rows']}. "
            f"Add what is new: sommelier index STORE... -o {folder}, with the same stores and options."
        )
    return store


def match_table(table: Array, rows: Rows, earlier: Sequence[int]) -> Array | None:
    """
    Where the positions of an earlier index are among rows that are there now.

    Parameters
    ----------
    table : structured array
        Of the earlier index.
    rows : Rows
        In their own order.
    earlier : sequence of int
        The number that each store of the earlier index has now, -1 where it is gone.

    Returns
    -------
    (n_earlier,) int array or None
        None when a row is gone or shows another image.
    """
    now = make_table(rows)
    key = {
        (int(s), i): position for position, (s, i) in enumerate(zip(now["store"], now["id_str"].tolist(), strict=True))
    }
    places = np.array(
        [key.get((earlier[s], i), -1) for s, i in zip(table["store"].tolist(), table["id_str"].tolist(), strict=True)],
        np.int64,
    )
    if (places < 0).any() or (now["image"][places] != np.asarray(table["image"])).any():
        return None
    return places
