"""Layers of light: shares, shapes, and that the grid does not matter."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from extract.simulation.galaxy import GalaxyLayers, Grid, add_point, turn
from extract.simulation.population import draw_population
from tests.extract.simulation.galaxies import SPIRAL, list_galaxies, make_galaxy, measure_moments

BANDS = ("g", "r", "i", "z", "Y", "J", "K")


def draw(galaxy: Any, size: int = 160, step: float = 0.4, shift: tuple[float, float] = (0, 0)) -> GalaxyLayers:
    return GalaxyLayers(galaxy, Grid(size, step, shift), np.random.default_rng(3))


def add(layers: GalaxyLayers) -> np.ndarray:
    return np.sum([layer.share * layer.light for layer in layers.layers], axis=0, dtype=float)


def names(galaxy: Any) -> set[str]:
    return {layer.name for layer in draw(galaxy).layers}


def test_grid_places() -> None:
    grid = Grid(5, 0.5, (1.0, -0.5))
    x, y = grid.axes
    np.testing.assert_allclose(x, [[-1.5, -1, -0.5, 0, 0.5]])
    np.testing.assert_allclose(y.ravel(), [-0.75, -0.25, 0.25, 0.75, 1.25])
    columns, rows = grid.locate(x.ravel(), y.ravel())
    np.testing.assert_allclose(columns, np.arange(5))
    np.testing.assert_allclose(rows, np.arange(5))


def test_a_point_lies_between_four_pixels() -> None:
    planes = np.zeros((2, 4, 4), np.float32)
    add_point(planes, 1.25, 2.5, np.array([1, 8], np.float32))
    np.testing.assert_allclose(planes[1, 2:, 1:3], [[3, 1], [3, 1]])
    np.testing.assert_allclose(planes[0] * 8, planes[1])
    assert planes[0].sum() == 1


def test_turning_by_hand() -> None:
    """At 30 degrees, (1, 0) is cos 30 along and -sin 30 across; turning back gives the place again."""
    along, across = turn(np.array(1.0), np.array(0.0), 30.0)
    assert (along, across) == (pytest.approx(0.8660254), pytest.approx(-0.5))
    np.testing.assert_allclose(turn(along, across, -30.0), (1, 0), atol=1e-7)


def test_layers_are_whole_and_shares_add_up() -> None:
    for galaxy in list_galaxies(draw_population(120, 4)):
        layers = draw(galaxy, 64, 0.06 * galaxy.petro_r90).layers
        for layer in layers:
            assert layer.light.shape == (64, 64)
            assert layer.light.min() >= 0
            assert layer.light.sum(dtype=float) == pytest.approx(1, abs=1e-4), (galaxy.galaxy, layer.name)
            assert 0 <= layer.old <= 1
        companion = [layer for layer in layers if layer.name == "companion"]
        tail = [layer for layer in layers if layer.name == "odd" and galaxy.odd == "merger"]
        whole = sum(layer.share for layer in layers) - sum(layer.share for layer in companion + tail)
        assert whole == pytest.approx(1, abs=5e-4), galaxy.galaxy  # less what is too little to be drawn
        if galaxy.odd == "merger":
            assert companion[0].share == galaxy.companion_ratio


def test_a_bar_between_pixels_leaves_its_light_to_the_disk() -> None:
    """Seen from the side it is 0.06 arcsec thick, and the nearest pixels' middles are 0.2 arcsec away."""
    galaxy = make_galaxy(bar_strength=0.3, bar_length=1.0, disk_axis_ratio=0.15, inclination=89.0, bar_angle=0.0)
    layers = draw(galaxy)
    assert [(layer.name, layer.share) for layer in layers.layers] == [("disk", 1.0)]
    assert layers.layers[0].light.sum(dtype=float) == pytest.approx(1, abs=1e-5)


def test_layers_are_there_when_the_galaxy_has_them() -> None:
    assert names(make_galaxy()) == {"disk"}
    assert names(make_galaxy(bulge_fraction=1.0, arms=2, arm_strength=1.0)) == {"bulge"}
    assert names(make_galaxy(**SPIRAL)) == {"bulge", "bar", "ring", "arms", "knots", "disk"}
    for odd in ("disturbed", "lens-or-arc", "other"):
        assert names(make_galaxy(odd=odd, odd_strength=0.5)) == {"odd", "disk"}
    assert names(make_galaxy(odd="merger", odd_strength=0.5)) == {"odd", "companion", "disk"}


@pytest.mark.parametrize(("ratio", "angle"), [(0.35, 30.0), (0.6, 100.0), (0.8, 0.0)])
def test_a_disk_has_its_axis_ratio_and_position_angle(ratio: float, angle: float) -> None:
    galaxy = make_galaxy(disk_axis_ratio=ratio, inclination=60.0, position_angle=angle)
    centre, measured, turned = measure_moments(add(draw(galaxy, shift=(3.0, -2.0))))
    np.testing.assert_allclose(centre, [79.5 + 3, 79.5 - 2], atol=0.01)
    assert measured == pytest.approx(ratio, rel=0.02)
    assert turned % 180 == pytest.approx(angle, abs=0.5)


@pytest.mark.parametrize("thickness", [0.08, 0.3])
def test_an_edge_on_disk_is_as_thick_as_it_should_be(thickness: float) -> None:
    """<R^2> of the projected exponential is 3 h^2, <z^2> of sech2(z / z0) pi^2 / 12 z0^2; z0 is 2 thickness h."""
    galaxy = make_galaxy(inclination=90.0, thickness=thickness, disk_axis_ratio=thickness, disk_scale=4.0)
    _, measured, _ = measure_moments(add(draw(galaxy, 300, 0.25)))
    assert measured == pytest.approx(2 * thickness * np.pi / np.sqrt(12) / np.sqrt(3), rel=0.03)


@pytest.mark.parametrize(("index", "ratio"), [(1.0, 1.0), (2.5, 0.7)])
def test_half_of_a_bulges_light_is_inside_its_ellipse(index: float, ratio: float) -> None:
    galaxy = make_galaxy(
        bulge_fraction=1.0, bulge_radius=3.0, bulge_sersic=index, bulge_axis_ratio=ratio, position_angle=40.0
    )
    layers = draw(galaxy, 500, 0.2)
    light = add(layers)
    inside = np.hypot(layers.along * ratio**0.5, layers.across / ratio**0.5) < 3
    assert light[inside].sum() == pytest.approx(0.5, abs=0.02)
    assert measure_moments(light)[1] == pytest.approx(ratio, rel=0.03)


def test_a_galaxy_is_as_large_as_its_petrosian_radius_says() -> None:
    """Radius of half of the light of spirals from above: R50; of ellipticals larger, as Graham et al. 2005 find."""
    ratios: dict[str, list[float]] = {"spiral": [], "elliptical": []}
    for galaxy in list_galaxies(draw_population(300, 6)):
        if galaxy.odd or galaxy.kind not in ratios or galaxy.inclination > 30:
            continue
        layers = draw(galaxy, 100, 0.12 * galaxy.petro_r50)
        radius = np.hypot(layers.along, layers.across / galaxy.axis_ratio).ravel() * galaxy.axis_ratio**0.5
        order = np.argsort(radius)
        half = radius[order][np.searchsorted(np.cumsum(add(layers).ravel()[order]), 0.5)]
        ratios[galaxy.kind].append(half / galaxy.petro_r50)
    assert np.median(ratios["spiral"]) == pytest.approx(1, abs=0.15)
    assert 1 < np.median(ratios["elliptical"]) < 1.45


@pytest.mark.parametrize("odd", ["", "merger", "disturbed", "dust-lane", "irregular"])
def test_a_finer_grid_gives_the_same_galaxy(odd: str) -> None:
    """The same arcsec in twice as many pixels: the same light in every place, knots and waves of arms among it."""
    galaxy = make_galaxy(
        **SPIRAL | {"bar_strength": 0.1}, odd=odd, odd_strength=0.6, disk_axis_ratio=0.7, inclination=50.0
    )
    coarse, fine = draw(galaxy, 150, 0.4), draw(galaxy, 300, 0.2)
    for layer, finer in zip(coarse.layers, fine.layers, strict=True):
        assert (layer.name, layer.old) == (finer.name, finer.old)
        assert layer.share == pytest.approx(finer.share)
        binned = finer.light.reshape(150, 2, 150, 2).sum(axis=(1, 3))
        smooth, other = (ndimage.gaussian_filter(light.astype(float), 3) for light in (layer.light, binned))
        assert np.abs(smooth - other).max() < 0.05 * smooth.max(), layer.name


def test_knots_are_at_the_same_places_in_every_survey() -> None:
    """Centroids in arcsec of the brightest knot, on grids of three surveys, each with its own shift."""
    galaxy = make_galaxy(**SPIRAL, position_angle=33.0, disk_axis_ratio=0.6)
    places = []
    for size, step, shift in ((200, 0.396, (0.3, -0.2)), (300, 0.262, (-0.4, 0.1)), (100, 0.8, (0, 0))):
        layers = draw(galaxy, size, step, shift)
        (knots,) = [layer.light for layer in layers.layers if layer.name == "knots"]
        blurred = ndimage.gaussian_filter(knots, 0.8 / step)
        row, column = np.unravel_index(np.argmax(blurred), knots.shape)
        x, y = layers.grid.axes
        places.append((x[0, column], y[row, 0]))
    assert np.hypot(*np.ptp(places, axis=0)) < 1.2
    assert np.hypot(*places[0]) > 2


def test_knots_lie_along_the_arms() -> None:
    """With the arms' light around them, beside that of a galaxy that lies the same but winds the other way."""
    shape = {"arms": 2, "arm_strength": 1.0, "arm_width": 4.0, "knots": 0.2, "pitch": 25.0}
    place = {"position_angle": 35.0, "disk_axis_ratio": 0.6, "inclination": 50.0}
    on, off = [], []
    for seed in range(10):
        ours, mirrored = (
            {
                layer.name: layer.light
                for layer in GalaxyLayers(galaxy, Grid(160, 0.4), np.random.default_rng(seed)).layers
            }
            for galaxy in (make_galaxy(**shape, **place, handedness=hand) for hand in (1, -1))
        )
        on.append(float((ours["knots"] * ours["arms"]).sum()))
        off.append(float((ours["knots"] * mirrored["arms"]).sum()))
    assert np.mean(on) > 1.5 * np.mean(off)


def test_arms_wind_with_their_pitch_and_hand() -> None:
    """Phase of the two-armed Fourier mode against ln R: its slope is 2 cot(pitch), with the hand's sign."""
    for pitch, hand in ((15.0, 1), (30.0, -1)):
        galaxy = make_galaxy(arms=2, arm_strength=1.0, pitch=pitch, handedness=hand)
        layers = draw(galaxy, 300, 0.2)
        (light,) = [layer.light for layer in layers.layers if layer.name == "arms"]
        radius, angle = np.hypot(*layers.grid.axes), np.arctan2(*layers.grid.axes[::-1])
        edges = np.geomspace(2.5, 9, 40)
        phases = []
        for low, high in itertools.pairwise(edges):
            ring = (radius >= low) & (radius < high)
            phases.append(np.angle((light[ring] * np.exp(2j * angle[ring])).sum()))
        slope = np.polyfit(np.log((edges[:-1] * edges[1:]) ** 0.5), np.unwrap(phases), 1)[0]
        assert slope == pytest.approx(2 * hand / np.tan(np.deg2rad(pitch)), rel=0.2)


def test_a_dust_lane_dims_blue_more_than_red_and_only_in_the_plane() -> None:
    layers = draw(make_galaxy(odd="dust-lane", odd_strength=0.8, inclination=88.0, disk_axis_ratio=0.15))
    passed = np.array([layers.transmit(band) for band in BANDS])
    assert (passed > 0).all()
    assert (passed <= 1).all()
    deepest = passed.min(axis=(1, 2))
    assert (np.diff(deepest) > 0).all()
    assert deepest[0] < 0.4
    across = passed[1, :, 80]
    assert abs(int(np.argmin(across)) - 80) <= 2
    assert across[0] > 0.999
    assert across[-1] > 0.999
    assert draw(make_galaxy()).transmit("r") is None


def test_what_is_lopsided_is_not_even() -> None:
    def shift(**changes: Any) -> float:
        (centre, _, _) = measure_moments(draw(make_galaxy(**changes)).disk)
        return float(np.hypot(*(centre - 79.5)))

    assert shift() < 0.01
    assert 0.3 < shift(odd="irregular", odd_strength=0.5) < shift(odd="irregular", odd_strength=1.0)


def test_smooth_arms_have_the_arms_light_at_every_radius() -> None:
    layers = draw(make_galaxy(arms=3, arm_strength=1.0, pitch=20.0))
    (arms,) = [layer.light for layer in layers.layers if layer.name == "arms"]
    ring = (layers.radius[..., None] // 1.5 == np.arange(1, 7)).reshape(-1, 6).T
    ours, smooth = (np.array([light.ravel()[one].sum() for one in ring]) for light in (arms, layers.smooth_arms))
    np.testing.assert_allclose(ours, smooth, rtol=0.12)
