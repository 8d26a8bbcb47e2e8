"""Simulated images a second, beside the plain way with astropy's models and convolution."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.convolution import Moffat2DKernel, convolve_fft
from astropy.modeling.models import Sersic2D

from extract.simulation import simulate_sky
from extract.simulation.instruments import INSTRUMENTS, Instrument, light_in_bands, measure_frames, to_light
from extract.simulation.observation import Observation, observe_galaxy
from extract.simulation.pictures import draw_picture, encode_picture
from extract.simulation.population import draw_population
from tests.perf.timing import measure

pytestmark = [pytest.mark.perf, pytest.mark.slow]

SIZE, GALAXIES = 128, 10


def draw_ours(galaxy: Any, instrument: Instrument, side: float) -> Observation:
    return observe_galaxy(galaxy, instrument, side, SIZE, np.random.SeedSequence(1), np.random.SeedSequence(2))


def draw_plainly(galaxy: Any, instrument: Instrument, side: float) -> Observation:
    """Bulge and disk alone, in pixels as large as ours: no arms, bars, rings, knots and neighbours."""
    bins = max(1, int(side / SIZE / instrument.pixel_scale))
    step = instrument.pixel_scale * bins
    size = int(np.ceil(side / step)) + 24
    y, x = np.mgrid[:size, :size]
    parts = [
        (galaxy.bulge_fraction, galaxy.bulge_radius, galaxy.bulge_sersic, galaxy.bulge_axis_ratio, 1.0),
        (1 - galaxy.bulge_fraction, 1.678 * galaxy.disk_scale, 1.0, galaxy.disk_axis_ratio, galaxy.disk_old),
    ]
    planes, rng = np.zeros((3, size, size)), np.random.default_rng(1)
    for share, radius, index, ratio, old in parts:
        if share > 0:
            middle, angle = (size - 1) / 2, np.deg2rad(galaxy.position_angle)
            light = Sersic2D(1.0, radius / step, index, middle, middle, 1 - ratio, angle)(x, y)
            colours = light_in_bands(old, instrument.bands, galaxy.redshift, galaxy.reddening)
            planes += (to_light(galaxy.mag_r) * share * colours)[:, None, None] * light / light.sum()
    for plane, band in zip(planes, instrument.bands, strict=True):
        gamma = band.seeing / step / (2 * np.sqrt(2 ** (1 / instrument.beta) - 1))
        plane[:] = convolve_fft(plane, Moffat2DKernel(gamma, instrument.beta))
        plane += np.sqrt((band.noise * bins) ** 2 + np.maximum(plane, 0) / band.electrons) * rng.normal(
            size=plane.shape
        )
    inner = side / step
    box = ((size - inner) / 2,) * 2 + ((size + inner) / 2,) * 2
    return Observation((planes / bins**2).astype(np.float32), box, {})


def draw_images(draw: Callable[[Any, Instrument, float], Observation]) -> int:
    """The same galaxies of every survey, to the bytes of their files."""
    truth, drawn = draw_population(8 * GALAXIES, 7), 0
    for survey, instrument in INSTRUMENTS.items():
        seen = truth[truth[f"in_{survey}"]][:GALAXIES]
        for galaxy, side in zip(seen.itertuples(), measure_frames(survey, seen), strict=True):
            picture = draw_picture(survey, draw(galaxy, instrument, float(side)), SIZE)
            drawn += len(encode_picture(survey, picture)) > 0
    return drawn


def test_as_fast_as_the_plain_way_which_draws_less() -> None:
    images = draw_images(draw_ours)
    assert images == 3 * GALAXIES
    times = measure(5, ours=lambda: draw_images(draw_ours), plain=lambda: draw_images(draw_plainly))
    rates = {way: images / seconds for way, seconds in times.items()}
    print(f"  one process: {rates['ours']:.0f} images a second, plain {rates['plain']:.0f}: "
          f"{times['plain'] / times['ours']:.2f} x as fast")  # fmt: skip
    assert times["ours"] < times["plain"]


def test_two_processes(tmp_path: Path) -> None:
    """From the first finished part to the last: starting the processes is not counted."""
    marks: list[tuple[float, int]] = []
    start = time.perf_counter()
    simulate_sky(tmp_path / "sky", 240, 7, SIZE, 2, lambda done, _, __: marks.append((time.perf_counter(), done)))
    whole = time.perf_counter() - start
    (first, before), (last, images) = marks[0], marks[-1]
    rate = (images - before) / (last - first)
    start = time.perf_counter()
    plain = draw_images(draw_plainly) / (time.perf_counter() - start)
    print(f"  two processes: {rate:.0f} images a second, all of {images} in {whole:.1f} s; plain, one: {plain:.0f}")
    assert rate > 1.3 * plain
