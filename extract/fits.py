"""From FITS files to planes of pixels: whole files, extensions, and cut-outs of mosaics."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from embeddings.errors import did_you_mean
from extract.cutouts import find_cutout
from extract.images import NO_FILE, ImageError, check_sides, read_image
from extract.stretch import HUGE

Array = np.ndarray[Any, Any]
Files = str | os.PathLike[str] | Sequence[str]
Extension = int | str | None

GZIP = b"\x1f\x8b"
BLOCK = 2880  # bytes: headers and data fill whole blocks (FITS standard 4.0, section 3.1)
MAX_PIXELS = 2**27  # more without a cut-out is a mosaic, not a galaxy
MAX_BYTES = 2**30
MAX_BANDS = 10  # a longer axis is one of the sky's
MAX_MISSING = 0.2  # of the worst band, as in Galaxy Zoo DECaLS (`few_missing_pixels` in zooniverse/decals)
TILES = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "NOCOMPRESS")  # a damaged file of another kind ends the process


@dataclass(frozen=True)
class Planes:
    """
    The pixels of one object.

    Attributes
    ----------
    planes : (n_bands, height, width) float32 array
        NaN where missing; row 0 is the first of the file, which is the bottom.
    digest : bytes
        A sha256 (32 bytes): of the file's bytes, of several files' bytes in their order, or, where the object is one
        of many in a file (a cut-out or a named extension), of its pixels as they are stored and their scaling.
    """

    planes: Array
    digest: bytes


@dataclass(frozen=True)
class _Part:
    """Which part of a file is the object: as `read_fits` takes it."""

    extension: Extension = None
    cutout: float | None = None
    ra: float = math.nan
    dec: float = math.nan

    @property
    def whole(self) -> bool:
        """Whether the object is all that the file holds."""
        return self.extension is None and self.cutout is None


def read_fits(
    path: Files,
    extension: Extension = None,
    bands: Sequence[str | int] | None = None,
    cutout: float | None = None,
    ra: float = math.nan,
    dec: float = math.nan,
    max_missing: float = MAX_MISSING,
) -> Planes:
    """
    Read the image of one object.

    An image is 2-D, or 3-D with a first or last axis of bands (at most 10, shorter than half of the others); it may be
    gzipped or tile-compressed. Missing are NaN, infinities and numbers from 1e30 on, the BLANK of integers, and, of
    floating-point data, exact zeros, with which surveys fill what they have not observed. astropy may warn of odd
    headers.

    Parameters
    ----------
    path : str or sequence of str
        A file, or one a band.
    extension : int or str, optional
        Its number or EXTNAME; the first image if not given.
    bands : sequence of str or int, optional
        The planes of a cube, in this order: numbers from 0, or the letters of the header's BANDS. Or the files' names.
    cutout : float, optional
        The side, in arcsec, of the square that astropy's `Cutout2D` cuts around the position by the celestial WCS, to
        whole pixels; only that is read from the disk. Bands that differ by one pixel lose it.
    ra, dec : float
        Degrees ICRS.
    max_missing : float
        The share of missing pixels that is allowed, in the band that has most.

    Raises
    ------
    ImageError
        With the reason, when there is no such image.
    """
    files = _list_files(path)
    part = _Part(extension, cutout, ra, dec)
    if len(files) > 1 and bands and len(bands) != len(files):
        raise ImageError(f"{len(files)} files for {len(bands)} bands")
    digest, pieces = hashlib.sha256(), []
    for file in files:
        try:
            planes, data = _read_file(file, part, bands if len(files) == 1 else None)
        except ImageError as error:
            raise ImageError(f"{Path(file).name}: {error}" if len(files) > 1 else str(error)) from None
        pieces.append(planes)
        digest.update(data)
    names = [Path(file).name for file in files]
    planes = pieces[0] if len(files) == 1 else _join(pieces, names, part)
    _check_missing(planes, bands or names, max_missing)
    return Planes(planes, digest.digest())


def hash_fits(
    path: Files,
    extension: Extension = None,
    cutout: float | None = None,
    ra: float = math.nan,
    dec: float = math.nan,
) -> bytes:
    """The digest of `read_fits`, also of what it refuses; zeros where there is nothing to read."""
    part, digest = _Part(extension, cutout, ra, dec), hashlib.sha256()
    try:
        for file in _list_files(path):
            digest.update(read_image(file) if part.whole else _read_file(file, part, None)[1])
    except ImageError:
        return NO_FILE
    return digest.digest()


def _serialise(pixels: Array, header: fits.Header) -> bytes:
    """Pixels as they are stored, and what they mean."""
    scaling = [str(header.get(key)) for key in ("BSCALE", "BZERO", "BLANK", "ZBLANK")]
    stored = pixels.astype(pixels.dtype.newbyteorder(">"))
    return " ".join([stored.dtype.str, str(stored.shape), *scaling]).encode() + stored.tobytes()


def _list_files(path: Files) -> list[str]:
    return [os.fspath(path)] if isinstance(path, (str, os.PathLike)) else list(path)


def _read_file(path: str, part: _Part, bands: Sequence[str | int] | None) -> tuple[Array, bytes]:
    """(n_bands, height, width) float32, and the bytes to be hashed."""
    size = _measure(path)
    if part.whole and size > MAX_BYTES:
        raise ImageError(f"too large: {size / 1e9:.1f} GB; give the side of a cut-out")
    stored = read_image(path) if part.whole else b""
    with _open(path, stored) as hdus:
        hdu = _find_image(hdus, part.extension)
        axis = _find_band_axis(hdu.shape)
        height, width = (side for number, side in enumerate(hdu.shape) if number != axis)
        section = [slice(0, height), slice(0, width)]
        if part.cutout is not None:
            section = list(find_cutout(hdu.header, axis, (height, width), part.cutout, part.ra, part.dec))
        _check_size(*(side.stop - side.start for side in section))
        if axis is not None:
            section.insert(axis, slice(None))
        pixels = np.asarray(hdu.section[tuple(section)])
        data = stored or _serialise(pixels, hdu.header)
        planes = pixels[None] if axis is None else np.moveaxis(pixels, axis, 0)
        if bands:
            planes = planes[_choose_bands(bands, hdu.header, len(planes))]
        return _to_float(planes, hdu.header), data


def _measure(path: str) -> int:
    """A file's bytes."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise ImageError("no such file") from None
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}") from None
    if not size:
        raise ImageError("empty file")
    return size


@contextmanager
def _open(path: str, stored: bytes) -> Iterator[fits.HDUList]:
    """A file's parts, pixels as they are stored; bytes that were read are what is shown and hashed."""
    try:
        if stored[:2] == GZIP:
            stored = gzip.decompress(stored)
        with (
            io.BytesIO(stored) if stored else open(path, "rb") as file,
            fits.open(file, do_not_scale_image_data=True) as hdus,
        ):
            yield hdus
    except ImageError:
        raise
    except Exception as error:  # astropy and its decompression raise many kinds on damaged files
        words = " ".join(str(error).split()) or type(error).__name__
        raise ImageError("not a FITS file" if "SIMPLE" in words else f"damaged FITS file: {words}") from None


def _find_image(hdus: fits.HDUList, extension: Extension) -> Any:
    """The first image, or the one of that number or name."""
    wanted = "" if extension is None else str(extension).strip().upper()
    there = []
    for number, hdu in enumerate(hdus):
        if not hdu.is_image or len(hdu.shape) not in (2, 3):
            continue
        if wanted not in ("", str(number), hdu.name.upper()):
            there.append(f"{number} ({hdu.name})" if hdu.name else str(number))
            continue
        if isinstance(hdu, fits.CompImageHDU) and hdu.compression_type not in TILES:
            raise ImageError(f"tiles of kind {hdu.compression_type} are not read: unpack the file (funpack)")
        _check_whole(hdu)
        return hdu
    found = f"the images are {', '.join(there)}" if there else "there is no 2-D or 3-D image at all"
    raise ImageError(f"no image in extension {extension!r}; {found}" if wanted else found)


def _check_whole(hdu: Any) -> None:
    """Whether the data that the header announces are there: astropy would only warn."""
    place = hdu.fileinfo()
    size = place["file"].size
    # the last block may lack its filling; of compressed data the header announces the pixels, not the bytes
    end = place["datLoc"] + (place["datSpan"] - BLOCK + 1 if isinstance(hdu, fits.CompImageHDU) else hdu.size)
    if end > size and not place["file"].compression:
        raise ImageError(f"cut short: {size} bytes, and its header announces at least {end}")


def _find_band_axis(shape: tuple[int, ...]) -> int | None:
    """0 or 2, None for one band."""
    if len(shape) == 2:
        return None
    for axis, others in ((0, shape[1:]), (2, shape[:2])):
        if shape[axis] <= MAX_BANDS and 2 * shape[axis] < min(others):
            return axis
    sides = " x ".join(map(str, shape))
    raise ImageError(f"data of {sides} pixels: neither the first nor the last axis is short enough to be the bands")


def _choose_bands(bands: Sequence[str | int], header: fits.Header, n_planes: int) -> list[int]:
    if len(bands) == n_planes == 1:  # the one band of a file, whatever it is called
        return [0]
    letters = list(str(header.get("BANDS", "")).strip())
    names = letters if len(letters) == n_planes else [str(number) for number in range(n_planes)]
    chosen = []
    for band in map(str, bands):
        if band not in names and not (band.isdecimal() and int(band) < n_planes):
            raise ImageError(f"no band {band!r} among {n_planes} planes. {did_you_mean(band, names)}")
        chosen.append(names.index(band) if band in names else int(band))
    return chosen


@np.errstate(over="ignore", invalid="ignore")
def _to_float(pixels: Array, header: fits.Header) -> Array:
    """Scaled float32, NaN where missing."""
    if pixels.dtype.kind == "f":
        values = pixels.astype(pixels.dtype.newbyteorder("="))
        missing = ~(np.abs(values) < HUGE) | (values == 0)
    else:
        values = pixels.astype(np.float64)
        missing = pixels == header.get("BLANK", header.get("ZBLANK"))
    np.copyto(values, np.nan, where=missing)
    scale, zero = header.get("BSCALE", 1), header.get("BZERO", 0)
    if (scale, zero) != (1, 0):
        values = values * scale + zero
    return values.astype(np.float32, copy=False)


def _join(pieces: list[Array], names: list[str], part: _Part) -> Array:
    """One plane a file; cut-outs on grids of their own may differ by one pixel."""
    for piece, name in zip(pieces, names, strict=True):
        if len(piece) > 1:
            raise ImageError(f"{name}: {len(piece)} planes, where each file is one band")
    shapes = np.array([piece.shape[1:] for piece in pieces])
    height, width = shapes.min(axis=0)
    if (np.ptp(shapes, axis=0) > (0 if part.cutout is None else 1)).any():
        sizes = ", ".join(f"{name} {w} x {h}" for name, (h, w) in zip(names, shapes, strict=True))
        raise ImageError(f"bands of different sizes in pixels: {sizes}; bring them to one grid first")
    return np.concatenate([piece[:, :height, :width] for piece in pieces])


def _check_size(height: int, width: int) -> None:
    check_sides(height, width)
    if height * width > MAX_PIXELS:
        raise ImageError(f"too large: {width} x {height} pixels; give the side of a cut-out")


def _check_missing(planes: Array, names: Sequence[str | int], max_missing: float) -> None:
    shares = np.isnan(planes).mean(axis=(1, 2))
    worst = int(np.argmax(shares))
    if shares[worst] > max_missing:
        band = f" of band {names[worst] if len(names) == len(planes) else worst}" if len(planes) > 1 else ""
        share = f"{100 * shares[worst]:.0f} % of the pixels{band} are missing (not finite, blank or exactly 0)"
        raise ImageError(f"{share}; at most {100 * max_missing:g} % may be")
