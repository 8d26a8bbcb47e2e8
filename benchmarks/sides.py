"""One side of an audit: the galaxies of a store, of a catalog, or those that a fine-tuned backbone was trained on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from embeddings.errors import SommelierError
from embeddings.runs import RunRecord, Split, find_run
from embeddings.store import EmbeddingStore
from extract.catalog import Catalog
from extract.images import NO_FILE
from extract.processes import count_cpus
from extract.references import BAND, Reference
from extract.rendering import Rendering

Array = np.ndarray[Any, Any]
Report = Callable[[int, int, int], None]  # images done, failed, in all
TINY = "tiny"  # the one backbone that is neither a folder nor on the hub


@dataclass(frozen=True)
class Side:
    """
    Galaxies, and what can be compared of them.

    Attributes
    ----------
    path : Path
    kind : {'store', 'catalog', 'run'}
    ids, surveys : (n_rows,) arrays of str
    ra, dec : (n_rows,) arrays
        Degrees ICRS, NaN where unknown.
    digests : (n_rows, 32) uint8 array, optional
        The sha256 of each image, zeros where there is none; of a catalog nobody has read the images yet.
    images : tuple of str
        A catalog's images, where they lie.
    rendering : Rendering, optional
        What the digests of FITS images follow from: bands and cut-out; None where there are no FITS images, or where
        nobody has chosen yet.
    store : EmbeddingStore, optional
        The rows are those of it that have vectors, in order.
    notes : tuple of str
        What is to be known of it.
    """

    path: Path
    kind: Literal["store", "catalog", "run"]
    ids: Array
    surveys: Array
    ra: Array
    dec: Array
    digests: Array | None = None
    images: tuple[str, ...] = ()
    rendering: Rendering | None = None
    store: EmbeddingStore | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def places(self) -> Array:
        """(n_rows, 2), right ascension and declination."""
        return np.stack([self.ra, self.dec], axis=1)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"path": str(self.path), "kind": self.kind, "rows": len(self)}


def open_side(path: str | os.PathLike[str]) -> Side:
    """
    Open a store, a catalog, or the folder of a fine-tuning run.

    Raises
    ------
    SommelierError
        When it is none of these, or damaged.
    """
    path = Path(path)
    if path.is_dir():
        return _read_run(path)
    if h5py.is_hdf5(path) or path.suffix in (".h5", ".hdf5"):
        return _read_store(path)
    return _read_catalog(path)


def _read_store(path: Path) -> Side:
    store = EmbeddingStore.open(path)
    ok = store.ok
    return Side(
        path, "store", store.ids[ok], np.full(int(ok.sum()), store.survey), store.ra[ok], store.dec[ok],
        store.dataset("image_sha256")[ok], rendering=_read_cut(store.provenance.images), store=store,
    )  # fmt: skip


def _read_cut(images: Mapping[str, Any]) -> Rendering | None:
    """Of an `images` record what digests follow from; its stretch, which may be of another version, is left out."""
    if images.get("stretch") is None:
        return None
    cutout = images["cutout"]["arcsec"] if images.get("cutout") else None
    return Rendering(None, tuple(images.get("bands") or ()), cutout)


def _read_catalog(path: Path) -> Side:
    catalog = Catalog.read(path)
    ra, dec = (catalog.frame[name].to_numpy(dtype=np.float64) for name in ("ra", "dec"))
    images = tuple(os.path.join(catalog.image_root, image) for image in catalog.frame["image"])
    surveys = catalog.frame["survey"].to_numpy(dtype=str)
    return Side(path, "catalog", catalog.ids.astype(str), surveys, ra, dec, images=images)


def _read_run(folder: Path) -> Side:
    """The training galaxies of a run, and of the runs that it began from."""
    run = find_run(folder) or RunRecord.open(folder)
    chain, notes = _follow_runs(run)
    splits = [each.read_split() for each in chain]
    trained = [split.parts == "train" for split in splits]

    def gather(name: str) -> Array:
        return np.concatenate([getattr(split, name)[rows] for split, rows in zip(splits, trained, strict=True)])

    if len(chain) > 1:
        before = ", ".join(str(each.folder) for each in chain[1:])
        notes += (f"{folder} began from {before}: galaxies that were trained on there count as well",)
    notes += _note_others(run, splits[0])
    rendering = _read_cut(run.record.get("rendering", {}))
    ids, surveys, ra, dec, digests = map(gather, ("ids", "surveys", "ra", "dec", "image_sha256"))
    return Side(folder, "run", ids, surveys, ra, dec, digests, rendering=rendering, notes=notes)


def _note_others(run: RunRecord, split: Split) -> tuple[str, ...]:
    chosen = int((split.parts == "val").sum())
    if not chosen:
        return ()
    return (f"{chosen} validation galaxies chose the epoch of {run.folder}; they are not counted as trained on",)


def _follow_runs(run: RunRecord) -> tuple[list[RunRecord], tuple[str, ...]]:
    """A run, those that it began from, and a note where one of them is gone."""
    chain = [run]
    while True:
        start = chain[-1].record.get("backbone", {})
        name = str(start.get("name", TINY))
        known = Path(name).is_dir()
        before = find_run(Path(name)) if known else None
        if before is None or before in chain:
            # a hub id has a revision; a folder that is not there any more may have been a run
            lost = not known and name != TINY and start.get("revision") is None
            note = f"{chain[-1].folder} began from {name}, which is not there: what that was trained on is not known"
            return chain, (note,) if lost else ()
        chain.append(before)


def hash_images(side: Side, rendering: Rendering, report: Report | None = None) -> Array:
    """
    Read the images of a catalog, as a store would.

    Parameters
    ----------
    side : Side
        A catalog.
    rendering : Rendering
        By which FITS images are cut out.
    report : callable, optional
        Called with images read, images that could not be, images in all.

    Returns
    -------
    (n_rows, 32) uint8 array
        Zeros where an image cannot be read, and where rows of a catalog share one FITS file without a cut-out: that
        they have the same bytes says nothing.
    """
    shared = _list_shared(side.images, rendering)

    def hash_row(row: int) -> bytes:
        path = side.images[row]
        return NO_FILE if path in shared else rendering.hash(path, float(side.ra[row]), float(side.dec[row]))

    pool = ThreadPoolExecutor(count_cpus())
    try:
        digests = list(_watch(pool.map(hash_row, range(len(side))), len(side), report))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C need not wait for the rest
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def _watch(digests: Iterator[bytes], total: int, report: Report | None) -> Iterator[bytes]:
    failed = 0
    for done, digest in enumerate(digests, 1):
        failed += digest == NO_FILE
        if report:
            report(done, failed, total)
        yield digest


def _list_shared(images: tuple[str, ...], rendering: Rendering) -> set[str]:
    """The FITS files that several rows name as a whole."""
    if rendering.cutout is not None:
        return set()
    seen: set[str] = set()
    twice = {image for image in images if image in seen or seen.add(image)}  # type: ignore[func-returns-value]
    return {image for image in twice if Reference.parse(image).is_fits}


def require_bands(side: Side, rendering: Rendering) -> None:
    """
    Raise where a catalog names one file a band and nobody says which bands.

    Raises
    ------
    SommelierError
    """
    if not rendering.bands and any(BAND in image for image in side.images):
        raise SommelierError(
            f"{side.path} names one image file a band ({BAND}), and which bands are meant only a store says: extract it"
        )
