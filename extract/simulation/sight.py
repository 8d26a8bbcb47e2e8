"""How much of each feature of a galaxy an image still shows: the signal to noise of an ideal observer, and contrast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import fft

from extract.simulation.galaxy import GalaxyLayers, Layer
from extract.simulation.instruments import Instrument, light_in_bands, to_light

Array = np.ndarray[Any, Any]

# half of what there is goes unseen at this signal to noise, and at this contrast: the root of the feature's energy over
# that of the light it lies on, after seeing
HALF_SNR = 12.0
HALF_CONTRAST = {"disk": 0.55, "arms": 0.03, "bar": 0.15, "ring": 0.10, "clumps": 0.05, "odd": 0.08}
TINY = 1e-12  # instead of no energy at all
ROUNDING = 0.5  # share of the seeing by which an image's second moments are larger (a Moffat's core)


def measure_sight(layers: GalaxyLayers, instrument: Instrument, optics: Array, bins: int) -> dict[str, float]:
    """
    What is left to be seen in a survey's middle band.

    Of a feature whose image after seeing is f, the best possible filter finds it with a signal to noise of
    sqrt(sum f^2) / noise (North 1963), whatever smoothing follows; the sum is taken in Fourier space by Parseval's
    theorem. Contrast compares sqrt(sum f^2), after the release's smoothing too, with that of the light it lies on: the
    disk, for what is odd the whole galaxy; a disk's own is its share of the light. Both saturate: x^2 / (x^2 + half^2).
    What seeing and smoothing leave of sqrt(sum f^2) says how well the feature is resolved.

    Parameters
    ----------
    layers : GalaxyLayers
    instrument : Instrument
    optics : (size, size // 2 + 1) complex array
        The transform of the point spread function.
    bins : int
        Of the survey's pixels, a side, in one of the image's.

    Returns
    -------
    dict of str to float
        ``disk, arms, bar, ring, clumps, odd`` from 0, not to be seen, to 1; ``bulge_fraction``; ``axis_ratio`` as
        seeing leaves it; ``snr`` of the whole galaxy.

    References
    ----------
    North 1963, Proceedings of the IEEE 51, 1016 (the matched filter).
    """
    galaxy = layers.galaxy
    shown = optics * _smooth(layers.grid.size, instrument.smoothing / bins)
    lights = {layer.name: _scale(layer, galaxy, instrument) for layer in layers.layers}
    disk = _add(lights, [name for name in lights if name not in ("bulge", "companion")], layers)
    whole = disk + lights.get("bulge", np.float32(0))
    whole_energy, disk_energy = (max(_measure_energy(image, shown), TINY) for image in (whole, disk))
    disk_share = float(disk.sum(dtype=np.float64) / whole.sum(dtype=np.float64))
    noise = instrument.detection.noise * bins
    sight = dict.fromkeys(HALF_CONTRAST, 0.0)
    for name, image in _find_features(layers, lights, disk, whole, instrument).items():
        energy = _measure_energy(image, optics)
        ground = whole_energy if name == "odd" else disk_energy
        left = _measure_energy(image, shown)
        contrast = disk_share**2 if name == "disk" else left / ground
        resolved = 1.0 if name == "disk" else np.sqrt(left / max(_measure_energy(image, np.float32(1)), TINY))
        loud = energy / (energy + (HALF_SNR * noise) ** 2)
        sight[name] = float(resolved * contrast / (contrast + HALF_CONTRAST[name] ** 2) * loud)
    light = {name: float(image.sum(dtype=np.float64)) for name, image in lights.items()}
    blur = (ROUNDING * instrument.detection.seeing / galaxy.petro_r50) ** 2
    return sight | {
        "bulge_fraction": light.get("bulge", 0.0) / sum(light.values()),
        "axis_ratio": float(np.sqrt((galaxy.axis_ratio**2 + blur) / (1 + blur))),
        "snr": float(np.sqrt(_measure_energy(whole, optics))) / noise,
    }


def colour_layer(layer: Layer, galaxy: Any, instrument: Instrument) -> Array:
    """(n_bands,) light of a layer relative to its light in r."""
    return light_in_bands(layer.old, instrument.bands, galaxy.redshift, galaxy.reddening + galaxy.colour_offset)


def _scale(layer: Layer, galaxy: Any, instrument: Instrument) -> Array:
    """The layer in nanomaggies a pixel of the middle band."""
    light = to_light(galaxy.mag_r) * layer.share * colour_layer(layer, galaxy, instrument)[1]
    return np.asarray(np.float32(light) * layer.light)


def _add(lights: dict[str, Array], names: Sequence[str], layers: GalaxyLayers) -> Array:
    return np.sum([lights[name] for name in names], axis=0) if names else np.zeros_like(layers.disk)


def _find_features(
    layers: GalaxyLayers, lights: dict[str, Array], disk: Array, whole: Array, instrument: Instrument
) -> dict[str, Array]:
    """The image of each feature that the galaxy has: what would be missing without it."""
    features: dict[str, Array] = {name: lights[name] for name in ("bar", "ring") if name in lights}
    if "knots" in lights:
        features["clumps"] = lights["knots"]
    if "arms" in lights:
        features["arms"] = lights["arms"] - np.float32(lights["arms"].sum()) * layers.smooth_arms
    if layers.galaxy.bulge_fraction < 1:
        features["disk"] = disk
    odd = [name for name in ("odd", "companion") if name in lights]
    lane = layers.transmit(instrument.detection.name)
    if lane is not None:
        features["odd"] = whole * (1 - lane)
    elif odd:
        features["odd"] = _add(lights, odd, layers)
    elif layers.galaxy.odd == "ring" and "ring" in lights:
        features["odd"] = lights["ring"]
    elif layers.galaxy.odd == "irregular":
        features["odd"] = disk - np.float32(disk.sum()) * layers.even_disk
    return features


def _measure_energy(image: Array, optics: Array | np.float32) -> float:
    """Sum of squares of a blurred image, by Parseval's theorem: of a real image half of the spectrum is stored."""
    power = np.abs(fft.rfft2(image) * optics) ** 2
    once = power[:, 0].sum() + (power[:, -1].sum() if image.shape[1] % 2 == 0 else 0)
    return float((2 * power.sum(dtype=np.float64) - once) / image.size)


def _smooth(size: int, width: float) -> Array:
    """The transform of a Gaussian of so many pixels."""
    rows, columns = fft.fftfreq(size)[:, None], fft.rfftfreq(size)[None, :]
    return np.asarray(np.exp(-2 * (np.pi * width) ** 2 * (rows**2 + columns**2)), np.float32)
