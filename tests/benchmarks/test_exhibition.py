"""The gallery: what a card says, and the page in a real browser, from disk and without network."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.exhibition import describe_recall, write_gallery
from embeddings.search import GalaxyIndex, open_index
from tests.benchmarks.browser import SIZES, open_page
from tests.benchmarks.stores import write_pictured


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> GalaxyIndex:
    folder = tmp_path_factory.mktemp("gallery")
    write_pictured(folder / "a.h5", "sdss", 12, 1)
    write_pictured(folder / "b.h5", "<img src=x onerror=alert(1)>", 6, 2)
    return open_index([folder / "a.h5", folder / "b.h5"])


def test_the_recall_is_said_in_words() -> None:
    label = {"kind": "ivf", "recall_at_10": 0.9731, "standard_error": 0.0021, "queries": 1000}
    assert describe_recall(label) == "ivf, approximate: recall@10 0.973 ± 0.002 on 1000 held-out galaxies."
    assert describe_recall({**label, "filtered": "exact"}) == "ivf; exact among the galaxies that passed the filters."
    assert "was not measured" in describe_recall({"kind": "hnsw"})
    assert describe_recall({"kind": "exact", "filtered": "exact"}) == "Exact search."


def test_a_card_says_the_similarity_as_a_distance_too(index: GalaxyIndex, tmp_path: Path) -> None:
    path = tmp_path / "out.html"
    found = index.search(0, 2)
    write_gallery(path, index, [(found, 0)])
    vectors = index.rows.take_vectors(np.array([0, found.positions[0]])).astype(np.float64)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert f"distance {math.dist(*units):.3f}" in path.read_text()
    write_gallery(path, index, [(index.search(index.rows.take_vectors(np.array([0]))[0], 1), None)])
    assert "a vector" in path.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_a_gallery_needs_no_network_and_names_do_nothing(size: str, index: GalaxyIndex, tmp_path: Path) -> None:
    path = tmp_path / "out.html"
    picture = np.full((40, 60, 3), 200, np.uint8)
    write_gallery(path, index, [(index.search(0, 17), 0), (index.search(3, 5), picture)])
    with open_page(path, size, tmp_path / "profile") as page:
        assert page.run("return document.querySelectorAll('figure').length") == 18 + 6
        assert page.run("return document.querySelectorAll('figure.query').length") == 2
        page.run("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
        page.wait("Array.from(document.images).every(i => i.complete && i.naturalWidth)")  # "x" would have no width
        assert page.run("return document.body.innerText").count("<img src=x onerror=alert(1)>") >= 6
        assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")
        assert page.run("return new Set(Array.from(document.links).map(a => a.host)).size") == 2
        page.save(tmp_path / "shot.png")
        assert page.errors() == []
