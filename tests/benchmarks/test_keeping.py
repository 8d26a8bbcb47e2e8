"""Results that are kept: found again by all that they follow from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_equal

from benchmarks import keeping
from benchmarks.ceilings import Ceiling
from benchmarks.keeping import CLASSES, Keeper, digest_call, digest_program, read_tree, write_tree
from benchmarks.resampling import Resampling
from benchmarks.statistics import Score
from embeddings.store import EmbeddingStore
from tests.benchmarks.stores import write_pictured

CALLS: list[Any] = []


def add(values: np.ndarray, number: float = 1.0, **named: Any) -> dict[str, Any]:
    CALLS.append(number)
    return {"sum": values + number, "words": ("a", None, [1, 2.5])}


def total(values: np.ndarray, watch: Callable[[], None]) -> float:
    watch()
    return float(values.sum())


@pytest.fixture(autouse=True)
def _forget() -> None:
    CALLS.clear()


def test_what_was_computed_is_found_again(tmp_path: Path) -> None:
    values = np.arange(3.0)
    first = Keeper(tmp_path / "kept").call(add, values, number=2.0)
    second = Keeper(tmp_path / "kept").call(add, values.copy(), number=2.0)
    assert CALLS == [2.0]
    assert_equal(second, first)
    assert type(second["words"]) is tuple


@pytest.mark.parametrize(
    "other",
    [
        (np.array([0.0, 1.0, 2.5]),), (np.arange(3.0).reshape(3, 1),), (np.arange(3.0, dtype=np.float32),),
        (np.arange(3.0), 2.0),
    ],
)  # fmt: skip
def test_what_was_given_otherwise_is_computed(tmp_path: Path, other: tuple[Any, ...]) -> None:
    keeper = Keeper(tmp_path)
    keeper.call(add, np.arange(3.0))
    keeper.call(add, *other)
    assert len(CALLS) == 2


def test_another_program_computes_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Keeper(tmp_path).call(add, np.arange(3.0))
    monkeypatch.setattr(keeping, "PROGRAM", "another")
    Keeper(tmp_path).call(add, np.arange(3.0))
    assert len(CALLS) == 2


def test_nothing_that_was_found_is_found_again(tmp_path: Path) -> None:
    calls = []

    def find(number: int) -> None:
        calls.append(number)

    for _ in range(2):
        assert Keeper(tmp_path).call(find, 3) is None
    assert calls == [3]


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "pickle", "foreign"])
def test_a_damaged_file_is_computed_anew(tmp_path: Path, harm: str) -> None:
    values = np.arange(300.0)
    first = Keeper(tmp_path).call(add, values)
    (file,) = tmp_path.iterdir()
    raw = bytearray(file.read_bytes())
    if harm == "cut":
        file.write_bytes(raw[: len(raw) // 2])
    elif harm == "flip":
        raw[raw.index((values[200:220] + 1).tobytes())] ^= 0xFF
        file.write_bytes(raw)
    elif harm == "empty":
        file.write_bytes(b"")
    elif harm == "pickle":  # is not loaded: it could do anything
        with file.open("wb") as out:
            np.savez(out, tree=np.array([{"a": 1}], object))
    else:
        write_tree(file, {"sum": 1})
        with file.open("wb") as out:
            np.savez(out, tree=np.frombuffer(b'{"class": "Path", "fields": ["/"]}', np.uint8))
    assert_equal(Keeper(tmp_path).call(add, values), first)
    assert len(CALLS) == 2
    assert_equal(Keeper(tmp_path).call(add, values), first)
    assert len(CALLS) == 2


def test_without_a_place_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # nobody can make a folder there
    for keeper in (Keeper(None), Keeper(tmp_path / "file" / "kept")):
        for _ in range(2):
            assert_equal(keeper.call(add, np.zeros(2))["sum"], np.ones(2))
        keeper.prune()
    assert len(CALLS) == 4


def test_an_error_is_raised_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="add") as caught:
        Keeper(tmp_path).call(add)
    assert caught.value.__context__ is None


def test_what_nobody_asked_for_is_removed(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    keeper.call(add, np.zeros(1))
    keeper.call(add, np.ones(1))
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".abc.npz.123.tmp").touch()  # of a killed process
    later = Keeper(tmp_path)
    later.call(add, np.ones(1))
    later.prune()
    assert len(list(tmp_path.glob("*.npz*"))) == 1
    assert (tmp_path / "notes.txt").exists()
    later.call(add, np.ones(1))
    assert len(CALLS) == 2


def test_who_looks_on_changes_nothing(tmp_path: Path) -> None:
    seen: list[str] = []
    for name in ("a", "b"):
        assert Keeper(tmp_path).call(total, np.ones(3), watch=partial(seen.append, name)) == 3
    assert seen == ["a"]
    assert Keeper(None).call(total, np.ones(3), watch=partial(seen.append, "c")) == 3
    assert seen == ["a", "c"]


def test_functions_and_names_of_what_is_given_are_told_apart() -> None:
    found = [digest_call(add, 1), digest_call(total, 1), digest_call(add, number=1), digest_call(add, other=1)]
    assert len({*found, digest_call(add, number=2)}) == 5


def test_the_program_is_its_sources_and_the_libraries_that_draw_and_integrate() -> None:
    root = Path(keeping.__file__).parents[1]
    expected = hashlib.sha256(f"{np.__version__} {scipy.__version__}".encode())
    for package in ("benchmarks", "embeddings", "heads"):
        files = [Path(folder) / name for folder, _, names in os.walk(root / package) for name in names]
        for file in sorted(file for file in files if file.suffix == ".py"):
            expected.update(file.read_bytes())
    assert expected.hexdigest() == keeping.PROGRAM == digest_program()


def test_stores_are_told_apart_by_what_is_in_them(tmp_path: Path) -> None:
    kinds = {"one": ("sdss", 8, 1), "same": ("sdss", 8, 1), "vectors": ("sdss", 8, 2), "rows": ("sdss", 7, 1)}
    kinds["survey"] = ("decals", 8, 1)
    found = {}
    for name, kind in kinds.items():
        (tmp_path / name).mkdir()
        write_pictured(tmp_path / name / "store.h5", *kind)
        with EmbeddingStore.open(tmp_path / name / "store.h5") as store:
            found[name] = digest_call(add, [store])
    assert found["one"] == found["same"]
    assert len(set(found.values())) == 4


def test_draws_are_told_apart() -> None:
    objects = np.array([1, 1, 2, 3])
    assert digest_call(add, Resampling(objects, 0, 10)) == digest_call(add, Resampling(objects + 7, 0, 10))
    others = [Resampling(objects, 1, 10), Resampling(objects, 0, 11), Resampling(np.arange(4), 0, 10)]
    assert digest_call(add, Resampling(objects, 0, 10)) not in {digest_call(add, other) for other in others}


def test_what_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    for value, what in ((tmp_path, "PosixPath"), (np.array(["a", None], object), "ndarray"), ({1, 2}, "set")):
        with pytest.raises(TypeError, match=f"{what} cannot be told"):
            digest_call(add, value)
    with pytest.raises(TypeError, match="set cannot be kept"):
        write_tree(tmp_path / "file.npz", {"a": {1, 2}})
    assert not list(tmp_path.iterdir())


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(),
    hnp.arrays(
        st.sampled_from(["<f8", "<f4", "<i8", "?", "<U3"]), hnp.array_shapes(min_dims=0, min_side=0, max_side=3)
    ),
)  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda deeper: st.one_of(
        st.lists(deeper, max_size=3),
        st.tuples(deeper, deeper),
        st.dictionaries(st.text() | st.integers(), deeper, max_size=3),
        st.builds(Ceiling, st.dictionaries(st.text(), deeper, max_size=2), st.integers()),
    ),
    max_leaves=8,
)


@given(tree=TREES)
def test_trees_are_read_as_they_were_written(tree: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("trees") / "tree.npz"
    write_tree(file, tree)
    _compare(read_tree(file), tree)


def _compare(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(other, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif isinstance(other, dict):
        assert list(one) == list(other)
        for key, value in other.items():
            _compare(one[key], value)
    elif isinstance(other, list | tuple):
        assert len(one) == len(other)
        for each, value in zip(one, other, strict=True):
            _compare(each, value)
    elif type(other) in CLASSES:
        _compare(vars(one), vars(other))
    else:
        np.testing.assert_equal(one, other)  # nan is nan


def test_scores_come_back_with_their_intervals(tmp_path: Path, rng: np.random.Generator) -> None:
    score = Score(0.5, rng.normal(0.5, 0.1, 500), 3, rng.normal(0, 0.01, 500), 2.0, "abc")
    write_tree(tmp_path / "score.npz", [score, Score(float("nan"), np.full(3, np.nan))])
    read, nothing = read_tree(tmp_path / "score.npz")
    assert_equal(asdict(read), asdict(score))
    assert read.interval == score.interval
    assert nothing.to_list() == [None, None, None]
    assert nothing.freedom == np.inf
