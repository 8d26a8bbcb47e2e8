"""What a map's page is told, and where its points lie."""

from __future__ import annotations

import base64
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from benchmarks import map as maps
from benchmarks.map import choose_columns, describe_files, encode_column, find_near, gather_column, lay_out
from benchmarks.thumbnails import name_address
from benchmarks.viewers import link_viewer
from embeddings.errors import SommelierError
from embeddings.search import GalaxyIndex, open_index
from embeddings.search.whitening import transform
from tests.benchmarks.stores import write_pictured


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> GalaxyIndex:
    folder = tmp_path_factory.mktemp("map")
    write_pictured(folder / "a.h5", "sdss", 12, 1, redshift=np.linspace(0, 1, 12), flag=[True, False] * 6)
    write_pictured(folder / "b.h5", "ukidss", 6, 2, kind=["x", "y"] * 3)
    return open_index([folder / "a.h5", folder / "b.h5"])


def decode(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)


def test_pca_is_scikit_learns(rng: np.random.Generator) -> None:
    X = rng.normal(size=(200, 6)) * np.arange(1, 7)
    places, axes = lay_out(X.astype(np.float32), "pca")
    pca = PCA(2).fit(X)
    np.testing.assert_allclose(np.abs(places), np.abs(pca.transform(X)), atol=1e-3)
    assert axes == [f"PC{i + 1} ({share:.0%} of variance)" for i, share in enumerate(pca.explained_variance_ratio_)]


def test_umap_without_its_extra_says_how_to_get_it(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(SommelierError, match=r"pip install 'galaxy-sommelier\[umap\]'"):
        lay_out(rng.normal(size=(50, 4)), "umap")


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("umap"), reason="umap-learn is not installed (the extra umap)")
@pytest.mark.filterwarnings("ignore")
def test_umap_keeps_clusters_together(rng: np.random.Generator) -> None:
    cluster = np.repeat([0, 1, 2], 30)
    X = (np.eye(8)[cluster] + 0.05 * rng.normal(size=(90, 8))).astype(np.float32)
    places, _ = lay_out(X, "umap", 0)
    centres = np.stack([places[cluster == c].mean(axis=0) for c in range(3)])
    nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == cluster).mean() > 0.95


def test_neighbours_are_the_nearest_others(index: GalaxyIndex) -> None:
    X = transform(index.rows.read_vectors(), None)
    near, similarity = find_near(index, X)
    scores = X @ X.T
    np.fill_diagonal(scores, -9)
    np.testing.assert_array_equal(near, np.argsort(-scores, axis=1)[:, : maps.N_NEIGHBOURS])
    np.testing.assert_allclose(similarity, np.take_along_axis(scores, near, 1), atol=1e-6)


def test_columns_run_through_all_stores(index: GalaxyIndex) -> None:
    redshift = gather_column(index.rows, "redshift")
    np.testing.assert_allclose(redshift, [*np.linspace(0, 1, 12), *[np.nan] * 6])
    assert gather_column(index.rows, "kind").tolist() == [*[""] * 12, *["x", "y"] * 3]
    assert gather_column(index.rows, "flag")[:2].tolist() == [1.0, 0.0]
    assert choose_columns(index.rows, []) == ["survey"]
    assert choose_columns(index.rows, ["kind", "dec"]) == ["kind", "survey", "dec"]
    with pytest.raises(SommelierError, match=r"no column is called 'kidn' to colour by. Did you mean 'kind'"):
        choose_columns(index.rows, ["kidn"])


def test_rare_categories_are_put_together() -> None:
    values = np.array(["a"] * 5 + ["b"] * 3 + [""] * 2 + [f"rare-{n}" for n in range(30)], object)
    column = encode_column(values)
    assert column["labels"][:3] == ["a", "b", "missing"]
    assert column["labels"][-1] == "other"
    assert len(column["labels"]) == maps.MAX_CATEGORIES + 1
    codes = decode(column["codes"], "u1")
    assert codes[:10].tolist() == [0] * 5 + [1] * 3 + [2] * 2
    assert (codes == maps.MAX_CATEGORIES).sum() == 30 - (maps.MAX_CATEGORIES - 3)
    np.testing.assert_array_equal(
        decode(encode_column(np.array([1.5, np.nan]))["values"], "<f4"), np.float32([1.5, np.nan])
    )


def test_pictures_that_are_not_in_the_page_are_found_on_disk(index: GalaxyIndex) -> None:
    told = describe_files(index.rows, True)
    assert told["folder"].startswith("file:///")
    assert told["files"][0] == "sdss-images/0.png"
    assert told["files"][12] == "ukidss-images/0.png"
    assert Path((told["folder"] + told["files"][5]).removeprefix("file://")).exists()
    assert name_address("/a b/c.png") == "file:///a%20b/c.png"
    assert [name_address(path) for path in ("/a/b.fits", "/a/b.parquet#3", "/a/b_{band}.fits")] == ["", "", ""]


def test_viewers_are_the_surveys_own() -> None:
    assert link_viewer("sdss", 150.1, 2.2) == (
        "SkyServer",
        "https://skyserver.sdss.org/dr18/VisualTools/navi?opt=G&ra=150.100000&dec=2.200000&scale=0.2",
    )
    name, address = link_viewer("DECaLS-dr5", 150.1, -2.2)
    assert name == "Legacy Surveys"
    assert "ra=150.100000&dec=-2.200000&" in address
    assert link_viewer("sloan", 1, 1)[0] == "SkyServer"
    assert link_viewer("ukidss", 150.1, -2.2)[1].endswith("target=150.100000%20-2.200000&fov=0.05")
