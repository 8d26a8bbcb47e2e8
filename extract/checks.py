"""Is this store what it says, and what would an extraction cost: the questions before and after the work."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embeddings.errors import StoreError
from embeddings.store import EmbeddingStore
from extract.devices import choose_device
from extract.pipeline import Extraction
from extract.preprocessing import Recipe
from extract.processes import count_cpus
from extract.references import Reference
from extract.rendering import Rendering
from extract.weights import BackboneSource, find_backbone
from extract.worker import Embedder, Job

# cosine below which a re-embedded row is another row: rounding of batches and threads, of float16 storage, of bf16
TOLERANCES = {"fp32": 0.99999, "bf16": 0.999, "fp16": 0.999}


@dataclass(frozen=True)
class DeepCheck:
    """
    Rows embedded again.

    Attributes
    ----------
    checked : int
        How many rows were compared.
    min_cosine : float
        The worst agreement over rows and spaces; NaN when nothing was compared.
    problems : list of str
        Rows that differ, with the reason.
    """

    checked: int
    min_cosine: float
    problems: list[str]


def verify_deep(
    store: EmbeddingStore,
    n_rows: int,
    backbone: str | None = None,
    image_root: str | None = None,
    device: str = "auto",
    random_state: int = 0,
) -> DeepCheck:
    """
    Embed random rows again and compare.

    Parameters
    ----------
    store : EmbeddingStore
    n_rows : int
        How many; at most those with vectors.
    backbone : str, optional
        Where the weights are now; as recorded by default.
    image_root : str, optional
        Where the images are now; as recorded by default.
    device : str
    random_state : int

    Raises
    ------
    StoreError
        When the backbone that is found is not the one that made the store.
    """
    job = repeat_job(store, backbone, device)
    good = np.flatnonzero(store.ok)
    rows = np.sort(np.random.default_rng(random_state).choice(good, min(n_rows, len(good)), replace=False))
    roots, images, ids = store.image_roots[rows], store.images[rows], store.ids[rows]
    paths = [os.path.join(image_root or root, image) for root, image in zip(roots, images, strict=True)]
    places = list(zip(store.ra[rows].tolist(), store.dec[rows].tolist(), strict=True))
    status, vectors, hashes = Embedder(job).embed_images(paths, places) if len(rows) else ([], {}, [])
    recorded = store.dataset("image_sha256")[rows]
    problems, cosines = [], [np.inf]
    for index, path in enumerate(paths):
        where = f"{store.path}: row {rows[index]} ({ids[index]})"
        if status[index] != "ok":
            problems.append(f"{where}: {path}: {status[index].removeprefix('failed: ')}")
        elif hashes[index] != recorded[index].tobytes():
            problems.append(f"{where}: {path} has changed since it was embedded")
        else:
            cosines.append(min(_cosine(vectors[s][index], store.vectors(*s)[rows[index]]) for s in store.spaces))
            if cosines[-1] < TOLERANCES[store.provenance.precision]:
                problems.append(f"{where}: embedded again it has a cosine of only {cosines[-1]:.6f} to what is stored")
    return DeepCheck(len(cosines) - 1, min(cosines) if len(cosines) > 1 else float("nan"), problems)


def repeat_job(store: EmbeddingStore, backbone: str | None, device: str) -> Job:
    """The job that made a store, as far as this machine can repeat it."""
    provenance, run = store.provenance, store.provenance.runs[-1]
    source = find_backbone(backbone) if backbone else _find_recorded(run, store.path)
    made_by = provenance.model["weights_sha256"]
    if source.weights_sha256 != made_by:
        raise StoreError(
            f"{source.name} has weights {source.weights_sha256[:12]}..., but {made_by[:12]}... made {store.path} "
            f"({run['backbone']}). Give the right one with --backbone."
        )
    resize, normalisation = provenance.model["resize"], provenance.model["normalisation"]
    recipe = Recipe(resize["recipe"], resize["size"], tuple(normalisation["mean"]), tuple(normalisation["std"]))
    batch_size = int(run["batch_size"])
    chosen = choose_device(device)
    fixed = (Path(os.devnull), store.survey, provenance, source, recipe, chosen, batch_size, count_cpus())
    return Job(*fixed, Rendering.from_dict(provenance.images))


def _find_recorded(run: dict[str, Any], path: Path) -> BackboneSource:
    """The backbone of a run: where it was then, or by its name on the hub."""
    source = Path(run["source"])
    if source.is_dir() or not source.is_absolute():
        return find_backbone(run["source"], run["revision"])
    if run["revision"]:  # the hub's cache has moved, or the store has come from another machine
        return find_backbone(run["backbone"], run["revision"])
    raise StoreError(f"{source}, which made {path}, is not there. Say where its weights are with --backbone.")


def _cosine(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    length = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / length) if 0 < length < np.inf else 0.0  # zeros and NaN agree with nothing


@dataclass(frozen=True)
class Estimate:
    """
    What an extraction would do.

    Attributes
    ----------
    rows, to_do, missing_images : int
        Rows in the store to be, rows to embed, and how many of these have no file.
    seconds : float
        From a few timed batches; NaN when no image could be embedded.
    disk_bytes : int
        While it is joined: the parts and the new store at once.
    """

    rows: int
    to_do: int
    missing_images: int
    seconds: float
    disk_bytes: int


def estimate_extraction(extraction: Extraction, n_batches: int = 3) -> Estimate:
    """
    Count what is to be done and time a few batches of it; nothing is written.

    Parameters
    ----------
    extraction : Extraction
    n_batches : int
        How many batches are timed, after one to warm up.
    """
    batches = extraction.plan_batches()
    rows = np.concatenate(batches) if batches else np.empty(0, np.int64)
    paths, places = extraction.paths, extraction.places
    there = [row for row in rows if Reference.parse(paths[row]).exists()]
    workers, _ = extraction.choose_workers(len(rows))
    seconds = 0.0 if not len(rows) else float("nan")
    if there:
        embedder = Embedder(extraction.make_job(1 if workers > 1 else None))
        size = extraction.batch_size
        sample = there[: size * n_batches]
        embedder.embed_images([paths[row] for row in sample[:size]], [places[row] for row in sample[:size]])
        start = time.perf_counter()
        embedder.embed_images([paths[row] for row in sample], [places[row] for row in sample])
        seconds = (time.perf_counter() - start) / len(sample) * len(there) / workers
    width = np.dtype(extraction.provenance.storage).itemsize * extraction.backbone.embed_dim
    total = len(extraction.catalog)
    per_row = width * len(extraction.provenance.spaces) + 32
    return Estimate(total, len(rows), len(rows) - len(there), seconds, (total + len(rows)) * per_row)
