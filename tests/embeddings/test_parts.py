import fcntl
import hashlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from embeddings import files, layout
from embeddings.errors import BusyError, ProvenanceMismatch, StoreError
from embeddings.layout import Header, encode_strings
from embeddings.parts import (
    FileLock,
    Source,
    join_sources,
    list_parts,
    lock_path,
    parts_folder,
    take_picks,
    write_part,
)
from embeddings.provenance import Space
from embeddings.relabel import relabel_store
from embeddings.store import EmbeddingStore
from tests.embeddings.conftest import CLS, MEAN, PROVENANCE, SIZE, flip_byte, names_in, plain_user


def vector_of(id_str: str, image: str, space: Space) -> np.ndarray:
    """A vector that only this image of this galaxy has in this space; exact in float16."""
    return np.frombuffer(hashlib.sha256(f"{id_str} {image} {space.name}".encode()).digest()[:4], np.uint8).astype("f2")


def hash_of(image: str) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(image.encode()).digest(), np.uint8)


def write_rows(store: Path, rows: Sequence[tuple[str, str]], failed: str = "", run: str = "1") -> Path:
    """A part of these (id, image) rows; those whose id is in `failed` failed."""
    vectors = {space: np.array([vector_of(i, image, space) for i, image in rows]) for space in (CLS, MEAN)}
    bad = [id_str in failed for id_str, _ in rows]
    for values in vectors.values():
        values[bad] = np.nan
    status = encode_strings(["failed: x" if b else "ok" for b in bad])
    hashes = np.array([hash_of(image) for _, image in rows])
    provenance = replace(PROVENANCE, runs=({"run": run},))
    return write_part(store, provenance, "spiral", [id_str for id_str, _ in rows], hashes, status, vectors)


def arrays_of(ids: Sequence[str], columns: dict[str, Any] | None = None) -> dict[str, np.ndarray]:
    """What a catalog gives to a join."""
    n_rows = len(ids)
    return {
        "id_str": encode_strings(ids),
        "survey": encode_strings(["spiral"] * n_rows),
        "ra": np.zeros(n_rows),
        "dec": np.zeros(n_rows),
        "image": encode_strings([f"{id_str}.png" for id_str in ids]),
        "image_root": np.zeros(n_rows, np.uint16),
        **{f"catalog/{name}": values for name, values in (columns or {}).items()},
    }


def join(store: Path, ids: Sequence[str], picks: Sequence[tuple[int, int]], sources: Sequence[Source]) -> None:
    header = Header("spiral", PROVENANCE, (), ("/images",))
    join_sources(store, header, arrays_of(ids), sources, np.array(picks), 4)


def open_parts(store: Path) -> list[Source]:
    return [Source.open(path, PROVENANCE) for path in list_parts(store)]


# parts


def test_a_part_is_named_after_its_ids(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "s.h5", [("a", "1"), ("b", "1")])
    assert path == tmp_path / "s.h5.parts" / f"part-{hashlib.sha256(b'a' + bytes(1) + b'b').hexdigest()[:16]}.h5"
    assert list_parts(tmp_path / "s.h5") == [path]
    assert write_rows(tmp_path / "s.h5", [("a", "2"), ("b", "2")]) == path  # the same rows again replace it
    assert write_rows(tmp_path / "s.h5", [("b", "1"), ("a", "1")]) != path
    assert len(names_in(parts_folder(tmp_path / "s.h5"))) == 2


def test_a_part_has_only_what_a_part_has(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "s.h5", [("a", "1"), ("b", "1")], failed="b")
    with h5py.File(path) as file:
        assert file.attrs["kind"] == b"part"
        assert json.loads(file.attrs["provenance"])["run"] == [{"run": "1"}]
        assert set(file) == {"id_str", "image_sha256", "status", "vectors", "checksums"}
        assert file["id_str"][()].tolist() == [b"a", b"b"]
        assert file["status"][()].tolist() == [b"ok", b"failed: x"]
        assert file["image_sha256"][1].tobytes() == hashlib.sha256(b"1").digest()
        np.testing.assert_array_equal(file["vectors/L2-cls"][0], vector_of("a", "1", CLS))
        assert np.isnan(file["vectors/L2-cls"][1]).all()
    with EmbeddingStore.open(path) as store:
        assert store.verify() == []


def test_parts_are_listed_without_what_is_being_written(tmp_path: Path) -> None:
    assert list_parts(tmp_path / "s.h5") == []
    folder = parts_folder(tmp_path / "s.h5")
    folder.mkdir()
    for name in ("part-b.h5", "part-a.h5", ".part-c.h5.7.tmp", "notes.txt"):
        (folder / name).write_text("")
    assert [path.name for path in list_parts(tmp_path / "s.h5")] == ["part-a.h5", "part-b.h5"]


def test_lengths_that_differ_are_refused(tmp_path: Path) -> None:
    for n_hashes, n_status, n_vectors in ((3, 2, 2), (2, 1, 2), (2, 2, 3), (2, 2, 1)):
        hashes, status = np.zeros((n_hashes, 32), np.uint8), encode_strings(["ok"] * n_status)
        vectors = {CLS: np.zeros((2, 4)), MEAN: np.zeros((n_vectors, 4))}
        with pytest.raises(StoreError, match=f"was given {n_hashes * n_status * n_vectors // 4} rows, id_str 2"):
            write_part(tmp_path / "s.h5", PROVENANCE, "spiral", ["a", "b"], hashes, status, vectors)
    assert list_parts(tmp_path / "s.h5") == []


# sources


def test_a_source_is_what_the_part_says(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "s.h5", [("b", "1"), ("a", "1")], failed="b", run="7")
    source = Source.open(path, PROVENANCE)
    assert source.ids == ["b", "a"]
    assert source.status.tolist() == [b"failed: x", b"ok"]
    assert source.provenance.runs == ({"run": "7"},)
    np.testing.assert_array_equal(source.image_sha256, [hash_of("1"), hash_of("1")])
    np.testing.assert_array_equal(source.vectors[MEAN][np.array([1, 1])], 2 * [vector_of("a", "1", MEAN)])


@pytest.mark.parametrize("dataset", ["vectors/L2-patch-mean", "image_sha256"])
def test_a_damaged_source_is_refused(tmp_path: Path, dataset: str) -> None:
    path = write_rows(tmp_path / "s.h5", [("a", "1"), ("b", "1")])
    flip_byte(path, dataset, 1)
    with pytest.raises(StoreError, match=rf"(?s){dataset}, rows 0 to 1: .*Remove {re.escape(str(path))} and run"):
        Source.open(path, PROVENANCE)


@pytest.mark.parametrize(
    "change", [{"precision": "bf16"}, {"storage": "float32"}, {"model": {}}, {"images": {}}, {"spaces": (CLS,)}]
)
def test_a_source_of_another_making_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = write_rows(tmp_path / "s.h5", [("a", "1")])
    with pytest.raises(ProvenanceMismatch, match="was made in another way"):
        Source.open(path, replace(PROVENANCE, **change))
    Source.open(path, replace(PROVENANCE, runs=()))


@given(st.data())
def test_picks_are_rows_of_their_arrays(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(["f2", "S3", "u1"]))
    lengths = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    tail = data.draw(st.sampled_from([(), (2,)]))
    number = iter(range(1000))
    arrays = [np.array([[next(number)] * (tail[0] if tail else 1) for _ in range(n)]) for n in lengths]
    values = [(a if tail else a[:, 0]).astype(dtype) for a in arrays]
    pick = st.integers(0, len(lengths) - 1).flatmap(lambda s: st.tuples(st.just(s), st.integers(0, lengths[s] - 1)))
    picks = data.draw(st.lists(pick, max_size=20))
    taken = take_picks(values, np.array(picks, dtype=np.int64).reshape(-1, 2))
    assert taken.shape == (len(picks), *tail)
    assert taken.tolist() == [values[source][row].tolist() for source, row in picks]


def test_picks_of_texts_take_the_longest() -> None:
    values = [np.array([b"ok", b"ok"]), np.array([b"failed: x"])]
    assert take_picks(values, np.array([[1, 0], [0, 1]])).tolist() == [b"failed: x", b"ok"]


# the join


def test_a_join_takes_rows_in_the_order_of_the_catalog(tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    write_rows(store, [("c", "1"), ("a", "1"), ("x", "1")], run="1")
    write_rows(store, [("b", "1"), ("a", "2")], failed="b", run="2")
    sources = open_parts(store)
    first = next(number for number, source in enumerate(sources) if source.ids[0] == "c")
    second = 1 - first
    join(store, "abc", [(second, 1), (second, 0), (first, 0)], sources)
    with EmbeddingStore.open(store) as joined:
        assert joined.verify() == []
        assert joined.ids.tolist() == ["a", "b", "c"]
        assert joined.status.tolist() == ["ok", "failed: x", "ok"]
        for space in (CLS, MEAN):
            rows = joined.vectors(*space)
            np.testing.assert_array_equal(rows[0], vector_of("a", "2", space))
            assert np.isnan(rows[1]).all()
            np.testing.assert_array_equal(rows[2], vector_of("c", "1", space))
        expected = [hash_of("2"), hash_of("1"), hash_of("1")]
        np.testing.assert_array_equal(joined.dataset("image_sha256"), expected)
        assert sorted(run["run"] for run in joined.provenance.runs) == ["1", "2"]
    # the part with x, which this catalog does not name, waits for a catalog that does
    assert [source.ids for source in open_parts(store)] == [["c", "a", "x"]]


def test_only_runs_that_gave_rows_are_recorded(tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    for run, id_str in enumerate("abc"):
        write_rows(store, [(id_str, "1")], run=str(run))
    sources = open_parts(store)
    place = {source.ids[0]: number for number, source in enumerate(sources)}
    join(store, "ca", [(place["c"], 0), (place["a"], 0)], sources)
    with EmbeddingStore.open(store) as joined:
        assert sorted(run["run"] for run in joined.provenance.runs) == ["0", "2"]


def test_new_rows_are_joined_to_an_old_store(tmp_path: Path) -> None:
    store = tmp_path / "s.h5"
    write_rows(store, [("a", "1"), ("b", "1")])
    join(store, "ab", [(0, 0), (0, 1)], open_parts(store))
    write_rows(store, [("c", "1")])
    (tmp_path / ".s.h5.4711.tmp").write_text("a killed join")
    sources = [Source.open(store, PROVENANCE), *open_parts(store)]
    join(store, "bca", [(0, 1), (1, 0), (0, 0)], sources)
    with EmbeddingStore.open(store) as joined:
        assert joined.ids.tolist() == ["b", "c", "a"]
        np.testing.assert_array_equal(joined.vectors(), [vector_of(i, "1", CLS) for i in "bca"])
    assert names_in(tmp_path) == ["s.h5"]


def test_many_rows_of_many_parts(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "CHECKSUM_ROWS", 16)  # many blocks
    monkeypatch.setattr(files, "sync_path", lambda path: None)
    store, ids = tmp_path / "s.h5", [f"g{row}" for row in range(200)]
    groups = np.array_split(rng.permutation(200), 11)
    for group in groups:
        write_rows(store, [(ids[row], "1") for row in group])
    sources = open_parts(store)
    place = {id_str: (n, row) for n, source in enumerate(sources) for row, id_str in enumerate(source.ids)}
    join(store, ids, [place[id_str] for id_str in ids], sources)
    with EmbeddingStore.open(store) as joined:
        assert joined.verify() == []
        np.testing.assert_array_equal(joined.vectors(), [vector_of(id_str, "1", CLS) for id_str in ids])


def test_a_failed_join_keeps_the_parts_and_the_old_store(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = small.read_bytes()
    part = write_rows(small, [("x", "1")])
    sources = open_parts(small)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="No space left on device"):
        join(small, "x", [(0, 0)], sources)
    assert small.read_bytes() == before
    assert list_parts(small) == [part]
    assert names_in(small.parent) == ["small.h5", "small.h5.parts"]


def test_more_parts_than_files_that_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "sync_path", lambda path: None)
    store, ids = tmp_path / "s.h5", [f"g{row:03}" for row in range(80)]
    for id_str in ids:
        write_rows(store, [(id_str, "1")])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 40, hard))
    try:
        sources = open_parts(store)
        place = {source.ids[0]: number for number, source in enumerate(sources)}
        join(store, ids, [(place[id_str], 0) for id_str in ids], sources)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with EmbeddingStore.open(store) as joined:
        np.testing.assert_array_equal(joined.vectors(), [vector_of(id_str, "1", CLS) for id_str in ids])


# any order of work


class Work(RuleBasedStateMachine):
    """Parts are written, joined in any order, relabelled; ids, vectors and labels must never part."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Path(self.folder.name) / "s.h5"
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(layout, "CHECKSUM_ROWS", 3)
        self.patch.setattr(files, "sync_path", lambda path: None)  # nobody pulls the plug here
        self.images: dict[str, set[str]] = {}  # embedded versions of each galaxy's image, parts and store together
        self.joined: dict[str, str] = {}  # the image in the store
        self.order: list[str] = []
        self.labels: dict[str, float] = {}

    def teardown(self) -> None:
        self.patch.undo()
        self.folder.cleanup()

    ids = st.sampled_from([f"58772298173612034{digit}" for digit in range(8)])

    @initialize(ids=st.lists(ids, unique=True, min_size=1, max_size=4))
    def begin(self, ids: list[str]) -> None:
        self.embed(ids, "1")

    @rule(ids=st.lists(ids, unique=True, min_size=1, max_size=5), image=st.sampled_from("123"))
    def embed(self, ids: list[str], image: str) -> None:
        write_rows(self.store, [(id_str, image) for id_str in ids])

    @precondition(lambda self: list_parts(self.store) or self.store.exists())
    @rule(data=st.data())
    def join(self, data: st.DataObject) -> None:
        paths = [self.store] * self.store.exists() + list_parts(self.store)
        sources = [Source.open(path, PROVENANCE) for path in paths]
        places = [(number, row) for number, source in enumerate(sources) for row in range(len(source.ids))]
        chosen: dict[str, tuple[int, int]] = {}
        for number, row in data.draw(st.permutations(places)):
            chosen[sources[number].ids[row]] = (number, row)
        images = {hash_of(image).tobytes(): image for image in "123"}
        self.joined = {i: images[sources[n].image_sha256[row].tobytes()] for i, (n, row) in chosen.items()}
        self.order = list(chosen)
        self.labels = {id_str: float(int(id_str[-1])) for id_str in self.order}
        columns = {"size": np.array([self.labels[id_str] for id_str in self.order])}
        header = Header("spiral", PROVENANCE, (SIZE,), ("/images",))
        picks = np.array([chosen[id_str] for id_str in self.order])
        join_sources(self.store, header, arrays_of(self.order, columns), sources, picks, 4)
        assert list_parts(self.store) == []

    @precondition(lambda self: self.joined)
    @rule(data=st.data(), offset=st.integers(1, 5))
    def relabel(self, data: st.DataObject, offset: int) -> None:
        known = data.draw(st.lists(st.sampled_from(self.order), unique=True, min_size=1))
        catalog = data.draw(st.permutations([*known, "not there"]))
        sizes = [0.0 if i == "not there" else int(i[-1]) + 10.0 * offset for i in catalog]
        relabel_store(self.store, {"size": np.array(sizes)}, np.array(catalog, object), [SIZE])
        self.labels = {i: size for i, size in zip(catalog, sizes, strict=True) if i != "not there"}

    @invariant()
    def rows_are_whole(self) -> None:
        if not self.joined:
            return
        with EmbeddingStore.open(self.store) as store:
            assert store.verify() == []
            table = store.table(pooling="cls+patch-mean")
            expected = [[vector_of(i, self.joined[i], space) for space in (CLS, MEAN)] for i in self.order]
            assert table.ids.tolist() == self.order
            np.testing.assert_array_equal(table.X, np.reshape(expected, (len(self.order), 8)))
            np.testing.assert_array_equal(table.Y[:, 0], [self.labels.get(i, np.nan) for i in self.order])


Work.TestCase.settings = settings(max_examples=20, stateful_step_count=8)
TestWork = Work.TestCase


# locks

HOLD = """
import sys
from pathlib import Path
from embeddings.parts import FileLock
with FileLock(Path(sys.argv[1]), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def holder(path: Path, shared: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lock until it is told to leave."""
    command = [sys.executable, "-c", HOLD, str(path), "shared" if shared else "exclusive"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def is_free(path: Path, shared: bool = False) -> bool:
    try:
        with FileLock(path, shared):
            return True
    except BusyError:
        return False


def test_an_exclusive_lock_is_alone_and_says_whose_it_is(tmp_path: Path) -> None:
    path = lock_path(tmp_path / "s.h5")
    assert path == tmp_path / ".s.h5.lock"
    with holder(path) as process:
        owner = re.escape(f"process {process.pid} on {socket.gethostname()} is at work here (lock {path})")
        for shared in (False, True):
            with pytest.raises(BusyError, match=owner):
                FileLock(path, shared).acquire()
        process.communicate("leave\n")
        assert process.returncode == 0
    assert names_in(tmp_path) == []  # the last to leave removes it
    assert is_free(path)


def test_a_shared_lock_has_room_for_more_but_not_for_an_exclusive_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path, shared=True) as process:
        assert is_free(path, shared=True)
        assert path.exists()  # the one who stays needs it
        assert not is_free(path)
        with FileLock(path, shared=True):
            assert not is_free(path)
            owners = [json.loads(line)["pid"] for line in path.read_text().splitlines()]
            assert owners == [process.pid, os.getpid(), os.getpid()]  # in order of arrival


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    for shared in (False, True):
        with holder(path, shared) as process:
            assert not is_free(path)
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert path.exists()  # with the dead owner's name in it
            with FileLock(path):
                owners = [json.loads(line)["pid"] for line in path.read_text().splitlines()]
                assert owners == [os.getpid()]


def test_a_lock_is_free_after_an_exception(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    with pytest.raises(ValueError, match="stop"), FileLock(path):
        raise ValueError("stop")
    assert is_free(path)
    assert not path.exists()


def test_a_lock_is_not_taken_twice(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock") as lock:
        assert not is_free(tmp_path / "lock")
        with pytest.raises(BusyError, match=f"process {os.getpid()}"):
            lock.acquire()
    lock.release()  # once more does no harm
    assert is_free(tmp_path / "lock")


def test_a_lock_file_that_was_removed_meanwhile_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between our open and our lock the last holder leaves and another process comes."""
    path, other = tmp_path / "lock", FileLock(tmp_path / "lock")
    first = FileLock(path)
    first.acquire()
    flock, calls = fcntl.flock, []

    def leave_then_lock(file: Any, operation: int) -> None:
        if not calls:
            calls.append(file)
            first.release()  # removes the file that was just opened
            other.acquire()
        flock(file, operation)

    monkeypatch.setattr("fcntl.flock", leave_then_lock)
    assert not is_free(path)
    other.release()
    assert is_free(path)


@pytest.mark.parametrize("text", ["", "no JSON", "5", "[]", '{"pid": 1}'])
def test_a_lock_without_a_readable_owner_is_still_a_lock(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lock"
    with FileLock(path):
        path.write_text(text)
        with pytest.raises(BusyError, match=r"^another process is at work here"):
            FileLock(path).acquire()


def test_a_folder_that_cannot_be_locked() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        with plain_user(), pytest.raises(StoreError, match=r"cannot be locked: .*Permission denied"):
            FileLock(Path(name) / "lock").acquire()


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(StoreError, match=r"cannot be locked: .*Function not implemented.*Write to a local disk"):
        FileLock(tmp_path / "lock").acquire()
