"""Every kind of table, and what may not happen to numbers and ids on the way in."""

from __future__ import annotations

import gzip
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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embeddings.errors import CatalogError
from extract.tables import read_columns, read_ids, read_table, require_column
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
    assert read["at.dec"].tolist() == [-1.0, 2.0]


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


# columns of large tables


REGULAR = {
    "objid": IDS,
    "specobjid": ROWS["specobjid"],
    "votes": [40, None, 0, 7],
    "n": [1, 2, 3, 4],
    "mag": [17.25, None, 1e-300, -1.5e40],
    "seen": [True, False, True, True],
    "kind": ["round", 'a, "b"', None, "été"],
    "nothing": [None] * 4,
}


def write_regular(folder: Path, kind: str) -> Path:
    path = folder / f"large.{kind}"
    if kind == "parquet":
        types = {"specobjid": pa.int64(), "votes": pa.int32(), "mag": pa.float64(), "nothing": pa.float64()}
        columns = {name: pa.array(values, types.get(name)) for name, values in REGULAR.items()}
        pq.write_table(pa.table(columns), path, row_group_size=3)
    else:
        text = {name: pd.Series(values, dtype="Int64" if name in ("specobjid", "votes") else None)
                for name, values in REGULAR.items()}  # fmt: skip
        pd.DataFrame(text).to_csv(path, index=False)
    return path


def read_by_pandas(file: Path) -> pd.DataFrame:
    if file.suffix == ".parquet":
        frame = pd.read_parquet(file)
        frame["specobjid"] = pq.read_table(file)["specobjid"].to_pandas(integer_object_nulls=True)
        return frame
    return pd.read_csv(file, dtype={"objid": str, "specobjid": "Int64"})


def plain(values: Any) -> list[Any]:
    """As Python's own objects, None for whatever is missing."""
    return [None if pd.isna(value) else value.item() if isinstance(value, np.generic) else value for value in values]


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_columns_are_those_that_pandas_reads(kind: str, tmp_path: Path) -> None:
    file = write_regular(tmp_path, kind)
    columns, frame = read_columns(file, ("objid",)), read_by_pandas(file)
    assert list(columns) == list(REGULAR) == list(frame.columns)
    for name, column in columns.items():
        assert plain(column) == plain(frame[name]) == plain(REGULAR[name]), name
        assert column.index.tolist() == [0, 1, 2, 3]
    for name, kinds in {"votes": "f", "n": "i", "mag": "f", "seen": "b"}.items():
        assert columns[name].dtype.kind == frame[name].dtype.kind in kinds
    assert str(columns["specobjid"].dtype) == "Int64"
    assert list(read_ids(columns["objid"], file)) == IDS


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_columns_are_those_of_the_table(kind: str, tmp_path: Path) -> None:
    """One reader for large tables, one for all kinds: the same numbers."""
    file = write_regular(tmp_path, kind)
    columns, table = read_columns(file, ("objid",)), read_table(file, ("objid",))
    assert {name: plain(column) for name, column in columns.items()} == {name: plain(table[name]) for name in table}


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_every_kind_of_table(kind: str, tmp_path: Path) -> None:
    columns = read_columns(write_table(tmp_path, kind), ("objid",))
    assert list(columns) == list(ROWS)
    assert list(read_ids(columns["objid"], HERE)) == IDS
    for name in ("specobjid", "mag", "kind", "t", "seen", "RA"):
        expected = ["" if value is None and (kind, name) == ("vot", "kind") else value for value in ROWS[name]]
        assert plain(columns[name]) == expected, name  # VOTable knows no missing text


def test_ids_that_are_numbers_are_text_where_asked(tmp_path: Path) -> None:
    """Zeros in front, and more digits than any integer has."""
    (tmp_path / "x.csv").write_text("id,n\n007,1\n123456789012345678901234567890,2\n5.0,3\n,4\n")
    columns = read_columns(tmp_path / "x.csv", ("id", "absent"))
    assert plain(columns["id"]) == ["007", "123456789012345678901234567890", "5.0", None]
    assert columns["n"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("size", "exact"), [(2**53 + 1, True), (2**63 - 1, True), (2**53, False), (5, False)])
def test_integers_beside_gaps(kind: str, sign: int, size: int, exact: bool, tmp_path: Path) -> None:
    """Floats where they hold every digit: twice as fast, and what pandas gives."""
    values = [sign * size, None, sign * (size - 1)]
    file = tmp_path / f"x.{kind}"
    if kind == "csv":
        file.write_text("a,b\n" + "".join(f"{'' if value is None else value},1\n" for value in values))
    else:
        pq.write_table(pa.table({"a": pa.array(values, pa.int64()), "b": [1, 1, 1]}), file)
    columns = read_columns(file)
    assert [None if value is None else int(value) for value in plain(columns["a"])] == values
    assert (str(columns["a"].dtype) == "Int64") == exact
    assert list(columns) == ["a", "b"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_integers_of_20_digits_are_kept_or_refused(kind: str, tmp_path: Path) -> None:
    """SDSS's specObjID goes beyond 2^63, since plate 8192; a float or a traceback is neither."""
    values, file = [2**63 + 5, None, 2**63 + 7], tmp_path / f"x.{kind}"
    if kind == "csv":
        file.write_text("a,b\n" + "".join(f"{'' if value is None else value},1\n" for value in values))
    else:
        pq.write_table(pa.table({"a": pa.array(values, pa.uint64())}), file)
    try:
        column = read_columns(file)["a"]
    except CatalogError as error:
        assert file.name in str(error)  # noqa: PT017 - one of two right answers
    else:
        assert [None if pd.isna(value) else int(value) for value in column] == values


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_floats_are_read_to_the_last_bit(tmp_path: Path, values: list[float]) -> None:
    for kind in ("csv", "csv.gz", "parquet"):
        file, frame = tmp_path / f"f.{kind}", pd.DataFrame({"x": values, "y": 1})
        frame.to_parquet(file) if kind == "parquet" else frame.to_csv(file, index=False)
        np.testing.assert_array_equal(read_columns(file)["x"].to_numpy(float), values)


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_a_name_that_two_columns_have(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"x.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table([[1], [2], [3]], names=["a", "b", "a"]), file)
    else:
        with gzip.open(file, "wt") if kind == "csv.gz" else file.open("w") as stream:
            stream.write("a,b,a\n1,2,3\n")
    with pytest.raises(CatalogError, match=r"x\..* has the column 'a' more than once\. Keep one of them"):
        read_columns(file)


def test_arrays_are_not_even_read(tmp_path: Path) -> None:
    struct = pa.array([{"bytes": b"x", "path": "a.jpg"}, None])
    table = pa.table({"id": ["a", "b"], "flux": [[1.0], []], "image": struct, "image.n": [1, 2], "image_n": [3, 4]})
    pq.write_table(table, tmp_path / "x.parquet")
    columns = read_columns(tmp_path / "x.parquet")
    assert {name: column.tolist() for name, column in columns.items()} == {
        "id": ["a", "b"],
        "image.n": [1, 2],
        "image_n": [3, 4],
    }


@pytest.mark.parametrize("order", [[2, 0, 1], [0, 2]], ids=["sorted", "filtered"])
def test_a_saved_index_does_not_reorder_columns(order: list[int], tmp_path: Path) -> None:
    pd.DataFrame({"objid": IDS[:3], "n": [1, 2, 3]}).iloc[order].to_parquet(tmp_path / "x.parquet")
    columns = read_columns(tmp_path / "x.parquet")
    assert columns["n"].tolist() == [i + 1 for i in order]
    assert columns["n"].index.tolist() == list(range(len(order)))


def test_a_saved_index_is_no_column(tmp_path: Path) -> None:
    pd.DataFrame({"objid": IDS[:3], "n": [1, 2, 3]}).iloc[[2, 0, 1]].to_parquet(tmp_path / "x.parquet")
    assert list(read_columns(tmp_path / "x.parquet")) == ["objid", "n"]


def test_text_stored_as_bytes_in_a_large_table(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [b"ngc 1", "été".encode(), None]}), tmp_path / "x.parquet")
    assert plain(read_columns(tmp_path / "x.parquet")["id"]) == plain(read_table(tmp_path / "x.parquet")["id"])


@pytest.mark.parametrize("text", ["id,name\na,été\n", "id,né\na,b\n"], ids=["value", "name"])
def test_text_in_another_encoding_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(text.encode("latin-1"))
    for read in (read_table, read_columns):
        with pytest.raises(CatalogError, match=r"x\.csv cannot be read|x\.csv: the text in column 'name' is not UTF-8"):
            read(tmp_path / "x.csv")


def test_columns_without_rows(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n")
    pq.write_table(pa.table({"a": pa.array([], pa.int64()), "b": pa.array([], pa.string())}), tmp_path / "x.parquet")
    for kind in ("csv", "parquet"):
        columns = read_columns(tmp_path / f"x.{kind}")
        assert {name: len(column) for name, column in columns.items()} == {"a": 0, "b": 0}


def test_columns_of_a_table_that_is_not_there(tmp_path: Path) -> None:
    for name in ("no.csv", "no.csv.gz", "no.parquet", "no.fits", "."):
        with pytest.raises(CatalogError, match="does not exist"):
            read_columns(tmp_path / name)
    (tmp_path / "x.xlsx").touch()
    with pytest.raises(CatalogError, match=r"end in \.xlsx are not known"):
        read_columns(tmp_path / "x.xlsx")


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
@pytest.mark.parametrize("damage", ["nothing", "noise", "short"])
def test_a_damaged_large_table_is_named(kind: str, damage: str, tmp_path: Path) -> None:
    file = write_regular(tmp_path, kind)
    whole = file.read_bytes()
    # a CSV that is cut within a row has a row of too few columns
    file.write_bytes(
        {
            "nothing": b"",
            "noise": b"no,table\n1,2,3,4\n" if kind == "csv" else b"\x89 no table" * 9,
            "short": whole[: len(whole) * 2 // 3],
        }[damage]
    )
    with pytest.raises(CatalogError, match=rf"large\.{kind} cannot be read: \w+: ."):
        read_columns(file, ("objid",))


def test_columns_can_be_let_go_of_one_by_one(tmp_path: Path) -> None:
    """And changed: no column shares memory with another."""
    frame = pd.DataFrame({name: np.arange(4.0) for name in "abcd"})
    for kind in ("csv", "parquet"):
        file = tmp_path / f"x.{kind}"
        frame.to_parquet(file) if kind == "parquet" else frame.to_csv(file, index=False)
        columns = read_columns(file)
        columns.pop("a")
        columns["b"] = columns["b"] + 1
        assert {name: column.tolist() for name, column in columns.items()} == {
            "b": [1, 2, 3, 4],
            "c": [0, 1, 2, 3],
            "d": [0, 1, 2, 3],
        }


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


@pytest.mark.parametrize("values", [["b", "a", " b", "b"], [2, 1, 2, 2], [2.0, 1.0, 2.0, 2.0]])
def test_repeated_ids_may_be_allowed(values: list[Any]) -> None:
    """A release may hold a galaxy twice; which row stays is decided later, by its votes."""
    ids = read_ids(pd.Series(values, name="objid"), HERE, allow_repeats=True)
    a, b = ("a", "b") if isinstance(values[0], str) else ("1", "2")
    assert ids.tolist() == [b, a, b, b]
    assert ids.index.tolist() == [0, 1, 2, 3]
    with pytest.raises(CatalogError, match=f"1 ids appear more than once: {b}"):
        ids_of(values)


@pytest.mark.parametrize(
    ("values", "said"),
    [(["a", "a", ""], "1 rows have no id"), (["a", None, None], "2 rows have no id"),
     (["5.8772E+17"] * 2, "lost digits"),
     ([1.5, 1.5], "floating-point numbers")],
)  # fmt: skip
def test_where_repeats_are_allowed_nothing_else_is(values: list[Any], said: str) -> None:
    with pytest.raises(CatalogError, match=said):
        read_ids(pd.Series(values, name="objid"), HERE, allow_repeats=True)


def test_masked_ids_of_a_fits_table(tmp_path: Path) -> None:
    Table([MaskedColumn([int(IDS[0]), 5], "objid", mask=[False, True])]).write(tmp_path / "x.fits")
    with pytest.raises(CatalogError, match="1 rows have no id"):
        read_ids(read_table(tmp_path / "x.fits")["objid"], HERE)
