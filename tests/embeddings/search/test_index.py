"""What a search returns, over stores as they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embeddings.errors import ProvenanceMismatch, SearchError, StoreError
from embeddings.search import GalaxyIndex, open_index
from embeddings.search.whitening import Whitening, transform
from tests.embeddings.conftest import PROVENANCE
from tests.embeddings.search.stores import cosines, draw_clusters, write_vectors


@pytest.fixture
def pair(tmp_path: Path) -> GalaxyIndex:
    """Two surveys, 80 rows each; one row of the north failed; redshift in the north alone."""
    north = write_vectors(
        tmp_path / "north.h5", draw_clusters(80, 6, 1), "north", failed=[7],
        ra=np.arange(80) / 4, dec=np.zeros(80), redshift=np.arange(80) / 100, kind=["a", "b"] * 40,
    )  # fmt: skip
    south = write_vectors(tmp_path / "south.h5", draw_clusters(80, 6, 2), "south", kind=["b", "c"] * 40)
    return GalaxyIndex.over([north, south])


def everything(index: GalaxyIndex) -> tuple[list[str], np.ndarray]:
    """Ids and vectors of all rows that are ok, by another way than the index has."""
    stores = index.rows.stores
    ids = [id_str for store in stores for id_str in store.ids[store.ok].tolist()]
    return ids, np.concatenate([store.table().X for store in stores])


def test_neighbours_are_the_nearest_others_by_cosine(pair: GalaxyIndex) -> None:
    ids, X = everything(pair)
    for query in ("north-0", "south-79"):
        near = cosines(X, X[ids.index(query)])
        near[ids.index(query)] = -9
        expected = np.argsort(-near)[:10]
        found = pair.search(pair.find_id(query), 10)
        assert [row["id_str"] for row in found.neighbours] == [ids[i] for i in expected]
        np.testing.assert_allclose([row["similarity"] for row in found.neighbours], near[expected], atol=2e-6)
        assert found.searched == 159


def test_what_json_holds(pair: GalaxyIndex) -> None:
    record = json.loads(json.dumps(pair.search(pair.find_id("north-3"), 2).to_dict()))
    assert record["query"] == {"id_str": "north-3", "survey": "north", "ra": 0.75, "dec": 0.0}
    assert {"id_str", "survey", "similarity"} <= set(record["neighbours"][0])
    assert record["index"] == {"kind": "exact"}


def test_filters_come_before_the_k(pair: GalaxyIndex) -> None:
    ids, X = everything(pair)
    near = cosines(X, X[0])
    allowed = [ids.index(f"north-{row}") for row in (71, 73, 75, 77, 79)]
    expected = sorted(allowed, key=lambda i: -near[i])[:4]
    found = pair.search(0, 4, surveys=["north"], where=["redshift >= 0.7", "kind = 'b'"])
    assert [row["id_str"] for row in found.neighbours] == [ids[i] for i in expected]
    assert found.searched == len(allowed) == 5
    # a survey that lacks the column has no galaxy that passes
    assert {row["survey"] for row in pair.search(0, 50, where=["redshift != 99"]).neighbours} == {"north"}
    assert pair.search(0, 10, where=["redshift > 5"]).neighbours == []
    assert len(pair.search(0, 10, where=["redshift < 0.03"]).neighbours) == 2  # rows 0, 1 and 2, less the query
    assert {row["id_str"] for row in pair.search(0, 9, where=["id_str = 'south-4'"]).neighbours} == {"south-4"}
    assert len(pair.search(0, 200, where=["dec = 0"]).neighbours) == 78


def test_a_galaxy_never_returns_itself_in_whatever_guise(tmp_path: Path) -> None:
    X = draw_clusters(30, 6, 3)
    X[10:14] = X[0]
    images = np.random.default_rng(0).integers(1, 256, (30, 32)).astype(np.uint8)
    images[11] = images[0]
    ra, dec = np.full(30, np.nan), np.full(30, np.nan)
    ra[[0, 12, 13]], dec[[0, 12, 13]] = [359.9999, 0.00001, 0.01], [60, 60, 60]  # 12 is 0.2 arcsec away, 13 is 18
    north = write_vectors(tmp_path / "north.h5", X, "north", images=images, ra=ra, dec=dec)
    south = write_vectors(tmp_path / "south.h5", X[:1], "south", ids=["north-0"])
    index = GalaxyIndex.over([north, south])
    found = index.search(index.find_id("north-0"), 5)
    names = [(row["id_str"], row["survey"]) for row in found.neighbours]
    assert set(names[:2]) == {("north-10", "north"), ("north-13", "north")}
    assert {(row["id_str"], row["survey"]) for row in found.itself} == {
        ("north-11", "north"), ("north-12", "north"), ("north-0", "south"),
    }  # fmt: skip
    distinct = index.search(index.find_id("north-0"), 5, distinct=True)
    assert not {"north-10", "north-13"} & {row["id_str"] for row in distinct.neighbours}
    assert len(distinct.neighbours) == 5


def test_distinct_goes_on_until_there_are_k(tmp_path: Path) -> None:
    X = draw_clusters(60, 6, 4)
    X[20:50] = X[1] * np.linspace(0.5, 2, 30)[:, None]  # thirty copies of one neighbour
    index = GalaxyIndex.over([write_vectors(tmp_path / "s.h5", X)])
    found = index.search(0, 12, distinct=True)
    assert len(found.neighbours) == 12
    copies = {"north-1", *(f"north-{row}" for row in range(20, 50))}
    assert sum(row["id_str"] in copies for row in found.neighbours) <= 1


def test_whitened_cosines_are_those_of_whitened_vectors(pair: GalaxyIndex) -> None:
    _, X = everything(pair)
    units = transform(X, Whitening.fit(X))
    expected = np.argsort(-(units @ units[5]))[1:6]
    index = GalaxyIndex.over(pair.rows.stores, whiten=True)
    assert index.search(5, 5).positions.tolist() == expected.tolist()
    with pytest.raises(SearchError, match="the vector has the shape"):
        index.search(np.zeros(3))


def test_many_queries_at_once(pair: GalaxyIndex) -> None:
    _, X = everything(pair)
    _, positions = pair.neighbours(X[:20], 3)
    expected = np.array([np.argsort(-cosines(X, x))[:3] for x in X[:20]])
    np.testing.assert_array_equal(positions, expected)
    keep = np.arange(len(X)) % 2 == 1
    _, kept = pair.neighbours(X[:20], 3, keep)
    assert (kept % 2 == 1).all()


def test_places_on_the_sky(tmp_path: Path) -> None:
    # haversine is right across ra = 0 and near the pole; 0.001 degrees of dec are 3.6 arcsec
    ra, dec = [359.9999, 10, 200, np.nan], [0.0, 89.9999, -45, np.nan]
    index = GalaxyIndex.over([write_vectors(tmp_path / "s.h5", draw_clusters(4, 6, 1), ra=ra, dec=dec)])
    assert index.rows.find_place(0.0001, 0.0, 5) == (0, pytest.approx(0.72, abs=1e-6))
    assert index.rows.find_place(190, 89.9999, 5)[0] == 1  # over the pole: 0.0002 degrees
    assert index.rows.find_place(200, -45.001, 3.7) == (2, pytest.approx(3.6, abs=1e-6))
    nearest = r"within 3.5 arcsec of 200, -45.001. The nearest is north-2 of north, 3.6 arcsec away"
    with pytest.raises(SearchError, match=nearest):
        index.find_place(200, -45.001, 3.5)
    with pytest.raises(SearchError, match=r"The nearest is north-0 of north, 10 degrees away"):
        index.find_place(10, 0, 5)
    with pytest.raises(SearchError, match="is no place on the sky"):
        index.find_place(10, 91, 5)


def test_unknown_names_are_told_the_nearest(pair: GalaxyIndex) -> None:
    with pytest.raises(SearchError, match=r"no galaxy has the id 'north-800'. Did you mean 'north-\d"):
        pair.find_id("north-800")
    with pytest.raises(SearchError, match="has a row of that name without a vector: failed: no such file"):
        pair.find_id("north-7")
    with pytest.raises(SearchError, match="no galaxy here has a position"):
        GalaxyIndex.over([pair.rows.stores[1]]).find_place(1, 1, 1)
    with pytest.raises(SearchError, match=r"no survey is called 'nroth'. Did you mean 'north'"):
        pair.search(0, surveys=["nroth"])
    with pytest.raises(SearchError, match=r"redshfit < 1: no column is called 'redshfit'. Did you mean 'redshift'"):
        pair.search(0, where=["redshfit < 1"])
    with pytest.raises(SearchError, match="kind is text"):
        pair.search(0, where=["kind < 1"])
    assert pair.find_id("south-4", "south") == 79 + 4
    with pytest.raises(SearchError, match="south-4 is not in north, but in south"):
        pair.find_id("south-4", "north")


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.ones(5), r"shape \(5,\); L2-cls has 6 dimensions"),
        (np.ones((2, 6)), r"shape \(2, 6\)"),
        (np.zeros(6), "nothing but zeros"),
        (np.full(6, np.nan), "holds NaN"),
    ],
)
def test_vectors_that_cannot_be_compared(pair: GalaxyIndex, vector: np.ndarray, message: str) -> None:
    with pytest.raises(SearchError, match=message):
        pair.search(vector)


def test_a_vector_finds_the_row_that_it_is(pair: GalaxyIndex) -> None:
    found = pair.search(everything(pair)[1][11], 1)
    assert found.positions.tolist() == [11]
    assert found.query == {"vector": 6}


def test_models_are_not_mixed(tmp_path: Path) -> None:
    other = replace(PROVENANCE, model={**PROVENANCE.model, "weights_sha256": "aa" * 32})
    a = write_vectors(tmp_path / "a.h5", draw_clusters(9, 6, 1))
    b = write_vectors(tmp_path / "b.h5", draw_clusters(9, 6, 2), "south", provenance=other)
    with pytest.raises(ProvenanceMismatch, match=r"model.weights_sha256"):
        GalaxyIndex.over([a, b])
    with pytest.raises(StoreError, match="does not hold L1-cls"):
        GalaxyIndex.over([a], layer=1)


def test_the_part_of_a_fine_tuning_can_be_asked_for(tmp_path: Path) -> None:
    tuned = write_vectors(tmp_path / "a.h5", draw_clusters(6, 6, 1), part=["train", "", "val", "test", "val", ""])
    other = write_vectors(tmp_path / "b.h5", draw_clusters(6, 6, 2), "south")
    index = GalaxyIndex.over([tuned, other])
    assert set(index.search(8, 9, where=["part = val"]).positions) == {2, 4}
    assert set(index.search(8, 9, where=["part != train"]).positions) == {2, 3, 4}
    assert set(index.search(8, 9, where=["part = ''"]).positions) == {1, 5}
    with pytest.raises(SearchError, match="no column is called 'part'"):
        GalaxyIndex.over([other]).search(0, where=["part = val"])


def test_side_by_side_spaces_are_searched(tmp_path: Path) -> None:
    index = open_index([write_vectors(tmp_path / "a.h5", draw_clusters(20, 6, 1)).path], pooling="cls+patch-mean")
    assert index.rows.take_vectors(np.arange(2)).shape == (2, 12)
    assert len(index.search(0, 3).neighbours) == 3


def test_nothing_to_search(tmp_path: Path) -> None:
    empty = write_vectors(tmp_path / "a.h5", draw_clusters(2, 6, 1), failed=[0, 1])
    with pytest.raises(SearchError, match=r"no row of .* has a vector"):
        GalaxyIndex.over([empty])
    with pytest.raises(SearchError, match="no store was given"):
        GalaxyIndex.over([])
    with pytest.raises(SearchError, match="9 rows are too few to whiten by"):
        GalaxyIndex.over([write_vectors(tmp_path / "b.h5", draw_clusters(9, 6, 1))], whiten=True)
