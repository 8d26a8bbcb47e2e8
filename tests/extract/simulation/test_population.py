"""The population: who is drawn, how bright and large, and what follows from what."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from extract.simulation.population import ARMS, BRIGHTEST, FAINTEST, KINDS, ODD, draw_population

FLAT = ("spiral", "lenticular")
N = 20_000


@pytest.fixture(scope="module")
def sky() -> pd.DataFrame:
    return draw_population(N, 11)


def holds(share: float, drawn: pd.Series) -> bool:
    """Whether chance allows a share: five standard deviations of a binomial."""
    return abs(drawn.mean() - share) < 5 * np.sqrt(share * (1 - share) / len(drawn))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 2**32))
def test_the_first_galaxies_of_a_larger_sky_are_those_of_a_smaller(few: int, more: int, seed: int) -> None:
    small, large = draw_population(few, seed), draw_population(few + more, seed)
    pd.testing.assert_frame_equal(small, large.iloc[:few])


def test_another_seed_is_another_sky() -> None:
    one, two = draw_population(50, 0), draw_population(50, 1)
    for column in ("ra", "dec", "mag_r", "absmag_r", "bar_angle", "companion_ratio"):
        assert not np.isin(one[column], two[column]).any(), column


def test_surveys_overlap_as_asked_for(sky: pd.DataFrame) -> None:
    assert holds(0.7, sky["in_sdss"])
    assert holds(0.6, sky["in_decals"])
    assert holds(0.3, sky["in_sdss"] & sky["in_decals"])
    assert (sky["in_sdss"] | sky["in_decals"]).all()
    assert not (sky["in_ukidss"] & ~sky["in_sdss"]).any()
    assert holds(0.4, sky.loc[sky["in_sdss"], "in_ukidss"])


def test_shares_of_kinds_arms_and_oddities(sky: pd.DataFrame) -> None:
    assert sum(KINDS.values()) == pytest.approx(1)
    for kind, share in KINDS.items():
        assert holds(share, sky["kind"] == kind), kind
    arms = sky.loc[sky["arms"] > 0, "arms"]
    for number, share in ARMS.items():
        assert holds(share, arms == number), number
    spirals = sky[sky["kind"] == "spiral"]
    for odd in ("merger", "disturbed", "ring", "lens-or-arc"):
        assert holds(ODD[odd], spirals["odd"] == odd), odd


def test_counts_grow_as_in_a_euclidean_universe(sky: pd.DataFrame) -> None:
    """N(< m) grows as 10^(0.6 m), as volume does with distance^3."""
    bright, span = 10 ** (0.6 * (BRIGHTEST - FAINTEST)), FAINTEST - BRIGHTEST
    assert span > 1
    below = stats.kstest(sky["mag_r"], lambda m: (10 ** (0.6 * (m - FAINTEST)) - bright) / (1 - bright))
    assert below.pvalue > 1e-4
    assert sky["mag_r"].between(BRIGHTEST, FAINTEST).all()


def test_distance_brightness_and_luminosity_agree(sky: pd.DataFrame) -> None:
    """Luminosity distance of a flat universe with 70 km/s/Mpc and 0.3 of matter by quadrature, and K = z."""
    for galaxy in sky.iloc[:60].itertuples():
        z = galaxy.redshift
        path = integrate.quad(lambda x: (0.3 * (1 + x) ** 3 + 0.7) ** -0.5, 0, z)[0]
        modulus = 5 * np.log10(299_792.458 / 70 * (1 + z) * path) + 25
        assert galaxy.mag_r - galaxy.absmag_r == pytest.approx(modulus + z, abs=2e-3)


@pytest.mark.parametrize(
    ("kinds", "absmag", "kpc"),
    [
        # at its knee a late type has log10 R = 0.4 * 0.21 * 20.52 + 0.32 log10(2) - 1.31 = 0.5100
        (("spiral", "irregular"), -20.52, 3.236),
        # an early type at -21.5: 0.4 * 0.60 * 21.5 - 4.63 = 0.53
        (("elliptical", "lenticular"), -21.5, 3.388),
    ],
)
def test_sizes_follow_luminosity(sky: pd.DataFrame, kinds: tuple[str, ...], absmag: float, kpc: float) -> None:
    """Shen et al. 2003, table 1; the scatter there is 0.25 + 0.23 / (1 + 10^(-0.8 (M + 20.52))) of ln R."""
    alike = sky[sky["kind"].isin(kinds) & (sky["absmag_r"] - absmag).abs().lt(0.1) & (sky["petro_r90"] > 3.0001)]
    z = alike["redshift"].to_numpy()
    grid = np.linspace(0, 0.3, 3001)
    path = integrate.cumulative_simpson((0.3 * (1 + grid) ** 3 + 0.7) ** -0.5, x=grid, initial=0)
    scale = 299_792.458 / 70 * np.interp(z, grid, path) / (1 + z) * 1000 / 206_265  # kpc an arcsec
    sizes = alike["petro_r50"].to_numpy() * scale
    assert len(alike) > 400
    assert np.median(sizes) == pytest.approx(kpc, rel=0.06)
    scatter = 0.25 + 0.23 / (1 + 10 ** (-0.8 * (absmag + 20.52)))
    assert np.diff(np.quantile(np.log(sizes), [0.16, 0.84]))[0] / 2 == pytest.approx(scatter, rel=0.15)


def test_places_and_inclinations_have_no_preference(sky: pd.DataFrame) -> None:
    assert stats.kstest(np.sin(np.deg2rad(sky["dec"])) / 0.85, "uniform").pvalue > 1e-4
    assert stats.kstest(sky["ra"] / 360, "uniform").pvalue > 1e-4
    disks = sky[sky["kind"] != "elliptical"]
    assert stats.kstest(np.cos(np.deg2rad(disks["inclination"])), "uniform").pvalue > 1e-4


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**40))
def test_parts_follow_from_kinds(seed: int) -> None:
    sky = draw_population(150, seed)
    assert np.isfinite(sky.select_dtypes("number").to_numpy()).all()
    kind, flat, spiral = sky["kind"], sky["kind"].isin(FLAT), sky["kind"] == "spiral"
    smooth, irregular = kind == "elliptical", kind == "irregular"
    assert (sky.loc[smooth, ["bulge_fraction", "disk_old"]] == 1).all(axis=None)
    assert (sky.loc[smooth, "inclination"] == 0).all()
    assert sky["bulge_fraction"].between(0, 1).all()
    assert (sky.loc[~smooth, "bulge_fraction"] <= 0.7).all()
    for column in ("disk_axis_ratio", "bulge_axis_ratio", "axis_ratio"):
        assert (sky[column].gt(0) & sky[column].le(1)).all(), column
    edge_on = sky["inclination"] > 85
    assert (sky.loc[edge_on, "disk_axis_ratio"] <= np.hypot(np.cos(np.deg2rad(85)), sky["thickness"][edge_on])).all()

    assert (sky["petro_r90"] >= 3 - 1e-9).all()
    assert (sky["petro_r90"] / sky["petro_r50"]).between(1.5, 3.9).all()
    assert flat[sky["bar_strength"] > 0].all()
    assert spiral[sky["arms"] > 0].all()
    np.testing.assert_array_equal(sky["arms"] > 0, sky["arm_strength"] > 0)
    assert sky["arms"].isin([0, *ARMS]).all()
    assert sky["pitch"].between(5, 45).all()
    assert sky["handedness"].isin((-1, 1)).all()
    assert not sky.loc[~spiral & ~irregular, "knots"].any()

    assert sky["odd"].isin(["", "irregular", *ODD]).all()
    np.testing.assert_array_equal(sky["odd"] == "irregular", irregular)
    np.testing.assert_array_equal(sky["odd"] == "", sky["odd_strength"] == 0)
    assert flat[sky["odd"].isin(("ring", "dust-lane", "lens-or-arc", "disturbed", "other"))].all()
    assert (sky.loc[sky["odd"] == "dust-lane", "inclination"] > 65).all()
    assert (sky.loc[sky["odd"] == "ring", "ring_strength"] > 0).all()
    assert flat[(sky["ring_strength"] > 0)].all()
    assert not (sky["in_ukidss"] & ~sky["in_sdss"]).any()


def test_a_larger_bulge_winds_arms_tighter_and_dust_reddens_the_inclined(sky: pd.DataFrame) -> None:
    spirals = sky[sky["arms"] > 0]
    assert stats.spearmanr(spirals["bulge_fraction"], spirals["pitch"]).statistic < -0.3
    assert stats.spearmanr(spirals["disk_axis_ratio"], spirals["reddening"]).statistic < -0.7
    assert spirals["disk_old"].mean() < sky.loc[sky["kind"] == "lenticular", "disk_old"].mean() - 0.2
