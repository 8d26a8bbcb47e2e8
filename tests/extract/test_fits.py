"""FITS files to planes: the layouts that surveys use, cut-outs of mosaics, and a reason for whatever cannot be read."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.units import arcsec
from astropy.wcs import WCS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import extract.fits
from extract.fits import hash_fits, read_fits
from extract.images import NO_FILE, ImageError

# extraction silences astropy's warnings for all its threads at once: `Embedder`
pytestmark = [
    pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning"),
    pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:.*failed to converge:UserWarning"),
]
SCALE = 0.5  # arcsec a pixel of the mosaics here
READS_SLOWLY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(file: Path, *hdus: Any) -> Path:
    first = () if isinstance(hdus[0], fits.PrimaryHDU) else (fits.PrimaryHDU(),)
    fits.HDUList([*first, *hdus]).writeto(file, overwrite=True)
    return file


def primary(file: Path, data: np.ndarray, **cards: Any) -> Path:
    return write(file, fits.PrimaryHDU(data, fits.Header(cards)))


def replace_card(file: Path, key: str, value: str) -> None:
    """Write a card as it stands, right or wrong."""
    data = file.read_bytes()
    start = data.index(f"{key:8}= ".encode())
    file.write_bytes(data[:start] + f"{key:8}= {value:70}".encode("latin-1") + data[start + 80 :])


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(5, 1, (3, 30, 40)).astype(np.float32)


# layouts


@pytest.mark.parametrize("kind", ["f4", "f8", "u1", "i2", "i4", "i8"])
def test_one_image(kind: str, rng: np.random.Generator, tmp_path: Path) -> None:
    data = rng.integers(1, 100, (20, 33)).astype(kind)
    planes = read_fits(primary(tmp_path / "a.fits", data)).planes
    assert planes.dtype == np.float32
    assert planes.dtype.isnative
    np.testing.assert_array_equal(planes, data[None])


def test_a_cube_either_way_round(pixels: np.ndarray, tmp_path: Path) -> None:
    for data in (pixels, np.moveaxis(pixels, 0, 2), pixels[:1]):
        planes = read_fits(primary(tmp_path / "a.fits", data)).planes
        np.testing.assert_array_equal(planes, pixels[: len(planes)])
        assert len(planes) == min(data.shape)


@pytest.mark.parametrize("shape", [(11, 40, 40), (40, 3, 40), (9, 17, 40), (40, 40, 40)])
def test_a_cube_that_could_be_anything(shape: tuple[int, ...], tmp_path: Path) -> None:
    sides = " x ".join(map(str, shape))
    with pytest.raises(ImageError, match=f"data of {sides} pixels: neither the first nor the last axis is short"):
        read_fits(primary(tmp_path / "a.fits", np.ones(shape, np.float32)))


@pytest.mark.parametrize("shape", [(50,), (2, 2, 20, 20), ()])
def test_neither_image_nor_cube(shape: tuple[int, ...], tmp_path: Path) -> None:
    data = np.ones(shape, np.float32) if shape else None
    with pytest.raises(ImageError, match="there is no 2-D or 3-D image at all"):
        read_fits(write(tmp_path / "a.fits", fits.PrimaryHDU(data)))


def test_bands_are_chosen(pixels: np.ndarray, tmp_path: Path) -> None:
    file = primary(tmp_path / "a.fits", pixels, BANDS="grz")
    np.testing.assert_array_equal(read_fits(file, bands="zg").planes, pixels[[2, 0]])
    np.testing.assert_array_equal(read_fits(file, bands=["1"]).planes, pixels[[1]])
    file = primary(tmp_path / "a.fits", np.moveaxis(pixels, 0, 2))
    np.testing.assert_array_equal(read_fits(file, bands=[2, 2, 0]).planes, pixels[[2, 2, 0]])
    file = primary(tmp_path / "a.fits", pixels[0])
    np.testing.assert_array_equal(read_fits([str(file)], bands=["r"]).planes, pixels[:1])


@pytest.mark.parametrize(
    ("bands", "reason"),
    [("gri", "no band 'i' among 3 planes. Known: g, r, z"), ([3], "no band '3' among 3"), (["-1"], "no band '-1'")],
)
def test_bands_that_are_not_there(bands: Any, reason: str, pixels: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=reason):
        read_fits(primary(tmp_path / "a.fits", pixels, BANDS="grz"), bands=bands)


def test_extensions(pixels: np.ndarray, tmp_path: Path) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("x", "E", array=np.ones(50))], name="CAT")
    images = [fits.ImageHDU(plane, name=name) for plane, name in zip(pixels, ("SCI", "WHT", ""), strict=True)]
    file = write(tmp_path / "a.fits", table, *images)
    for extension, plane in ((None, 0), (2, 0), ("sci", 0), ("WHT", 1), (3, 1), ("3", 1), (4, 2)):
        np.testing.assert_array_equal(read_fits(file, extension).planes[0], pixels[plane])
    for extension in ("SCY", 9, "CAT", 0, 1):
        with pytest.raises(
            ImageError, match=rf"no image in extension '?{extension}'?; the images are 2 \(SCI\), 3 \(WHT\), 4"
        ):
            read_fits(file, extension)
    with pytest.raises(ImageError, match="there is no 2-D or 3-D image at all"):
        read_fits(write(tmp_path / "b.fits", table))


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_1", "GZIP_2", "NOCOMPRESS"])
@pytest.mark.parametrize("kind", ["i2", "u2", "i4"])
def test_tile_compressed_integers(compression: str, kind: str, rng: np.random.Generator, tmp_path: Path) -> None:
    data = rng.integers(1, 30_000 if kind == "i2" else 60_000, (64, 80)).astype(kind)
    file = write(tmp_path / "a.fits.fz", fits.CompImageHDU(data, compression_type=compression))
    np.testing.assert_array_equal(read_fits(file).planes[0], data)


def test_tiles_whose_decoder_may_crash(tmp_path: Path) -> None:
    """Damaged HCOMPRESS data corrupt the memory of the whole process."""
    file = write(tmp_path / "a.fits", fits.CompImageHDU(np.ones((40, 40), np.int32), compression_type="HCOMPRESS_1"))
    with pytest.raises(ImageError, match="tiles of kind HCOMPRESS_1 are not read: unpack the file"):
        read_fits(file)


@pytest.mark.parametrize("extension", [None, 1])
def test_tile_compressed_floats(extension: int | None, pixels: np.ndarray, tmp_path: Path) -> None:
    holed = pixels.copy()
    holed[0, 3:5] = np.nan
    file = write(tmp_path / "a.fits.fz", fits.CompImageHDU(holed))
    planes = read_fits(file, extension).planes
    np.testing.assert_array_equal(np.isnan(planes), np.isnan(holed))
    np.testing.assert_allclose(planes, holed, atol=0.2)  # quantised at a sixteenth of the noise
    lossless = fits.CompImageHDU(np.moveaxis(holed, 0, 2), compression_type="GZIP_1", quantize_level=0)
    np.testing.assert_array_equal(read_fits(write(tmp_path / "b.fits.fz", lossless), extension).planes, holed)


def test_gzipped(pixels: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "a.fits.gz"
    file.write_bytes(gzip.compress(primary(tmp_path / "a.fits", pixels).read_bytes()))
    found = read_fits(file)
    np.testing.assert_array_equal(found.planes, pixels)
    assert found.digest == hashlib.sha256(file.read_bytes()).digest()


@pytest.mark.parametrize("blank", ["BLANK", "ZBLANK"])
@pytest.mark.parametrize("compressed", [False, True])
def test_scaled_integers(compressed: bool, blank: str, rng: np.random.Generator, tmp_path: Path) -> None:
    stored = rng.integers(-500, 500, (40, 50)).astype(np.int32)
    stored[:4] = -999
    hdu = fits.CompImageHDU(stored) if compressed else fits.ImageHDU(stored)
    hdu.header.update(BSCALE=0.25, BZERO=7.5, BLANK=-999)
    file = write(tmp_path / "a.fits", hdu)
    file.write_bytes(file.read_bytes().replace(b"BLANK   ", f"{blank:8}".encode()))
    planes = read_fits(file).planes
    assert np.isnan(planes[0, :4]).all()
    np.testing.assert_array_equal(planes[0, 4:], stored[4:] * 0.25 + 7.5)


def test_unsigned_integers_and_their_zeros(tmp_path: Path) -> None:
    data = np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50
    data[:20] = 0
    np.testing.assert_array_equal(read_fits(primary(tmp_path / "a.fits", data)).planes[0], data)


def test_headers_in_other_words(pixels: np.ndarray, tmp_path: Path) -> None:
    file = primary(tmp_path / "a.fits", pixels[0], EXTNAME="It's", ASCALE=2.0, AZERO=1.0, ODD=1)
    replace_card(file, "ASCALE", "2.0D0")
    replace_card(file, "ODD", "not a value at all \xe9")
    for key in (b"SCALE", b"ZERO"):  # of floating-point data, which astropy does not write
        file.write_bytes(file.read_bytes().replace(b"A" + key, b"B" + key))
    np.testing.assert_array_equal(read_fits(file, "it's").planes[0], pixels[0] * 2 + 1)


# missing pixels


def test_what_counts_as_missing(pixels: np.ndarray, tmp_path: Path) -> None:
    holed = pixels.copy()
    holed[0, 0, :4] = [np.nan, np.inf, -np.inf, 0]
    holed[1, 1, :2] = [1e32, -3.4e38]
    planes = read_fits(primary(tmp_path / "a.fits", holed)).planes
    assert np.isnan(planes[0, 0, :4]).all()
    assert np.isnan(planes[1, 1, :2]).all()
    assert np.isnan(planes).sum() == 6
    np.testing.assert_array_equal(planes[~np.isnan(planes)], pixels[~np.isnan(planes)])


@pytest.mark.parametrize("value", [0, np.nan])
def test_the_share_of_the_worst_band(value: float, pixels: np.ndarray, tmp_path: Path) -> None:
    holed = pixels.copy()
    holed[1, :6] = value  # 6 of 30 rows: 20 %
    file = primary(tmp_path / "a.fits", holed)
    assert np.isnan(read_fits(file).planes[1, :6]).all()
    with pytest.raises(ImageError, match=r"^20 % of the pixels of band 1 are missing .*; at most 19 % may be$"):
        read_fits(file, max_missing=0.19)
    holed[1, 6] = value
    with pytest.raises(ImageError, match="23 % of the pixels of band r are missing"):
        read_fits(primary(file, holed, BANDS="grz"), bands="grz")
    assert read_fits(file, bands=[0, 2]).planes.shape == (2, 30, 40)  # what is not drawn does not matter


# one file a band


def test_one_file_a_band(pixels: np.ndarray, tmp_path: Path) -> None:
    files = [str(primary(tmp_path / f"{band}.fits", plane)) for band, plane in zip("grz", pixels, strict=True)]
    found = read_fits(files, bands="grz")
    np.testing.assert_array_equal(found.planes, pixels)
    together = b"".join(Path(file).read_bytes() for file in files)
    assert found.digest == hashlib.sha256(together).digest() == hash_fits(files)
    assert read_fits(files[::-1]).digest != found.digest


def test_bands_that_do_not_go_together(pixels: np.ndarray, tmp_path: Path) -> None:
    files = [str(primary(tmp_path / "g.fits", pixels[0])), str(primary(tmp_path / "r.fits", pixels[1, :-1]))]
    with pytest.raises(ImageError, match=r"different sizes in pixels: g\.fits 40 x 30, r\.fits 40 x 29"):
        read_fits(files)
    with pytest.raises(ImageError, match="2 files for 3 bands"):
        read_fits(files, bands="grz")
    with pytest.raises(ImageError, match=r"^z\.fits: no such file$"):
        read_fits([*files, str(tmp_path / "z.fits")])
    primary(tmp_path / "r.fits", pixels)
    with pytest.raises(ImageError, match=r"r\.fits: 3 planes, where each file is one band"):
        read_fits(files)
    primary(tmp_path / "r.fits", pixels[1] * 0)
    with pytest.raises(ImageError, match=r"100 % of the pixels of band r\.fits are missing"):
        read_fits(files)


# what cannot be read


@READS_SLOWLY
@given(keep=st.floats(0, 1), kind=st.sampled_from(["plain", "extension", "compressed"]))
def test_a_file_cut_short(keep: float, kind: str, pixels: np.ndarray, tmp_path: Path) -> None:
    hdu = {"plain": fits.PrimaryHDU, "extension": fits.ImageHDU, "compressed": fits.CompImageHDU}[kind](pixels)
    data = write(tmp_path / "whole.fits", hdu).read_bytes()
    used = len(data) if kind == "compressed" else 2880 * data.count(b"END" + b" " * 77) + pixels.nbytes
    (tmp_path / "a.fits").write_bytes(data[: min(int(keep * used), used - 2880)])
    for extension in (None, 1):
        with pytest.raises(ImageError, match=r"cut short|no 2-D or 3-D|no image in|empty file|not a FITS file|damaged"):
            read_fits(tmp_path / "a.fits", extension)
    (tmp_path / "a.fits").write_bytes(data[:used])  # the padding of the last block may be missing
    assert read_fits(tmp_path / "a.fits").planes.shape == pixels.shape


def test_cut_short_by_how_much(pixels: np.ndarray, tmp_path: Path) -> None:
    file = primary(tmp_path / "a.fits", pixels)
    file.write_bytes(file.read_bytes()[:9000])
    # one block of header, then 3 x 30 x 40 x 4 bytes
    with pytest.raises(ImageError, match=r"^cut short: 9000 bytes, and its header announces at least 17280$"):
        read_fits(file)


def test_gzip_that_is_damaged(pixels: np.ndarray, tmp_path: Path) -> None:
    data = gzip.compress(primary(tmp_path / "a.fits", pixels).read_bytes())
    for broken in (data[:-2000], data[:100] + bytes(50) + data[150:], data[:10], data[:-8] + bytes(8)):
        (tmp_path / "a.fits.gz").write_bytes(broken)
        with pytest.raises(ImageError, match=r"^damaged FITS file: .|^not a FITS file$"):
            read_fits(tmp_path / "a.fits.gz")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"^no such file$"):
        read_fits(tmp_path / "a.fits")
    with pytest.raises(ImageError, match=r"^cannot be read: Is a directory$"):
        read_fits(tmp_path)
    assert hash_fits(tmp_path / "a.fits") == NO_FILE


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageError, match=r"^cannot be read: Permission denied$"):
        read_fits(tmp_path / "a.fits")


@pytest.mark.parametrize("extension", [None, 0])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "^empty file$"),
        (b"<html>404 Not Found</html>" * 300, "^not a FITS file$"),
        (b"SIMPLE  =                    T", "^damaged FITS file: Empty or corrupt"),
        (b"SIMPLE  =                    T".ljust(80) + b"END".ljust(80), "^damaged FITS file: "),
    ],
)
def test_something_else_under_the_name(extension: int | None, data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_bytes(data)
    with pytest.raises(ImageError, match=reason):
        read_fits(tmp_path / "a.fits", extension)


@pytest.mark.parametrize(
    ("key", "value"),
    [("BITPIX", "7"), ("BITPIX", "T"), ("NAXIS", "'two'"), ("NAXIS1", "-9"), ("NAXIS2", ""), ("NAXIS2", "1E999")],
)
def test_a_header_that_makes_no_sense(key: str, value: str, pixels: np.ndarray, tmp_path: Path) -> None:
    file = primary(tmp_path / "a.fits", pixels)
    replace_card(file, key, value)
    with pytest.raises(ImageError, match=r"damaged FITS file: .|no 2-D or 3-D image at all|pixels; at least 8 x 8"):
        read_fits(file)


@READS_SLOWLY
@given(seed=st.integers(0, 2**32), compressed=st.booleans(), n_bytes=st.integers(1, 12), cut=st.booleans())
def test_damage_anywhere_in_a_header(
    seed: int, compressed: bool, n_bytes: int, cut: bool, pixels: np.ndarray, tmp_path: Path
) -> None:
    """Pixels, or a reason: no other error, no warning, no endless loop."""
    header = mosaic_header("TAN", 30)
    hdu = fits.CompImageHDU(pixels[0], header) if compressed else fits.PrimaryHDU(pixels[0], header)
    file = write(tmp_path / "a.fits", hdu)
    data, rng = bytearray(file.read_bytes()), np.random.default_rng(seed)
    for place in rng.integers(0, 2880, n_bytes):
        data[place] = rng.choice(list(b" =T'0123456789.E-AXB\xff"))
    file.write_bytes(data)
    try:
        planes = read_fits(file, cutout=6 if cut else None, ra=150, dec=20).planes
    except ImageError:
        return
    assert planes.ndim == 3


def test_compressed_data_that_are_damaged(pixels: np.ndarray, tmp_path: Path) -> None:
    file = write(tmp_path / "a.fits.fz", fits.CompImageHDU(pixels[0]))
    data = file.read_bytes()
    start = len(data.rstrip(b"\0")) - 1000  # in the heap, after the list of tiles
    file.write_bytes(data[:start] + b"\xff" * 500 + data[start + 500 :])
    with pytest.raises(ImageError, match=r"^damaged FITS file: decompression"):
        read_fits(file)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((7, 100), "100 x 7 pixels; at least 8 x 8 are needed"),
        ((10, 400), "400 x 10 pixels: a strip, not a cut-out"),
        ((100, 101), "too large: 101 x 100 pixels; give the side of a cut-out"),
    ],
)
def test_sizes(shape: tuple[int, int], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract.fits, "MAX_PIXELS", 10_000)
    file = primary(tmp_path / "a.fits", np.ones(shape, np.float32))
    with pytest.raises(ImageError, match=reason):
        read_fits(file)
    monkeypatch.setattr(extract.fits, "MAX_BYTES", 5000)
    with pytest.raises(ImageError, match=r"too large: .* GB; give the side of a cut-out"):
        read_fits(file)


# cut-outs


def mosaic_header(projection: str = "TAN", side: int = 200, turn: float = 0.0) -> fits.Header:
    """Half an arcsec a pixel around 150 +20, in the middle of the image."""
    cos, sin = SCALE / 3600 * np.cos(np.radians(turn)), SCALE / 3600 * np.sin(np.radians(turn))
    return fits.Header(
        {"CTYPE1": f"RA---{projection}", "CTYPE2": f"DEC--{projection}", "CRVAL1": 150.0, "CRVAL2": 20.0,
         "CRPIX1": side / 2, "CRPIX2": side / 2, "CD1_1": -cos, "CD1_2": sin, "CD2_1": sin, "CD2_2": cos,
         "CUNIT1": "deg", "CUNIT2": "deg", "RADESYS": "ICRS"}
    )  # fmt: skip


def numbered(height: int, width: int) -> np.ndarray:
    """Every pixel says where it is."""
    return (1 + np.arange(height)[:, None] * 1000 + np.arange(width)).astype(np.float32)


def sky_of(wcs: WCS, x: float, y: float) -> tuple[float, float]:
    place = wcs.celestial.pixel_to_world(x, y).icrs
    return float(place.ra.deg), float(place.dec.deg)


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("mosaic") / "tile.fits"
    return write(file, fits.PrimaryHDU(numbered(150, 200), mosaic_header()))


@READS_SLOWLY
@given(x=st.integers(20, 179), y=st.integers(20, 129), side=st.integers(8, 40))
def test_a_cut_out_is_a_slice(x: int, y: int, side: int, mosaic: Path) -> None:
    ra, dec = sky_of(WCS(fits.getheader(mosaic)), x, y)
    planes = read_fits(mosaic, cutout=side * SCALE, ra=ra, dec=dec).planes
    # an odd side has the galaxy's pixel in its middle, an even one right of it
    left, bottom = x - side // 2, y - side // 2
    assert planes.shape == (1, side, side)
    np.testing.assert_array_equal(planes[0], numbered(150, 200)[bottom : bottom + side, left : left + side])


@READS_SLOWLY
@given(
    x=st.floats(40, 160), y=st.floats(40, 160), side=st.floats(4, 30), turn=st.floats(0, 360),
    projection=st.sampled_from(["TAN", "SIN", "ZEA", "STG"]),
)  # fmt: skip
def test_a_cut_out_is_astropys(x: float, y: float, side: float, turn: float, projection: str, tmp_path: Path) -> None:
    header = mosaic_header(projection, 200, turn)
    wcs, data = WCS(header), numbered(200, 200)
    ra, dec = sky_of(wcs, x, y)
    expected = Cutout2D(data, SkyCoord(ra, dec, unit="deg"), side * arcsec, wcs=wcs, mode="strict").data
    file = write(tmp_path / "a.fits", fits.PrimaryHDU(data, header))
    found = read_fits(file, cutout=side, ra=ra, dec=dec).planes[0]
    if found.shape == expected.shape:  # halves of pixels may be rounded either way
        assert np.abs(found - expected).max() in (0, 1, 1000, 1001)
        if abs(x % 0.5 - 0.25) < 0.24 and abs(y % 0.5 - 0.25) < 0.24:
            np.testing.assert_array_equal(found, expected)
    else:
        assert abs((side / SCALE) % 1 - 0.5) < 1e-3


LAYOUTS = ["plain", "cube", "bands last", "compressed", "compressed cube", "extension", "gzipped"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_cut_out_of_every_layout(layout: str, tmp_path: Path) -> None:
    plane, header = numbered(150, 200), mosaic_header()
    cube = np.stack([plane, plane + 0.5, plane + 0.25])
    extension = "SCI" if layout in ("extension", "compressed") else None
    if layout == "bands last":
        cube = np.moveaxis(cube, 0, 2)
        header = fits.Header({key.replace("2", "3").replace("1", "2"): value for key, value in header.items()})
        header.update(CTYPE1="BAND", CD1_1=1.0)
    hdu = {
        "cube": lambda: fits.PrimaryHDU(cube, header),
        "bands last": lambda: fits.PrimaryHDU(cube, header),
        "compressed": lambda: fits.CompImageHDU(plane.astype(np.int32), header, name="SCI", tile_shape=(50, 50)),
        "compressed cube": lambda: fits.CompImageHDU((cube * 4).astype(np.int32), header),
        "extension": lambda: fits.ImageHDU(plane, header, name="SCI"),
    }.get(layout, lambda: fits.PrimaryHDU(plane, header))()
    file = write(tmp_path / "a.fits", hdu)
    if layout == "gzipped":
        (tmp_path / "a.fits.gz").write_bytes(gzip.compress(file.read_bytes()))
        file = tmp_path / "a.fits.gz"
    ra, dec = sky_of(WCS(mosaic_header()), 60, 30)
    planes = read_fits(file, extension, cutout=10, ra=ra, dec=dec).planes
    np.testing.assert_array_equal(planes[0] / (4 if layout == "compressed cube" else 1), plane[20:40, 50:70])
    assert len(planes) == (1 if "cube" not in layout and "last" not in layout else 3)


WCS_KINDS = {
    "TAN": {}, "SIN": {}, "ZEA": {}, "CAR": {}, "AIT": {},
    "ZPN": {"PV2_1": 1.0, "PV2_3": 42.0},
    "TPV": {"PV1_1": 1.01, "PV1_2": 0.004, "PV2_1": 0.99, "PV2_4": 0.3, "PV1_4": 0.2},
    "TAN-SIP": {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 2e-4, "B_1_1": -2e-4, "A_0_2": 1e-4},
}  # fmt: skip


@pytest.mark.parametrize("projection", WCS_KINDS)
def test_projections(projection: str, tmp_path: Path) -> None:
    """From a pixel to the sky by astropy, and back by us."""
    header = mosaic_header(projection, 300, 30)
    header.update(WCS_KINDS[projection])
    file = write(tmp_path / "a.fits", fits.PrimaryHDU(numbered(300, 260), header))
    for x, y in ((150, 150), (40, 60), (200, 250)):
        ra, dec = sky_of(WCS(header), x, y)
        planes = read_fits(file, cutout=10.5, ra=ra, dec=dec).planes[0]
        assert planes[planes.shape[0] // 2, planes.shape[1] // 2] == numbered(300, 260)[y, x]
        assert abs(planes.shape[0] - 21) <= 2
        assert abs(planes.shape[1] - 21) <= 2


def test_a_square_is_square_on_the_sky(tmp_path: Path) -> None:
    """Oblong pixels."""
    for turn in (0, 35, 90):
        header = mosaic_header("TAN", 200, turn)
        header["CD1_1"] *= 2
        header["CD2_1"] *= 2
        file = write(tmp_path / "a.fits", fits.PrimaryHDU(numbered(200, 200), header))
        assert read_fits(file, cutout=20, ra=150, dec=20).planes.shape == (1, 40, 20)


@pytest.mark.parametrize("frame", ["declination first", "galactic", "FK4", "FK4 in old words"])
def test_other_frames(frame: str, tmp_path: Path) -> None:
    header = mosaic_header()
    if frame == "declination first":
        swap = {"CTYPE": None, "CRVAL": None, "CUNIT": None}
        for key in swap:
            header[f"{key}1"], header[f"{key}2"] = header[f"{key}2"], header[f"{key}1"]
        header["CD1_1"], header["CD1_2"] = 0.0, SCALE / 3600
        header["CD2_1"], header["CD2_2"] = SCALE / 3600, 0.0
    elif frame == "galactic":
        header.update(CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN", CRVAL1=120.0, CRVAL2=-30.0)
    else:
        header.update(RADESYS="FK4", EQUINOX=1950.0)
    file = write(tmp_path / "a.fits", fits.PrimaryHDU(numbered(200, 200), header))
    if "old" in frame:
        file.write_bytes(file.read_bytes().replace(b"RADESYS ", b"RADECSYS").replace(b"EQUINOX ", b"EPOCH   "))
    ra, dec = sky_of(WCS(header), 70, 40)
    np.testing.assert_array_equal(
        read_fits(file, cutout=10, ra=ra, dec=dec).planes[0], numbered(200, 200)[30:50, 60:80]
    )


@pytest.mark.parametrize(
    "cards",
    [
        {"RADECSYS": "'FK5'", "EPOCH": "2000.0"},
        {"EQUINOX": "'J2000'"},
        {"WCSAXES": "3"},
        {"CTYPE1": "'RA---NCP'", "CTYPE2": "'DEC--NCP'"},
        {"MJD-OBS": "'yesterday'", "DATE-OBS": "'31/12/99'"},
        {"EQUINOX": ""},
        {"PV1_5": "0.0", "PV1_1": "1.0", "PV2_1": "1.0"},  # SCAMP's, of the time before TPV
        {"A_ORDER": "2", "B_ORDER": "2", "A_2_0": "1e-7"},  # SIP by its numbers alone
        {"PV1_5": "0.0", "PV1_1": "1.0", "PV2_1": "1.0", "A_ORDER": "2", "B_ORDER": "2", "A_2_0": "1e-2"},
    ],
    ids=lambda cards: "-".join(cards),
)
def test_headers_that_make_astropy_warn(cards: dict[str, str], tmp_path: Path) -> None:
    header = mosaic_header()
    for key in cards:
        header[key] = 1
    file = write(tmp_path / "a.fits", fits.PrimaryHDU(numbered(200, 200), header))
    for key, value in cards.items():
        replace_card(file, key, value)
    ra, dec = sky_of(WCS(mosaic_header()), 70, 40)
    np.testing.assert_array_equal(
        read_fits(file, cutout=10.5, ra=ra, dec=dec).planes[0], numbered(200, 200)[30:51, 60:81]
    )


def test_bands_on_grids_of_their_own(tmp_path: Path) -> None:
    files = []
    for band, shift, scale in (("g", 0, 1), ("r", 17, 1), ("z", 5, 1.03)):
        header = mosaic_header("TAN", 200)
        header["CRPIX1"] += shift
        for key in ("CD1_1", "CD2_2"):
            header[key] *= scale
        files.append(str(write(tmp_path / f"{band}.fits", fits.PrimaryHDU(numbered(200, 230), header))))
    planes = read_fits(files, cutout=15.5, ra=150, dec=20).planes
    assert planes.shape == (3, 30, 30)  # 31, 31 and 30 pixels
    assert (planes[1] - planes[0] == 17).all()
    with pytest.raises(ImageError, match=r"different sizes in pixels: g\.fits 100 x 100, r.*, z\.fits 97 x 97"):
        read_fits(files, cutout=50, ra=150, dec=20)


@pytest.mark.parametrize(
    ("x", "y", "side", "reason"),
    [
        (5, 75, 20, r"a cut-out of 10 arcsec at 150\.01389 \+19\.99667 runs off the image"),
        (198, 75, 20, "runs off the image"),
        (100, 4, 20, "runs off the image"),
        (100, 148, 20, "runs off the image"),
        (100, 75, 151, "a cut-out of 75.5 arcsec .* runs off the image"),
        (-13, 75, 20, "the position .* is not on the image"),
        (100, 161, 20, "is not on the image"),
        (100, 75, 7, r"a cut-out of 3\.5 arcsec is 7 x 7 pixels; at least 8 x 8 are needed"),
    ],
)
def test_cut_outs_that_do_not_fit(x: float, y: float, side: int, reason: str, mosaic: Path) -> None:
    ra, dec = sky_of(WCS(fits.getheader(mosaic)), x, y)
    with pytest.raises(ImageError, match=reason):
        read_fits(mosaic, cutout=side * SCALE, ra=ra, dec=dec)


@pytest.mark.parametrize("projection", ["TAN", "TPV", "TAN-SIP", "SIN", "ZPN"])
def test_the_other_side_of_the_sky(projection: str, tmp_path: Path) -> None:
    header = mosaic_header(projection)
    header.update(WCS_KINDS[projection])
    file = write(tmp_path / "a.fits", fits.PrimaryHDU(numbered(200, 200), header))
    for ra, dec in ((330, -20), (150, 90), (60, 20), (150, 25)):
        with pytest.raises(ImageError, match="is not on the image"):
            read_fits(file, cutout=10, ra=ra, dec=dec)


@pytest.mark.parametrize(("ra", "dec"), [(np.nan, 20), (150, np.nan), (np.nan, np.nan), (150, 95)])
def test_no_position(ra: float, dec: float, mosaic: Path) -> None:
    with pytest.raises(ImageError, match="no position is known: a cut-out needs ra and dec"):
        read_fits(mosaic, cutout=10, ra=ra, dec=dec)


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        ({}, "no celestial WCS to cut by"),
        ({"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"}, "no celestial WCS"),
        ({"CTYPE1": "RA---TAN", "CTYPE2": "GLAT-TAN"}, "WCS"),
        ({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": "ten"}, "its WCS cannot be used|not on the image"),
        ({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": 0.0, "CD2_2": 0.0}, "its WCS cannot be used: "),
    ],
)
def test_no_wcs(cards: dict[str, Any], reason: str, tmp_path: Path) -> None:
    file = primary(tmp_path / "a.fits", numbered(50, 50), **cards)
    with pytest.raises(ImageError, match=reason):
        read_fits(file, cutout=10, ra=150, dec=20)


def test_a_mosaic_is_not_read_whole(tmp_path: Path) -> None:
    header = mosaic_header("TAN", 2000)
    file = write(tmp_path / "a.fits", fits.PrimaryHDU(np.ones((2000, 2000), np.float32), header))
    read_fits(file, cutout=10, ra=150, dec=20)  # imports
    tracemalloc.start()
    read_fits(file, cutout=50, ra=150, dec=20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6  # of 16 MB


def test_threads(mosaic: Path, tmp_path: Path) -> None:
    small = write(tmp_path / "b.fits", fits.CompImageHDU(numbered(60, 60).astype(np.int32)))
    wcs = WCS(fits.getheader(mosaic))
    places = [(x, y, *sky_of(wcs, x, y)) for x in range(30, 170, 12) for y in range(30, 120, 12)]

    def is_right(place: tuple[int, int, float, float]) -> bool:
        x, y, ra, dec = place
        planes = read_fits(mosaic, cutout=10, ra=ra, dec=dec).planes
        whole = read_fits(small).planes
        return bool(
            (planes[0] == numbered(150, 200)[y - 10 : y + 10, x - 10 : x + 10]).all() and whole[0, 9, 9] == 9010
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(is_right, places))


# digests


def test_digests(mosaic: Path, pixels: np.ndarray, tmp_path: Path) -> None:
    file = primary(tmp_path / "a.fits", pixels)
    assert read_fits(file).digest == hashlib.sha256(file.read_bytes()).digest() == hash_fits(file)
    assert read_fits(file, bands=[0]).digest == hash_fits(file)
    ra, dec = sky_of(WCS(fits.getheader(mosaic)), 60, 30)
    cut = read_fits(mosaic, cutout=10, ra=ra, dec=dec)
    stored = b">f4 (20, 20) None None None None" + numbered(150, 200)[20:40, 50:70].astype(">f4").tobytes()
    assert cut.digest == hashlib.sha256(stored).digest() == hash_fits(mosaic, cutout=10, ra=ra, dec=dec)
    other = hash_fits(mosaic, cutout=10, ra=ra, dec=dec + 1 / 3600)
    assert len({cut.digest, other, hash_fits(mosaic), NO_FILE}) == 4
    assert hash_fits(mosaic, cutout=10, ra=ra, dec=-dec) == NO_FILE


@pytest.mark.parametrize("compressed", [False, True])
def test_images_of_one_file_do_not_look_like_one(compressed: bool, pixels: np.ndarray, tmp_path: Path) -> None:
    kind = fits.CompImageHDU if compressed else fits.ImageHDU
    counts = (pixels * 100).astype(np.int16)
    file = write(tmp_path / "a.fits", *(kind(plane, name=f"G{i}") for i, plane in enumerate(counts)))
    digests = [read_fits(file, f"G{i}").digest for i in range(3)]
    assert len(set(digests)) == 3
    assert digests == [hash_fits(file, i + 1) for i in range(3)]


def test_a_change_of_scaling_is_a_change_of_the_image(tmp_path: Path) -> None:
    counts = np.arange(400, dtype=np.int16).reshape(20, 20)
    digests = set()
    for blank, zero in ((None, 0), (7, 0), (7, 100)):
        hdu = fits.ImageHDU(counts, name="SCI")
        file = write(tmp_path / "a.fits", hdu)
        with fits.open(file, mode="update", do_not_scale_image_data=True) as hdus:
            hdus[1].header["BZERO"] = zero
            if blank is not None:
                hdus[1].header["BLANK"] = blank
        digests.add(hash_fits(file, "SCI"))
    assert len(digests) == 3


def test_a_refused_image_has_its_digest(pixels: np.ndarray, tmp_path: Path) -> None:
    file = primary(tmp_path / "a.fits", pixels * 0)
    with pytest.raises(ImageError, match="missing"):
        read_fits(file)
    assert hash_fits(file) == hashlib.sha256(file.read_bytes()).digest()


# real files


def test_every_real_file_reads_or_says_why(real_data: Path) -> None:
    files = sorted((real_data / "fits_cutouts").rglob("*.fits"))
    assert len(files) > 40
    reasons = {}
    for file in files:
        try:
            planes = read_fits(file).planes
        except ImageError as error:
            reasons[file.name] = str(error)
            continue
        data = fits.getdata(file)
        np.testing.assert_array_equal(
            planes, np.where(data == 0, np.nan, data).astype(np.float32).reshape(planes.shape)
        )
    assert reasons == {
        "190_gband.fits": "26 % of the pixels are missing (not finite, blank or exactly 0); at most 20 % may be",
        "example_bad_pix.fits": "76 % of the pixels of band 0 are missing (not finite, blank or exactly 0); "
        "at most 20 % may be",
        "example_incomplete.fits": "cut short: 1389044 bytes, and its header announces at least 2160192",
    }


def test_every_real_file_is_cut(real_data: Path) -> None:
    """Their own WCS, TPV and TAN, at a pixel off the centre."""
    for file in sorted((real_data / "fits_cutouts").rglob("*.fits")):
        if file.name == "example_incomplete.fits":
            continue
        with fits.open(file) as hdus:
            hdu = next(hdu for hdu in hdus if hdu.data is not None)
            data, header = hdu.data.reshape(-1, *hdu.data.shape[-2:]), hdu.header
        wcs = WCS(header, fix=False, naxis=2)
        x, y = data.shape[2] // 2 + 2, data.shape[1] // 2 - 2
        ra, dec = sky_of(wcs, x, y)
        side = 11 * np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))) * 3600
        planes = read_fits(file, cutout=side, ra=ra, dec=dec, max_missing=1).planes
        middle = planes[:, planes.shape[1] // 2, planes.shape[2] // 2]
        np.testing.assert_array_equal(np.nan_to_num(middle), np.nan_to_num(data[:, y, x].astype(np.float32)))


def test_the_galaxy_is_where_the_catalog_says(real_data: Path) -> None:
    """These cut-outs were centred on their galaxies by others, who wrote down the pixel."""
    for file in sorted((real_data / "fits_cutouts/decam_a2670/DECam_cuts").glob("*_rband.fits")):
        header = fits.getheader(file)
        cut = read_fits(file, cutout=21 * 0.2626, ra=header["RA"], dec=header["DEC"]).planes[0]
        x, y = round(header["RA_PIX"]), round(header["DEC_PIX"])
        middle = cut[cut.shape[0] // 2, cut.shape[1] // 2]
        assert middle in fits.getdata(file)[y - 1 : y + 2, x - 1 : x + 2]
