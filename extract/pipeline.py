"""The extraction: plan, embed, join. The only writer of vectors."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from embeddings.errors import BusyError, SommelierError
from embeddings.layout import OK, PART, Header, encode_column, encode_strings, escape_name
from embeddings.parts import FileLock, Source, join_sources, list_parts, lock_path, take_picks
from embeddings.provenance import Provenance, require_same_cache
from embeddings.store import EmbeddingStore
from extract.backbone import resolve_spaces
from extract.catalog import Catalog, add_columns, concatenate_catalogs, frame_of
from extract.devices import (
    choose_batch_size,
    choose_device,
    choose_precision,
    choose_workers,
    describe_device,
)
from extract.images import NO_FILE
from extract.options import (
    Options,
    caution_of_rendering,
    choose_pools,
    choose_recipe,
    read_run_rendering,
    require_run,
)
from extract.plan import cut_batches, match_rows, parse_share, take_shard
from extract.processes import count_cpus
from extract.rendering import choose_rendering, read_rendering
from extract.weights import find_backbone
from extract.worker import Counters, Embedder, Job, Part, embed_part, group_batches, start_worker, stop_on_signals

Array = np.ndarray[Any, Any]
PART_ROWS = {"cpu": 256, "cuda": 2048, "mps": 1024}  # what a kill may cost: seconds on each device
Report = Callable[[int, int, int], None]  # rows done, rows failed, rows in all


def extract_embeddings(
    catalogs: Catalog | Sequence[Catalog],
    backbone: str,
    output: str | os.PathLike[str],
    report: Report | None = None,
    **options: Any,
) -> EmbeddingStore | None:
    """
    Embed every image of a catalog that the store does not hold yet.

    Parameters
    ----------
    catalogs : Catalog or sequence of Catalog
        Of one survey.
    backbone : str
        A hub id, a folder, the folder of a fine-tuning run, or ``tiny``.
    output : path
        The store. A finished one gets the new rows; an unfinished one is resumed.
    report : callable, optional
        Called with rows done, rows failed and rows to do while work goes on.
    **options
        Fields of `Options`: ``layers`` and ``pools`` (every combination), ``size`` in pixels and ``recipe`` (``whole``
        or ``hf``), by default 224 and ``whole`` or as the run was trained; for FITS ``stretch``, ``bands`` (blue to
        red), ``cutout`` (arcsec) and ``max_missing`` (a share); ``revision``, ``image_root`` (instead of the
        catalog's), ``precision``, ``storage``, ``batch_size``, ``workers``, ``threads`` (in each worker), ``device``,
        ``shard`` (I, N), ``retry_failed``, ``max_failures`` (a share below 1, or a count).

    Returns
    -------
    EmbeddingStore or None
        None when other shards still have rows to make.

    Raises
    ------
    SommelierError
        With what to do; finished parts are kept.
    """
    extraction = Extraction(catalogs, backbone, Path(output), Options(**options))
    if extraction.caution:
        warnings.warn(extraction.caution, stacklevel=2)
    return extraction.run(report)


class Extraction:
    """
    One catalog, one backbone, one output.

    Attributes
    ----------
    catalog : Catalog
        The rows of the store to be: those of the store that the catalog does not name, then the catalog's.
    provenance : Provenance
        Of the store to be.
    caution : str
        What is to be said aloud before it runs; mostly empty.
    """

    def __init__(self, catalogs: Catalog | Sequence[Catalog], backbone: str, output: Path, options: Options) -> None:
        self.output, self.options = output, options
        self.device = choose_device(options.device)
        self.backbone = find_backbone(backbone, options.revision)
        self.split = self.backbone.run.read_split() if self.backbone.run else None
        self.recipe, self.caution = choose_recipe(options, self.backbone.run)
        self.backbone.check_size(self.recipe.size)
        self.batch_size = choose_batch_size(options.batch_size, self.device)
        parse_share(options.max_failures, 1)
        if options.retry_failed and options.shard[1] > 1:
            raise SommelierError("--retry-failed does not go with --shard: what failed is known when all are joined.")
        self._read_catalogs([catalogs] if isinstance(catalogs, Catalog) else list(catalogs))
        images, held = (image for c in self._given for image in c.frame["image"]), read_rendering(output)
        asked = (options.stretch, options.bands, options.cutout, options.max_missing)
        self.rendering = choose_rendering(images, *asked, held, read_run_rendering(self.backbone.run))
        self.caution = " ".join(filter(None, (self.caution, caution_of_rendering(self.rendering, self.backbone.run))))
        self.provenance = self._describe()
        self._merge_with_store()

    # the plan

    def _describe(self) -> Provenance:
        options, backbone = self.options, self.backbone
        if options.storage not in ("float16", "float32"):
            raise SommelierError(f"--storage is float16 or float32, not {options.storage!r}.")
        run = {
            "backbone": backbone.label,
            "source": backbone.folder or backbone.name,
            "revision": backbone.revision,
            "device": describe_device(self.device),
            "batch_size": self.batch_size,
            "versions": {
                name: version(name) for name in ("galaxy-sommelier", "torch", "transformers", "numpy", "pillow")
            },
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if backbone.run:
            run["finetune"] = backbone.run.to_provenance()
        return Provenance(
            backbone.to_dict() | self.recipe.to_dict(),
            self.rendering.to_dict(),
            resolve_spaces(options.layers, choose_pools(options, backbone.run), backbone.depth, backbone.label),
            choose_precision(options.precision, self.device),
            options.storage,
            (run,),
        )

    def _read_catalogs(self, catalogs: list[Catalog]) -> None:
        """Check that the catalogs are of one survey."""
        if self.options.image_root is not None:
            root = str(Path(self.options.image_root).resolve())
            catalogs = [replace(catalog, image_root=root) for catalog in catalogs]
        surveys = sorted({survey for catalog in catalogs for survey in catalog.surveys})
        if len(surveys) != 1:
            raise SommelierError(
                f"a store holds one survey; the catalog has {', '.join(surveys) or 'no rows'}. "
                "Write to 'DIR/{survey}.h5' to get one store each."
            )
        self.survey = surveys[0]
        self._given = catalogs
        self.wanted = sum(map(len, catalogs))

    def _merge_with_store(self) -> None:
        """
        Put the catalogs together with what the store has beside them: rows that they do not name, other columns.

        Extraction adds; only `relabel` takes labels away. To be called again under the lock: the store may have grown.
        """
        self.kept, given = 0, self._given
        if self.output.exists():
            with EmbeddingStore.open(self.output) as store:
                require_same_cache(self.provenance, store.provenance, str(self.output))
                if store.survey != self.survey:
                    raise SommelierError(
                        f"{self.output} holds the survey {store.survey!r}, the catalog is of {self.survey!r}. "
                        f"If they are one, make the catalog with --survey {store.survey}, else write to another file."
                    )
                require_run(store, self.backbone.run, self.backbone.name)
                given = [*self._keep_rows(store), *(add_columns(catalog, store) for catalog in given)]
        self.catalog, self.roots, self.root_index = concatenate_catalogs(given)

    def _keep_rows(self, store: EmbeddingStore) -> list[Catalog]:
        """The store's rows that the catalogs do not name, one catalog an image root."""
        named = {id_str for catalog in self._given for id_str in catalog.ids.tolist()}
        frame, roots = frame_of(store)
        keep = np.array([id_str not in named for id_str in frame["id_str"]], bool)
        self.kept = int(keep.sum())
        return [
            Catalog(frame[keep & (roots == root)].reset_index(drop=True), store.questions, root)
            for root in dict.fromkeys(roots[keep].tolist())
        ]

    @property
    def paths(self) -> list[str]:
        """The full path of every row's image."""
        roots = [self.roots[index] for index in self.root_index]
        return [os.path.join(root, image) for root, image in zip(roots, self.catalog.frame["image"], strict=True)]

    @property
    def places(self) -> list[tuple[float, float]]:
        """Every row's ra and dec, in degrees."""
        return list(map(tuple, self.catalog.frame[["ra", "dec"]].to_numpy(np.float64).tolist()))

    def _open_sources(self) -> list[Source]:
        """The store, if there is one, and the parts."""
        files = ([self.output] if self.output.exists() else []) + list_parts(self.output)
        return [Source.open(file, self.provenance) for file in files]

    def _hash_known(self, sources: Sequence[Source]) -> dict[str, bytes]:
        """The images, as they are now, of the catalog's rows that some source holds."""
        known = {id_str for source in sources for id_str in source.ids}
        ids, paths, places = self.catalog.ids.tolist(), self.paths, self.places
        rows = [row for row in range(self.kept, len(ids)) if ids[row] in known]
        with ThreadPoolExecutor(count_cpus()) as pool:
            digests = pool.map(lambda row: self.rendering.hash(paths[row], *places[row]), rows)
            hashes = dict(zip((ids[row] for row in rows), digests, strict=True))
        # an image that cannot be read now says nothing about the row that it once gave: the row stays
        return {id_str: digest for id_str, digest in hashes.items() if digest != NO_FILE}

    def plan_batches(self) -> list[Array]:
        """The batches of this shard that are not there yet, as rows of the catalog."""
        self._merge_with_store()
        sources, retry = self._open_sources(), self.options.retry_failed
        self.hashes = self._hash_known(sources)
        ids = self.catalog.ids.tolist()
        stores = [source for source in sources if source.path == self.output]
        # batches are cut from what the store lacks, whatever parts there are: an interruption does not shift them
        missing = np.flatnonzero(self._match(ids, stores, retry)[:, 0] < 0)
        batches = take_shard(cut_batches(ids, missing, self.batch_size), self.options.shard)
        there = self._match(ids, sources, retry)[:, 0] >= 0
        return [batch for batch in batches if not there[batch].all()]

    def _match(self, ids: list[str], sources: Sequence[Source], retry_failed: bool) -> Array:
        picks = match_rows(ids, sources, self.hashes, retry_failed)
        if retry_failed and self.kept:  # rows that the catalog does not name are left as they are
            picks[: self.kept] = match_rows(ids[: self.kept], sources, self.hashes)
        return picks

    # the work

    def run(self, report: Report | None = None) -> EmbeddingStore | None:
        """
        Embed what is missing, then join if all is there; returns as `extract_embeddings` does.

        Raises
        ------
        KeyboardInterrupt
            When Ctrl-C or SIGTERM stopped it; the batches in hand are written.
        """
        report = report or (lambda done, failed, total: None)
        main, own = self._locks()
        with own:
            with main:
                batches = self.plan_batches()
                counters = self._embed(batches, report) if batches else None
                joined = not main.shared and self._join()
            if main.shared:
                joined = self._join_if_last()
        if joined:
            return EmbeddingStore.open(self.output)
        if counters is not None and counters.stopped:
            raise KeyboardInterrupt
        if not main.shared:
            raise SommelierError(
                f"images changed while they were embedded into {self.output}; run the same command again."
            )
        return None

    def _locks(self) -> tuple[FileLock, FileLock]:
        """Shards share the store; a run without shards has it alone; no shard runs twice at once."""
        number, count = self.options.shard
        base = lock_path(self.output)
        own = base.with_name(f".{self.output.name}.shard-{number}-of-{count}.lock")
        return FileLock(base, shared=count > 1), FileLock(own)

    def _embed(self, batches: list[Array], report: Report) -> Counters:
        rows = sum(map(len, batches))
        workers, threads = self.choose_workers(rows)
        job = self.make_job(threads)
        most = PART_ROWS[self.device.split(":")[0]]
        per_part = max(1, min(most, -(-rows // (4 * workers))) // self.batch_size)
        ids, paths, places = self.catalog.ids, self.paths, self.places
        parts = (
            Part(ids[group].tolist(), [paths[row] for row in group], [places[row] for row in group])
            for group in group_batches(batches, per_part)
        )
        context = get_context("spawn")
        counters = Counters(context)
        limit = parse_share(self.options.max_failures, self.wanted) / self.options.shard[1]
        watch = partial(self._watch, counters, report, rows, limit)
        with stop_on_signals(counters):
            if workers == 1:
                self._embed_here(job, parts, counters, watch)
            else:
                self._embed_in_pool(job, list(parts), counters, watch, workers)
        watch()
        return counters

    def _embed_here(self, job: Job, parts: Iterator[Part], counters: Counters, watch: Callable[[], None]) -> None:
        """In this process, with the bar drawn between parts and batches by a watching thread."""
        done = threading.Event()
        problems: list[BaseException] = []

        def follow() -> None:
            while not done.wait(0.2):
                try:
                    watch()
                except SommelierError as error:
                    problems.append(error)
                    return

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            Embedder(job).embed_parts(parts, counters)
        finally:
            done.set()
            thread.join()
        if problems:
            raise problems[0]

    def _embed_in_pool(
        self, job: Job, parts: list[Part], counters: Counters, watch: Callable[[], None], workers: int
    ) -> None:
        context = get_context("spawn")
        arguments = (job, counters, os.getpid())
        with ProcessPoolExecutor(workers, context, initializer=start_worker, initargs=arguments) as pool:
            pending = {pool.submit(embed_part, part) for part in parts}
            try:
                while pending:
                    finished, pending = wait(pending, timeout=0.2)
                    for future in finished:
                        future.result()
                    watch()
            except BrokenProcessPool as error:
                if counters.stopped:  # Ctrl-C reached a worker that was still starting
                    return
                raise SommelierError(
                    "a worker process died (out of memory, or killed). Finished parts are kept: run the same command "
                    "again, with fewer --workers if memory is short."
                ) from error
            except BaseException:
                counters.stop()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _watch(self, counters: Counters, report: Report, total: int, limit: float) -> None:
        """Draw progress; stop the run when too many images fail."""
        report(counters.done, counters.failed, total)
        if counters.failed > limit:
            counters.stop()
            raise SommelierError(self._explain_failures(counters.failed, counters.done))

    def _explain_failures(self, failed: int, done: int) -> str:
        return (
            f"{failed} of {done} images failed so far, more than --max-failures ({self.options.max_failures}) allows; "
            f"stopped. What is done is kept: the reasons are in 'sommelier info {self.output}'. Mend the images or "
            "--images and run again, or raise --max-failures."
        )

    def choose_workers(self, rows: int) -> tuple[int, int]:
        """Processes, and threads in each."""
        config = self.backbone.config
        tokens = (self.recipe.size // self.backbone.patch_size) ** 2 + 1
        weights = 12 * self.backbone.depth * self.backbone.embed_dim**2 * config.get("mlp_ratio", 4) / 4
        workers, threads = choose_workers(self.options.workers, self.device, rows, 2 * weights * tokens)
        return workers, self.options.threads or threads

    def make_job(self, threads: int | None = None) -> Job:
        """What a worker needs."""
        fixed = (self.output, self.survey, self.provenance, self.backbone, self.recipe, self.device, self.batch_size)
        return Job(*fixed, threads or self.options.threads or count_cpus(), self.rendering)

    # the join

    def _join_if_last(self) -> bool:
        """Join unless another shard is still at work: that one will."""
        try:
            with FileLock(lock_path(self.output)):
                return self._join()
        except BusyError:
            return False

    def _join(self) -> bool:
        """Write the finished store if every row is there; to be called under the exclusive lock."""
        self._merge_with_store()
        sources = self._open_sources()
        picks = self._match(self.catalog.ids.tolist(), sources, False)
        if (picks[:, 0] < 0).any():
            return False
        arrays = self._to_arrays() | self._match_split(sources, picks)
        if all(sources[index].path == self.output for index in np.unique(picks[:, 0])) and self._is_current(arrays):
            return True
        self._check_failures(sources, picks)
        header = Header(self.survey, self.provenance, self.catalog.questions, tuple(self.roots))
        join_sources(self.output, header, arrays, sources, picks, self.backbone.embed_dim)
        return True

    def _match_split(self, sources: Sequence[Source], picks: Array) -> dict[str, Array]:
        """What the run that trained the backbone used each row's galaxy for; nothing where there was no run."""
        if self.split is None or not sources:
            return {}
        ra, dec = (self.catalog.frame[name].to_numpy(np.float64) for name in ("ra", "dec"))
        images = take_picks([source.image_sha256 for source in sources], picks)
        return {PART: encode_strings(self.split.match(self.catalog.ids.astype(str), ra, dec, images))}

    def _check_failures(self, sources: Sequence[Source], picks: Array) -> None:
        """A rerun must not wave through what stopped the run before it."""
        fresh = [(sources[number], row) for number, row in picks.tolist() if sources[number].path != self.output]
        failed = sum(source.status[row] != OK for source, row in fresh)
        if failed > parse_share(self.options.max_failures, self.wanted):
            raise SommelierError(self._explain_failures(failed, len(fresh)))

    def _is_current(self, arrays: dict[str, Array]) -> bool:
        """Whether the store on disk already says all this."""
        with EmbeddingStore.open(self.output) as store:
            held = store.to_arrays()
            same = store.questions == self.catalog.questions and store.header.image_roots == tuple(self.roots)
        held = {name: values for name, values in held.items() if name not in ("status", "image_sha256")}
        return (
            same
            and held.keys() == arrays.keys()
            and all(np.array_equal(held[n], v, equal_nan=v.dtype.kind == "f") for n, v in arrays.items())
        )

    def _to_arrays(self) -> dict[str, Array]:
        frame = self.catalog.frame
        arrays = {
            "id_str": encode_strings(frame["id_str"]),
            "survey": encode_strings(frame["survey"]),
            "ra": frame["ra"].to_numpy(np.float64),
            "dec": frame["dec"].to_numpy(np.float64),
            "image": encode_strings(frame["image"]),
            "image_root": self.root_index.astype(np.uint16),
        }
        columns = self.catalog.columns
        return arrays | {f"catalog/{escape_name(name)}": encode_column(values) for name, values in columns.items()}
