"""Which rows are still to be embedded, and in which batches and parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from embeddings.errors import SommelierError
from embeddings.layout import OK
from embeddings.parts import Source

Array = np.ndarray[Any, Any]


def match_rows(
    ids: Sequence[str],
    sources: Sequence[Source],
    hashes: Mapping[str, bytes],
    retry_failed: bool = False,
) -> Array:
    """
    Find each galaxy among the rows that are already embedded.

    Parameters
    ----------
    ids : sequence of str
        The galaxies wanted.
    sources : sequence of Source
        A good row wins over a failed one, then the first source wins.
    hashes : mapping of str to bytes
        The sha256 of the image as it is now; a row of another image does not count. Ids that are not in
        it match by id alone.
    retry_failed : bool
        Whether failed rows count as missing.

    Returns
    -------
    (n_galaxies, 2) int array
        Source, and row in it; -1 where there is none.
    """
    place = {id_str: row for row, id_str in enumerate(ids)}
    picks = np.full((len(ids), 2), -1, np.int64)
    for accept_failed in (False, True) if not retry_failed else (False,):
        for number, source in enumerate(sources):
            accepted = (source.status == OK) != accept_failed
            for row in np.flatnonzero(accepted):
                id_str = source.ids[row]
                target = place.get(id_str)
                if target is None or picks[target, 0] >= 0:
                    continue
                now = hashes.get(id_str)
                if now is None or now == source.image_sha256[row].tobytes():
                    picks[target] = number, row
    return picks


def cut_batches(ids: Sequence[str], rows: Array, batch_size: int) -> list[Array]:
    """
    Cut rows into batches in the order of their ids, so that the order of the catalog does not matter.

    Returns
    -------
    list of int arrays
        All of `batch_size` rows but the last.
    """
    ordered = np.array(sorted(rows.tolist(), key=lambda row: ids[row]), dtype=np.int64)
    return [ordered[start : start + batch_size] for start in range(0, len(ordered), batch_size)]


def take_shard(batches: Sequence[Array], shard: tuple[int, int]) -> list[Array]:
    """The I-th of N contiguous shares of the batches, I counted from 1."""
    number, count = shard
    first, last = (len(batches) * (number - 1)) // count, (len(batches) * number) // count
    return list(batches[first:last])


def parse_shard(text: str | None) -> tuple[int, int]:
    """
    ``2/4`` as (2, 4); None as (1, 1).

    Raises
    ------
    SommelierError
        Unless 1 <= I <= N.
    """
    if text is None:
        return 1, 1
    try:
        number, count = map(int, text.split("/"))
    except ValueError:
        number, count = 0, 0
    if not 1 <= number <= count:
        raise SommelierError(f"--shard is I/N with I from 1 to N, for example 2/4; not {text!r}.")
    return number, count


def parse_share(text: str | float, total: int) -> float:
    """
    ``10%``, ``0.1`` or a count, as a number of rows out of `total`.

    Raises
    ------
    SommelierError
        For anything else.
    """
    per_cent = isinstance(text, str) and text.endswith("%")
    try:
        value = float(str(text).removesuffix("%"))
    except ValueError:
        value = -1.0
    if not value >= 0:  # NaN neither
        raise SommelierError(f"--max-failures is a share (10%) or a number of images, not {text!r}.")
    if per_cent:
        return value / 100 * total
    return value * total if value < 1 else value
