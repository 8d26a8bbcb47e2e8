"""A survey's look: flux, seeing, noise, pixels; what all surveys see is the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from astropy.modeling import fitting, models

from extract.simulation import observation
from extract.simulation.field import Neighbours, star_light
from extract.simulation.instruments import INSTRUMENTS, Instrument, light_in_bands
from extract.simulation.observation import Observation, observe_galaxy
from extract.simulation.population import draw_population
from tests.extract.simulation.galaxies import ALONE, SPIRAL, list_galaxies, make_galaxy, make_quiet, measure_moments

SURVEYS = tuple(INSTRUMENTS)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No stars and galaxies around, and the same seeing and noise for every frame."""
    monkeypatch.setattr(Neighbours, "draw", classmethod(lambda cls, side, rng: ALONE))
    monkeypatch.setattr(observation, "SEEING_SPREAD", 0.0)
    monkeypatch.setattr(observation, "NOISE_SPREAD", 0.0)


def look(galaxy: Any, instrument: Instrument, side: float = 80.0, size: int = 424, seed: int = 1) -> Observation:
    sky, own = np.random.SeedSequence([seed, 1]), np.random.SeedSequence([seed, 2])
    return observe_galaxy(galaxy, instrument, side, size, sky, own)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("survey", SURVEYS)
@pytest.mark.parametrize("size", [424, 100])
def test_light_is_the_magnitudes(survey: str, size: int) -> None:
    """Magnitude 15 is 1000 nanomaggies in r, in other bands by colour; seeing and pixels lose none."""
    galaxy, quiet = make_galaxy(disk_old=1.0), make_quiet(survey)
    seen = look(galaxy, quiet, size=size)
    bins = max(1, int(80 / size / quiet.pixel_scale))
    light = seen.planes.sum(axis=(1, 2), dtype=float) * bins**2
    np.testing.assert_allclose(light, 1000 * light_in_bands(1.0, quiet.bands), rtol=1e-3)
    if survey != "ukidss":
        assert light[1] == pytest.approx(1000, rel=1e-3)


@pytest.mark.usefixtures("alone")
def test_dust_and_companions_change_the_light() -> None:
    quiet = make_quiet("decals")
    lane = look(make_galaxy(odd="dust-lane", odd_strength=0.8, inclination=85.0, disk_axis_ratio=0.2), quiet)
    plain = look(make_galaxy(inclination=85.0, disk_axis_ratio=0.2), quiet)
    passed = lane.planes.sum(axis=(1, 2)) / plain.planes.sum(axis=(1, 2))
    assert 0.3 < passed[0] < passed[1] < passed[2] < 0.97
    merger = look(make_galaxy(odd="merger", odd_strength=0.5, companion_ratio=0.4), quiet)
    assert merger.planes[1].sum(dtype=float) == pytest.approx(1000 * (1 + 0.4 + 0.22 * 0.5), rel=2e-3)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("survey", SURVEYS)
def test_stars_are_as_wide_as_the_seeing(survey: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a Moffat profile summed over each pixel by 15 x 15 points, from the four pixels a star lies between."""
    star = Neighbours(*np.array([[0.0], [0.0], [1e4], [0.5], [0.0], [1.0], [0.0]]))
    monkeypatch.setattr(Neighbours, "draw", classmethod(lambda cls, side, rng: star))
    quiet = make_quiet(survey)
    seen = look(make_galaxy(mag_r=40.0), quiet, side=60.0)
    x, y = (seen.box[0] + seen.box[2]) / 2 - 0.5, (seen.box[1] + seen.box[3]) / 2 - 0.5
    left, top = int(x), int(y)
    columns, rows = (np.arange(-10, 11) + start for start in (left, top))
    ticks = (np.arange(15) - 7) / 15
    for plane, band, colour in zip(seen.planes, quiet.bands, star_light(0.5, quiet.bands), strict=True):
        alpha = band.seeing / (2 * np.sqrt(2 ** (1 / quiet.beta) - 1)) / quiet.pixel_scale
        expected = np.zeros((21, 21))
        for corner in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
            across, down = (
                ((columns - corner[0])[:, None] + ticks).ravel(),
                ((rows - corner[1])[:, None] + ticks).ravel(),
            )
            squared = (across[None, :] ** 2 + down[:, None] ** 2) / alpha**2
            light = ((1 + squared) ** -quiet.beta).reshape(21, 15, 21, 15).mean(axis=(1, 3))
            expected += (1 - abs(x - corner[0])) * (1 - abs(y - corner[1])) * light
        expected *= 1e4 * colour * (quiet.beta - 1) / (np.pi * alpha**2)
        window = plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        np.testing.assert_allclose(window, expected, atol=0.01 * expected.max())
        assert plane.sum(dtype=float) == pytest.approx(1e4 * colour, rel=2e-3)

        start = models.Moffat2D(float(plane.max()), x, y, alpha, quiet.beta)
        fitted = fitting.LMLSQFitter()(start, *np.meshgrid(columns, rows), window.astype(float))
        width = fitted.fwhm * quiet.pixel_scale
        assert band.seeing < width < np.hypot(band.seeing, 1.75 * quiet.pixel_scale), band.name


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("survey", SURVEYS)
def test_noise_of_the_sky(survey: str) -> None:
    """Per band as its instrument says; a Gaussian of s pixels leaves 1 / (2 sqrt(pi) s) of white noise."""
    instrument = INSTRUMENTS[survey]
    left = 1 / (2 * np.sqrt(np.pi) * instrument.smoothing) if instrument.smoothing else 1.0
    planes = look(make_galaxy(mag_r=40.0), instrument).planes
    for plane, band in zip(planes, instrument.bands, strict=True):
        assert plane.std() == pytest.approx(left * band.noise, rel=0.05)
        assert abs(plane.mean()) < 0.06 * band.noise
    assert abs(np.corrcoef(planes.reshape(3, -1))[0, 1]) < 0.12  # smoothed pixels are fewer than they seem


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("survey", ["sdss", "decals"])
def test_noise_of_the_galaxys_own_light(survey: str) -> None:
    """Variance = sky^2 + light / electrons: residuals against the noiseless look are standard normal, bright or not."""
    instrument = replace(INSTRUMENTS[survey], saturation=np.inf)
    galaxy = make_galaxy(mag_r=13.5, bulge_fraction=0.3)
    noisy, quiet = look(galaxy, instrument).planes, look(galaxy, make_quiet(survey)).planes
    for plane, truth, band in zip(noisy, quiet, instrument.bands, strict=True):
        residual = (plane - truth) / np.sqrt(band.noise**2 + truth / band.electrons)
        bright = truth / band.electrons > 2 * band.noise**2
        assert bright.sum() > 100
        assert residual[bright].std() == pytest.approx(1, abs=4 / np.sqrt(2 * bright.sum()))
        assert residual[~bright].std() == pytest.approx(1, abs=0.02)


@pytest.mark.usefixtures("alone")
def test_bins_keep_surface_brightness_and_average_noise() -> None:
    """A picture of few pixels is drawn in bins of 2 x 2: a mean of four pixels has half of their noise."""
    instrument, galaxy = INSTRUMENTS["sdss"], make_galaxy(mag_r=40.0)
    native, binned = look(galaxy, instrument, size=424), look(galaxy, instrument, size=100)
    assert binned.box[2] - binned.box[0] == pytest.approx(80 / (2 * 0.396))
    assert native.box[2] - native.box[0] == pytest.approx(80 / 0.396)
    for one, two in zip(native.planes, binned.planes, strict=True):
        assert two.std() / one.std() == pytest.approx(0.5, rel=0.05)
    bright, quiet = make_galaxy(), make_quiet("sdss")
    mean = []
    for size in (424, 100):
        seen = look(bright, quiet, size=size)
        left, top, right, _ = seen.box
        y, x = np.mgrid[: seen.planes.shape[1], : seen.planes.shape[2]] + 0.5
        radius = np.hypot(x - (left + right) / 2, y - top - (right - left) / 2) * 80 / (right - left)
        mean.append(seen.planes[1][(radius > 3) & (radius < 6)].mean())
    assert mean[1] == pytest.approx(mean[0], rel=0.02)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("survey", SURVEYS)
@pytest.mark.parametrize("size", [424, 64])
def test_the_frame_is_centred_on_the_galaxy(survey: str, size: int) -> None:
    for seed in range(3):
        seen = look(
            make_galaxy(bulge_fraction=0.3, ring_strength=0.3, disk_axis_ratio=0.6),
            make_quiet(survey),
            size=size,
            seed=seed,
        )
        left, top, right, bottom = seen.box
        centre, _, _ = measure_moments(seen.planes[1])
        np.testing.assert_allclose(centre + 0.5, [(left + right) / 2, (top + bottom) / 2], atol=0.02)
        assert right - left == pytest.approx(bottom - top)
        assert 0 < left < right < seen.planes.shape[2]
        assert 0 < top < bottom < seen.planes.shape[1]


def test_all_surveys_see_the_same_sky(monkeypatch: pytest.MonkeyPatch) -> None:
    """One seed of the sky, used again and again: the same neighbours and the same knots."""
    drawn: list[Neighbours] = []
    draw: Callable[..., Neighbours] = Neighbours.draw
    monkeypatch.setattr(Neighbours, "draw", lambda side, rng: drawn.append(draw(side, rng)) or drawn[-1])
    galaxy, sky = make_galaxy(petro_r90=20.0, **SPIRAL), np.random.SeedSequence(5)
    sights = []
    for number, survey in enumerate((*SURVEYS, "sdss")):
        for size in (424, 128):
            own = np.random.SeedSequence(number)
            sights.append(observe_galaxy(galaxy, INSTRUMENTS[survey], 160.0, size, sky, own).sight)
    assert len(drawn) == 8
    assert len(drawn[0].x) > 30
    for other in drawn[1:]:
        for field in ("x", "y", "flux", "colour", "size", "shape", "angle"):
            np.testing.assert_array_equal(getattr(other, field), getattr(drawn[0], field))
    assert len({sight["artifact"] for sight in sights}) == 1


def test_the_same_seeds_give_the_same_look_and_others_another() -> None:
    (galaxy,) = list_galaxies(draw_population(1, 8))
    one, two, other = (look(galaxy, INSTRUMENTS["sdss"], 50.0, 128, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.planes, two.planes)
    assert one.sight == two.sight
    assert not np.array_equal(one.planes, other.planes)


@pytest.mark.usefixtures("alone")
def test_saturated_stars_have_no_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    star = Neighbours(*np.array([[5.0], [0.0], [5e4], [0.5], [0.0], [1.0], [0.0]]))
    monkeypatch.setattr(Neighbours, "draw", classmethod(lambda cls, side, rng: star))
    decals = replace(make_quiet("decals"), saturation=40.0)
    planes = look(make_galaxy(), decals, side=60.0).planes
    spoilt = (planes == 0).all(axis=0)
    assert 5 < spoilt.sum() < 200
    assert np.sum(planes > 40, axis=0).max() <= 1  # never in two bands
    assert not (look(make_galaxy(), replace(decals, saturation=np.inf), side=60.0).planes == 0).any()
