"""The pictures as the recipe makes them, before normalisation: decoded once and kept, or decoded when they are read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from embeddings.files import replace_file
from embeddings.provenance import digest_json
from extract.preprocessing import Recipe
from extract.processes import count_cpus
from extract.references import Reference
from extract.rendering import Rendering
from extract.worker import silence_readers
from finetune.data import GalaxyTable, TrainingError

Array = np.ndarray[Any, Any]
CHUNK = 1024  # images that are written together: what a kill may lose
Report = Callable[[int, int, int], None]


class Squares(Protocol):
    """Pictures by row."""

    def read(self, rows: Array) -> Tensor:
        """(n_rows, 3, size, size) uint8."""
        ...


@dataclass(frozen=True)
class State:
    """
    What became of the images.

    Attributes
    ----------
    digests : (n_galaxies, 32) uint8 array
        sha256 of the images' bytes, zeros where there were none to read.
    problems : list of str
        Why an image cannot be read; empty where it can.
    """

    digests: Array
    problems: list[str]

    @property
    def ok(self) -> Array:
        """(n_galaxies,) bool."""
        return np.array([not problem for problem in self.problems], bool)


class Decoder:
    """
    Decodes images when they are read.

    Parameters
    ----------
    table : GalaxyTable
    rendering : Rendering
    recipe : Recipe
    workers : int, optional
        Threads.
    """

    def __init__(self, table: GalaxyTable, rendering: Rendering, recipe: Recipe, workers: int | None = None) -> None:
        self.paths, self.places = table.paths, table.places
        self.rendering, self.recipe = rendering, recipe
        self._pool = ThreadPoolExecutor(workers or count_cpus(), "decode")

    def read(self, rows: Array) -> Tensor:
        """
        (n_rows, 3, size, size) uint8.

        Raises
        ------
        TrainingError
            When an image cannot be read any more: nothing is learned from a black square.
        """
        decoded = self.decode(rows)
        for row, (_, _, problem) in zip(rows.tolist(), decoded, strict=True):
            if problem:
                raise TrainingError(
                    f"{self.paths[row]} cannot be read any more: {problem}. Put it back; the same command then goes on."
                )
        return torch.stack([square for square, _, _ in decoded])

    def decode(self, rows: Array) -> list[tuple[Tensor, bytes, str]]:
        """Each picture (3, size, size), its digest, and why it cannot be read, if it cannot."""
        with silence_readers():
            return list(self._pool.map(self._decode, rows.tolist()))

    def check(self, report: Report | None = None) -> State:
        """Decode every image once, and keep nothing of it."""
        digests, problems, n = [], [], len(self.paths)
        for start in range(0, n, CHUNK):
            for _, digest, problem in self.decode(np.arange(start, min(start + CHUNK, n))):
                digests.append(digest)
                problems.append(problem)
            if report:
                report(len(problems), sum(map(bool, problems)), n)
        return State(_to_array(digests), problems)

    def _decode(self, row: int) -> tuple[Tensor, bytes, str]:
        digest, image = self.rendering.load(self.paths[row] or "/", *self.places[row])
        if isinstance(image, str):
            size = self.recipe.size
            return torch.zeros((3, size, size), dtype=torch.uint8), digest, image or "unreadable"
        return self.recipe.fit_squares([image])[0], digest, ""


class SquareCache:
    """
    Pictures that were decoded once, memory-mapped.

    A folder holds ``00000.npy`` (n, 3, size, size) uint8 and ``00000.json`` (digests and problems) for each `CHUNK`
    images. A chunk is there when its ``.npy`` is.

    Parameters
    ----------
    folder : Path
    n_images : int
    """

    def __init__(self, folder: Path, n_images: int) -> None:
        self._chunks = [np.load(_name_chunk(folder, start), mmap_mode="r") for start in range(0, n_images, CHUNK)]

    def read(self, rows: Array) -> Tensor:
        """(n_rows, 3, size, size) uint8."""
        out = np.empty((len(rows), *self._chunks[0].shape[1:]), np.uint8)
        for place, row in enumerate(rows.tolist()):
            out[place] = self._chunks[row // CHUNK][row % CHUNK]
        return torch.from_numpy(out)


def fill_cache(folder: Path, decoder: Decoder, report: Report | None = None) -> tuple[SquareCache, State]:
    """
    Decode what the cache lacks.

    Parameters
    ----------
    folder : Path
        Of all caches of a run; one of other images, or of another recipe, is removed from it.
    decoder : Decoder
    report : callable, optional
        Takes done, failed, total.

    Returns
    -------
    SquareCache, State
    """
    own = folder / digest_images(decoder)[:16]
    for other in folder.iterdir() if folder.is_dir() else ():
        if other != own:
            shutil.rmtree(other, ignore_errors=True)
    n, problems, digests = len(decoder.paths), list[str](), list[bytes]()
    for start in range(0, n, CHUNK):
        file = _name_chunk(own, start)
        if not file.exists():
            _write_chunk(file, decoder.decode(np.arange(start, min(start + CHUNK, n))))
        state = json.loads(file.with_suffix(".json").read_text())
        problems += state["problems"]
        digests += [bytes.fromhex(digest) for digest in state["digests"]]
        if report:
            report(len(problems), sum(map(bool, problems)), n)
    return SquareCache(own, n), State(_to_array(digests), problems)


def digest_images(decoder: Decoder) -> str:
    """What a cache of these images is named by: paths, sizes and times of change, rendering and recipe."""
    bands = decoder.rendering.bands
    files = [
        [path, place, Reference.parse(path).describe_files(bands)]
        for path, place in zip(decoder.paths, decoder.places, strict=True)
    ]
    record = {"files": repr(files), "images": decoder.rendering.to_dict(), "recipe": decoder.recipe.to_dict()}
    return digest_json(record)


def _write_chunk(file: Path, decoded: Sequence[tuple[Tensor, bytes, str]]) -> None:
    state = {"digests": [digest.hex() for _, digest, _ in decoded], "problems": [problem for *_, problem in decoded]}
    with replace_file(file.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(state))
    with replace_file(file) as temporary, temporary.open("wb") as handle:
        np.save(handle, torch.stack([square for square, _, _ in decoded]).numpy())


def _name_chunk(folder: Path, start: int) -> Path:
    return folder / f"{start // CHUNK:05d}.npy"


def _to_array(digests: Sequence[bytes]) -> Array:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
