"""Small models of four families. Every weight is random: what is left at 0 or 1 is not tested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

FAMILIES = ("vit", "dinov2", "dinov2-with-registers", "dinov3")
REGISTERS = {"vit": 0, "dinov2": 0, "dinov2-with-registers": 4, "dinov3": 3}
DEPTH = 3
WIDTH = 32


def make_model(family: str = "dinov2", seed: int = 0, **changes: Any) -> Any:
    """Three blocks, 32 wide, for images of 56 pixels (64 for DINOv3, whose patches are 16)."""
    import transformers as hf

    common = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": 2}
    dino = common | {"image_size": 56, "patch_size": 14, "mlp_ratio": 2}
    made_of: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "vit": (hf.ViTModel, hf.ViTConfig, common | {"image_size": 56, "patch_size": 14, "intermediate_size": 64}),
        "dinov2": (hf.Dinov2Model, hf.Dinov2Config, dino),
        "dinov2-with-registers": (
            hf.Dinov2WithRegistersModel,
            hf.Dinov2WithRegistersConfig,
            dino | {"num_register_tokens": 4},
        ),
        "dinov3": (
            hf.DINOv3ViTModel,
            hf.DINOv3ViTConfig,
            common | {"image_size": 64, "patch_size": 16, "intermediate_size": 64, "num_register_tokens": 3},
        ),
    }
    model, config, options = made_of[family]
    made = model(config(**(options | changes)))
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            around = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            weight.copy_(around + 0.2 * torch.randn(weight.shape, generator=random))
    return made.eval()


def save_model(folder: Path, family: str = "dinov2", seed: int = 0, **changes: Any) -> Path:
    """A model folder as transformers writes it: config.json and model.safetensors."""
    make_model(family, seed, **changes).save_pretrained(folder)
    return folder


def final_norm(model: Any) -> Any:
    """Where each family keeps it, by name."""
    return model.norm if hasattr(model, "norm") else model.layernorm


def expected_vectors(model: Any, family: str, images: torch.Tensor) -> dict[tuple[int, str], torch.Tensor]:
    """Every layer and pooling, from transformers' own hidden states."""
    options = {"interpolate_pos_encoding": True} if family == "vit" else {}
    with torch.no_grad():
        output = model(pixel_values=images, output_hidden_states=True, **options)
        normed = [final_norm(model)(hidden) for hidden in output.hidden_states[1:]]
    torch.testing.assert_close(normed[-1], output.last_hidden_state)  # these are the states that are meant
    first_patch = 1 + REGISTERS[family]
    vectors = {}
    for layer, tokens in enumerate(normed, 1):
        vectors[layer, "cls"] = tokens[:, 0]
        vectors[layer, "patch-mean"] = tokens[:, first_patch:].mean(dim=1)
    return vectors
