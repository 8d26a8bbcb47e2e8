"""Positions on the sky at the door: what they must be, and what they look like when they are wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embeddings.errors import CatalogError
from extract.tables import SENTINEL, Columns, require_column

Array = np.ndarray[Any, Any]
NAMES_COMPARED = 200  # rows: a swap or a wrong unit is in all of them
SAME_PLACE = 30 / 3600  # degrees: names are cut at tenths of seconds, and centres move between catalogs
HOURS_AT_LEAST = 20  # rows spread over the sky before we call numbers up to 24 hours
# 08:26:17.42 +54:12:16.5 or J082617.42+541216.5: the IAU's way to name a source by its place
SEXAGESIMAL = r"(\d\d):?(\d\d):?(\d\d(?:\.\d*)?)\s*([+-])(\d\d):?(\d\d):?(\d\d(?:\.\d*)?)"


def read_positions(
    table: Mapping[str, pd.Series[Any]] | pd.DataFrame,
    ra_column: str | None,
    dec_column: str | None,
    file: Path,
) -> tuple[Array, Array]:
    """
    Right ascension and declination in degrees, NaN where the table has none or -9999.

    Raises
    ------
    CatalogError
        When a named column is missing or a position cannot be.
    """
    if (ra_column is None) != (dec_column is None):
        raise CatalogError("--ra and --dec go together.")
    by_name = {str(name).lower(): str(name) for name in table}
    if ra_column is None and "ra" in by_name and "dec" in by_name:
        ra_column, dec_column = by_name["ra"], by_name["dec"]
    if ra_column is None or dec_column is None:
        n_rows = len(table) if isinstance(table, pd.DataFrame) else len(next(iter(table.values()), ()))
        return np.full(n_rows, np.nan), np.full(n_rows, np.nan)
    for name in (ra_column, dec_column):
        require_column(table, name, file)
    ra, dec = (_to_degrees(table[name]) for name in (ra_column, dec_column))
    for name, values, low, high in ((ra_column, ra, 0, 360), (dec_column, dec, -90, 90)):
        wrong = ~(np.isnan(values) | ((values >= low) & (values <= high)))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise CatalogError(
                f"{file}: column {name!r} has {int(wrong.sum())} values that are not in [{low}, {high}] degrees "
                f"(first: {table[name].iloc[row]} in row {row}). {_guess_fault(ra, dec)}"
                "Give ra and dec in degrees ICRS, blank where unknown."
            )
    return ra, dec


def take_positions(table: Columns, file: Path) -> tuple[Array, Array]:
    """As `read_positions` of a release's own ``ra`` and ``dec``, which leave the table."""
    ra, dec = read_positions(table, None, None, file)
    for column in [name for name in table if name.lower() in ("ra", "dec")]:
        del table[column]
    return ra, dec


def _to_degrees(given: pd.Series[Any]) -> Array:
    """Numbers; NaN where blank or a sentinel, infinite where something else stands."""
    values = pd.to_numeric(given, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    values = np.where(values == SENTINEL, np.nan, values)
    if given.dtype.kind in "iuf" and isinstance(given.dtype, np.dtype):
        return values
    blank = given.isna() | given.astype(str).str.strip().str.lower().isin(("", "nan"))
    sentinel = pd.to_numeric(given, errors="coerce").to_numpy(dtype=float, na_value=np.nan) == SENTINEL
    return np.where(np.isnan(values) & ~blank.to_numpy(dtype=bool) & ~sentinel, np.inf, values)


def _guess_fault(ra: Array, dec: Array) -> str:
    there = np.isfinite(ra) & np.isfinite(dec)
    if there.any() and (np.abs(ra[there]) <= 90).all() and (dec[there] >= 0).all() and (dec[there] > 90).any():
        return "ra and dec look swapped. "
    if there.any() and ((ra < -90) & (dec < -90)).any():
        return "Are those sentinels? "
    return ""


def compare_with_names(ra: Array, dec: Array, names: Sequence[pd.Series[Any]], file: Path) -> None:
    """
    Hold positions against names that tell them, such as J082617.42+541216.5.

    Parameters
    ----------
    ra, dec : (n_galaxies,) array
        Degrees.
    names : sequence of Series of str
        The parts of the names, to be put together. A sample of rows is read; those that name no place are passed over.

    Raises
    ------
    CatalogError
        When most of the sample lie elsewhere: says whether ra and dec are swapped, or in hours or radians.
    """
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    rows = known[np.linspace(0, len(known) - 1, min(len(known), NAMES_COMPARED)).astype(int)]
    sample = [" ".join(map(str, words)) for words in zip(*(part.iloc[rows] for part in names), strict=True)]
    parts = pd.Series(sample, dtype=object).astype(str).str.extract(SEXAGESIMAL)
    named = parts.notna().all(axis=1).to_numpy()
    if not named.any():
        return
    rows, parts = rows[named], parts[named]
    hours, minutes, seconds, degrees, arcminutes, arcseconds = (
        parts[column].to_numpy(dtype=float) for column in (0, 1, 2, 4, 5, 6)
    )
    true_ra = 15 * (hours + minutes / 60 + seconds / 3600)
    true_dec = np.where(parts[3] == "-", -1, 1) * (degrees + arcminutes / 60 + arcseconds / 3600)

    def elsewhere(a: Array, b: Array) -> Array:
        """Which rows are more than `SAME_PLACE` from where their names say."""
        east = ((a - true_ra + 180) % 360 - 180) * np.cos(np.radians(true_dec))
        return np.asarray(np.hypot(east, b - true_dec) > SAME_PLACE)

    x, y = ra[rows], dec[rows]
    wrong = elsewhere(x, y)
    if wrong.mean() <= 0.5:
        return
    row = int(rows[np.argmax(wrong)])
    shown = " ".join(str(part.iloc[row]) for part in names)
    faults = {
        "ra and dec are swapped": (y, x),
        "ra is in hours, not degrees": (15 * x, y),
        "ra and dec are in radians": (np.degrees(x), np.degrees(y)),
    }
    fault = next((words for words, (a, b) in faults.items() if elsewhere(a, b).mean() <= 0.5), "rows seem mixed up")
    raise CatalogError(
        f"{file}: positions do not lie where the names say (row {row}: {shown} at ra {ra[row]:.5f}, "
        f"dec {dec[row]:.5f}): {fault}. Mend the columns ra and dec (degrees ICRS)."
    )


def describe_positions(ra: Array, dec: Array) -> list[str]:
    """What a reader should know about positions: missing ones, and numbers that look like hours."""
    known = np.isfinite(ra) & np.isfinite(dec)
    notes = []
    if not known.all():
        notes.append(f"{int((~known).sum())} of {len(ra)} galaxies have no position")
    x = ra[known]
    if len(x) >= HOURS_AT_LEAST and x.max() <= 24 and np.ptp(x) > 12:
        notes.append(f"all ra lie between {x.min():.1f} and {x.max():.1f}: are they hours? Degrees are expected")
    return notes
