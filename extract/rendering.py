"""From what a catalog names to 8-bit RGB: the provenance's `images` part, and the one way to load an image."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from embeddings.errors import SommelierError
from embeddings.store import EmbeddingStore
from extract.fits import MAX_MISSING, hash_fits, read_fits
from extract.images import DECODING, NO_FILE, ImageError, decode_image, read_image
from extract.references import BAND, Reference
from extract.shards import read_shard_image
from extract.stretch import Stretch

Array = np.ndarray[Any, Any]
MISSING = "not finite, blank, or exactly 0 in floating-point pixels"


@dataclass(frozen=True)
class Rendering:
    """
    How image files become pictures; of JPEG, PNG and the like there is one way, FITS needs choices.

    Parameters
    ----------
    stretch : Stretch, optional
        How FITS pixels become brightness.
    bands : tuple of str
        Blue to red: what ``{band}`` in a file's name stands for, or the planes of a cube.
    cutout : float, optional
        Side of the square that is cut at each galaxy's position, in arcsec.
    max_missing : float
        Share of missing pixels above which a FITS image fails.
    """

    stretch: Stretch | None = None
    bands: tuple[str, ...] = ()
    cutout: float | None = None
    max_missing: float = MAX_MISSING

    def to_dict(self) -> dict[str, Any]:
        """The `images` part of a provenance."""
        if self.stretch is None:
            return dict(DECODING)
        return DECODING | {
            "stretch": self.stretch.to_dict(),
            "bands": list(self.bands) or None,
            "cutout": None if self.cutout is None else {"arcsec": self.cutout, "position": "the catalog's"},
            "missing": {"pixels": MISSING, "at_most": self.max_missing},
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Rendering:
        """The inverse of `to_dict`."""
        if record["stretch"] is None:
            return cls()
        cutout = record["cutout"]["arcsec"] if record["cutout"] else None
        bands, at_most = tuple(record["bands"] or ()), record["missing"]["at_most"]
        return cls(Stretch.from_dict(record["stretch"]), bands, cutout, at_most)

    def load(self, path: str, ra: float = math.nan, dec: float = math.nan) -> tuple[bytes, Array | str]:
        """
        Read and render one image.

        Parameters
        ----------
        path : str
            As a catalog names it, below its root: see `Reference`.
        ra, dec : float
            Degrees ICRS; for cut-outs.

        Returns
        -------
        digest : bytes
            The sha256 of the image's bytes; of a cut-out, of its pixels; zeros where nothing could be read.
        image : (height, width, 3) uint8 array or str
            The picture, or why there is none.
        """
        digest, reference = NO_FILE, Reference.parse(path)
        try:
            if path.endswith("/"):
                raise ImageError("the catalog names no image")
            if reference.is_fits:
                return self._load_fits(reference, ra, dec)
            data, digest = self._read(reference)
            if self.cutout is not None:
                raise ImageError("only FITS images have a WCS by which to cut")
            return digest, decode_image(data, reference.path if reference.row is None else "")
        except ImageError as error:
            if reference.is_fits:
                digest = self.hash(path, ra, dec)
            return digest, " ".join(str(error).split())

    def hash(self, path: str, ra: float = math.nan, dec: float = math.nan) -> bytes:
        """The digest that `load` gives, zeros where the image cannot be read."""
        reference = Reference.parse(path)
        try:
            if reference.is_fits:
                return hash_fits(reference.files(self.bands), reference.extension, self.cutout, ra, dec)
            return self._read(reference)[1]
        except ImageError:
            return NO_FILE

    def _read(self, reference: Reference) -> tuple[bytes, bytes]:
        """The bytes of a file, or of a row; and their digest."""
        data = read_image(reference.path) if reference.row is None else read_shard_image(reference.path, reference.row)
        return data, hashlib.sha256(data).digest()

    def _load_fits(self, reference: Reference, ra: float, dec: float) -> tuple[bytes, Array]:
        if self.stretch is None:
            raise ImageError("FITS pixels need a stretch")
        files, bands = reference.files(self.bands), self.bands or None
        planes = read_fits(files, reference.extension, bands, self.cutout, ra, dec, self.max_missing)
        return planes.digest, self.stretch.render(planes.planes)


def read_rendering(store: Path) -> Rendering | None:
    """The rendering of a store, None where there is none."""
    if not store.exists():
        return None
    with EmbeddingStore.open(store) as opened:
        return Rendering.from_dict(opened.provenance.images)


def choose_rendering(
    images: Iterable[str],
    stretch: str | None,
    bands: tuple[str, ...],
    cutout: float | None,
    max_missing: float,
    held: Rendering | None = None,
    own: Rendering | None = None,
) -> Rendering:
    """
    The rendering that some images need: FITS of which nothing is asked gets that of the backbone's run, or ``auto``.

    Parameters
    ----------
    images : iterable of str
        As a catalog names them.
    stretch, bands, cutout, max_missing
        As asked for; see `Rendering`.
    held : Rendering, optional
        Of the store that the images are added to: what needs no choice takes it.
    own : Rendering, optional
        With which the run that trained the backbone saw its images.

    Raises
    ------
    SommelierError
        When what is asked for does not go with the images.
    """
    references = [Reference.parse(image) for image in images]
    fits = any(reference.is_fits for reference in references)
    asked = stretch is not None or bands or cutout is not None
    if fits and not asked and own is not None and own.stretch is not None:
        return own if max_missing == MAX_MISSING else replace(own, max_missing=max_missing)
    if any(BAND in reference.path for reference in references) and not bands:
        raise SommelierError(f"images are named with {BAND}: say which there are with --bands, blue to red, as g,r,z.")
    if cutout is not None and not (cutout > 0 and math.isfinite(cutout)):
        raise SommelierError(f"--cutout is the side of a square in arcsec, not {cutout}.")
    if not 0 <= max_missing <= 1:
        raise SommelierError(f"--max-missing is a share of the pixels from 0 to 1, not {max_missing}.")
    if not fits and not asked:
        return held or Rendering()
    if not fits and (held is None or held.stretch is None):
        raise SommelierError("--stretch, --bands and --cutout are for FITS images; the catalog names none.")
    return Rendering(Stretch.parse(stretch or "auto"), bands, cutout, max_missing)
