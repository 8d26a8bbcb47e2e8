"""What a catalog's image column may say, and what only looks like it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extract.references import FITS_SUFFIXES, Reference, strip_suffix


def test_files_are_told_by_size_and_time_of_change(tmp_path: Path) -> None:
    for band, size in (("g", 3), ("r", 5)):
        (tmp_path / f"a-{band}.fits").write_bytes(bytes(size))
    reference = Reference.parse(str(tmp_path / "a-{band}.fits[1]"))
    (g, when), r, none = reference.describe_files(("g", "r", "z"))
    assert (g, when) == (3, (tmp_path / "a-g.fits").stat().st_mtime_ns)
    assert (r[0], none) == (5, (-1, -1))
    os.utime(tmp_path / "a-g.fits", ns=(0, 7_000_000_000))
    assert reference.describe_files(("g",)) == [(3, 7_000_000_000)]
    assert reference.describe_files(()) == [(3, 7_000_000_000), r]  # whatever could be a band
    assert Reference.parse(str(tmp_path / "none.png")).describe_files(()) == [(-1, -1)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a.fits[1]", ("a.fits", 1, None)),
        ("a.fits[0]", ("a.fits", 0, None)),
        ("a.fits[007]", ("a.fits", 7, None)),
        ("a.fits[SCI]", ("a.fits", "SCI", None)),
        ("a.fits[SCI,2]", ("a.fits", "SCI,2", None)),
        ("a.fits[-1]", ("a.fits", "-1", None)),
        ("a.fits[1.5]", ("a.fits", "1.5", None)),
        ("deep/er/a b.FITS[sci 2]", ("deep/er/a b.FITS", "sci 2", None)),
        ("a.fit[1]", ("a.fit", 1, None)),
        ("a.fts[1]", ("a.fts", 1, None)),
        ("a.fits.gz[1]", ("a.fits.gz", 1, None)),
        ("a.fits.fz[1]", ("a.fits.fz", 1, None)),
        ("a[2].fits[1]", ("a[2].fits", 1, None)),
        ("a.fits[2].fits[1]", ("a.fits[2].fits", 1, None)),
        ("{band}/a-{band}.fits[1]", ("{band}/a-{band}.fits", 1, None)),
        ("train-00000-of-00003.parquet#17", ("train-00000-of-00003.parquet", None, 17)),
        ("data/a.parquet#0", ("data/a.parquet", None, 0)),
        ("a#1.parquet#2", ("a#1.parquet", None, 2)),
        ("a.parquet#1.parquet#2", ("a.parquet#1.parquet", None, 2)),
    ],
)
def test_references(text: str, parts: tuple[str, int | str | None, int | None]) -> None:
    reference = Reference.parse(text)
    assert (reference.path, reference.extension, reference.row) == parts
    assert type(reference.extension) is type(parts[1])


@pytest.mark.parametrize(
    "text",
    [
        "", "a.png", "deep/a.jpg", "a.fits", "a.fits.gz", "a.parquet", "{band}.fits",
        "a[1].png", "a.png[1]", "a[1].fits", "[1].fits", "NGC 1300 [r].jpg", "a.txt[SCI]", "a[1]", "[1]",
        "a.fits[]", "a.fits[1", "a.fits1]", "a.fits[1]x", "a.fits[1].png", "a.fits[[1]]", "a.fits[1][2]", ".fits[1]",
        "a.png#3", "a#3", "#3", "a.parquet#", "a.parquet#-1", "a.parquet#x", "a.parquet#1.5", "a.parquet#1 ",
        "a.parquet.gz#1", ".parquet#1", "J132200.16+005202.0.png", "galaxy.v2.fits", "afits[1]", "aparquet#1",
    ],
)  # fmt: skip
def test_names_that_are_just_names(text: str) -> None:
    assert Reference.parse(text) == Reference(text, None, None)


paths = st.text(min_size=1).filter(lambda text: "\n" not in text)
fits_files = st.builds(lambda stem, suffix: stem + suffix, paths, st.sampled_from((*FITS_SUFFIXES, ".FITS", ".Fit")))
names = st.text(st.characters(exclude_characters="[]"), min_size=1).filter(lambda text: not text.isdigit())


@given(fits_files, st.integers(0, 10**6) | names)
def test_an_extension_and_back(path: str, extension: int | str) -> None:
    reference = Reference.parse(f"{path}[{extension}]")
    assert reference == Reference(path, extension)
    assert reference.is_fits
    assert Reference.parse(path) == Reference(path)


@given(paths, st.integers(0, 10**9))
def test_a_row_and_back(stem: str, row: int) -> None:
    reference = Reference.parse(f"{stem}.parquet#{row}")
    assert reference == Reference(f"{stem}.parquet", row=row)
    assert not reference.is_fits


pieces = st.sampled_from(["a", ".fits", ".gz", "[", "]", "1", "SCI", ".parquet", "#", "{band}", "/", "\n"])


@given(st.text() | st.lists(pieces).map("".join))
def test_any_text_is_some_reference(text: str) -> None:
    reference = Reference.parse(text)
    assert text.startswith(reference.path)
    assert (reference.path == text) == (reference.extension is None and reference.row is None)


def test_digits_that_are_no_number() -> None:
    assert Reference.parse("a.fits[²]") == Reference("a.fits", "²")


@pytest.mark.parametrize(
    ("text", "fits"),
    [("a.fits", True), ("a.FIT", True), ("a.fts[1]", True), ("a.fits.gz", True), ("a.fits.fz[1]", True),
     ("{band}.fits", True), ("a.png", False), ("a.gz", False), ("a.parquet#1", False), ("fits", False), ("", False),
     ("a.fits.png", False), ("a.fits[1].png", False)],
)  # fmt: skip
def test_what_is_fits(text: str, fits: bool) -> None:
    assert Reference.parse(text).is_fits == fits


@pytest.mark.parametrize("ending", ["fits", "fit", "fts", "fits.gz", "fits.fz"])
def test_what_has_an_extension_is_fits(ending: str) -> None:
    assert Reference.parse(f"a.{ending}[1]") == Reference(f"a.{ending}", 1)
    assert Reference.parse(f"a.{ending}[1]").is_fits


@pytest.mark.parametrize("ending", ["fit.gz", "fts.gz", "fit.fz", "fts.fz"])
def test_rarer_endings_are_fits_with_or_without_an_extension(ending: str) -> None:
    for text in (f"a.{ending}", f"a.{ending}[1]"):
        reference = Reference.parse(text)
        assert reference.is_fits or reference == Reference(text)


# files


def test_a_file_a_band() -> None:
    bands = ("g", "r", "z")
    assert Reference.parse("a.fits").files(bands) == ["a.fits"]
    assert Reference.parse("a-{band}.fits").files(bands) == ["a-g.fits", "a-r.fits", "a-z.fits"]
    assert Reference.parse("{band}/a-{band}.fits[1]").files(("z", "Ks")) == ["z/a-z.fits", "Ks/a-Ks.fits"]
    assert Reference.parse("a-{band}.fits").files(()) == []
    assert Reference.parse("a.parquet#3").files(bands) == ["a.parquet"]
    assert Reference.parse("a-{Band}-{b}.fits").files(bands) == ["a-{Band}-{b}.fits"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "a.fits", "b-r.fits", "s.parquet", "c[1]-r.fits", "c*-r.fits", "g/d.fits"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("a.png", True),
        ("b.png", False),
        ("", False),
        ("g", False),
        ("a.fits", True),
        ("a.fits[1]", True),
        ("b.fits[1]", False),
        ("s.parquet#1", True),
        ("t.parquet#1", False),
        ("s.parquet", True),
        ("b-{band}.fits", True),  # one band is enough
        ("b-{band}.fits[1]", True),
        ("b-{band}.fit", False),
        ("x-{band}.fits", False),
        ("{band}-{band}.fits", True),
        ("c[1]-{band}.fits", True),
        ("c?-{band}.fits", False),  # names are no patterns
        ("b*-{band}.fits", False),
        ("[ab]-{band}.fits", False),
        ("nowhere/b-{band}.fits", False),
    ],
)
def test_whether_there_is_a_file(text: str, there: bool, folder: Path) -> None:
    assert Reference.parse(str(folder / text) if text else text).exists() == there


def test_a_folder_a_band(folder: Path) -> None:
    assert Reference.parse(str(folder / "{band}" / "d.fits")).exists()
    assert not Reference.parse(str(folder / "{band}" / "e.fits")).exists()


def test_bands_in_the_folder_where_one_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert Reference.parse("b-{band}.fits").exists()
    assert Reference.parse("{band}-r.fits").exists()
    assert not Reference.parse("{band}-r.png").exists()


# names


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.fits.gz", "a"), ("a.fits", "a"), ("a.FITS.GZ", "a"), ("a.b.fits", "a.b"), ("a.gz", "a.gz"), ("fits", "fits"),
     ("a.fits.fits", "a.fits"), ("a.png", "a.png"), ("a.fits.png", "a.fits.png"), ("", ""), ("été.fit", "été")],
)  # fmt: skip
def test_a_name_without_its_ending(name: str, stem: str) -> None:
    assert strip_suffix(name, FITS_SUFFIXES) == stem
    assert strip_suffix(name, FITS_SUFFIXES[::-1]) == stem  # in whatever order they are given


@pytest.mark.parametrize("suffixes", [(".gz", ".fits.gz"), (".fits.gz", ".gz")])
def test_the_longest_ending_goes(suffixes: tuple[str, ...]) -> None:
    assert strip_suffix("a.fits.gz", suffixes) == "a"
    assert strip_suffix("a.csv.gz", suffixes) == "a.csv"


@given(st.text(st.characters(exclude_characters="."), min_size=1), st.sampled_from(FITS_SUFFIXES))
def test_every_ending_goes(stem: str, suffix: str) -> None:
    assert strip_suffix(stem + suffix, FITS_SUFFIXES) == strip_suffix(stem + suffix.upper(), FITS_SUFFIXES) == stem
    assert strip_suffix(stem, FITS_SUFFIXES) == stem
