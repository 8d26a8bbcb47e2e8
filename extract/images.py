"""Image files as 8-bit RGB arrays."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from embeddings.errors import SommelierError
from extract.references import FITS_SUFFIXES

Array = np.ndarray[Any, Any]

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif")
MAX_ASPECT = 32  # long side over short: `hf` keeps it, and a strip of millions of pixels would fill the memory
MIN_SIDE = 8  # pixels: less is a placeholder, not a galaxy
NO_FILE = bytes(32)

# goes into the provenance: a change of any rule below must change this record
DECODING = {
    "range": "8-bit RGB; 16-bit grey scaled by 1/257, 16-bit colour by its high byte",
    "alpha": "composited over black",
    "stretch": None,
    "bands": None,
    "cutout": None,
}


class ImageError(SommelierError):
    """An image that cannot be used: the reason becomes the row's status."""


def read_image(path: str) -> bytes:
    """
    Read a file.

    Raises
    ------
    ImageError
        When it is missing or unreadable.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise ImageError("no such file") from None
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}") from None


def decode_image(data: bytes, name: str = "") -> Array:
    """
    Decode JPEG, PNG and whatever else Pillow reads.

    Parameters
    ----------
    data : bytes
    name : str
        The file's name, for a better message.

    Returns
    -------
    (height, width, 3) uint8 array

    Raises
    ------
    ImageError
        When the bytes are not a whole image.
    """
    if not data:
        raise ImageError("empty file")
    image = _decode_jpeg(data) if data[:3] == b"\xff\xd8\xff" else None
    if image is None:
        image = _decode_pillow(data, name)
    check_sides(*image.shape[:2])
    return image


def check_sides(height: int, width: int) -> None:
    """
    Refuse placeholders and strips.

    Raises
    ------
    ImageError
    """
    if min(height, width) < MIN_SIDE:
        raise ImageError(f"{width} x {height} pixels; at least {MIN_SIDE} x {MIN_SIDE} are needed")
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise ImageError(f"{width} x {height} pixels: a strip, not a cut-out")


def _decode_jpeg(data: bytes) -> Array | None:
    """The fast way (the same bytes as Pillow); None for whatever needs Pillow's care or its words."""
    try:
        height, width, colourspace, _ = simplejpeg.decode_jpeg_header(data)
        if colourspace not in ("YCbCr", "Gray"):
            return None
        _check_pixels(width, height)
        return np.asarray(simplejpeg.decode_jpeg(data))
    except ValueError:
        return None


def _decode_pillow(data: bytes, name: str) -> Array:
    kind = os.path.splitext(name)[1] or "file"
    if data[:6] == b"SIMPLE":  # Pillow would show its integers as they are
        raise ImageError(f"{kind} is FITS under another name: it must end in {', '.join(FITS_SUFFIXES)}")
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check_pixels(*image.size)
            image.load()
            return _to_rgb(image)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"too large: {error}") from None
    except UnidentifiedImageError:
        raise ImageError(f"{kind} is not an image") from None
    except Exception as error:  # Pillow's plugins raise many kinds on damaged files
        raise ImageError(f"cannot be decoded: {error}") from None


def _check_pixels(width: int, height: int) -> None:
    """Refuse what Pillow only warns of; warning filters are no help, threads share them."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise ImageError(f"too large: {width} x {height} pixels; at most {limit} are read")


def _to_rgb(image: Image.Image) -> Array:
    """8-bit RGB by the rules in `DECODING`."""
    converter: dict[str, Callable[[Image.Image], Array]] = {
        "F": _refuse_float,
        **dict.fromkeys(("I;16", "I;16L", "I;16B", "I"), _scale_16bit),
        **dict.fromkeys(("RGBA", "LA", "La", "RGBa", "PA"), _over_black),
    }
    if image.mode in converter:
        return converter[image.mode](image)
    if "transparency" in image.info:  # of a palette's entries, or one colour of a grey or RGB image
        return _over_black(image)
    return np.asarray(image.convert("RGB"))


def _scale_16bit(image: Image.Image) -> Array:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"32-bit integers from {values.min()} to {values.max()} need a stretch; save 8 or 16 bits")
    grey = ((values + 128) // 257).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _over_black(image: Image.Image) -> Array:
    rgba = image.convert("RGBA")
    black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
    return np.asarray(Image.alpha_composite(black, rgba).convert("RGB"))


def _refuse_float(image: Image.Image) -> Array:
    raise ImageError("floating-point pixels need a stretch; save 8 or 16 bits")
