"""Image files to 8-bit RGB: Pillow's bytes, the documented rules, and a reason for whatever cannot be read."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from scipy.ndimage import gaussian_filter

from extract.images import NO_FILE, ImageError, decode_image, read_image
from extract.rendering import Rendering
from tests.conftest import draw_galaxy


@pytest.fixture
def noise(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (33, 47, 3), dtype=np.uint8)


@pytest.fixture
def galaxy(rng: np.random.Generator) -> np.ndarray:
    return gaussian_filter(draw_galaxy(rng, 63), (1, 1, 0))


def encode(image: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    picture.save(stream, kind, **options)
    return stream.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def write_png(samples: np.ndarray, colour: int, transparent: bytes = b"") -> bytes:
    """A PNG by its specification, for the kinds that Pillow does not write; `colour` is the colour type."""
    depth = 16 if samples.dtype == np.uint16 else 8
    height, width = samples.shape[:2]
    lines = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in samples)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    extra = chunk(b"tRNS", transparent) if transparent else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


# what can be read


@pytest.mark.parametrize("quality", [5, 50, 75, 95, 100])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
def test_jpeg_is_pillows_to_the_byte(
    quality: int, subsampling: str, progressive: bool, noise: np.ndarray, galaxy: np.ndarray
) -> None:
    for image in (noise, galaxy):
        data = encode(image, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
        decoded = decode_image(data)
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, by_pillow(data))


def test_grey_jpeg_is_pillows_to_the_byte(galaxy: np.ndarray) -> None:
    data = encode(galaxy[:, :, 0], "JPEG")
    np.testing.assert_array_equal(decode_image(data), by_pillow(data))


def test_rgb_and_cmyk_jpeg(galaxy: np.ndarray) -> None:
    picture = Image.fromarray(galaxy)
    for data in (encode(picture, "JPEG", keep_rgb=True), encode(picture.convert("CMYK"), "JPEG", quality=95)):
        np.testing.assert_array_equal(decode_image(data), by_pillow(data))
        assert np.abs(decode_image(data).astype(int) - galaxy).mean() < 10  # not inverted


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "BMP"])
def test_lossless_kinds(kind: str, noise: np.ndarray) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode_image(encode(noise, kind, **options)), noise)


def test_the_first_frame_of_a_gif(galaxy: np.ndarray) -> None:
    frames = [Image.fromarray(255 - galaxy[:, :, 0]), Image.fromarray(galaxy[:, :, 0])]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode_image(data)[:, :, 1], 255 - galaxy[:, :, 0])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled(kind: str) -> None:
    levels = np.linspace(0, 65535, 48 * 48).round().astype(np.uint16).reshape(48, 48)
    decoded = decode_image(encode(levels, kind))
    expected = np.round(levels / 257)  # 65535 = 255 x 257
    for channel in range(3):
        np.testing.assert_array_equal(decoded[:, :, channel], expected)
    assert decoded.max() == 255


def test_big_endian_16_bit_tiff() -> None:
    levels = np.linspace(0, 65535, 24 * 24).round().astype(np.uint16).reshape(24, 24)
    tags = [  # width, height, bits, no compression, black is zero, one strip
        (256, 24), (257, 24), (258, 16), (259, 1), (262, 1), (273, 8 + 2 + 9 * 12 + 4), (277, 1), (278, 24),
        (279, 24 * 24 * 2),
    ]  # fmt: skip
    data = b"MM\0*\0\0\0\x08" + struct.pack(">H", len(tags))
    data += b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags) + b"\0\0\0\0"
    decoded = decode_image(data + levels.astype(">u2").tobytes())
    np.testing.assert_array_equal(decoded[:, :, 0], np.round(levels / 257))


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4)], ids=["rgb", "rgba"])
def test_16_bit_colour_keeps_its_high_byte(colour: int, channels: int, rng: np.random.Generator) -> None:
    samples = rng.integers(0, 65536, (20, 30, channels)).astype(np.uint16)
    if channels == 4:
        samples[:, :, 3] = 65535
    np.testing.assert_array_equal(decode_image(write_png(samples, colour)), samples[:, :, :3] >> 8)


def test_palette(noise: np.ndarray) -> None:
    picture = Image.fromarray(noise).quantize(64)
    colours = np.array(picture.getpalette()).reshape(-1, 3)
    np.testing.assert_array_equal(decode_image(encode(picture, "PNG")), colours[np.asarray(picture)])


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_with_a_transparent_entry(kind: str, noise: np.ndarray) -> None:
    picture = Image.fromarray(noise).quantize(64)
    colours = np.array(picture.getpalette()).reshape(-1, 3)
    entry = int(np.asarray(picture)[0, 0])
    colours[entry] = 0
    decoded = decode_image(encode(picture, kind, transparency=entry))
    assert (decoded[0, 0] == 0).all()
    np.testing.assert_array_equal(decoded, colours[np.asarray(picture)])


def test_palette_with_half_transparent_entries(noise: np.ndarray) -> None:
    picture = Image.fromarray(noise).quantize(64)
    colours = np.array(picture.getpalette()).reshape(-1, 3)
    decoded = decode_image(encode(picture, "PNG", transparency=bytes([128] * 64)))
    assert np.abs(decoded - colours[np.asarray(picture)] * 128 / 255).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_put_over_black(mode: str, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (20, 30, 4 if mode == "RGBA" else 2), dtype=np.uint8)
    alpha = pixels[:, :, -1:] / 255
    colour = pixels[:, :, :3] if mode == "RGBA" else np.repeat(pixels[:, :, :1], 3, axis=2)
    decoded = decode_image(encode(Image.fromarray(pixels, mode), "PNG"))
    assert np.abs(decoded - colour * alpha).max() <= 1


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_a_transparent_colour_becomes_black(colour: str) -> None:
    """PNG's tRNS of images without alpha: the sky of some cut-outs."""
    shape = (12, 12) if colour == "grey" else (12, 12, 3)
    samples = np.full(shape, 200, np.uint8)
    samples[0, 0] = 90
    key = struct.pack(">H", 200) * (1 if colour == "grey" else 3)
    decoded = decode_image(write_png(samples, 0 if colour == "grey" else 2, key))
    assert (decoded[0, 0] == 90).all()
    assert decoded[1:].max() == 0


def test_one_bit(noise: np.ndarray) -> None:
    bits = noise[:, :, 0] > 127
    np.testing.assert_array_equal(decode_image(encode(bits, "PNG"))[:, :, 2], np.where(bits, 255, 0))


def test_lab_tiff(galaxy: np.ndarray) -> None:
    lab = ImageCms.createProfile("LAB")
    picture = ImageCms.profileToProfile(Image.fromarray(galaxy), ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    assert picture is not None
    assert np.abs(decode_image(encode(picture, "TIFF")).astype(int) - galaxy).mean() < 12


# what cannot


def damaged(kind: str, keep: float) -> bytes:
    data = encode(draw_galaxy(np.random.default_rng(2)), kind)
    return data[: int(len(data) * keep)]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("keep", [0.005, 0.01, 0.1, 0.5, 0.9, 0.98])
def test_a_file_cut_short(kind: str, keep: float) -> None:
    with pytest.raises(ImageError, match=r"truncated|Truncated|not an image|broken") as problem:
        decode_image(damaged(kind, keep), f"galaxy.{kind.lower()}")
    assert str(problem.value).strip()


def test_a_png_with_a_flipped_byte() -> None:
    data = bytearray(encode(draw_galaxy(np.random.default_rng(2)), "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ImageError, match="cannot be decoded"):
        decode_image(bytes(data))


def test_no_bytes(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="empty file"):
        decode_image(b"", "x.png")
    (tmp_path / "x.png").touch()
    assert read_image(str(tmp_path / "x.png")) == b""


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_image(str(tmp_path / "x.png"))
    with pytest.raises(ImageError, match="cannot be read: Is a directory"):
        read_image(str(tmp_path))
    assert Rendering().hash(str(tmp_path / "x.png")) == NO_FILE == bytes(32)


def test_bytes_and_digest(tmp_path: Path, noise: np.ndarray) -> None:
    data = encode(noise, "PNG")
    (tmp_path / "x.png").write_bytes(data)
    assert read_image(str(tmp_path / "x.png")) == data
    assert Rendering().hash(str(tmp_path / "x.png")) == hashlib.sha256(data).digest()


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (b"<html>404 Not Found</html>" * 20, "a/galaxy.png", r"\.png is not an image"),
        (b"\xff\xd8\xff" + b"not a jpeg" * 20, "galaxy.jpg", r"\.jpg is not an image"),
        (b"no name", "", "file is not an image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "x.png", "not an image|cannot be decoded"),
    ],
)
def test_something_else_under_an_images_name(data: bytes, name: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode_image(data, name)


@pytest.mark.parametrize("samples", ["u1", "i2", "i4", "f4", "f8"])
def test_fits_under_another_name(samples: str, rng: np.random.Generator) -> None:
    """Also where Pillow could show the numbers as they are: counts of 0 to 300 would be black."""
    from astropy.io import fits

    stream = io.BytesIO()
    fits.PrimaryHDU(rng.uniform(0, 120, (32, 32)).astype(samples)).writeto(stream)
    with pytest.raises(ImageError, match=r"\.jpg is FITS under another name"):
        decode_image(stream.getvalue(), "galaxy.jpg")


def test_float_tiff(rng: np.random.Generator) -> None:
    data = encode(rng.uniform(0, 1, (16, 16)).astype(np.float32), "TIFF")
    with pytest.raises(ImageError, match=r"^floating-point pixels need a stretch; save 8 or 16 bits"):
        decode_image(data, "x.tif")


def test_32_bit_tiff(rng: np.random.Generator) -> None:
    data = encode(rng.integers(-5, 10**6, (16, 16)).astype(np.int32), "TIFF")
    with pytest.raises(ImageError, match=r"^32-bit integers from -?\d+ to \d+ need a stretch"):
        decode_image(data, "x.tif")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 100), (100, 7)])
def test_placeholders(kind: str, shape: tuple[int, int]) -> None:
    data = encode(np.full((*shape, 3), 99, np.uint8), kind)
    with pytest.raises(ImageError, match=f"{shape[1]} x {shape[0]} pixels; at least 8 x 8 are needed"):
        decode_image(data)


def test_the_smallest_that_is_taken() -> None:
    assert decode_image(encode(np.full((8, 8, 3), 99, np.uint8), "PNG")).shape == (8, 8, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("limit", [1550, 500])  # of 1551 pixels: Pillow only warns below twice the limit
def test_decompression_bombs(kind: str, limit: int, noise: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(noise, kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ImageError, match="too large"):
        decode_image(data, "bomb")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1551)
    assert decode_image(data).shape == noise.shape
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode_image(data).shape == noise.shape


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_bombs_do_not_pass_between_threads(kind: str, noise: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """Warning filters belong to the process: a check by filter lets some through."""
    data = encode(noise, kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1550)

    def refused(_: int) -> bool:
        try:
            decode_image(data)
        except ImageError:
            return True
        return False

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(refused, range(400)))
