"""The folder of finished parts beside a store that is being made, its lock, and the join into one file."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from embeddings import layout
from embeddings.errors import BusyError, StoreError
from embeddings.layout import Array, Header, Vectors
from embeddings.provenance import Provenance, Space, require_same_cache
from embeddings.store import EmbeddingStore


@dataclass(frozen=True)
class MappedRows:
    """Vectors of a finished file, mapped while rows are taken: there may be more parts than a process may hold open."""

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, path: Path, vectors: Array) -> Array | MappedRows:
        """The same rows as those of a memory map; an array in memory stays one."""
        return cls(path, vectors.dtype, vectors.shape, vectors.offset) if isinstance(vectors, np.memmap) else vectors

    def __getitem__(self, rows: Array) -> Array:
        return np.asarray(np.memmap(self.path, self.dtype, "r", self.offset, self.shape)[rows])


@dataclass(frozen=True)
class Source:
    """Rows that are already embedded: a part, or the store of an earlier run."""

    path: Path
    provenance: Provenance
    ids: list[str]
    image_sha256: Array
    status: Array
    vectors: dict[Space, Array | MappedRows]

    @classmethod
    def open(cls, path: Path, expected: Provenance) -> Source:
        """
        Read ids, hashes and states, map the vectors, and check every byte.

        Raises
        ------
        StoreError
            When the file is damaged.
        ProvenanceMismatch
            When another model, recipe or precision made it.
        """
        with EmbeddingStore.open(path) as store:
            require_same_cache(expected, store.provenance, str(path))
            damage = store.verify()
            if damage:
                raise StoreError(
                    "\n".join(damage[:10]) + f"\nRemove {path} and run the same command again: its rows are made anew."
                )
            vectors = {space: MappedRows.of(path, store.vectors(*space)) for space in store.spaces}
            return cls(
                path,
                store.provenance,
                store.ids.tolist(),
                store.dataset("image_sha256"),
                store.dataset("status"),
                vectors,
            )


def parts_folder(store: Path) -> Path:
    """Where the parts of an unfinished store lie."""
    return store.with_name(store.name + ".parts")


def lock_path(store: Path) -> Path:
    """The lock of whoever writes a store or its parts."""
    return store.with_name(f".{store.name}.lock")


def remove_leftovers(store: Path) -> None:
    """Remove what killed runs were writing, the store or a part; only its exclusive lock makes that safe."""
    pattern = re.compile(rf"\.({re.escape(store.name)}|part-[0-9a-f]{{16}}\.h5)\.\d+\.tmp")
    for path in (*store.parent.iterdir(), *parts_folder(store).glob(".part-*")):
        if pattern.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()


def list_parts(store: Path) -> list[Path]:
    """The finished parts, in the order of their names."""
    return sorted(parts_folder(store).glob("part-*.h5"))


def write_part(
    store: Path,
    provenance: Provenance,
    survey: str,
    ids: Sequence[str],
    image_sha256: Array,
    status: Array,
    vectors: dict[Space, Array],
) -> Path:
    """
    Write one finished part: temporary name, flush, rename.

    Parameters
    ----------
    store : Path
        The store it belongs to.
    provenance : Provenance
        With the record of this run.
    survey : str
    ids : sequence of str
    image_sha256 : (n_rows, 32) uint8 array
        Zeros where there was no file.
    status : (n_rows,) bytes array
        ``ok`` or ``failed: reason``.
    vectors : dict of Space to (n_rows, embed_dim) array
        NaN in failed rows.

    Returns
    -------
    Path
    """
    name = hashlib.sha256("\0".join(ids).encode()).hexdigest()[:16]
    path = parts_folder(store) / f"part-{name}.h5"
    arrays = {"id_str": layout.encode_strings(ids), "image_sha256": image_sha256, "status": status}
    for space, values in vectors.items():
        if len(values) != len(ids):
            raise StoreError(f"{path}: {space.name} was given {len(values)} rows, id_str {len(ids)}")
    sources = {space: Vectors.of(values) for space, values in vectors.items()}
    layout.write_store(path, Header(survey, provenance, kind="part"), arrays, sources)
    return path


def join_sources(
    store: Path,
    header: Header,
    arrays: dict[str, Array],
    sources: Sequence[Source],
    picks: Array,
    embed_dim: int,
) -> None:
    """
    Write the finished store from rows of parts and of an earlier store, then remove the parts.

    To be called under the store's exclusive lock.

    Parameters
    ----------
    store : Path
    header : Header
        Its run records are replaced by those of the sources; one stays that names a fine-tune which none of them names.
    arrays : dict of str to array
        Ids, positions, images and catalog columns, in the order of the store to be.
    sources : sequence of Source
    picks : (n_rows, 2) int array
        For each row its source, and its row there.
    embed_dim : int
        Width of the vectors.
    """
    used = np.unique(picks[:, 0]).tolist()
    runs = [run for index in used for run in sources[index].provenance.runs]
    named = [None, *(run.get("finetune") for run in runs)]
    runs += [run for run in header.provenance.runs if run.get("finetune") not in named]
    header = Header(header.survey, header.provenance.with_runs(*runs), header.questions, header.image_roots)

    def gather(values: Sequence[Array | MappedRows]) -> Callable[[int, int], Array]:
        return lambda start, stop: take_picks(values, picks[start:stop])

    if sources:
        arrays = arrays | {
            "image_sha256": take_picks([source.image_sha256 for source in sources], picks),
            "status": take_picks([source.status for source in sources], picks),
        }
    vectors = {
        space: Vectors(embed_dim, gather([source.vectors[space] for source in sources]))
        for space in header.provenance.spaces
    }
    remove_leftovers(store)
    layout.write_store(store, header, arrays, vectors)
    _remove_joined(store, sources, set(layout.decode_strings(arrays["id_str"]).tolist()))


def _remove_joined(store: Path, sources: Sequence[Source], joined: set[str]) -> None:
    """Remove the parts whose rows the store now holds; those of another catalog wait for theirs."""
    for source in sources:
        if source.path != store and joined.issuperset(source.ids):
            source.path.unlink(missing_ok=True)
    with suppress(OSError):
        parts_folder(store).rmdir()


def take_picks(values: Sequence[Array | MappedRows], picks: Array) -> Array:
    """
    Take rows from several arrays.

    Parameters
    ----------
    values : sequence of (n_i, ...) arrays, in memory or mapped when needed
    picks : (n_rows, 2) int array
        Which array, and which row of it.
    """
    origin, row = picks.T
    block = np.empty((len(picks), *values[0].shape[1:]), np.result_type(*(v.dtype for v in values)))
    for index in np.unique(origin):
        here = origin == index
        block[here] = values[index][row[here]]
    return block


class FileLock:
    """
    A lock that the system gives back when its process dies, with the owner's name in it.

    Parameters
    ----------
    path : Path
        The lock file; it is removed by the last to leave.
    shared : bool
        Several holders at once, but no exclusive one beside them.
    """

    def __init__(self, path: Path, shared: bool = False) -> None:
        self.path, self.shared = path, shared
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """
        Take the lock.

        Raises
        ------
        BusyError
            At once, with the holder's process id and host, when somebody else has it.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while (file := self._take()) is None:
                pass
        except OSError as error:
            raise StoreError(f"{self.path} cannot be locked: {error}. Write to a local disk.") from error
        self._file = file

    def _take(self) -> IO[str] | None:
        """The locked file; None when its last holder removed it between our open and our lock."""
        file = open(self.path, "a+")  # noqa: SIM115 - held until release
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if self.shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            if not self._is_in_place(file):
                file.close()
                return None
            if not self.shared:
                file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n")
            file.flush()
        except BlockingIOError:
            owner = self._owner(file)
            file.close()
            raise BusyError(f"{owner} is at work here (lock {self.path}). Wait for it, or stop it.") from None
        except BaseException:
            file.close()
            raise
        return file

    def _is_in_place(self, file: IO[str]) -> bool:
        with suppress(FileNotFoundError):
            return os.fstat(file.fileno()).st_ino == self.path.stat().st_ino
        return False

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held."""
        if self._file is None:
            return
        with suppress(OSError):
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # alone: nobody else needs the file
            self.path.unlink()
        self._file.close()
        self._file = None

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.release()

    @staticmethod
    def _owner(file: IO[str]) -> str:
        file.seek(0)
        for line in reversed(file.read().splitlines()):
            with suppress(ValueError, KeyError, TypeError):
                owner = json.loads(line)
                if owner["host"] != socket.gethostname() or _is_alive(owner["pid"]):
                    return f"process {owner['pid']} on {owner['host']}"
        return "another process"


def _is_alive(pid: int) -> bool:
    """Whether a process of this machine still runs; of several that shared a lock, some may have left."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
