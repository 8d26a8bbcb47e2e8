"""A store as a Parquet table, for every other tool."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embeddings.files import refuse_overwrite, replace_file
from embeddings.layout import block_ranges
from embeddings.store import EmbeddingStore

# in the metadata of the tables: an output replaces only one of its own kind
VECTORS, PREDICTIONS = "galaxy-sommelier/vectors", "galaxy-sommelier/predictions"


def export_store(store: EmbeddingStore, to: str | os.PathLike[str], failed: bool = True) -> Path:
    """
    Write ids, status and vectors as Parquet.

    Parameters
    ----------
    store : EmbeddingStore
    to : path
        Replaced at once.
    failed : bool
        Whether failed rows are kept (their vectors are null).

    Returns
    -------
    Path
        Columns ``id_str``, ``status``, ``part`` where the store has it, and one float32 list column a space, named
        ``L<layer>-<pooling>``.
    """
    ok = store.ok
    sources = {space: store.vector_blocks(space) for space in store.spaces}
    vectors = [(space.name, pa.list_(pa.float32())) for space in sources]
    texts = {"id_str": store.ids, "status": store.status} | ({"part": store.parts} if store.has_parts else {})
    columns = [*((name, pa.string()) for name in texts), *vectors]
    schema = pa.schema(columns, metadata={"format": VECTORS})
    path = Path(to)
    refuse_overwrite(path, store.path, mark=VECTORS)
    with replace_file(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for start, stop in block_ranges(len(store)):
            keep = np.ones(stop - start, bool) if failed else ok[start:stop]
            arrays = [pa.array(values[start:stop][keep].tolist()) for values in texts.values()]
            for source in sources.values():
                arrays.append(_list_array(source.read(start, stop)[keep], ok[start:stop][keep]))
            writer.write_table(pa.table(arrays, schema=schema))
    return path


def _list_array(vectors: np.ndarray, ok: np.ndarray) -> pa.ListArray:
    """Rows as lists, null where not ok."""
    lengths = np.where(ok, vectors.shape[1], 0)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), mask=np.append(~ok, False))
    return pa.ListArray.from_arrays(offsets, pa.array(vectors[ok].ravel().astype(np.float32)))


def write_predictions(to: str | os.PathLike[str], ids: np.ndarray, P: np.ndarray, targets: list[str]) -> Path:
    """
    Write predictions as Parquet, in place at once.

    Parameters
    ----------
    to : path
    ids : (n_galaxies,) array of str
    P : (n_galaxies, n_targets) array
    targets : list of str

    Returns
    -------
    Path
        Columns ``id_str`` and one a target.
    """
    columns = {"id_str": pa.array(ids.tolist(), pa.string())}
    columns |= {target: pa.array(np.ascontiguousarray(P[:, index])) for index, target in enumerate(targets)}
    path = Path(to)
    refuse_overwrite(path, mark=PREDICTIONS)
    with replace_file(path) as temporary:
        pq.write_table(pa.table(columns, metadata={"format": PREDICTIONS}), temporary)
    return path
