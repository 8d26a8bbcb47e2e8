"""One place for seeds, real data, and small things to test on."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def seeded() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - for libraries that still draw from it


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _folder_of(variable: str) -> Path:
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} names no folder")
    path = Path(folder)
    assert path.is_dir(), f"{variable}={folder} is not a folder"
    return path


@pytest.fixture(scope="session")
def real_data() -> Path:
    return _folder_of("SOMMELIER_REAL_DATA")


@pytest.fixture(scope="session")
def real_backbone() -> Path:
    return _folder_of("SOMMELIER_REAL_BACKBONE")


def draw_galaxy(rng: np.random.Generator, side: int = 64) -> np.ndarray:
    """A bright blob on noise; no two are alike."""
    y, x = np.mgrid[:side, :side] / side - rng.uniform(0.4, 0.6, size=(2, 1, 1))
    blob = np.exp(-((x / rng.uniform(0.05, 0.3)) ** 2 + (y / rng.uniform(0.05, 0.3)) ** 2))
    image = 200 * blob[:, :, None] * rng.uniform(0.5, 1, size=3) + rng.normal(20, 5, size=(side, side, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small PNGs, g00.png to g39.png, and labels.csv."""
    rng = np.random.default_rng(1)
    root = tmp_path_factory.mktemp("galaxies")
    lines = ["name,file,kind,size,odd,ra,dec"]
    for number in range(40):
        Image.fromarray(draw_galaxy(rng)).save(root / f"g{number:02}.png")
        kind = "round" if number % 3 else "flat"
        lines.append(
            f"g{number:02},g{number:02}.png,{kind},{number / 7:.3f},{number % 2},{10 + number / 10:.2f},{-5.5}"
        )
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DINOv2 of two blocks, 32 wide, on 56-pixel images, as a model folder."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("tiny-model")
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, patch_size=14, image_size=56, mlp_ratio=2
    )
    Dinov2Model(config).save_pretrained(folder)
    return folder
