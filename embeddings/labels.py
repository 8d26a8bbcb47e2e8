"""Labels as a catalog's or a store's columns hold them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from embeddings.errors import StoreError, did_you_mean
from embeddings.layout import Array
from embeddings.questions import Question, list_targets


def read_labels(
    questions: Iterable[Question],
    columns: Sequence[str],
    column: Callable[[str], Array],
    n_rows: int,
    min_votes: int,
    where: str,
    whole: Iterable[Question] = (),
) -> tuple[Array, Array]:
    """
    Targets and vote counts from a store's or a catalog's columns.

    Returns
    -------
    Y, votes : (n_rows, n_targets) float32 arrays
    """
    questions = tuple(questions)
    complete = {question.name: question for question in whole}  # votes count whichever answers were selected
    Y = np.full((n_rows, len(list_targets(questions))), np.nan, np.float32)
    votes = np.full_like(Y, np.nan)
    index = 0
    for question in questions:
        asked = np.ones(n_rows, bool)
        if min_votes and question.kind == "fraction":
            asked = _count_votes(complete.get(question.name, question), columns, column, where) >= min_votes
        for target, name in zip(question.targets, question.target_columns, strict=True):
            if name not in columns:
                raise StoreError(
                    f"{where} has no column {name!r}, which its questions ask for. {did_you_mean(name, columns)}"
                )
            Y[asked, index] = column(name)[asked]
            if target in question.vote_columns and target in columns:
                votes[asked, index] = column(target)[asked]
            index += 1
    votes[np.isnan(Y)] = np.nan
    return Y, votes


def _count_votes(question: Question, columns: Sequence[str], column: Callable[[str], Array], where: str) -> Array:
    """How many volunteers answered a question: its total, or the sum of its votes."""
    if question.total_column in columns:
        return column(question.total_column)
    counts = [column(name) for name in question.vote_columns if name in columns]
    if not counts:
        raise StoreError(
            f"{where} has no votes for {question.name!r} (no column {question.total_column!r}): "
            "--min-votes cannot tell how many there were. Leave the question out with --targets."
        )
    return np.asarray(np.nansum(counts, axis=0))
