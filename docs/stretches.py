"""
Make docs/stretches.jpg: real FITS images as the stretches draw them, beside the pictures that came with them.

    python docs/stretches.py DATA

DATA holds ``fits_cutouts/decals_grz`` (of zooniverse/decals, MIT) and ``fits_cutouts/hsc_hst_scarlet`` (of
pmelchior/scarlet, MIT).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from extract.rendering import Rendering
from extract.stretch import Stretch

SIDE, MARGIN = 212, 18
DECALS = ("dr2", "lupton", "asinh")
CASES = (
    ("example_a", DECALS, ()),
    ("example_b", DECALS, ()),
    ("example_bad_pix", DECALS, ()),
    ("Cut_HSC1", ("lupton", "lupton:stretch=0.5", "asinh"), ("0", "1", "2")),
)


def render(path: Path, stretch: str, bands: tuple[str, ...]) -> Image.Image:
    """One tile; ``asinh`` takes the middle band alone."""
    chosen = (bands or ("0", "1", "2"))[1:2] if stretch == "asinh" else bands
    _, image = Rendering(Stretch.parse(stretch), chosen, max_missing=1.0).load(str(path))
    if isinstance(image, str):
        raise SystemExit(f"{path}: {image}")
    return Image.fromarray(np.asarray(image)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def main(data: Path) -> None:
    """Draw the sheet."""
    sheet = Image.new("RGB", (4 * SIDE, len(CASES) * (SIDE + MARGIN)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, stretches, bands) in enumerate(CASES):
        path = next(data.glob(f"fits_cutouts/*/{name}.fits"), None)
        if path is None:
            raise SystemExit(f"{data} has no fits_cutouts/*/{name}.fits")
        theirs = path.with_suffix(".jpeg")
        tiles = [(f"{name}: its JPEG", Image.open(theirs).resize((SIDE, SIDE)))] if theirs.exists() else []
        tiles += [(stretch if tiles else f"{name}: {stretch}", render(path, stretch, bands)) for stretch in stretches]
        for column, (title, tile) in enumerate(tiles):
            place = column * SIDE, row * (SIDE + MARGIN)
            draw.text((place[0] + 4, place[1] + 3), title, fill="black")
            sheet.paste(tile, (place[0], place[1] + MARGIN))
    sheet.save(Path(__file__).with_suffix(".jpg"), quality=88)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
