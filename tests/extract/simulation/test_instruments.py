"""Frames, bands and magnitudes, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.simulation.instruments import BANDS, DUST, INSTRUMENTS, light_in_bands, measure_frames, to_light

SDSS, DECALS, UKIDSS = (INSTRUMENTS[survey].bands for survey in ("sdss", "decals", "ukidss"))


def magnitudes(light: np.ndarray) -> np.ndarray:
    return -2.5 * np.log10(light)


def test_surveys_are_what_they_are() -> None:
    assert {survey: "".join(band.name for band in instrument.bands) for survey, instrument in INSTRUMENTS.items()} == {
        "sdss": "gri", "decals": "grz", "ukidss": "YJK"
    }  # fmt: skip
    scales = {survey: instrument.pixel_scale for survey, instrument in INSTRUMENTS.items()}
    assert scales == {"sdss": 0.396, "decals": 0.262, "ukidss": 0.4}
    assert INSTRUMENTS["sdss"].detection.name == "r"
    for g, r, deep_g, deep_r in zip(SDSS[:1], SDSS[1:2], DECALS[:1], DECALS[1:2], strict=True):
        area = (0.396 / 0.262) ** 2  # DECaLS goes deeper: less noise an arcsec
        assert deep_g.noise**2 * area < 0.5 * g.noise**2
        assert deep_r.noise**2 * area < 0.5 * r.noise**2


@pytest.mark.parametrize(
    ("survey", "r50", "r90", "scale"),
    [
        ("sdss", 5.0, 12.0, 0.24),
        ("ukidss", 5.0, 12.0, 0.24),
        ("decals", 5.0, 12.0, 0.20),  # 0.04 R50
        ("decals", 8.0, 12.0, 0.24),  # 0.02 R90
        ("decals", 1.2, 3.0, 0.1),  # no smaller
    ],
)
def test_frames_by_hand(survey: str, r50: float, r90: float, scale: float) -> None:
    truth = pd.DataFrame({"petro_r50": [r50], "petro_r90": [r90]})
    np.testing.assert_allclose(measure_frames(survey, truth), [424 * scale])


def test_nanomaggies() -> None:
    assert to_light(22.5) == 1
    assert to_light(20.0) == pytest.approx(10)
    assert to_light(15.0) == pytest.approx(1000)


def test_colours_of_old_stars() -> None:
    """Between the g-r of an elliptical, 0.77, and of an S0, 0.68 (Fukugita et al. 1995)."""
    g, r, i = light_in_bands(1.0, SDSS)
    z = light_in_bands(1.0, DECALS)[2]
    assert r == 1
    assert magnitudes(g) == pytest.approx(0.74, abs=0.08)
    assert magnitudes(i) == pytest.approx(-0.39, abs=0.06)
    assert magnitudes(z) == pytest.approx(-0.59, abs=0.08)
    y, j, k = magnitudes(light_in_bands(1.0, UKIDSS))
    assert 0 > y > j > k


def test_redshift_and_dust_redden() -> None:
    """0.1 mag of dust between g and r; of the other bands their part of it."""
    for bands in (SDSS, DECALS, UKIDSS):
        plain, dusty = magnitudes(light_in_bands(1.0, bands)), magnitudes(light_in_bands(1.0, bands, dust=0.1))
        expected = []
        for band in bands:
            place = BANDS.index(band.name)
            expected.append(0.1 * DUST[0] if place == 0 else -0.1 * sum(DUST[1:place]))
        np.testing.assert_allclose(dusty - plain, expected, atol=1e-12)
    near, far = magnitudes(light_in_bands(1.0, SDSS)), magnitudes(light_in_bands(1.0, SDSS, redshift=0.1))
    assert 0.1 < far[0] - near[0] < 0.3
    assert DUST[0] == 1  # E(g-r) is what dust is given in


@given(st.floats(0, 1), st.floats(0, 0.3), st.floats(-0.1, 0.5))
def test_r_is_one_and_light_adds_up(old: float, redshift: float, dust: float) -> None:
    for bands in (SDSS, DECALS):
        assert light_in_bands(old, bands, redshift, dust)[1] == pytest.approx(1, abs=1e-12)
    for bands in (SDSS, DECALS, UKIDSS):
        first, second = (light_in_bands(share, bands, redshift, dust) for share in (1.0, 0.0))
        mixed = light_in_bands(old, bands, redshift, dust)
        np.testing.assert_allclose(mixed, old * first + (1 - old) * second, rtol=1e-12)


def test_old_stars_are_redder_than_young() -> None:
    for bands in (SDSS, DECALS, UKIDSS):
        old, young = magnitudes(light_in_bands(1.0, bands)), magnitudes(light_in_bands(0.0, bands))
        assert (np.diff(old) < np.diff(young)).all()
