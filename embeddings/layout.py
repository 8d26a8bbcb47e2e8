"""How a store lies in an HDF5 file: names, encodings, checksums, and the one way to write one."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from embeddings.errors import StoreError
from embeddings.files import replace_file
from embeddings.provenance import Provenance, Space, digest_json
from embeddings.questions import Question

FORMAT = "galaxy-sommelier/embedding-store"
VERSION = (1, 1)  # 1.1: the dataset part, where a fine-tuned backbone made the vectors
CHECKSUM_ROWS = 4096  # rows a checksum covers: damage is named this closely, and 16 bytes a block cost nothing
PART_DATASETS = ("id_str", "image_sha256", "status")
STORE_DATASETS = ("id_str", "survey", "ra", "dec", "image", "image_root", "image_sha256", "status")
PART, PARTS = "part", {b"", b"train", b"val", b"test"}  # the dataset may be missing
OK = b"ok"

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Header:
    """The root attributes of a store."""

    survey: str
    provenance: Provenance
    questions: tuple[Question, ...] = ()
    image_roots: tuple[str, ...] = ()
    kind: str = "store"

    def to_attributes(self) -> dict[str, str]:
        """The attributes as they are written, all strings."""
        attributes = {
            "format": FORMAT,
            "version": ".".join(map(str, VERSION)),
            "kind": self.kind,
            "survey": self.survey,
            "provenance": json.dumps(self.provenance.to_dict()),
            "cache_digest": self.provenance.cache_digest,
            "questions": json.dumps([question.to_dict() for question in self.questions]),
            "image_roots": json.dumps(self.image_roots),
        }
        attributes["attributes_digest"] = digest_json(attributes)
        return attributes

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> Header:
        """The inverse of `to_attributes`."""
        return cls(
            attributes["survey"],
            Provenance.from_dict(json.loads(attributes["provenance"])),
            tuple(Question.from_dict(record) for record in json.loads(attributes["questions"])),
            tuple(json.loads(attributes["image_roots"])),
            attributes["kind"],
        )


@dataclass(frozen=True)
class Vectors:
    """One space to be written: its width and a function that gives rows ``start`` to ``stop``."""

    embed_dim: int
    read: Callable[[int, int], Array]

    @classmethod
    def of(cls, values: Array) -> Vectors:
        """The rows of an array (n_rows, embed_dim), in memory or mapped."""
        return cls(values.shape[1], slice_rows(values))


def encode_strings(values: Iterable[Any]) -> Array:
    """Strings as a fixed-length UTF-8 array; None and NaN become empty."""
    encoded = [b"" if value is None or value != value else str(value).encode() for value in values]
    width = max(map(len, encoded), default=1) or 1
    return np.array(encoded, dtype=f"S{width}")


def decode_strings(values: Array) -> Array:
    """The inverse of `encode_strings`: an array of str."""
    if not len(values):
        return np.empty(0, dtype=str)
    if (values.view(np.uint8) < 128).all():  # ASCII decodes at once, and most ids are
        return values.astype(str)
    return np.array([value.decode() for value in values.tolist()])


def encode_column(values: Array) -> Array:
    """A catalog column as HDF5 can hold it: booleans, integers and floats as they are, the rest as text."""
    return values if values.dtype.kind in "biufS" else encode_strings(values)


def escape_name(name: str) -> str:
    """A column name as HDF5 can hold it: without the slash that it reads as a group, not a lone dot, not empty."""
    if name in ("", "."):
        return "%2E" if name else "%"
    return name.replace("%", "%25").replace("/", "%2F")


def unescape_name(name: str) -> str:
    """The inverse of `escape_name`."""
    if name in ("%", "%2E"):
        return "." if name == "%2E" else ""
    return name.replace("%2F", "/").replace("%25", "%")


def checksum(block: Array) -> bytes:
    """The XXH3-128 of an array's bytes, in row-major order (16 bytes)."""
    return xxhash.xxh3_128_digest(np.ascontiguousarray(block).view(np.uint8).data)


def block_ranges(n_rows: int) -> Iterator[tuple[int, int]]:
    """The rows that each checksum covers."""
    for start in range(0, n_rows, CHECKSUM_ROWS):
        yield start, min(start + CHECKSUM_ROWS, n_rows)


def slice_rows(values: Array) -> Callable[[int, int], Array]:
    """A function that gives rows `start` to `stop` of an array."""
    return lambda start, stop: values[start:stop]


def write_store(
    path: Path,
    header: Header,
    arrays: Mapping[str, Array],
    vectors: Mapping[Space, Vectors],
) -> None:
    """
    Write a whole store under a temporary name and put it in its place at once.

    Memory stays flat: vectors pass through in blocks. A kill at any moment leaves the old file, or none.

    Parameters
    ----------
    path : Path
        Where the store goes; an existing file is replaced.
    header : Header
        Root attributes.
    arrays : mapping of str to array
        Every dataset but the vectors, by name (``id_str``, ``catalog/mag_r``), one row a galaxy.
    vectors : mapping of Space to Vectors
        Where each space's rows come from.
    """
    n_rows = len(arrays["id_str"])
    for name, values in arrays.items():
        if len(values) != n_rows:
            raise StoreError(f"{path}: {name} was given {len(values)} rows, id_str {n_rows}")
    with replace_file(path) as temporary, _Sink(temporary, "w+") as sink:
        with h5py.File(sink, "w", libver=("v110", "v110")) as file:
            for name, text in header.to_attributes().items():
                _write_text(file, name, text)
            for name, values in arrays.items():
                dtype = values.dtype.newbyteorder("<")
                _write_dataset(file, name, n_rows, dtype, values.shape[1:], slice_rows(values))
                sink.raise_problem()
            dtype = np.dtype(header.provenance.storage)
            for space, source in vectors.items():
                name = f"vectors/{space.name}"
                dataset = _write_dataset(file, name, n_rows, dtype, (source.embed_dim,), source.read)
                _write_text(dataset, "space_id", header.provenance.space_id(space))
                sink.raise_problem()
        sink.raise_problem()


def _write_text(node: h5py.HLObject, name: str, text: str) -> None:
    """An attribute of fixed length: it lies in a header that HDF5 itself checksums, not in an unprotected heap."""
    data = text.encode()
    node.attrs.create(name, np.bytes_(data), dtype=h5py.string_dtype("utf-8", len(data)))


def read_text(node: h5py.HLObject) -> dict[str, str]:
    """The attributes of a file or dataset as text."""
    return {name: value.decode() if isinstance(value, bytes) else str(value) for name, value in node.attrs.items()}


class _Sink(io.FileIO):
    """A file that keeps its first error to itself: told of a full disk, HDF5 ends the process with a crash."""

    problem: OSError | None = None

    def write(self, data: Any) -> int:
        """All of `data`, or nothing more after the first error."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and not self.problem:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.problem = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """As `write`."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.problem = self.problem or error
            return size or 0

    def raise_problem(self) -> None:
        """Raise what went wrong so far."""
        if self.problem:
            raise self.problem


def _write_dataset(
    file: h5py.File,
    name: str,
    n_rows: int,
    dtype: np.dtype[Any],
    tail: tuple[int, ...],
    read: Callable[[int, int], Array],
) -> h5py.Dataset:
    """Write one contiguous dataset in blocks, and the checksum of each beside it."""
    dataset = file.create_dataset(name, shape=(n_rows, *tail), dtype=dtype)
    digests = []
    for start, stop in block_ranges(n_rows):
        block = np.ascontiguousarray(read(start, stop), dtype=dtype)
        if block.shape != (stop - start, *tail):
            raise StoreError(
                f"{name}: rows {start} to {stop - 1} were given as an array of shape "
                f"{block.shape}; expected {(stop - start, *tail)}"
            )
        dataset[start:stop] = block
        digests.append(checksum(block))
    sums = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 16)
    file.create_dataset(f"checksums/{name}", data=sums)
    return dataset


def open_file(path: Path) -> h5py.File:
    """
    Open a store or part for reading and check that it is whole and of a version that we read.

    Returns
    -------
    h5py.File
        Without a lock where the file system has none: finished files are replaced, never changed.

    Raises
    ------
    StoreError
        When the file is missing, cut short, not a store, or of a newer format.
    """
    _check_kind(path)
    try:
        file = _open_unlocked(path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be opened as HDF5: it is cut short or damaged ({error}). "
            "Restore a copy, or remove it and run the extract that made it again."
        ) from error
    try:
        with name_damage(path, "the structure of the file"):
            _check_version(path, file)
            _check_datasets(path, file)
    except BaseException:
        file.close()
        raise
    return file


def _check_kind(path: Path) -> None:
    """Tell what is no store from a store that is damaged: only of the latter we say that it may go."""
    if path.with_name(f"{path.name}.parts").is_dir() and not path.exists():
        raise StoreError(f"{path} is not finished. Run the extract that began it again, or see: sommelier info {path}")
    if not path.exists():
        raise StoreError(f"{path} does not exist. Make it with: sommelier extract CATALOG -o {path}")
    if path.is_dir():
        raise StoreError(f"{path} is a folder, not a store. Give the HDF5 file that sommelier extract made.")
    with path.open("rb") as file:
        start = file.read(8)
    if start[:4] == b"PAR1":
        raise StoreError(
            f"{path} is a Parquet table, not a store. Make one with: sommelier extract CATALOG -o STORE.h5"
        )
    if start and not start.startswith(b"\x89HDF"[: len(start)]):
        raise StoreError(f"{path} is not an HDF5 file, so not a store. Give the file that sommelier extract made.")


def _open_unlocked(path: Path) -> h5py.File:
    """Open as h5py does by itself, so that both may be open in one process; without locks where that fails for them."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "lock" not in str(error):
            raise
        return h5py.File(path, "r", locking=False)


def _check_version(path: Path, file: h5py.File) -> None:
    attributes = read_text(file)
    if attributes.get("format") != FORMAT:
        raise StoreError(f"{path} is an HDF5 file, but not a galaxy-sommelier store (no attribute format={FORMAT!r}).")
    version = attributes.get("version", "none")
    if version.split(".")[0] != str(VERSION[0]):
        raise StoreError(
            f"{path} has format version {version}; this galaxy-sommelier reads version {VERSION[0]}.x. "
            "Upgrade galaxy-sommelier, or extract again with this version."
        )
    missing = {"kind", "survey", "provenance", "cache_digest", "questions", "image_roots", "attributes_digest"}
    missing -= set(attributes)
    if missing:
        raise StoreError(f"{path}: the root attributes {sorted(missing)} are missing. Restore a copy.")


def _check_datasets(path: Path, file: h5py.File) -> None:
    """Every row-wise dataset must be there and as long as the ids."""
    if "id_str" not in file:
        raise StoreError(f"{path}: the dataset id_str is missing. Restore a copy, or extract again.")
    n_rows = file["id_str"].shape[0]
    attributes = read_text(file)
    names = PART_DATASETS if attributes["kind"] == "part" else STORE_DATASETS
    spaces = json.loads(attributes["provenance"])["layers"]
    optional = [PART] if PART in file else []
    for name in (*names, *optional, *(f"vectors/{space}" for space in spaces)):
        if name not in file:
            raise StoreError(f"{path}: the dataset {name} is missing. Restore a copy, or extract again.")
        if file[name].shape[0] != n_rows:
            raise StoreError(f"{path}: {name} has {file[name].shape[0]} rows, id_str has {n_rows}. Restore a copy.")


def read_dataset(path: Path, file: h5py.File, name: str) -> Array:
    """
    Read one dataset whole and check it against its checksums.

    Raises
    ------
    StoreError
        When it is missing or its bytes changed since they were written.
    """
    with name_damage(path, name):
        if name not in file:
            raise StoreError(f"{path}: the dataset {name} is missing. Restore a copy, or extract again.")
        values: Array = file[name][()]
    check_blocks(path, file, name, values)
    return values


@contextmanager
def name_damage(path: Path, what: str) -> Iterator[None]:
    """
    Say which file is damaged, where HDF5 and JSON only say what they stumbled over.

    Raises
    ------
    StoreError
    """
    try:
        yield
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: {what} cannot be read: {error}. Restore a copy, or extract again.") from error


def check_blocks(path: Path, file: h5py.File, name: str, values: Array) -> None:
    """
    Check an array against the checksums of its dataset.

    Raises
    ------
    StoreError
        Naming file, dataset and rows.
    """
    sums = read_checksums(path, file, name)
    for block, (start, stop) in enumerate(block_ranges(len(values))):
        check_block(path, name, start, values[start:stop], sums[block])


def read_checksums(path: Path, file: h5py.File, name: str) -> Array:
    """The checksums of a dataset, (n_blocks, 16) uint8."""
    stored = f"checksums/{name}"
    with name_damage(path, stored):
        n_blocks = len(list(block_ranges(file[name].shape[0])))
        if stored not in file or file[stored].shape != (n_blocks, 16):
            raise StoreError(f"{path}: {stored} is missing or of the wrong size. Restore a copy, or extract again.")
        sums: Array = file[stored][()]
        return sums


def check_block(path: Path, name: str, start: int, block: Array, expected: Array) -> None:
    """Raise `StoreError` when a block of rows does not have its checksum."""
    if checksum(block) != expected.tobytes():
        raise StoreError(
            f"{path}: {name}, rows {start} to {start + len(block) - 1}: the bytes do not match their checksum, "
            "so the file was damaged after it was written. Restore a copy, or remove it and extract again; "
            f"'sommelier verify {path}' lists all damage."
        )
