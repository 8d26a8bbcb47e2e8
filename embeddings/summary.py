"""What a store, or the parts of one that is not finished, hold."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from embeddings.parts import list_parts
from embeddings.runs import PARTS
from embeddings.store import EmbeddingStore

MAX_REASONS = 10


def summarise_store(path: str | os.PathLike[str]) -> dict[str, Any]:
    """
    Summarise a store, finished or not.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict
        ``rows, ok, failed, finished`` and what made them, as JSON can hold it.

    Raises
    ------
    StoreError
        When there is neither a store nor a part of one.
    """
    path = Path(path)
    parts = list_parts(path)
    if not path.exists() and parts:
        return _summarise_parts(path, parts)
    with EmbeddingStore.open(path) as store:
        summary = _describe(store, store.status.tolist())
        columns = {"columns": store.columns, "questions": [question.to_dict() for question in store.questions]}
        waiting = {"parts_waiting": len(parts)} if parts else {}
        return {"store": str(path), "finished": not parts, **summary, **columns, **waiting}


def _summarise_parts(path: Path, parts: list[Path]) -> dict[str, Any]:
    status: dict[str, str] = {}
    for part in parts:
        with EmbeddingStore.open(part) as store:
            for id_str, state in zip(store.ids.tolist(), store.status.tolist(), strict=True):
                if status.get(id_str) != "ok":  # parts may overlap: a row counts once, and a good one wins
                    status[id_str] = state
    with EmbeddingStore.open(parts[-1]) as store:
        summary = _describe(store, list(status.values()))
    return {"store": str(path), "finished": False, "parts_waiting": len(parts), **summary}


def _describe(store: EmbeddingStore, status: list[str]) -> dict[str, Any]:
    reasons = Counter(text.removeprefix("failed: ") for text in status if text != "ok")
    failed = sum(reasons.values())
    provenance = store.provenance.to_dict()
    widths = {space.name: int(store.vectors(*space).shape[1]) for space in store.spaces}
    made = [run["finetune"] for run in provenance["run"] if "finetune" in run]
    return {
        "rows": len(status),
        "ok": len(status) - failed,
        "failed": failed,
        **({"reasons": dict(reasons.most_common(MAX_REASONS))} if failed else {}),
        "survey": store.survey,
        **({"finetune": made[-1] | _count_parts(store)} if made else {}),
        "vectors": {name: f"{width} x {provenance['storage']}" for name, width in widths.items()},
        "space_ids": {space.name: store.space_id(space) for space in store.spaces},
        "cache_digest": store.provenance.cache_digest,
        "provenance": {key: provenance[key] for key in ("model", "images", "precision", "storage", "run")},
    }


def _count_parts(store: EmbeddingStore) -> dict[str, int]:
    """How many rows show galaxies that the backbone was trained on; nothing before a store is finished."""
    if not store.has_parts:
        return {}
    counts = Counter(store.parts.tolist())
    return {part: counts[part] for part in PARTS} | {"unknown": counts[""]}
