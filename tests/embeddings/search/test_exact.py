import sys
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.neighbors import NearestNeighbors

from embeddings.search import exact
from embeddings.search.exact import ExactSearch, find_neighbours, load_faiss, matrix_products

ENGINES = ["numpy", pytest.param("faiss", marks=pytest.mark.skipif(not find_spec("faiss"), reason="no faiss"))]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "numpy":
        monkeypatch.setattr(exact, "load_faiss", lambda: None)
    return str(request.param)


@pytest.mark.parametrize("k", [1, 7, 300])
@pytest.mark.usefixtures("engine")
def test_neighbours_are_those_of_scikit_learn(k: int, rng: np.random.Generator) -> None:
    X = rng.normal(size=(300, 16)).astype(np.float32)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    queries = X[:40] + 0.1 * rng.normal(size=(40, 16)).astype(np.float32)
    distance, expected = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(X).kneighbors(queries)
    similarity, rows = find_neighbours(X, queries, k)
    assert similarity.dtype == np.float32
    assert rows.dtype == np.int64
    np.testing.assert_array_equal(rows, expected)
    cosine = similarity / np.linalg.norm(queries, axis=1, keepdims=True)
    np.testing.assert_allclose(cosine, 1 - distance, atol=1e-5)


@pytest.mark.usefixtures("engine")
def test_lengths_count() -> None:
    # inner products with (1, 0): 1, 5, -9
    similarity, rows = find_neighbours(np.array([[1, 0], [5, 5], [-9, 0]], "f4"), np.array([[1, 0]], "f4"), 3)
    assert rows.tolist() == [[1, 0, 2]]
    assert similarity.tolist() == [[5, 1, -9]]


small_integers = st.integers(-2, 2).map(float)  # products are exact, and equals are many


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 30), st.just(3)), elements=small_integers),
    hnp.arrays(np.float32, st.tuples(st.integers(0, 30), st.just(3)), elements=small_integers),
    st.integers(1, 40),
)
def test_both_engines_agree_with_a_full_sort(X: np.ndarray, queries: np.ndarray, k: int) -> None:
    products = queries.astype(int) @ X.astype(int).T
    expected = -np.sort(-products, axis=1)[:, :k]
    for loader in (load_faiss, lambda: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exact, "load_faiss", loader)
            patch.setattr(exact, "SCORES", 7)
            similarity, rows = find_neighbours(X, queries, k)
        assert similarity.shape == rows.shape == (len(queries), min(k, len(X)))
        np.testing.assert_array_equal(similarity, expected)
        for query in range(len(queries)):
            found = rows[query].tolist()
            np.testing.assert_array_equal(products[query, found], expected[query])
            assert len(set(found)) == len(found)
            assert found == sorted(found, key=lambda row, query=query: (-products[query, row], row))


def test_both_engines_agree_on_random_vectors(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    X, queries = rng.normal(size=(2000, 32)).astype("f4"), rng.normal(size=(1500, 32)).astype("f4")
    products = queries.astype("f8") @ X.astype("f8").T
    expected = np.argsort(-products, axis=1)[:, :10]
    engines = [find_neighbours(X, queries, 10)]
    monkeypatch.setattr(exact, "load_faiss", lambda: None)
    engines.append(find_neighbours(X, queries, 10))
    for similarity, rows in engines:
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_allclose(similarity, np.take_along_axis(products, expected, 1), rtol=1e-4)


@pytest.mark.usefixtures("engine")
def test_any_layout_and_type_is_taken(rng: np.random.Generator) -> None:
    X, queries = rng.normal(size=(50, 8)), rng.normal(size=(5, 8))
    expected = np.argsort(-(queries @ X.T), axis=1)[:, :3]
    for convert in (np.asfortranarray, lambda a: np.repeat(a, 2, axis=1)[:, ::2], lambda a: a.astype(np.float16)):
        np.testing.assert_array_equal(find_neighbours(convert(X), convert(queries), 3)[1], expected)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(("n_galaxies", "n_queries", "k"), [(0, 3, 5), (4, 0, 2), (4, 3, 0), (0, 0, 1)])
def test_nothing_to_find(n_galaxies: int, n_queries: int, k: int) -> None:
    similarity, rows = find_neighbours(np.ones((n_galaxies, 2)), np.ones((n_queries, 2)), k)
    assert similarity.shape == rows.shape == (n_queries, min(k, n_galaxies))


def test_without_faiss_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert load_faiss() is None
    _, rows = find_neighbours(np.eye(3), np.eye(3), 1)
    assert rows.ravel().tolist() == [0, 1, 2]


def test_every_batch_size_gives_the_same_answers(rng: np.random.Generator) -> None:
    # 1: matrix by vector; 2 to 7: FAISS's own way; 8 and more: its matrix products
    X, queries = rng.normal(size=(3000, 24)).astype("f4"), rng.normal(size=(300, 24)).astype("f4")
    expected = np.argsort(-(queries.astype("f8") @ X.T.astype("f8")), axis=1)[:, :10]
    searcher = ExactSearch(X)
    for size in (1, 2, 7, 8, 300):
        np.testing.assert_array_equal(searcher.search(queries[:size], 10)[1], expected[:size])


@pytest.mark.skipif(not find_spec("faiss"), reason="no faiss")
def test_the_switch_is_put_back_whatever_happens() -> None:
    faiss = load_faiss()
    assert faiss is not None
    usual = faiss.cvar.distance_compute_blas_threshold

    def fail() -> None:
        with matrix_products(faiss, 100):
            assert faiss.cvar.distance_compute_blas_threshold == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert faiss.cvar.distance_compute_blas_threshold == usual


@pytest.mark.skipif(not find_spec("faiss"), reason="no faiss")
@pytest.mark.parametrize(("full", "few"), [(False, False), (True, False), (False, True)])
def test_a_gpu_is_used(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, full: bool, few: bool) -> None:
    """With a stand-in that has faiss-gpu's names: its index is asked of many rows, and its memory may be full."""
    import faiss

    asked: list[int] = []

    class GpuIndexFlatIP(faiss.IndexFlatIP):  # type: ignore[misc]
        def __init__(self, resources: str, width: int) -> None:
            assert resources == "resources"
            super().__init__(width)
            if full:
                raise RuntimeError("out of memory")

        def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            asked.append(k)
            return super().search(queries, k)  # type: ignore[no-any-return]

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: "resources", raising=False)
    monkeypatch.setattr(faiss, "GpuIndexFlatIP", GpuIndexFlatIP, raising=False)
    monkeypatch.setattr(exact, "GPU_ROWS", 501 if few else 500)
    X, queries = rng.normal(size=(500, 8)).astype("f4"), rng.normal(size=(20, 8)).astype("f4")
    _, rows = ExactSearch(X).search(queries, 5)
    np.testing.assert_array_equal(rows, np.argsort(-(queries @ X.T), axis=1)[:, :5])
    assert asked == ([] if full or few else [5])
