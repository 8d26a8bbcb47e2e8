"""Galaxies' pictures, small enough to stand in a page."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from embeddings.search.rows import Rows
from extract.processes import count_cpus
from extract.references import Reference
from extract.rendering import Rendering

QUALITY = 80  # of the JPEGs
SHOWN_BY_BROWSERS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")


def encode_thumbnail(rendering: Rendering, path: str, side: int, ra: float = np.nan, dec: float = np.nan) -> str:
    """
    A picture as the backbone saw it, as a ``data:`` address.

    Parameters
    ----------
    rendering : Rendering
        Of the store that it is in.
    path : str
        As `Reference` reads it.
    side : int
        Of the square that it is fitted into, in pixels.
    ra, dec : float
        Degrees ICRS; for cut-outs.

    Returns
    -------
    str
        Empty where the picture cannot be read.
    """
    _, image = rendering.load(path, ra, dec)
    return "" if isinstance(image, str) else encode_picture(Image.fromarray(image), side)


def encode_picture(picture: Image.Image, side: int) -> str:
    """A picture as a ``data:`` address, fitted into a square of some pixels."""
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def make_thumbnails(rows: Rows, positions: np.ndarray, side: int) -> Iterator[str]:
    """The thumbnails of some rows, in order, several at a time."""
    renderings = [Rendering.from_dict(store.provenance.images) for store in rows.stores]
    ra, dec = rows.column("ra"), rows.column("dec")

    def make(position: int, path: str) -> str:
        place = float(ra[position]), float(dec[position])
        return encode_thumbnail(renderings[int(rows.store[position])], path, side, *place)

    with ThreadPoolExecutor(count_cpus()) as pool:
        yield from pool.map(make, positions.tolist(), find_pictures(rows, positions))


def find_pictures(rows: Rows, positions: np.ndarray) -> list[str]:
    """Where the images of some rows are, as `Reference` reads it."""
    images, roots = rows.text("image", positions), rows.column("image_root")[positions]
    stores = [rows.stores[number] for number in rows.store[positions]]
    return [
        os.path.join((store.header.image_roots or ("",))[root], image)
        for store, root, image in zip(stores, roots.tolist(), images, strict=True)
    ]


def name_address(path: str) -> str:
    """The ``file:`` address of a picture that browsers show as it is; empty for others."""
    reference = Reference.parse(path)
    if reference.row is not None or not reference.path.lower().endswith(SHOWN_BY_BROWSERS):
        return ""
    return Path(os.path.abspath(reference.path)).as_uri()
