"""From a survey's planes to the picture that its Galaxy Zoo release shows, and to the file it is kept in."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from extract.simulation.instruments import FRAME
from extract.simulation.observation import Observation
from extract.stretch import Stretch

Array = np.ndarray[Any, Any]

QUALITY = 75  # of GZ2's JPEGs, read off their quantisation tables
TILE_QUALITY = 70  # of the tiles that these are enlarged from: it gives noise the grain that they show
SMALL_QUALITY = 92  # a smaller picture stands for a larger one that was shrunk, and its traces of JPEG with it
# units of g, r, i in the ratio of Lupton et al. 2004; brightness and black set by what GZ2's pictures show
SDSS = Stretch.parse("lupton:minimum=0.018/0.006/0.0155,stretch=0.166/0.296/0.343,Q=9.5")
UKIDSS = Stretch.parse("lupton:minimum=0/0/0,stretch=1.5/1.75/2.1,Q=10")
DECALS = Stretch("dr2")


def draw_picture(survey: str, observation: Observation, size: int = FRAME) -> Image.Image:
    """
    The frame as Galaxy Zoo shows it.

    GZ2 and GZ UKIDSS enlarge a finished picture, GZ DECaLS resamples the planes and colours them after.

    Parameters
    ----------
    survey : {'sdss', 'decals', 'ukidss'}
    observation : Observation
    size : int
        Pixels a side.
    """
    if survey == "decals":
        planes = np.stack([_resize(plane, observation, size, Image.Resampling.LANCZOS) for plane in observation.planes])
        return Image.fromarray(DECALS.render(planes[:, ::-1]))  # FITS begins at the bottom
    stretch = SDSS if survey == "sdss" else UKIDSS
    native = Image.fromarray(stretch.render(observation.planes[:, ::-1]))
    if survey == "sdss":
        native = _compress(native, TILE_QUALITY)
    return native.resize((size, size), Image.Resampling.BILINEAR, box=observation.box)


def _compress(picture: Image.Image, quality: int) -> Image.Image:
    """As JPEG leaves it."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def _resize(plane: Array, observation: Observation, size: int, how: Image.Resampling) -> Array:
    return np.asarray(Image.fromarray(plane).resize((size, size), how, box=observation.box))


def encode_picture(survey: str, picture: Image.Image) -> bytes:
    """The bytes of the file: JPEG of GZ2 and GZ UKIDSS, PNG of GZ DECaLS."""
    buffer = io.BytesIO()
    if survey == "decals":
        picture.save(buffer, "PNG", compress_level=1)
    else:
        picture.save(buffer, "JPEG", quality=QUALITY if picture.width >= FRAME else SMALL_QUALITY)
    return buffer.getvalue()


def write_picture(path: Path, content: bytes) -> None:
    """Put a picture in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
