"""Positions at the door: degrees or nothing, and faults that names on the sky give away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord
from astropy.units import arcsec, deg
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.errors import CatalogError
from extract.positions import compare_with_names, describe_positions, read_positions

HERE = Path("mine.csv")
NAN = np.nan


# reading


@pytest.mark.parametrize("names", [("ra", "dec"), ("RA", "DEC"), ("Ra", "Dec")])
def test_positions_are_found_by_name(names: tuple[str, str]) -> None:
    ra, dec = read_positions(pd.DataFrame({names[0]: [0.0, 360.0], names[1]: [-90, 90]}), None, None, HERE)
    assert (ra.tolist(), dec.tolist()) == ([0.0, 360.0], [-90.0, 90.0])
    assert ra.dtype == dec.dtype == np.float64


@pytest.mark.parametrize("names", [("RAJ2000", "DEJ2000"), ("at.ra", "at.dec"), ("dec", "ra")])
def test_positions_of_other_columns(names: tuple[str, str]) -> None:
    table = {"ra": pd.Series([1.0]), "dec": pd.Series([2.0])}
    table |= {names[0]: pd.Series([3.0]), names[1]: pd.Series(["4.5"])}
    for given_as in (table, pd.DataFrame(table)):
        ra, dec = read_positions(given_as, *names, HERE)
        assert (ra.tolist(), dec.tolist()) == ([3.0], [4.5])


@pytest.mark.parametrize("table", [{"x": [1, 2]}, {"ra": [1, 2]}, {"dec": [1, 2]}])
def test_no_positions(table: dict[str, list[int]]) -> None:
    columns = {name: pd.Series(values) for name, values in table.items()}
    for given_as in (pd.DataFrame(table), columns):
        ra, dec = read_positions(given_as, None, None, HERE)
        assert np.isnan(ra).all()
        assert np.isnan(dec).all()
        assert len(ra) == len(dec) == 2


@pytest.mark.parametrize("blank", [None, NAN, "", " ", "nan", "NaN"])
def test_blank_positions_are_unknown(blank: Any) -> None:
    given = [1.5, blank] if not isinstance(blank, str) else ["1.5", blank]
    ra, dec = read_positions(pd.DataFrame({"ra": given, "dec": [2.0, 3.0]}), None, None, HERE)
    np.testing.assert_array_equal(ra, [1.5, NAN])
    np.testing.assert_array_equal(dec, [2.0, 3.0])


@pytest.mark.parametrize(
    "column",
    [
        [5, -9999, 7],
        [5.0, -9999.0, 7.0],
        ["5", "-9999", "7"],
        ["5.0", " -9999.0", "7"],
        [5, "-9999", 7],
        pd.array([5, -9999, 7], "Int64"),
        pd.array([5.0, -9999.0, 7.0], "Float64"),
        pd.array([5, None, 7], "Int64"),
    ],
    ids=["int", "float", "text", "spaced", "object", "Int64", "Float64", "gap"],
)
def test_the_sentinel_is_unknown(column: Any) -> None:
    for names in (("ra", "dec"), ("dec", "ra")):
        ra, dec = read_positions(pd.DataFrame({names[0]: column, names[1]: [1.0, 2.0, 3.0]}), None, None, HERE)
        found, other = (ra, dec) if names[0] == "ra" else (dec, ra)
        np.testing.assert_array_equal(found, [5, NAN, 7])
        np.testing.assert_array_equal(other, [1, 2, 3])


@pytest.mark.parametrize(
    ("column", "value", "limits"),
    [("ra", -0.1, "0, 360"), ("ra", 360.1, "0, 360"), ("dec", -90.5, "-90, 90"), ("dec", 91, "-90, 90"),
     ("dec", -999, "-90, 90"), ("ra", np.inf, "0, 360"), ("ra", "12:34:56.7", "0, 360"), ("dec", "+05d", "-90, 90"),
     ("dec", -9998, "-90, 90"), ("ra", "-9999.5", "0, 360")],
)  # fmt: skip
def test_positions_that_cannot_be(column: str, value: Any, limits: str) -> None:
    table = pd.DataFrame({"ra": [1.0, 2.0, 3.0], "dec": [1.0, 2.0, 3.0]}, dtype=object)
    table.loc[1, column] = value
    with pytest.raises(CatalogError, match=rf"'{column}' has 1 values that are not in \[{limits}\].*in row 1"):
        read_positions(table, None, None, HERE)


SWAPPED, SENTINELS = "ra and dec look swapped", "Are those sentinels"


@pytest.mark.parametrize(
    ("ra", "dec", "said"),
    [
        ([-10.0, 20.0], [150.0, 30.0], SWAPPED),  # ra is refused for -10
        ([10.0, 20.0], [150.0, 30.0], SWAPPED),  # dec is refused for 150
        ([-10.0, NAN, 20.0], [150.0, 200.0, NAN], SWAPPED),
        ([-10.0, 20.0], [50.0, 30.0], None),  # nothing above 90
        ([-10.0, 200.0], [150.0, 30.0], None),  # 200 is no declination
        ([10.0, 20.0], [150.0, -30.0], None),  # nor is -30 a right ascension
        ([10.0, -999.0], [5.0, -999.0], SENTINELS),
        ([10.0, -99.0], [5.0, -99.0], SENTINELS),
        ([10.0, -999.0], [5.0, 5.0], None),
        ([10.0, 400.0], [5.0, 5.0], None),
    ],
)
def test_the_likeliest_fault_is_named(ra: list[float], dec: list[float], said: str | None) -> None:
    with pytest.raises(CatalogError, match="Give ra and dec in degrees ICRS, blank where unknown") as caught:
        read_positions(pd.DataFrame({"ra": ra, "dec": dec}), None, None, HERE)
    for words in (SWAPPED, SENTINELS):
        assert (words in str(caught.value)) == (words == said)


def test_ra_and_dec_go_together() -> None:
    table = pd.DataFrame({"ra": [1.0], "dec": [2.0]})
    for names in (("ra", None), (None, "dec")):
        with pytest.raises(CatalogError, match="--ra and --dec go together"):
            read_positions(table, *names, HERE)
    with pytest.raises(CatalogError, match=r"no column 'raa'\. Did you mean 'ra'\?"):
        read_positions(table, "raa", "dec", HERE)


# positions against names


def name_places(ra: Any, dec: Any, style: str = "iau") -> pd.Series:
    """By astropy: J082617.42+541216.5 as in DECaLS, or 08:26:17.42 +54:12:16.5 as GZ2's rastring and decstring."""
    sky = SkyCoord(ra, dec, unit=deg)
    separator = "" if style == "iau" else ":"
    right = sky.ra.to_string(unit="hour", sep=separator, precision=2, pad=True)
    declination = sky.dec.to_string(unit=deg, sep=separator, precision=1, pad=True, alwayssign=True)
    before, between = ("J", "") if style == "iau" else ("", " ")
    return pd.Series([f"{before}{r}{between}{d}" for r, d in zip(right, declination, strict=True)])


@pytest.fixture
def sky(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Places north of the equator, where swapped and other coordinates are valid ones too."""
    return rng.uniform(20, 90, 60), rng.uniform(0, 19, 60)


STYLES = pytest.mark.parametrize("style", ["iau", "strings"])


def test_names_are_as_in_the_releases() -> None:
    # 126.57258 deg = 8 h 26 m 17.42 s; 54.204583 = 54 deg 12' 16.5"; -0.50125 = -(0 deg 30' 4.5")
    assert name_places([126.572583], [54.204583]).tolist() == ["J082617.42+541216.5"]
    assert name_places([126.572583], [-0.50125], "strings").tolist() == ["08:26:17.42 -00:30:04.5"]


places = st.lists(st.tuples(st.floats(0, 360, exclude_max=True), st.floats(-89.99, 89.99)), min_size=1, max_size=12)


@given(places, st.sampled_from(["iau", "strings"]))
@settings(max_examples=50, deadline=None)
def test_right_positions_pass_all_over_the_sky(places: list[tuple[float, float]], style: str) -> None:
    ra, dec = np.array(places).T
    compare_with_names(ra, dec, (name_places(ra, dec, style),), HERE)


@given(places, st.floats(0, 360), st.sampled_from([0, 20, 29, 31, 3600]))
@settings(max_examples=60, deadline=None)
def test_half_an_arcminute_on_the_sky_is_allowed(
    places: list[tuple[float, float]], towards: float, distance: float
) -> None:
    """In any direction, across ra 0 and up to a degree from the poles, where the sky is nearly flat still."""
    ra, dec = np.array(places).T
    named = SkyCoord(ra, dec * (89 / 90), unit=deg)
    moved = named.directional_offset_by(towards * deg, distance * arcsec)
    names = name_places(named.ra, named.dec)
    if distance < 30:
        compare_with_names(moved.ra.deg, moved.dec.deg, (names,), HERE)
    else:
        with pytest.raises(CatalogError, match="positions do not lie where the names say"):
            compare_with_names(moved.ra.deg, moved.dec.deg, (names,), HERE)


@pytest.mark.parametrize(
    ("ra", "dec", "name"),
    [
        (359.9999, 10.0, "J000000.00+100000.0"),
        (360.0, 10.0, "J000000.00+100000.0"),
        (0.0001, 10.0, "J235959.99+100000.0"),
        (150.0, -0.5, "J100000.00-003000.0"),  # -00:30:00 is south, though its degrees are 0
        (150.0, -0.5, "10:00:00.00 -00:30:00.0"),
        (150.0, -0.5, "SDSS J100000.00-003000.0"),
        (150.0, -0.5, "J100000-003000"),
        (150.0, -59.9999, "J100000.0-595959.9"),
        # cos 89.9 deg = 0.00175: 4 deg of ra are 25 arcsec there
        (154.0, 89.9, "J100000.00+895400.0"),
        (154.0, -89.9, "J100000.00-895400.0"),
    ],
)
def test_places_that_are_easily_got_wrong(ra: float, dec: float, name: str) -> None:
    compare_with_names(np.array([ra]), np.array([dec]), (pd.Series([name]),), HERE)


@pytest.mark.parametrize(
    ("ra", "dec", "name"),
    [
        (150.0, 0.5, "J100000.00-003000.0"),
        (1.0, 10.0, "J000000.00+100000.0"),
        (180.0, 10.0, "J000000.00+100000.0"),
        (155.0, 89.9, "J100000.00+895400.0"),  # 5 deg of ra are 31.4 arcsec
        (150.0, 10.01, "J100000.00+100000.0"),  # 36 arcsec
    ],
)
def test_places_that_are_elsewhere(ra: float, dec: float, name: str) -> None:
    with pytest.raises(CatalogError, match="rows seem mixed up") as caught:
        compare_with_names(np.array([ra]), np.array([dec]), (pd.Series([name]),), HERE)
    assert f"(row 0: {name} at ra {ra:.5f}, dec {dec:.5f})" in str(caught.value)
    assert str(caught.value).startswith("mine.csv: ")


@STYLES
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda ra, dec: (dec, ra), "ra and dec are swapped"),
        (lambda ra, dec: (ra / 15, dec), "ra is in hours, not degrees"),
        (lambda ra, dec: (np.radians(ra), np.radians(dec)), "ra and dec are in radians"),
        (lambda ra, dec: (np.roll(ra, 1), np.roll(dec, 1)), "rows seem mixed up"),
        (lambda ra, dec: (ra, dec + 1), "rows seem mixed up"),
    ],
    ids=["swapped", "hours", "radians", "mixed", "shifted"],
)
def test_each_fault_is_named(fault: Any, said: str, style: str, sky: tuple[np.ndarray, np.ndarray]) -> None:
    names = name_places(*sky, style)
    compare_with_names(*sky, (names,), HERE)
    with pytest.raises(CatalogError, match=rf": {said}\. Mend the columns ra and dec"):
        compare_with_names(*fault(*sky), (names,), HERE)


def test_a_fault_in_a_large_table_is_found(rng: np.random.Generator) -> None:
    ra, dec = rng.uniform(0, 360, 5000), rng.uniform(-80, 80, 5000)
    names = name_places(ra, dec)
    compare_with_names(ra, dec, (names,), HERE)
    with pytest.raises(CatalogError, match="ra is in hours"):
        compare_with_names(ra / 15, dec, (names,), HERE)


def test_a_few_that_moved_are_no_fault(sky: tuple[np.ndarray, np.ndarray]) -> None:
    """Centres differ between catalogs; it takes more than half of the rows."""
    names, (ra, dec) = name_places(*sky), sky
    compare_with_names(ra, dec + 0.1 * (np.arange(60) < 30), (names,), HERE)
    with pytest.raises(CatalogError, match="rows seem mixed up"):
        compare_with_names(ra, dec + 0.1 * (np.arange(60) < 31), (names,), HERE)


def test_rows_without_a_position_are_passed_over(sky: tuple[np.ndarray, np.ndarray]) -> None:
    names, (ra, dec) = name_places(*sky), sky
    gaps = np.where(np.arange(60) % 3 == 0, NAN, ra), np.where(np.arange(60) % 4 == 0, NAN, dec)
    compare_with_names(*gaps, (names,), HERE)
    with pytest.raises(CatalogError, match=r"\(row 1: .*: ra and dec are swapped"):
        compare_with_names(gaps[1], gaps[0], (names,), HERE)
    few = np.where(np.arange(60) < 45, NAN, dec)  # rows that say nothing do not speak for the others
    with pytest.raises(CatalogError, match=r"\(row 45: .*: ra is in hours"):
        compare_with_names(ra / 15, few, (names,), HERE)
    compare_with_names(np.full(60, NAN), dec, (names,), HERE)
    compare_with_names(np.array([]), np.array([]), (pd.Series([], dtype=str),), HERE)


NAMELESS = ["587722981742084096", "NGC 1300", "", None, NAN, "J1200+05", "a/b-c.png", "1237648720693755918", "17"]


def test_names_that_name_no_place_are_passed_over() -> None:
    n = len(NAMELESS)
    compare_with_names(np.arange(n) + 1.0, np.arange(n) - 4.0, (pd.Series(NAMELESS, dtype=object),), HERE)
    names = pd.Series([*NAMELESS, "J100000.00+100000.0"], dtype=object)
    ra, dec = np.full(n + 1, 150.0), np.full(n + 1, 10.0)
    compare_with_names(ra, dec, (names,), HERE)
    with pytest.raises(CatalogError, match=rf"\(row {n}: J100000.*: ra is in hours"):
        compare_with_names(ra / 15, dec, (names,), HERE)


def test_the_row_that_is_shown_is_a_wrong_one() -> None:
    names = name_places([10.0, 20.0, 30.0], [1.0, 2.0, 3.0])
    with pytest.raises(CatalogError, match="row 1: J0120"):
        compare_with_names(np.array([10.0, 25.0, 35.0]), np.array([1.0, 2.0, 3.0]), (names,), HERE)


# what a reader is told


def test_missing_positions_are_counted() -> None:
    ra, dec = np.array([1.0, NAN, 3.0, NAN]), np.array([1.0, 2.0, NAN, NAN])
    assert describe_positions(ra, dec) == ["3 of 4 galaxies have no position"]
    assert describe_positions(ra[:1], dec[:1]) == []
    assert describe_positions(ra[1:], dec[1:]) == ["3 of 3 galaxies have no position"]
    assert describe_positions(np.array([]), np.array([])) == []


@pytest.mark.parametrize(
    ("n", "highest", "height", "said"),
    [
        (20, 24, 40, True),
        (19, 24, 40, False),  # too few to tell
        (20, 24.1, 40, False),  # no hours
        (20, 13, 40, False),  # a field of 12 deg
        (20, 24, 2, True),  # a stripe may be in hours too
    ],
)
def test_numbers_that_look_like_hours(n: int, highest: float, height: float, said: bool) -> None:
    ra, dec = np.linspace(1, highest, n), np.linspace(-5, height - 5, n)
    expected = [f"all ra lie between 1.0 and {highest:.1f}: are they hours? Degrees are expected"] if said else []
    assert describe_positions(ra, dec) == expected
    gaps = np.append(ra, NAN), np.append(dec, 5)
    assert describe_positions(*gaps) == [f"1 of {n + 1} galaxies have no position", *expected]


def test_a_name_in_two_columns() -> None:
    """GZ2 has rastring and decstring."""
    hours, degrees = pd.Series(["10:00:00.00"] * 3), pd.Series(["-00:30:00.0"] * 3)
    compare_with_names(np.full(3, 150.0), np.full(3, -0.5), (hours, degrees), HERE)
    with pytest.raises(CatalogError, match=r"row 0: 10:00:00\.00 -00:30:00\.0 at ra 10\.0.*ra is in hours"):
        compare_with_names(np.full(3, 10.0), np.full(3, -0.5), (hours, degrees), HERE)
