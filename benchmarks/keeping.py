"""Keeps what takes long to compute, in files that are found by everything that it follows from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import scipy

import benchmarks
import embeddings
import heads
from benchmarks.ceilings import Ceiling
from benchmarks.decomposition import Decomposition, Drop
from benchmarks.recalibration import Curve, Point
from benchmarks.resampling import Resampling
from benchmarks.statistics import ModelScores, Score
from benchmarks.supply import Watch
from benchmarks.weaknesses import WorstAnswer
from embeddings.errors import StoreError
from embeddings.files import replace_file
from embeddings.store import EmbeddingStore

Array = np.ndarray[Any, Any]
T = TypeVar("T")
CLASSES = (Ceiling, Curve, Decomposition, Drop, ModelScores, Point, Score, WorstAnswer)
KNOWN: dict[str, Any] = {each.__name__: each for each in CLASSES}
TREE = "tree"  # the array that says how the others hang together


class Keeper:
    """
    Calls functions whose results are kept.

    A result is found again by the function, what it was given and the program that computed it. Files hold numbers and
    words, no pickles, so that reading one runs no code; what it says is believed.

    Parameters
    ----------
    folder : Path
        Where files are; without one nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder, self.asked = folder, set[str]()

    def call(self, function: Callable[..., T], *given: Any, watch: Watch | None = None, **named: Any) -> T:
        """
        What a function gives, computed only if it is not there.

        Parameters
        ----------
        function : callable
            Of a module's level; gives numbers, words, arrays, the dataclasses in `CLASSES`, or dicts, lists and
            tuples of these.
        *given, **named
            Of the same kinds, or stores and resamplings.
        watch : callable, optional
            Handed on; who looks on changes nothing of a result.

        Notes
        -----
        What cannot be written, because the disk is full or the folder somebody else's, is computed and not kept.
        """
        looks = {} if watch is None else {"watch": watch}
        if self.folder is None:
            return function(*given, **looks, **named)
        file = self.folder / f"{digest_call(function, *given, **named)}.npz"
        self.asked.add(file.name)
        with suppress(Exception):  # numpy raises whatever a damaged zip makes it raise
            return cast(T, read_tree(file))
        found = function(*given, **looks, **named)
        with suppress(StoreError):
            write_tree(file, found)
        return found

    def prune(self) -> None:
        """Remove what nobody asked for since this was made, and what killed processes were writing."""
        for file in self.folder.glob("*.npz*") if self.folder else ():
            if file.name not in self.asked:
                with suppress(OSError):
                    file.unlink()


NOT_KEPT = Keeper(None)


def digest_call(function: Callable[..., Any], *given: Any, **named: Any) -> str:
    """32 hex digits of all that a result follows from: other ones where anything else would come out."""
    name = f"{function.__module__}.{function.__qualname__}"
    record = [PROGRAM, name, _describe(given), _describe(named)]
    return hashlib.sha256(json.dumps(record).encode()).hexdigest()[:32]


def digest_program() -> str:
    """What of the program scores follow from: the source of the packages that compute them, numpy and scipy."""
    digest = hashlib.sha256(f"{np.__version__} {scipy.__version__}".encode())
    for package in (benchmarks, embeddings, heads):
        for file in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


PROGRAM = digest_program()  # as it was loaded: files may change while it runs


def _describe(value: Any) -> Any:
    """As JSON, with digests in place of arrays."""
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        text = f"{value.dtype.str} {value.shape} ".encode()
        return hashlib.sha256(text + np.ascontiguousarray(value).tobytes()).hexdigest()
    if isinstance(value, EmbeddingStore):
        ids = "\n".join(value.ids.tolist()).encode()
        parts = [[value.space_id(space), _describe(value.checksums(f"vectors/{space.name}"))] for space in value.spaces]
        return [value.survey, hashlib.sha256(ids).hexdigest(), parts]
    if isinstance(value, Resampling):
        return value.key
    if isinstance(value, dict):
        return [[_describe(key), _describe(each)] for key, each in value.items()]
    if isinstance(value, list | tuple):
        return [_describe(each) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{type(value).__name__} cannot be told from another one: give its arrays or numbers.")


def write_tree(file: Path, value: Any) -> None:
    """
    Write arrays, numbers and words, however they hang together.

    Raises
    ------
    StoreError
        When it cannot be written.
    TypeError
        When something else is among them.
    """
    arrays: list[Array] = []
    tree = np.frombuffer(json.dumps(_pack(value, arrays)).encode(), np.uint8)
    with replace_file(file) as temporary, temporary.open("wb") as raw:
        np.savez(raw, allow_pickle=False, **{TREE: tree}, **{str(n): array for n, array in enumerate(arrays)})


def read_tree(file: Path) -> Any:
    """Read what `write_tree` wrote; numpy, zipfile and json raise what they like where it is damaged."""
    with file.open("rb") as raw, np.load(raw, allow_pickle=False) as saved:
        arrays = [saved[str(n)] for n in range(len(saved.files) - 1)]
        return _unpack(json.loads(saved[TREE].tobytes()), arrays)


def _pack(value: Any, arrays: list[Array]) -> Any:
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, dict):
        return {"dict": [[_pack(key, arrays), _pack(each, arrays)] for key, each in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_pack(each, arrays) for each in value]}
    if isinstance(value, list):
        return [_pack(each, arrays) for each in value]
    if is_dataclass(value) and type(value).__name__ in KNOWN:
        return {"class": type(value).__name__, "fields": [_pack(getattr(value, f.name), arrays) for f in fields(value)]}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{type(value).__name__} cannot be kept.")


def _unpack(value: Any, arrays: list[Array]) -> Any:
    if isinstance(value, list):
        return [_unpack(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"array": number}:
            return arrays[number]
        case {"dict": pairs}:
            return {_unpack(key, arrays): _unpack(each, arrays) for key, each in pairs}
        case {"tuple": parts}:
            return tuple(_unpack(each, arrays) for each in parts)
        case {"class": name, "fields": parts}:
            return KNOWN[name](*(_unpack(each, arrays) for each in parts))
    raise ValueError(f"{sorted(value)} is nothing that was kept.")
