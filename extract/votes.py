"""A release's votes as the catalog's label columns: who was asked, which fractions, where they disagree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embeddings.errors import CatalogError, did_you_mean
from embeddings.questions import FRACTIONS, Fractions, Question
from extract.schema import MAP_VERSION, Crossing, Dialect
from extract.tables import Columns

Array = np.ndarray[Any, Any]

ENDINGS = {"raw": "_fraction", "weighted": "_weighted_fraction", "debiased": "_debiased"}
RAW_BESIDE = "_raw_fraction"  # the raw fractions, where others are the labels
BESIDE = ("_weight", "_flag")  # GZ2 has more columns an answer: they keep its words
TOLERANCE = 0.002  # the tables give three decimals: a larger difference is no rounding
CORRECTED = 0.5  # corrected fractions may leave [0, 1], but not by as much as this


@dataclass(frozen=True)
class Labels:
    """
    One question's columns in the catalog.

    Attributes
    ----------
    question : Question
    columns : dict of str to (n_galaxies,) array
    total : (n_galaxies,) array or None
        How many answered; None where the release does not say.
    notes : list of str
        What a reader should know: disagreements within the release.
    """

    question: Question
    columns: dict[str, Array]
    total: Array | None
    notes: list[str]


def read_votes(question: Question, dialect: Dialect, table: Columns, fractions: Fractions, file: Path) -> Labels | None:
    """
    Take one question's columns out of a release's table.

    Asked is who has a total above zero and fractions that are not all zero; all others are NaN.

    Parameters
    ----------
    question : Question
    dialect : Dialect
        How the release writes its columns.
    table : mapping of str to Series
        What is used is taken out of it.
    fractions : {'raw', 'weighted', 'debiased'}
        Which of the release's fractions are the labels; the others are kept beside them.
    file : Path
        For error messages.

    Returns
    -------
    Labels or None
        None when the table has no column of this question.

    Raises
    ------
    CatalogError
        When some columns are missing, or hold what votes cannot be.
    """
    stems = [dialect.stems[target] for target in question.targets]
    total = _take_total(dialect.heads[question.name], table, file)
    counts = _take_all(stems, dialect.count_ending, table, file, dialect)
    kinds = {kind: _take_fractions(stems, ending, table, file, dialect) for kind, ending in ENDINGS.items()}
    raw = kinds["raw"]
    if raw is None:
        return None
    _check_fractions(raw, [stem + ENDINGS["raw"] for stem in stems], file, TOLERANCE)
    _check_fractions(kinds[fractions] or raw, [stem + ENDINGS[fractions] for stem in stems], file, CORRECTED)
    if total is None and counts is not None:
        total = np.sum(counts, axis=0)
    asked = _find_asked(raw, total)
    columns = {} if total is None else {question.total_column: total}
    if counts is not None:
        columns |= dict(zip(question.vote_columns, counts, strict=True))
    columns |= _label_columns(question, kinds, fractions, asked, file)
    for ending in BESIDE:
        for target, stem in zip(question.targets, stems, strict=True):
            if f"{stem}{ending}" in table:
                columns[f"{target}{ending}"] = table.pop(f"{stem}{ending}").to_numpy()
    notes = _compare(question, raw, counts, total, asked)
    return Labels(replace(question, fractions=fractions), columns, total, notes)


def _take_total(head: str, table: Columns, file: Path) -> Array | None:
    """The total of a question: ``_total-votes`` in the files, ``_total`` in their description."""
    found = [_to_numbers(table.pop(name), file) for name in (f"{head}_total-votes", f"{head}_total") if name in table]
    if not found:
        return None
    values = found[0] if len(found) == 1 else np.where(np.isnan(found[0]), found[1], found[0])
    _check_counts(values, f"{head}_total-votes", file)
    return values


def _take_all(stems: list[str], ending: str, table: Columns, file: Path, dialect: Dialect) -> list[Array] | None:
    """The same kind of column of every answer: all, or none."""
    names = [stem + ending for stem in stems]
    missing = [name for name in names if name not in table]
    if len(missing) == len(names):
        return None
    if missing:
        raise CatalogError(
            f"{file} has no column {missing[0]!r}, which {dialect.campaign.title} has. "
            f"{did_you_mean(missing[0], table)} Restore the table as it was published."
        )
    values = [_to_numbers(table.pop(name), file) for name in names]
    if ending in ("", "_count"):
        for name, count in zip(names, values, strict=True):
            _check_counts(count, name, file)
    return values


def _take_fractions(stems: list[str], ending: str, table: Columns, file: Path, dialect: Dialect) -> list[Array] | None:
    taken = _take_all(stems, ending, table, file, dialect)
    return taken and [values if values.dtype.kind == "f" else values.astype(np.float64) for values in taken]


def _to_numbers(column: pd.Series[Any], file: Path) -> Array:
    """Integers or floats as they are, NaN where blank."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf":
        return column.to_numpy()
    try:
        return pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise CatalogError(f"{file}: column {column.name!r} should hold numbers: {error}") from error


def _check_counts(values: Array, name: str, file: Path) -> None:
    if (values < 0).any():
        row = int(np.argmax(values < 0))
        raise CatalogError(f"{file}: column {name!r} has negative votes (first: {values[row]:g} in row {row}).")


def _check_fractions(fractions: list[Array], names: list[str], file: Path, slack: float) -> None:
    for name, values in zip(names, fractions, strict=True):
        wrong = (values < -slack) | (values > 1 + slack)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise CatalogError(
                f"{file}: column {name!r} has {int(wrong.sum())} values that are no fractions "
                f"(first: {values[row]:g} in row {row}). Fractions lie in [0, 1]; percentages must be divided by 100."
            )


def _find_asked(raw: list[Array], total: Array | None) -> Array:
    any_chosen = np.zeros(len(raw[0]), bool)
    for values in raw:
        any_chosen |= values > 0
    return any_chosen if total is None else any_chosen & (total > 0)


def _label_columns(
    question: Question, kinds: dict[str, list[Array] | None], fractions: Fractions, asked: Array, file: Path
) -> dict[str, Array]:
    """Every kind of fraction under its name, the chosen one as the label."""
    if kinds[fractions] is None:
        there = ", ".join(kind for kind in FRACTIONS if kinds[kind] is not None)
        raise CatalogError(f"{file} has no {fractions} fractions of {question.name!r}. It has: {there}.")
    endings = {fractions: "_fraction"} | {
        kind: RAW_BESIDE if kind == "raw" else ENDINGS[kind] for kind in FRACTIONS if kind != fractions
    }
    mask = None if asked.all() else np.where(asked, 1.0, np.nan)

    def hide(values: Array) -> Array:
        """NaN where not asked; a product is far faster than an assignment by mask."""
        return values if mask is None else values * mask.astype(values.dtype, copy=False)

    return {
        f"{target}{ending}": hide(values)
        for kind, ending in endings.items()
        for target, values in zip(question.targets, kinds[kind] or (), strict=False)
    }


def _compare(
    question: Question, raw: list[Array], counts: list[Array] | None, total: Array | None, asked: Array
) -> list[str]:
    """Where the release's fractions are not its votes over their total."""
    if counts is None or total is None:
        return []
    notes = []
    worst = np.zeros(len(total))
    share = np.divide(1, total, out=np.zeros(len(total)), where=total > 0)
    apart = np.empty(len(total))  # one buffer: fresh memory costs more than the arithmetic
    for fraction, count in zip(raw, counts, strict=True):
        np.multiply(count, share, out=apart)
        np.subtract(fraction, apart, out=apart)
        np.fmax(worst, np.abs(apart, out=apart), out=worst)
    worst[~asked] = 0
    differ, silent = worst[worst > TOLERANCE], int(((total > 0) & ~asked).sum())
    if len(differ):
        notes.append(
            f"{question.name}: the fractions of {len(differ)} of {int(asked.sum())} galaxies are not votes / total, "
            f"by more than {TOLERANCE} (median {np.median(differ):.3f}, most {differ.max():.3f}); the file's are taken"
        )
    added = np.sum(counts, axis=0)
    for rows, words in ((added < total - 0.5, "fewer"), (added > total + 0.5, "more")):
        if rows.any():
            notes.append(
                f"{question.name}: the votes of {int(rows.sum())} galaxies add up to {words} than their total, and "
                "their fractions not to one (votes for answers that the table does not have?)"
            )
    if silent:
        notes.append(f"{question.name}: {silent} galaxies with votes have only zero fractions and count as not asked")
    return notes


def cross_votes(crossing: Crossing, columns: dict[str, Array], source: Question) -> tuple[Question, dict[str, Array]]:
    """
    Another campaign's question from the columns of this one's.

    Returns
    -------
    question : Question
        The crossing's target.
    columns : dict of str to (n_galaxies,) array
        Counts and fractions add up; an answer without a counterpart is NaN.
    """
    made_of = f"{crossing.name}, map {MAP_VERSION}"
    target = replace(crossing.target, fractions=source.fractions, crossed=made_of)
    n_galaxies = len(next(iter(columns.values())))
    made = {}
    if source.total_column in columns:
        made[target.total_column] = columns[source.total_column]
    for answer, name in zip(target.answers, target.targets, strict=True):
        parts = [f"{source.name}_{part}" for part in crossing.answers.get(answer, ())]
        for ending in ("", *ENDINGS.values()):
            if f"{source.targets[0]}{ending}" in columns:
                given = [columns[part + ending] for part in parts]
                made[name + ending] = np.sum(given, axis=0) if given else np.full(n_galaxies, np.nan)
    return target, made
