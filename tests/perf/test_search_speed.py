"""Search at the size of a survey: exact beside scikit-learn and a bare FAISS index, approximate beside exact."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from embeddings.layout import Header, Vectors, write_store
from embeddings.provenance import Provenance, Space
from embeddings.search import GalaxyIndex, open_index
from embeddings.search.build import build_index
from embeddings.search.engine import recall_of
from embeddings.store import EmbeddingStore
from tests.perf.timing import measure

pytestmark = pytest.mark.perf
faiss = pytest.importorskip("faiss", reason="no faiss")
WIDTH, K = 384, 10
SIZES = tuple(int(size) for size in os.environ.get("SOMMELIER_PERF_ROWS", "240000,1000000").split(","))
SPACE = Space(12, "cls")


def draw_block(start: int, stop: int) -> np.ndarray:
    """Clusters of very different sizes around a common mean, with a decaying spectrum, as embeddings have them."""
    centres = np.random.default_rng(0).normal(size=(2000, WIDTH)).astype(np.float32)
    rng = np.random.default_rng(start + 1)
    chosen = (2000 * rng.random(stop - start) ** 2).astype(int)
    scale = np.arange(1, WIDTH + 1, dtype=np.float32) ** -0.25
    return ((centres[chosen] + 0.8 * rng.normal(size=(stop - start, WIDTH))) * scale + 0.3).astype(np.float16)


@pytest.fixture(scope="module", params=SIZES)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddingStore]:
    n_rows = int(request.param)
    path = tmp_path_factory.mktemp("large") / "large.h5"
    rng = np.random.default_rng(0)
    arrays = {
        "id_str": np.array([f"{number:018d}" for number in range(n_rows)], "S18"),
        "survey": np.full(n_rows, b"large"),
        "ra": rng.uniform(0, 360, n_rows),
        "dec": rng.uniform(-30, 30, n_rows),
        "image": np.full(n_rows, b"x.png"),
        "image_root": np.zeros(n_rows, np.uint16),
        "image_sha256": rng.integers(0, 256, (n_rows, 32), np.uint8),
        "status": np.full(n_rows, b"ok"),
    }
    provenance = Provenance({"weights_sha256": "5e" * 32}, {}, (SPACE,), runs=({"backbone": "none"},))
    write_store(path, Header("large", provenance, (), ("/",)), arrays, {SPACE: Vectors(WIDTH, draw_block)})
    yield EmbeddingStore.open(path)
    shutil.rmtree(path.parent)


def draw_queries(n_queries: int) -> np.ndarray:
    return draw_block(10**9, 10**9 + n_queries).astype(np.float32)


def test_exact_search(store: EmbeddingStore) -> None:
    index = GalaxyIndex.over([store])
    index.neighbours(draw_queries(1), K)  # reads the vectors
    X = index._exact.X
    bare = faiss.IndexFlatIP(WIDTH)
    bare.add(X)
    brute = NearestNeighbors(n_neighbors=K, metric="cosine", algorithm="brute").fit(X)
    for size in (1, 16, 256):
        queries = draw_queries(size)
        units = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        ways: dict[str, Callable[[], object]] = {
            "ours": lambda queries=queries: index.neighbours(queries, K),
            "faiss": lambda units=units: bare.search(units, K),
            "sklearn": lambda queries=queries: brute.kneighbors(queries),
        }
        print(f"\nexact, {len(store)} x {WIDTH}, batches of {size}:")
        seconds = measure(5 if size < 256 else 3, **ways)
        ratios = {way: seconds[way] / seconds["ours"] for way in ("faiss", "sklearn")}
        print("  " + ", ".join(f"{ratio:.1f} x the rate of {way}" for way, ratio in ratios.items()))
        np.testing.assert_array_equal(np.sort(index.neighbours(queries, K)[1]), np.sort(bare.search(units, K)[1]))
        assert ratios["sklearn"] > 1
        assert ratios["faiss"] > (0.9 if size == 1 else 2)  # on a quiet machine 3 and more


def test_approximate_search(store: EmbeddingStore, tmp_path: Path) -> None:
    start = time.perf_counter()
    built = build_index([store], tmp_path / "index", recall=0.95)
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in (tmp_path / "index").iterdir()) / len(store)
    label = built.index.label
    print(f"\n{label['kind']}, {len(store)} x {WIDTH}: built in {seconds:.0f} s, {size:.0f} bytes a vector, {label}")

    start = time.perf_counter()
    index = open_index([tmp_path / "index"])
    opened = time.perf_counter() - start
    first = time.perf_counter()
    index.search(5, K)
    print(f"  opened in {opened * 1e3:.0f} ms, the first search {time.perf_counter() - first:.2f} s")

    exact = GalaxyIndex.over([store])
    queries = draw_queries(200)
    _, truth = exact.neighbours(queries, K)
    _, found = index.neighbours(queries, K)
    names = [np.array(one.rows.text("id_str", rows.ravel())).reshape(rows.shape)
             for one, rows in ((index, found), (exact, truth))]  # fmt: skip
    recall = recall_of(*names).mean()
    turns = iter(np.random.default_rng(0).integers(0, len(queries), 10_000).tolist())

    def search(one: GalaxyIndex) -> None:
        number = next(turns)
        one.neighbours(queries[number : number + 1], K)

    times = measure(50, approximate=lambda: search(index), exact=lambda: search(exact))
    print(f"  recall@10 {recall:.3f} on other queries, {times['exact'] / times['approximate']:.0f} x the exact rate")
    assert recall > 0.94
    assert opened < 1
    assert times["exact"] / times["approximate"] > 30
