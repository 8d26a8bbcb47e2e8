"""Near-identical images: every pair, once, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from embeddings import duplicates
from embeddings.duplicates import find_duplicates
from embeddings.errors import SearchError, StoreError
from embeddings.search.whitening import Whitening, transform
from tests.embeddings.search.stores import draw_clusters, write_vectors


def test_all_pairs_are_found_once_as_a_full_comparison_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X = draw_clusters(90, 6, 1)
    X[70:80] = X[:10] * 1.01 + 0.001
    a, b = (
        write_vectors(tmp_path / "a.h5", X[:60], "north", failed=[20]),
        write_vectors(tmp_path / "b.h5", X[60:], "south"),
    )
    rows = np.concatenate([a.table().X, b.table().X])
    ids = [*a.ids[a.ok].tolist(), *b.ids.tolist()]
    units = transform(rows, Whitening.fit(rows)).astype(np.float64)
    full = units @ units.T
    expected = {frozenset((ids[i], ids[j])) for i, j in zip(*np.nonzero(np.triu(full, 1) >= 0.85), strict=True)}
    assert len(expected) >= 10
    monkeypatch.setattr(duplicates, "BLOCK", 7)  # blocks that do not divide the rows
    monkeypatch.setattr(duplicates, "WIDTH", 13)
    done: list[tuple[int, int]] = []
    pairs = find_duplicates([a, b], report=lambda *counts: done.append(counts))
    columns = pairs.to_columns()
    found = [frozenset(pair) for pair in zip(columns["id_a"], columns["id_b"], strict=True)]
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert columns["similarity"] == sorted(columns["similarity"], reverse=True)
    assert done[-1] == (89, 89)
    assert (pairs.whitened, pairs.threshold) == (True, 0.85)
    across = find_duplicates([a, b], report=lambda *counts: done.append(counts), between=True)
    kept = pairs.rows.store[pairs.a] != pairs.rows.store[pairs.b]
    assert 0 < kept.sum() < len(pairs)
    assert list(zip(across.a, across.b, strict=True)) == list(zip(pairs.a[kept], pairs.b[kept], strict=True))
    assert across.similarity == pytest.approx(pairs.similarity[kept], abs=1e-6)
    assert done[-1] == (89, 89)


def test_between_stores_their_own_rows_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("north", "south", "west")
    stores = [write_vectors(tmp_path / f"{n}.h5", np.ones((5, 2), np.float32), n) for n in names]
    monkeypatch.setattr(duplicates, "BLOCK", 4)  # blocks that would reach into the next store
    pairs = find_duplicates(stores, between=True)
    assert len(pairs) == 3 * 25
    assert (pairs.rows.store[pairs.a] < pairs.rows.store[pairs.b]).all()
    with pytest.raises(SearchError, match="one store: between stores there is nothing to compare"):
        find_duplicates(stores[:1], between=True)


def test_few_rows_are_compared_as_they_are(tmp_path: Path) -> None:
    X = np.array([[1, 0, 0], [1, 0.001, 0], [1, 0.2, 0], [0, 0, 1]], np.float32)
    pairs = find_duplicates([write_vectors(tmp_path / "a.h5", X)])
    assert (pairs.whitened, pairs.threshold) == (False, 0.998)
    assert [(a, b) for a, b in zip(pairs.a.tolist(), pairs.b.tolist(), strict=True)] == [(0, 1)]
    # 1 / sqrt(1.04) = 0.9806
    assert len(find_duplicates([write_vectors(tmp_path / "b.h5", X)], threshold=0.98)) == 3
    with pytest.raises(SearchError, match="4 rows are too few to whiten by"):
        find_duplicates([write_vectors(tmp_path / "c.h5", X)], whiten=True)
    with pytest.raises(SearchError, match="the threshold is a cosine, from -1 to 1, not 85"):
        find_duplicates([write_vectors(tmp_path / "d.h5", X)], threshold=85)


def test_the_table(tmp_path: Path) -> None:
    X = np.array([[1, 0], [0, 1]], np.float32)
    stores = [write_vectors(tmp_path / f"{name}.h5", X, name) for name in ("north", "south")]
    path = find_duplicates(stores).write(tmp_path / "pairs.parquet")
    table = pq.read_table(path).to_pydict()
    assert list(table) == ["id_a", "survey_a", "id_b", "survey_b", "similarity"]
    assert set(zip(table["id_a"], table["survey_a"], table["id_b"], table["survey_b"], strict=True)) == {
        ("north-0", "north", "south-0", "south"), ("north-1", "north", "south-1", "south"),
    }  # fmt: skip
    assert table["similarity"] == pytest.approx([1, 1])
    find_duplicates(stores[:1]).write(path)  # its own kind is replaced, and no pair is a table too
    assert pq.read_table(path).num_rows == 0
    for foreign in (stores[0].path, tmp_path / "notes.txt"):
        foreign.touch()
        before = foreign.read_bytes()
        with pytest.raises(StoreError, match=r"would be lost|would lose it"):
            find_duplicates(stores).write(foreign)
        assert foreign.read_bytes() == before


def test_no_rows(tmp_path: Path) -> None:
    empty = write_vectors(tmp_path / "a.h5", np.ones((2, 3), np.float32), failed=[0, 1])
    assert len(find_duplicates([empty])) == 0
