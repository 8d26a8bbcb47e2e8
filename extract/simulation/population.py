"""One population of galaxies, whoever looks at it: shapes, sizes, brightness, colours and places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from astropy.cosmology import FlatLambdaCDM
from scipy.special import ndtri

from extract.simulation.petrosian import measure_petrosian

Array = np.ndarray[Any, Any]

KINDS = {"elliptical": 0.26, "lenticular": 0.14, "spiral": 0.55, "irregular": 0.05}
BRIGHTEST, FAINTEST = 13.5, 17.0  # apparent r: where GZ2's main sample ends (Willett et al. 2013)
COUNTS = 0.6  # log10 of galaxies a magnitude in a Euclidean universe
ABSMAG = {"elliptical": (-21.7, 0.7), "lenticular": (-21.3, 0.7), "spiral": (-21.1, 0.8), "irregular": (-19.2, 0.8)}
COSMOLOGY = FlatLambdaCDM(H0=70, Om0=0.3)
# Shen et al. 2003, MNRAS 343, 978, equations 14 to 16: log10 of the half-light radius in kpc by absolute r magnitude
EARLY_SIZE = (0.60, -4.63)
LATE_SIZE = (0.21, 0.53, -1.31, -20.52)
SIZE_SPREAD = (0.48, 0.25)
SMALLEST_R90 = 3.0  # arcsec: GZ2 took galaxies with petroR90_r above 3 arcsec (Willett et al. 2013)
ARMS = {1: 0.06, 2: 0.56, 3: 0.15, 4: 0.10, 5: 0.07, 6: 0.06}
ODD = {"ring": 0.05, "lens-or-arc": 0.01, "disturbed": 0.05, "other": 0.02, "merger": 0.07, "dust-lane": 0.05}
NEED_DISK = ("ring", "lens-or-arc", "disturbed", "other")
SURVEY_SHARES = {"in_sdss": (0.0, 0.7), "in_decals": (0.4, 1.0)}  # of one draw: three in ten are in both
UKIDSS_SHARE = 0.4  # of SDSS's
FIELDS = 64  # numbers drawn for each galaxy; more than are used, so that new ones change no sky


def draw_population(galaxies: int, seed: int) -> pd.DataFrame:
    """
    Draw galaxies; the first of a larger population are those of a smaller one.

    Parameters
    ----------
    galaxies : int
    seed : int

    Returns
    -------
    DataFrame
        One row a galaxy: where it is (``ra``, ``dec`` in degrees, ``redshift``), how bright (``mag_r``, ``absmag_r``)
        and large (``petro_r50``, ``petro_r90`` in arcsec), its parts (radii in arcsec, angles in degrees, shares of the
        r light) and ``in_sdss``, ``in_decals``, ``in_ukidss``.
    """
    draws = _Draws(np.random.default_rng([seed, 0]).random((galaxies, FIELDS)))
    sky = pd.DataFrame({"galaxy": np.arange(galaxies)})
    _place(sky, draws)
    _weigh(sky, draws)
    _build(sky, draws)
    _decorate(sky, draws)
    _colour(sky, draws)
    choice = draws.uniform()
    for name, (low, high) in SURVEY_SHARES.items():
        sky[name] = (choice >= low) & (choice < high)
    sky["in_ukidss"] = sky["in_sdss"] & (draws.uniform() < UKIDSS_SHARE)
    return sky


class _Draws:
    """Columns of uniform numbers, each used once, in a fixed order."""

    def __init__(self, table: Array) -> None:
        self._columns: Iterator[Array] = iter(table.T)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Array:
        return low + (high - low) * next(self._columns)

    def normal(self, mean: Any = 0.0, spread: Any = 1.0) -> Array:
        return np.asarray(mean + spread * ndtri(np.clip(next(self._columns), 1e-9, 1 - 1e-9)))

    def choose(self, shares: dict[Any, float]) -> Array:
        """One of the keys; shares that add up to less than one leave the rest to an empty string."""
        names = np.array([*shares, ""] if sum(shares.values()) < 1 - 1e-9 else [*shares])
        return names[np.minimum(np.searchsorted(np.cumsum([*shares.values()]), self.uniform()), len(names) - 1)]


def _place(sky: pd.DataFrame, draws: _Draws) -> None:
    """All over the northern sky; two galaxies closer than a few arcsec are as rare as chance has it."""
    sky["ra"] = draws.uniform(0, 360)
    sky["dec"] = np.rad2deg(np.arcsin(draws.uniform(0, 0.85)))
    sky["position_angle"] = draws.uniform(0, 180)


def _weigh(sky: pd.DataFrame, draws: _Draws) -> None:
    """Kind, brightness, distance and size: a magnitude-limited sample, with the size each luminosity has."""
    kind = draws.choose(KINDS)
    span = 1 - 10 ** (COUNTS * (BRIGHTEST - FAINTEST))
    mag = FAINTEST + np.log10(1 - span * draws.uniform()) / COUNTS
    mean, spread = np.array([ABSMAG[name] for name in kind]).reshape(-1, 2).T
    absmag = np.clip(draws.normal(mean, spread), -23.2, -17.0)
    z = np.geomspace(0.003, 0.3, 300)
    modulus = COSMOLOGY.distmod(z).value + z  # the K correction in r is about one magnitude per unit redshift
    redshift = np.interp(mag - absmag, modulus, z)
    late = np.isin(kind, ("spiral", "irregular"))
    a, b = EARLY_SIZE
    alpha, beta, gamma, knee = LATE_SIZE
    log_size = np.where(
        late,
        -0.4 * alpha * absmag + (beta - alpha) * np.log10(1 + 10 ** (-0.4 * (absmag - knee))) + gamma,
        -0.4 * a * absmag + b,
    )
    spread = SIZE_SPREAD[1] + (SIZE_SPREAD[0] - SIZE_SPREAD[1]) / (1 + 10 ** (-0.8 * (absmag - knee)))
    kpc = 10**log_size * np.exp(spread * np.clip(draws.normal(), -2.2, 2.2))
    arcsec = kpc / (COSMOLOGY.kpc_proper_per_arcmin(redshift).value / 60)
    bulge = np.where(late, np.clip(np.exp(draws.normal(-2.1, 0.7)), 0.01, 0.45), draws.uniform(0.25, 0.5))
    bulge = np.where(kind == "elliptical", 1.0, np.where(kind == "irregular", bulge * 0.15, bulge))
    columns = {"kind": kind, "mag_r": mag, "absmag_r": absmag, "redshift": redshift, "bulge_fraction": bulge}
    for name, values in (columns | {"petro_r50": arcsec}).items():
        sky[name] = values


def _build(sky: pd.DataFrame, draws: _Draws) -> None:
    """Bulge and disk: scales that give the size, axis ratios, inclination (Hubble 1926)."""
    elliptical, bulge = (sky["kind"] == "elliptical").to_numpy(), sky["bulge_fraction"].to_numpy()
    mean = np.where(sky["kind"] == "lenticular", -1.0, -1.4)
    share = np.where(elliptical, 1.0, np.clip(np.exp(draws.normal(mean, 0.35)), 0.1, 0.7))
    sersic = np.where(elliptical, np.clip(draws.normal(3.0, 0.8), 1.5, 6), draws.uniform(1.0, 4.0))
    r50, r90 = measure_petrosian(bulge, share, sersic)
    scale = np.maximum(sky["petro_r50"] / r50, SMALLEST_R90 / r90)
    sky["petro_r50"], sky["petro_r90"] = scale * r50, scale * r90
    sky["disk_scale"], sky["bulge_radius"] = scale, share * scale
    sky["bulge_sersic"] = sersic
    sky["bulge_boxy"] = draws.uniform() < 0.15
    cosine = draws.uniform()
    sky["inclination"] = np.where(elliptical, 0.0, np.rad2deg(np.arccos(cosine)))
    thickness = np.where(sky["kind"] == "spiral", draws.uniform(0.06, 0.16), draws.uniform(0.2, 0.4))
    sky["thickness"] = thickness
    disk = np.sqrt(cosine**2 + thickness**2 * (1 - cosine**2))
    spheroid = np.clip(draws.normal(0.78, 0.15), 0.35, 1.0)
    sky["disk_axis_ratio"] = np.where(elliptical, spheroid, disk)
    sky["bulge_axis_ratio"] = np.where(elliptical, spheroid, 1 - (1 - draws.uniform(0.6, 0.9)) * (1 - cosine**2))
    sky["axis_ratio"] = np.where(elliptical, spheroid, bulge * sky["bulge_axis_ratio"] + (1 - bulge) * disk)


def _decorate(sky: pd.DataFrame, draws: _Draws) -> None:
    """Bars, arms, rings, knots and what is odd. A larger bulge winds its arms tighter."""
    kind, bulge = sky["kind"], sky["bulge_fraction"]
    barred = draws.uniform() < np.select([kind == "spiral", kind == "lenticular"], [0.45, 0.3], 0.0)
    sky["bar_strength"] = np.where(barred, draws.uniform(0.08, 0.3), 0.0)
    sky["bar_length"] = draws.uniform(0.7, 1.6) * sky["disk_scale"]
    sky["bar_angle"] = draws.uniform(0, 180)
    armed = (kind == "spiral") & (draws.uniform() < 0.8)
    sky["arms"] = np.where(armed, draws.choose(ARMS).astype(int), 0)
    sky["arm_strength"] = np.where(armed, draws.uniform(0.25, 0.95), 0.0)
    sky["arm_width"] = draws.uniform(1.0, 4.0)
    sky["pitch"] = np.clip(draws.normal(27 - 28 * bulge, 6), 7, 42)
    sky["handedness"] = np.where(draws.uniform() < 0.5, 1, -1)
    sky["knots"] = np.select([kind == "spiral", kind == "irregular"], [draws.uniform(0, 0.25), 0.35], 0.0)
    odd = draws.choose(ODD)
    flat = np.isin(kind, ("spiral", "lenticular"))
    odd = np.where(np.isin(odd, NEED_DISK) & ~flat, "", odd)
    odd = np.where((odd == "dust-lane") & ~(flat & (sky["inclination"] > 65)), "", odd)
    sky["odd"] = np.where(kind == "irregular", "irregular", odd)
    sky["odd_strength"] = np.where(sky["odd"] == "", 0.0, draws.uniform(0.4, 1.0))
    ringed = (sky["odd"] == "ring") | (flat & (draws.uniform() < 0.08))
    sky["ring_strength"] = np.where(ringed, draws.uniform(0.2, 0.5), 0.0)
    sky["ring_radius"] = draws.uniform(1.4, 2.6) * sky["disk_scale"]
    sky["companion_ratio"] = draws.uniform(0.15, 0.9)
    sky["companion_distance"] = draws.uniform(1.2, 3.0) * sky["petro_r50"]
    sky["companion_angle"] = draws.uniform(0, 360)


def _colour(sky: pd.DataFrame, draws: _Draws) -> None:
    """How much of a disk's light is of old stars, and how much dust reddens it: more through an inclined disk."""
    mean = sky["kind"].map({"elliptical": 1.0, "lenticular": 0.9, "spiral": 0.33, "irregular": 0.1}).to_numpy()
    sky["disk_old"] = np.clip(draws.normal(mean + 0.5 * (sky["bulge_fraction"] - 0.2) * (mean < 1), 0.22), 0, 1)
    sky["disk_old"] = np.where(sky["kind"] == "elliptical", 1.0, sky["disk_old"])
    spiral = (sky["kind"] == "spiral").to_numpy(float)
    sky["reddening"] = np.clip(draws.normal(0.02, 0.03), 0, None) - 0.22 * spiral * np.log10(sky["disk_axis_ratio"])
    sky["colour_offset"] = draws.normal(0, 0.04)
