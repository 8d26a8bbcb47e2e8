"""The profiles against their definitions: integrals, special functions, numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special

from extract.simulation.profiles import edge_on_disk, ferrers_bar, moffat, sersic, spiral_pattern


@pytest.mark.parametrize("index", [1.0, 2.5, 4.0])
def test_half_of_a_sersic_profiles_light_is_inside_its_radius(index: float) -> None:
    def light(low: float, high: float) -> float:
        return integrate.quad(lambda r: r * sersic(np.array(r), 3.0, index), low, high, limit=200)[0]

    inside, outside = light(0, 3), light(3, 30) + light(30, 3000)
    assert inside == pytest.approx(outside, rel=2e-3)


@given(st.floats(0.8, 8))
def test_sersics_constant_is_the_median_of_a_gamma_distribution(index: float) -> None:
    b = np.log(sersic(np.array(0.0), 2.0, index))
    assert b == pytest.approx(special.gammaincinv(2 * index, 0.5), rel=2e-4)


def test_a_sersic_profile_of_index_one_is_exponential() -> None:
    """An exponential's half-light radius is 1.6783 scale lengths."""
    radius = np.array([0.0, 1.0, 5.0])
    expected = np.exp(-radius / 2) * np.exp(1.6783)
    np.testing.assert_allclose(sersic(radius, 1.6783 * 2, 1.0), expected, rtol=3e-4)


@pytest.mark.parametrize("beta", [2.5, 3.0, 4.765])
def test_a_star_has_half_of_its_peak_at_half_of_its_width(beta: float) -> None:
    assert moffat(np.array(0.0), 1.3, beta) == 1
    assert moffat(np.array(0.65**2), 1.3, beta) == pytest.approx(0.5, rel=1e-12)
    # its integral is pi alpha^2 / (beta - 1)
    alpha = 1.3 / (2 * np.sqrt(2 ** (1 / beta) - 1))
    total = integrate.quad(lambda r: 2 * np.pi * r * moffat(np.array(r * r), 1.3, beta), 0, np.inf)[0]
    assert total == pytest.approx(np.pi * alpha**2 / (beta - 1), rel=1e-6)


@given(st.integers(1, 6), st.floats(5, 45), st.sampled_from((-1, 1)), st.floats(0.5, 6), st.floats(0.1, 20))
def test_arms_add_no_light_at_any_radius(arms: int, pitch: float, hand: int, sharpness: float, radius: float) -> None:
    angle = np.arange(720) * (2 * np.pi / 720)
    pattern = spiral_pattern(np.full(720, radius), angle, arms, hand * pitch, 2.0, sharpness)
    assert pattern.mean() == pytest.approx(1, abs=1e-6)
    assert pattern.min() > 0


@pytest.mark.parametrize(
    ("pitch", "growth"),
    [
        (45.0, np.e),  # r = R0 exp(phi tan(pitch)): after one radian e times as far
        (20.0, 1.4390),  # exp(0.36397)
        (-20.0, 0.6949),
    ],
)
def test_pitch_angle_by_hand(pitch: float, growth: float) -> None:
    angle = np.linspace(-0.5, 2.0, 2501)
    for turned in (0.0, 1.0):
        radius = np.full(len(angle), 3 * growth**turned)
        crest = angle[np.argmax(spiral_pattern(radius, angle, 2, pitch, 3.0, 4.0))]
        assert crest == pytest.approx(turned, abs=2e-3)


@pytest.mark.parametrize("arms", [1, 3, 5])
def test_as_many_arms_as_asked_for(arms: int) -> None:
    angle = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    pattern = spiral_pattern(np.full(1000, 4.0), angle, arms, 15.0, 2.0, 3.0)
    crests = (pattern > np.roll(pattern, 1)) & (pattern >= np.roll(pattern, -1))
    assert crests.sum() == arms
    assert pattern.max() == pytest.approx(np.exp(3) / special.i0(3), rel=1e-3)  # 4.115


def test_a_bar_ends_at_its_ellipse() -> None:
    def bar(along: float, across: float) -> float:
        return float(ferrers_bar(np.array(along), np.array(across), 4.0, 1.0))

    assert bar(0, 0) == 1
    assert bar(2, 0) == pytest.approx(0.75**2)  # m = 1/2
    assert bar(0, -0.5) == pytest.approx(0.75**2)
    assert bar(3.99, 0) > 0 == bar(4.01, 0)
    assert bar(0, 0.99) > 0 == bar(0, 1.01)
    edge = 0.5 ** (1 / 3)  # where |x/a| = |y/b|: 0.794, where an ellipse's is 0.707
    assert bar(0.999 * edge * 4, 0.999 * edge) > 0 == bar(1.001 * edge * 4, 1.001 * edge)


@pytest.mark.parametrize("place", [0.1, 1.0, 3.0])
def test_a_disk_from_the_side_is_its_light_along_the_line_of_sight(place: float) -> None:
    depth = integrate.quad(lambda s: 2 * np.exp(-np.hypot(place, s)), 0, np.inf)[0]
    side = float(edge_on_disk(np.array(-place * 2.5), np.array(0.0), 2.5, 0.4))
    assert 2 * side == pytest.approx(depth, rel=1e-6)
    assert side == pytest.approx(place * special.k1(place), rel=1e-9)


def test_a_disk_from_the_side_is_bright_but_finite_in_the_middle_and_thin() -> None:
    """x K1(x) goes to 1; sech2(1) = 0.41997; far away sech2 falls as 4 exp(-2 z / z0)."""
    middle = float(edge_on_disk(np.array(0.0), np.array(0.0), 2.0, 0.5))
    assert middle == pytest.approx(1, abs=1e-4)
    assert edge_on_disk(np.array(0.0), np.array(-0.5), 2.0, 0.5) / middle == pytest.approx(0.41997, rel=1e-4)
    assert edge_on_disk(np.array(0.0), np.array(5.0), 2.0, 0.5) / middle == pytest.approx(4 * np.exp(-20), rel=1e-6)
