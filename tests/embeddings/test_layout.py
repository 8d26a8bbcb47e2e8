import errno
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from embeddings import layout
from embeddings.errors import SommelierError, StoreError
from embeddings.files import replace_file
from embeddings.layout import (
    Header,
    Vectors,
    block_ranges,
    checksum,
    decode_strings,
    encode_column,
    encode_strings,
    escape_name,
    open_file,
    unescape_name,
    write_store,
)
from embeddings.provenance import Space
from embeddings.questions import Question
from embeddings.store import EmbeddingStore
from tests.embeddings.conftest import CLS, MEAN, PROVENANCE, SHAPE, altered, names_in, plain_user, write_small

FORMAT = Path(layout.__file__).with_name("FORMAT.md")

# strings: fixed-length bytes end at the last byte that is not NUL, and a lone surrogate is no UTF-8
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.lists(texts))
@example(["587722981736120347", "587722981736120348"])
@example(["galaxie-é", "", " trailing space "])
def test_strings_come_back(values: list[str]) -> None:
    encoded = encode_strings(values)
    assert encoded.dtype.kind == "S"
    assert encoded.tolist() == [value.encode() for value in values]
    assert decode_strings(encoded).tolist() == values


def test_missing_strings_are_empty() -> None:
    assert encode_strings([None, float("nan"), np.float64("nan"), "x", 7]).tolist() == [b"", b"", b"", b"x", b"7"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([True, False]), np.dtype(bool)),
        (np.array([1, 2**62]), np.dtype(np.int64)),
        (np.array([1, 2], np.uint8), np.dtype(np.uint8)),
        (np.array([1, 2], np.float32), np.dtype(np.float32)),
        (np.array([b"ab"]), np.dtype("S2")),
        (np.array(["ab", "é"]), np.dtype("S2")),
        (np.array(["ab", None], object), np.dtype("S2")),
        (np.array(["2026-01-01"], "datetime64[D]"), np.dtype("S10")),
    ],
)
def test_columns_keep_their_type_or_become_text(values: np.ndarray, expected: np.dtype) -> None:
    assert encode_column(values).dtype == expected


@given(st.lists(texts, unique=True, min_size=1))
@example(["", ".", "..", "%", "%2E", "%25", "%2F", "/", "a/b", "./x", "a%2Fb"])
def test_any_name_is_a_dataset_of_its_own(names: list[str]) -> None:
    with h5py.File.in_memory() as file:
        for index, name in enumerate(names):
            file.create_dataset(f"catalog/{escape_name(name)}", data=index)
        assert len(file["catalog"]) == len(names)
        assert {unescape_name(name): int(node[()]) for name, node in file["catalog"].items()} == {
            name: index for index, name in enumerate(names)
        }


# checksums


def test_checksum_is_xxh3_128() -> None:
    # the value that the xxHash specification gives for no input at all
    assert checksum(np.empty(0, np.uint8)).hex() == "99aa06d3014798d86001c324468d497f"


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "u1", "i8", "?", "S3"])
def test_checksum_is_of_the_bytes_in_row_major_order(dtype: str, rng: np.random.Generator) -> None:
    values = rng.integers(0, 2, (6, 8)).astype(dtype)
    expected = xxhash.xxh3_128(values.tobytes()).digest()
    assert checksum(values) == checksum(np.asfortranarray(values)) == expected
    wide = np.repeat(values, 2, axis=1)
    assert checksum(wide[:, ::2]) == expected


@pytest.mark.parametrize(
    ("n_rows", "expected"),
    [(0, []), (1, [(0, 1)]), (4096, [(0, 4096)]), (4097, [(0, 4096), (4096, 4097)])],
)
def test_block_ranges(n_rows: int, expected: list[tuple[int, int]]) -> None:
    assert list(block_ranges(n_rows)) == expected


# the file, as FORMAT.md has it, read without this package


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.h5"
    columns = {"edge": np.arange(5000) % 2 == 0, "mag/r": np.arange(5000, dtype=np.float32)}
    write_small(path, [f"{10**17 + row}" for row in range(5000)], [4500], columns, [], embed_dim=3)
    return path


def test_root_attributes(small: Path) -> None:
    with h5py.File(small) as file:
        attributes = {name: value.decode() for name, value in file.attrs.items()}
        for name in file.attrs:  # fixed length lies in the checksummed header, variable length in a heap without
            assert not file.attrs.get_id(name).get_type().is_variable_str()
    stated = attributes.pop("attributes_digest")
    canonical = json.dumps(attributes, sort_keys=True, separators=(",", ":"))
    assert stated == hashlib.sha256(canonical.encode()).hexdigest()
    assert attributes["format"] == "galaxy-sommelier/embedding-store"
    assert attributes["version"] == "1.1"
    assert attributes["kind"] == "store"
    assert attributes["survey"] == "spiral"
    assert json.loads(attributes["image_roots"]) == ["/images"]
    assert json.loads(attributes["questions"]) == [
        {"name": "shape", "answers": ["round", "flat"], "parent": None, "kind": "fraction"},
        {"name": "size", "answers": [], "parent": None, "kind": "value"},
    ]
    record = json.loads(attributes["provenance"])
    assert set(record) == {"model", "images", "layers", "precision", "storage", "run"}
    assert record["layers"] == ["L2-cls", "L2-patch-mean"]


def test_a_header_comes_back() -> None:
    questions = (SHAPE, Question("redshift", kind="value"), Question("bar", ("yes", "no"), "shape_flat"))
    header = Header("DECaLS é", PROVENANCE, questions, ("/a", "/b/ü", ""), "part")
    attributes = header.to_attributes()
    assert json.loads(attributes["image_roots"]) == ["/a", "/b/ü", ""]
    assert Header.from_attributes(attributes) == header


def test_datasets_have_their_types(small: Path) -> None:
    with h5py.File(small) as file:
        found = {name: (file[name].dtype.kind, file[name].shape) for name in file if name not in GROUPS}
        columns = {name: node.dtype.kind for name, node in file["catalog"].items()}
    assert found == {
        **dict.fromkeys(("id_str", "survey", "image", "status"), ("S", (6,))),
        **dict.fromkeys(("ra", "dec"), ("f", (6,))),
        "image_root": ("u", (6,)),
        "image_sha256": ("u", (6, 32)),
    }
    assert columns["shape_round"] == "i"
    assert columns["shape_round_fraction"] == "f"
    assert columns["remark"] == "S"


GROUPS = ("catalog", "vectors", "checksums")


def test_vectors_can_be_mapped(large: Path) -> None:
    with h5py.File(large) as file:
        for name in ("L2-cls", "L2-patch-mean"):
            dataset = file["vectors"][name]
            assert dataset.shape == (5000, 3)
            assert dataset.dtype == np.float16
            assert dataset.chunks is None
            assert dataset.compression is None
            offset = dataset.id.get_offset()
            raw = large.read_bytes()[offset : offset + 5000 * 3 * 2]
            assert raw == dataset[()].tobytes()


def test_every_dataset_has_checksums(large: Path) -> None:
    with h5py.File(large) as file:
        names: list[str] = []
        file.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
        data = [name for name in names if not name.startswith("checksums/")]
        assert len(data) == 8 + 2 + 2
        assert {f"checksums/{name}" for name in data} == set(names) - set(data)
        for name in data:
            values = file[name][()]
            blocks = [values[:4096], values[4096:]]
            expected = [xxhash.xxh3_128(block.tobytes()).digest() for block in blocks]
            assert [row.tobytes() for row in file[f"checksums/{name}"][()]] == expected


def test_the_code_in_the_format_definition_works(small: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", FORMAT.read_text(), re.DOTALL)
    found: dict[str, Any] = {}
    exec(code.replace("spiral.h5", str(small)).replace("L12-cls", "L2-cls"), found)
    assert found["ids"].tolist() == ["a", "b", "d", "e", "f"]
    assert found["X"].shape == (5, 4)
    assert np.isfinite(found["X"]).all()


def test_big_endian_columns_are_stored_little_endian(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    write_small(path, columns={"mag": np.arange(6, dtype=">f4")})
    with h5py.File(path) as file:
        assert file["catalog/mag"].dtype == np.dtype("<f4")
        little = np.arange(6, dtype="<f4").tobytes()
        assert file["checksums/catalog/mag"][0].tobytes() == xxhash.xxh3_128(little).digest()
    with EmbeddingStore.open(path) as store:
        assert store.column("mag").tolist() == [0, 1, 2, 3, 4, 5]


# writing


@pytest.mark.parametrize("length", [5, 7])
def test_columns_of_another_length_are_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(StoreError, match=f"catalog/x was given {length} rows, id_str 6"):
        write_small(tmp_path / "s.h5", columns={"x": np.zeros(length)})
    assert names_in(tmp_path) == []


def test_vectors_of_another_shape_are_refused(tmp_path: Path) -> None:
    arrays = {"id_str": encode_strings("abc")}
    short = {CLS: Vectors.of(np.zeros((2, 4))), MEAN: Vectors.of(np.zeros((3, 4)))}
    with pytest.raises(StoreError, match=r"vectors/L2-cls.*rows 0 to 2 .*\(2, 4\); expected \(3, 4\)"):
        write_store(tmp_path / "s.h5", Header("spiral", PROVENANCE), arrays, short)
    assert names_in(tmp_path) == []


def test_vectors_pass_in_blocks(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    def read(start: int, stop: int) -> np.ndarray:
        asked.append((start, stop))
        return np.arange(start, stop, dtype=np.float32)[:, None]

    n_rows = 9000
    arrays = {name: np.zeros(n_rows, "S1") for name in layout.STORE_DATASETS}
    arrays["id_str"] = encode_strings(range(n_rows))
    write_store(tmp_path / "s.h5", Header("s", PROVENANCE), arrays, {CLS: Vectors(1, read), MEAN: Vectors(1, read)})
    assert asked == 2 * [(0, 4096), (4096, 8192), (8192, 9000)]
    with h5py.File(tmp_path / "s.h5") as file:
        np.testing.assert_array_equal(file["vectors/L2-cls"][:, 0], np.arange(n_rows).astype(np.float16))


def test_an_empty_store_is_a_store(tmp_path: Path) -> None:
    write_small(tmp_path / "s.h5", ids=[], questions=[])
    with EmbeddingStore.open(tmp_path / "s.h5") as store:
        assert len(store) == 0
        assert store.verify() == []
        assert store.vectors().shape == (0, 4)
        ids, X, Y, votes = store.table()
    assert (len(ids), X.shape, Y.shape, votes.shape) == (0, (0, 4), (0, 0), (0, 0))


def test_the_same_store_twice_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        write_small(tmp_path / name, columns={"x": [1, 2, 3, 4, 5, 6]}, questions=[SHAPE])
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_write_that_stops_halfway_is_not_whole(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with layout._Sink(tmp_path / "file", "w+") as sink:
        sink.write(b"x" * 300)
        sink.raise_problem()
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
        try:
            assert sink.write(b"x" * 300) == 300  # the system takes 200 of them, and says so
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert sink.write(b"more") == 4
        with pytest.raises(OSError, match="File too large"):
            sink.raise_problem()
    assert (tmp_path / "file").read_bytes() == b"x" * 500  # nothing after the gap


def test_a_file_that_cannot_grow_is_not_whole(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with layout._Sink(tmp_path / "file", "w+") as sink:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
        try:
            sink.truncate(600)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        with pytest.raises(OSError, match="File too large"):
            sink.raise_problem()


# replacing


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "file"
    for text in ("old", "new"):
        with replace_file(path) as temporary:
            temporary.write_text(text)
            assert temporary.parent == path.parent
        assert path.read_text() == text
    assert names_in(path.parent) == ["file"]


def test_bytes_reach_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[str, int]] = []
    replace = os.replace

    def note_replace(source: Path, target: Path) -> None:
        steps.append(("rename", source.stat().st_ino))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", lambda descriptor: steps.append(("fsync", os.fstat(descriptor).st_ino)))
    monkeypatch.setattr(os, "replace", note_replace)
    with replace_file(tmp_path / "file") as temporary:
        temporary.write_text("x")
    file, folder = (tmp_path / "file").stat().st_ino, tmp_path.stat().st_ino
    assert steps == [("fsync", file), ("rename", file), ("fsync", folder)]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, StoreError])
def test_an_exception_leaves_the_old_file_alone(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write() -> None:
        with replace_file(path) as temporary:
            temporary.write_text("half")
            raise error("stop")

    with pytest.raises(error, match="stop"):
        write()
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_store(small: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = small.read_bytes()
    monkeypatch.setattr(os, function, fail)
    with pytest.raises(StoreError, match=r"small\.h5 could not be written: .*No space left on device.*run the same"):
        write_small(small, seed=1)
    assert small.read_bytes() == before
    assert names_in(small.parent) == ["small.h5"]


NO_SPACE = """
import resource, sys
from pathlib import Path
from embeddings.errors import StoreError
from tests.embeddings.conftest import write_small

path, ids = Path(sys.argv[1]), [str(row) for row in range(3000)]
write_small(path.with_name("next.h5"), ids, embed_dim=16)
size = path.with_name("next.h5").stat().st_size
for limit in (0, 100, 3000, size // 8, size // 4, size // 2, size - 3000, size - 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_small(path, ids, embed_dim=16)
    except StoreError as error:
        assert "could not be written: " in str(error) and "File too large" in str(error), error
        print("refused")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
write_small(path.with_name("next.h5"))
print("written")
"""


def test_no_room_for_a_byte_more_is_an_error_not_a_crash(small: Path) -> None:
    """HDF5 itself ends the process when a write fails; the limits stop it at its first byte, in data, in its index."""
    before = small.read_bytes()
    command, root = [sys.executable, "-c", NO_SPACE, small], Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == 8 * ["refused"] + ["written"]
    assert small.read_bytes() == before
    assert names_in(small.parent) == ["next.h5", "small.h5"]


def test_a_folder_that_cannot_be_written() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        folder = Path(name)
        write_small(folder / "s.h5")
        before = (folder / "s.h5").read_bytes()
        folder.chmod(0o555)
        try:
            with plain_user(), pytest.raises(StoreError, match=r"s\.h5 could not be written: .*Permission denied"):
                write_small(folder / "s.h5", seed=1)
        finally:
            folder.chmod(0o755)
        assert (folder / "s.h5").read_bytes() == before
        assert names_in(folder) == ["s.h5"]


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="could not be written"):
        write_small(tmp_path / "file" / "s.h5")


# opening


def refuses(path: Path, pattern: str) -> None:
    with pytest.raises(StoreError, match=f"(?s)^{re.escape(str(path))}.*{pattern}"):
        open_file(path)


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    refuses(tmp_path / "s.h5", r"does not exist.*sommelier extract CATALOG -o")


@pytest.mark.parametrize("content", [b"", b"\x89H", b"\x89HDF\r\n\x1a\n"])
def test_a_beginning_of_hdf5_is_a_damaged_store(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.h5").write_bytes(content)
    refuses(tmp_path / "s.h5", "cannot be opened as HDF5: it is cut short or damaged.*remove it")


@pytest.mark.parametrize(
    ("content", "message"), [(b"id,file\n", "is not an HDF5 file"), (b"PAR1\x15", "is a Parquet table, not a store")]
)
def test_nobody_is_told_to_remove_what_is_no_store(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "s.h5").write_bytes(content)
    refuses(tmp_path / "s.h5", message)
    with pytest.raises(StoreError) as error:
        open_file(tmp_path / "s.h5")
    assert "remove it" not in str(error.value)


def test_an_unfinished_store_is_not_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "s.h5.parts").mkdir()
    refuses(tmp_path / "s.h5", "is not finished. Run the extract that began it again")


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(small: Path, share: float) -> None:
    os.truncate(small, int(small.stat().st_size * share))
    refuses(small, "cut short.*Restore a copy")


def test_a_folder_is_not_a_store(tmp_path: Path) -> None:
    refuses(tmp_path, "is a folder, not a store")


def test_an_hdf5_file_that_is_not_a_store(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["id_str"] = [b"a"]
    refuses(tmp_path / "s.h5", "is an HDF5 file, but not a galaxy-sommelier store")


@pytest.mark.parametrize("version", ["2.0", "0.9", "10.0", ""])
def test_another_major_version_is_refused(small: Path, version: str) -> None:
    with altered(small) as file:
        file.attrs["version"] = version
    refuses(small, f"has format version {version}; .*reads version 1.x.*Upgrade")


def test_a_higher_minor_version_only_adds(small: Path) -> None:
    with altered(small) as file:
        file.attrs["version"] = "1.7"
        file.attrs["news"] = "of version 1.7"
        attributes = {name: value if isinstance(value, str) else value.decode() for name, value in file.attrs.items()}
        del attributes["attributes_digest"]
        canonical = json.dumps(attributes, sort_keys=True, separators=(",", ":"))
        file.attrs["attributes_digest"] = hashlib.sha256(canonical.encode()).hexdigest()
        for name, values in {"vectors/tokens": np.ones((9, 2), "f4"), "notes": np.zeros(2, "u1")}.items():
            file[name] = values
            file[f"checksums/{name}"] = np.frombuffer(xxhash.xxh3_128(values.tobytes()).digest(), "u1")[None]
    with EmbeddingStore.open(small) as store:
        assert store.verify() == []
        assert [space.name for space in store.spaces] == ["L2-cls", "L2-patch-mean"]
        assert store.table().ids.tolist() == ["a", "b", "d", "e", "f"]


@pytest.mark.parametrize(
    "name",
    ["id_str", "survey", "ra", "dec", "image", "image_root", "image_sha256", "status", "vectors/L2-patch-mean"],
)
def test_a_missing_dataset_is_named(small: Path, name: str) -> None:
    with altered(small) as file:
        del file[name]
    refuses(small, f"the dataset {name} is missing")


@pytest.mark.parametrize("name", ["ra", "status", "vectors/L2-cls"])
def test_a_dataset_of_another_length_is_named(small: Path, name: str) -> None:
    with altered(small) as file:
        values = file[name][:5]
        del file[name]
        file[name] = values
    refuses(small, f"{name} has 5 rows, id_str has 6")


@pytest.mark.parametrize("name", ["survey", "provenance", "questions", "attributes_digest"])
def test_a_missing_attribute_is_named(small: Path, name: str) -> None:
    with altered(small) as file:
        del file.attrs[name]
    refuses(small, rf"root attributes \['{name}'\] are missing")


@pytest.mark.parametrize(
    ("name", "value"),
    [("provenance", "{"), ("provenance", "{}"), ("provenance", "[]"), ("questions", "[{}]"), ("image_roots", "1")],
)
def test_attributes_that_are_no_json_or_not_ours(small: Path, name: str, value: str) -> None:
    with altered(small) as file:
        file.attrs[name] = value
    with pytest.raises(StoreError, match=rf"^{re.escape(str(small))}: .* cannot be read"):
        EmbeddingStore.open(small)


def read_all(path: Path) -> tuple[Any, list[str]]:
    with EmbeddingStore.open(path) as store:
        arrays = [*store.table(), *store.to_arrays().values(), store.read_vectors(Space(2, "cls+patch-mean"))]
        return [(array.dtype, array.tobytes()) for array in arrays], store.verify()


def outcome_of_reading(path: Path, expected: Any) -> str:
    try:
        found, problems = read_all(path)
    except SommelierError as error:
        return "refused" if str(path) in str(error) else f"no file named: {error}"
    return "verified" if problems else ("unharmed" if found == expected else "WRONG")


def test_no_flipped_byte_passes_for_data(tmp_path: Path) -> None:
    """Anywhere in the file, HDF5's own structures included: an error of ours, or a finding of verify, or no effect."""
    path = tmp_path / "s.h5"
    columns = {"shape_round_fraction": np.linspace(0, 1, 6), "shape_flat_fraction": np.linspace(1, 0, 6)}
    write_small(path, failed=[2], columns=columns, questions=[SHAPE])
    content = path.read_bytes()
    expected, problems = read_all(path)
    assert problems == []
    assert b"GCOL" not in content  # no heap: over a damaged length in one, HDF5 itself may loop forever
    outcomes = []
    for position in range(3, len(content), 61):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :])
        outcomes.append(outcome_of_reading(path, expected))
    assert set(outcomes) <= {"refused", "verified", "unharmed"}
    assert outcomes.count("refused") > len(outcomes) / 4
