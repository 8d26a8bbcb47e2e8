import sys
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.neighbors import NearestNeighbors

from embeddings import search
from embeddings.search import find_neighbours, load_faiss

ENGINES = ["numpy", pytest.param("faiss", marks=pytest.mark.skipif(not find_spec("faiss"), reason="no faiss"))]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "numpy":
        monkeypatch.setattr(search, "load_faiss", lambda: None)
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
            patch.setattr(search, "load_faiss", loader)
            patch.setattr(search, "QUERY_BLOCK", 7)
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
    monkeypatch.setattr(search, "load_faiss", lambda: None)
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
