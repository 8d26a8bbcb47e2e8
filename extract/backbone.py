"""A vision transformer as a Backbone: images in, one vector a (layer, pooling) out, in a single pass."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from embeddings.errors import BackboneError
from embeddings.provenance import POOLINGS, Space

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Backbone(Protocol):
    """What extraction needs of a model."""

    name: str
    depth: int
    embed_dim: int
    patch_size: int

    def embed(
        self, images: torch.Tensor, spaces: Iterable[Space], precision: str = "fp32"
    ) -> dict[Space, torch.Tensor]:
        """Embed (n_images, 3, height, width) images; (n_images, embed_dim) float32 a space."""
        ...


class _Finished(Exception):
    """Raised inside the model once the last layer asked for is there: the rest need not run."""


class TransformersBackbone:
    """
    Any transformers vision model made of blocks over patch tokens (ViT, DINOv2, with registers, DINOv3).

    The model's final LayerNorm is applied to every layer. Blocks after the last one asked for do not run, and
    where only its CLS is wanted, the last block computes nothing for the other tokens.

    Parameters
    ----------
    model : PreTrainedModel
    name : str
    device : torch device
    """

    def __init__(self, model: nn.Module, name: str, device: torch.device | str = "cpu") -> None:
        config: Any = model.config
        self.name = name
        self.depth = int(config.num_hidden_layers)
        self.embed_dim = int(config.hidden_size)
        self.patch_size = int(config.patch_size)
        self.device = torch.device(device)
        self.model = model.to(device=self.device, dtype=torch.float32).eval().requires_grad_(False)
        self._blocks = find_blocks(model, self.depth, name)
        self._norm = find_final_norm(model, name)
        self._n_prefix = 1 + int(getattr(config, "num_register_tokens", 0))
        self._cls_shortcut = config.model_type in ("dinov2", "dinov2_with_registers") and all(
            hasattr(self._blocks[-1].attention, part) for part in ("q_proj", "k_proj", "v_proj", "o_proj", "scaling")
        )
        accepts = inspect.signature(model.forward).parameters
        self._options = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in accepts else {}

    def embed(
        self, images: torch.Tensor, spaces: Iterable[Space], precision: str = "fp32"
    ) -> dict[Space, torch.Tensor]:
        """
        Embed a batch of preprocessed images.

        Parameters
        ----------
        images : (n_images, 3, height, width) float32 tensor
            Sides are multiples of the patch size; position embeddings are interpolated.
        spaces : iterable of Space
            Layers count blocks from 1.
        precision : {'fp32', 'bf16', 'fp16'}
            Of the matrix products; norms and sums stay in float32.

        Returns
        -------
        dict of Space to (n_images, embed_dim) float32 tensor
        """
        spaces = tuple(spaces)
        images = images.to(self.device)
        with torch.inference_mode(), self._autocast(precision):
            return self._run(images, spaces)

    def _autocast(self, precision: str) -> torch.autocast:
        dtype = PRECISIONS[precision]
        return torch.autocast(self.device.type, dtype if precision != "fp32" else None, enabled=precision != "fp32")

    def _run(self, images: torch.Tensor, spaces: tuple[Space, ...]) -> dict[Space, torch.Tensor]:
        n_patches = (images.shape[2] // self.patch_size) * (images.shape[3] // self.patch_size)
        last = max(space.layer for space in spaces)
        vectors: dict[Space, torch.Tensor] = {}

        def keep(layer: int, output: Any) -> None:
            tokens = output[0] if isinstance(output, tuple) else output
            for space in (space for space in spaces if space.layer == layer):
                vectors[space] = self._pool(tokens, space.pooling, n_patches)
            if layer == last:
                raise _Finished

        def skip_patches(block: nn.Module, tokens: torch.Tensor) -> None:
            keep(last, _run_cls_only(block, tokens))

        handles = [
            self._blocks[layer - 1].register_forward_hook(lambda _m, _i, output, layer=layer: keep(layer, output))
            for layer in {space.layer for space in spaces}
        ]
        if self._cls_shortcut and {space.pooling for space in spaces if space.layer == last} == {"cls"}:
            hook: Callable[..., None] = lambda block, inputs: skip_patches(block, inputs[0])
            handles.append(self._blocks[last - 1].register_forward_pre_hook(hook))
        try:
            self.model(pixel_values=images, **self._options)
        except _Finished:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return vectors

    def _pool(self, tokens: torch.Tensor, pooling: str, n_patches: int) -> torch.Tensor:
        """Norm, then CLS (the first token) or the mean of the patches (the last ones)."""
        # the shortcut gives CLS alone
        if tokens.shape[1] not in (1, n_patches, n_patches + self._n_prefix):
            raise BackboneError(
                f"{self.name} gives {tokens.shape[1]} tokens for {n_patches} patches: not a plain vision transformer "
                "(CLS, registers, patches). Use one such as facebook/dinov2-base."
            )
        if pooling == "patch-mean":
            return self._norm(tokens[:, -n_patches:]).float().mean(dim=1)
        if tokens.shape[1] == n_patches:
            raise BackboneError(f"{self.name} has no CLS token; use --pool patch-mean.")
        return self._norm(tokens[:, 0]).float()


def _run_cls_only(block: Any, tokens: torch.Tensor) -> torch.Tensor:
    """A DINOv2 block for the CLS query alone: the same sums, without those of the other tokens."""
    attention = block.attention
    normed = block.norm1(tokens)

    def split_heads(values: torch.Tensor) -> torch.Tensor:
        return values.unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)

    query = split_heads(attention.q_proj(normed[:, :1]))
    key, value = split_heads(attention.k_proj(normed)), split_heads(attention.v_proj(normed))
    mixed = F.scaled_dot_product_attention(query, key, value, scale=attention.scaling)
    cls = tokens[:, :1] + block.layer_scale1(attention.o_proj(mixed.transpose(1, 2).flatten(2)))
    return cls + block.layer_scale2(block.mlp(block.norm2(cls)))


def find_blocks(model: nn.Module, depth: int, name: str) -> nn.ModuleList:
    """
    The transformer blocks of a model, in order.

    Raises
    ------
    BackboneError
    """
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return module
    raise BackboneError(f"{name}: no list of {depth} transformer blocks was found in {type(model).__name__}.")


def find_final_norm(model: nn.Module, name: str) -> nn.Module:
    """
    The norm after the last block.

    Raises
    ------
    BackboneError
    """
    norms = [child for child in model.children() if type(child).__name__.endswith("Norm")]
    if len(norms) != 1:
        raise BackboneError(
            f"{name}: {type(model).__name__} has {len(norms)} final norms where one was expected. "
            "Use a vision transformer such as facebook/dinov2-base."
        )
    return norms[0]


def resolve_spaces(layers: Iterable[int], pools: Iterable[str], depth: int, name: str) -> tuple[Space, ...]:
    """
    Every layer with every pooling, layers counted from 1.

    Parameters
    ----------
    layers : iterable of int
        1 to `depth`, or -1 to -depth from the end.
    pools : iterable of str
    depth : int
        Number of blocks.
    name : str
        The backbone's, for error messages.

    Raises
    ------
    BackboneError
        For a layer or pooling that there is not.
    """
    spaces = []
    for layer in layers:
        if not 1 <= abs(layer) <= depth:
            raise BackboneError(
                f"{name} has {depth} layers: --layer is 1 to {depth}, or -1 (the last) to -{depth}; not {layer}."
            )
        for pool in pools:
            if pool not in POOLINGS:
                raise BackboneError(f"--pool is {' or '.join(POOLINGS)}, not {pool!r}.")
            spaces.append(Space(layer if layer > 0 else depth + 1 + layer, pool))
    return tuple(sorted(dict.fromkeys(spaces)))
