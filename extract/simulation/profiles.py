"""The standard profiles: how light falls off from a centre. All are surface brightness on a grid, not normalised."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

Array = np.ndarray[Any, Any]


def sersic(radius: Array, half_light: float, index: float) -> Array:
    """
    Sersic's profile, exp(-b ((R / Re)^(1/n) - 1)).

    Parameters
    ----------
    radius : array
        Elliptical radius, in the unit of `half_light`.
    half_light : float
        The radius of half of the light.
    index : float
        1 is an exponential disk, 4 de Vaucouleurs' profile.

    References
    ----------
    Sersic 1963, Boletin de la Asociacion Argentina de Astronomia 6, 41; b from Ciotti & Bertin 1999, A&A 352, 447,
    equation 18.
    """
    b = 2 * index - 1 / 3 + 4 / (405 * index) + 46 / (25515 * index**2)
    return np.asarray(np.exp(-b * ((radius / half_light) ** (1 / index) - 1)))


def edge_on_disk(along: Array, across: Array, scale: float, height: float) -> Array:
    """
    An exponential disk seen from the side, (R / h) K1(R / h) sech2(z / z0).

    References
    ----------
    van der Kruit & Searle 1981, A&A 95, 105, equation 5.
    """
    x = np.maximum(np.abs(along) / scale, 1e-3)
    return np.asarray(x * special.k1(x) / np.cosh(np.minimum(np.abs(across) / height, 40)) ** 2)


def ferrers_bar(along: Array, across: Array, length: float, width: float) -> Array:
    """
    A bar, (1 - m^2)^2 inside the generalised ellipse m = ((|x| / a)^c + (|y| / b)^c)^(1/c) = 1 with c = 3.

    References
    ----------
    Ferrers 1877, Quarterly Journal of Pure and Applied Mathematics 14, 1; the ellipse from Athanassoula et al. 1990,
    MNRAS 245, 130.
    """
    m = (np.abs(along / length) ** 3 + np.abs(across / width) ** 3) ** (1 / 3)
    return np.asarray(np.maximum(1 - m**2, 0) ** 2)


def spiral_pattern(radius: Array, angle: Array, arms: int, pitch: float, start: float, sharpness: float) -> Array:
    """
    Logarithmic spiral arms: how much brighter than the azimuthal mean, which is one at every radius.

    The phase is m (phi - cot(pitch) ln(R / R0)); across an arm the profile is von Mises', exp(k cos(phase)) / I0(k).

    Parameters
    ----------
    radius, angle : array
        In the plane of the disk; radians.
    arms : int
        How many, m.
    pitch : float
        Degrees; small is tightly wound, negative winds the other way.
    start : float
        Radius where the arms have angle 0, R0.
    sharpness : float
        k; large is narrow.

    References
    ----------
    Binney & Tremaine 2008, Galactic Dynamics, section 6.1.3 (pitch angle).
    """
    wound = np.log(np.maximum(radius, 1e-3 * start) / start) / np.tan(np.deg2rad(pitch))
    return np.asarray(np.exp(sharpness * (np.cos(arms * (angle - wound)) - 1)) / special.i0e(sharpness))


def moffat(radius_squared: Array, fwhm: float, beta: float) -> Array:
    """
    A star, (1 + (r / alpha)^2)^-beta with alpha = FWHM / (2 sqrt(2^(1/beta) - 1)).

    References
    ----------
    Moffat 1969, A&A 3, 455.
    """
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    return np.asarray((1 + radius_squared / alpha**2) ** -beta)
