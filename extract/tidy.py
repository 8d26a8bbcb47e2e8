"""From a release's own columns to the tidy catalog: labels, cuts, repeated rows, everything else kept."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embeddings.errors import CatalogError, did_you_mean
from embeddings.questions import Fractions, Question
from extract.catalog import CORE, Catalog, rename_taken
from extract.positions import describe_positions
from extract.schema import CROSSINGS, MAP_VERSION, Dialect, find_crossing
from extract.tables import Columns, clear_sentinels
from extract.votes import Labels, cross_votes, read_votes

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Choices:
    """
    What of a release becomes the catalog.

    Parameters
    ----------
    fractions : {'raw', 'weighted', 'debiased'}
        Which of the release's fractions are the labels; the others are kept beside them.
    min_votes : int
        Galaxies whose first question has fewer votes are left out.
    drop : tuple of str
        Flags of the release (``wrong_size_warning``): galaxies that carry one are left out.
    drop_missing : bool
        Whether galaxies without an image file are left out.
    cross : tuple of str
        Questions that are also mapped to GZ2's tree, with loss (`extract.schema.CROSSINGS`).
    """

    fractions: Fractions = "raw"
    min_votes: int = 0
    drop: tuple[str, ...] = ()
    drop_missing: bool = False
    cross: tuple[str, ...] = ()


@dataclass(frozen=True)
class Core:
    """The columns that every catalog has, as a release's reader found them."""

    ids: pd.Series[Any]
    survey: str
    ra: Array
    dec: Array
    image: list[str]
    there: Array  # whether each image file is there
    root: str
    notes: tuple[str, ...] = ()


def tidy_catalog(core: Core, table: Columns, dialect: Dialect, whole: bool, choices: Choices, file: Path) -> Catalog:
    """
    Make a catalog.

    Parameters
    ----------
    core : Core
    table : dict of str to Series
        All other columns of the release; it is used up.
    dialect : Dialect
    whole : bool
        Whether the table must have every question of its campaign.
    choices : Choices
    file : Path
        For messages.

    Raises
    ------
    CatalogError
    """
    notes = [f"read from {file.name}: {dialect.campaign.title}, {len(core.ids)} rows", *core.notes]
    notes += clear_sentinels(table)
    labels = _read_questions(dialect, table, whole, choices.fractions, file)
    notes += [note for label in labels for note in label.notes]
    if all(label.total is None for label in labels):
        notes.append("the release has no vote counts: its labels cannot be weighted or cut by votes")
    elif unasked := len(core.ids) - int(np.isfinite(_label(labels[0])).sum()):
        notes.append(f"{unasked} galaxies have no answer to {labels[0].question.name}")
    questions = [label.question for label in labels]
    columns = {name: values for label in labels for name, values in label.columns.items()}
    for name in dict.fromkeys(choices.cross):
        question, made, note = _cross(name, questions, columns)
        questions.append(question)
        columns |= made
        notes.append(note)
    columns |= rename_taken(table, {*CORE, *columns})
    keep, cuts = _cut(core, labels, columns, choices, file)
    notes += cuts
    fixed = {"id_str": core.ids, "survey": core.survey, "ra": core.ra, "dec": core.dec, "image": core.image}
    frame = pd.DataFrame(fixed | columns, copy=False)
    if not keep.all():
        frame = frame[keep].reset_index(drop=True)
    notes += _describe_images(core, keep)
    notes += describe_positions(frame["ra"].to_numpy(), frame["dec"].to_numpy())
    return Catalog(frame, tuple(questions), core.root, tuple(notes))


def _label(label: Labels) -> Array:
    """The first answer's fraction."""
    return label.columns[label.question.target_columns[0]]


def _describe_images(core: Core, keep: Array) -> list[str]:
    """How many images are not there, and where the first few were looked for."""
    missing = np.flatnonzero(keep & ~core.there)
    if not len(missing):
        return []
    sought = [str(Path(core.root) / core.image[row]) for row in missing[:3] if core.image[row]]
    looked = f"; looked for {', '.join(sought)}{' ...' if len(missing) > 3 else ''}" if sought else ""
    return [f"{len(missing)} of {int(keep.sum())} images are not there{looked}"]


def _read_questions(dialect: Dialect, table: Columns, whole: bool, fractions: Fractions, file: Path) -> list[Labels]:
    with ThreadPoolExecutor() as pool:  # numpy works on several questions at once
        read = list(pool.map(lambda q: read_votes(q, dialect, table, fractions, file), dialect.campaign.questions))
    labels = []
    for question, label in zip(dialect.campaign.questions, read, strict=True):
        if label:
            labels.append(label)
        elif whole:
            column = f"{dialect.stems[question.targets[0]]}_fraction"
            raise CatalogError(
                f"{file} has no column {column!r}, which {dialect.campaign.title} has. "
                f"{did_you_mean(column, table)} Restore the table as it was published."
            )
    return labels


def _cross(
    name: str, questions: Iterable[Question], columns: dict[str, Array]
) -> tuple[Question, dict[str, Array], str]:
    crossing = find_crossing(name)
    sources = {question.name: question for question in questions}
    if name not in sources:
        raise CatalogError(
            f"there is no question {name!r} in this release to be crossed. "
            f"{did_you_mean(name, sources.keys() & CROSSINGS)}"
        )
    question, made = cross_votes(crossing, columns, sources[name])
    note = f"{question.name} is made of {name} by the lossy map {MAP_VERSION}: {crossing.reason}. Lost: {crossing.loss}"
    return question, made, note


def _cut(
    core: Core, labels: list[Labels], columns: dict[str, Any], choices: Choices, file: Path
) -> tuple[Array, list[str]]:
    """Which rows stay, and why the others do not."""
    n_rows = len(core.ids)
    first = labels[0].total if labels else None
    keep, notes = np.ones(n_rows, bool), []

    def leave_out(rows: Array, why: str) -> None:
        lost = int((keep & rows).sum())
        keep[rows] = False
        if lost:
            notes.append(f"{lost} rows left out: {why}")

    leave_out(_find_repeats(core.ids, first), "their id appears again with as many votes or more")
    if choices.min_votes:
        if first is None:
            raise CatalogError(f"{file} has no vote counts: --min-votes cannot tell how many there were. Leave it out.")
        question = labels[0].question.name
        leave_out(~(first >= choices.min_votes), f"fewer than {choices.min_votes} votes for {question}")
    for name in choices.drop:
        leave_out(_read_flag(name, columns, file), f"flagged {name}")
    if choices.drop_missing:
        leave_out(~core.there, "no image file")
    if not keep.any():
        raise CatalogError(f"{file}: no galaxy is left of {n_rows}: {'; '.join(notes) or 'the table is empty'}.")
    return keep, notes


def _find_repeats(ids: pd.Series[Any], votes: Array | None) -> Array:
    """Rows whose id another row has with more votes, or with as many further up."""
    repeated = ids.duplicated(keep=False).to_numpy(copy=True)
    if not repeated.any():
        return repeated
    rows = np.flatnonzero(repeated)
    order = rows if votes is None else rows[np.argsort(-np.nan_to_num(votes[rows]), kind="stable")]
    best = ids.iloc[order].drop_duplicates().index
    repeated[best] = False
    return repeated


def _read_flag(name: str, columns: dict[str, Any], file: Path) -> Array:
    """A flag column as booleans; blank is not flagged."""
    if name not in columns:
        flags = [other for other, values in columns.items() if values.dtype == bool]
        raise CatalogError(f"{file} has no column {name!r} to drop by. {did_you_mean(name, flags or columns)}")
    words = pd.Series(columns[name]).astype("str").fillna("").str.strip().str.lower()
    flagged = words.isin(("true", "1", "1.0"))
    wrong = words[~(flagged | words.isin(("false", "0", "0.0", "", "nan")))]
    if len(wrong):
        raise CatalogError(
            f"{file}: column {name!r} is no flag (row {wrong.index[0]}: {wrong.iloc[0]!r}). "
            "--drop takes a column of true and false."
        )
    return flagged.to_numpy(dtype=bool)
