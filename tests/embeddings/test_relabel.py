import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embeddings.errors import BusyError, StoreError
from embeddings.parts import FileLock, lock_path
from embeddings.questions import Question
from embeddings.relabel import relabel_store, take_rows
from embeddings.store import EmbeddingStore
from tests.embeddings.conftest import CLS, SIZE, flip_byte, names_in, write_small

NAN = np.nan
BAR = Question("bar", ("yes", "no"))


def ids_of(text: str) -> np.ndarray:
    return np.array(list(text), object)


def test_labels_are_replaced_and_vectors_stay(small: Path) -> None:
    with EmbeddingStore.open(small) as store:
        before = {space: np.array(store.vectors(*space)) for space in store.spaces}
        attributes = (store.provenance, store.provenance.runs, store.survey, store.header.image_roots)
        core = {name: values for name, values in store.to_arrays().items() if not name.startswith("catalog/")}
    columns = {  # in another order than the store, with a galaxy that it does not hold, without its b and e
        "bar_yes_fraction": np.array([0.1, 0.2, 0.3, 0.4, 0.5]),
        "bar_no_fraction": np.array([0.9, 0.8, 0.7, 0.6, 0.5]),
        "bar_yes": np.array([1, 2, 3, 4, 5]),
        "bar_total-votes": np.array([10, 20, 30, 40, 50]),
        "class": np.array(["Sa", "Sb", "Sc", None, "E0"], object),
    }
    assert relabel_store(small, columns, ids_of("fxdca"), [BAR]) == 4
    with EmbeddingStore.open(small) as store:
        assert store.verify() == []
        assert store.questions == (BAR,)
        assert sorted(store.columns) == sorted(columns)
        assert (store.provenance, store.provenance.runs, store.survey, store.header.image_roots) == attributes
        for name, values in core.items():
            np.testing.assert_array_equal(store.dataset(name), values)
        for space, values in before.items():
            np.testing.assert_array_equal(store.vectors(*space), values)
        Y, votes = store.labels([BAR])
        expected = [[0.5, 0.5], [NAN, NAN], [0.4, 0.6], [0.3, 0.7], [NAN, NAN], [0.1, 0.9]]  # a to f
        np.testing.assert_array_equal(Y, np.array(expected, np.float32))
        np.testing.assert_array_equal(votes[:, 0], [5, NAN, 4, 3, NAN, 1])
        assert store.column("class").tolist() == ["E0", "", "", "Sc", "", "Sa"]
        np.testing.assert_array_equal(store.column("bar_total-votes"), [50, NAN, 40, 30, NAN, 10])
    assert names_in(small.parent) == ["small.h5"]


def test_a_full_match_keeps_integers(small: Path) -> None:
    relabel_store(small, {"n": np.array([6, 5, 4, 3, 2, 1])}, ids_of("fedcba"), [])
    with EmbeddingStore.open(small) as store:
        assert store.column("n").dtype == np.int64
        assert store.column("n").tolist() == [1, 2, 3, 4, 5, 6]
        assert store.questions == ()


def test_positions_are_replaced_where_the_catalog_has_some(small: Path) -> None:
    relabel_store(small, {}, ids_of("ab"), [], (np.array([11.5, NAN]), np.array([-3.5, NAN])))
    with EmbeddingStore.open(small) as store:
        np.testing.assert_array_equal(store.ra, [11.5, *np.linspace(0, 359, 6)[1:]])
        np.testing.assert_array_equal(store.dec, [-3.5, *np.linspace(-90, 90, 6)[1:]])


def test_digits_of_large_integers_survive_missing_rows(small: Path) -> None:
    numbers = np.array([587722981736120347, 587722981736120348])  # one float64 is both
    relabel_store(small, {"specobjid": numbers, "n": np.array([1, 2])}, ids_of("ab"), [])
    with EmbeddingStore.open(small) as store:
        assert store.column("specobjid").tolist() == ["587722981736120347", "587722981736120348", "", "", "", ""]
        np.testing.assert_array_equal(store.column("n"), [1, 2, NAN, NAN, NAN, NAN])


def refused(path: Path, error: type[Exception], pattern: str, ids: str = "abc") -> None:
    before = path.read_bytes()
    with pytest.raises(error, match=pattern):
        relabel_store(path, {"n": np.arange(len(ids))}, ids_of(ids), [])
    assert path.read_bytes() == before


def test_a_catalog_of_other_galaxies_is_refused(small: Path) -> None:
    refused(small, StoreError, r"none of the 6 ids of .*\(ids here: a, b, c; there: x, y, z\)", "xyz")
    with pytest.raises(StoreError, match="none of the 6 ids"):
        relabel_store(small, {}, ids_of(""), [])


def test_a_catalog_with_an_id_twice_is_refused(small: Path) -> None:
    refused(small, StoreError, "1 ids twice", "aba")


@pytest.mark.parametrize("dataset", ["vectors/L2-patch-mean", "image_sha256"])
def test_damage_is_not_given_new_checksums(small: Path, dataset: str) -> None:
    flip_byte(small, dataset, 1)
    refused(small, StoreError, f"{dataset}, rows 0 to 5: the bytes do not match")
    assert names_in(small.parent) == ["small.h5"]


def test_a_store_that_is_being_made_is_left_alone(small: Path) -> None:
    for shared in (False, True):
        with FileLock(lock_path(small), shared):
            refused(small, BusyError, f"process {os.getpid()} on ")
    relabel_store(small, {}, ids_of("a"), [])


def test_a_missing_store_gets_no_lock(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        relabel_store(tmp_path / "folder" / "s.h5", {}, ids_of("a"), [])
    assert names_in(tmp_path) == []


def test_what_a_killed_run_left_is_removed(small: Path) -> None:
    leftovers = [".small.h5.123.tmp", ".small.h5.99999.tmp"]
    others = [".other.h5.123.tmp", ".small.h5.x.tmp", "small.h5.123.tmp", ".small.h5.v2.123.tmp"]
    for name in leftovers + others:
        (small.parent / name).write_text("")
    relabel_store(small, {}, ids_of("a"), [])
    assert names_in(small.parent) == sorted([*others, "small.h5"])


def test_many_rows_keep_their_own_labels(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "s.h5"
    ids = [f"g{row}" for row in range(5000)]
    written = write_small(path, ids, embed_dim=2)
    order = rng.permutation(5000)[:4000]
    relabel_store(path, {"size": order.astype(float)}, np.array(ids, object)[order], [SIZE])
    with EmbeddingStore.open(path) as store:
        table = store.table()
    np.testing.assert_array_equal(table.X, written[CLS].astype(np.float32))
    numbers = np.array([int(id_str[1:]) for id_str in table.ids])  # each galaxy's label is the number in its id
    labelled = np.isin(numbers, order)
    np.testing.assert_array_equal(table.Y[labelled, 0], numbers[labelled])
    assert np.isnan(table.Y[~labelled]).all()
    assert labelled.sum() == 4000


columns = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1).map(lambda v: np.array(v, np.int64)),
    st.lists(st.integers(0, 2**64 - 1), min_size=1).map(lambda v: np.array(v, np.uint64)),
    st.lists(st.integers(-128, 127), min_size=1).map(lambda v: np.array(v, np.int8)),
    st.lists(st.floats(), min_size=1).map(lambda v: np.array(v, np.float64)),
    st.lists(st.booleans(), min_size=1).map(np.array),
    st.lists(st.text("abc\u00e9"), min_size=1).map(np.array),
    st.lists(st.text("abc\u00e9"), min_size=1).map(lambda v: np.array(v, object)),
    st.lists(st.text("abc"), min_size=1).map(lambda v: np.array([t.encode() for t in v])),
)


@given(columns, st.data())
@example(np.array([2**53, -(2**53)]), None)
@example(np.array([2**53 + 1]), None)
@example(np.array([-(2**53) - 1, 0]), None)
@example(np.array([2**64 - 1], np.uint64), None)
def test_rows_taken_are_rows_given(values: np.ndarray, data: st.DataObject | None) -> None:
    n_rows = len(values)
    rows = data.draw(st.lists(st.integers(-1, n_rows - 1), min_size=1)) if data else [-1, *range(n_rows)]
    taken = take_rows(values, np.array(rows))
    assert len(taken) == len(rows)
    if -1 not in rows:
        assert taken.dtype == values.dtype
    for value, row in zip(taken.tolist(), rows, strict=True):
        if row == -1:
            assert value in ("", b"") or value != value
        elif isinstance(value, str) and values.dtype.kind in "iu":  # as text, every digit
            assert int(value) == int(values[row])
        else:
            assert value == values[row] or (value != value and values[row] != values[row])
            if values.dtype.kind in "iu":
                assert int(value) == int(values[row])


def test_integers_that_a_float_can_hold_stay_numbers() -> None:
    assert take_rows(np.array([2**53, -(2**53)]), np.array([0, 1, -1])).dtype == np.float64


def test_no_rows_at_all_are_all_missing() -> None:
    assert np.isnan(take_rows(np.empty(0), np.array([-1, -1]))).tolist() == [True, True]
