"""Every kind of table, and what may not happen to ids and positions on the way in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from embeddings.errors import CatalogError
from extract.tables import read_ids, read_positions, read_table, require_column
from tests.extract.tables import IDS, KINDS, ROWS, as_floats, write_table

HERE = Path("mine.csv")


def ids_of(values: Any, **options: Any) -> list[str]:
    return list(read_ids(pd.Series(values, name="objid", **options), HERE))


# reading


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ids", [str, int])
def test_every_kind_gives_the_same_table(kind: str, ids: type, tmp_path: Path) -> None:
    file = write_table(tmp_path, kind, ids)
    table = read_table(file, ("objid",))
    assert list(table.columns) == list(ROWS)
    assert list(read_ids(table["objid"], file)) == IDS
    assert table["file"].tolist() == ROWS["file"]
    assert table["kind"].fillna("").tolist() == ["round", "flat", "", "round"]
    assert table["seen"].tolist() == ROWS["seen"]
    assert table["t"].tolist() == ROWS["t"]
    for name in ("mag", "RA", "DEC"):
        np.testing.assert_array_equal(table[name].to_numpy(float, na_value=np.nan), as_floats(ROWS[name]))


@pytest.mark.parametrize("kind", KINDS)
def test_long_integers_beside_gaps_keep_their_digits(kind: str, tmp_path: Path) -> None:
    column = read_table(write_table(tmp_path, kind))["specobjid"]
    assert [None if pd.isna(value) else int(value) for value in column] == ROWS["specobjid"]


def test_large_floats_stay_floats(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("luminosity,n\n1.5e40,1\n,2\n2.25e+41,3\n")
    values = read_table(tmp_path / "x.csv")["luminosity"].to_numpy(float, na_value=np.nan)
    np.testing.assert_array_equal(values, [1.5e40, np.nan, 2.25e41])


@pytest.mark.parametrize("order", [[2, 0, 1], [0, 2]], ids=["sorted", "filtered"])
@pytest.mark.parametrize("label", [None, "mag"])
def test_an_index_saved_in_parquet_does_not_reorder_rows(order: list[int], label: str | None, tmp_path: Path) -> None:
    frame = pd.DataFrame({"objid": IDS[:3], "file": ["a", "b", "c"], "mag": [1.0, 2.0, 3.0]}).iloc[order]
    (frame.set_index(label) if label else frame).to_parquet(tmp_path / "x.parquet")
    table = read_table(tmp_path / "x.parquet")
    assert table.index.tolist() == list(range(len(order)))
    assert table["objid"].tolist() == [IDS[i] for i in order]
    assert table["mag"].tolist() == [i + 1.0 for i in order]  # and a named index is a column again


def test_columns_that_hold_arrays_are_left_out(tmp_path: Path) -> None:
    lists = pa.table({"id": ["a", "b"], "flux": [[1.0, 2.0], [3.0]], "both": [{"x": 1}, {"x": 2}], "m": [1, 2]})
    pq.write_table(lists, tmp_path / "x.parquet")
    assert list(read_table(tmp_path / "x.parquet").columns) == ["id", "m"]
    columns = [
        fits.Column("id", "1A", array=["a", "b"]),
        fits.Column("flux", "3E", array=np.ones((2, 3))),
        fits.Column("some", "PD()", array=np.array([np.ones(2), np.ones(3)], dtype=object)),
        fits.Column("m", "J", array=[1, 2]),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "x.fits")
    assert list(read_table(tmp_path / "x.fits").columns) == ["id", "m"]


def test_sky_coordinates_in_ecsv(tmp_path: Path) -> None:
    table = Table({"id": ["a", "b"], "at": SkyCoord([10.5, 20.5], [-1.0, 2.0], unit="deg")})
    table.write(tmp_path / "x.ecsv", format="ascii.ecsv")
    read = read_table(tmp_path / "x.ecsv")
    assert read["at.ra"].tolist() == [10.5, 20.5]
    ra, dec = read_positions(read, "at.ra", "at.dec", HERE)
    assert (ra.tolist(), dec.tolist()) == ([10.5, 20.5], [-1.0, 2.0])


def test_text_stored_as_bytes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [b"ngc 1", "été".encode(), None]}), tmp_path / "x.parquet")
    assert read_table(tmp_path / "x.parquet")["id"].fillna("").tolist() == ["ngc 1", "été", ""]


def test_column_names_that_are_numbers(tmp_path: Path) -> None:
    pd.DataFrame({0: ["a"], 1: ["b"]}).to_parquet(tmp_path / "x.parquet")
    assert list(read_table(tmp_path / "x.parquet").columns) == ["0", "1"]


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"no\.csv does not exist"):
        read_table(tmp_path / "no.csv")
    with pytest.raises(CatalogError, match="does not exist"):
        read_table(tmp_path)


@pytest.mark.parametrize(("name", "said"), [("x.xlsx", r"\.xlsx"), ("x", "nothing"), ("x.h5", r"\.h5")])
def test_an_unknown_kind(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("a,b\n1,2\n")
    with pytest.raises(CatalogError, match=rf"end in {said} are not known\. Known: \.csv, .*\.parquet, \.fits"):
        read_table(tmp_path / name)


@pytest.mark.parametrize("kind", ["csv", "parquet", "fits", "vot", "ecsv"])
def test_a_damaged_table_is_named(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"x.{kind}"
    file.write_bytes(b"" if kind == "csv" else b"\x89 this is not a table" * 9)
    with pytest.raises(CatalogError, match=rf"x\.{kind} cannot be read: \w+"):
        read_table(file)


def test_a_fits_table_cut_short(tmp_path: Path) -> None:
    file = write_table(tmp_path, "fits")
    file.write_bytes(file.read_bytes()[:4000])
    with pytest.raises(CatalogError, match=r"survey\.fits cannot be read"):
        read_table(file)


def test_the_nearest_column_is_named() -> None:
    table = pd.DataFrame({"GalaxyID": ["a"], "file": ["b"]})
    require_column(table, "GalaxyID", HERE)
    with pytest.raises(CatalogError, match=r"mine\.csv has no column 'GalaxyId'\. Did you mean 'GalaxyID'\?"):
        require_column(table, "GalaxyId", HERE)


# ids


@pytest.mark.parametrize(
    "values",
    [
        pd.array(IDS, dtype="str"),
        np.array(IDS, dtype=object),
        np.array([int(i) for i in IDS]),
        pd.array([int(i) for i in IDS], dtype="Int64"),
        np.array([int(i) for i in IDS], np.uint64),
        pd.Categorical(IDS),
    ],
    ids=["str", "object", "int64", "Int64", "uint64", "category"],
)
def test_ids_keep_their_18_digits(values: Any) -> None:
    assert ids_of(values) == IDS


def test_ids_as_they_come() -> None:
    assert ids_of([" J1200+05 ", "007", "NGC 1300", "a/b"]) == ["J1200+05", "007", "NGC 1300", "a/b"]
    assert ids_of([3, 1, 2], index=[5, 9, 7]) == ["3", "1", "2"]


@pytest.mark.parametrize("values", [["12e45678", "1e5"], ["123e4567", "ab"], ["10.5", "10.25"], ["1.0", "1.1"]])
def test_ids_that_only_look_like_floats(values: list[str]) -> None:
    """Hashes, and object numbers with a dot."""
    assert ids_of(values) == values


@pytest.mark.parametrize(
    "text", ["5.87e17", "5.87722981742084e+17", "5.8772E+17", "6e+17", "-1.5e+18", "5.87722981742084e17"]
)
def test_ids_that_were_floats_in_text_are_refused(text: str) -> None:
    with pytest.raises(CatalogError, match=r"mine\.csv: column 'objid' holds ids written as floats .* lost digits"):
        ids_of(["123", text])


@pytest.mark.parametrize("dtype", ["float64", "Float64"])
def test_long_ids_in_a_float_column_are_refused(dtype: str) -> None:
    with pytest.raises(CatalogError, match=r"'objid' holds floating-point numbers .* Save it as text or 64-bit"):
        ids_of([1.0, float(IDS[0])], dtype=dtype)


def test_fractions_are_no_ids() -> None:
    with pytest.raises(CatalogError, match="floating-point numbers"):
        ids_of([1.5, 2.0])


@pytest.mark.parametrize(("dtype", "largest"), [("float64", 2**53 - 1), ("Float32", 2**24 - 1), ("float32", 2**24 - 1)])
def test_short_ids_in_a_float_column_are_whole_numbers(dtype: str, largest: int) -> None:
    """As pandas makes them of a column that had gaps once; a float holds every integer below 2^53, or 2^24."""
    assert ids_of([7.0, float(largest)], dtype=dtype) == ["7", str(largest)]
    with pytest.raises(CatalogError, match="floating-point numbers"):
        ids_of([7.0, float(largest + 1)], dtype=dtype)


def test_a_float_column_saved_as_text_gives_the_same_ids() -> None:
    assert ids_of(["7.0", "123.0"]) == ids_of([7.0, 123.0]) == ["7", "123"]
    with pytest.raises(CatalogError, match="floating-point numbers"):
        ids_of(["587722981742084096.0", "587722981742084224.0"])


@pytest.mark.parametrize("values", [["a", ""], ["a", "  "], ["a", None], pd.array([1, None], "Int64"), [1.0, np.nan]])
def test_rows_without_an_id(values: Any) -> None:
    with pytest.raises(CatalogError, match=r"1 rows have no id \(first: row 1\)"):
        ids_of(values)


def test_repeated_ids_are_listed() -> None:
    with pytest.raises(CatalogError, match=r"2 ids appear more than once: b, c\. Keep one row a galaxy"):
        ids_of(["a", "b", "c", "b", "c", "c"])
    with pytest.raises(CatalogError, match=r"6 ids appear more than once: 0, 1, 2, 3, 4 \.\.\."):
        ids_of([*range(6), *range(6)])
    with pytest.raises(CatalogError, match="1 ids appear more than once: a"):
        ids_of(["a", " a"])


def test_masked_ids_of_a_fits_table(tmp_path: Path) -> None:
    Table([MaskedColumn([int(IDS[0]), 5], "objid", mask=[False, True])]).write(tmp_path / "x.fits")
    with pytest.raises(CatalogError, match="1 rows have no id"):
        read_ids(read_table(tmp_path / "x.fits")["objid"], HERE)


# positions


@pytest.mark.parametrize("names", [("ra", "dec"), ("RA", "DEC"), ("Ra", "Dec")])
def test_positions_are_found_by_name(names: tuple[str, str]) -> None:
    ra, dec = read_positions(pd.DataFrame({names[0]: [0.0, 360.0], names[1]: [-90, 90]}), None, None, HERE)
    assert (ra.tolist(), dec.tolist()) == ([0.0, 360.0], [-90.0, 90.0])
    assert ra.dtype == dec.dtype == np.float64


def test_positions_of_other_columns() -> None:
    table = pd.DataFrame({"ra": [1.0], "dec": [2.0], "RAJ2000": [3.0], "DEJ2000": ["4.5"]})
    ra, dec = read_positions(table, "RAJ2000", "DEJ2000", HERE)
    assert (ra.tolist(), dec.tolist()) == ([3.0], [4.5])


@pytest.mark.parametrize("table", [{"x": [1, 2]}, {"ra": [1, 2]}, {"dec": [1, 2]}])
def test_no_positions(table: dict[str, list[int]]) -> None:
    ra, dec = read_positions(pd.DataFrame(table), None, None, HERE)
    assert np.isnan(ra).all()
    assert np.isnan(dec).all()
    assert len(ra) == len(dec) == 2


@pytest.mark.parametrize("blank", [None, np.nan, "", " ", "nan", "NaN"])
def test_blank_positions_are_unknown(blank: Any) -> None:
    given = [1.5, blank] if not isinstance(blank, str) else ["1.5", blank]
    ra, dec = read_positions(pd.DataFrame({"ra": given, "dec": [2.0, 3.0]}), None, None, HERE)
    np.testing.assert_array_equal(ra, [1.5, np.nan])
    np.testing.assert_array_equal(dec, [2.0, 3.0])


@pytest.mark.parametrize(
    ("column", "value", "limits"),
    [("ra", -0.1, "0, 360"), ("ra", 360.1, "0, 360"), ("dec", -90.5, "-90, 90"), ("dec", 91, "-90, 90"),
     ("dec", -999, "-90, 90"), ("ra", np.inf, "0, 360"), ("ra", "12:34:56.7", "0, 360"), ("dec", "+05d", "-90, 90")],
)  # fmt: skip
def test_positions_that_cannot_be(column: str, value: Any, limits: str) -> None:
    table = pd.DataFrame({"ra": [1.0, 2.0, 3.0], "dec": [1.0, 2.0, 3.0]}, dtype=object)
    table.loc[1, column] = value
    with pytest.raises(CatalogError, match=rf"'{column}' has 1 values that are not in \[{limits}\].*in row 1"):
        read_positions(table, None, None, HERE)


def test_ra_and_dec_go_together() -> None:
    table = pd.DataFrame({"ra": [1.0], "dec": [2.0]})
    for names in (("ra", None), (None, "dec")):
        with pytest.raises(CatalogError, match="--ra and --dec go together"):
            read_positions(table, *names, HERE)
    with pytest.raises(CatalogError, match=r"no column 'raa'\. Did you mean 'ra'\?"):
        read_positions(table, "raa", "dec", HERE)
