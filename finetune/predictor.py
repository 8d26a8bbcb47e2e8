"""What the bundled backbone learns in: a small DINOv2, what it is to tell of a galaxy, and how it tells it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from finetune.descriptors import describe_pictures

FARTHEST = 4.0  # standard deviations: a target beyond is cut to it


def make_network(seed: int) -> Any:
    """A DINOv2 of 2.8 million parameters with random weights, as large as Glorot & Bengio 2010 (AISTATS) advise."""
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=192, num_hidden_layers=6, num_attention_heads=3, mlp_ratio=4, patch_size=14, image_size=126
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Dinov2Model(config)
        for name, weights in model.named_parameters():
            if weights.ndim > 1 and name.endswith("weight"):
                nn.init.xavier_uniform_(weights.flatten(1))
        return model


class Predictor(nn.Module):
    """
    The backbone, and a linear prediction of the targets from either pooling.

    That it is linear makes the vectors hold plainly what a ridge is to find in them.
    """

    def __init__(self, backbone: Any, n_targets: int) -> None:
        super().__init__()
        self.backbone = backbone
        width = backbone.config.hidden_size
        self.heads = nn.ModuleList(
            nn.Sequential(nn.BatchNorm1d(width, affine=False), nn.Linear(width, n_targets)) for _ in range(2)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(2, n_images, n_targets) predictions of CLS and of the mean patch, (n_images, 2 * width) features."""
        tokens = self.backbone(pixel_values=images).last_hidden_state
        pooled = (tokens[:, 0].float(), tokens[:, 1:].mean(dim=1).float())
        predictions = torch.stack([head(part) for head, part in zip(self.heads, pooled, strict=True)])
        return predictions, torch.cat(pooled, dim=1)


def make_targets(squares: Tensor) -> Tensor:
    """(n_galaxies, n_targets) descriptors of all surveys' pictures, standardised over the population."""
    described = torch.stack([describe_pictures(seen) for seen in squares.unbind(dim=1)], dim=1).flatten(1)
    spread = described.std(dim=0).clamp_min(1e-5)
    return ((described - described.mean(dim=0)) / spread).clamp_(-FARTHEST, FARTHEST)
