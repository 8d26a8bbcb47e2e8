"""What simulated galaxies are called in each release, and where their images lie."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd

from embeddings.errors import SommelierError, did_you_mean

Array = np.ndarray[Any, Any]

MOST_GALAXIES = 2**24  # that get names of their own
OBJECTS_FROM, OBJECT_BITS = 587_720_000_000_000_000, 44  # as SDSS DR7's 18 digits begin
ODD_FACTOR = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: multiplying by an odd number mixes and loses nothing
HUNDREDTHS_A_DAY = 24 * 3600 * 100  # of seconds of time
IMAGES = {
    "sdss": "images/{name}.jpg",
    "decals": "gz_decals_dr5_png_part1/{name:.4}/{name}.png",
    "ukidss": "images/{name:.21}/{name}.jpg",
}


def name_sdss(galaxies: Array, seed: int) -> pd.DataFrame:
    """
    Names in GZ2.

    Parameters
    ----------
    galaxies : (n_galaxies,) int array
        Numbers in the population, below `MOST_GALAXIES`.
    seed : int
        Of the population: another one gives other names.

    Returns
    -------
    DataFrame
        ``dr7objid``, 18 digits as text, and ``asset_id``, the number of the image: unique, and in no order that tells
        the galaxy.

    Raises
    ------
    SommelierError
        For a number that has no name.
    """
    objects = [str(OBJECTS_FROM + int(number)) for number in _mix(galaxies, seed, OBJECT_BITS)]
    assets = _mix(galaxies, seed + 1, MOST_GALAXIES.bit_length() - 1).astype(np.int64)
    return pd.DataFrame({"dr7objid": objects, "asset_id": assets})


def name_decals(ra: Array, dec: Array) -> list[str]:
    """
    Names in GZ DECaLS, ``J082617.42+541216.5``.

    Galaxies whose places have one name are told apart by tenths of an arcsecond in declination, in their order: the
    names belong to the whole list.

    Parameters
    ----------
    ra, dec : (n_galaxies,) array
        Degrees.
    """
    names = name_places(ra, dec, cut=True)
    taken: set[str] = set()
    for row, name in enumerate(names):
        step = 0
        while name in taken:
            step += 1
            (name,) = name_places(
                ra[row : row + 1], dec[row : row + 1] - np.copysign(step / 36_000, dec[row]), cut=True
            )
        taken.add(name)
        names[row] = name
    return names


def name_ukidss(galaxies: Array, seed: int) -> list[str]:
    """
    Names in GZ UKIDSS: the 24 hexadecimal digits of a Zooniverse subject, the last six counting.

    Parameters, errors: as of `name_sdss`.
    """
    start = "524482bc" + blake2b(str(seed).encode(), digest_size=5).hexdigest()
    return [f"{start}{number:06x}" for number in _check(galaxies).tolist()]


def name_places(ra: Array, dec: Array, cut: bool = False) -> list[str]:
    """
    Names of places, to hundredths of a second of time and tenths of an arcsecond.

    Parameters
    ----------
    ra, dec : (n_galaxies,) array
        Degrees.
    cut : bool
        Whether further digits are cut, as the IAU asks and GZ DECaLS's names have it, or rounded, as in GZ2's
        ``rastring``.
    """
    to_whole = np.floor if cut else np.rint
    times = to_whole(np.asarray(ra, float) / 15 * 360_000).astype(np.int64) % HUNDREDTHS_A_DAY
    arcs = to_whole(np.abs(dec) * 36_000).astype(np.int64)
    return [
        f"J{t // 360_000:02}{t // 6000 % 60:02}{t // 100 % 60:02}.{t % 100:02}"
        f"{sign}{a // 36_000:02}{a // 600 % 60:02}{a // 10 % 60:02}.{a % 10}"
        for t, a, sign in zip(times.tolist(), arcs.tolist(), np.where(np.asarray(dec) < 0, "-", "+"), strict=True)
    ]


def image_path(survey: str, name: str | int) -> str:
    """
    Where an image lies below its release's folder.

    Parameters
    ----------
    survey : {'sdss', 'decals', 'ukidss'}
    name : str or int
        The ``asset_id``, the ``iauname`` or the subject.

    Raises
    ------
    SommelierError
        For an unknown survey.
    """
    if survey not in IMAGES:
        raise SommelierError(f"no release of {survey!r} has images. {did_you_mean(survey, IMAGES)}")
    return IMAGES[survey].format(name=str(name))


def _mix(galaxies: Array, seed: int, bits: int) -> Array:
    """Numbers below 2^bits, one for each galaxy: an affine map modulo a power of two is one to one."""
    (shift,) = np.random.SeedSequence([seed, bits]).generate_state(1, np.uint64)
    mixed = _check(galaxies).astype(np.uint64) * np.uint64(ODD_FACTOR) + shift
    return np.asarray(mixed & np.uint64(2**bits - 1))


def _check(galaxies: Array) -> Array:
    numbers = np.asarray(galaxies, np.int64)
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < MOST_GALAXIES):
        raise SommelierError(
            f"galaxies have names up to number {MOST_GALAXIES - 1}, not {numbers.min()} to {numbers.max()}: "
            "number them from 0 on, and simulate no more than that."
        )
    return numbers
