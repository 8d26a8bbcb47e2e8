"""That `tiny` is trained costs nothing: it is as fast as the same network with random weights."""

from __future__ import annotations

import pytest
import torch

from embeddings.provenance import Space
from extract.backbone import TransformersBackbone
from extract.weights import find_backbone
from finetune.predictor import make_network
from tests.perf.timing import measure

pytestmark = [pytest.mark.perf, pytest.mark.slow]


def test_trained_as_fast_as_untrained() -> None:
    trained, untrained = find_backbone("tiny").load(), TransformersBackbone(make_network(0), "untrained")
    images, spaces = torch.randn(64, 3, 126, 126), [Space(6, "cls"), Space(6, "patch-mean")]
    times = measure(7, trained=lambda: trained.embed(images, spaces), untrained=lambda: untrained.embed(images, spaces))
    print(f"  {len(images) / times['trained']:.0f} images a second on {torch.get_num_threads()} threads")
    assert 0.8 < times["trained"] / times["untrained"] < 1.25
