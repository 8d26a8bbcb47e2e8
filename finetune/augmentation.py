"""Random views of galaxies, drawn on the CPU and made on the device, a batch at a time."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from finetune.sections import Augmentation

BANK = 1 << 22  # normal deviates that all images take their noise from, each from a place of its own
GREY = (0.2989, 0.587, 0.114)  # ITU-R BT.601 luma, as torchvision's contrast has it


class Augmenter:
    """
    Rotation, flips, scale, brightness, contrast and noise, all at once.

    A galaxy has no up: any rotation is as good a picture. What turns in from outside the frame is the frame mirrored
    (``reflection``), which continues the sky's noise, or black (``zeros``), which no survey shows.

    Parameters
    ----------
    settings : Augmentation
    size : int
        Side of the squares.
    seed : int
    device : torch device
    """

    def __init__(self, settings: Augmentation, size: int, seed: int, device: torch.device | str = "cpu") -> None:
        self.settings, self.size, self.device = settings, size, torch.device(device)
        self._moves = settings.rotation > 0 or settings.scale > 0 or settings.flip
        generator = torch.Generator().manual_seed(seed)
        n_noise = BANK + 3 * size * size if settings.noise else 0
        self._bank = torch.randn(n_noise, generator=generator).mul_(settings.noise).to(self.device)
        self._grey = torch.tensor(GREY, device=self.device).view(1, 3, 1, 1)

    def draw(self, n_images: int, generator: torch.Generator) -> Tensor:
        """
        Draw views.

        Returns
        -------
        (n_images, 7) float32 tensor
            Angle in radians, zoom, left-right flip and up-down flip (-1 or 1), brightness, contrast, place in the bank.
        """
        s, uniform = self.settings, torch.rand(n_images, 7, generator=generator)
        spread = torch.tensor([math.radians(s.rotation), s.scale, 0, 0, s.brightness, s.contrast, 0])
        middle = torch.tensor([0.0, 1, 1, 1, 1, 1, 0])
        draws = middle + (2 * uniform - 1) * spread
        if s.flip:
            draws[:, 2:4] = torch.where(uniform[:, 2:4] < 0.5, -1.0, 1.0)
        draws[:, 6] = (uniform[:, 6] * BANK).floor()  # exact: BANK is a power of two, and float32 knows all below it
        return draws

    def apply(self, squares: Tensor, draws: Tensor) -> Tensor:
        """
        Make the views.

        Parameters
        ----------
        squares : (n_images, 3, size, size) uint8 tensor
            On the device.
        draws : (n_images, 7) tensor

        Returns
        -------
        (n_images, 3, size, size) float32 tensor
            In [0, 1].
        """
        images = squares.to(torch.float32).div_(255)
        if self._moves:
            images = self._move(images, draws)
        if self.settings.brightness or self.settings.contrast:
            brightness, contrast = draws[:, 4:6].to(self.device).view(-1, 2, 1, 1, 1).unbind(dim=1)
            # brightness b, then contrast c about the mean grey m: c (b x - m) + m
            grey = (images * self._grey).sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True) * brightness
            images = images.mul_(brightness * contrast).add_(grey * (1 - contrast))
        if self.settings.noise:
            n = images[0].numel()
            for image, place in zip(images, draws[:, 6].long().tolist(), strict=True):
                image.view(-1).add_(self._bank[place : place + n])
        return images.clamp_(0, 1)

    def _move(self, images: Tensor, draws: Tensor) -> Tensor:
        """Rotate, zoom and flip."""
        angle, zoom, across, along = draws[:, :4].unbind(dim=1)
        cosine, sine = torch.cos(angle) / zoom, torch.sin(angle) / zoom
        rows = [torch.stack([cosine * across, -sine * along], 1), torch.stack([sine * across, cosine * along], 1)]
        theta = F.pad(torch.stack(rows, 1), (0, 1)).to(self.device)  # where each pixel of the view comes from
        with torch.autocast(self.device.type, enabled=False):  # in bf16, pixels would come from up to a pixel beside
            grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        s = self.settings
        return F.grid_sample(images, grid, s.interpolation, s.padding, align_corners=False)
