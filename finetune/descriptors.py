"""How a picture's light is spread over radius and angle: what the bundled backbone learns to tell, and no label."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

RADII, ANGLES = 14, 64
INNERMOST, OUTERMOST = 0.03, 0.95  # of half the picture's side
ORDERS = 7  # of the Fourier series over the angle: 0 is the profile, 2 a bar or two arms, 3 three arms ...
LINKED = slice(1, 5)  # orders whose phase is followed from radius to radius
STEPS = (1, 2, 4)  # radii between the two
CHUNK = 512


def describe_pictures(squares: Tensor) -> Tensor:
    """
    Azimuthal Fourier amplitudes of every colour, and how far their phases turn between radii.

    Neither changes when the picture is turned or mirrored. Amplitudes are what bars and arms have long been measured by
    [1]_; a phase that stays is a bar, one that turns is an arm. To predict features made by hand is a known way of
    learning from pictures alone [2]_.

    Parameters
    ----------
    squares : (n_images, 3, size, size) uint8 tensor

    Returns
    -------
    (n_images, n_features) float32 tensor
        Square roots (of a product of two amplitudes: with its sign), so that bright galaxies do not drown the others.

    References
    ----------
    .. [1] Elmegreen & Elmegreen 1985, ApJ 288, 438; Rix & Zaritsky 1995, ApJ 447, 82.
    .. [2] Wei et al. 2022, "Masked feature prediction for self-supervised visual pre-training", arXiv:2112.09133.
    """
    return torch.cat([_describe(squares[start : start + CHUNK]) for start in range(0, len(squares), CHUNK)])


def _describe(squares: Tensor) -> Tensor:
    images = F.avg_pool2d(squares.to(torch.float32) / 255, 3, stride=1, padding=1)
    grid = _place_rings(squares.device).expand(len(images), -1, -1, -1)
    rings = F.grid_sample(images, grid, mode="bilinear", align_corners=False)  # (n_images, colours, radii, angles)
    amplitudes = torch.fft.rfft(rings, dim=3)[..., :ORDERS].abs() / ANGLES
    parts = [torch.sqrt(amplitudes + 1e-4).flatten(1)]
    grey = torch.fft.rfft(rings.mean(dim=1), dim=2)[..., LINKED] / ANGLES
    for step in STEPS:
        link = grey[:, :-step] * grey[:, step:].conj()
        parts += [(link.real.sign() * link.real.abs().sqrt()).flatten(1), link.imag.abs().sqrt().flatten(1)]
    return torch.cat(parts, dim=1)


def _place_rings(device: torch.device) -> Tensor:
    """(1, radii, angles, 2) places in [-1, 1], column then row."""
    radius = torch.linspace(INNERMOST, OUTERMOST, RADII, device=device)[:, None]
    angle = torch.arange(ANGLES, device=device) * (2 * math.pi / ANGLES)
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=-1).unsqueeze(0)
