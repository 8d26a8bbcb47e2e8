"""Descriptors of pictures that are formulae: their Fourier series is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from finetune.descriptors import ORDERS, RADII, STEPS, describe_pictures

SIDE = 127  # the middle is a pixel
LINKS = 2 * 4  # of each two radii: real and imaginary part of four orders


def draw(pattern: object) -> torch.Tensor:
    """A grey picture of 100 (1 + 0.8 f(radius, angle)), radius 1 at the edge."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    radius, angle = np.hypot(x, y) / (SIDE / 2), np.arctan2(y, x)
    grey = 100 * (1 + 0.8 * pattern(radius, angle))  # type: ignore[operator]
    return torch.from_numpy(grey.round().astype(np.uint8)).expand(1, 3, SIDE, SIDE)


def amplitudes(picture: torch.Tensor) -> torch.Tensor:
    """(3, RADII, ORDERS), undoing the root."""
    return describe_pictures(picture)[0, : 3 * RADII * ORDERS].view(3, RADII, ORDERS).square() - 1e-4


def links(picture: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Real and imaginary parts of order 2 (the second that is linked), each (RADII - step,)."""
    start = 3 * RADII * ORDERS + sum(LINKS * (RADII - other) for other in STEPS if other < step)
    values = describe_pictures(picture)[0, start : start + LINKS * (RADII - step)]
    real, imaginary = values.view(2, RADII - step, 4)[..., 1]
    return real * real.abs(), imaginary.square()


@pytest.mark.parametrize("order", range(1, ORDERS))
def test_a_wave_around_the_centre_is_of_its_own_order(order: int) -> None:
    found = amplitudes(draw(lambda radius, angle: np.cos(order * angle)))
    outer = found[:, RADII // 2 :]  # where a pixel is a small angle
    grey = 100 / 255
    torch.testing.assert_close(outer[..., 0], torch.full_like(outer[..., 0], grey), atol=0.01, rtol=0)
    torch.testing.assert_close(outer[..., order], torch.full_like(outer[..., 0], 0.4 * grey), atol=0.02, rtol=0)
    others = [other for other in range(1, ORDERS) if other != order]
    assert outer[..., others].max() < 0.02


def test_a_bar_keeps_its_phase_and_an_arm_turns_it() -> None:
    strength = (0.4 * 100 / 255) ** 2
    for step in STEPS:
        real, imaginary = links(draw(lambda radius, angle: np.cos(2 * angle)), step)
        torch.testing.assert_close(real[6:], torch.full_like(real[6:], strength), atol=0.004, rtol=0)
        assert imaginary[6:].max() < 0.002
        between = step * (0.95 - 0.03) / (RADII - 1)  # in radius
        real, imaginary = links(draw(lambda radius, angle: np.cos(2 * angle - 6 * radius)), step)
        assert real[6:].mean() == pytest.approx(strength * np.cos(6 * between), abs=0.003)
        assert imaginary[6:].mean() == pytest.approx(strength * abs(np.sin(6 * between)), abs=0.003)


@pytest.mark.parametrize("turn", ["rotate", "mirror"])
def test_turning_and_mirroring_change_nothing(turn: str, rng: np.random.Generator) -> None:
    blobs = torch.from_numpy(rng.integers(0, 256, (4, 3, 12, 12), dtype=np.uint8)).float()
    pictures = torch.nn.functional.interpolate(blobs, size=84, mode="bicubic").clamp(0, 255).to(torch.uint8)
    turned = pictures.rot90(1, (2, 3)) if turn == "rotate" else pictures.flip(3)
    torch.testing.assert_close(describe_pictures(turned), describe_pictures(pictures), atol=0.02, rtol=0)
    assert (describe_pictures(pictures[:1]) - describe_pictures(pictures[1:])).abs().max() > 0.2


def test_a_chunk_is_like_any_other(rng: np.random.Generator) -> None:
    pictures = torch.from_numpy(rng.integers(0, 256, (600, 3, 14, 14), dtype=np.uint8))
    torch.testing.assert_close(describe_pictures(pictures)[-3:], describe_pictures(pictures[-3:]), atol=1e-6, rtol=0)
