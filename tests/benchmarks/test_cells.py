"""A cell's files: whole, or none; and its key, which changes with all that it follows from and with nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.cells import Cell, Outcome, read_outcome, require_outcome
from benchmarks.fits import find_frozen, identify_store
from benchmarks.suite import Suite
from embeddings.errors import SommelierError
from embeddings.layout import Vectors, write_store
from embeddings.provenance import Space
from embeddings.store import EmbeddingStore
from tests.benchmarks.suites import NORTH, make_keys, prepare_suite, write_survey, write_surveys

CELL = Cell("sdss", "ridge", 0, "L2-cls")
P = {"sdss-new": np.float32([[0.25, 0.75], [0.5, np.nan]]), "ukidss-new": np.zeros((0, 2), np.float32)}
OUTCOME = Outcome(CELL, "abc", 12, P, {"fit_seconds": 1.5, "device": "cpu"}, {"best_epoch": 3})


def test_a_cell_reads_back_as_it_was_written(tmp_path: Path) -> None:
    OUTCOME.write(tmp_path)
    read = read_outcome(tmp_path, CELL, "abc")
    assert read is not None
    assert (read.cell, read.key, read.n_train, read.costs, read.details) == (
        CELL, "abc", 12, {"fit_seconds": 1.5, "device": "cpu"}, {"best_epoch": 3}
    )  # fmt: skip
    assert [*read.predictions] == [*P]
    for name, values in P.items():
        np.testing.assert_array_equal(read.predictions[name], values)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "sdss--ridge--L2-cls--s0.json", "sdss--ridge--L2-cls--s0.npz",
    ]  # fmt: skip


def test_a_cell_of_another_key_or_none_is_none(tmp_path: Path) -> None:
    assert read_outcome(tmp_path, CELL) is None
    OUTCOME.write(tmp_path)
    assert read_outcome(tmp_path, CELL, "abd") is None
    assert read_outcome(tmp_path, CELL) is not None
    with pytest.raises(
        SommelierError, match=r"sdss--knn--s0\.json is missing or damaged\. Go on with: sommelier bench"
    ):
        require_outcome(tmp_path, Cell("sdss", "knn", 0))


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("torn", [b"", b"3", b"[]", b"null", b'{"format": 1', b"\xff\xfe", None])
def test_torn_files_are_no_cell(tmp_path: Path, suffix: str, torn: bytes | None) -> None:
    OUTCOME.write(tmp_path)
    file = tmp_path / (CELL.name + suffix)
    whole = file.read_bytes()
    file.write_bytes(whole[: 2 * len(whole) // 3] if torn is None else torn)
    assert read_outcome(tmp_path, CELL, "abc") is None
    OUTCOME.write(tmp_path)
    assert read_outcome(tmp_path, CELL, "abc") is not None


def test_predictions_that_the_record_does_not_know_are_no_cell(tmp_path: Path) -> None:
    OUTCOME.write(tmp_path)
    other = Outcome(CELL, "abd", 12, {"sdss-new": np.ones((1, 2), np.float32)})
    other.write(tmp_path / "there")
    (tmp_path / "there" / f"{CELL.name}.npz").rename(tmp_path / f"{CELL.name}.npz")
    assert read_outcome(tmp_path, CELL) is None


def test_a_kill_between_predictions_and_record_leaves_no_cell(tmp_path: Path) -> None:
    script = f"""
        import os, sys
        import numpy as np
        from pathlib import Path
        from benchmarks import cells
        from benchmarks.cells import Cell, Outcome
        cell = Cell("sdss", "ridge", 0, "L2-cls")
        one, two = (Outcome(cell, key, 12, {{"a": np.full((2, 2), value)}}) for key, value in (("abc", 1), ("abd", 2)))
        one.write(Path({str(tmp_path)!r}))
        cells.json.dumps = lambda *a, **k: os.kill(os.getpid(), 9)  # where the record is made
        two.write(Path({str(tmp_path)!r}))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -9
    with np.load(tmp_path / f"{CELL.name}.npz") as saved:
        assert saved["a"][0, 0] == 2
    assert read_outcome(tmp_path, CELL) is None  # nothing of the one, nothing of the other


def test_names_of_files_tell_cells_apart() -> None:
    cells = [Cell("a", "b", 1), Cell("a", "b", 1, "L2-cls"), Cell("a", "b", 1, "L2-cls", 1), Cell("a", "b", 11)]
    cells += [Cell("a", "b", 1, "", 1), Cell("a b", "c", 1)]
    assert len({cell.name for cell in cells}) == len(cells)
    assert cells[-1].name == "a_b--c--s1"
    assert Cell("a", "b", 1, "L2-cls").contender == Cell("a", "b", 2, "L2-cls").contender


# keys


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_surveys(tmp_path_factory.mktemp("surveys"))


def find_key(folder: Path, results: Path, cell: Cell = CELL, **changes: Any) -> str:
    """The key of a cell as the runner makes it."""
    bench = prepare_suite(Suite.model_validate(make_keys(folder, **changes)), results).bench
    vectors = find_frozen(bench, cell, Space.parse(cell.space))
    return bench.digest(cell, *sorted({identify_store(path, vectors.space) for path in vectors.list_files()}))


MATERIAL: dict[str, dict[str, Any]] = {
    "seed": {"cell": Cell("sdss", "ridge", 1, "L2-cls")},
    "space": {"cell": Cell("sdss", "ridge", 0, "L1-cls")},
    "budget": {"cell": Cell("sdss", "ridge", 0, "L2-cls", 50)},
    "model": {"models": {"mean": {"head": "mean"}, "ridge": {"head": "knn"}}},
    "split": {"split": {"val": 0.1, "test": 0.3, "seed": 1}},
    "training rows": {"seeds": {"redraw": 0.7}},
    "another survey": {"trainings": {"sdss": {"surveys": ["sdss", "decals"]}}},
    "zeroed": {"trainings": {"sdss": {"surveys": ["sdss"], "zeroed": ["sdss"]}}},
    "targets": {"targets": ["shape_*"]},
    "tests": {"tests": ["sdss"]},
    "labels": {"min_votes": 20},
}
IMMATERIAL: dict[str, dict[str, Any]] = {
    "words": {"title": "x", "question": "y"},
    "device": {"extraction": {"pools": ["cls"], "device": "cuda", "workers": 3}},
    "how many seeds": {"seeds": {"heads": 9}},
    "another model": {"models": {"ridge": {"head": "ridge"}, "knn": {"head": "knn"}}},
    "what else learns": {"models": {"ridge": {"head": "ridge", "trainings": ["sdss"], "seeds": 4, "budgets": False}}},
    "another training set": {
        "trainings": {"sdss": {"surveys": ["sdss"]}, "b": {"surveys": ["sdss"], "zeroed": ["sdss"]}}
    },
    "intervals": {"resamples": 20_000, "reference": {"model": "mean"}},
}


@pytest.fixture(scope="module")
def key(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return find_key(folder, tmp_path_factory.mktemp("results"))


@pytest.mark.parametrize("what", MATERIAL)
def test_keys_change_with_what_a_cell_follows_from(folder: Path, tmp_path: Path, key: str, what: str) -> None:
    assert find_key(folder, tmp_path, **MATERIAL[what]) != key


@pytest.mark.parametrize("what", IMMATERIAL)
def test_keys_change_with_nothing_else(folder: Path, tmp_path: Path, key: str, what: str) -> None:
    assert find_key(folder, tmp_path, **IMMATERIAL[what]) == key


def test_keys_follow_the_stores_and_not_where_they_are(folder: Path, tmp_path: Path, key: str) -> None:
    moved = write_surveys(tmp_path / "moved")
    assert find_key(moved, tmp_path / "a") == key
    with_labels = write_survey(moved / "sdss.h5", "sdss", NORTH, 1, catalog__arms_yes_fraction=np.full(240, 0.3))
    assert find_key(moved, tmp_path / "b") != key
    os.replace(write_surveys(tmp_path / "again") / "sdss.h5", with_labels)
    assert find_key(moved, tmp_path / "c") == key
    with EmbeddingStore.open(with_labels) as store:
        header, arrays = store.header, store.to_arrays()
        vectors = {space: store.vectors(*space).copy() for space in store.spaces}
    vectors[Space(2, "cls")][17, 0] += 0.5
    write_store(with_labels, header, arrays, {space: Vectors.of(values) for space, values in vectors.items()})
    assert find_key(moved, tmp_path / "d") != key


def test_records_are_json_that_anything_reads(tmp_path: Path) -> None:
    OUTCOME.write(tmp_path)
    record = json.loads((tmp_path / f"{CELL.name}.json").read_text())
    assert {name: record[name] for name in ("training", "model", "seed", "space", "budget", "n_train")} == {
        "training": "sdss", "model": "ridge", "seed": 0, "space": "L2-cls", "budget": 0, "n_train": 12,
    }  # fmt: skip
