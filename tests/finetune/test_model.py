"""Networks of four families: features as extraction has them, and what of them learns how fast."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch

from embeddings.errors import SommelierError
from embeddings.provenance import Space
from extract.backbone import TransformersBackbone
from finetune.model import (
    DropPath,
    GalaxyNetwork,
    build_galaxy_network,
    count_parameters,
    group_parameters,
    list_learning,
    merge_adapters,
)
from finetune.parallel import World
from finetune.sections import HeadShape, Lora, Model, Training
from tests.extract.models import DEPTH, FAMILIES, WIDTH, make_model

ALONE = World(0, 1, torch.device("cpu"))
BIAS = np.array([0.5, -1.0, 2.0])
POOLINGS = ("cls", "patch-mean", "cls+patch-mean")
needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")


def build(family: str = "dinov2", **settings: Any) -> GalaxyNetwork:
    shape = HeadShape(hidden=(8,), dropout=0)
    model = Model(**{"backbone": family, "head": shape, "last_blocks": 2, **settings})
    return build_galaxy_network(make_model(family), model, BIAS, family, ALONE)


def draw_images(family: str = "dinov2", n: int = 4) -> torch.Tensor:
    side = 64 if family == "dinov3" else 56
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(5))


def name_backbone(names: Any) -> set[str]:
    return {name.removeprefix("backbone.") for name in names if name.startswith("backbone.")}


def number_block(name: str) -> int | None:
    found = re.search(r"layers?\.(\d+)\.", name)
    return int(found[1]) if found else None


def step_backward(network: GalaxyNetwork, images: torch.Tensor) -> None:
    """One gradient; the last layer is not 0 as a new head has it, which would let none through."""
    network.train()
    torch.nn.init.normal_(network.head[-1].weight)  # type: ignore[arg-type]
    network(images).square().sum().backward()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_features_are_extractions(family: str, pooling: str) -> None:
    images, backbone = draw_images(family), TransformersBackbone(make_model(family), family)
    spaces = [Space(DEPTH, name) for name in pooling.split("+")]
    vectors = backbone.embed(images, spaces)
    expected = torch.cat([vectors[space] for space in spaces], dim=1)
    features = build(family, pooling=pooling).eval().embed(images).detach()
    assert features.shape == (4, WIDTH * len(spaces))
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=1e-6)


def test_images_of_other_sizes_have_features() -> None:
    images = torch.randn(2, 3, 84, 84, generator=torch.Generator().manual_seed(6))
    spaces = [Space(DEPTH, "cls"), Space(DEPTH, "patch-mean")]
    vectors = TransformersBackbone(make_model("vit"), "vit").embed(images, spaces)
    features = build("vit", pooling="cls+patch-mean").eval().embed(images).detach()
    torch.testing.assert_close(features, torch.cat([vectors[s] for s in spaces], dim=1), atol=1e-6, rtol=1e-6)


def test_a_new_network_says_its_bias() -> None:
    network = build().eval()
    torch.testing.assert_close(network(draw_images()).detach(), torch.tensor(BIAS).float().expand(4, 3))


def test_the_head_keeps_its_digits_in_half_precision() -> None:
    """Its sums are in float32, of features that are."""
    network, images = build(), draw_images()
    torch.nn.init.normal_(network.head[-1].weight)  # type: ignore[arg-type]
    network.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features, outputs = network.embed(images), network(images)
    assert features.dtype == outputs.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(network.head(features), outputs)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_learns(family: str) -> None:
    everything = {name for name, _ in make_model(family).named_parameters()}
    still = {name for name in everything if "mask_token" in name or name.startswith("pooler.")}
    norm = {name for name in everything if name.startswith(("norm.", "layernorm."))}
    blocks = {name for name in everything if number_block(name) in (1, 2)}
    assert len(norm) == 2
    assert len(blocks) % 2 == 0
    assert bool(still)
    for method, expected in (("head", set()), ("last", blocks | norm), ("full", everything - still)):
        learning = list_learning(build(family, method=method))
        assert name_backbone(learning) == expected, method
        assert {name for name in learning if name.startswith("head.")} == {
            "head.0.weight", "head.0.bias", "head.1.weight", "head.1.bias", "head.4.weight", "head.4.bias",
        }  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", ["cls", "patch-mean"])
def test_all_that_learns_gets_a_gradient(family: str, pooling: str) -> None:
    """Otherwise several processes would wait for it, and weight decay alone would move it."""
    network = build(family, pooling=pooling)
    step_backward(network, draw_images(family))
    # all patches' keys move all scores of a query alike: the gradient of their bias is 0 but for rounding
    silent = {n for n, p in list_learning(network).items() if p.grad is None or not p.grad.any()}
    assert not {name for name in silent if not name.endswith("k_proj.bias")}


@pytest.mark.parametrize("family", ["dinov2", "dinov2-with-registers", "dinov3"])
@pytest.mark.parametrize("method", ["head", "last", "full"])
def test_the_mask_token_never_learns(family: str, method: str) -> None:
    network = build(family, method=method)
    token = network.backbone.embeddings.mask_token
    before = token.detach().clone()
    optimiser = torch.optim.AdamW(group_parameters(network, Training(weight_decay=0.5), family))
    step_backward(network, draw_images(family))
    optimiser.step()
    assert torch.equal(token, before)


def test_a_frozen_backbone_has_no_random_parts_and_no_gradients() -> None:
    network = build("dinov2", method="head", drop_path=0.5).train()
    images = draw_images()
    assert network.head.training
    assert not network.backbone.training
    assert not network.embed(images).requires_grad
    assert torch.equal(network.embed(images), network.embed(images))
    step_backward(network, images)
    assert all(parameter.grad is None for parameter in network.backbone.parameters())
    assert all(parameter.grad is not None for parameter in network.head.parameters())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["last", "full"])
def test_rates_and_decays_by_hand(family: str, method: str) -> None:
    """Of three blocks with a decay of 0.5: 1/4, 1/2 and 1 of the rate, embeddings 1/8, the norm 1."""
    network = build(family, method=method)
    settings = Training(learning_rate=8e-4, head_learning_rate=3e-3, layer_decay=0.5, weight_decay=0.1)
    groups = group_parameters(network, settings, family)
    found = {id(p): (group["lr"], group["base"], group["weight_decay"]) for group in groups for p in group["params"]}
    learning = list_learning(network)
    assert sum(len(group["params"]) for group in groups) == len(found) == len(learning)
    for name, parameter in learning.items():
        block = number_block(name)
        if name.startswith("head."):
            rate = 3e-3
        elif block is not None:
            rate = 8e-4 * (0.25, 0.5, 1)[block]
        else:
            rate = 8e-4 if "norm" in name else 1e-4
        token = "token" in name or "position" in name
        decay = 0 if name.endswith("bias") or "norm" in name or "lambda" in name or token else 0.1
        decay = 0 if name.startswith("head.1.") else decay  # batch normalisation
        assert found[id(parameter)] == pytest.approx((rate, rate, decay)), name


def test_without_decay_of_rates_there_is_one_for_the_backbone() -> None:
    groups = group_parameters(build(), Training(learning_rate=1e-5, head_learning_rate=1e-3), "dinov2")
    assert {(group["part"], group["lr"]) for group in groups} == {("backbone", 1e-5), ("head", 1e-3)}


def test_blocks_that_are_not_there_cannot_learn() -> None:
    with pytest.raises(SommelierError, match=r"model\.last_blocks is 4; dinov2 has 3 blocks"):
        build(method="last", last_blocks=4)


def test_branches_are_left_out_more_often_the_deeper() -> None:
    network = build("dinov2", drop_path=0.4)
    shares = [block.drop_path.share for block in network.backbone.encoder.layer]
    assert shares == pytest.approx([0, 0.2, 0.4])
    images = draw_images()
    network.train()
    assert not torch.equal(network.embed(images), network.embed(images))
    plain = build("dinov2").eval()
    assert torch.equal(network.eval().embed(images), plain.embed(images))


def test_a_branch_is_left_out_for_some_images_and_scaled_up_for_others() -> None:
    part = DropPath(0.25, World(0, 1, torch.device("cpu"))).train()
    torch.manual_seed(0)
    branch = part(torch.full((4000, 3, 2), 6.0))
    per_image = branch.flatten(1)
    assert (per_image == per_image[:, :1]).all()
    assert set(per_image[:, 0].tolist()) == {0.0, 8.0}
    left_out = float((per_image[:, 0] == 0).float().mean())
    assert left_out == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 4000))
    assert torch.equal(part.eval()(branch), branch)


def test_processes_leave_out_what_one_would() -> None:
    device, branch = torch.device("cpu"), torch.ones(12, 3, 2)
    made = []
    for world in (World(0, 1, device), World(0, 2, device), World(1, 2, device)):
        torch.manual_seed(0)
        made.append(DropPath(0.5, world).train()(branch[world.own_slice(12)]))
    assert torch.equal(torch.cat(made[1:]), made[0])


def test_a_model_whose_branches_cannot_be_left_out() -> None:
    with pytest.raises(SommelierError, match=r"model\.drop_path: the blocks of vit have none\. Set it to 0"):
        build("vit", drop_path=0.1)


def test_parameters_are_counted() -> None:
    head = list_learning(build(method="head"))
    expected = WIDTH * 8 + 8 + 2 * 8 + 8 * 3 + 3
    assert count_parameters(list(head.values())) == expected


@needs_peft
@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_alone_learn_and_are_merged_into_plain_weights(family: str) -> None:
    network = build(family, method="lora", lora=Lora(rank=4, alpha=6, dropout=0.5, modules=("q_proj", "v_proj")))
    adapters = name_backbone(list_learning(network))
    assert len(adapters) == DEPTH * 2 * 2  # blocks, layers, matrices
    assert all(re.search(r"\.(q|v)_proj\.lora_[AB]\.", name) for name in adapters)
    images, plain = draw_images(family), make_model(family)
    torch.testing.assert_close(network.eval().embed(images).detach(), build(family).eval().embed(images).detach())

    torch.manual_seed(3)
    for name, parameter in list_learning(network).items():
        if "lora_B" in name:  # they start at 0
            torch.nn.init.normal_(parameter, std=0.1)
    a, b = (
        next(
            p.detach().clone() for name, p in network.named_parameters() if re.search(rf"s?\.0\..*q_proj.*{part}", name)
        )
        for part in ("lora_A", "lora_B")
    )
    adapted = network.embed(images).detach()
    merged = merge_adapters(network.backbone)
    network.backbone = merged
    assert type(merged) is type(plain)
    assert merged.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(network.embed(images).detach(), adapted, atol=1e-5, rtol=1e-5)
    assert (adapted - build(family).eval().embed(images).detach()).abs().max() > 0.01
    changed = {name for name, value in merged.state_dict().items() if not torch.equal(value, plain.state_dict()[name])}
    assert len(changed) == DEPTH * 2
    name = min(name for name in changed if "q_proj" in name)
    torch.testing.assert_close(merged.state_dict()[name], plain.state_dict()[name] + 6 / 4 * b @ a)


@needs_peft
def test_adapters_have_their_blocks_rates() -> None:
    network = build("dinov2", method="lora", lora=Lora(rank=2))
    settings = Training(learning_rate=1e-3, layer_decay=0.5, weight_decay=0.1)
    rates = {id(p): group["lr"] for group in group_parameters(network, settings, "dinov2") for p in group["params"]}
    for name, parameter in list_learning(network).items():
        block = number_block(name)
        if block is not None:
            assert rates[id(parameter)] == pytest.approx(1e-3 * (0.25, 0.5, 1)[block]), name


@needs_peft
def test_layers_that_are_not_there_get_no_adapters() -> None:
    with pytest.raises(SommelierError, match=r"model\.lora\.modules \['dense'\].*There are: .*q_proj"):
        build("dinov2", method="lora", lora=Lora(modules=("dense",)))


def test_what_has_no_adapters_stays() -> None:
    model = make_model()
    assert merge_adapters(model) is model
