import json
from pathlib import Path

import numpy as np
import pytest

from embeddings.errors import StoreError
from embeddings.layout import encode_strings
from embeddings.parts import write_part
from embeddings.summary import MAX_REASONS, summarise_store
from tests.embeddings.conftest import CLS, MEAN, PROVENANCE, write_small


def write_rows(store: Path, ids: str, status: list[str]) -> None:
    vectors = {space: np.zeros((len(ids), 4), np.float16) for space in (CLS, MEAN)}
    hashes = np.zeros((len(ids), 32), np.uint8)
    write_part(store, PROVENANCE, "spiral", list(ids), hashes, encode_strings(status), vectors)


def test_a_finished_store(small: Path) -> None:
    summary = summarise_store(small)
    assert summary == json.loads(json.dumps(summary))
    assert {name: summary[name] for name in ("rows", "ok", "failed", "finished", "survey")} == {
        "rows": 6,
        "ok": 5,
        "failed": 1,
        "finished": True,
        "survey": "spiral",
    }
    assert summary["store"] == str(small)
    assert summary["reasons"] == {"no such file": 1}
    assert summary["vectors"] == {"L2-cls": "4 x float16", "L2-patch-mean": "4 x float16"}
    assert summary["space_ids"] == {space.name: PROVENANCE.space_id(space) for space in (CLS, MEAN)}
    assert summary["cache_digest"] == PROVENANCE.cache_digest
    assert summary["provenance"]["model"] == PROVENANCE.model
    assert summary["provenance"]["run"] == [{"backbone": "tiny", "date": "2026-01-01"}]
    assert sorted(summary["columns"])[:2] == ["remark", "shape_flat"]
    assert [question["name"] for question in summary["questions"]] == ["shape", "size"]
    assert "parts_waiting" not in summary


def test_no_failures_no_reasons(tmp_path: Path) -> None:
    write_small(tmp_path / "s.h5")
    summary = summarise_store(tmp_path / "s.h5")
    assert (summary["ok"], summary["failed"]) == (6, 0)
    assert "reasons" not in summary


def test_the_most_common_reasons_come_first(tmp_path: Path) -> None:
    status = ["ok", *["failed: b"] * 3, "failed: a", *(f"failed: {number}" for number in range(20))]
    write_rows(tmp_path / "s.h5", "abcdefghijklmnopqrstuvwxy", status)
    summary = summarise_store(tmp_path / "s.h5")
    assert summary["failed"] == 24
    assert next(iter(summary["reasons"].items())) == ("b", 3)
    assert len(summary["reasons"]) == MAX_REASONS


def test_parts_of_an_unfinished_store(tmp_path: Path) -> None:
    write_rows(tmp_path / "s.h5", "abc", ["ok", "failed: x", "ok"])
    write_rows(tmp_path / "s.h5", "de", ["failed: x", "failed: y"])
    summary = summarise_store(tmp_path / "s.h5")
    assert (summary["rows"], summary["ok"], summary["failed"]) == (5, 2, 3)
    assert (summary["finished"], summary["parts_waiting"]) == (False, 2)
    assert summary["reasons"] == {"x": 2, "y": 1}


def test_a_row_in_two_parts_counts_once(tmp_path: Path) -> None:
    write_rows(tmp_path / "s.h5", "abc", ["ok", "failed: x", "ok"])
    write_rows(tmp_path / "s.h5", "bcde", ["ok", "failed: y", "ok", "failed: z"])  # whichever is read first
    summary = summarise_store(tmp_path / "s.h5")
    assert (summary["rows"], summary["ok"], summary["failed"]) == (5, 4, 1)
    assert summary["reasons"] == {"z": 1}


def test_a_store_with_parts_beside_it_is_not_finished(small: Path) -> None:
    write_rows(small, "xyz", ["ok", "ok", "ok"])
    summary = summarise_store(small)
    assert (summary["rows"], summary["finished"], summary["parts_waiting"]) == (6, False, 1)


def test_neither_a_store_nor_a_part(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"s\.h5 does not exist"):
        summarise_store(tmp_path / "s.h5")
