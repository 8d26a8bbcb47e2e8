"""From 8-bit RGB images to what a backbone takes: one serialisable recipe, on the device, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from embeddings.errors import SommelierError, did_you_mean

# ImageNet statistics, as in torchvision and in every DINOv2 preprocessor_config.json
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
RECIPES = ("whole", "hf")
HF_RESIZE = 256 / 224  # BitImageProcessor of DINOv2: shortest edge 256, centre crop 224


@dataclass(frozen=True)
class Recipe:
    """
    Resize and normalise.

    Parameters
    ----------
    name : {'whole', 'hf'}
        ``whole`` resizes the whole cut-out to a square: a galaxy fills its frame, and a crop would cut its
        outskirts. ``hf`` repeats transformers' BitImageProcessor: shortest edge to 256/224 of the size, then a
        centre crop.
    size : int
        Side of the square that the backbone sees, in pixels.
    mean, std : tuple of float
        Per channel, for images in [0, 1].
    """

    name: str = "whole"
    size: int = 224
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD

    def __post_init__(self) -> None:
        if self.name not in RECIPES:
            raise SommelierError(f"the recipe {self.name!r} is not known. {did_you_mean(self.name, RECIPES)}")

    def to_dict(self) -> dict[str, Any]:
        """The resize and normalisation part of a provenance's model record."""
        fields = asdict(self)
        return {
            "resize": {
                "recipe": self.name,
                "size": self.size,
                "interpolation": "bicubic, antialiased, rounded to 8 bits",
            },
            "normalisation": {"mean": list(fields["mean"]), "std": list(fields["std"])},
        }

    def apply(self, images: Sequence[np.ndarray[Any, Any]], device: torch.device | str = "cpu") -> torch.Tensor:
        """
        Preprocess a batch.

        Parameters
        ----------
        images : sequence of (height, width, 3) uint8 arrays
            Of any sizes; each is treated alone, so a batch's company never changes a row.
        device : torch device
            Images travel to it as uint8.

        Returns
        -------
        (n_images, 3, size, size) float32 tensor
            On the device.
        """
        return self.normalise(self.fit_squares(images, device))

    def fit_squares(self, images: Sequence[np.ndarray[Any, Any]], device: torch.device | str = "cpu") -> torch.Tensor:
        """Resize a batch, as `apply` does before it normalises: (n_images, 3, size, size) uint8."""
        whole = (np.require(image, requirements=["C", "W"]) for image in images)  # torch wants to own what it wraps
        return torch.stack([self._square(torch.from_numpy(image).to(device)) for image in whole])

    def normalise(self, squares: torch.Tensor) -> torch.Tensor:
        """(n_images, 3, size, size) uint8 pixels, or floats in [0, 1], as the backbone takes them: float32."""
        pixels = squares if squares.is_floating_point() else squares.to(torch.float32) / 255
        mean = torch.tensor(self.mean, device=squares.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=squares.device).view(1, 3, 1, 1)
        return (pixels - mean) / std

    def _square(self, image: torch.Tensor) -> torch.Tensor:
        """One (height, width, 3) uint8 image to (3, size, size) uint8."""
        pixels = image.permute(2, 0, 1).unsqueeze(0)
        if self.name == "whole":
            return resize(pixels, (self.size, self.size))[0].contiguous()
        edge = round(self.size * HF_RESIZE)
        height, width = pixels.shape[-2:]
        short = min(height, width)
        pixels = resize(pixels, (edge * height // short, edge * width // short))
        top, left = ((side - self.size) // 2 for side in pixels.shape[-2:])
        return pixels[0, :, top : top + self.size, left : left + self.size].contiguous()


def resize(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """
    Resize uint8 images, bicubic and antialiased, within one level of Pillow (two in one pixel of ten thousand).

    Rows first, then columns, with 8 bits in between: what overshoots black and white is clipped twice. Pillow from
    version 13 on does the columns of a tall image first.

    Parameters
    ----------
    pixels : (n_images, 3, height, width) uint8 tensor
    size : (height, width)

    Returns
    -------
    (n_images, 3, *size) uint8 tensor
    """
    if tuple(pixels.shape[-2:]) == size:
        return pixels
    if pixels.device.type == "cpu":  # torch has an integer kernel on the CPU alone, much faster than float
        return F.interpolate(pixels, size=size, mode="bicubic", antialias=True)
    return resize_in_floats(pixels, size)


def resize_in_floats(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """What the integer kernel does, for devices without it."""
    smooth = pixels.to(torch.float32)
    for step in ((pixels.shape[-2], size[1]), size):
        smooth = F.interpolate(smooth, size=step, mode="bicubic", antialias=True).round_().clamp_(0, 255)
    return smooth.to(torch.uint8)
