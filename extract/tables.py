"""Any table file as a DataFrame or as columns, and the checks on ids at the door."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet as pq

from embeddings.errors import CatalogError, did_you_mean

ASTROPY_FORMATS = {
    ".fits": "fits", ".fit": "fits", ".fits.gz": "fits",
    ".vot": "votable", ".votable": "votable", ".xml": "votable",
    ".ecsv": "ascii.ecsv",
}  # fmt: skip
PANDAS_FORMATS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".parquet")
Columns = dict[str, "pd.Series[Any]"]
BLOCK = 2**22  # bytes of CSV that a thread takes at once: fewer pieces to put together than Arrow's 2^20 leaves
SENTINEL = -9999  # what surveys write where they have nothing
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
            return _read_parquet(file)
        if suffix in PANDAS_FORMATS:
            return _read_text(file, "\t" if ".tsv" in suffix else None if suffix == ".txt" else ",", text_columns)
    except Exception as error:  # each reader has its own
        raise CatalogError(_explain(file, error)) from error
    known = ", ".join((*PANDAS_FORMATS, *ASTROPY_FORMATS))
    raise CatalogError(f"{file}: tables that end in {suffix or 'nothing'} are not known. Known: {known}.")


def read_columns(file: Path, text_columns: Sequence[str] = ()) -> Columns:
    """
    Read a large regular table as single columns; those used up can be let go of one by one.

    CSV and Parquet are read by Arrow on all cores; columns that hold arrays are left out.

    Parameters
    ----------
    file : Path
    text_columns : sequence of str
        Columns of a text file that are read as text (18-digit ids).

    Raises
    ------
    CatalogError
        As `read_table`.
    """
    suffix = "".join(file.suffixes[-2:]) if file.suffix == ".gz" else file.suffix
    if suffix in (".fits", ".fits.gz") and file.is_file():
        try:
            return dict(_astropy_columns(file, "fits"))
        except Exception as error:  # astropy's kinds are many
            raise CatalogError(_explain(file, error)) from error
    if suffix not in (".csv", ".csv.gz", ".parquet") or not file.is_file():
        frame = read_table(file, text_columns)
        return {str(name): frame[name] for name in frame}
    try:
        table = _read_arrow(file, suffix, text_columns)
        names = table.column_names
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            raise CatalogError(f"{file} has the column {repeated[0]!r} more than once. Keep one of them.")
        exact = {name: _keep_digits(table[name]) for name in names if _loses_digits(table[name])}
        rest = table.drop_columns(list(exact))
        del table  # Arrow's memory goes as the columns are converted, and must not be touched after that
        frame = _decode_bytes(rest.to_pandas(split_blocks=True, self_destruct=True, ignore_metadata=True))
        if suffix != ".parquet":
            exact |= _read_unsigned(file, _find_lossy(frame, 2**63))
    except (pa.ArrowException, OSError, ValueError) as error:  # text that is not UTF-8 is a ValueError
        raise CatalogError(_explain(file, error)) from error
    return {name: exact[name] if name in exact else frame[name] for name in names}


def _explain(file: Path, error: Exception) -> str:
    words = f"{type(error).__name__}: {error}"
    words = words if len(words) < 300 else words[:300] + " ..."
    return (
        f"{file} cannot be read: {words}. If it is damaged, get it again; a CSV must be UTF-8, with commas between the "
        "columns and a name for each."
    )


def _read_arrow(file: Path, suffix: str, text_columns: Sequence[str]) -> pa.Table:
    """A CSV or Parquet file without its nested columns, and without an index that pandas saved."""
    if suffix == ".parquet":
        parquet = pq.ParquetFile(file)
        fields = [field for field in parquet.schema_arrow if not pa.types.is_nested(field.type)]
        return parquet.read([field.name for field in fields if not field.name.startswith("__index_level_")])
    options = pa.csv.ConvertOptions(column_types=dict.fromkeys(text_columns, pa.string()), strings_can_be_null=True)
    blocks = pa.csv.ReadOptions(block_size=BLOCK)
    table = pa.csv.read_csv(file, read_options=blocks, convert_options=options)
    foreign = [field.name for field in table.schema if pa.types.is_binary(field.type)]
    if foreign:
        raise CatalogError(f"{file}: the text in column {foreign[0]!r} is not UTF-8. Save the table as UTF-8.")
    return table


def _loses_digits(column: pa.ChunkedArray) -> bool:
    """Whether it holds integers beside gaps, too long for the floats that pandas would make of them."""
    if not column.null_count or not pa.types.is_integer(column.type):
        return False
    ends = pa.compute.min_max(column).as_py()
    return ends["min"] is not None and max(-ends["min"], ends["max"]) > EXACT_INTEGERS


def _keep_digits(column: pa.ChunkedArray) -> pd.Series[Any]:
    kind: Any = "UInt64" if pa.types.is_unsigned_integer(column.type) else "Int64"
    return pd.Series(pd.array(column.to_pylist(), dtype=kind))


def _find_lossy(frame: pd.DataFrame, largest: int = EXACT_INTEGERS) -> list[str]:
    """Columns that were read as floats and may have been longer integers."""
    return [str(name) for name in frame.select_dtypes("float") if (frame[name].abs() >= largest).any()]


def _read_unsigned(file: Path, columns: Sequence[str]) -> dict[str, pd.Series[Any]]:
    """Integers from 2^63 on, as SDSS's specObjID has them; true floats are left out."""
    if not columns:
        return {}
    types = dict.fromkeys(columns, pa.string())
    options = pa.csv.ConvertOptions(column_types=types, include_columns=columns, strings_can_be_null=True)
    text = pa.csv.read_csv(file, convert_options=options).to_pandas()
    exact = {
        name: text[name].dropna().str.fullmatch(r"\d{1,19}|1[0-7]\d{18}") for name in columns
    }  # below 1.8e19 < 2^64
    whole = [name for name in columns if exact[name].all()]
    return {name: pd.to_numeric(text[name], dtype_backend="numpy_nullable").astype("UInt64") for name in whole}


def _read_text(file: Path, separator: str | None, text_columns: Sequence[str]) -> pd.DataFrame:
    engine: Any = "python" if separator is None else "c"
    frame = pd.read_csv(file, sep=separator, engine=engine, dtype=dict.fromkeys(text_columns, str))
    # integers beside gaps were read as floats: those that lost digits are read again
    if lossy := _find_lossy(frame):
        frame[lossy] = pd.read_csv(file, sep=separator, engine=engine, usecols=lossy, dtype_backend="numpy_nullable")
    return frame


def _read_parquet(file: Path) -> pd.DataFrame:
    table = pq.read_table(file)
    table = table.select([i for i, kind in enumerate(table.schema.types) if not pa.types.is_nested(kind)])
    frame = table.to_pandas()
    # an index that was saved with the table would reorder rows later on: it becomes a column, or goes
    frame = frame.reset_index(drop=all(name is None for name in frame.index.names))
    frame.columns = frame.columns.map(str)
    for name in frame.select_dtypes("float"):  # integers beside gaps, which lose digits as floats
        if name in table.column_names and pa.types.is_integer(table[name].type):
            frame[name] = pd.array(table[name].to_pylist(), dtype="Int64")
    return _decode_bytes(frame)


def _read_astropy(file: Path, kind: str) -> pd.DataFrame:
    return pd.DataFrame(dict(_astropy_columns(file, kind)), copy=False)


def _astropy_columns(file: Path, kind: str) -> Iterator[tuple[str, pd.Series[Any]]]:
    """One column after the other, so that a large table is not in memory twice over."""
    from astropy.table import Table

    table = Table.read(file, format=kind)
    for name in [name for name in table.colnames if table[name].ndim == 1]:
        frame = _decode_bytes(table[[name]].to_pandas())  # of a sky coordinate, ra and dec
        yield from ((str(part), frame[part]) for part in frame if not _holds(frame[part], np.ndarray))


def _decode_bytes(frame: pd.DataFrame) -> pd.DataFrame:
    """Text that a file holds as bytes, as text."""
    for name in frame.columns:
        if _holds(frame[name], bytes):
            frame[name] = frame[name].str.decode("utf-8").str.strip()
    return frame


def _holds(column: pd.Series[Any], kind: type) -> bool:
    return column.dtype == object and any(isinstance(value, kind) for value in column)


def clear_sentinels(table: Columns) -> list[str]:
    """Take -9999 out of every column of numbers, and say of which."""
    found = []
    for name, column in table.items():
        if column.dtype.kind in "if" and (lost := column == SENTINEL).any():
            found.append(f"{name} ({int(lost.sum())})")
            table[name] = column.astype("Int64" if column.dtype.kind == "i" else column.dtype).mask(lost)
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return [f"{SENTINEL} taken as missing in {', '.join(found[:8])}{more}"] if found else []


def require_column(table: Iterable[Any], name: str, file: Path) -> None:
    """Raise `CatalogError` with the nearest names unless the table has the column."""
    if name not in (known := [str(column) for column in table]):
        raise CatalogError(f"{file} has no column {name!r}. {did_you_mean(name, known)}")


def read_ids(column: pd.Series[Any], file: Path, allow_repeats: bool = False) -> pd.Series[Any]:
    """
    Ids as text, each there and, unless repeats are allowed, each once.

    Raises
    ------
    CatalogError
        When ids are missing, repeated, or were floats that no longer hold all their digits.
    """
    if pd.api.types.is_float_dtype(column.dtype):
        ids = _ids_of_floats(column, file)
    else:
        ids = column.astype("str").str.strip().fillna("").reset_index(drop=True)
        exponents = ids[ids.str.fullmatch(r"[+-]?\d+(\.\d*[eE][+-]?\d+|[eE]\+\d+)")]  # not 12e45678, a hash
        if len(exponents):
            raise CatalogError(
                f"{file}: column {column.name!r} holds ids written as floats ({exponents.iloc[0]}), which lost digits. "
                "Save it as text or integers and try again."
            )
        if len(ids) and ids.str.fullmatch(r"[+-]?\d+\.0*").all():  # a float column that was saved as text
            ids = _ids_of_floats(pd.Series(ids.to_numpy(dtype=float), name=column.name), file)
    ids = ids.astype(object)
    if (ids == "").any():
        raise CatalogError(
            f"{file}: {int((ids == '').sum())} rows have no id (first: row {int(np.argmax(ids == ''))})."
        )
    repeated = ids[ids.duplicated()].unique()
    if len(repeated) and not allow_repeats:
        raise CatalogError(
            f"{file}: {len(repeated)} ids appear more than once: {', '.join(repeated[:5])}"
            f"{' ...' if len(repeated) > 5 else ''}. Keep one row a galaxy."
        )
    return ids


def _ids_of_floats(column: pd.Series[Any], file: Path) -> pd.Series[Any]:
    """Floats as whole numbers, unless they are too long to have kept all digits."""
    exact = 2**24 if column.dtype in ("float32", "Float32") else EXACT_INTEGERS
    values = column.to_numpy(dtype=float, na_value=np.nan)
    finite = values[np.isfinite(values)]
    if (np.abs(finite) >= exact).any() or (finite != np.round(finite)).any():
        raise CatalogError(
            f"{file}: column {column.name!r} holds floating-point numbers ({finite[:1]}); long ids lose digits "
            "that way. Save it as text or 64-bit integers and try again."
        )
    return pd.Series([f"{v:.0f}" if np.isfinite(v) else "" for v in values], dtype=object)
