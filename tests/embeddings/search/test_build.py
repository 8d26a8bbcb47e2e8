"""Index folders: their kinds, the recall on the label, what is added, what survives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from embeddings.errors import BusyError, SearchError, SommelierError
from embeddings.parts import FileLock
from embeddings.search import GalaxyIndex, engine, open_index
from embeddings.search.build import build_index, quicken
from embeddings.search.engine import choose_cells, choose_kind, recall_of
from embeddings.store import EmbeddingStore
from tests.embeddings.conftest import names_in
from tests.embeddings.search.stores import cosines, draw_clusters, write_vectors

N, WIDTH = 3000, 16
pytest.importorskip("faiss", reason="no faiss")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[EmbeddingStore]:
    folder = tmp_path_factory.mktemp("stores")
    rng = np.random.default_rng(5)
    return [
        write_vectors(
            folder / f"{survey}.h5", draw_clusters(N, WIDTH, seed), survey, failed=[3], redshift=rng.random(N)
        )
        for survey, seed in (("north", 1), ("south", 2))
    ]


def read_all(stores: list[EmbeddingStore]) -> tuple[list[str], np.ndarray]:
    ids = [id_str for store in stores for id_str in store.ids[store.ok].tolist()]
    return ids, np.concatenate([store.table().X for store in stores])


def measure_recall(index: GalaxyIndex, stores: list[EmbeddingStore], n_queries: int = 300) -> float:
    """Of new vectors, by another way than the build's: full sorts in float64."""
    ids, X = read_all(stores)
    queries = draw_clusters(n_queries, WIDTH, 77)
    _, positions = index.neighbours(queries, 10)
    names = index.rows.text("id_str", positions.ravel())
    found = np.array(names).reshape(positions.shape)
    shares = [
        np.isin(np.array(ids)[np.argsort(-cosines(X, query))[:10]], near).mean()
        for query, near in zip(queries, found, strict=True)
    ]
    return float(np.mean(shares))


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "pq"])
def test_the_recall_on_the_label_is_the_recall(kind: str, stores: list[EmbeddingStore], tmp_path: Path) -> None:
    built = build_index(stores, tmp_path / "index", recall=0.9, kind=kind)
    label = built.index.label
    assert (label["kind"], built.rows, built.added, built.note) == (kind, 2 * N - 2, 2 * N - 2, "")
    assert label["recall_at_10"] + 2 * label["standard_error"] >= 0.9
    assert label["queries"] == (2 * N - 2) // 10 // 2  # a tenth is held out, half of it measures
    assert measure_recall(built.index, stores) == pytest.approx(label["recall_at_10"], abs=0.03)
    # the similarities are cosines, whatever the codes
    ids, X = read_all(stores)
    found = built.index.search(built.index.find_id("south-17"), 5)
    truth = cosines(X, X[ids.index("south-17")])
    expected = [truth[ids.index(row["id_str"])] for row in found.neighbours]
    np.testing.assert_allclose([row["similarity"] for row in found.neighbours], expected, atol=1e-5)
    assert "south-17" not in {row["id_str"] for row in found.neighbours}
    assert found.to_dict()["index"]["recall_at_10"] == label["recall_at_10"]


def test_a_recall_that_is_not_reached_is_said(
    stores: list[EmbeddingStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "HNSW_MAX_EFFORT", 2)
    built = build_index(stores, tmp_path / "index", recall=0.999, kind="hnsw")
    assert built.index.label["recall_at_10"] < 0.99
    assert (
        f"the recall@10 is {built.index.label['recall_at_10']:.3f}, below the 0.999 that were asked for" in built.note
    )


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "pq", "exact"])
@pytest.mark.parametrize("few", [10, 20_000])
def test_filtered_searches_are_exact(
    kind: str, few: int, stores: list[EmbeddingStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embeddings.search.index.FEW_ROWS", few)  # both ways of an ivf
    index = build_index(stores, tmp_path / "index", recall=0.2, kind=kind).index
    ids, X = read_all(stores)
    redshift = np.concatenate([store.column("redshift")[store.ok] for store in stores])
    near = cosines(X, X[0])
    near[redshift >= 0.05] = -9
    near[0] = -9
    found = index.search(index.find_id("north-0"), 10, where=["redshift < 0.05"])
    assert [row["id_str"] for row in found.neighbours] == [ids[i] for i in np.argsort(-near)[:10]]
    assert found.searched == (redshift < 0.05).sum()
    assert found.label["filtered"] == "exact"


def test_more_neighbours_than_cells_hold_are_found(stores: list[EmbeddingStore], tmp_path: Path) -> None:
    index = build_index(stores, tmp_path / "index", recall=0.2, kind="ivf").index
    found = index.search(0, 2 * N - 3)
    assert len({row["id_str"] for row in found.neighbours}) == 2 * N - 3


def test_kinds_are_chosen_by_size() -> None:
    assert choose_kind("auto", 49_999, 384).kind == "exact"
    assert "50000" in choose_kind("auto", 49_999, 384).reason
    assert choose_kind("auto", 240_000, 384, memory=2**34).kind == "ivf"
    # 4 x 384 x 10^7 bytes are 14.3 GiB
    large = choose_kind("auto", 10_000_000, 384, memory=2**34)
    assert (large.kind, "14.3 GiB" in large.reason) == ("pq", True)
    assert choose_kind("hnsw", 100, 384).kind == "hnsw"
    with pytest.raises(SearchError, match="100 rows are too few for kind ivf"):
        choose_kind("ivf", 100, 384)
    assert [choose_cells(n) for n in (1, 240_000, 1_000_000)] == [4, 2048, 4096]


def test_without_faiss_the_search_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "load_faiss", lambda: None)
    choice = choose_kind("auto", 10**6, 384)
    assert choice.kind == "exact"
    assert "pip install" in choice.reason
    with pytest.raises(SearchError, match="an index of kind ivf needs FAISS: pip install"):
        choose_kind("ivf", 10**6, 384)


def test_recalls_are_shares_of_the_truth() -> None:
    assert recall_of(np.array([[1, 2], [3, -1]]), np.array([[2, 1], [4, 3]])).tolist() == [1.0, 0.5]


@pytest.mark.parametrize("kind", ["exact", "ivf", "hnsw"])
def test_new_rows_are_added_and_old_ones_stay(kind: str, stores: list[EmbeddingStore], tmp_path: Path) -> None:
    folder = tmp_path / "index"
    first = build_index(stores[:1], folder, kind=kind)
    before = read_record(folder)
    again = build_index(stores[:1], folder, kind=kind)
    assert (again.added, again.rows) == (0, N - 1)
    assert {k: v for k, v in read_record(folder).items() if k != "date"} == {
        k: v for k, v in before.items() if k != "date"
    }
    both = build_index(stores, folder, kind=kind)
    assert (both.added, both.rows) == (N - 1, 2 * N - 2)
    np.testing.assert_array_equal(both.index.rows.row[: N - 1], first.index.rows.row)
    assert {"index.json"} < set(names_in(folder)) - {".lock"}
    assert len([name for name in names_in(folder) if name.endswith((".npy", ".faiss"))]) == (
        1 if kind == "exact" else 2
    )
    assert measure_recall(both.index, stores) > 0.9
    if kind != "exact":
        assert measure_recall(both.index, stores) == pytest.approx(both.index.label["recall_at_10"], abs=0.04)


def test_rows_that_are_unlike_the_first_lower_the_label_or_raise_the_effort(tmp_path: Path) -> None:
    first = write_vectors(tmp_path / "a.h5", draw_clusters(4000, WIDTH, 1), "north")
    index = build_index([first], tmp_path / "index", recall=0.95, kind="ivf").index
    assert index.engine is not None
    effort = index.engine.effort
    noise = np.random.default_rng(0).normal(size=(3000, WIDTH)).astype(np.float32)
    second = write_vectors(tmp_path / "b.h5", noise, "south")
    added = build_index([first, second], tmp_path / "index", recall=0.95, kind="ivf").index
    assert added.engine is not None
    assert added.engine.effort > effort
    exact = GalaxyIndex.over([first, second])
    found, truth = (name_neighbours(one, noise[:200]) for one in (added, exact))
    assert recall_of(found, truth).mean() > 0.93


def name_neighbours(index: GalaxyIndex, queries: np.ndarray) -> np.ndarray:
    _, positions = index.neighbours(queries, 10)
    return np.array(index.rows.text("id_str", positions.ravel())).reshape(positions.shape)


def read_record(folder: Path) -> dict[str, object]:
    record = json.loads((folder / "index.json").read_bytes())
    assert isinstance(record, dict)
    return record


def test_an_index_older_than_its_store_says_so_and_catches_up(tmp_path: Path) -> None:
    X = draw_clusters(300, WIDTH, 1)
    store = write_vectors(tmp_path / "s.h5", X[:200])
    build_index([store], tmp_path / "index")
    order = np.random.default_rng(0).permutation(300)  # new rows come between, as a larger catalog has them
    names = [f"north-{row}" for row in order]
    larger = write_vectors(tmp_path / "s.h5", X[order], ids=names, images=images_of(store, order))
    older = r"is older than .*s.h5: that has 300 rows now, and had 200. Add what is new: sommelier index"
    with pytest.raises(SearchError, match=older):
        open_index([tmp_path / "index"])
    built = build_index([larger], tmp_path / "index")
    assert (built.added, built.rows) == (100, 300)
    found = built.index.search(built.index.find_id("north-250"), 5)
    expected = [f"north-{row}" for row in np.argsort(-cosines(X, X[250]))[1:6]]
    assert [row["id_str"] for row in found.neighbours] == expected


def images_of(store: EmbeddingStore, order: np.ndarray) -> np.ndarray:
    """The digests that the first rows had, and others for the rest, in another order."""
    old = store.dataset("image_sha256")
    rest = np.random.default_rng(3).integers(1, 256, (len(order) - len(old), 32)).astype(np.uint8)
    return np.concatenate([old, rest])[order]


def test_new_labels_leave_an_index_valid_and_are_seen(tmp_path: Path) -> None:
    from embeddings.relabel import relabel_store

    X = draw_clusters(100, WIDTH, 1)
    store = write_vectors(tmp_path / "s.h5", X, kind=["a"] * 100)
    build_index([store], tmp_path / "index")
    relabel_store(store.path, {"kind": np.array(["b"] * 50 + ["c"] * 50)}, store.ids, ())
    index = open_index([tmp_path / "index"])
    assert index.search(0, 99, where=["kind = 'c'"]).searched == 50


def test_rows_that_are_gone_or_changed_make_it_anew(tmp_path: Path) -> None:
    X, said = draw_clusters(100, WIDTH, 1), []
    build_index([write_vectors(tmp_path / "s.h5", X)], tmp_path / "index")
    fewer = write_vectors(tmp_path / "s.h5", X[:60])
    built = build_index([fewer], tmp_path / "index", say=said.append)
    assert (built.added, built.rows) == (60, 60)
    assert any("built anew" in text for text in said)
    changed = write_vectors(tmp_path / "s.h5", X[:60][::-1], images=np.full((60, 32), 7, np.uint8))
    assert build_index([changed], tmp_path / "index").added == 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"whiten": True}, "whiten False there, True here"),
        ({"recall": 0.5}, "recall_asked 0.95 there, 0.5 here"),
        ({"pooling": "patch-mean"}, "space L2-cls there, L2-patch-mean here"),
    ],
)
def test_other_options_need_another_folder(options: dict[str, object], message: str, tmp_path: Path) -> None:
    store = write_vectors(tmp_path / "s.h5", draw_clusters(100, WIDTH, 1))
    build_index([store], tmp_path / "index")
    before = (tmp_path / "index/index.json").read_bytes()
    with pytest.raises(SommelierError, match=message):
        build_index([store], tmp_path / "index", **options)  # type: ignore[arg-type]
    assert (tmp_path / "index/index.json").read_bytes() == before


def test_whitening_is_kept_for_what_is_added(tmp_path: Path) -> None:
    X = draw_clusters(300, WIDTH, 1)
    first = write_vectors(tmp_path / "a.h5", X[:200], "north")
    index = build_index([first], tmp_path / "index", whiten=True).index
    assert index.whitening is not None
    second = write_vectors(tmp_path / "b.h5", 5 + X[200:], "south")
    added = build_index([first, second], tmp_path / "index", whiten=True).index
    assert added.whitening is not None
    np.testing.assert_array_equal(added.whitening.matrix, index.whitening.matrix)
    assert added.search(0, 3).neighbours == index.search(0, 3).neighbours


def test_what_is_no_index(tmp_path: Path) -> None:
    store = write_vectors(tmp_path / "s.h5", draw_clusters(100, WIDTH, 1))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SearchError, match=r"empty is no index: it has no index.json"):
        open_index([tmp_path / "empty"])
    with pytest.raises(SommelierError, match="holds other things"):
        build_index([store], tmp_path)
    build_index([store], tmp_path / "index")
    with pytest.raises(SearchError, match="search one index, or one or more stores, not both"):
        open_index([tmp_path / "index", store.path])
    with pytest.raises(SearchError, match="choose them when it is built"):
        open_index([tmp_path / "index"], whiten=True)
    with FileLock(tmp_path / "index/.lock"), pytest.raises(BusyError):
        build_index([store], tmp_path / "index")
    record = read_record(tmp_path / "index")
    damaged = shutil.copytree(tmp_path / "index", tmp_path / "damaged")
    (damaged / record["files"]["rows"]).write_bytes(b"")  # type: ignore[index]
    with pytest.raises(SearchError, match=r"damaged is damaged: .*Remove it and build it again"):
        open_index([damaged])
    for change, message in (({"format": "x"}, "does not say format"), ({"version": "2.0"}, "has index version 2.0")):
        (damaged / "index.json").write_text(json.dumps({**record, **change}))
        with pytest.raises(SearchError, match=message):
            open_index([damaged])
    store.path.rename(tmp_path / "moved.h5")
    with pytest.raises(SearchError, match=r"s.h5, which .*index is an index of, is not there"):
        open_index([tmp_path / "index"])


def test_what_cannot_be_had_claims_no_folder(tmp_path: Path) -> None:
    store = write_vectors(tmp_path / "s.h5", draw_clusters(20, WIDTH, 1))
    for options, message in (({"kind": "ivf"}, "too few rows|too few for"), ({"whiten": True}, "too few to whiten by")):
        with pytest.raises(SearchError, match=message):
            build_index([store], tmp_path / "index", **options)  # type: ignore[arg-type]
        assert not (tmp_path / "index").exists()
    assert build_index([store], tmp_path / "index").rows == 20


def test_a_build_removes_its_own_leavings_and_nothing_else(tmp_path: Path) -> None:
    store = write_vectors(tmp_path / "s.h5", draw_clusters(20, WIDTH, 1))
    build_index([store], tmp_path / "index")
    before = names_in(tmp_path / "index")
    mine, killed = (
        ["v.npy", "notes.npz", "other.faiss"],
        [f"rows-{'0' * 16}.npy", "rows-draft.npy", ".index.json.7.tmp"],
    )
    for name in (*mine, *killed):
        (tmp_path / "index" / name).write_text("x")
    build_index([store], tmp_path / "index")
    assert sorted(names_in(tmp_path / "index")) == sorted([*before, *mine])


def test_a_recall_that_could_not_be_measured_at_first_is_later(tmp_path: Path) -> None:
    stores = [write_vectors(tmp_path / f"{name}.h5", draw_clusters(300, WIDTH, seed), name)
              for seed, name in enumerate("ab")]  # fmt: skip
    assert "recall_at_10" not in build_index(stores[:1], tmp_path / "index", kind="hnsw").index.label
    label = build_index(stores, tmp_path / "index", recall=0.95, kind="hnsw").index.label
    assert (label["queries"], label["recall_at_10"] > 0.9) == (150, True)


def test_an_index_moves_with_its_stores(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    store = write_vectors(tmp_path / "here/s.h5", draw_clusters(100, WIDTH, 1))
    build_index([store], tmp_path / "here/index")
    (tmp_path / "here").rename(tmp_path / "there")
    assert len(open_index([tmp_path / "there/index"])) == 100


def test_many_rows_without_a_folder_are_searched_fast_too(
    stores: list[EmbeddingStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = GalaxyIndex.over(stores)
    assert quicken(exact) is exact
    monkeypatch.setattr(engine, "EXACT_ROWS", 1000)
    fast = quicken(exact)
    assert fast.label["kind"] == "ivf"
    assert measure_recall(fast, stores) > 0.9


KILLED = """
import sys
from embeddings.search.build import build_index
from embeddings.store import EmbeddingStore
print("ready", flush=True)
build_index([EmbeddingStore.open(path) for path in sys.argv[2:]], sys.argv[1], kind="ivf")
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_the_old_index_or_the_new(stores: list[EmbeddingStore], tmp_path: Path) -> None:
    folder = tmp_path / "index"
    build_index(stores[:1], folder, kind="ivf")
    reference = tmp_path / "reference"
    shutil.copytree(folder, reference)
    record = read_record(reference)
    # the copy lies beside the original, so that relative paths hold
    words = [sys.executable, "-c", KILLED, str(folder), *(str(store.path) for store in stores)]
    rng, old, new = np.random.default_rng(0), 0, 0
    for _ in range(12):
        shutil.rmtree(folder)
        shutil.copytree(reference, folder)
        process = subprocess.Popen(words, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3])
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.5))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        index = open_index([folder])
        old, new = old + (len(index) == record["rows"]), new + (len(index) == 2 * N - 2)
        assert len(index.search(0, 3).neighbours) == 3
    assert old + new == 12
    assert old
    assert build_index(stores, folder, kind="ivf").rows == 2 * N - 2
    assert len([name for name in names_in(folder) if name.endswith((".npy", ".faiss", ".tmp"))]) == 2
