"""What a survey's telescope and its Galaxy Zoo release do to the sky: pixels, seeing, noise, frame and colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]
FRAME = 424  # pixels of Galaxy Zoo's images, whatever their scale

# AB colours of old and young stars between neighbouring bands, of an elliptical and a blue disk (optical: Fukugita et
# al. 1995, PASP 107, 945; near infrared: usual Vega colours of galaxies, to AB by Hewett et al. 2006, MNRAS 367, 454)
BANDS = ("g", "r", "i", "z", "Y", "J", "K")
OLD = (0.71, 0.38, 0.22, 0.15, 0.12, 0.25)
YOUNG = (0.30, 0.12, 0.02, 0.02, 0.03, 0.02)
REDSHIFTED = (1.9, 0.4, 0.3, 0.1, 0.1, 0.0)  # change of an old colour per unit redshift
DUST = (1.0, 0.6, 0.45, 0.35, 0.3, 0.5)  # reddening of a colour per E(g-r)


@dataclass(frozen=True)
class Band:
    """
    One filter's images.

    Parameters
    ----------
    name : str
    seeing : float
        Full width at half maximum in arcsec.
    noise : float
        Of the sky, in nanomaggies a pixel.
    electrons : float
        Per nanomaggie: the noise of the galaxy's own light.
    """

    name: str
    seeing: float
    noise: float
    electrons: float


@dataclass(frozen=True)
class Instrument:
    """
    One survey.

    Parameters
    ----------
    survey : str
    pixel_scale : float
        Arcsec a pixel of its images (not of Galaxy Zoo's frames).
    bands : tuple of Band
        Three, blue to red.
    beta : float
        Of the Moffat profile of its stars.
    saturation : float
        Nanomaggies a pixel above which a star is spoilt.
    smoothing : float
        Standard deviation in pixels of the Gaussian that the release's pictures were smoothed with.
    """

    survey: str
    pixel_scale: float
    bands: tuple[Band, Band, Band]
    beta: float
    saturation: float
    smoothing: float = 0.0

    @property
    def detection(self) -> Band:
        """The band that volunteers see most of: the middle one."""
        return self.bands[1]


# SDSS: seeing and sky of York et al. 2000, AJ 120, 1579; the noise is that of 54 s of its sky at r = 20.9, g = 22.0 and
# i = 20.2 magnitudes a square arcsec, electrons by its zero points and gains. DECaLS: pixels, seeing and depth (5 sigma
# 24.0, 23.4, 22.5 for small galaxies) of Dey et al. 2019, AJ 157, 168, noise and saturation as its pictures show them.
# UKIDSS: pixels and 5 sigma depths of Lawrence et al. 2007, MNRAS 379, 1599 (Y 20.3, J 19.5, K 18.2 in Vega magnitudes)
# over the 4 pi sigma^2 pixels of a star; smoothing for "the pictures seem to be VERY smooth". Moffat's
# beta: usual values.
INSTRUMENTS = {
    instrument.survey: instrument
    for instrument in (
        Instrument(
            "sdss", 0.396,
            (Band("g", 1.44, 0.018, 1000), Band("r", 1.32, 0.0275, 900), Band("i", 1.26, 0.042, 740)), 3.0, np.inf,
        ),
        Instrument(
            "decals", 0.262,
            (Band("g", 1.30, 0.0040, 4000), Band("r", 1.20, 0.0065, 4000), Band("z", 1.10, 0.0160, 2500)), 3.0, 40.0,
        ),
        Instrument(
            "ukidss", 0.4,
            (Band("Y", 0.95, 0.26, 150), Band("J", 0.90, 0.40, 150), Band("K", 0.85, 0.54, 150)), 2.8, np.inf, 1.9,
        ),
    )
}  # fmt: skip


def measure_frames(survey: str, truth: pd.DataFrame) -> Array:
    """
    The side of each galaxy's frame in arcsec: 424 pixels at the scale of the survey's Galaxy Zoo release.

    GZ2: 0.02 petroR90_r an arcsec pixel (Willett et al. 2013). GZ DECaLS: max(min(0.04 R50, 0.02 R90), 0.1) (Walmsley
    et al. 2022). GZ UKIDSS published no rule: GZ2's is taken, of whose galaxies it is made.
    """
    r50, r90 = truth["petro_r50"].to_numpy(), truth["petro_r90"].to_numpy()
    if survey == "decals":
        return np.asarray(FRAME * np.maximum(np.minimum(0.04 * r50, 0.02 * r90), 0.1))
    return np.asarray(FRAME * 0.02 * r90)


def light_in_bands(old: float, bands: tuple[Band, ...], redshift: float = 0.0, dust: float = 0.0) -> Array:
    """
    (n_bands,) light relative to r of stars of which a share `old` (of the r light) is old.

    Parameters
    ----------
    old : float
    bands : tuple of Band
    redshift : float
    dust : float
        E(g-r) in magnitudes.
    """
    place = [BANDS.index(band.name) for band in bands]

    def relative(colours: Array) -> Array:
        magnitudes = np.concatenate([[0.0], -np.cumsum(colours + dust * np.array(DUST))])
        return np.asarray(10 ** (-0.4 * (magnitudes - magnitudes[1]))[place])

    evolved = np.array(OLD) + redshift * np.array(REDSHIFTED)
    return np.asarray(old * relative(evolved) + (1 - old) * relative(np.array(YOUNG)))


def to_light(magnitude: float) -> float:
    """Nanomaggies of an AB magnitude: 1 is magnitude 22.5."""
    return float(10 ** (-0.4 * (magnitude - 22.5)))
