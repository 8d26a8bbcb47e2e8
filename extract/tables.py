"""Any table file as a DataFrame, and the checks on ids and positions at the door."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embeddings.errors import CatalogError, did_you_mean

ASTROPY_FORMATS = {
    ".fits": "fits", ".fit": "fits", ".fits.gz": "fits",
    ".vot": "votable", ".votable": "votable", ".xml": "votable",
    ".ecsv": "ascii.ecsv",
}  # fmt: skip
PANDAS_FORMATS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".parquet")
EXACT_INTEGERS = 2**53  # above this a float64 no longer holds every integer


def read_table(file: Path, text_columns: Sequence[str] = ()) -> pd.DataFrame:
    """
    Read CSV, TSV, Parquet, FITS, VOTable or ECSV; columns that hold arrays are left out.

    Parameters
    ----------
    file : Path
    text_columns : sequence of str
        Columns of a text file that are read as text (18-digit ids).

    Raises
    ------
    CatalogError
        When the file is missing, of an unknown kind, or unreadable.
    """
    if not file.is_file():
        raise CatalogError(f"{file} does not exist. Give the path of a table.")
    suffix = "".join(file.suffixes[-2:]).lower() if file.suffix.lower() == ".gz" else file.suffix.lower()
    try:
        if suffix in ASTROPY_FORMATS:
            return _read_astropy(file, ASTROPY_FORMATS[suffix])
        if suffix == ".parquet":
            return pd.read_parquet(file)
        if suffix in PANDAS_FORMATS:
            separator = "\t" if ".tsv" in suffix else None if suffix == ".txt" else ","
            engine: Any = "python" if separator is None else "c"
            return pd.read_csv(file, sep=separator, engine=engine, dtype=dict.fromkeys(text_columns, str))
    except Exception as error:  # each reader has its own
        raise CatalogError(f"{file} cannot be read: {type(error).__name__}: {error}") from error
    known = ", ".join((*PANDAS_FORMATS, *ASTROPY_FORMATS))
    raise CatalogError(f"{file}: tables that end in {suffix or 'nothing'} are not known. Known: {known}.")


def _read_astropy(file: Path, kind: str) -> pd.DataFrame:
    from astropy.table import Table

    table = Table.read(file, format=kind)
    frame = table[[name for name in table.colnames if table[name].ndim == 1]].to_pandas()
    for name in frame.columns:  # FITS gives text as bytes
        if frame[name].dtype == object and frame[name].map(lambda value: isinstance(value, bytes)).any():
            frame[name] = frame[name].str.decode("utf-8").str.strip()
    return frame


def require_column(table: pd.DataFrame, name: str, file: Path) -> None:
    """Raise `CatalogError` with the nearest names unless the table has the column."""
    if name not in table.columns:
        raise CatalogError(f"{file} has no column {name!r}. {did_you_mean(name, map(str, table.columns))}")


def read_ids(column: pd.Series[Any], file: Path) -> pd.Series[Any]:
    """
    Ids as text, each there and each once.

    Raises
    ------
    CatalogError
        When ids are missing, repeated, or were floats that no longer hold all their digits.
    """
    if pd.api.types.is_float_dtype(column.dtype):
        values = column.to_numpy(dtype=float, na_value=np.nan)
        finite = values[np.isfinite(values)]
        if (np.abs(finite) >= EXACT_INTEGERS).any() or (finite != np.round(finite)).any():
            raise CatalogError(
                f"{file}: column {column.name!r} holds floating-point numbers ({finite[:1]}); long ids lose digits "
                "that way. Save it as text or 64-bit integers and try again."
            )
        ids = pd.Series([f"{v:.0f}" if np.isfinite(v) else "" for v in values], dtype=object)
    else:
        ids = (
            column.map(lambda value: "" if pd.isna(value) else str(value).strip()).astype(object).reset_index(drop=True)
        )
        floats = ids[ids.str.fullmatch(r"[+-]?\d+(\.\d*)?[eE]\+?\d+")]
        if len(floats):
            raise CatalogError(
                f"{file}: column {column.name!r} holds ids written as floats ({floats.iloc[0]}), which lost digits. "
                "Save it as text or integers and try again."
            )
    if (ids == "").any():
        raise CatalogError(
            f"{file}: {int((ids == '').sum())} rows have no id (first: row {int(np.argmax(ids == ''))})."
        )
    repeated = ids[ids.duplicated()].unique()
    if len(repeated):
        raise CatalogError(
            f"{file}: {len(repeated)} ids appear more than once: {', '.join(repeated[:5])}"
            f"{' ...' if len(repeated) > 5 else ''}. Keep one row a galaxy."
        )
    return ids


def read_positions(
    table: pd.DataFrame, ra_column: str | None, dec_column: str | None, file: Path
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """
    Right ascension and declination in degrees, NaN where the table has none.

    Raises
    ------
    CatalogError
        When a named column is missing or a position cannot be.
    """
    if (ra_column is None) != (dec_column is None):
        raise CatalogError("--ra and --dec go together.")
    by_name = {str(name).lower(): name for name in table.columns}
    if ra_column is None and "ra" in by_name and "dec" in by_name:
        ra_column, dec_column = by_name["ra"], by_name["dec"]
    if ra_column is None or dec_column is None:
        return np.full(len(table), np.nan), np.full(len(table), np.nan)
    columns = []
    for name, low, high in ((ra_column, 0, 360), (dec_column, -90, 90)):
        require_column(table, name, file)
        values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        wrong = ~(np.isnan(values) | ((values >= low) & (values <= high)))
        if wrong.any():
            raise CatalogError(
                f"{file}: column {name!r} has {int(wrong.sum())} values outside [{low}, {high}] degrees "
                f"(first: {values[wrong][0]} in row {int(np.argmax(wrong))}). Give ra and dec in degrees ICRS, "
                "blank where unknown."
            )
        columns.append(values)
    return columns[0], columns[1]
