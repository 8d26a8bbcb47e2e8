"""Embedding parts: decode ahead, embed, write behind. A part is a pure function of rows, backbone and recipe."""

from __future__ import annotations

import itertools
import math
import signal
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from astropy.utils.exceptions import AstropyWarning

from embeddings.errors import SommelierError
from embeddings.layout import encode_strings
from embeddings.parts import write_part
from embeddings.provenance import Provenance, Space
from extract.backbone import Backbone
from extract.preprocessing import Recipe
from extract.processes import follow_parent
from extract.rendering import Rendering
from extract.weights import BackboneSource

Array = np.ndarray[Any, Any]
Place = tuple[float, float]
NOWHERE = (math.nan, math.nan)
REASON_LENGTH = 200


@dataclass(frozen=True)
class Job:
    """All that a process needs to embed parts of one store."""

    store: Path
    survey: str
    provenance: Provenance
    backbone: BackboneSource
    recipe: Recipe
    device: str
    batch_size: int
    threads: int
    rendering: Rendering = field(default_factory=Rendering)


@dataclass(frozen=True)
class Part:
    """Rows that are written together: ids, full image paths, and positions (ra and dec in degrees) for cut-outs."""

    ids: list[str]
    paths: list[str]
    places: list[Place] | None = None


@dataclass
class Rows:
    """One embedded batch."""

    ids: list[str]
    hashes: list[bytes]
    status: list[str]
    vectors: dict[Space, Array]


class Stoppable(Protocol):
    """Work that can be asked to come to an end."""

    def stop(self) -> None:
        """Finish what is in hand, and leave."""
        ...


class Counters:
    """Rows done and failed, and a stop flag, shared by all processes of a run."""

    def __init__(self, context: SpawnContext) -> None:
        self._done, self._failed = context.Value("q", 0), context.Value("q", 0)
        self._stop = context.Event()

    def add(self, done: int, failed: int) -> None:
        """Count a batch."""
        for counter, amount in ((self._done, done), (self._failed, failed)):
            with counter.get_lock():
                counter.value += amount

    def stop(self) -> None:
        """Ask every process to finish its batch, write it and leave."""
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    @property
    def done(self) -> int:
        """Rows embedded in this run, failed ones included."""
        return int(self._done.value)

    @property
    def failed(self) -> int:
        """Rows that failed in this run."""
        return int(self._failed.value)


class Embedder:
    """
    A loaded backbone and the threads that feed it.

    Parameters
    ----------
    job : Job
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        torch.set_num_threads(job.threads)
        self.backbone: Backbone = job.backbone.load(job.device)
        self._decoders = ThreadPoolExecutor(job.threads, "decode")
        self._writer = ThreadPoolExecutor(1, "write")

    def embed_parts(self, parts: Iterable[Part], counters: Counters) -> None:
        """
        Embed and write parts until they are done or the counters say stop.

        A stop writes the batches of the part in hand that are ready, so nothing embedded is lost.
        """
        written: list[Future[Path]] = []
        try:
            with silence_readers():
                self._embed_parts(parts, counters, written)
        finally:
            wait(written)
        for future in written:
            future.result()

    def _embed_parts(self, parts: Iterable[Part], counters: Counters, written: list[Future[Path]]) -> None:
        rows: list[Rows] = []
        for last_of_part, ids, loaded in self._load_ahead(parts):
            rows.append(self._embed_batch(ids, loaded))
            counters.add(len(ids), sum(status != "ok" for status in rows[-1].status))
            if last_of_part or counters.stopped:
                written.append(self._writer.submit(self._write, rows))
                rows = []
                while len(written) > 2:  # the disk may lag two parts behind, no more
                    written.pop(0).result()
            if counters.stopped:
                break

    def embed_images(
        self, paths: Sequence[str], places: Sequence[Place] | None = None
    ) -> tuple[list[str], dict[Space, Array], list[bytes]]:
        """
        Embed images without writing them; cut-outs need their places.

        Returns
        -------
        status : list of str
        vectors : dict of Space to (n_images, embed_dim) float32 array
            NaN where failed.
        hashes : list of bytes
        """
        part = Part([str(i) for i in range(len(paths))], list(paths), list(places) if places else None)
        with silence_readers():
            rows = [self._embed_batch(ids, loaded) for _, ids, loaded in self._load_ahead([part])]
        vectors = {s: np.concatenate([batch.vectors[s] for batch in rows]) for s in self.job.provenance.spaces}
        return [s for b in rows for s in b.status], vectors, [h for b in rows for h in b.hashes]

    def _load_ahead(self, parts: Iterable[Part]) -> Iterator[tuple[bool, list[str], list[tuple[bytes, Array | str]]]]:
        """Batches with their images decoded by threads, two batches ahead of the model."""
        waiting: deque[tuple[bool, list[str], list[Future[tuple[bytes, Array | str]]]]] = deque()
        load = self.job.rendering.load
        for last_of_part, batch in self._cut(parts):
            images = zip(batch.paths, batch.places or (), strict=True)
            waiting.append((last_of_part, batch.ids, [self._decoders.submit(load, path, *at) for path, at in images]))
            if len(waiting) > 2:
                yield _collect(waiting.popleft())
        while waiting:
            yield _collect(waiting.popleft())

    def _cut(self, parts: Iterable[Part]) -> Iterator[tuple[bool, Part]]:
        size = self.job.batch_size
        for part in parts:
            places = part.places or [NOWHERE] * len(part.ids)
            for start in range(0, len(part.ids), size):
                rows = slice(start, start + size)
                yield start + size >= len(part.ids), Part(part.ids[rows], part.paths[rows], places[rows])

    def _embed_batch(self, ids: list[str], loaded: list[tuple[bytes, Array | str]]) -> Rows:
        spaces = self.job.provenance.spaces
        status = ["ok" if isinstance(image, np.ndarray) else f"failed: {image}" for _, image in loaded]
        vectors = {space: np.full((len(ids), self.backbone.embed_dim), np.nan, np.float32) for space in spaces}
        good = [row for row, (_, image) in enumerate(loaded) if isinstance(image, np.ndarray)]
        if good:
            images = self.job.recipe.apply(
                [image for _, image in loaded if isinstance(image, np.ndarray)], self.job.device
            )
            # always the same shape, each row in its own place: a kernel chosen by shape gives the same bits
            batch = images.new_zeros((self.job.batch_size, *images.shape[1:]))
            batch[good] = images
            for space, values in self._run(batch, good).items():
                vectors[space][good] = values
        for row in good:
            problem = _check_range([vectors[space][row] for space in spaces], self.job.provenance.storage)
            if problem:
                status[row] = f"failed: {problem}"
                for space in spaces:
                    vectors[space][row] = np.nan
        return Rows(ids, [digest for digest, _ in loaded], status, vectors)

    def _run(self, batch: torch.Tensor, good: list[int]) -> dict[Space, Array]:
        """Embed; of a batch with non-finite values, the rows that have them are taken from a second pass in float32."""
        precision, spaces = self.job.provenance.precision, self.job.provenance.spaces
        try:
            vectors = self.backbone.embed(batch, spaces, precision)
            finite = torch.stack([values.isfinite().all(dim=1) for values in vectors.values()]).all(dim=0)
            if precision != "fp32" and not finite[good].all():
                exact = self.backbone.embed(batch, spaces, "fp32")
                vectors = {s: torch.where(finite[:, None], half, exact[s]) for s, half in vectors.items()}
        except torch.cuda.OutOfMemoryError as error:
            raise SommelierError(
                f"the GPU ran out of memory at a batch size of {self.job.batch_size}; "
                f"try --batch-size {max(1, self.job.batch_size // 2)}. Finished parts are kept."
            ) from error
        return {space: values[good].cpu().numpy() for space, values in vectors.items()}

    def _write(self, rows: list[Rows]) -> Path:
        job = self.job
        status = [text[: REASON_LENGTH + len("failed: ")] for batch in rows for text in batch.status]
        return write_part(
            job.store,
            job.provenance,
            job.survey,
            [id_str for batch in rows for id_str in batch.ids],
            np.frombuffer(b"".join(h for batch in rows for h in batch.hashes), np.uint8).reshape(-1, 32),
            encode_strings(status),
            {
                space: np.concatenate([batch.vectors[space] for batch in rows]).astype(job.provenance.storage)
                for space in job.provenance.spaces
            },
        )


@contextmanager
def silence_readers() -> Iterator[None]:
    """
    Keep what astropy says of odd headers off the screen: what matters becomes a row's status.

    Warning filters belong to the process, so they are set once around all decoding threads, not in them.
    """
    with warnings.catch_warnings():
        for category in (AstropyWarning, RuntimeWarning, UserWarning):
            warnings.filterwarnings("ignore", category=category, module=r"astropy\.")
        yield


def _collect(
    batch: tuple[bool, list[str], list[Future[tuple[bytes, Array | str]]]],
) -> tuple[bool, list[str], list[tuple[bytes, Array | str]]]:
    last_of_part, ids, futures = batch
    return last_of_part, ids, [future.result() for future in futures]


def _check_range(vectors: list[Array], storage: str) -> str:
    """Why a row cannot be stored, or nothing."""
    if not all(np.isfinite(v).all() for v in vectors):
        return "the model gave non-finite values, in fp32 too"
    largest = max(float(np.abs(v).max()) for v in vectors)
    if largest > float(np.finfo(storage).max):
        return f"a value of {largest:.3g} does not fit {storage}; use --storage float32"
    return ""


# a worker process: one embedder, told about by the initializer, used by every task

_job: Job | None = None
_embedder: Embedder | None = None
_counters: Counters | None = None


def start_worker(job: Job, counters: Counters, parent: int) -> None:
    """Leave signals to the parent, and leave when it is gone."""
    global _job, _counters
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    follow_parent(parent)
    _job, _counters = job, counters


def embed_part(part: Part) -> None:
    """Embed one part in a worker process."""
    global _embedder
    assert _job is not None, "start_worker was not called"
    assert _counters is not None
    _embedder = _embedder or Embedder(_job)  # loaded here, and not at the start: its errors reach the parent from here
    if not _counters.stopped:
        _embedder.embed_parts([part], _counters)


def group_batches(batches: Sequence[Array], per_part: int) -> Iterator[Array]:
    """Join batches into parts of at most `per_part` batches."""
    iterator = iter(batches)
    while group := list(itertools.islice(iterator, per_part)):
        yield np.concatenate(group)


@contextmanager
def stop_on_signals(work: Stoppable) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM finishes the batch in hand; the second ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        work.stop()
        for each, handler in before.items():
            signal.signal(each, handler)

    before: dict[int, Any] = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
