"""From a galaxy's numbers to layers of light: bulge, disk, bar, arms, ring, knots and what is odd about it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from extract.simulation.petrosian import disk_profile
from extract.simulation.profiles import edge_on_disk, ferrers_bar, sersic, spiral_pattern

Array = np.ndarray[Any, Any]

EDGE_ON = 80.0  # degrees of inclination from which the disk's height is what one sees
CORE, FINER = 5, 7  # pixels around the centre, each drawn as 7 x 7: a steep bulge is not its value in the middle
RING_WIDTH = 0.14  # of its radius, standard deviation
KNOTS = 14  # bright regions of young stars a galaxy has on average
YOUNG = 0.05  # share of old stars' light in knots and tails
# optical depths of a dust lane, in the ratios of Cardelli, Clayton & Mathis 1989, ApJ 345, 245
LANE = {"g": 1.3, "r": 0.95, "i": 0.7, "z": 0.55, "Y": 0.45, "J": 0.3, "K": 0.12}


@dataclass(frozen=True)
class Grid:
    """
    Square pixels around a galaxy.

    Parameters
    ----------
    size : int
        Pixels a side.
    step : float
        Arcsec a pixel.
    shift : (float, float)
        Where the galaxy is, in pixels from the middle.
    """

    size: int
    step: float
    shift: tuple[float, float] = (0.0, 0.0)

    @cached_property
    def axes(self) -> tuple[Array, Array]:
        """Places in arcsec from the galaxy: x to the right (1, size) and y down (size, 1)."""
        ticks = np.arange(self.size, dtype=np.float32) - (self.size - 1) / 2
        return (ticks - self.shift[0])[None, :] * self.step, (ticks - self.shift[1])[:, None] * self.step

    def locate(self, x: Array, y: Array) -> tuple[Array, Array]:
        """The column and row, in pixels, of places in arcsec from the galaxy."""
        middle = (self.size - 1) / 2
        return np.asarray(x) / self.step + middle + self.shift[0], np.asarray(y) / self.step + middle + self.shift[1]


@dataclass(frozen=True)
class Layer:
    """Light of one part of a galaxy: an image whose sum is one, its share of the r light, and how much of it is old."""

    name: str
    light: Array
    share: float
    old: float


def turn(x: Array, y: Array, degrees: float) -> tuple[Array, Array]:
    """Coordinates along and across an axis at so many degrees."""
    cosine, sine = np.float32(np.cos(np.deg2rad(degrees))), np.float32(np.sin(np.deg2rad(degrees)))
    return x * cosine + y * sine, y * cosine - x * sine


def normalise(light: Array) -> Array:
    """Sum one; nothing stays nothing."""
    total = float(light.sum(dtype=np.float64))
    return np.asarray(light / np.float32(total)) if total > 0 else light


def add_point(planes: Array, column: float, row: float, light: Array) -> None:
    """Add (n_bands,) light to (n_bands, size, size) planes between four pixels, by how near each is."""
    left, top = int(column), int(row)
    right, below = column - left, row - top
    share = np.outer([1 - below, below], [1 - right, right]).astype(np.float32)
    planes[:, top : top + 2, left : left + 2] += light[:, None, None] * share


class GalaxyLayers:
    """
    The layers of one galaxy on a grid.

    Parameters
    ----------
    galaxy : object
        With the columns of `draw_population` as attributes.
    grid : Grid
    rng : Generator
        Of what has no number of its own: where knots are. The same for every survey.
    """

    def __init__(self, galaxy: Any, grid: Grid, rng: np.random.Generator) -> None:
        self.galaxy, self.grid = galaxy, grid
        self._rng = rng
        self.along, self.across = turn(*grid.axes, galaxy.position_angle)
        warp: Array = np.float32(1) * np.ones((1, 1), np.float32)
        if galaxy.odd in ("disturbed", "merger", "irregular"):  # lopsided: one side reaches further out
            angle = np.arctan2(self.across, self.along) - np.float32(np.deg2rad(galaxy.companion_angle))
            warp = 1 + np.float32(0.35 * galaxy.odd_strength) * np.cos(angle)
        self.deprojected = self.across / np.float32(galaxy.disk_axis_ratio)
        self.radius = np.hypot(self.along, self.deprojected) * warp
        self.disk = self._draw_disk()

    @cached_property
    def angle(self) -> Array:
        """In the plane of the disk."""
        return np.arctan2(self.deprojected, self.along)

    @cached_property
    def layers(self) -> list[Layer]:
        """All that has light; shares add up to one, a companion comes on top."""
        g = self.galaxy
        disk = 1 - g.bulge_fraction
        found = [Layer("bulge", self._draw_bulge(), g.bulge_fraction, 1.0)]
        parts = [("bar", self._draw_bar, g.bar_strength, min(g.disk_old + 0.3, 1.0)),
                 ("ring", self._draw_ring, g.ring_strength, 0.5 * g.disk_old),
                 ("arms", self._draw_arms, 0.75 * g.arm_strength, 0.35 * g.disk_old),
                 ("knots", self._draw_knots, g.knots, YOUNG)]  # fmt: skip
        if g.odd in ("disturbed", "lens-or-arc", "other"):
            parts.append(("odd", self._draw_odd, 0.3 * g.odd_strength, YOUNG + 0.5 * g.disk_old))
        rest = disk
        for name, draw, share, old in parts:
            if share > 0 and disk > 0 and (light := draw()).any():  # a thin bar may lie between pixels
                found.append(Layer(name, light, share * rest, old))
                rest -= share * rest
        found.append(Layer("disk", normalise(self.disk), rest, g.disk_old))
        if g.odd == "merger":
            found += self._draw_companion()
        return [layer for layer in found if layer.share > 1e-4]

    @cached_property
    def smooth_arms(self) -> Array:
        """The light of the arms, spread evenly in azimuth: what the arms are the contrast to."""
        return normalise(self.disk * self._arm_envelope)

    @cached_property
    def even_disk(self) -> Array:
        """The disk as it were if it were not lopsided."""
        return normalise(disk_profile(np.hypot(self.along, self.deprojected) / np.float32(self.galaxy.disk_scale)))

    def transmit(self, band: str) -> Array | None:
        """What a dust lane lets through in a band, (size, size); None where there is none."""
        g = self.galaxy
        if g.odd != "dust-lane":
            return None
        height = np.float32(max(0.09 * g.disk_scale, 0.3))
        lane = np.exp(-0.5 * ((self.across - 0.4 * height) / height) ** 2 - (self.along / (2.5 * g.disk_scale)) ** 2)
        return np.asarray(np.exp(-np.float32(1.4 * LANE[band] * g.odd_strength) * lane))

    def _draw_disk(self) -> Array:
        g = self.galaxy
        if g.inclination > EDGE_ON:
            height = 2 * g.thickness * g.disk_scale  # of sech2, which falls as an exponential of half of it
            return edge_on_disk(self.along, self.across, g.disk_scale, height).astype(np.float32)
        return disk_profile(self.radius / np.float32(g.disk_scale))

    def _draw_bulge(self) -> Array:
        """An elliptical Sersic profile; its centre is drawn finer."""
        g, grid = self.galaxy, self.grid

        def profile(along: Array, across: Array) -> Array:
            ratio = g.bulge_axis_ratio
            if g.bulge_boxy and g.inclination > EDGE_ON:
                radius = (np.abs(along) ** 3.5 + np.abs(across / ratio) ** 3.5) ** (1 / 3.5)
            else:
                radius = np.hypot(along, across / ratio)
            return sersic(radius * np.sqrt(ratio), g.bulge_radius, g.bulge_sersic)

        light = profile(self.along, self.across).astype(np.float32)
        middle = (grid.size - 1) / 2 + np.array(grid.shift[::-1])
        top, left = np.rint(middle).astype(int) - CORE // 2
        x, y = grid.axes
        fine = (np.arange(FINER, dtype=np.float32) - (FINER - 1) / 2) / FINER * grid.step
        finer_x = (x[0, left : left + CORE, None] + fine).reshape(1, -1)
        finer_y = (y[top : top + CORE, 0, None] + fine).reshape(-1, 1)
        finer = profile(*turn(finer_x, finer_y, g.position_angle))
        light[top : top + CORE, left : left + CORE] = finer.reshape(CORE, FINER, CORE, FINER).mean(axis=(1, 3))
        return normalise(light)

    def _draw_bar(self) -> Array:
        g = self.galaxy
        along, across = turn(self.along, self.deprojected, g.bar_angle)
        return normalise(ferrers_bar(along, across, g.bar_length, max(0.3 * g.bar_length, 0.4)).astype(np.float32))

    def _draw_ring(self) -> Array:
        g = self.galaxy
        offset = (self.radius - g.ring_radius) / (RING_WIDTH * g.ring_radius)
        return normalise(np.exp(-0.5 * offset**2).astype(np.float32))

    @cached_property
    def _arm_envelope(self) -> Array:
        """Arms begin outside the bar or bulge and fade in the outer disk."""
        g = self.galaxy
        begin = 0.8 * g.bar_length if g.bar_strength > 0 else 0.5 * g.disk_scale
        inner = 1 / (1 + np.exp(-(self.radius - begin) / np.float32(0.15 * g.disk_scale)))
        return np.asarray(inner * np.exp(0.55 * np.minimum(self.radius / np.float32(g.disk_scale), 4)))

    def _draw_arms(self) -> Array:
        """Logarithmic arms that are not quite regular: they wave, and one is brighter."""
        g = self.galaxy
        wave = 0.25 * np.sin(3 * np.log(np.maximum(self.radius, 0.1)) + self._rng.uniform(0, 6.3))
        wave = (wave + 0.15 * np.sin(2 * self.angle + self._rng.uniform(0, 6.3))).astype(np.float32)
        pattern = spiral_pattern(
            self.radius, self.angle + wave, int(g.arms), g.handedness * g.pitch, g.disk_scale, g.arm_width
        )
        uneven = 1 + 0.3 * np.cos(self.angle + self._rng.uniform(0, 6.3))
        return normalise((self.disk * self._arm_envelope * pattern * uneven).astype(np.float32))

    def _draw_knots(self) -> Array:
        """Regions of young stars: points of very different brightness, along the arms where there are some."""
        g, grid = self.galaxy, self.grid
        number = max(int(self._rng.poisson(KNOTS)), 3)
        radius = g.disk_scale * self._rng.gamma(3.0, 0.6, number)
        angle = self._rng.uniform(0, 2 * np.pi, number)
        if g.arms:
            arm = 2 * np.pi * self._rng.integers(g.arms, size=number) / g.arms + self._rng.normal(0, 0.2, number)
            angle = arm + np.log(radius / g.disk_scale) / np.tan(np.deg2rad(g.handedness * g.pitch))
        brightness = self._rng.pareto(1.5, number).clip(0, 15) + 0.2
        along, across = radius * np.cos(angle), radius * np.sin(angle) * g.disk_axis_ratio
        x, y = turn(along, across, -g.position_angle)
        light = np.zeros((1, grid.size, grid.size), np.float32)
        for column, row, bright in zip(*grid.locate(x, y), brightness, strict=True):
            if min(column, row) > 1 and max(column, row) < grid.size - 2:
                add_point(light, column, row, np.array([bright], np.float32))
        return normalise(light[0])

    def _draw_odd(self) -> Array:
        """A tidal tail, an arc, or a bright patch where none should be."""
        g = self.galaxy
        start = np.deg2rad(g.companion_angle)
        if g.odd == "lens-or-arc":
            ridge = np.exp(-0.5 * ((self.radius - 1.3 * g.companion_distance) / 0.6) ** 2)
            return normalise((ridge * np.exp(3 * (np.cos(self.angle - start) - 1))).astype(np.float32))
        if g.odd == "other":
            x, y = np.cos(start) * 0.6 * g.companion_distance, np.sin(start) * 0.6 * g.companion_distance
            distance = (self.along - x) ** 2 + (self.deprojected - y) ** 2
            return normalise(np.exp(-0.5 * distance / (0.25 * g.disk_scale) ** 2).astype(np.float32))
        return self._draw_tail(start)

    def _draw_tail(self, start: float) -> Array:
        g = self.galaxy
        pattern = spiral_pattern(self.radius, self.angle - start, 1, g.handedness * 38.0, g.disk_scale, 3.5)
        reach = np.exp(-self.radius / np.float32(2.2 * g.disk_scale)) * (self.radius > 0.8 * g.disk_scale)
        return normalise((pattern * reach).astype(np.float32))

    def _draw_companion(self) -> list[Layer]:
        """A second galaxy, and the tail it pulls out."""
        g = self.galaxy
        angle = np.deg2rad(g.companion_angle)
        x, y = g.companion_distance * np.cos(angle), g.companion_distance * np.sin(angle)
        along, across = turn(self.along - np.float32(x), self.across - np.float32(y), 2 * g.companion_angle)
        size = max(0.75 * g.petro_r50 * g.companion_ratio**0.5, 0.6)
        light = sersic(np.hypot(along, across / np.float32(0.7)) + 0.05, size, 1.5).astype(np.float32)
        tail = self._draw_tail(angle)
        return [Layer("companion", normalise(light), g.companion_ratio, min(g.disk_old + 0.2, 1.0)),
                Layer("odd", tail, 0.22 * g.odd_strength, YOUNG + 0.4 * g.disk_old)]  # fmt: skip
