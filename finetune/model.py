"""Backbone and head as one network, and which of its weights learn."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from embeddings.errors import SommelierError
from extract.backbone import find_blocks, find_final_norm
from finetune.parallel import World
from finetune.sections import Model as Settings
from finetune.sections import Training
from heads.networks import build_network

Group = dict[str, Any]


class GalaxyNetwork(nn.Module):
    """
    From preprocessed images to outputs.

    Parameters
    ----------
    backbone : PreTrainedModel
        A transformers vision model.
    head : Sequential
        Of `heads.networks.build_network`.
    pooling : {'cls', 'patch-mean', 'cls+patch-mean'}
        Of the last layer, after the model's final norm: what extraction keeps under that name.
    world : World
    """

    def __init__(self, backbone: nn.Module, head: nn.Sequential, pooling: str, world: World) -> None:
        super().__init__()
        config: Any = backbone.config
        self.backbone: Any = backbone
        self.head, self.pooling, self.world = head, pooling, world
        self._n_prefix = 1 + int(getattr(config, "num_register_tokens", 0))
        accepts = inspect.signature(_unwrap(backbone).forward).parameters
        self._options = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in accepts else {}
        self._frozen = False

    def freeze_backbone(self) -> None:
        """No gradients, and no random parts, in the backbone."""
        self._frozen = True
        self.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> GalaxyNetwork:
        """As torch has it; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self._frozen:
            self.backbone.eval()
        return self

    def embed(self, images: Tensor) -> Tensor:
        """(n_images, n_features) float32 of (n_images, 3, size, size) images."""
        with torch.no_grad() if self._frozen else nullcontext():
            tokens = self.backbone(pixel_values=images, **self._options).last_hidden_state
        pools = self.pooling.split("+")
        parts = [tokens[:, 0] if p == "cls" else tokens[:, self._n_prefix :].float().mean(dim=1) for p in pools]
        return torch.cat([part.float() for part in parts], dim=1)

    def forward(self, images: Tensor, gather: bool = True) -> Tensor:
        """(n_images, n_outputs); of all processes' images where they are gathered."""
        features = self.embed(images)
        with torch.autocast(features.device.type, enabled=False):  # the head is small: no digit of it is worth losing
            outputs: Tensor = self.head(self.world.gather(features) if gather else features)
        return outputs


def build_galaxy_network(backbone: nn.Module, settings: Settings, bias: Any, name: str, world: World) -> GalaxyNetwork:
    """
    A network of a loaded backbone and a new head, with what is to learn set free.

    Parameters
    ----------
    backbone : PreTrainedModel
    settings : Settings
        The section ``model`` of a configuration.
    bias : (n_outputs,) array
        What the head says before it has learned.
    name : str
        Of the backbone, for error messages.
    world : World
    """
    config: Any = backbone.config
    n_features = config.hidden_size * len(settings.pooling.split("+"))
    head = build_network(n_features, settings.head.hidden, bias, settings.head.dropout)
    _set_drop_path(backbone, settings.drop_path, name, world)
    network = GalaxyNetwork(_free_backbone(backbone, settings, name), head.float(), settings.pooling, world)
    if settings.method == "head":
        network.freeze_backbone()
    return network


def _free_backbone(backbone: nn.Module, settings: Settings, name: str) -> nn.Module:
    """The backbone with gradients where the method wants them; wrapped, for adapters."""
    config: Any = backbone.config
    if settings.method == "lora":
        return _add_adapters(backbone, settings)
    backbone.requires_grad_(settings.method == "full")
    if settings.method == "last":
        blocks = find_blocks(backbone, config.num_hidden_layers, name)
        if settings.last_blocks > len(blocks):
            raise SommelierError(f"model.last_blocks is {settings.last_blocks}; {name} has {len(blocks)} blocks.")
        for part in (*blocks[-settings.last_blocks :], find_final_norm(backbone, name)):
            part.requires_grad_(True)
    for key, parameter in backbone.named_parameters():
        if "mask_token" in key or key.startswith("pooler."):  # no image passes through them
            parameter.requires_grad_(False)
    return backbone


def _add_adapters(backbone: nn.Module, settings: Settings) -> nn.Module:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise SommelierError("model.method: lora needs peft: pip install 'galaxy-sommelier[lora]'") from error
    s = settings.lora
    config = LoraConfig(
        r=s.rank,
        lora_alpha=s.alpha,  # type: ignore[arg-type]  # a float does, and is what is meant
        lora_dropout=s.dropout,
        target_modules=list(s.modules),
        bias="none",
    )
    try:
        with warnings.catch_warnings():  # peft asks transformers for a name that is going away
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            adapted: nn.Module = get_peft_model(backbone, config)
    except ValueError as error:
        linear = sorted({k.rpartition(".")[2] for k, m in backbone.named_modules() if isinstance(m, nn.Linear)})
        raise SommelierError(
            f"model.lora.modules {list(s.modules)}: {error} There are: {', '.join(linear)}."
        ) from error
    return adapted


def merge_adapters(backbone: Any) -> nn.Module:
    """The backbone as transformers knows it: adapters, if there are any, added to its weights."""
    if hasattr(backbone, "merge_and_unload"):
        backbone = backbone.merge_and_unload()
    merged: nn.Module = backbone
    return merged


def _set_drop_path(backbone: nn.Module, share: float, name: str, world: World) -> None:
    """Chances that grow linearly from 0 in the first block to `share` in the last (Huang et al. 2016, eq. 4)."""
    if not share:
        return
    config: Any = backbone.config
    blocks = find_blocks(backbone, config.num_hidden_layers, name)
    for number, block in enumerate(blocks):
        if not hasattr(block, "drop_path"):
            raise SommelierError(f"model.drop_path: the blocks of {name} have none. Set it to 0.")
        block.drop_path = DropPath(share * number / max(len(blocks) - 1, 1), world)


class DropPath(nn.Module):
    """
    Leaves out a block's branch for some of the images, in training.

    Parameters
    ----------
    share : float
        Of the images; what stays is scaled up.
    world : World
        Its processes draw alike for all their images, and each takes those of its own.
    """

    def __init__(self, share: float, world: World) -> None:
        super().__init__()
        self.share, self.world = share, world

    def forward(self, branch: Tensor) -> Tensor:
        """(n_images, n_tokens, width)."""
        if not self.training or not self.share:
            return branch
        n_images = len(branch) * self.world.size
        kept = (torch.rand(n_images, 1, 1, device=branch.device) >= self.share)[self.world.own_slice(n_images)]
        return branch * kept / (1 - self.share)


def group_parameters(network: GalaxyNetwork, training: Training, name: str) -> list[Group]:
    """
    What learns, by learning rate and weight decay, as AdamW takes it; ``base`` is a group's highest rate.

    The last block and the final norm have the backbone's rate, each block before has `layer_decay` times the next
    one's, the embeddings come before the first block (Bao et al. 2022, "BEiT", section 3.2). Norms, biases and tokens
    do not decay.
    """
    config: Any = network.backbone.config
    depth = int(config.num_hidden_layers)
    blocks = find_blocks(network.backbone, depth, name)
    layer_of = {id(p): number + 1 for number, block in enumerate(blocks) for p in block.parameters()}
    norms = {id(p) for p in find_final_norm(_unwrap(network.backbone), name).parameters()}
    groups: dict[tuple[str, float, bool], Group] = {}
    for key, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        part = key.partition(".")[0]
        layer = depth if id(parameter) in norms else layer_of.get(id(parameter), 0)
        rate = training.head_learning_rate
        if part == "backbone":
            rate = training.learning_rate * training.layer_decay ** (depth - layer)
        decays = parameter.ndim > 1 and not key.endswith(("cls_token", "position_embeddings", "register_tokens"))
        fresh = {"params": [], "lr": rate, "base": rate, "weight_decay": training.weight_decay if decays else 0.0,
                 "part": part}  # fmt: skip
        groups.setdefault((part, rate, decays), fresh)["params"].append(parameter)
    return list(groups.values())


def _unwrap(backbone: Any) -> nn.Module:
    inner: nn.Module = backbone.get_base_model() if hasattr(backbone, "get_base_model") else backbone
    return inner


def list_learning(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def count_parameters(parameters: Sequence[Tensor]) -> int:
    """How many numbers they hold."""
    return sum(parameter.numel() for parameter in parameters)
