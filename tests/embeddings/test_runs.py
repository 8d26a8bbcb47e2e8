"""What a run's folder says: whether it is done, and which galaxies it knew."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import RunError
from embeddings.runs import PARTS, RunRecord, Split, find_run, share_parts
from tests.runs import write_run, write_split

NAN = float("nan")
NO_IMAGE = np.zeros((1, 32), np.uint8)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    digest = write_split(tmp_path / "run" / "split.parquet", ["a", "b", "c"], ["train", "val", "test"])
    return write_run(tmp_path / "run", digest)


def digest_of(*texts: str) -> np.ndarray:
    return np.frombuffer(b"".join(hashlib.sha256(text.encode()).digest() for text in texts), np.uint8).reshape(-1, 32)


def test_a_run_and_its_backbone_are_found(run: Path, tmp_path: Path) -> None:
    for folder in (run, run / "backbone", run / ".." / "run"):
        found = find_run(folder)
        assert found is not None
        assert found.folder == run.resolve()
        assert found.require_finished().record["epochs"] == 10
    assert find_run(tmp_path) is None
    (tmp_path / "other" / "backbone").mkdir(parents=True)
    assert find_run(tmp_path / "other" / "backbone") is None


def test_a_run_that_never_finished_says_how_far_it_is_and_how_to_go_on(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "0" * 64, status="training", epoch=3)
    with pytest.raises(RunError, match=r"3 of 10 epochs.*sommelier finetune .*/run/config\.yaml"):
        RunRecord.open(run).require_finished()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "no record of a fine-tune"),
        ('{"format": "galaxy-sommelier/head"}', "no record of a fine-tune"),
        ('{"format": "galaxy-sommelier/run", "version": "2.0"}', "version 2.0.*reads 1.0"),
        ('{"format": "galaxy-sommelier/run", "version": "1.3", "status": "finished"}', "lacks epoch, epochs, recipe"),
    ],
)
def test_records_that_are_none(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=message):
        find_run(tmp_path)


def test_a_folder_without_a_record(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"has no run\.json"):
        RunRecord.open(tmp_path)


def test_a_split_that_is_not_the_runs_own_is_refused(run: Path) -> None:
    assert RunRecord.open(run).read_split().parts.tolist() == ["train", "val", "test"]
    write_split(run / "split.parquet", ["a", "b", "c"], ["test", "val", "test"])
    with pytest.raises(RunError, match="not the split that the run used"):
        RunRecord.open(run).read_split()
    (run / "split.parquet").unlink()
    with pytest.raises(RunError, match=r"split\.parquet cannot be read.*Restore it"):
        RunRecord.open(run).read_split()


def test_tables_that_are_no_split(tmp_path: Path) -> None:
    file = tmp_path / "split.parquet"
    pq.write_table(pa.table({"id_str": ["a"]}), file)
    with pytest.raises(RunError, match="no split of a run"):
        Split.read(file)
    write_split(file, ["a"], ["holdout"])
    with pytest.raises(RunError, match="'holdout'; parts are train, val, test"):
        Split.read(file)


def test_rows_are_matched_by_id_position_and_image_bytes(tmp_path: Path) -> None:
    images = [digest.tobytes() for digest in digest_of("one", "two", "three")]
    arcsec = 1 / 3600
    write_split(tmp_path / "s.parquet", ["a", "b", "c"], ["train", "val", "test"], [10, 20, 30], [0, 0, 0], images)
    split = Split.read(tmp_path / "s.parquet")
    ids = np.array(["a", "x", "y", "z", "n"])
    ra = np.array([NAN, 20 + 1.9 * arcsec, NAN, 30 + 2.1 * arcsec, NAN])
    dec = np.array([NAN, 0, NAN, 0, NAN])
    found = split.match(ids, ra, dec, digest_of("4", "5", "three", "6", "7"))
    assert found.tolist() == ["train", "val", "test", "", ""]


def test_images_that_could_not_be_read_match_nothing(tmp_path: Path) -> None:
    write_split(tmp_path / "s.parquet", ["a"], ["train"])
    split = Split.read(tmp_path / "s.parquet")
    assert split.match(np.array(["b"]), np.array([NAN]), np.array([NAN]), NO_IMAGE).tolist() == [""]
    assert split.match(*(np.empty(0),) * 3, np.empty((0, 32), np.uint8)).tolist() == []


def test_train_wins_over_val_and_val_over_test(tmp_path: Path) -> None:
    # a row that is near two of the run's galaxies, and the image of a third
    images = [digest.tobytes() for digest in digest_of("one", "two", "three")]
    place = np.array([5.0]), np.array([5.0])
    write_split(tmp_path / "s.parquet", ["a", "b", "c"], ["test", "val", "train"], [5, 5, 9], [5, 5, 9], images)
    split = Split.read(tmp_path / "s.parquet")
    assert split.match(np.array(["x"]), *place, digest_of("new")).tolist() == ["val"]
    assert split.match(np.array(["x"]), *place, digest_of("three")).tolist() == ["train"]


@given(st.lists(st.tuples(st.sampled_from([*PARTS, ""]), st.integers(0, 5)), max_size=20))
def test_an_object_has_one_part(rows: list[tuple[str, int]]) -> None:
    parts = np.array([part for part, _ in rows], str)
    groups = np.array([group for _, group in rows], np.int64)
    order = [*PARTS, ""]
    expected = [min((p for p, g in rows if g == group), key=order.index) for _, group in rows]
    assert share_parts(parts, groups).tolist() == expected


def test_the_record_is_json_with_the_contracts_fields(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    assert RunRecord.open(run).to_provenance() == {"run": str(run.resolve()), "split_sha256": record["split_sha256"]}
