"""SDSS's measure of a galaxy's size: Petrosian radii, from the light inside every radius."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import gammainc, gammaincinv

Array = np.ndarray[Any, Any]

RATIO = 0.2  # of surface brightness to its mean inside: the Petrosian radius is where it falls to this
APERTURES = 2.0  # Petrosian radii: the aperture whose light counts
ANNULUS = 1.25  # the brightness at a radius is that between it divided and multiplied by this
STEPS = 20  # radii from one to 1.25 times it
RADII = 1e-3 * ANNULUS ** (np.arange(1000) / STEPS)  # in the unit of the profile, to 70
BLOCK = 2000  # galaxies at a time: memory
# disks fall more steeply beyond a break: at about 2.5 scale lengths, with about half the scale (Pohlen & Trujillo 2006,
# A&A 454, 759, type II)
BREAK, OUTER = 2.1, 0.45


def disk_profile(radius: Array) -> Array:
    """The surface brightness of a disk with a break; the radius is in scale lengths."""
    return np.asarray(np.exp(-np.minimum(radius, BREAK) - np.maximum(radius - BREAK, 0) / OUTER))


def measure_petrosian(bulge: Array, size: Array, index: Array) -> tuple[Array, Array]:
    """
    R50 and R90 of galaxies of a bulge and a disk, seen from above.

    Parameters
    ----------
    bulge : (n_galaxies,) array
        The bulge's share of the light; 1 has no disk.
    size : (n_galaxies,) array
        The bulge's half-light radius, in scale lengths of the disk.
    index : (n_galaxies,) array
        Its Sersic index.

    Returns
    -------
    r50, r90 : (n_galaxies,) arrays
        The radii of half and of nine tenths of the light inside two Petrosian radii, in scale lengths.

    References
    ----------
    Blanton et al. 2001, AJ 121, 2358 (SDSS's definition); Graham & Driver 2005, PASA 22, 118 (the light of a Sersic
    profile inside a radius).
    """
    columns = np.stack([np.asarray(values, float) for values in (bulge, size, index)], axis=1)
    blocks = [_measure_block(columns[start : start + BLOCK]) for start in range(0, len(columns), BLOCK)]
    r50, r90 = np.concatenate(blocks).T
    return r50, r90


def _measure_block(columns: Array) -> Array:
    share, width, power = columns.T[:, :, None]
    steepness = gammaincinv(2 * power, 0.5)
    inside = share * gammainc(2 * power, steepness * (RADII / width) ** (1 / power))
    inside = inside + (1 - share) * _light_of_disk(RADII)
    around = inside[:, 2 * STEPS :] - inside[:, : -2 * STEPS]
    ratio = around / (ANNULUS**2 - ANNULUS**-2) / inside[:, STEPS:-STEPS]
    edges = RADII[STEPS:-STEPS][np.argmax((ratio < RATIO) & (inside[:, STEPS:-STEPS] > RATIO), axis=1)]
    rows = []
    for light, edge in zip(inside, edges, strict=True):
        whole = np.interp(APERTURES * edge, RADII, light)
        rows.append(np.interp([0.5 * whole, 0.9 * whole], light, RADII))
    return np.array(rows)


def _light_of_disk(radius: Array) -> Array:
    """The share of a disk's light inside a radius, in scale lengths."""
    inner = 1 - (1 + np.minimum(radius, BREAK)) * np.exp(-np.minimum(radius, BREAK))
    beyond = np.maximum(radius, BREAK)
    outer = OUTER * np.exp(-BREAK) * ((BREAK + OUTER) - (beyond + OUTER) * np.exp(-(beyond - BREAK) / OUTER))
    whole = 1 - (1 + BREAK) * np.exp(-BREAK) + OUTER * np.exp(-BREAK) * (BREAK + OUTER)
    return np.asarray((inner + outer) / whole)
