"""Pictures and their files, as the releases have them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from extract.simulation.instruments import INSTRUMENTS
from extract.simulation.observation import Observation
from extract.simulation.pictures import draw_picture, encode_picture, write_picture
from extract.stretch import Stretch

SURVEYS = tuple(INSTRUMENTS)


@pytest.fixture
def planes(rng: np.random.Generator) -> np.ndarray:
    """A galaxy in the upper left of 120 x 120 pixels: (column, row) = (40, 30)."""
    y, x = np.mgrid[:120, :120]
    radius = np.hypot(x - 40, y - 30)
    light = np.array([0.6, 1.0, 1.6])[:, None, None] * 4 * np.exp(-radius / 6)
    return (light + 0.01 * rng.standard_normal(light.shape)).astype(np.float32)


def find_brightest(picture: Image.Image) -> tuple[int, int]:
    blurred = np.asarray(picture.resize((60, 60), Image.Resampling.BOX)).sum(axis=2, dtype=int)
    row, column = np.unravel_index(np.argmax(blurred), blurred.shape)
    return int(column), int(row)


@pytest.mark.parametrize("survey", SURVEYS)
@pytest.mark.parametrize("size", [424, 128, 32])
def test_sizes_and_formats(survey: str, size: int, planes: np.ndarray) -> None:
    picture = draw_picture(survey, Observation(planes, (10, 10, 110, 110), {}), size)
    assert (picture.size, picture.mode) == ((size, size), "RGB")
    with Image.open(io.BytesIO(encode_picture(survey, picture))) as file:
        assert file.format == ("PNG" if survey == "decals" else "JPEG")
        assert (file.size, file.mode) == ((size, size), "RGB")
        error = np.asarray(file, int) - np.asarray(picture, int)
    assert np.abs(error).mean() < (0.1 if survey == "decals" else 4)


@pytest.mark.parametrize("survey", SURVEYS)
def test_up_stays_up(survey: str, planes: np.ndarray) -> None:
    """The galaxy at (40, 30) of 120 is at (20, 15) of 60; of the frame from 20 to 80 it is at (20, 10)."""
    whole = draw_picture(survey, Observation(planes, (0, 0, 120, 120), {}), 240)
    np.testing.assert_allclose(find_brightest(whole), (20, 15), atol=1)
    part = draw_picture(survey, Observation(planes, (20, 20, 80, 80), {}), 240)
    np.testing.assert_allclose(find_brightest(part), (20, 10), atol=1)


@pytest.mark.parametrize("survey", SURVEYS)
def test_red_is_the_reddest_band(survey: str, planes: np.ndarray) -> None:
    red, _, blue = np.asarray(draw_picture(survey, Observation(planes, (0, 0, 120, 120), {}), 120))[30, 46].astype(int)
    assert red > blue


def test_the_decals_picture_is_the_stretch_of_dr2(planes: np.ndarray) -> None:
    """Where no pixel is resampled, the same bytes; planes have their top first, FITS its bottom."""
    picture = draw_picture("decals", Observation(planes, (0, 0, 120, 120), {}), 120)
    np.testing.assert_array_equal(np.asarray(picture), Stretch("dr2").render(planes[:, ::-1]))
    # by hand: 0.014 nanomaggies in r are 1 unit; arcsinh(1) = 0.8814 between arcsinh(-0.5) = -0.4812 and
    # arcsinh(300) = 6.3969 is 0.1981 or 50 of 255, in all bands alike, and so not made grey
    even = np.array([0.008, 0.014, 0.019], np.float32)[:, None, None] * np.ones((1, 40, 40), np.float32)
    even[:, :, 20:] = 0
    flat = np.asarray(draw_picture("decals", Observation(even, (0, 0, 40, 40), {}), 40))
    np.testing.assert_allclose(flat[20, 5], [50, 50, 50], atol=1)
    np.testing.assert_allclose(flat[20, 35], [0.4812 / 6.8781 * 255] * 3, atol=1)


@pytest.mark.parametrize("survey", ["sdss", "ukidss"])
def test_jpegs_are_quantised_as_the_real_ones(survey: str, planes: np.ndarray, real_data: Path) -> None:
    picture = draw_picture(survey, Observation(planes, (10, 10, 110, 110), {}))
    with Image.open(io.BytesIO(encode_picture(survey, picture))) as ours:
        tables, layers = ours.quantization, ours.layer
    for path in sorted((real_data / "sdss_kaggle_spiral/images").glob("*.jpg"))[::100]:
        with Image.open(path) as real:
            assert (real.quantization, real.layer) == (tables, layers), path.name


def test_a_picture_is_put_where_its_name_says(tmp_path: Path) -> None:
    write_picture(tmp_path / "a/b/c.jpg", b"content")
    write_picture(tmp_path / "a/b/c.jpg", b"other")
    assert (tmp_path / "a/b/c.jpg").read_bytes() == b"other"
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["c.jpg"]
