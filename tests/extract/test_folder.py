"""Files below a folder: which are found, in which order, and where a release's images are however it was unpacked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extract.folder import ImageFolder, walk_files

IMAGES = (".jpg", ".png")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def walk(root: Path, suffixes: Iterable[str] = IMAGES) -> list[str]:
    return list(walk_files(root, tuple(suffixes)))


# walking


def test_files_of_a_folder_come_before_those_below_it(tmp_path: Path) -> None:
    """By name in every folder, whatever order the disk gives."""
    touch(tmp_path, "b.png", "z/a.png", "a/z.png", "a/b/c.png", "a/a.png", "c.jpg", "a.png", "B.png", "a10.png")
    expected = ["B.png", "a.png", "a10.png", "b.png", "c.jpg", "a/a.png", "a/z.png", "a/b/c.png", "z/a.png"]
    assert walk(tmp_path) == expected


def test_only_these_endings(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a.fits", "a.fits.gz", "a.gz", "png", "apng", "a.png.txt", "a.b.png", "a.jpg")
    assert walk(tmp_path) == ["a.b.png", "a.jpg", "a.png"]
    assert walk(tmp_path, (".fits", ".fits.gz")) == ["a.fits", "a.fits.gz"]
    assert walk(tmp_path, (".parquet",)) == walk(tmp_path, ()) == []


def test_endings_in_capitals(tmp_path: Path) -> None:
    touch(tmp_path, "a.PNG", "b.Jpg", "C.png", "deep/D.JPG")
    assert walk(tmp_path) == ["C.png", "a.PNG", "b.Jpg", "deep/D.JPG"]


def test_hidden_files_and_junk_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", ".png", ".a.png", "._a.png", ".cache/b.png", "c/.d/e.png", "c/._f.png", "c/g.png")
    touch(tmp_path, "__MACOSX/._a.png", "__MACOSX/h.png", "c/__MACOSX/i.png", "MACOSX/j.png", "__MACOSX.png")
    assert walk(tmp_path) == ["__MACOSX.png", "a.png", "MACOSX/j.png", "c/g.png"]


@pytest.mark.parametrize("name", [".data", "__MACOSX"])
def test_the_folder_itself_may_be_called_anything(name: str, tmp_path: Path) -> None:
    assert walk(touch(tmp_path / name, "a.png", "b/c.png")) == ["a.png", "b/c.png"]


def test_a_folder_that_looks_like_a_file(tmp_path: Path) -> None:
    touch(tmp_path, "x.png/a.png")
    assert walk(tmp_path) == ["x.png/a.png"]


def test_nothing_there(tmp_path: Path) -> None:
    assert walk(tmp_path) == walk(tmp_path / "nowhere") == walk(touch(tmp_path, "a.png") / "a.png") == []


def test_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "images/a/b.png")
    monkeypatch.chdir(tmp_path)
    assert walk(Path("images")) == ["a/b.png"]
    assert walk(Path()) == ["images/a/b.png"]
    assert walk(Path("images/../images")) == ["a/b.png"]


def test_links_are_followed(tmp_path: Path) -> None:
    root, other = touch(tmp_path / "root", "a.png"), touch(tmp_path / "disk", "b.png", "deep/c.png")
    (root / "part2").symlink_to(other)
    (root / "d.png").symlink_to(other / "b.png")
    assert walk(root) == ["a.png", "d.png", "part2/b.png", "part2/deep/c.png"]


def test_loops_of_links_end(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "a.png", "x/b.png", "x/y/c.png")
    (root / "x" / "y" / "up").symlink_to(root)
    (root / "x" / "self").symlink_to(root / "x")
    (tmp_path / "other").mkdir()
    (root / "there").symlink_to(tmp_path / "other")
    (tmp_path / "other" / "back").symlink_to(root)
    assert walk(root) == ["a.png", "x/b.png", "x/y/c.png"]


def test_a_folder_with_two_names_is_walked_once(tmp_path: Path) -> None:
    touch(tmp_path, "m/a.png", "m/deep/b.png")
    (tmp_path / "a-link").symlink_to(tmp_path / "m")
    (tmp_path / "z-link").symlink_to(tmp_path / "m" / "deep")
    assert walk(tmp_path) == ["a-link/a.png", "a-link/deep/b.png"]


# locating


def locate(root: Path, *expected: str, ending: str = ".jpg", anywhere: bool = True) -> list[tuple[str, bool]]:
    return list(zip(*ImageFolder(root, IMAGES).locate(expected, ending, anywhere), strict=True))


def test_images_where_the_release_says(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg", "images/b.jpg")
    for anywhere in (True, False):
        found = locate(tmp_path, "images/b", "images/a", anywhere=anywhere)
        assert found == [("images/b.jpg", True), ("images/a.jpg", True)]


def test_images_in_parts(tmp_path: Path) -> None:
    """As the DECaLS archives unpack: a folder each, with the release's folders below."""
    touch(tmp_path, "png_part1/J100/J1001.png", "png_part2/J101/J1010.png", "J102.png")
    expected = ["J101/J1010", "J100/J1001", "J102/J102", "J103/J1030"]
    assert locate(tmp_path, *expected, ending=".png") == [
        ("png_part2/J101/J1010.png", True),
        ("png_part1/J100/J1001.png", True),
        ("J102.png", True),
        ("J103/J1030.png", False),
    ]


def test_a_number_names_many_things(tmp_path: Path) -> None:
    """Asset 1003 of GZ2 is not Kaggle's galaxy 1003, and not a thumbnail."""
    touch(tmp_path, "kaggle/1003.jpg", "images_thumbs/1003.jpg", "images/1004.jpg", "1005.jpg")
    assert locate(tmp_path, "images/1003", "images/1004", "images/1005", anywhere=False) == [
        ("images/1003.jpg", False),
        ("images/1004.jpg", True),
        ("1005.jpg", True),
    ]
    assert locate(tmp_path, "images/1003") == [("images_thumbs/1003.jpg", True)]


@pytest.mark.parametrize(
    ("expected", "place"),
    [
        ("J101/a", "part2/J101/a.png"),
        ("J100/a", "part1/J100/a.png"),
        ("XJ101/a", "part2/XJ101/a.png"),
        ("part2/XJ101/a", "part2/XJ101/a.png"),
        ("1/a", "part1/J100/a.png"),  # no such folder: the first of those that have the name
    ],
)
def test_one_name_in_several_folders(expected: str, place: str, tmp_path: Path) -> None:
    touch(tmp_path, "part1/J100/a.png", "part2/J101/a.png", "part2/XJ101/a.png")
    assert locate(tmp_path, expected) == [(place, True)]


def test_the_folder_comes_before_the_kind(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "thumbnails/a.jpg", "b.jpg", "b.png")
    assert locate(tmp_path, "images/a") == [("images/a.png", True)]
    assert locate(tmp_path, "b", "b") == [("b.jpg", True)] * 2
    assert locate(tmp_path, "b", ending=".png") == [("b.png", True)]
    assert locate(tmp_path, "b", ending=".tif") == [("b.jpg", True)]


def test_names_with_dots(tmp_path: Path) -> None:
    touch(tmp_path, "J132/J132200.16+005202.0.png")
    assert locate(tmp_path, "J132/J132200.16+005202.0", "J132/J132200.16+005202") == [
        ("J132/J132200.16+005202.0.png", True),
        ("J132/J132200.16+005202.jpg", False),
    ]


@pytest.mark.parametrize("files", [["images/b.png", ".png", "images/.jpg"], []], ids=["some", "none"])
def test_what_is_not_there_is_named_as_expected(files: list[str], tmp_path: Path) -> None:
    """With the release's ending; where the release names nothing, neither do we."""
    touch(tmp_path, *files)
    assert locate(tmp_path, "images/a", "", "c") == [("images/a.jpg", False), ("", False), ("c.jpg", False)]
    assert locate(tmp_path) == []


names = st.tuples(st.sampled_from(["", "p/", "q/", "p/q/"]), st.sampled_from("abc"), st.sampled_from(IMAGES))


@given(st.sets(names, max_size=8), st.lists(st.tuples(st.sampled_from(["", "p/", "q/"]), st.sampled_from("abcd"))))
@settings(max_examples=40, deadline=None)
def test_every_image_that_is_there_is_found(files: set[tuple[str, str, str]], expected: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        touch(Path(folder), *("".join(file) for file in files))
        found = locate(Path(folder), *(place + name for place, name in expected))
        for (place, name), (path, there) in zip(expected, found, strict=True):
            assert there == any(file[1] == name for file in files) == os.path.isfile(os.path.join(folder, path))
            assert path.split("/")[-1].rpartition(".")[0] == name
            if any(file[:2] == (place, name) for file in files):
                assert f"/{path}".rpartition(".")[0].endswith(f"/{place}{name}")
