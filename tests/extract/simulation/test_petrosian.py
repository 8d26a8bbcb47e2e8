"""Petrosian radii against quadrature and root finding, one galaxy at a time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate

from extract.simulation.petrosian import BREAK, OUTER, _light_of_disk, disk_profile, measure_petrosian
from tests.extract.simulation.test_releases import solve_petrosian


@pytest.mark.parametrize("index", [1.0, 1.7, 2.5, 4.0, 6.0])
def test_of_a_sersic_profile(index: float) -> None:
    one = np.ones(1)
    r50, r90 = measure_petrosian(one, one, index * one)
    assert r90[0] / r50[0] == pytest.approx(solve_petrosian(index)[0], rel=0.01)


def test_sizes_scale_and_a_disk_has_a_break() -> None:
    one = np.ones(1)
    small, large = (measure_petrosian(one, size * one, 4 * one) for size in (0.5, 2.0))
    assert large[0][0] / small[0][0] == pytest.approx(4, rel=0.01)
    slope = np.diff(np.log(disk_profile(np.array([1.0, 2.0, 3.0, 4.0]))))
    assert slope[[0, 2]] == pytest.approx([-1, -1 / OUTER])
    assert BREAK > 2


def test_light_of_a_disk_by_quadrature() -> None:
    whole = integrate.quad(lambda r: r * disk_profile(r), 0, 60, points=[BREAK])[0]
    for radius in (0.3, 1.7, BREAK, 3.0, 5.0):
        inside = integrate.quad(lambda r: r * disk_profile(r), 0, radius, points=[min(BREAK, radius)])[0]
        assert _light_of_disk(np.array([radius]))[0] == pytest.approx(inside / whole, rel=1e-6)


def test_a_bulge_makes_a_galaxy_more_concentrated() -> None:
    bulge = np.array([0.0, 0.1, 0.3])
    r50, r90 = measure_petrosian(bulge, np.full(3, 0.25), np.full(3, 2.5))
    assert (np.diff(r90 / r50) > 0).all()
    assert r50[0] < 1.678  # of a disk without a break
