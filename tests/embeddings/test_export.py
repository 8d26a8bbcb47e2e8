from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embeddings.errors import StoreError
from embeddings.export import export_store, write_predictions
from embeddings.store import EmbeddingStore
from tests.embeddings.conftest import flip_byte, names_in, write_small


def export(store: Path, to: Path, **options: bool) -> pa.Table:
    with EmbeddingStore.open(store) as opened:
        assert export_store(opened, to, **options) == to
    return pq.read_table(to)


def test_columns_and_types(small: Path, tmp_path: Path) -> None:
    schema = export(small, tmp_path / "v.parquet").schema
    assert schema.names == ["id_str", "status", "L2-cls", "L2-patch-mean"]
    assert schema.types == [pa.string(), pa.string(), pa.list_(pa.float32()), pa.list_(pa.float32())]


def test_rows_are_those_of_the_store(small: Path, tmp_path: Path) -> None:
    table = export(small, tmp_path / "v.parquet").to_pydict()
    assert table["id_str"] == list("abcdef")
    assert table["status"] == ["ok", "ok", "failed: no such file", "ok", "ok", "ok"]
    with h5py.File(small) as file:
        for name in ("L2-cls", "L2-patch-mean"):
            expected = file[f"vectors/{name}"][()].astype(np.float32).tolist()
            assert table[name] == [*expected[:2], None, *expected[3:]]
    assert names_in(tmp_path) == ["small.h5", "v.parquet"]


def test_failed_rows_can_be_left_out(small: Path, tmp_path: Path) -> None:
    table = export(small, tmp_path / "v.parquet", failed=False)
    assert table["id_str"].to_pylist() == ["a", "b", "d", "e", "f"]
    assert table["L2-cls"].null_count == 0


@pytest.mark.parametrize("failed", [True, False])
def test_many_blocks(tmp_path: Path, failed: bool) -> None:
    ids = [f"587722981736{row:06}" for row in range(9000)]
    bad = {0, 4095, 8999, *range(4096, 8192)}  # a whole block, and the ends of the others
    written = write_small(tmp_path / "s.h5", ids, sorted(bad), embed_dim=2)
    table = export(tmp_path / "s.h5", tmp_path / "v.parquet", failed=failed)
    kept = [row for row in range(9000) if failed or row not in bad]
    assert table["id_str"].to_pylist() == [ids[row] for row in kept]
    (values,) = (vectors for space, vectors in written.items() if space.pooling == "cls")
    expected = [None if row in bad else values[row].astype(np.float32).tolist() for row in kept]
    assert table["L2-cls"].to_pylist() == expected


def test_an_empty_store(tmp_path: Path) -> None:
    write_small(tmp_path / "s.h5", [])
    assert export(tmp_path / "s.h5", tmp_path / "v.parquet").num_rows == 0


def test_damage_is_not_exported(small: Path, tmp_path: Path) -> None:
    old = export(small, tmp_path / "v.parquet")
    flip_byte(small, "vectors/L2-patch-mean", 5)
    with EmbeddingStore.open(small) as store, pytest.raises(StoreError, match="L2-patch-mean, rows 0 to 5"):
        export_store(store, tmp_path / "v.parquet")
    assert pq.read_table(tmp_path / "v.parquet").equals(old)
    assert names_in(tmp_path) == ["small.h5", "v.parquet"]


def test_an_output_replaces_only_one_of_its_own_kind(small: Path, tmp_path: Path) -> None:
    catalog, to = tmp_path / "sdss.parquet", tmp_path / "p.parquet"
    pq.write_table(pa.table({"id_str": ["a"]}, metadata={"format": "galaxy-sommelier/catalog"}), catalog)
    before = catalog.read_bytes()
    ids, P = np.array(["a", "b"]), np.zeros((2, 1))
    for write in (lambda: export(small, catalog), lambda: write_predictions(catalog, ids, P, ["bar_yes"])):
        with pytest.raises(StoreError, match="would be lost"):
            write()
    assert catalog.read_bytes() == before
    for _ in range(2):
        write_predictions(to, ids, P, ["bar_yes"])
    with pytest.raises(StoreError, match="would be lost"):
        export(small, to)


def test_a_store_is_not_exported_onto_itself(small: Path, tmp_path: Path) -> None:
    before = small.read_bytes()
    (tmp_path / "link.h5").symlink_to(small)
    with EmbeddingStore.open(small) as store:
        for to in (small, tmp_path / "link.h5"):
            with pytest.raises(StoreError, match="is what is being read"):
                export_store(store, to)
    assert small.read_bytes() == before


def test_predictions(tmp_path: Path) -> None:
    ids = np.array(["587722981736120347", "x"])
    P = np.array([[0.25, 1.5], [np.nan, -2]], np.float32)
    path = write_predictions(tmp_path / "p.parquet", ids, P, ["shape_round", "size"])
    table = pq.read_table(path)
    assert table.schema.names == ["id_str", "shape_round", "size"]
    assert table["id_str"].to_pylist() == ["587722981736120347", "x"]
    np.testing.assert_array_equal(np.column_stack([table[name] for name in ("shape_round", "size")]), P)
    assert table.schema.field("size").type == pa.float32()
