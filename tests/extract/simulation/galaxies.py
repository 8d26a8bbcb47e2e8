"""One plain galaxy to change, measures of an image, and instruments without noise."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from extract.simulation.field import Neighbours
from extract.simulation.instruments import INSTRUMENTS, Instrument

PLAIN = {
    "galaxy": 0, "kind": "spiral", "mag_r": 15.0, "absmag_r": -21.0, "redshift": 0.0, "reddening": 0.0,
    "colour_offset": 0.0, "petro_r50": 4.0, "petro_r90": 9.0, "position_angle": 0.0, "inclination": 0.0,
    "axis_ratio": 1.0, "thickness": 0.1, "bulge_fraction": 0.0, "bulge_radius": 1.0, "bulge_sersic": 2.0,
    "bulge_axis_ratio": 1.0, "bulge_boxy": False, "disk_scale": 2.5, "disk_axis_ratio": 1.0, "disk_old": 0.3,
    "bar_strength": 0.0, "bar_length": 2.5, "bar_angle": 0.0, "arms": 0, "arm_strength": 0.0, "arm_width": 2.0,
    "pitch": 20.0, "handedness": 1, "knots": 0.0, "ring_strength": 0.0, "ring_radius": 5.0, "odd": "",
    "odd_strength": 0.0, "companion_ratio": 0.4, "companion_distance": 7.0, "companion_angle": 50.0,
}  # fmt: skip
SPIRAL = {"bulge_fraction": 0.2, "arms": 2, "arm_strength": 0.8, "bar_strength": 0.2, "knots": 0.2,
          "ring_strength": 0.3}  # fmt: skip
ALONE = Neighbours(*np.zeros((7, 0)))


def make_galaxy(**changes: Any) -> SimpleNamespace:
    assert set(changes) <= set(PLAIN)
    return SimpleNamespace(**PLAIN | changes)


def list_galaxies(truth: pd.DataFrame) -> list[Any]:
    return list(truth.itertuples())


def make_quiet(survey: str) -> Instrument:
    """The survey's instrument without noise, saturation and smoothing."""
    instrument = INSTRUMENTS[survey]
    bands = tuple(replace(band, noise=1e-9, electrons=1e15) for band in instrument.bands)
    return replace(instrument, bands=bands, saturation=np.inf, smoothing=0.0)


def measure_moments(image: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Centroid (x, y) in pixels, axis ratio, and the major axis' angle in degrees from x towards y (down)."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    weights = image.astype(float) / image.sum(dtype=float)
    centre = np.array([(weights * x).sum(), (weights * y).sum()])
    offsets = np.stack([x - centre[0], y - centre[1]]).reshape(2, -1)
    values, vectors = np.linalg.eigh((weights.ravel() * offsets) @ offsets.T)
    angle = float(np.rad2deg(np.arctan2(vectors[1, 1], vectors[0, 1])) % 180)
    return centre, float(np.sqrt(values[0] / values[1])), angle
