"""One way from a catalog's entry to a picture and a digest, and a record of it that keeps old caches valid."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embeddings.errors import SommelierError
from extract.images import NO_FILE, ImageError, decode_image
from extract.rendering import MAX_MISSING, Rendering, choose_rendering
from tests.conftest import draw_galaxy

ORDINARY = Rendering()


def choose(stretch: str | None = None, *bands: str, cutout: float | None = None, missing: float = 0.2) -> Rendering:
    """What is chosen for FITS images."""
    return choose_rendering(["a.fits"], stretch, bands, cutout, missing)


def sha(*files: Path) -> bytes:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).digest()


def draw(rendering: Rendering, path: Any, *place: float) -> np.ndarray:
    digest, image = rendering.load(str(path), *place)
    assert isinstance(image, np.ndarray), image
    assert digest == rendering.hash(str(path), *place) != NO_FILE
    assert (image.dtype, image.shape[2]) == (np.uint8, 3)
    return image


# the record


def test_the_record_of_jpegs_is_that_of_the_first_release() -> None:
    """Word for word: every store made with 0.1 holds this, and another word would make its cache useless."""
    record = {
        "range": "8-bit RGB; 16-bit grey scaled by 1/257, 16-bit colour by its high byte",
        "alpha": "composited over black",
        "stretch": None,
        "bands": None,
        "cutout": None,
    }
    chosen = choose_rendering(["a.jpg", "b/c.PNG", "s.parquet#3", ""], None, (), None, MAX_MISSING)
    assert ORDINARY.to_dict() == chosen.to_dict() == record
    assert list(ORDINARY.to_dict()) == list(record)
    assert Rendering.from_dict(json.loads(json.dumps(record))) == chosen == ORDINARY
    assert choose_rendering(["a.jpg"], None, (), None, 0.7).to_dict() == record  # nothing is missing in a JPEG


def test_a_record_is_the_callers_own() -> None:
    ORDINARY.to_dict()["stretch"] = "asinh"
    assert ORDINARY.to_dict()["stretch"] is None


STRETCHES = (
    "auto", "asinh", "asinh:low=5", "asinh:low=5,high=99", "asinh:softening=0.1", "lupton", "lupton:Q=10",
    "lupton:stretch=0.5", "lupton:stretch=1/2/3", "lupton:minimum=0/0/1,stretch=2", "dr2", "dr2:desaturate=0",
)  # fmt: skip
renderings = st.builds(
    lambda stretch, bands, cutout, missing: choose(stretch, *bands, cutout=cutout, missing=missing),
    st.sampled_from(STRETCHES),
    st.lists(st.sampled_from(["g", "r", "z", "Ks", "0", "1"]), unique=True, max_size=3),
    st.none() | st.floats(0.1, 1e4),
    st.floats(0, 1),
)


@given(renderings)
def test_the_record_and_back(rendering: Rendering) -> None:
    assert Rendering.from_dict(json.loads(json.dumps(rendering.to_dict()))) == rendering


@given(renderings, renderings)
@settings(max_examples=200)
def test_other_choices_have_other_records(a: Rendering, b: Rendering) -> None:
    assert (json.dumps(a.to_dict()) == json.dumps(b.to_dict())) == (a == b)


@pytest.mark.parametrize("stretch", STRETCHES)
def test_each_choice_is_told_from_every_other(stretch: str) -> None:
    made = [
        ORDINARY,
        choose(stretch),
        choose(stretch, "g", "r"),
        choose(stretch, "r", "g"),
        choose(stretch, "gr"),
        choose(stretch, cutout=40),
        choose(stretch, cutout=40.5),
        choose(stretch, missing=0.25),
        *(choose(other) for other in STRETCHES if other != stretch),
    ]
    assert len({json.dumps(rendering.to_dict()) for rendering in made}) == len(made)
    assert choose(stretch, cutout=40) == choose(stretch, cutout=40.0)


def test_what_a_reader_of_a_store_sees() -> None:
    record = choose("lupton:Q=10", "g", "r", cutout=40, missing=0.5).to_dict()
    assert record["bands"] == ["g", "r"]
    assert record["cutout"] == {"arcsec": 40, "position": "the catalog's"}
    assert record["missing"]["at_most"] == 0.5
    assert (record["stretch"]["name"], record["stretch"]["Q"]) == ("lupton", 10)
    assert record["alpha"] == "composited over black"  # JPEGs may be among them
    assert choose().to_dict()["bands"] is choose().to_dict()["cutout"] is None
    assert choose().max_missing == Rendering().max_missing == MAX_MISSING == 0.2  # as in Galaxy Zoo DECaLS


# files of pictures


@pytest.mark.parametrize("kind", ["jpg", "jpeg", "png", "tif", "webp", "bmp", "PNG"])
def test_pictures_are_decoded_as_ever(kind: str, tmp_path: Path, rng: np.random.Generator) -> None:
    file = tmp_path / f"a.{kind}"
    Image.fromarray(draw_galaxy(rng, 40)).save(file)
    for rendering in (ORDINARY, choose("asinh"), choose("lupton", "g", "r")):
        np.testing.assert_array_equal(draw(rendering, file), decode_image(file.read_bytes()))
        assert rendering.load(str(file))[0] == sha(file)
    if kind in ("png", "PNG", "bmp", "tif"):
        np.testing.assert_array_equal(draw(ORDINARY, file), np.asarray(Image.open(file)))


def test_a_row_of_a_table(tmp_path: Path, rng: np.random.Generator) -> None:
    pictures = [draw_galaxy(rng, 20 + n) for n in range(5)]
    rows = []
    for picture in pictures:
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "PNG")
        rows.append({"bytes": stream.getvalue(), "path": None})
    pq.write_table(pa.table({"image": rows}), tmp_path / "s.parquet", row_group_size=2)
    for row in (4, 0, 3, 1, 2):
        reference = f"{tmp_path}/s.parquet#{row}"
        np.testing.assert_array_equal(draw(ORDINARY, reference), pictures[row])
        assert ORDINARY.hash(reference) == hashlib.sha256(rows[row]["bytes"]).digest()
    assert ORDINARY.load(f"{tmp_path}/s.parquet#5") == (NO_FILE, "the shard has 5 rows, none is number 5")


def test_names_that_only_look_like_references(tmp_path: Path, rng: np.random.Generator) -> None:
    picture = draw_galaxy(rng, 32)
    for name in ("a[1].png", "a#3.png", "a.fits.png", "a.parquet.png"):
        Image.fromarray(picture).save(tmp_path / name)
        np.testing.assert_array_equal(draw(ORDINARY, tmp_path / name), picture)


# FITS


def spot(y: int, x: int, height: int = 24, width: int = 32, seed: int = 0) -> np.ndarray:
    """A bright pixel on noise."""
    plane = np.random.default_rng(seed).normal(10, 0.5, (height, width))
    plane[y, x] = 500
    return plane.astype(np.float32)


def write(file: Path, *planes: np.ndarray, names: str = "", header: Any = None) -> Path:
    """One image, or with names one extension each."""
    if not names:
        hdus = [fits.PrimaryHDU(planes[0] if len(planes) == 1 else np.stack(planes), header)]
    else:
        hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(p, name=n) for p, n in zip(planes, names.split(), strict=True))]
    fits.HDUList(hdus).writeto(file)
    return file


def brightest(image: np.ndarray) -> tuple[int, int]:
    return tuple(map(int, np.unravel_index(np.argmax(image.astype(int).sum(axis=2)), image.shape[:2])))


def test_a_fits_file(tmp_path: Path) -> None:
    """Row 0 is at the bottom in FITS: 24 rows, so row 3 is row 20 from the top."""
    file = write(tmp_path / "a.fits", spot(3, 30))
    image = draw(choose(), file)
    assert image.shape == (24, 32, 3)
    assert brightest(image) == (20, 30)
    assert choose().hash(str(file)) == sha(file)


def test_the_stretch_is_used(tmp_path: Path) -> None:
    """With so large a softening asinh is linear: 0, 25, 50 ... 100 become 0, 63, 127 ... 255, whatever lies below."""
    ramp = np.tile(np.linspace(0, 100, 9, dtype=np.float32)[:, None] + 1, (1, 9))
    file = write(tmp_path / "a.fits", ramp)
    image = draw(choose("asinh:low=0,high=100,softening=1000"), file)
    np.testing.assert_allclose(image[::-1, 4, 0], np.linspace(0, 255, 9), atol=1)
    bent = draw(choose("asinh:low=0,high=100,softening=0.01"), file)[::-1, 4, 0].astype(int)
    assert bent[4] > 200  # asinh(50) / asinh(100) = 0.87
    assert (np.diff(bent) > 0).all()


def test_a_file_a_band(tmp_path: Path) -> None:
    """Bands are given blue to red: what is bright in z alone is red."""
    places = {"g": (4, 5), "r": (12, 16), "z": (20, 27)}
    files = [write(tmp_path / f"a-{b}.fits", spot(*at, seed=n)) for n, (b, at) in enumerate(places.items())]
    rendering, template = choose("lupton", "g", "r", "z"), tmp_path / "a-{band}.fits"
    image = draw(rendering, template)
    for (y, x), channel in zip(places.values(), (2, 1, 0), strict=True):
        assert np.argmax(image[23 - y, x]) == channel
    assert rendering.hash(str(template)) == sha(*files)
    backwards = choose("lupton", "z", "r", "g")
    np.testing.assert_array_equal(draw(backwards, template), image[:, :, ::-1])
    assert backwards.hash(str(template)) == sha(*files[::-1])
    cube = write(tmp_path / "cube.fits", *(spot(*at, seed=n) for n, at in enumerate(places.values())))
    np.testing.assert_array_equal(draw(choose("lupton"), cube), image)
    np.testing.assert_array_equal(draw(choose("lupton", "2", "1", "0"), cube), image[:, :, ::-1])


def test_an_extension(tmp_path: Path) -> None:
    sci, other = spot(3, 4), spot(10, 20)
    file = write(tmp_path / "a.fits", sci, other, names="SCI OTHER")
    for reference, plane in (("SCI", sci), ("1", sci), ("other", other), ("2", other)):
        alone = write(tmp_path / f"{reference}.fits", plane)
        digest, image = choose().load(f"{file}[{reference}]")
        np.testing.assert_array_equal(image, draw(choose(), alone))
        assert digest not in (NO_FILE, sha(file))  # one object of many in a file
    assert choose().load(f"{file}[1]")[0] == choose().load(f"{file}[SCI]")[0] != choose().load(f"{file}[2]")[0]


def test_the_digest_of_an_extension_is_known_before_it_is_embedded(tmp_path: Path) -> None:
    """Otherwise a rerun takes the image for another one and embeds it again, every time."""
    file = write(tmp_path / "a.fits", spot(3, 4), spot(10, 20), names="SCI OTHER")
    assert choose().hash(f"{file}[SCI]") == choose().load(f"{file}[SCI]")[0]


@pytest.fixture
def mosaic(tmp_path: Path) -> tuple[Path, np.ndarray, WCS]:
    """100 x 120 pixels of 1 arcsec, with galaxies."""
    rng = np.random.default_rng(5)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cunit = ["RA---TAN", "DEC--TAN"], ["deg", "deg"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [150, 2], [60, 50], [-1 / 3600, 1 / 3600]
    pixels = rng.normal(10, 1, (100, 120)).astype(np.float32)
    for y, x in ((30, 40), (60, 90)):
        pixels[y - 5 : y + 5, x - 5 : x + 5] += draw_galaxy(rng, 10)[:, :, 0]
    return write(tmp_path / "mosaic.fits", pixels, header=wcs.to_header()), pixels, wcs


def test_cutouts_of_one_mosaic(mosaic: tuple[Path, np.ndarray, WCS], tmp_path: Path) -> None:
    """20 arcsec are 20 pixels, from 10 before the pixel of the position to 9 after it."""
    file, pixels, wcs = mosaic
    digests = []
    for number, (y, x) in enumerate([(30, 40), (60, 90), (30, 41), (31, 40)]):
        place = tuple(map(float, wcs.all_pix2world(x, y, 0)))
        alone = write(tmp_path / f"{number}.fits", pixels[y - 10 : y + 10, x - 10 : x + 10])
        np.testing.assert_array_equal(draw(choose(cutout=20), file, *place), draw(choose(), alone))
        digests.append(choose(cutout=20).hash(str(file), *place))
        assert digests[-1] == choose(cutout=20).load(str(file), *place)[0]
        assert draw(choose(cutout=30), file, *place).shape == (30, 30, 3)
        digests.append(choose(cutout=30).hash(str(file), *place))
    assert len({*digests, sha(file)}) == 9


def test_the_digest_of_a_cutout_changes_with_its_pixels_only(
    mosaic: tuple[Path, np.ndarray, WCS], tmp_path: Path
) -> None:
    file, pixels, wcs = mosaic
    near, far = (tuple(map(float, wcs.all_pix2world(x, y, 0))) for y, x in ((30, 40), (60, 90)))
    changed = pixels.copy()
    changed[30, 40] += 1
    other = write(tmp_path / "other.fits", changed, header=wcs.to_header())
    rendering = choose(cutout=20)
    assert rendering.hash(str(file), *near) != rendering.hash(str(other), *near)
    assert rendering.hash(str(file), *far) == rendering.hash(str(other), *far)


# what cannot be read


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    (tmp_path / "text.png").write_bytes(b"not a picture")
    (tmp_path / "text.fits").write_bytes(b"not a picture")
    (tmp_path / "empty.jpg").touch()
    good = write(tmp_path / "good.fits", spot(3, 4))
    (tmp_path / "short.fits").write_bytes(good.read_bytes()[:4000])
    write(tmp_path / "four.fits", *[spot(3, 4)] * 4)
    write(tmp_path / "holes.fits", np.where(np.arange(32) % 2, np.nan, spot(3, 4)))
    write(tmp_path / "b-g.fits", spot(3, 4))
    return tmp_path


@pytest.mark.parametrize(
    ("rendering", "name", "reason"),
    [
        (ORDINARY, "text.png", r"\.png is not an image"),
        (choose(), "text.png", r"\.png is not an image"),
        (ORDINARY, "empty.jpg", "empty file"),
        (ORDINARY, "good.fits", "FITS pixels need a stretch"),
        (choose(), "text.fits", "not a FITS file"),
        (choose(), "short.fits", "cut short|truncated"),
        (choose(), "four.fits", "4 bands.*choose bands"),
        (choose("lupton"), "good.fits", "draws 2 or 3"),
        (choose(), "holes.fits", "50 % of the pixels are missing.*at most 20 %"),
        (choose("lupton", "g", "r", "Ks"), "four.fits", "no band 'g'"),
    ],
)
def test_the_digest_of_bytes_that_give_no_picture(rendering: Rendering, name: str, reason: str, damaged: Path) -> None:
    """It says whether another try is worth it: the bytes are the same, or they are not."""
    digest, why = rendering.load(str(damaged / name))
    assert isinstance(why, str)
    assert re.search(reason, why), why
    assert "\n" not in why
    assert digest == rendering.hash(str(damaged / name)) == sha(damaged / name)


@pytest.mark.parametrize(
    ("rendering", "name", "reason"),
    [
        (ORDINARY, "none.png", "no such file"),
        (ORDINARY, "none.parquet#3", "no such file"),
        (ORDINARY, "text.parquet#3", "cannot be read"),
        (ORDINARY, ".", "cannot be read: Is a directory"),
        (ORDINARY, "none.fits", "FITS pixels need a stretch"),
        (choose(), "none.fits", "no such file"),
        (choose(), "none.fits[1]", "no such file"),
        (choose(None, "g", "r"), "b-{band}.fits", r"b-r\.fits: no such file"),
    ],
)
def test_nothing_to_read(rendering: Rendering, name: str, reason: str, damaged: Path) -> None:
    (damaged / "text.parquet").write_bytes(b"not a table")
    digest, why = rendering.load(str(damaged / name))
    assert isinstance(why, str)
    assert re.search(reason, why), why
    assert "\n" not in why
    assert digest == rendering.hash(str(damaged / name)) == NO_FILE


def test_some_holes_may_be_allowed(damaged: Path) -> None:
    assert draw(choose(missing=0.5), damaged / "holes.fits").shape == (24, 32, 3)


def test_a_reason_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(data: bytes, name: str = "") -> np.ndarray:
        raise ImageError("one\n  two\r\n\tthree ")

    monkeypatch.setattr("extract.rendering.decode_image", fail)
    (tmp_path / "a.png").write_bytes(b"x")
    assert ORDINARY.load(str(tmp_path / "a.png")) == (hashlib.sha256(b"x").digest(), "one two three")


@pytest.mark.parametrize(("ra", "dec"), [(math.nan, 2.0), (150.0, math.nan), (10.0, 2.0), (150.0, -2.0), (330, -2)])
def test_cutouts_where_there_is_nothing(ra: float, dec: float, mosaic: tuple[Path, np.ndarray, WCS]) -> None:
    digest, why = choose(cutout=20).load(str(mosaic[0]), ra, dec)
    assert "position" in why
    assert digest == choose(cutout=20).hash(str(mosaic[0]), ra, dec) == NO_FILE


def test_a_picture_has_nothing_to_cut_by(tmp_path: Path, rng: np.random.Generator) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(draw_galaxy(rng, 32)).save(file)
    digest, why = choose(cutout=20).load(str(file), 150, 2)
    assert why == "only FITS images have a WCS by which to cut"
    assert digest == choose(cutout=20).hash(str(file), 150, 2) == sha(file)


def test_a_cutout_of_holes(tmp_path: Path, mosaic: tuple[Path, np.ndarray, WCS]) -> None:
    _, pixels, wcs = mosaic
    pixels[20:40, 30:50:2] = np.nan
    file = write(tmp_path / "holes.fits", pixels, header=wcs.to_header())
    place = tuple(map(float, wcs.all_pix2world(40, 30, 0)))
    digest, why = choose(cutout=20).load(str(file), *place)
    assert "50 % of the pixels are missing" in why
    assert digest == choose(cutout=20).hash(str(file), *place)


def test_the_digest_of_a_cutout_of_holes(tmp_path: Path, mosaic: tuple[Path, np.ndarray, WCS]) -> None:
    _, pixels, wcs = mosaic
    pixels[20:40, 30:50:2] = np.nan
    file = write(tmp_path / "holes.fits", pixels, header=wcs.to_header())
    place = tuple(map(float, wcs.all_pix2world(40, 30, 0)))
    whole = choose(cutout=20, missing=0.5).load(str(file), *place)[0]
    assert choose(cutout=20).load(str(file), *place)[0] == choose(cutout=20).hash(str(file), *place) == whole


# choosing


def test_fits_without_a_stretch_named_gets_auto() -> None:
    for images in (["a.fits"], ["a.jpg", "b.FITS.gz"], ["a.fits[1]"]):
        chosen = choose_rendering(images, None, (), None, 0.2)
        assert chosen == choose("auto")
        assert chosen.to_dict()["stretch"]["name"] == "auto"
    assert choose_rendering((image for image in ["a-{band}.fits"]), None, ("g", "r"), 30, 0.3) == choose(
        "auto", "g", "r", cutout=30, missing=0.3
    )


@pytest.mark.parametrize(
    ("images", "stretch", "bands", "cutout", "missing", "said"),
    [
        (["a.jpg", "a-{band}.fits"], None, (), None, 0.2, r"named with \{band\}: say which there are with --bands"),
        (["a.fits"], None, (), 0, 0.2, "--cutout is the side of a square in arcsec, not 0"),
        (["a.fits"], None, (), -5.0, 0.2, "--cutout is .*, not -5"),
        (["a.fits"], None, (), math.nan, 0.2, "--cutout is .*, not nan"),
        (["a.fits"], None, (), math.inf, 0.2, "--cutout is .*, not inf"),
        (["a.fits"], None, (), None, 1.1, "--max-missing is a share of the pixels from 0 to 1, not 1.1"),
        (["a.fits"], None, (), None, -0.1, "--max-missing is .*, not -0.1"),
        (["a.fits"], None, (), None, math.nan, "--max-missing is .*, not nan"),
        (["a.jpg"], None, (), None, 20, "--max-missing is .*, not 20"),
        (["a.jpg"], None, (), 40, 0.2, "--stretch, --bands and --cutout are for FITS images; the catalog names none"),
        (["a.jpg", "s.parquet#1"], None, ("g",), None, 0.2, "--stretch, --bands and --cutout are for FITS images"),
        ([], None, (), 40, 0.2, "--stretch, --bands and --cutout are for FITS images"),
        (["a.fits"], "asin", (), None, 0.2, "Did you mean 'asinh'"),
        (["a.fits"], "lupton:q=3", (), None, 0.2, "no 'q'"),
    ],
)
def test_choices_that_do_not_go_together(
    images: list[str], stretch: Any, bands: Any, cutout: Any, missing: float, said: str
) -> None:
    with pytest.raises(SommelierError, match=said):
        choose_rendering(images, stretch, bands, cutout, missing)


@pytest.mark.parametrize("missing", [0, 1])
def test_the_ends_of_the_share(missing: float) -> None:
    assert choose(missing=missing).max_missing == missing


def test_fits_of_which_nothing_is_asked_are_drawn_as_the_backbones_run_drew_them() -> None:
    own = replace(choose("dr2", "g", "r", "z", cutout=30.0), max_missing=0.5)
    banded = ["a-{band}.fits"]
    assert choose_rendering(banded, None, (), None, MAX_MISSING, own=own) == own
    assert choose_rendering(banded, None, (), None, 0.3, own=own) == replace(own, max_missing=0.3)
    assert choose_rendering(["a.fits"], "asinh", (), None, MAX_MISSING, own=own) == choose("asinh")
    assert choose_rendering(["a.fits"], None, (), None, MAX_MISSING, own=Rendering()) == choose()  # it saw pictures
    assert choose_rendering(["a.jpg"], None, (), None, MAX_MISSING, own=own) == Rendering()


def test_a_row_without_an_image(tmp_path: Path) -> None:
    """A catalog's root with nothing behind it."""
    assert Rendering().load(os.path.join(tmp_path, "")) == (NO_FILE, "the catalog names no image")
