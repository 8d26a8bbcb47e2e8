"""What is around a galaxy: how many, how bright, where, of which colour."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from extract.simulation.field import Neighbours, star_light
from extract.simulation.galaxy import Grid
from extract.simulation.instruments import INSTRUMENTS, light_in_bands
from tests.extract.simulation.galaxies import ALONE, measure_moments

SDSS = INSTRUMENTS["sdss"].bands


def put(x: float, y: float, flux: float, size: float = 0.0, shape: float = 1.0, angle: float = 0.0) -> Neighbours:
    return Neighbours(*(np.array([value]) for value in (x, y, flux, 0.4, size, shape, angle)))


@pytest.fixture(scope="module")
def fields() -> list[Neighbours]:
    rng = np.random.default_rng(0)
    return [Neighbours.draw(120.0, rng) for _ in range(300)]


def test_as_many_as_the_sky_has(fields: list[Neighbours]) -> None:
    """Four square arcmin of 6 stars and 12 galaxies each; fields differ, by exp(0.4^2 / 2) = 1.083 in the mean."""
    for number, points in ((6, True), (12, False)):
        found = [np.sum((field.size == 0) == points) for field in fields]
        assert np.mean(found) == pytest.approx(4 * number * 1.083, rel=0.12)
        assert np.var(found) > 1.5 * np.mean(found)  # more than Poisson's


def test_counts_grow_with_magnitude(fields: list[Neighbours]) -> None:
    """As 10^(0.24 m) of stars from 13 and 10^(0.42 m) of galaxies from 15.5, down to 23.5."""
    flux, points = (np.concatenate([getattr(field, name) for field in fields]) for name in ("flux", "size"))
    for stars, slope, bright in ((True, 0.24, 13.0), (False, 0.42, 15.5)):
        magnitudes = 22.5 - 2.5 * np.log10(flux[(flux > 0) & ((points == 0) == stars)])
        least = 10 ** (slope * (bright - 23.5))
        fit = stats.kstest(magnitudes, lambda m, s=slope, at=least: (10 ** (s * (m - 23.5)) - at) / (1 - at))
        assert fit.pvalue > 1e-4


@settings(max_examples=20, deadline=None)
@given(st.floats(20, 300), st.integers(0, 2**32))
def test_none_is_in_the_middle_or_outside(side: float, seed: int) -> None:
    field = Neighbours.draw(side, np.random.default_rng(seed))
    near = np.hypot(field.x, field.y) < 4
    assert not field.flux[near].any()
    assert (field.flux[~near] > 0.398).all()  # r = 23.5
    assert np.abs([field.x, field.y]).max(initial=0) <= side / 2


@pytest.mark.parametrize("size", [0.0, 1.5])
def test_light_is_painted_where_it_belongs(size: float) -> None:
    grid = Grid(101, 0.4, (0.25, -0.5))
    planes = np.zeros((3, 101, 101), np.float32)
    put(6.0, -4.0, 50.0, size).paint(planes, grid, SDSS)
    light = star_light(0.4, SDSS) if size == 0 else light_in_bands(0.4, SDSS, 0.15)
    np.testing.assert_allclose(planes.sum(axis=(1, 2), dtype=float), 50 * light, rtol=1e-4)
    centre, _, _ = measure_moments(planes[1])
    np.testing.assert_allclose(centre, [50 + 0.25 + 15, 50 - 0.5 - 10], atol=0.05)


def test_galaxies_around_have_shape_and_angle() -> None:
    planes = np.zeros((3, 201, 201), np.float32)
    put(0.0, 6.0, 50.0, 3.0, 0.5, 60.0).paint(planes, Grid(201, 0.4), SDSS)
    _, ratio, angle = measure_moments(planes[2])
    assert ratio == pytest.approx(0.5, rel=0.05)  # the window cuts corners
    assert angle == pytest.approx(60, abs=2)


def test_what_is_outside_the_grid_is_left_out() -> None:
    planes = np.zeros((3, 64, 64), np.float32)
    for x, y in ((40.0, 0.0), (0.0, -40.0), (-12.7, 0.0)):
        put(x, y, 50.0).paint(planes, Grid(64, 0.4), SDSS)
        put(x, y, 50.0, 1.0).paint(planes, Grid(64, 0.4), SDSS)
    assert not planes.any()


def test_stars_redden_along_their_locus_and_are_one_in_r() -> None:
    for survey in ("sdss", "decals", "ukidss"):
        bands = INSTRUMENTS[survey].bands
        light = np.array([star_light(place, bands) for place in np.linspace(0, 1, 11)])
        if survey != "ukidss":
            assert (light[:, 1] == 1).all()
        assert (np.diff(light[:, 2] / light[:, 0]) > 0).all()
    g, r, i = star_light(0.5, SDSS)  # a star like the Sun: g-r = 0.44, here 0.65 of the middle of the locus
    assert 0.3 < -2.5 * np.log10(g / r) < 0.8
    assert 0.1 < -2.5 * np.log10(r / i) < 0.4


def test_glare_by_hand() -> None:
    """A star as bright as six galaxies, in the middle: 36 / (36 + 36); twice 0.35 sides away: exp(-4) of it."""
    assert put(0.0, 0.0, 600.0).measure_glare(100.0, 50.0) == pytest.approx(0.5)
    faded = (6 * np.exp(-4)) ** 2
    assert put(2 * 0.35 * 50, 0.0, 600.0).measure_glare(100.0, 50.0) == pytest.approx(faded / (faded + 36))
    assert ALONE.measure_glare(100.0, 50.0) == 0
