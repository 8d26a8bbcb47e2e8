"""The sky around a galaxy: stars and other galaxies, the same for every survey that looks there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from extract.simulation.galaxy import Grid, add_point, turn
from extract.simulation.instruments import Band, light_in_bands
from extract.simulation.profiles import sersic

Array = np.ndarray[Any, Any]

# set so that frames have about as many objects as real ones: in a square arcmin at high galactic latitude, brighter
# than r = 23.5, and log10 of how counts grow a magnitude
STARS, STAR_SLOPE = 6.0, 0.24
GALAXIES, GALAXY_SLOPE = 12.0, 0.42
BRIGHT_STAR, BRIGHT_GALAXY, FAINT = 13.0, 15.5, 23.5
CLEAR = 4.0  # arcsec around the middle without a neighbour, but for what is named odd
GLARE = 0.35  # of the frame's side: how far a bright star's light reaches
OUTSHINES = 6.0  # times the galaxy's light: from there on a star spoils its frame
NEIGHBOUR_REDSHIFT = 0.15
STAMP = 5.0  # half-light radii to which a neighbour is drawn


@dataclass(frozen=True)
class Neighbours:
    """Stars and galaxies around the middle: places in arcsec, light in nanomaggies in r, and colour."""

    x: Array
    y: Array
    flux: Array
    colour: Array
    size: Array
    shape: Array
    angle: Array

    @classmethod
    def draw(cls, side: float, rng: np.random.Generator) -> Neighbours:
        """
        Fill a square of sky.

        Parameters
        ----------
        side : float
            Arcsec.
        rng : Generator
        """
        area = (side / 60) ** 2
        crowd = np.exp(rng.normal(0, 0.4, 2))  # fields differ: latitude for stars, clusters for galaxies
        stars, galaxies = rng.poisson(np.array([STARS, GALAXIES]) * area * crowd)
        n = stars + galaxies
        star = np.arange(n) < stars
        faint_stars = _draw_magnitudes(rng, n, BRIGHT_STAR, STAR_SLOPE)
        mag = np.where(star, faint_stars, _draw_magnitudes(rng, n, BRIGHT_GALAXY, GALAXY_SLOPE))
        size = np.where(star, 0.0, 10 ** (-0.1 * (mag - 19)) * 1.3 * np.exp(rng.normal(0, 0.3, n)))
        x, y = rng.uniform(-side / 2, side / 2, (2, n))
        near = np.hypot(x, y) < CLEAR
        flux = np.where(near, 0.0, 10 ** (-0.4 * (mag - 22.5)))
        return cls(x, y, flux, rng.random(n) ** 1.7, size, rng.uniform(0.3, 1.0, n), rng.uniform(0, 180, n))

    def paint(self, planes: Array, grid: Grid, bands: tuple[Band, ...]) -> None:
        """Add the light to (n_bands, size, size) planes, nanomaggies a pixel: stars as points, galaxies as disks."""
        columns, rows = grid.locate(self.x, self.y)
        inside = (self.flux > 0) & (columns > 1) & (rows > 1) & (columns < grid.size - 2) & (rows < grid.size - 2)
        for number in np.flatnonzero(inside).tolist():
            point, colour = self.size[number] == 0, self.colour[number]
            light = star_light(colour, bands) if point else light_in_bands(colour, bands, NEIGHBOUR_REDSHIFT)
            light = (light * self.flux[number]).astype(np.float32)
            if point:
                add_point(planes, columns[number], rows[number], light)
            else:
                self._add_galaxy(planes, grid.step, number, columns[number], rows[number], light)

    def measure_glare(self, flux: float, side: float) -> float:
        """How much the worst neighbour outshines a galaxy of so many nanomaggies, from 0 to 1: less from far away."""
        worst = float(np.max(self.flux * np.exp(-(self.x**2 + self.y**2) / (GLARE * side) ** 2), initial=0) / flux)
        return worst**2 / (worst**2 + OUTSHINES**2)

    def _add_galaxy(self, planes: Array, step: float, number: int, column: float, row: float, light: Array) -> None:
        size = self.size[number]
        reach = max(int(STAMP * size / step), 2)
        left, top = max(int(column) - reach, 0), max(int(row) - reach, 0)
        window = slice(top, int(row) + reach + 2), slice(left, int(column) + reach + 2)
        height, width = planes[0][window].shape
        x = (np.arange(left, left + width, dtype=np.float32)[None] - np.float32(column)) * step
        y = (np.arange(top, top + height, dtype=np.float32)[:, None] - np.float32(row)) * step
        along, across = turn(x, y, self.angle[number])
        image = sersic(np.hypot(along, across / self.shape[number]) + 0.1 * step, size, 1.0)
        planes[(slice(None), *window)] += light[:, None, None] * (image / image.sum()).astype(np.float32)


def star_light(place: float, bands: tuple[Band, ...]) -> Array:
    """(n_bands,) light relative to r of a star at a place from 0 to 1 along the stellar locus, blue to red."""
    # g-r and r-i of Covey et al. 2007, AJ 134, 2398, roughly; the rest continues them to the near infrared
    magnitudes = {
        "g": np.interp(place, [0, 0.5, 0.65, 1], [0.25, 0.65, 1.35, 1.5]), "r": 0.0,
        "i": -np.interp(place, [0, 0.5, 0.65, 1], [0.05, 0.22, 0.5, 1.2]),
        "z": -np.interp(place, [0, 0.5, 0.65, 1], [0.05, 0.32, 0.8, 1.9]),
        "Y": -np.interp(place, [0, 0.5, 0.65, 1], [0.0, 0.3, 0.95, 2.3]),
        "J": -np.interp(place, [0, 0.5, 0.65, 1], [0.05, 0.45, 1.2, 2.7]),
        "K": -np.interp(place, [0, 0.5, 0.65, 1], [-0.6, 0.2, 1.1, 2.7]),
    }  # fmt: skip
    return np.asarray([10 ** (-0.4 * float(magnitudes[band.name])) for band in bands])


def _draw_magnitudes(rng: np.random.Generator, n: int, bright: float, slope: float) -> Array:
    """Magnitudes whose counts grow by 10^(slope m) down to `FAINT`."""
    span = 1 - 10 ** (slope * (bright - FAINT))
    return np.asarray(FAINT + np.log10(1 - span * rng.random(n)) / slope)
