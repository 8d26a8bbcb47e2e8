"""A survey's look at one galaxy: seeing, pixels and noise; and how much of each feature is left to be seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import fft, ndimage

from extract.simulation.field import Neighbours
from extract.simulation.galaxy import GalaxyLayers, Grid
from extract.simulation.instruments import FRAME, Instrument, to_light
from extract.simulation.profiles import moffat
from extract.simulation.sight import colour_layer, measure_sight

Array = np.ndarray[Any, Any]

MARGIN = 12  # pixels around the frame: light that seeing carries in from outside
SEEING_SPREAD = 0.07  # of the natural logarithm, frame to frame
NOISE_SPREAD = 0.08


@dataclass(frozen=True)
class Observation:
    """
    What a telescope recorded.

    Attributes
    ----------
    planes : (3, size, size) float32 array
        Blue to red, nanomaggies per pixel of the survey's own scale, row 0 at the top.
    box : (float, float, float, float)
        The frame inside: left, top, right, bottom in pixels.
    sight : dict of str to float
        What is left to be seen, as `extract.simulation.sight.measure_sight` gives it.
    """

    planes: Array
    box: tuple[float, float, float, float]
    sight: dict[str, float]


def observe_galaxy(
    galaxy: Any,
    instrument: Instrument,
    side: float,
    size: int,
    sky: np.random.SeedSequence,
    own: np.random.SeedSequence,
) -> Observation:
    """
    Let a survey look at a galaxy.

    Parameters
    ----------
    galaxy : object
        With the columns of `draw_population` as attributes.
    instrument : Instrument
    side : float
        Of the frame, arcsec.
    size : int
        Pixels of the picture that is to be made: a frame whose pixels are larger than two of the survey's is drawn in
        bins of them.
    sky, own : SeedSequence
        Of what all surveys see there, and of this look alone.
    """
    rng = np.random.default_rng(own)
    bins = max(1, int(side / size / instrument.pixel_scale))
    inner = side / (instrument.pixel_scale * bins)
    pixels = int(fft.next_fast_len(int(np.ceil(inner)) + 2 * MARGIN, real=True))
    shift = float(rng.uniform(-0.5, 0.5)), float(rng.uniform(-0.5, 0.5))
    grid = Grid(pixels, instrument.pixel_scale * bins, shift)
    layers = GalaxyLayers(galaxy, grid, _child_of(sky, 0))
    neighbours = Neighbours.draw(_widest_frame(galaxy), _child_of(sky, 1))
    optics = [_blur(instrument, band.seeing * np.exp(rng.normal(0, SEEING_SPREAD)), grid) for band in instrument.bands]
    planes = _add_layers(layers, instrument)
    neighbours.paint(planes, grid, instrument.bands)
    spectra = fft.rfft2(planes, axes=(1, 2)) * np.stack(optics)
    planes = fft.irfft2(spectra, s=(pixels, pixels), axes=(1, 2)).astype(np.float32)
    planes = _record(planes, instrument, bins, rng)
    left, top = (pixels - inner) / 2 + np.array(shift)
    sight = measure_sight(layers, instrument, optics[1], bins)
    sight["artifact"] = neighbours.measure_glare(to_light(galaxy.mag_r), side)
    return Observation(planes, (float(left), float(top), float(left + inner), float(top + inner)), sight)


def _child_of(sky: np.random.SeedSequence, number: int) -> np.random.Generator:
    """As `spawn` makes it, which counts its children and gives others at a second look."""
    return np.random.default_rng(np.random.SeedSequence(sky.entropy, spawn_key=(*sky.spawn_key, number)))


def _widest_frame(galaxy: Any) -> float:
    """Arcsec: no survey's frame of the galaxy is wider, margins included."""
    return float(1.2 * FRAME * max(0.02 * galaxy.petro_r90, 0.1) + 10)


def _add_layers(layers: GalaxyLayers, instrument: Instrument) -> Array:
    """(3, size, size) nanomaggies a pixel of the galaxy, dust lane and all."""
    galaxy = layers.galaxy
    planes = np.zeros((3, layers.grid.size, layers.grid.size), np.float32)
    for layer in layers.layers:
        light = to_light(galaxy.mag_r) * layer.share * colour_layer(layer, galaxy, instrument)
        planes += light.astype(np.float32)[:, None, None] * layer.light
    for plane, band in zip(planes, instrument.bands, strict=True):
        passed = layers.transmit(band.name)
        if passed is not None:
            plane *= passed
    return planes


def _blur(instrument: Instrument, seeing: float, grid: Grid) -> Array:
    """The Fourier transform of a star's image in pixels that collect light over their area."""
    ticks = (fft.fftfreq(grid.size, 1 / grid.size) * grid.step).astype(np.float32)
    star = moffat(ticks[:, None] ** 2 + ticks[None, :] ** 2, seeing, instrument.beta)
    pixel = np.sinc(fft.fftfreq(grid.size))[:, None] * np.sinc(fft.rfftfreq(grid.size))[None, :]
    return np.asarray(fft.rfft2(star / star.sum()) * pixel).astype(np.complex64)


def _record(planes: Array, instrument: Instrument, bins: int, rng: np.random.Generator) -> Array:
    """Add the noise of the sky and of the light's own electrons; spoil saturated stars; smooth as the release did."""
    recorded: Array = np.asarray(rng.standard_normal(planes.shape, dtype=np.float32))
    for number, band in enumerate(instrument.bands):
        sky = np.float32(band.noise * bins * np.exp(rng.normal(0, NOISE_SPREAD)))
        recorded[number] *= np.sqrt(sky**2 + np.maximum(planes[number], 0) / np.float32(band.electrons))
    recorded += planes
    recorded /= bins**2
    recorded[:, np.sum(recorded > instrument.saturation, axis=0) > 1] = 0  # a saturated star has no middle
    width = instrument.smoothing / bins
    return np.asarray(ndimage.gaussian_filter(recorded, (0, width, width))) if width else recorded
