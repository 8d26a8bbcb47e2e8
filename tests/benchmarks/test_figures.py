"""Pictures are made, whole, without matplotlib's global state."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import figures
from benchmarks.figures import BACKGROUND, CEILING_COLOUR, COLOURS, PANEL, Bar, BarGroup, Tile, draw_bars, draw_sheet

NONE = Bar(float("nan"), float("nan"), float("nan"))


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def count(pixels: np.ndarray, colour: str) -> int:
    """How many pixels are of a colour, nearly."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(pixels - rgb).max(axis=2) < 4).sum())


def test_a_sheet_shows_every_picture_and_says_where_there_is_none(tmp_path: Path) -> None:
    red, green = (np.full((16, 16, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 255, 0)))
    rows = [[Tile(red, "one"), Tile(green, "two")], [Tile(None), Tile(red, "three")]]
    draw_sheet(tmp_path / "sheet.png", "Title", "and more", rows, ["A", "B"], ["first", "second"], side=1.0)
    pixels = read(tmp_path / "sheet.png")
    assert count(pixels, "#ff0000") == pytest.approx(2 * 100 * 100, rel=0.05)  # an inch each, at 100 dots an inch
    assert count(pixels, "#00ff00") == pytest.approx(100 * 100, rel=0.05)
    assert count(pixels, BACKGROUND) > 0.3 * pixels.shape[0] * pixels.shape[1]
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_bars_are_as_high_as_their_numbers(tmp_path: Path) -> None:
    groups = [
        BarGroup("here", [Bar(0.8, 0.8, 0.8), Bar(0.4, 0.4, 0.4), NONE], Bar(0.9, 0.85, 0.95)),
        BarGroup("there", [NONE] * 3),
    ]
    draw_bars(tmp_path / "bars.png", "Title", "and more", {"score": groups}, ["one", "two", "three"])
    pixels = read(tmp_path / "bars.png")[:430]  # without the legend
    assert count(pixels, COLOURS[0]) / count(pixels, COLOURS[1]) == pytest.approx(2, rel=0.06)
    assert count(pixels, COLOURS[2]) == 0
    band = [round(0.8 * int(PANEL[i : i + 2], 16) + 0.2 * int(CEILING_COLOUR[i : i + 2], 16)) for i in (1, 3, 5)]
    assert count(pixels, f"#{band[0]:02x}{band[1]:02x}{band[2]:02x}") > 500  # the interval, under the line
    assert count(pixels, CEILING_COLOUR) > 100


def test_a_deep_bar_does_not_hide_the_others(tmp_path: Path) -> None:
    groups = [BarGroup("here", [Bar(-40, -50, -30), Bar(0.8, 0.8, 0.8)])]
    draw_bars(tmp_path / "bars.png", "Title", "and more", {"score": groups}, ["one", "two"])
    assert count(read(tmp_path / "bars.png")[:430], COLOURS[1]) > 5000


def test_deep_bars_keep_their_proportions(tmp_path: Path) -> None:
    groups = [BarGroup("here", [Bar(-0.7, -0.7, -0.7), Bar(-1.4, -1.4, -1.4)])]
    draw_bars(tmp_path / "bars.png", "Title", "and more", {"score": groups}, ["one", "two"])
    pixels = read(tmp_path / "bars.png")[:430]
    assert count(pixels, COLOURS[1]) / count(pixels, COLOURS[0]) == pytest.approx(2, rel=0.06)


def test_a_picture_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bars.png"
    draw_bars(path, "Title", "and more", {"score": [BarGroup("here", [NONE])]}, ["one"])
    before = path.read_bytes()

    def stop(self: object, place: Path, **options: object) -> None:
        place.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(figures.Figure, "savefig", stop)
    with pytest.raises(KeyboardInterrupt):
        draw_bars(path, "Other", "and more", {"score": [BarGroup("here", [NONE])]}, ["one"])
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["bars.png"]


def test_no_display_and_no_pyplot() -> None:
    code = "import benchmarks.demo, sys; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
