"""Each layer and pooling against transformers' own hidden states, of four families."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from embeddings.errors import BackboneError
from embeddings.provenance import Space
from extract.backbone import TransformersBackbone, resolve_spaces
from tests.extract.models import DEPTH, FAMILIES, WIDTH, expected_vectors, make_model

ALL = [Space(layer, pooling) for layer in range(1, DEPTH + 1) for pooling in ("cls", "patch-mean")]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def images_for(family: str, patches: int = 4, n: int = 3) -> torch.Tensor:
    side = patches * (16 if family == "dinov3" else 14)
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_and_pooling_is_the_normed_hidden_state(family: str) -> None:
    model, images = make_model(family), images_for(family)
    expected = expected_vectors(model, family, images)
    backbone = TransformersBackbone(model, family)
    assert (backbone.depth, backbone.embed_dim) == (DEPTH, WIDTH)
    vectors = backbone.embed(images, ALL)
    assert set(vectors) == set(ALL)
    for space in ALL:
        assert vectors[space].shape == (3, WIDTH)
        assert vectors[space].dtype == torch.float32
        torch.testing.assert_close(vectors[space], expected[space], **CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("space", ALL, ids=lambda space: space.name)
def test_a_space_asked_for_alone_is_the_same(family: str, space: Space) -> None:
    model, images = make_model(family), images_for(family)
    expected = expected_vectors(model, family, images)[space]
    (vectors,) = TransformersBackbone(model, family).embed(images, [space]).values()
    torch.testing.assert_close(vectors, expected, **CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_spaces_differ_from_each_other(family: str) -> None:
    """Otherwise the comparisons above would pass for any layer and any tokens."""
    vectors = expected_vectors(make_model(family), family, images_for(family))
    values = list(vectors.values())
    for i, a in enumerate(values):
        for b in values[i + 1 :]:
            assert (a - b).abs().max() > 0.01
        assert (a[0] - a[1]).abs().max() > 0.01  # and images from each other


@pytest.mark.parametrize("family", ["dinov2", "dinov2-with-registers"])
@pytest.mark.parametrize("changes", [{}, {"use_swiglu_ffn": True}], ids=["mlp", "swiglu"])
def test_the_last_block_for_cls_alone_equals_the_full_one(family: str, changes: dict[str, Any]) -> None:
    model, images = make_model(family, **changes), images_for(family)
    backbone, last = TransformersBackbone(model, family), Space(DEPTH, "cls")
    rows: list[int] = []
    mlp = model.encoder.layer[-1].mlp
    mlp.register_forward_hook(lambda _m, inputs, _o: rows.append(inputs[0].shape[1]))
    alone = backbone.embed(images, [last])[last]
    full = backbone.embed(images, [last, Space(DEPTH, "patch-mean")])[last]
    assert rows[0] == 1, "the other tokens were computed for nothing"
    assert rows[1] > 1
    torch.testing.assert_close(alone, full, atol=1e-5, rtol=0)
    torch.testing.assert_close(alone, expected_vectors(model, family, images)[last], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_after_the_last_one_asked_for_do_not_run(family: str) -> None:
    model = make_model(family)
    ran: list[int] = []
    for number, block in enumerate(blocks_of(model), 1):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    TransformersBackbone(model, family).embed(images_for(family), [Space(2, "patch-mean")])
    assert ran == [1, 2]


def blocks_of(model: Any) -> list[nn.Module]:
    (found,) = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == DEPTH]
    return list(found)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("patches", [1, 5, 7])  # 14, 70 and 98 pixels of patches of 14
def test_sizes_other_than_that_of_the_pretraining(family: str, patches: int) -> None:
    model, images = make_model(family), images_for(family, patches)
    expected = expected_vectors(model, family, images)
    for space, vectors in TransformersBackbone(model, family).embed(images, ALL).items():
        torch.testing.assert_close(vectors, expected[space], **CLOSE)


def test_dropout_is_off() -> None:
    changes = {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5, "drop_path_rate": 0.5}
    model, images = make_model("dinov2", **changes), images_for("dinov2")
    expected = expected_vectors(model, "dinov2", images)
    model.train()
    backbone = TransformersBackbone(model, "dinov2")
    for _ in range(2):
        for space, vectors in backbone.embed(images, ALL).items():
            torch.testing.assert_close(vectors, expected[space], **CLOSE)


def test_no_gradients_are_kept() -> None:
    backbone = TransformersBackbone(make_model(), "small")
    (vectors,) = backbone.embed(images_for("dinov2"), [Space(1, "cls")]).values()
    assert not vectors.requires_grad
    assert not any(weight.requires_grad for weight in backbone.model.parameters())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_mixed_precision_is_close_to_fp32(family: str, precision: str) -> None:
    backbone, images = TransformersBackbone(make_model(family), family), images_for(family)
    exact, mixed = backbone.embed(images, ALL), backbone.embed(images, ALL, precision)
    for space in ALL:
        assert mixed[space].dtype == torch.float32
        cosine = nn.functional.cosine_similarity(exact[space], mixed[space])
        assert cosine.min() > 0.999, f"{space.name}: {cosine}"
    assert any(not torch.equal(exact[space], mixed[space]) for space in ALL), "it ran in fp32"


def test_nothing_stays_on_the_model() -> None:
    model = make_model()
    backbone = TransformersBackbone(model, "small")
    backbone.embed(images_for("dinov2"), ALL)
    backbone.embed(images_for("dinov2"), [Space(DEPTH, "cls")])
    with pytest.raises(ValueError, match="channel"):
        backbone.embed(torch.zeros(1, 2, 56, 56), ALL)
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in blocks_of(model))


class Plain(nn.Module):
    """Patches without CLS, and as many norms as asked for."""

    def __init__(self, norms: int = 1, depth: int = 2) -> None:
        super().__init__()
        self.config = SimpleNamespace(num_hidden_layers=2, hidden_size=4, patch_size=14, model_type="plain")
        self.patches = nn.Conv2d(3, 4, 14, 14)
        self.blocks = nn.ModuleList([nn.Linear(4, 4) for _ in range(depth)])
        for number in range(norms):
            setattr(self, f"norm{number}", nn.LayerNorm(4))

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(pixel_values).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


def test_a_model_without_cls() -> None:
    model = Plain()
    backbone, images = TransformersBackbone(model, "plain"), torch.randn(2, 3, 28, 28)
    with pytest.raises(BackboneError, match=r"plain has no CLS token; use --pool patch-mean"):
        backbone.embed(images, [Space(2, "cls")])
    expected = model.norm0(model(images)).mean(dim=1)
    torch.testing.assert_close(backbone.embed(images, [Space(2, "patch-mean")])[2, "patch-mean"], expected)


@pytest.mark.parametrize("norms", [0, 2])
def test_a_model_without_one_final_norm_is_refused(norms: int) -> None:
    with pytest.raises(BackboneError, match=rf"odd: Plain has {norms} final norms where one was expected"):
        TransformersBackbone(Plain(norms), "odd")


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(BackboneError, match="odd: no list of 2 transformer blocks"):
        TransformersBackbone(Plain(depth=5), "odd")


def test_layers_count_from_one_and_from_the_end() -> None:
    assert resolve_spaces([-1], ["cls"], 12, "b") == (Space(12, "cls"),)
    assert resolve_spaces([-12], ["cls"], 12, "b") == (Space(1, "cls"),)
    assert resolve_spaces([12, 7, -1], ["patch-mean", "cls"], 12, "b") == (
        Space(7, "cls"),
        Space(7, "patch-mean"),
        Space(12, "cls"),
        Space(12, "patch-mean"),
    )


@pytest.mark.parametrize("layer", [0, 13, -13])
def test_layers_that_are_not_there(layer: int) -> None:
    with pytest.raises(BackboneError, match=rf"b has 12 layers: --layer is 1 to 12, or -1 .* to -12; not {layer}\."):
        resolve_spaces([1, layer], ["cls"], 12, "b")


def test_poolings_that_are_not_there() -> None:
    with pytest.raises(BackboneError, match="--pool is cls or patch-mean, not 'mean'"):
        resolve_spaces([1], ["mean"], 12, "b")
