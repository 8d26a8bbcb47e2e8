"""A sky in no time: the releases' files with random votes and blobs, for all that does not look at galaxies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import draw_galaxy
from tests.extract import galaxy_zoo


def write_sky(folder: Path, galaxies: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three releases of the same galaxies."""
    rng = np.random.default_rng(seed)

    def draw(path: Path, number: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_galaxy(rng, 32)).save(path)

    for name, value in (("N", galaxies), ("RA", rng.uniform(0, 360, galaxies)),
                        ("DEC", rng.uniform(-60, 60, galaxies)), ("draw_image", draw)):  # fmt: skip
        monkeypatch.setattr(galaxy_zoo, name, value)
    galaxy_zoo.write_sdss(folder / "sdss")
    galaxy_zoo.write_decals(folder / "decals", redshift=0.05, wrong_size_warning=False)
    galaxy_zoo.write_ukidss(folder / "ukidss")
