"""Images to a store, beside the bare model and beside the loop that people write."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from extract.catalog import Catalog, catalog_from_table
from extract.pipeline import extract_embeddings
from extract.processes import count_cpus
from tests.perf.timing import measure

pytestmark = [pytest.mark.perf, pytest.mark.slow]


@pytest.fixture(scope="module")
def spiral(real_data: Path) -> Catalog:
    folder = real_data / "sdss_kaggle_spiral"
    return catalog_from_table(folder / "labels.csv", folder, "GalaxyID", "file", ["class"])


@pytest.fixture(scope="module")
def model(real_backbone: Path) -> Any:
    from transformers import AutoModel

    return AutoModel.from_pretrained(real_backbone).eval()


def head(catalog: Catalog, rows: int) -> Catalog:
    return Catalog(catalog.frame.head(rows), catalog.questions, catalog.image_root)


def test_overhead_over_the_bare_model(spiral: Catalog, real_backbone: Path, model: Any, tmp_path: Path) -> None:
    """Decode, preprocess, embed, write and join within 1.15 x of the model alone, at one thread each."""
    from multiprocessing import get_context

    from extract.pipeline import Extraction, Options
    from extract.worker import Counters, Embedder, Part

    rows = 48
    options = Options(
        layers=(-1,), pools=("cls", "patch-mean"), workers=1, threads=1
    )  # the full last block, as the model
    extraction = Extraction(head(spiral, rows), str(real_backbone), tmp_path / "s.h5", options)
    embedder = Embedder(extraction.make_job())
    part = Part(extraction.catalog.ids.tolist(), extraction.paths)
    numbers = itertools.count()
    ready = torch.randn(rows, 3, 224, 224)
    torch.set_num_threads(1)

    def bare() -> None:
        with torch.inference_mode():
            for start in range(0, rows, extraction.batch_size):
                model(ready[start : start + extraction.batch_size])

    def whole() -> None:
        ids = [f"{id_str}-{next(numbers)}" for id_str in part.ids]  # every turn writes parts of its own
        embedder.embed_parts([Part(ids, part.paths)], Counters(get_context("spawn")))

    times = measure(3, whole=whole, bare=bare)
    assert times["whole"] / times["bare"] < 1.15


def test_rate_against_the_plain_loop(spiral: Catalog, real_backbone: Path, model: Any, tmp_path: Path) -> None:
    """Images a second in a long run, the start of the processes left out, against one image at a time."""
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    processor = BitImageProcessorPil(
        do_resize=True, size={"shortest_edge": 256}, do_center_crop=True, crop_size={"height": 224, "width": 224},
        resample=3, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
    )  # fmt: skip
    torch.set_num_threads(count_cpus())
    paths = [Path(spiral.image_root) / image for image in spiral.frame["image"][:48]]

    def plain() -> list[np.ndarray]:
        vectors = []
        for path in paths:
            with torch.no_grad():
                output = model(**processor(Image.open(path), return_tensors="pt"))
            vectors.append(output.pooler_output[0].numpy())
        return vectors

    def ours(rows: int) -> float:
        start = time.perf_counter()
        output = tmp_path / f"{rows}-{time.monotonic_ns()}.h5"
        extract_embeddings(head(spiral, rows), str(real_backbone), output, recipe="hf", workers=count_cpus())
        return time.perf_counter() - start

    plain_rate = len(paths) / measure(3, plain=plain)["plain"]
    few, many = 48, 304
    slopes = [(many - few) / (ours(many) - ours(few)) for _ in range(2)]
    rate = float(np.median(slopes))
    print(f"  plain {plain_rate:.2f}, ours {rate:.2f} images/s: {rate / plain_rate:.2f} x on {count_cpus()} cores")
    assert rate / plain_rate > 1.15
