"""Building an index and adding to it, with its recall measured on galaxies that it does not hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embeddings.errors import SearchError
from embeddings.parts import FileLock
from embeddings.search.engine import (
    MAX_QUERIES,
    POINTS_PER_CELL,
    RECALL_K,
    Engine,
    choose_cells,
    choose_kind,
    recall_of,
)
from embeddings.search.exact import Array, find_neighbours, merge_neighbours
from embeddings.search.folder import Wish, claim, match_table, read_folder, save
from embeddings.search.index import GalaxyIndex, fit_whitening, refine, refuse_few_rows
from embeddings.search.rows import Rows, choose_space
from embeddings.search.whitening import Whitening, transform
from embeddings.store import EmbeddingStore

MIN_QUERIES = 50  # fewer say nothing of a recall
Say = Callable[[str], None]


@dataclass(frozen=True)
class Built:
    """
    What became of a build.

    Attributes
    ----------
    index : GalaxyIndex
    added, rows : int
        Rows that are new, and all of them.
    reason : str
        Why this kind was chosen.
    note : str
        What the user should know; empty where there is nothing.
    """

    index: GalaxyIndex
    added: int
    rows: int
    reason: str
    note: str = ""


def build_index(
    stores: Sequence[EmbeddingStore],
    folder: str | os.PathLike[str],
    recall: float = 0.95,
    kind: str = "auto",
    whiten: bool = False,
    layer: int = -1,
    pooling: str | None = None,
    random_state: int = 0,
    say: Say = lambda text: None,
) -> Built:
    """
    Build an index folder, or add to one what its stores have new.

    Parameters
    ----------
    stores : sequence of EmbeddingStore
        Of equal space ids.
    folder : path
        New, empty, or an index that was built with the same options.
    recall : float
        Recall@10 to be reached on held-out galaxies, by whole two standard errors.
    kind : {'auto', 'exact', 'ivf', 'hnsw', 'pq'}
    whiten : bool
        Compare whitened vectors; learnt at the first build, kept for what is added.
    layer, pooling
        As in `EmbeddingStore.space`.
    random_state : int
    say : callable
        Told what is being done.

    Raises
    ------
    SommelierError
        Whatever was in the folder stays.
    """
    if not 0 < recall <= 1:
        raise SearchError(f"the recall is a share from 0 to 1, not {recall}.")
    space = choose_space(stores, layer, pooling)
    wish = Wish(space, stores[0].space_id(space), whiten, kind, recall, random_state)
    rows = Rows(stores, space)
    if not len(rows):
        raise SearchError("none of the stores' rows has a vector: there is nothing to index.")
    choose_kind(kind, len(rows), rows.width)  # a wish that cannot be had must not claim the folder
    if whiten:
        refuse_few_rows(rows)
    folder = Path(folder)
    claim(folder, wish)
    with FileLock(folder / ".lock"):
        record = claim(folder, wish)  # as whoever had the lock before left it
        if "files" in record:
            built = _add(folder, record, wish, rows, say)
            if built is not None:
                return built
            say("rows of the earlier index are gone or show other images: it is built anew")
        return _build(folder, wish, rows, say)


def quicken(
    index: GalaxyIndex, recall: float = 0.95, random_state: int = 0, say: Say = lambda text: None
) -> GalaxyIndex:
    """The same galaxies under an approximate search in memory, where they are many and FAISS is there."""
    rows, width = index.rows, index.rows.width
    choice = choose_kind("auto", len(rows), width)
    if index.engine is not None or choice.kind == "exact":
        return index
    engine = Engine.make(choice.kind, len(rows), width)
    wish = Wish(rows.space, "", index.whitening is not None, choice.kind, recall, random_state)
    rows, measured = _fill(engine, rows, np.arange(0), index.whitening, wish, say)
    return GalaxyIndex(rows, index.whitening, engine, {"kind": choice.kind, **measured})


def _build(folder: Path, wish: Wish, rows: Rows, say: Say) -> Built:
    whitening = fit_whitening(rows, wish.random_state) if wish.whiten else None
    width = rows.width
    choice = choose_kind(wish.kind, len(rows), width)
    record = {**wish.to_record(), "kind": choice.kind, "reason": choice.reason}
    engine = None
    if choice.kind != "exact":
        say(f"{choice.kind} ({choice.reason})")
        engine = Engine.make(choice.kind, len(rows), width)
        rows, measured = _fill(engine, rows, np.arange(0), whitening, wish, say)
        record |= {"effort": engine.effort, **measured}
    save(folder, record, rows, whitening, engine)
    return Built(GalaxyIndex.open(folder), len(rows), len(rows), choice.reason, _warn(record))


def _add(folder: Path, record: dict[str, Any], wish: Wish, rows: Rows, say: Say) -> Built | None:
    """Append what is new; None when something is gone, so that the index must be built anew."""
    opened = read_folder(folder, to_change=True)
    paths = {store.path.resolve(): number for number, store in enumerate(rows.stores)}
    earlier = [paths.get((folder.resolve() / entry["path"]).resolve(), -1) for entry in record["stores"]]
    places = match_table(opened.table, rows, earlier)
    if places is None:
        return None
    fresh = np.setdiff1d(np.arange(len(rows)), places)
    choice = choose_kind(wish.kind, len(rows), rows.width)
    if opened.engine is None and choice.kind != "exact":
        say("the index has outgrown an exact search: it is built anew")
        return _build(folder, wish, rows, say)
    kept = {name: value for name, value in record.items() if name not in ("rows", "stores", "files")}
    if opened.engine is None or not len(fresh):
        rows = _reorder(rows, np.concatenate([places, fresh]))
    else:
        rows, measured = _fill(opened.engine, rows, places, opened.whitening, wish, say)
        if measured and measured["recall_at_10"] <= kept.get("recall_at_10", 1.0):
            kept |= measured  # the label is the lowest that was measured
        kept["effort"] = opened.engine.effort
    save(folder, kept, rows, opened.whitening, opened.engine)
    return Built(GalaxyIndex.open(folder), len(fresh), len(rows), record["reason"], _warn(kept))


def _fill(
    engine: Engine, rows: Rows, there: Array, whitening: Whitening | None, wish: Wish, say: Say
) -> tuple[Rows, dict[str, Any]]:
    """
    Add all rows but those that are there, some of them last: these measure the recall before they are added.

    Returns
    -------
    rows : Rows
        In the order in which the engine has them.
    measured : dict
        ``recall_at_10, standard_error, queries``; empty when too few rows are new to measure by.
    """
    rng = np.random.default_rng(wish.random_state)
    fresh = np.setdiff1d(np.arange(len(rows)), there)
    n_held = min(MAX_QUERIES, len(fresh) if len(there) else len(fresh) // 10)
    held = np.sort(rng.choice(fresh, n_held if n_held >= MIN_QUERIES else 0, replace=False))
    first = np.setdiff1d(fresh, held)
    order = _order_blocks(rows, first)
    if not len(there):
        say(f"learning {choose_cells(len(rows))} cells" if engine.kind != "hnsw" else "linking")
        sample = rng.choice(first, min(len(first), POINTS_PER_CELL * choose_cells(len(rows))), replace=False)
        engine.train(transform(rows.take_vectors(np.sort(sample)), whitening))
    queries = transform(rows.take_vectors(held), whitening)
    rank = np.full(len(rows), -1, np.int64)
    rank[np.concatenate([there, order])] = np.arange(len(there) + len(order))
    truth = _add_blocks(engine, rows, whitening, queries, rank, len(there), say)
    placed = _reorder(rows, np.concatenate([there, order, held]))
    measured = _measure(engine, placed, whitening, queries, truth, wish.recall, say) if len(held) else {}
    engine.add(queries)
    return placed, measured


def _order_blocks(rows: Rows, chosen: Array) -> Array:
    """Some positions in the order in which blocks come."""
    return chosen[np.lexsort((rows.row[chosen], rows.store[chosen]))]


def _add_blocks(
    engine: Engine, rows: Rows, whitening: Whitening | None, queries: Array, rank: Array, n_there: int, say: Say
) -> Array:
    """Add rows by their rank; find meanwhile the queries' true neighbours among all that have one, by rank."""
    found = [(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64))]
    done = 0
    for positions, vectors in _join_blocks(rows):
        mine = rank[positions] >= 0
        X, ranks = transform(vectors[mine], whitening), rank[positions[mine]]
        fresh = ranks >= n_there
        engine.add(X[fresh])
        if len(queries) and len(X):
            similarity, near = find_neighbours(X, queries, RECALL_K)
            found = [merge_neighbours([*found, (similarity, ranks[near])], RECALL_K)]
        done += len(positions)
        say(f"adding rows: {done} of {len(rows)}")
    return found[0][1]


def _join_blocks(rows: Rows, size: int = 50_000) -> Any:
    """The rows' blocks, put together to larger ones: matrix products gain by it."""
    waiting: list[tuple[Array, Array]] = []
    for block in rows.blocks():
        waiting.append(block)
        if sum(len(positions) for positions, _ in waiting) >= size:
            yield tuple(np.concatenate(arrays) for arrays in zip(*waiting, strict=True))
            waiting = []
    if waiting:
        yield tuple(np.concatenate(arrays) for arrays in zip(*waiting, strict=True))


def _measure(
    engine: Engine, rows: Rows, whitening: Whitening | None, queries: Array, truth: Array, target: float, say: Say
) -> dict[str, Any]:
    """Raise the effort until one half of the queries is found well enough; the other half says how well that is."""
    say("measuring the recall")

    def measure(half: slice) -> Array:
        _, near = refine(engine, rows, whitening, queries[half], RECALL_K)
        return recall_of(near, truth[half])

    engine.raise_effort(target, lambda: measure(slice(0, None, 2)))
    recalls = measure(slice(1, None, 2))
    return {
        "recall_at_10": round(float(recalls.mean()), 4),
        "standard_error": round(float(recalls.std(ddof=1) / np.sqrt(len(recalls))), 4),
        "queries": len(recalls),
    }


def _reorder(rows: Rows, order: Array) -> Rows:
    return Rows(rows.stores, rows.space, (rows.store[order], rows.row[order]))


def _warn(record: dict[str, Any]) -> str:
    reached, asked = record.get("recall_at_10", 1.0), record["recall_asked"]
    if reached + 2 * record.get("standard_error", 0.0) < asked:
        return f"the recall@10 is {reached:.3f}, below the {asked:g} that were asked for: use --kind ivf or exact."
    return ""
