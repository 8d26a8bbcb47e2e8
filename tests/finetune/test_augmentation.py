"""Views against torch's own turns and mirrors, scipy's interpolation, and formulae by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from torch import Tensor

from finetune.augmentation import Augmenter
from finetune.sections import Augmentation

SIDE = 20
STILL = {"rotation": 0, "flip": False, "scale": 0, "brightness": 0, "contrast": 0, "noise": 0}
ANGLE, ZOOM, ACROSS, ALONG, BRIGHTNESS, CONTRAST = range(6)


def make_augmenter(side: int = SIDE, **settings: Any) -> Augmenter:
    return Augmenter(Augmentation(**{**STILL, **settings}), side, seed=1)


def draw_squares(n: int = 4, side: int = SIDE) -> Tensor:
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def set_draws(n: int, **columns: float) -> Tensor:
    """The view that changes nothing, but for some columns."""
    draws = torch.tensor([0.0, 1, 1, 1, 1, 1, 0]).repeat(n, 1)
    for name, value in columns.items():
        draws[:, globals()[name]] = value
    return draws


def draw(augmenter: Augmenter, n: int, seed: int = 0) -> Tensor:
    return augmenter.draw(n, torch.Generator().manual_seed(seed))


def test_zero_settings_give_the_image_back() -> None:
    augmenter, squares = make_augmenter(), draw_squares()
    assert torch.equal(augmenter.apply(squares, draw(augmenter, 4)), squares / 255)


@pytest.mark.parametrize("turns", [-1, 1, 2, 3])
@pytest.mark.parametrize("padding", ["reflection", "zeros"])
def test_quarter_turns_are_torchs(turns: int, padding: str) -> None:
    squares = draw_squares()
    view = make_augmenter(rotation=180, padding=padding).apply(squares, set_draws(4, ANGLE=turns * math.pi / 2))
    torch.testing.assert_close(view, torch.rot90(squares / 255, turns, (2, 3)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("across", "along", "dims"), [(-1, 1, (3,)), (1, -1, (2,)), (-1, -1, (2, 3)), (1, 1, ())])
def test_flips_are_torchs(across: int, along: int, dims: tuple[int, ...]) -> None:
    squares = draw_squares()
    view = make_augmenter(flip=True).apply(squares, set_draws(4, ACROSS=across, ALONG=along))
    torch.testing.assert_close(view, torch.flip(squares / 255, dims), atol=1e-5, rtol=0)


def test_a_zoom_of_two_shows_the_middle() -> None:
    squares = draw_squares(side=16)
    view = make_augmenter(16, scale=0.5, interpolation="nearest").apply(squares, set_draws(4, ZOOM=2))
    expected = squares[:, :, 4:12, 4:12].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3) / 255
    assert torch.equal(view, expected)


def resample(image: np.ndarray, angle: float, zoom: float, across: int, along: int) -> np.ndarray:
    """Where each pixel comes from, counted from the middle: mirrored, shrunk, turned; scipy does the rest."""
    middle = (SIDE - 1) / 2
    y, x = np.mgrid[:SIDE, :SIDE] - middle
    x, y = x * across, y * along
    from_x = (math.cos(angle) * x - math.sin(angle) * y) / zoom + middle
    from_y = (math.sin(angle) * x + math.cos(angle) * y) / zoom + middle
    return np.stack([map_coordinates(plane, [from_y, from_x], order=1, mode="reflect") for plane in image])


@given(
    angle=st.floats(-math.pi, math.pi), zoom=st.floats(0.7, 1.5), across=st.sampled_from([-1, 1]),
    along=st.sampled_from([-1, 1]),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_any_view_is_scipys(angle: float, zoom: float, across: int, along: int) -> None:
    squares = draw_squares(1)
    draws = set_draws(1, ANGLE=angle, ZOOM=zoom, ACROSS=across, ALONG=along)
    view = make_augmenter(rotation=180, scale=0.5).apply(squares, draws)
    expected = resample((squares[0].double() / 255).numpy(), angle, zoom, across, along)
    assert view[0].numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_around_it_changes_no_view(dtype: torch.dtype) -> None:
    """The training step runs in autocast; where a pixel comes from needs more digits than bf16 has."""
    augmenter, squares = make_augmenter(rotation=180, flip=True, scale=0.2, brightness=0.2), draw_squares()
    draws = draw(augmenter, 4)
    expected = augmenter.apply(squares, draws)
    with torch.autocast("cpu", dtype):
        assert torch.equal(augmenter.apply(squares, draws), expected)


def test_rotation_shows_no_corners() -> None:
    white = torch.full((32, 3, SIDE, SIDE), 255, dtype=torch.uint8)
    reflected, black = (make_augmenter(rotation=180, scale=0.3, padding=p) for p in ("reflection", "zeros"))
    draws = draw(reflected, 32)
    torch.testing.assert_close(reflected.apply(white, draws), torch.ones(32, 3, SIDE, SIDE), atol=1e-5, rtol=0)
    assert black.apply(white, draws).min() == 0


def test_brightness_and_contrast_by_hand() -> None:
    squares = draw_squares()
    view = make_augmenter(brightness=0.3, contrast=0.5).apply(squares, set_draws(4, BRIGHTNESS=1.2, CONTRAST=0.6))
    x = 1.2 * squares.double().numpy() / 255
    grey = (0.2989 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]).mean(axis=(1, 2)).reshape(4, 1, 1, 1)
    expected = np.clip(grey + 0.6 * (x - grey), 0, 1)
    assert view.numpy() == pytest.approx(expected, abs=1e-5)
    assert (expected < 1).all(axis=1).any()  # not all of it is white


def test_each_image_has_its_own_brightness() -> None:
    squares, draws = draw_squares(2), set_draws(2)
    draws[1, BRIGHTNESS] = 0.5
    view = make_augmenter(brightness=0.5).apply(squares, draws)
    torch.testing.assert_close(view, squares / 255 * torch.tensor([1, 0.5]).view(2, 1, 1, 1))


def test_noise_has_the_standard_deviation_asked_for() -> None:
    """Of n = 8 * 3 * 64 * 64 values the estimate's own error is 1 / sqrt(2 n); within five of them."""
    augmenter = make_augmenter(64, noise=0.05)
    grey = torch.full((8, 3, 64, 64), 128, dtype=torch.uint8)
    noise = augmenter.apply(grey, draw(augmenter, 8)) - 128 / 255
    n = noise.numel()
    assert float(noise.std()) == pytest.approx(0.05, rel=5 / math.sqrt(2 * n))
    assert float(noise.mean()) == pytest.approx(0, abs=5 * 0.05 / math.sqrt(n))
    correlation = np.corrcoef(noise.flatten(1).numpy())[~np.eye(8, dtype=bool)]
    assert np.abs(correlation).max() < 0.05  # 5 / sqrt(n / 8): each image has noise of its own


def test_draws_are_spread_evenly() -> None:
    augmenter = make_augmenter(rotation=30, flip=True, scale=0.2, brightness=0.1, contrast=0.4, noise=0.1)
    draws = draw(augmenter, 4000).double().numpy()
    for column, middle, spread in ((0, 0, math.radians(30)), (1, 1, 0.2), (4, 1, 0.1), (5, 1, 0.4)):
        values = (draws[:, column] - middle) / spread
        assert np.abs(values).max() <= 1 + 1e-6
        assert values.mean() == pytest.approx(0, abs=5 / math.sqrt(3 * 4000))
        assert values.std() == pytest.approx(1 / math.sqrt(3), rel=0.05)
    for column in (2, 3):
        assert set(draws[:, column]) == {-1.0, 1.0}
        assert draws[:, column].mean() == pytest.approx(0, abs=5 / math.sqrt(4000))
    assert (draws[:, 6] == np.floor(draws[:, 6])).all()
    assert len(np.unique(draws[:, 6])) > 3900
    assert np.abs(np.corrcoef(draws.T)[~np.eye(7, dtype=bool)]).max() < 0.1


def test_a_share_of_the_batch_has_the_views_of_the_whole() -> None:
    augmenter = Augmenter(Augmentation(), SIDE, seed=1)
    squares, draws = draw_squares(6), draw(augmenter, 6)
    whole = augmenter.apply(squares, draws)
    for share in (slice(0, 3), slice(3, 6)):
        assert torch.equal(augmenter.apply(squares[share], draws[share]), whole[share])
    assert not torch.equal(whole, Augmenter(Augmentation(), SIDE, seed=2).apply(squares, draws))  # the bank's noise


def test_pixels_stay_what_they_were_and_views_in_range() -> None:
    augmenter = Augmenter(Augmentation(brightness=1, contrast=1, noise=0.5), SIDE, seed=1)
    squares = draw_squares()
    before = squares.clone()
    view = augmenter.apply(squares, draw(augmenter, 4))
    assert torch.equal(squares, before)
    assert (float(view.min()), float(view.max())) == (0, 1)
