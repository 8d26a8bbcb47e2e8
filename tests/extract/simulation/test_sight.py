"""What is left to be seen: energies by direct sums, and what hides features."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extract.simulation.galaxy import GalaxyLayers, Grid
from extract.simulation.instruments import INSTRUMENTS, Instrument, light_in_bands, measure_frames, to_light
from extract.simulation.observation import observe_galaxy
from extract.simulation.population import draw_population
from extract.simulation.sight import HALF_CONTRAST, HALF_SNR, colour_layer, measure_sight
from tests.extract.simulation.galaxies import SPIRAL, list_galaxies, make_galaxy

SDSS, UKIDSS = INSTRUMENTS["sdss"], INSTRUMENTS["ukidss"]
FEATURES = ("disk", "arms", "bar", "ring", "clumps", "odd")


def draw(galaxy: Any, size: int = 120, step: float = 0.396) -> GalaxyLayers:
    return GalaxyLayers(galaxy, Grid(size, step, (0.2, -0.3)), np.random.default_rng(2))


def blur(size: int, pixels: float) -> np.ndarray:
    """The transform of a Gaussian, as half of a spectrum."""
    rows, columns = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    return np.exp(-2 * (np.pi * pixels) ** 2 * (rows**2 + columns**2))


def see(galaxy: Any, instrument: Instrument = SDSS, pixels: float = 1.4, noise: float = 1.0) -> dict[str, float]:
    instrument = replace(instrument, bands=tuple(replace(x, noise=x.noise * noise) for x in instrument.bands))
    layers = draw(galaxy)
    return measure_sight(layers, instrument, blur(layers.grid.size, pixels), 1)


def sum_squares(image: np.ndarray, optics: np.ndarray) -> float:
    """Of a blurred image in its pixels: what Parseval's theorem finds in the spectrum."""
    return float((np.fft.irfft2(np.fft.rfft2(image) * optics, image.shape) ** 2).sum())


def scale(layers: GalaxyLayers, instrument: Instrument = SDSS) -> dict[str, np.ndarray]:
    """Nanomaggies a pixel in the middle band."""
    galaxy = layers.galaxy
    return {
        layer.name: to_light(galaxy.mag_r)
        * layer.share
        * light_in_bands(layer.old, instrument.bands, galaxy.redshift, galaxy.reddening)[1]
        * layer.light.astype(float)
        for layer in layers.layers
    }


@pytest.mark.parametrize("size", [120, 121])
@pytest.mark.parametrize(("survey", "bins"), [("sdss", 1), ("decals", 3), ("ukidss", 1)])
def test_signal_to_noise_is_a_direct_sum(size: int, survey: str, bins: int) -> None:
    """Of points, which have all frequencies; in half of the spectrum of an even size the last stands once."""
    instrument, layers = replace(INSTRUMENTS[survey], smoothing=0.0), draw(make_galaxy(knots=0.9), size)
    optics = blur(size, 0.1)
    whole = np.sum(list(scale(layers, instrument).values()), axis=0)
    snr = np.sqrt(sum_squares(whole, optics)) / (instrument.bands[1].noise * bins)
    assert measure_sight(layers, instrument, optics, bins)["snr"] == pytest.approx(snr, rel=1e-4)


def test_what_is_seen_of_each_feature_by_hand() -> None:
    """SNR and contrast, each as x^2 / (x^2 + half^2)."""
    layers, optics, noise = draw(make_galaxy(**SPIRAL)), blur(120, 1.4), SDSS.bands[1].noise
    lights = scale(layers)
    disk = np.sum([light for name, light in lights.items() if name != "bulge"], axis=0)
    found = measure_sight(layers, SDSS, optics, 1)
    images = {"bar": lights["bar"], "ring": lights["ring"], "clumps": lights["knots"], "disk": disk,
              "arms": lights["arms"] - lights["arms"].sum() * layers.smooth_arms}  # fmt: skip
    for name, image in images.items():
        energy = sum_squares(image, optics)
        share = disk.sum() / (disk + lights["bulge"]).sum()
        contrast = share**2 if name == "disk" else energy / sum_squares(disk, optics)
        loud = energy / noise**2
        kept = 1 if name == "disk" else np.sqrt(energy / np.sum(image.astype(float) ** 2))
        expected = kept * contrast / (contrast + HALF_CONTRAST[name] ** 2) * loud / (loud + HALF_SNR**2)
        assert found[name] == pytest.approx(expected, rel=2e-3), name
    assert found["odd"] == 0


def test_smoothing_hides_but_costs_no_signal_to_noise() -> None:
    """A Gaussian of so many pixels, widths adding in quadrature; a matched filter would undo it."""
    layers = draw(make_galaxy(**SPIRAL))
    quiet = replace(SDSS, bands=tuple(replace(band, noise=1e-9) for band in SDSS.bands))
    both = measure_sight(layers, replace(quiet, smoothing=2.0), blur(120, 1.5), 1)
    once = measure_sight(layers, quiet, blur(120, 2.5), 1)
    sharp = measure_sight(layers, quiet, blur(120, 1.5), 1)
    assert both["snr"] == pytest.approx(sharp["snr"])
    assert once["snr"] < sharp["snr"]
    for name in FEATURES:
        assert both[name] == pytest.approx(once[name], rel=1e-4), name
    assert both["arms"] < sharp["arms"]


def test_a_bulge_keeps_its_share_of_a_bands_light() -> None:
    galaxy = make_galaxy(bulge_fraction=0.3, disk_old=0.0)
    for instrument in (SDSS, UKIDSS):
        old, young = (light_in_bands(share, instrument.bands)[1] for share in (1.0, 0.0))
        expected = 0.3 * old / (0.3 * old + 0.7 * young)
        assert see(galaxy, instrument)["bulge_fraction"] == pytest.approx(expected, rel=1e-4)
    assert see(make_galaxy(bulge_fraction=1.0))["bulge_fraction"] == 1
    assert see(make_galaxy())["bulge_fraction"] == 0


def test_seeing_makes_rounder_by_hand() -> None:
    """R50 4 arcsec, half of 1.32: 0.165^2 = 0.027225; sqrt((0.09 + 0.027225) / 1.027225) = 0.3378."""
    assert SDSS.bands[1].seeing == 1.32
    assert see(make_galaxy(axis_ratio=0.3))["axis_ratio"] == pytest.approx(0.3378, abs=1e-4)
    assert see(make_galaxy(axis_ratio=1.0))["axis_ratio"] == 1


def test_nothing_is_seen_where_nothing_is() -> None:
    for galaxy in (make_galaxy(bulge_fraction=1.0), make_galaxy()):
        sight = see(galaxy)
        there = {"disk"} if galaxy.bulge_fraction == 0 else set()
        assert {name for name in FEATURES if sight[name] > 1e-6} == there


@pytest.mark.parametrize("odd", ["merger", "disturbed", "lens-or-arc", "other", "dust-lane", "irregular", "ring"])
def test_what_is_odd_is_seen(odd: str) -> None:
    def sight(strength: float) -> float:
        galaxy = make_galaxy(odd=odd, odd_strength=strength, disk_axis_ratio=0.3, inclination=75.0, ring_strength=0.3)
        return see(galaxy)["odd"]

    assert sight(0.9) > 0.1
    if odd not in ("ring", "merger"):  # whose companion is as bright at any strength
        assert sight(0.9) > sight(0.4)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**20), st.floats(0.5, 2.0), st.floats(1.5, 30))
def test_noise_hides(seed: int, pixels: float, louder: float) -> None:
    for galaxy in list_galaxies(draw_population(2, seed)):
        clear, noisy = see(galaxy, SDSS, pixels), see(galaxy, SDSS, pixels, louder)
        for name in FEATURES:
            assert 0 <= noisy[name] <= clear[name] <= 1
            assert noisy[name] < clear[name] or clear[name] < 1e-9
        assert noisy["snr"] == pytest.approx(clear["snr"] / louder)


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 5), st.floats(10, 40), st.floats(0.3, 0.9), st.floats(0.4, 1), st.floats(0.5, 2), st.floats(1.3, 2.5)
)
def test_seeing_hides_arms(arms: int, pitch: float, strength: float, ratio: float, pixels: float, worse: float) -> None:
    galaxy = make_galaxy(arms=arms, pitch=pitch, arm_strength=strength, disk_axis_ratio=ratio, bulge_fraction=0.2)
    clear, blurred = see(galaxy, SDSS, pixels), see(galaxy, SDSS, pixels * worse)
    assert blurred["arms"] < clear["arms"]
    assert blurred["snr"] < clear["snr"]


def test_seeing_hides_most_of_what_is_small() -> None:
    spirals = [galaxy for galaxy in list_galaxies(draw_population(120, 9)) if galaxy.arms][:25]
    for name in ("arms", "bar", "clumps"):
        clear, blurred = (np.mean([see(galaxy, SDSS, pixels)[name] for galaxy in spirals]) for pixels in (1, 4))
        assert 0 < blurred < 0.9 * clear, name


def test_ukidss_hides_arms_and_shows_larger_bulges() -> None:
    """Spirals from above that both surveys look at, each with its own frame, seeing, noise and smoothing."""
    spirals = [x for x in list_galaxies(draw_population(120, 5)) if x.arms and x.inclination < 60][:25]
    seen: dict[str, list[dict[str, float]]] = {"sdss": [], "ukidss": []}
    for galaxy in spirals:
        for survey, found in seen.items():
            sky, own = np.random.SeedSequence([1, galaxy.galaxy]), np.random.SeedSequence([2, galaxy.galaxy])
            (side,) = measure_frames(survey, draw_population(120, 5).iloc[[galaxy.galaxy]])
            found.append(observe_galaxy(galaxy, INSTRUMENTS[survey], side, 128, sky, own).sight)
    sdss, ukidss = (
        {name: np.array([sight[name] for sight in found]) for name in ("arms", "bulge_fraction", "snr", "clumps")}
        for found in seen.values()
    )
    assert len(spirals) == 25
    assert np.mean(ukidss["arms"] < sdss["arms"]) > 0.9
    assert ukidss["arms"].mean() < 0.7 * sdss["arms"].mean()
    assert ukidss["clumps"].mean() < 0.7 * sdss["clumps"].mean()
    assert (ukidss["bulge_fraction"] > sdss["bulge_fraction"]).all()
    assert (ukidss["snr"] < sdss["snr"]).all()


def test_a_layers_colour_is_of_its_stars_redshift_and_dust() -> None:
    galaxy = make_galaxy(bulge_fraction=0.5, redshift=0.1, reddening=0.05, colour_offset=0.03)
    (bulge, _) = draw(galaxy).layers
    np.testing.assert_allclose(colour_layer(bulge, galaxy, SDSS), light_in_bands(1.0, SDSS.bands, 0.1, 0.08))
