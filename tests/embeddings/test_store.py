import errno
import hashlib
import os
import pickle
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from embeddings import layout
from embeddings.errors import StoreError
from embeddings.layout import encode_strings
from embeddings.provenance import Provenance, Space
from embeddings.store import EmbeddingStore
from tests.embeddings.conftest import (
    CLS,
    MEAN,
    PROVENANCE,
    SHAPE,
    SIZE,
    altered,
    flip_byte,
    on_disk,
    write_small,
)

NAN = np.nan
BOTH = Space(2, "cls+patch-mean")
DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine thousand rows: three blocks of checksums; every seventh failed."""
    path = tmp_path_factory.mktemp("large") / "large.h5"
    write_small(path, [f"g{row}" for row in range(9000)], range(0, 9000, 7), embed_dim=3)
    return path


# a round trip


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = write_small(tmp_path / "s.h5", failed=[1, 4], columns={"mag": [1, 2, 3, 4, 5, 6]})
    with EmbeddingStore.open(tmp_path / "s.h5") as store:
        assert len(store) == 6
        assert store.survey == "spiral"
        assert store.provenance == PROVENANCE
        assert store.provenance.runs == PROVENANCE.runs
        assert store.ids.tolist() == list("abcdef")
        assert store.images.tolist() == [f"{name}.png" for name in "abcdef"]
        assert store.image_roots.tolist() == 6 * ["/images"]
        assert store.ok.tolist() == [True, False, True, True, False, True]
        assert store.status.tolist()[:2] == ["ok", "failed: no such file"]
        assert store.columns == ["mag"]
        np.testing.assert_array_equal(store.ra, np.linspace(0, 359, 6))
        np.testing.assert_array_equal(store.dec, np.linspace(-90, 90, 6))
        for space, values in written.items():
            np.testing.assert_array_equal(store.vectors(*space), values)
        assert store.verify() == []


def test_failed_rows_are_nan_and_skipped(tmp_path: Path) -> None:
    written = write_small(tmp_path / "s.h5", failed=[1, 4])
    with EmbeddingStore.open(tmp_path / "s.h5") as store:
        assert np.isnan(store.vectors()[[1, 4]]).all()
        ids, X, _, _ = store.table()
    assert ids.tolist() == ["a", "c", "d", "f"]
    np.testing.assert_array_equal(X, written[CLS][[0, 2, 3, 5]].astype(np.float32))
    assert X.dtype == np.float32


@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_vectors_are_stored_as_asked(tmp_path: Path, storage: str) -> None:
    provenance = Provenance(PROVENANCE.model, PROVENANCE.images, PROVENANCE.spaces, "fp32", storage)
    written = write_small(tmp_path / "s.h5", provenance=provenance)
    with EmbeddingStore.open(tmp_path / "s.h5") as store:
        assert store.vectors().dtype == np.dtype(storage)
        np.testing.assert_array_equal(store.read_vectors(CLS), written[CLS].astype(np.float32))


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@on_disk
@given(st.lists(texts, unique=True, min_size=1, max_size=20))
def test_any_ids_keep_their_vectors(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    path = tmp_path_factory.mktemp("ids") / "s.h5"
    written = write_small(path, ids)
    with EmbeddingStore.open(path) as store:
        table = store.table()
        assert table.ids.tolist() == ids
        np.testing.assert_array_equal(table.X, written[CLS].astype(np.float32))
        assert store.verify() == []


def test_eighteen_digits_stay_eighteen_digits(tmp_path: Path) -> None:
    ids = ["587722981736120347", "587722981736120348", "587722981736120349"]  # one float64 is all three
    write_small(tmp_path / "s.h5", ids, columns={"specobjid": [2**53 + 1, 2**62 + 1, 7]})
    with EmbeddingStore.open(tmp_path / "s.h5") as store:
        assert store.ids.tolist() == ids
        assert store.column("specobjid").tolist() == [9007199254740993, 4611686018427387905, 7]


def test_a_store_says_what_it_is(small: Path) -> None:
    with EmbeddingStore.open(small) as store:
        assert repr(store) == f"<EmbeddingStore {small}: 6 rows of spiral, L2-cls, L2-patch-mean>"
        assert store.targets == ["shape_round", "shape_flat", "size"]
        with pytest.raises(StoreError, match="the dataset image_hash is missing"):
            store.dataset("image_hash")


def test_columns_of_any_name_and_kind(tmp_path: Path) -> None:
    columns = {
        "mag/r": np.array([17.5, NAN], np.float32),
        "50%": np.array([1, 2], np.int16),
        "%2F": np.array([True, False]),
        ".": np.array([1, 2]),
        "sch\u00f6n": np.array(["\u00e9", None], object),
    }
    write_small(tmp_path / "s.h5", ["a", "b"], columns=columns)
    with EmbeddingStore.open(tmp_path / "s.h5") as store:
        assert sorted(store.columns) == sorted(columns)
        np.testing.assert_array_equal(store.column("mag/r"), [17.5, NAN])
        assert store.column("50%").dtype == np.int16
        assert store.column("%2F").tolist() == [True, False]
        assert store.column("sch\u00f6n").tolist() == ["\u00e9", ""]


def test_an_unknown_column_is_named(small: Path) -> None:
    with EmbeddingStore.open(small) as store, pytest.raises(StoreError, match=r"no column 'sise'.*'size'"):
        store.column("sise")


# memory maps


def test_vectors_are_a_memory_map_of_the_dataset(large: Path) -> None:
    with EmbeddingStore.open(large) as store:
        mapped = store.vectors(2, "patch-mean")
    assert isinstance(mapped, np.memmap)
    with h5py.File(large) as file:
        dataset = file["vectors/L2-patch-mean"]
        assert mapped.offset == dataset.id.get_offset()
        np.testing.assert_array_equal(mapped, dataset[()])  # though the store is closed
    assert not mapped.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        mapped[0] = 0


def test_an_open_store_keeps_its_own_vectors_when_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    old = write_small(path, columns={"generation": [1, 1, 1, 1, 1, 1]}, seed=1)
    with EmbeddingStore.open(path) as store:
        new = write_small(path, ids=list("uvwxyzab"), columns={"generation": 8 * [2]}, seed=2)
        np.testing.assert_array_equal(store.vectors(), old[CLS])
        np.testing.assert_array_equal(store.read_vectors(MEAN), old[MEAN].astype(np.float32))
        assert store.ids.tolist() == list("abcdef")
        assert store.column("generation").tolist() == 6 * [1]
        assert store.verify() == []
        with EmbeddingStore.open(path) as fresh:
            np.testing.assert_array_equal(fresh.vectors(), new[CLS])


def test_a_store_passes_to_another_process_by_its_path(small: Path) -> None:
    with EmbeddingStore.open(small) as store, pickle.loads(pickle.dumps(store)) as other:
        assert other.path == small
        assert other.ids.tolist() == list("abcdef")


def test_chunked_vectors_of_another_program_are_read(small: Path) -> None:
    with altered(small) as file:
        values, space_id = file["vectors/L2-cls"][()], file["vectors/L2-cls"].attrs["space_id"]
        del file["vectors/L2-cls"]
        file.create_dataset("vectors/L2-cls", data=values, chunks=(2, 4)).attrs["space_id"] = space_id
    with EmbeddingStore.open(small) as store:
        np.testing.assert_array_equal(store.vectors(), values)
        np.testing.assert_array_equal(store.read_vectors(CLS), values.astype(np.float32))
        assert store.verify() == []


# reading


def test_rows_are_chosen_by_a_mask(large: Path, rng: np.random.Generator) -> None:
    with h5py.File(large) as file:
        expected = file["vectors/L2-cls"][()].astype(np.float32)
    with EmbeddingStore.open(large) as store:
        block = np.arange(9000) // 4096 == 1  # all of one block of checksums, nothing of the others
        for mask in (rng.random(9000) < 0.3, np.ones(9000, bool), np.zeros(9000, bool), block, store.ok):
            X = store.read_vectors(CLS, mask)
            assert X.dtype == np.float32
            np.testing.assert_array_equal(X, expected[mask])
        np.testing.assert_array_equal(store.read_vectors(CLS), expected)


@pytest.mark.parametrize("rows", [np.arange(6), np.ones(5, bool), np.ones((6, 1), bool), np.array([0, 1])])
def test_rows_that_are_no_mask_are_refused(small: Path, rows: np.ndarray) -> None:
    with EmbeddingStore.open(small) as store, pytest.raises(StoreError, match="chosen by 6 booleans"):
        store.read_vectors(CLS, rows)


def test_two_poolings_side_by_side(large: Path) -> None:
    with h5py.File(large) as file:
        cls, mean = (file[f"vectors/L2-{pooling}"][()].astype(np.float32) for pooling in ("cls", "patch-mean"))
        keep = file["status"][()] == b"ok"
    with EmbeddingStore.open(large) as store:
        np.testing.assert_array_equal(store.read_vectors(BOTH), np.hstack([cls, mean]))
        np.testing.assert_array_equal(store.table(pooling="cls+patch-mean").X, np.hstack([cls, mean])[keep])
        with pytest.raises(StoreError, match=r"L2-cls\+patch-mean does not lie in .* use read_vectors"):
            store.vectors(pooling="cls+patch-mean")


def test_space_ids(small: Path) -> None:
    with EmbeddingStore.open(small) as store:
        cls, mean = PROVENANCE.space_id(CLS), PROVENANCE.space_id(MEAN)
        assert store.space_id(CLS) == cls
        assert store.space_id(BOTH) == hashlib.sha256(f'["{cls}","{mean}"]'.encode()).hexdigest()
    with h5py.File(small) as file:
        assert file["vectors/L2-patch-mean"].attrs["space_id"] == mean.encode()


def test_spaces_are_found_by_layer_and_pooling(tmp_path: Path) -> None:
    spaces = (Space(2, "patch-mean"), Space(7, "patch-mean"), Space(7, "cls"), Space(3, "cls"))
    provenance = Provenance(PROVENANCE.model, PROVENANCE.images, spaces)
    write_small(tmp_path / "s.h5", provenance=provenance)
    with EmbeddingStore.open(tmp_path / "s.h5") as store:
        assert store.space() == (7, "cls")  # the highest layer; cls where there is one
        assert store.space(2) == (2, "patch-mean")
        assert store.space(3, "cls") == (3, "cls")
        assert store.space(pooling="cls+patch-mean") == (7, "cls+patch-mean")
        with pytest.raises(StoreError, match="does not hold L3-patch-mean; it holds L2-patch-mean, L7-patch-mean"):
            store.space(3, "cls+patch-mean")
        with pytest.raises(StoreError, match="does not hold L12-cls"):
            store.vectors(12)


def test_a_pooling_of_a_later_version_is_read(tmp_path: Path) -> None:
    provenance = Provenance(PROVENANCE.model, PROVENANCE.images, (Space(2, "max"), Space(1, "cls")))
    written = write_small(tmp_path / "s.h5", provenance=provenance)
    with EmbeddingStore.open(tmp_path / "s.h5") as store:
        assert store.space() == (2, "max")
        np.testing.assert_array_equal(store.vectors(), written[Space(2, "max")])


# labels


def test_a_table_is_ids_vectors_labels_and_votes(small: Path) -> None:
    with EmbeddingStore.open(small) as store:
        table = store.table()
        ids, X, Y, votes = table
    assert ids.tolist() == ["a", "b", "d", "e", "f"]  # c failed
    assert table.targets == ["shape_round", "shape_flat", "size"]
    assert table.questions == (SHAPE, SIZE)
    assert len(X) == 5
    expected = [[0.75, 0.25, 1.5], [0, 1, -2], [0.5, 0.5, NAN], [NAN, NAN, 5], [0.9, 0.1, 6]]
    np.testing.assert_array_equal(Y, np.array(expected, np.float32))
    np.testing.assert_array_equal(votes, [[6, 2, NAN], [0, 5, NAN], [2, 2, NAN], [NAN, NAN, NAN], [9, 1, NAN]])


def test_a_table_of_some_targets(small: Path) -> None:
    with EmbeddingStore.open(small) as store:
        table = store.table(targets=["*_flat", "size"])
        assert table.targets == ["shape_flat", "size"]
        np.testing.assert_array_equal(table.Y[0], [0.25, 1.5])
        np.testing.assert_array_equal(table.votes[0], [2, NAN])


def test_a_table_with_enough_votes(small: Path) -> None:
    with EmbeddingStore.open(small) as store:
        _, _, Y, votes = store.table(min_votes=8)
    # totals of the good rows: 8, 5, 4, 3, 10; a value has none and stays
    np.testing.assert_array_equal(Y[:, 0], np.array([0.75, NAN, NAN, NAN, 0.9], np.float32))
    np.testing.assert_array_equal(votes[:, 1], [2, NAN, NAN, NAN, 1])
    np.testing.assert_array_equal(Y[:, 2], [1.5, -2, NAN, 5, 6])


def test_labels_of_all_rows(small: Path) -> None:
    with EmbeddingStore.open(small) as store:
        Y, _ = store.labels([SHAPE])
    np.testing.assert_array_equal(Y[:, 0], np.array([0.75, 0, 1, 0.5, NAN, 0.9], np.float32))


def test_a_question_without_its_column(tmp_path: Path) -> None:
    write_small(tmp_path / "s.h5", questions=[SIZE])
    with (
        EmbeddingStore.open(tmp_path / "s.h5") as store,
        pytest.raises(StoreError, match=r"s\.h5 has no column 'size'"),
    ):
        store.table()


# damage


def finds(path: Path, *patterns: str) -> None:
    """Verify lists exactly these."""
    with EmbeddingStore.open(path) as store:
        problems = store.verify()
    assert len(problems) == len(patterns), problems
    for pattern in patterns:
        assert any(problem.startswith(f"{path}: ") and re.search(pattern, problem) for problem in problems), problems


def test_a_flipped_byte_in_vectors(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    write_small(path, [str(row) for row in range(5000)], embed_dim=2)
    flip_byte(path, "vectors/L2-cls", 4500)
    message = r"s\.h5: vectors/L2-cls, rows 4096 to 4999: the bytes do not match their checksum.*extract again"
    with EmbeddingStore.open(path) as store:
        for read in (
            store.table,
            lambda: store.read_vectors(BOTH),
            lambda: store.read_vectors(CLS, np.zeros(5000, bool)),
        ):
            with pytest.raises(StoreError, match=message):
                read()
        assert len(store.read_vectors(MEAN)) == 5000  # the other space is whole
    finds(path, message)


@pytest.mark.parametrize(
    ("dataset", "read"),
    [
        ("id_str", lambda store: store.ids),
        ("status", lambda store: store.ok),
        ("ra", lambda store: store.ra),
        ("image_sha256", lambda store: store.dataset("image_sha256")),
        ("catalog/size", lambda store: store.table()),
        ("catalog/remark", lambda store: store.column("remark")),
    ],
)
def test_a_flipped_byte_beside_the_vectors(small: Path, dataset: str, read: object) -> None:
    flip_byte(small, dataset, 3)
    message = rf"small\.h5: {dataset}, rows 0 to 5: the bytes do not match"
    with EmbeddingStore.open(small) as store, pytest.raises(StoreError, match=message):
        read(store)  # type: ignore[operator]
    finds(small, message)


def test_verify_lists_all_damage(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    write_small(path, [str(row) for row in range(9000)], columns={"size": np.arange(9000)}, embed_dim=1)
    for dataset, row in (("vectors/L2-cls", 0), ("vectors/L2-cls", 8999), ("id_str", 5000), ("catalog/size", 4096)):
        flip_byte(path, dataset, row)
    finds(
        path,
        "vectors/L2-cls, rows 0 to 4095",
        "vectors/L2-cls, rows 8192 to 8999",
        "id_str, rows 4096 to 8191",
        "catalog/size, rows 4096 to 8191",
    )


def test_damaged_checksums_are_damage(small: Path) -> None:
    flip_byte(small, "checksums/dec", 0)
    finds(small, "dec, rows 0 to 5: the bytes do not match")


def test_missing_checksums_are_damage(small: Path) -> None:
    with altered(small) as file:
        del file["checksums/ra"], file["checksums/vectors/L2-cls"]
    finds(small, "checksums/ra is missing", "checksums/vectors/L2-cls is missing")
    with EmbeddingStore.open(small) as store, pytest.raises(StoreError, match="checksums/vectors/L2-cls is missing"):
        store.table()


@pytest.mark.parametrize(
    ("name", "value"),
    [("survey", "decals"), ("questions", "[]"), ("image_roots", '["/other"]'), ("attributes_digest", "0" * 64)],
)
def test_changed_attributes_are_found(small: Path, name: str, value: str) -> None:
    with altered(small) as file:
        file.attrs[name] = value
    finds(small, "root attributes changed after they were written")


def test_a_changed_provenance_is_found(small: Path) -> None:
    with altered(small) as file:
        file.attrs["provenance"] = file.attrs["provenance"].decode().replace("5e5e", "5f5e")
    finds(
        small, "root attributes changed", "cache_digest does not belong", *2 * ["has a space_id that does not belong"]
    )


def test_a_changed_space_id_is_found(small: Path) -> None:
    with altered(small) as file:
        file["vectors/L2-patch-mean"].attrs["space_id"] = PROVENANCE.space_id(CLS)
    finds(small, "vectors/L2-patch-mean has a space_id that does not belong")


@pytest.mark.parametrize(
    ("ids", "message"), [(list("abcdab"), "ids appear twice: a, b"), (["a", "", "c", "d", "e", "f"], "a row has no id")]
)
def test_ids_that_are_missing_or_twice_are_found(tmp_path: Path, ids: list[str], message: str) -> None:
    write_small(tmp_path / "s.h5", ids)
    finds(tmp_path / "s.h5", message)


def test_a_column_of_another_length_is_found(small: Path) -> None:
    values = np.arange(5, dtype=np.float64)
    with altered(small) as file:
        del file["catalog/size"], file["checksums/catalog/size"]
        file["catalog/size"] = values
        file["checksums/catalog/size"] = np.frombuffer(xxhash.xxh3_128(values.tobytes()).digest(), "u1")[None]
    finds(small, "catalog/size has 5 rows, id_str has 6")


def test_a_file_that_ends_while_it_is_open_is_not_read_beyond(small: Path) -> None:
    with EmbeddingStore.open(small) as store:
        os.truncate(small, 200)
        with pytest.raises(StoreError, match=r"small\.h5"):
            store.column("remark")
        assert any("the structure of the file cannot be read" in problem for problem in store.verify())


def test_what_cannot_be_read_does_not_hide_the_rest(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(np, "memmap", fail)
    finds(small, *(f"vectors/{name} cannot be read: .*Input/output error" for name in ("L2-cls", "L2-patch-mean")))


def test_a_damaged_group_is_named(small: Path) -> None:
    with h5py.File(small) as file:
        address = h5py.h5o.get_info(file["catalog"].id).addr
    content = bytearray(small.read_bytes())
    content[address + 10] ^= 1
    small.write_bytes(content)
    with EmbeddingStore.open(small) as store:
        with pytest.raises(StoreError, match=r"small\.h5: catalog cannot be read"):
            store.table()
        assert any("the structure of the file cannot be read" in problem for problem in store.verify())


# the format, as each version wrote it (make_fixture.py): these values are typed, not computed


@pytest.fixture(scope="module", params=["1.0", "1.1"])
def released(request: pytest.FixtureRequest) -> EmbeddingStore:
    return EmbeddingStore.open(DATA / f"store-{request.param}.h5")


def test_version_1_0_has_no_parts() -> None:
    store = EmbeddingStore.open(DATA / "store-1.0.h5")
    assert not store.has_parts
    assert store.parts.tolist() == [""] * 6


def test_version_1_1_keeps_its_parts() -> None:
    store = EmbeddingStore.open(DATA / "store-1.1.h5")
    assert store.has_parts
    assert store.parts.tolist() == ["train", "", "val", "test", "train", ""]
    assert store.provenance.runs[-1]["finetune"] == {"run": "/runs/full", "split_sha256": "5" * 64}


def test_the_version_has_its_fixture() -> None:
    assert (DATA / f"store-{'.'.join(map(str, layout.VERSION))}.h5").is_file(), "run tests/embeddings/make_fixture.py"


def test_a_released_version_stays_readable(released: EmbeddingStore) -> None:
    assert released.verify() == []
    assert (released.survey, len(released)) == ("sdss", 6)
    assert released.ids.tolist() == [
        "587722981736120347",
        "587722981736120348",
        "J0001+00",
        "galaxie-\u00e9",
        "g5",
        "g6",
    ]
    assert released.status.tolist() == ["ok", "ok", "failed: no such file", "ok", "ok", "ok"]
    np.testing.assert_array_equal(released.ra, [0, 10.5, 180.25, NAN, 359.5, 42])
    np.testing.assert_array_equal(released.dec, [-90, -1.25, 0, NAN, 45, 90])
    assert released.images.tolist() == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"]
    assert released.image_roots.tolist() == 3 * ["/data/images"] + 3 * ["/data/more images"]
    expected = hashlib.sha256(b"587722981736120347").digest()
    assert released.dataset("image_sha256")[0].tobytes() == expected


def test_a_released_version_keeps_its_provenance(released: EmbeddingStore) -> None:
    provenance = released.provenance
    assert [space.name for space in released.spaces] == ["L1-cls", "L2-cls", "L2-patch-mean"]
    assert (provenance.precision, provenance.storage) == ("fp32", "float16")
    assert provenance.runs[0]["date"] == "2026-01-01T00:00:00+00:00"
    # sha256sum of the canonical JSON, made by hand from FORMAT.md
    assert provenance.cache_digest == "30b76674dce6dcda16e2fce44ba0fb46f9a682e144602b6a35f9c0b4a69853c6"
    assert released.space_id(Space(2, "cls")) == "79ba0ef62ff75f5d3cd608f489f290993f99076cd62b9d9c835d13561a1069f2"


def test_a_released_version_keeps_its_vectors(released: EmbeddingStore) -> None:
    vectors = released.vectors()
    assert isinstance(vectors, np.memmap)
    assert vectors.dtype == np.float16
    np.testing.assert_array_equal(vectors[0], [100, 100.25, 100.5, 100.75])
    assert np.isnan(vectors[2]).all()
    np.testing.assert_array_equal(vectors[5], [105, 105.25, 105.5, 105.75])
    np.testing.assert_array_equal(released.read_vectors(Space(1, "cls"))[1], [1, 1.25, 1.5, 1.75])
    both = released.read_vectors(BOTH, released.ok)
    np.testing.assert_array_equal(both[4], [105, 105.25, 105.5, 105.75, 205, 205.25, 205.5, 205.75])


def test_a_released_version_keeps_its_labels(released: EmbeddingStore) -> None:
    table = released.table()
    assert table.targets == ["shape_round", "shape_flat", "bar_yes", "bar_no"]
    assert [question.parent for question in table.questions] == [None, "shape_flat"]
    np.testing.assert_array_equal(
        table.Y,
        [
            [0.75, 0.25, 0.5, 0.5],
            [0, 1, 0.125, 0.875],
            [0.5, 0.5, 0.25, 0.75],
            [0.25, 0.75, 1, 0],
            [1, 0, NAN, NAN],
        ],
    )
    np.testing.assert_array_equal(table.votes[:, :2], [[30, 10], [0, 20], [20, 20], [10, 30], [40, 0]])
    assert np.isnan(table.votes[:, 2:]).all()
    many = released.table(targets=["shape_*"], min_votes=40)
    np.testing.assert_array_equal(many.Y, [[0.75, 0.25], [NAN, NAN], [0.5, 0.5], [0.25, 0.75], [1, 0]])
    with pytest.raises(StoreError, match=r"no votes for 'bar' \(no column 'bar_total-votes'\)"):
        released.table(min_votes=40)
    assert released.column("specobjid").tolist() == [9007199254740993, 1152921504606846977, 3, 4, 5, 6]
    assert released.column("edge").tolist() == [True, False, False, True, False, True]
    assert released.column("remark").tolist() == ["", "Ringgalaxie, sch\u00f6n", "c", "d", "e", "f"]
    np.testing.assert_array_equal(released.column("mag/r"), np.array([17.5, 16.25, 15, NAN, 14, 13], np.float32))


def test_ids_are_strings_even_where_they_look_like_numbers() -> None:
    assert encode_strings([587722981736120347, "0017"]).tolist() == [b"587722981736120347", b"0017"]
