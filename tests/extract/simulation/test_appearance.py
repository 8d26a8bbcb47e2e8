"""Measures of pictures: of drawn ellipses whose numbers are known; and of simulated beside real images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import integrate, optimize

from embeddings.files import hash_file
from extract.simulation import simulate_sky
from extract.simulation.appearance import MEASURES, measure_appearance

SKY = 20.0
COMPARED = ["sky_noise", "half_light_radius", "axis_ratio", "red", "blue"]


def draw_ellipse(
    rng: np.random.Generator,
    width: float,
    ratio: float = 1.0,
    angle: float = 0.0,
    light: tuple[float, float, float] = (150, 150, 150),
    noise: float = 0.0,
    side: int = 424,
) -> np.ndarray:
    """A Gaussian in the middle on a sky of 20, with independent noise in each channel."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    turned = np.deg2rad(angle)
    along, across = x * np.cos(turned) + y * np.sin(turned), y * np.cos(turned) - x * np.sin(turned)
    shape = np.exp(-0.5 * ((along / width) ** 2 + (across / (ratio * width)) ** 2))
    image = SKY + shape[..., None] * np.array(light) + noise * rng.standard_normal((side, side, 3))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("ratio", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("angle", [0.0, 35.0])
def test_axis_ratio(ratio: float, angle: float, rng: np.random.Generator) -> None:
    measured = measure_appearance(draw_ellipse(rng, 40, ratio, angle, noise=2.0))
    assert measured["axis_ratio"] == pytest.approx(ratio, abs=0.02)


def test_half_light_radius_of_a_round_one(rng: np.random.Generator) -> None:
    """A Gaussian's is sqrt(2 ln 2) = 1.17741 of its width; what is fainter than the threshold is left out."""
    measured = measure_appearance(draw_ellipse(rng, 30))
    assert measured["half_light_radius"] == pytest.approx(1.17741 * 30 / 424, rel=0.03)
    half = measure_appearance(draw_ellipse(rng, 15, side=212))
    assert half["half_light_radius"] == pytest.approx(measured["half_light_radius"], rel=0.02)


def test_half_light_radius_of_a_flat_one(rng: np.random.Generator) -> None:
    """In a circle: the light inside R of a Gaussian of 40 by 16, by quadrature."""

    def inside(radius: float) -> float:
        def ring(angle: float) -> float:
            k = 0.5 * ((np.cos(angle) / 40) ** 2 + (np.sin(angle) / 16) ** 2)
            return (1 - np.exp(-k * radius**2)) / (2 * k)

        return integrate.quad(ring, 0, 2 * np.pi)[0] / (2 * np.pi * 40 * 16)

    expected = optimize.brentq(lambda radius: inside(radius) - 0.5, 1, 100) / 424
    measured = measure_appearance(draw_ellipse(rng, 40, 0.4, 20))
    assert measured["half_light_radius"] == pytest.approx(expected, rel=0.03)


def test_colours_by_hand(rng: np.random.Generator) -> None:
    """Light of 180, 120 and 60: 2.5 log10(1.5) = 0.4402, 2.5 log10(0.5) = -0.7526."""
    measured = measure_appearance(draw_ellipse(rng, 30, light=(180, 120, 60)))
    assert measured["red"] == pytest.approx(0.4402, abs=0.01)
    assert measured["blue"] == pytest.approx(-0.7526, abs=0.02)


@pytest.mark.parametrize("noise", [3.0, 6.0])
def test_sky_and_its_noise(noise: float, rng: np.random.Generator) -> None:
    """
    The mean of three independent channels has 1 / sqrt(3) of a channel's noise; rounding adds 1/12 to a variance.

    Medians of thirds of a grey level come in thirds: the noise in steps of 1.4826 / 3.
    """
    measured = measure_appearance(draw_ellipse(rng, 25, noise=noise))
    assert measured["sky_level"] == pytest.approx(SKY, abs=0.35)
    assert measured["sky_noise"] == pytest.approx(np.sqrt((noise**2 + 1 / 12) / 3), abs=1.4826 / 6)


def test_objects_are_counted_and_the_central_one_is_measured(rng: np.random.Generator) -> None:
    image = draw_ellipse(rng, 20, noise=2.0)
    alone = measure_appearance(image)
    image[60:75, 80:95] = 250
    image[330:350, 300:310] = 250
    crowded = measure_appearance(image)
    assert (alone["objects"], crowded["objects"]) == (1, 3)
    for name in ("half_light_radius", "axis_ratio", "red", "blue"):
        assert crowded[name] == pytest.approx(alone[name], abs=0.01), name


def test_without_a_central_object_there_is_nothing_to_measure(rng: np.random.Generator) -> None:
    empty = draw_ellipse(rng, 20, light=(0, 0, 0), noise=3.0)
    measured = measure_appearance(empty)
    assert tuple(measured) == MEASURES
    assert {name for name, value in measured.items() if np.isnan(value)} == {
        "half_light_radius", "axis_ratio", "red", "blue"
    }  # fmt: skip
    black = measure_appearance(np.zeros((64, 64, 3), np.uint8))
    assert (black["sky_level"], black["sky_noise"], black["objects"]) == (0, 0, 0)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def measure(images: Iterable[np.ndarray]) -> pd.DataFrame:
    return pd.DataFrame([measure_appearance(image) for image in images])


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Full frames of 225 galaxies: about 157 SDSS's and 135 DECaLS's."""
    folder = tmp_path_factory.mktemp("sky") / "sky"
    simulate_sky(folder, 225, 2026)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("survey", "images"), [("sdss", "sdss_kaggle_spiral/images"), ("decals", "gz4_interface_examples/images/decals")]
)
def test_simulated_images_look_as_real_ones_do(survey: str, images: str, real_data: Path, simulated: Path) -> None:
    """Each measure's median is between the quartiles of the real images."""
    different = {hash_file(path): path for path in sorted((real_data / images).iterdir())}
    paths = [*different.values()][:: max(len(different) // 200, 1)]
    real = measure(image for image in map(read, paths) if image.shape == (424, 424, 3))
    ours = measure(read(path) for path in (simulated / survey).rglob("*") if path.suffix in (".jpg", ".png"))
    assert min(len(ours), len(real)) > 120
    low, high, median = real.quantile(0.25), real.quantile(0.75), ours.median()
    out = [
        f"{name}: {median[name]:.3f} is not within {low[name]:.3f} to {high[name]:.3f}"
        for name in COMPARED
        if not low[name] <= median[name] <= high[name]
    ]
    assert not out
