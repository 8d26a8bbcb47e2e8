"""FITS planes to 8-bit RGB: the published formulae, the surveys' own pictures, and whatever real pixels hold."""

from __future__ import annotations

import json
import pickle
from math import asinh
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.visualization import ManualInterval, make_lupton_rgb
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from embeddings.errors import SommelierError
from extract.fits import read_fits
from extract.images import ImageError
from extract.stretch import Stretch

SKY_LEVEL = 255 * 0.1 * asinh(8 * 2.5 / 16) / asinh(0.8)  # 2.5 noises above black, in stretches of 16 noises, Q = 8


def draw_planes(rng: np.random.Generator, side: int = 96, brightness: float = 200, n_bands: int = 3) -> np.ndarray:
    """A round galaxy, redder in its core, on noise of 1 in every band."""
    y, x = np.mgrid[:side, :side] - side / 2
    radius = np.hypot(x, y) / side
    planes = rng.normal(0, 1, (n_bands, side, side))
    for band in range(n_bands):
        planes[band] += brightness * np.exp(-radius / 0.05) * (1 + 0.3 * band * (radius < 0.05))
    return planes.astype(np.float32)


@pytest.fixture
def planes(rng: np.random.Generator) -> np.ndarray:
    return draw_planes(rng)


def grey(image: np.ndarray) -> np.ndarray:
    return image.astype(float).mean(axis=2)


# names and records


def test_parse() -> None:
    assert Stretch.parse("auto") == Stretch() == Stretch("auto")
    assert Stretch.parse("lupton") == Stretch.parse("lupton:Q=8, stretch=auto")
    assert Stretch.parse("lupton:Q=4,stretch=0.5") == Stretch("lupton", (("Q", 4), ("stretch", 0.5)))
    assert dict(Stretch.parse("lupton:stretch=1/2/3").parameters)["stretch"] == (1, 2, 3)
    assert dict(Stretch.parse("lupton:minimum=-1e-3").parameters) == {"minimum": -1e-3, "stretch": None, "Q": 8}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("luptn", r"'luptn' is not known\. Did you mean 'lupton'\?"),
        ("", r"'' is not known\. Known: auto, lupton, dr2, asinh"),
        ("lupton:strech=1", r"'lupton' has no 'strech'\. Did you mean 'stretch'\?"),
        ("dr2:Q=1", r"'dr2' has no 'Q'\. Known: desaturate"),
        ("auto:Q=1", r"'auto' has no 'Q'\. There are none"),
        ("lupton:Q", r"'Q' is not key=value"),
        ("lupton:Q=1,Q=2", r"'Q' is given twice"),
        ("lupton:Q=many", r"Q='many' is not a number"),
        ("lupton:Q=0", r"Q=0 must be above 0"),
        ("lupton:stretch=1/0", r"stretch=0 must be above 0"),
        ("lupton:Q=nan", r"Q=nan must be above 0"),
        ("lupton:minimum=inf", r"minimum=inf must be a number"),
        ("lupton:Q=1/2", r"Q is one number, not 2"),
        ("lupton:Q=auto", r"Q is above 0; it is not derived"),
        ("dr2:desaturate=2", r"desaturate=2 must be 0 or 1"),
        ("asinh:low=101", r"low=101 must be a percentile"),
        ("asinh:low=50,high=20", r"needs low < high, not 50\.0 and 20\.0"),
    ],
)
def test_what_cannot_be_parsed(text: str, reason: str) -> None:
    with pytest.raises(SommelierError, match=reason):
        Stretch.parse(text)


STRETCHES = [
    "auto", "lupton", "lupton:Q=4", "lupton:minimum=0", "lupton:stretch=2", "lupton:stretch=2/2/3",
    "lupton:minimum=1/2/3", "dr2", "dr2:desaturate=0", "asinh", "asinh:low=2", "asinh:high=99", "asinh:softening=0.2",
]  # fmt: skip


@pytest.mark.parametrize("text", STRETCHES)
def test_a_record_gives_the_stretch_back(text: str, planes: np.ndarray) -> None:
    stretch = Stretch.parse(text)
    again = Stretch.from_dict(json.loads(json.dumps(stretch.to_dict())))
    assert again == stretch
    assert hash(again) == hash(stretch)
    assert pickle.loads(pickle.dumps(stretch)) == stretch
    planes = planes[:1] if text.startswith("asinh") else planes
    np.testing.assert_array_equal(again.render(planes), stretch.render(planes))


def test_two_renderings_have_two_records() -> None:
    records = [json.dumps(Stretch.parse(text).to_dict()) for text in STRETCHES]
    assert len(set(records)) == len(records)


def test_a_record_says_every_value() -> None:
    record = Stretch.parse("lupton:stretch=0.5").to_dict()
    assert (record["stretch"], record["Q"]) == (0.5, 8)
    assert record["minimum"].startswith("auto: ")
    assert "2.5" in record["minimum"]
    assert set(Stretch("asinh").to_dict()) == {"name", "rule", "low", "high", "softening"}
    assert Stretch().to_dict()["two or three bands"] == Stretch("lupton").to_dict()


@pytest.mark.parametrize("change", [{"rule": "another"}, {"Q": None}, {"minimum": "auto: the median"}, {"gamma": 2.2}])
def test_a_record_of_another_version(change: dict[str, Any]) -> None:
    with pytest.raises(SommelierError, match=r"another version|not derived"):
        Stretch.from_dict(Stretch("lupton").to_dict() | change)


# what every recipe does


def test_rows_and_channels(planes: np.ndarray) -> None:
    """FITS counts rows from the bottom, pictures from the top; bands run from blue to red."""
    planes = np.zeros((3, 40, 50), np.float32)
    planes[0, :10, :10] = 1  # blue, at the bottom left
    planes[2, -10:, -10:] = 1
    for stretch in ("dr2:desaturate=0", "lupton:minimum=0,stretch=0.1"):
        image = Stretch.parse(stretch).render(planes)
        assert image.shape == (40, 50, 3)
        assert image[35, 5].argmax() == 2
        assert image[5, 45].argmax() == 0
        assert (image[20, 25] == image[20, 25, 0]).all()


@given(
    name=st.sampled_from(["auto", "lupton", "lupton:Q=2,stretch=3", "lupton:minimum=0", "dr2", "dr2:desaturate=0"]),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_any_pixels_give_a_picture(name: str, shape: tuple[int, int], data: st.DataObject) -> None:
    """Warnings are errors here, so this says too that there are none."""
    n_bands = data.draw(st.sampled_from([1, 2, 3] if name == "auto" else [2, 3] if "lupton" in name else [3]))
    values = st.floats(width=32) | st.sampled_from([0.0, 1.0, np.nan, -np.inf, 1e35, 1e-40, 3e38])
    planes = data.draw(arrays.arrays(np.float32, (n_bands, *shape), elements=values, fill=values))
    image = Stretch.parse(name).render(planes)
    assert image.dtype == np.uint8
    assert image.shape == (*shape, 3)


@pytest.mark.parametrize("text", ["auto", "lupton:minimum=0,stretch=5", "dr2", "asinh"])
@pytest.mark.parametrize("value", [0.0, 5.0, -3e4, np.nan, 1e-39])
def test_a_flat_image_stays_flat(text: str, value: float) -> None:
    image = Stretch.parse(text).render(np.full((1 if text == "asinh" else 3, 30, 30), value))
    assert np.ptp(image, axis=(0, 1)).max() == 0


@pytest.mark.parametrize("text", ["lupton", "dr2", "asinh"])
@pytest.mark.parametrize("gap", [np.nan, np.inf, -np.inf, 1e32])
def test_missing_pixels_are_drawn_as_sky(text: str, gap: float, rng: np.random.Generator) -> None:
    planes = draw_planes(rng)[: 1 if text == "asinh" else 3] + 3
    if text == "dr2":
        planes *= 0.003  # nanomaggies
    whole = Stretch(text).render(planes)
    holed = planes.copy()
    holed[:, :20, :30] = gap
    image = Stretch(text).render(holed)
    hole, rest = image[-20:, :30].astype(float), image[:-20]
    assert np.ptp(hole, axis=(0, 1)).max() == 0
    assert np.abs(hole[0, 0] - np.median(rest[:20], axis=(0, 1))).max() <= 8
    assert np.abs(rest.astype(int) - whole[:-20]).mean() < 3  # the statistics hardly notice


def test_one_band_missing_leaves_the_others(rng: np.random.Generator) -> None:
    planes = draw_planes(rng)
    planes[0] = np.nan
    image = Stretch("lupton").render(planes)
    assert grey(image)[48, 48] > 3 * np.median(grey(image))
    assert image[48, 48, 0] > image[48, 48, 2]


@pytest.mark.parametrize(
    ("text", "n_bands", "reason"),
    [
        ("auto", 5, "5 bands; the stretch 'lupton' draws 2 or 3: choose bands"),
        ("dr2", 2, "2 bands; the stretch 'dr2' draws 3: choose bands"),
        ("asinh", 3, "3 bands; the stretch 'asinh' draws 1: choose bands"),
        ("lupton", 1, "1 band; the stretch 'lupton' draws 2 or 3: choose bands"),
        ("lupton:stretch=1/2", 3, "3 bands, but the stretch has 2 values of stretch"),
    ],
)
def test_bands_that_do_not_fit(text: str, n_bands: int, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        Stretch.parse(text).render(np.ones((n_bands, 20, 20), np.float32))


def test_auto_is_a_recipe_by_the_number_of_bands(planes: np.ndarray) -> None:
    np.testing.assert_array_equal(Stretch().render(planes[:1]), Stretch("asinh").render(planes[:1]))
    for n_bands in (2, 3):
        np.testing.assert_array_equal(Stretch().render(planes[:n_bands]), Stretch("lupton").render(planes[:n_bands]))


# lupton


@pytest.mark.parametrize(("minimum", "stretch", "q"), [(0, 5, 8), (-2, 3, 8), (1.5, 20, 2), (0, 0.5, 12)])
def test_lupton_is_astropys(minimum: float, stretch: float, q: float, planes: np.ndarray) -> None:
    expected = make_lupton_rgb(*planes[::-1], interval=[ManualInterval(vmin=minimum)] * 3, stretch=stretch, Q=q)
    image = Stretch.parse(f"lupton:minimum={minimum},stretch={stretch},Q={q}").render(planes)
    difference = np.abs(image.astype(int) - expected[::-1])
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_a_lupton_pixel_by_hand() -> None:
    # (g, r, i) = (1, 2, 6), minimum 0, stretch 10, Q 8: scaled 0.1, 0.2, 0.6; I = 0.3
    # f(I) / I = 0.1 asinh(2.4) / asinh(0.8) / 0.3 = 0.1 x 1.609438 / 0.732668 / 0.3 = 0.732229
    # R, G, B = 0.6, 0.2, 0.1 of that, x 255 = 112.03, 37.34, 18.67; cut to whole levels
    planes = np.array([1, 2, 6], np.float32)[:, None, None]
    image = Stretch.parse("lupton:minimum=0,stretch=10").render(planes)
    assert image.tolist() == [[[112, 37, 18]]]


def test_what_exceeds_white_keeps_its_colour() -> None:
    planes = np.array([100, 200, 400], np.float32)[:, None, None]
    image = Stretch.parse("lupton:minimum=0,stretch=0.1").render(planes)
    assert image.tolist() == [[[255, 127, 63]]]


def test_values_a_band(planes: np.ndarray) -> None:
    scaled = planes * np.array([1, 2, 4], np.float32)[:, None, None] + np.array([5, 6, 7], np.float32)[:, None, None]
    image = Stretch.parse("lupton:minimum=5/6/7,stretch=3/6/12").render(scaled)
    expected = Stretch.parse("lupton:minimum=0,stretch=3").render(planes)
    assert np.abs(image.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("text", ["lupton", "lupton:minimum=0,stretch=5"])
def test_of_two_bands_green_is_the_mean(text: str, planes: np.ndarray) -> None:
    image = Stretch.parse(text).render(planes[:2]).astype(int)
    whole = image.max(axis=2) < 255
    assert np.abs(image[:, :, 1] - (image[:, :, 0] + image[:, :, 2]) / 2)[whole & (image.min(axis=2) > 0)].max() <= 1
    if text != "lupton":
        three = np.stack([planes[0], planes[:2].mean(axis=0), planes[1]])
        assert np.abs(Stretch.parse(text).render(three).astype(int) - image).max() <= 1


@given(
    scales=st.tuples(*[st.floats(-9, 9)] * 3),
    levels=st.tuples(*[st.floats(-50, 50)] * 3),
    n_bands=st.sampled_from([1, 2, 3]),
)
@settings(max_examples=25, deadline=None)
def test_derived_parameters_do_not_know_the_unit(
    scales: tuple[float, ...], levels: tuple[float, ...], n_bands: int
) -> None:
    """Any unit, exposure time and sky brightness in each band give the same picture."""
    planes = draw_planes(np.random.default_rng(0), 64)[:n_bands].astype(np.float64)
    other = planes + np.array(levels[:n_bands])[:, None, None]
    other *= 10 ** np.array(scales[:n_bands])[:, None, None]
    image, expected = Stretch().render(other).astype(int), Stretch().render(planes).astype(int)
    assert np.abs(image - expected).max() <= 1


@pytest.mark.parametrize("brightness", [0, 20, 500])
def test_sky_is_dark_grey_whatever_the_object(brightness: float, rng: np.random.Generator) -> None:
    image = Stretch("lupton").render(draw_planes(rng, 128, brightness))
    sky = np.median(image[:30].reshape(-1, 3), axis=0)
    assert np.abs(sky - SKY_LEVEL).max() < 5
    assert (grey(image) == 0).mean() < 0.02


def test_objects_are_balanced(rng: np.random.Generator) -> None:
    planes = draw_planes(rng, 128, 300) * np.array([1, 5, 0.2])[:, None, None]  # filters of unequal throughput
    planes += rng.normal(0, [[[2]], [[3]], [[0.5]]], planes.shape)  # and noise that is not in proportion
    image = Stretch("lupton").render(planes)
    y, x = np.mgrid[:128, :128] - 64
    outskirts = image[(np.hypot(x, y) > 10) & (np.hypot(x, y) < 25)].astype(float).mean(axis=0)
    assert np.ptp(outskirts) < 0.1 * outskirts.mean()
    core = image[62:67, 62:67].reshape(-1, 3).astype(float).mean(axis=0)
    assert core[0] > 1.2 * core[2]  # and still, what is redder is redder


def test_a_dropout_does_not_drown_in_noise(rng: np.random.Generator) -> None:
    """A galaxy in one band of three: balanced without a limit, two bands would be nothing but noise."""
    planes = rng.normal(0, 1, (3, 96, 96))
    planes[2] = draw_planes(rng, 96, 500, 1)[0]
    image = Stretch("lupton").render(planes)
    assert image[44:52, 44:52, 0].mean() > 150


def test_a_galaxy_without_noise_is_not_burnt_out() -> None:
    y, x = np.mgrid[:128, :128] - 64
    plane = np.exp(-np.hypot(x, y) / 8)
    for image in (Stretch("lupton").render(np.stack([plane] * 3)), Stretch("asinh").render(plane[None])):
        assert (image == 255).mean() < 0.01
        assert image.max() > 240
        assert len(np.unique(image)) > 60


def test_one_object_that_fills_the_frame(rng: np.random.Generator) -> None:
    y, x = np.mgrid[:128, :128] - 64
    planes = 300 * np.exp(-np.hypot(x, y) / 60) + rng.normal(0, 1, (3, 128, 128))
    image = grey(Stretch("lupton").render(planes))
    assert image[60:68, 60:68].mean() > 2 * image[:8, :8].mean()
    assert image.max() <= 255


# dr2 and asinh


def test_a_dr2_pixel_by_hand() -> None:
    # g, r, z of 0, 2, 1 units of 0.008, 0.014, 0.019: arcsinh 0, 1.443635, 0.881374
    # black arcsinh(-0.5) = -0.481212, white arcsinh(300) = 6.396933: (v + 0.481212) / 6.878145
    # B, G, R = 0.069963, 0.279850, 0.198104; x 255 = 17.84, 71.36, 50.52
    planes = np.array([0, 0.028, 0.019], np.float32)[:, None, None]
    assert Stretch.parse("dr2:desaturate=0").render(planes).tolist() == [[[50, 71, 17]]]
    # desaturated: mean a = 0.182639, largest over mean 1.532258, w = sin(pi/2 (1 - 1.532258 / 2.5)) = 0.571269
    # c w + a (1 - w) + a (1 - w)^2 c: B 0.039968 + 0.078303 + 0.002349 = 0.120620, G 0.247568, R 0.198123
    # x 255 = 30.76, 63.13, 50.52
    assert Stretch("dr2").render(planes).tolist() == [[[50, 63, 30]]]


def test_dr2_black_and_white() -> None:
    units = np.array([0.008, 0.014, 0.019])[:, None, None]
    for value, level in ((-0.501, 0), (-9, 0), (301, 255), (1e4, 255)):
        assert (Stretch("dr2").render(units * value * np.ones((3, 4, 4))) == level).all()


def test_asinh_is_its_formula(rng: np.random.Generator) -> None:
    plane = rng.gamma(1, 3, (50, 60))
    low, high = np.percentile(plane, (5, 95))
    expected = np.arcsinh(np.clip((plane - low) / (high - low), 0, 1) / 0.2) / np.arcsinh(1 / 0.2)
    image = Stretch.parse("asinh:low=5,high=95,softening=0.2").render(plane[None])
    assert np.abs(image[::-1, :, 1] - 255 * expected).max() <= 1
    assert (image == image[:, :, :1]).all()


def test_missing_pixels_have_no_part_in_percentiles(rng: np.random.Generator) -> None:
    plane = rng.gamma(1, 3, (40, 40))
    stretch = Stretch.parse("asinh:softening=0.1")
    holed = np.concatenate([plane, np.full((10, 40), np.nan)])
    np.testing.assert_array_equal(stretch.render(holed[None])[10:], stretch.render(plane[None]))


# the surveys' own pictures


@pytest.mark.parametrize("name", ["a", "b", "bad_pix"])
def test_dr2_is_galaxy_zoos_picture_to_the_bit(name: str, real_data: Path) -> None:
    """The pictures beside the FITS files are PNGs, whatever they are called."""
    folder = real_data / "fits_cutouts/decals_grz"
    with Image.open(folder / f"example_{name}.jpeg") as picture:
        theirs = np.asarray(picture.convert("RGB"))
    planes = read_fits(folder / f"example_{name}.fits", max_missing=0.9).planes
    ours = Stretch("dr2").render(np.nan_to_num(planes))
    np.testing.assert_array_equal(ours, theirs)
    assert np.abs(ours[::-1].astype(int) - theirs).mean() > 10  # the rows matter


@pytest.mark.parametrize(("name", "at_least"), [("a", 0.99), ("b", 0.95)])
def test_the_default_is_like_galaxy_zoos_picture(name: str, at_least: float, real_data: Path) -> None:
    folder = real_data / "fits_cutouts/decals_grz"
    with Image.open(folder / f"example_{name}.jpeg") as picture:
        theirs = grey(np.asarray(picture.convert("RGB")))
    ours = grey(Stretch().render(read_fits(folder / f"example_{name}.fits").planes))
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > at_least
    assert np.abs(ours - theirs).mean() < 25


@pytest.mark.parametrize(("number", "bands"), [(132, "gr"), (150, "gr"), (190, "gr"), (360, "gr"), (731, "g")])
def test_single_exposures_are_like_the_legacy_surveys_picture(number: int, bands: str, real_data: Path) -> None:
    """
    Of one or two bands, of another exposure, noisier, and in the camera's orientation.

    So the noise is averaged away, and the right one of the eight orientations has to fit best.
    """
    folder = real_data / "fits_cutouts/decam_a2670"
    files = [str(folder / f"DECam_cuts/{number}_{band}band.fits") for band in bands]
    ours = Stretch().render(read_fits(files, max_missing=0.3).planes)
    with Image.open(folder / f"Legacy_cuts/L{number}.jpg") as picture:
        theirs = shrink(np.asarray(picture))
    turned = {(turns, flip): np.rot90(ours[::-1] if flip else ours, turns) for turns in range(4) for flip in (0, 1)}
    fits = {key: np.corrcoef(shrink(image), theirs)[0, 1] for key, image in turned.items()}
    assert max(fits, key=fits.__getitem__) == (3, 1)  # rows as in FITS, turned until north is up
    assert fits[3, 1] > 0.85
    assert abs(float(np.median(ours)) - float(np.median(theirs))) < 15


def shrink(image: np.ndarray, side: int = 64) -> np.ndarray:
    small = Image.fromarray(np.ascontiguousarray(image)).convert("L").resize((side, side), Image.Resampling.BOX)
    return np.asarray(small, float).ravel()
