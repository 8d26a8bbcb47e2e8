"""Labels and predictions of the same galaxies, from the files that people have."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from embeddings.errors import SommelierError
from embeddings.files import read_mark
from embeddings.objects import group_galaxies
from embeddings.questions import Question, list_targets
from embeddings.store import EmbeddingStore
from extract.catalog import FORMAT as CATALOG
from extract.catalog import Catalog, frame_of
from extract.study import find_questions
from extract.tables import read_ids, read_table, require_column

Array = np.ndarray[Any, Any]
STUDY_ARRAYS = ("true_labels", "predictions", "label_columns")
ID = "id_str"


@dataclass(frozen=True)
class Answers:
    """
    The columns that are all answers to one question.

    Attributes
    ----------
    question : str
    ending : str
        Which kind of fraction, as the columns' names say it; empty where they do not.
    columns : tuple of int
        A column an answer.
    """

    question: str
    ending: str
    columns: tuple[int, ...]

    @property
    def name(self) -> str:
        """The question, with the kind of fraction where it is not the plain one."""
        return self.question if self.ending in ("", "fraction") else f"{self.question} ({self.ending})"


@dataclass(frozen=True)
class Pairing:
    """
    Labels and predictions, row by row of the same galaxy.

    Attributes
    ----------
    Y, P : (n_rows, n_targets) float64 arrays
        NaN where not asked, or not predicted.
    targets : tuple of str
    answers : tuple of Answers
    objects : (n_rows,) int array
        Sky objects, as far as ids and positions tell.
    totals : (n_rows, n_targets) array, optional
        How many volunteers answered, where raw fractions of votes were given with their counts.
    notes : tuple of str
        What could not be used.
    """

    Y: Array
    P: Array
    targets: tuple[str, ...]
    answers: tuple[Answers, ...]
    objects: Array = field(repr=False)
    totals: Array | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()


def read_pairing(
    predictions: str | os.PathLike[str], labels: str | os.PathLike[str] | None = None, min_votes: int = 0
) -> Pairing:
    """
    Read the study's npz, or a table of predictions and one of labels.

    Parameters
    ----------
    predictions : path
        An ``.npz`` with ``true_labels, predictions, label_columns``; or a table with ``id_str`` and a column a target.
    labels : path, optional
        A catalog, a store, or a table with ``id_str`` and ``<target>_fraction`` or ``<target>``.
    min_votes : int
        Of catalogs and stores: a question that fewer volunteers answered counts as not asked.

    Raises
    ------
    SommelierError
        When a file is not what it should be, or they have no galaxy or no target in common.
    """
    predictions = Path(predictions)
    if predictions.suffix == ".npz":
        if labels is not None:
            raise SommelierError(f"{predictions} holds its own labels: leave out {labels}.")
        return _read_study(predictions)
    if labels is None:
        raise SommelierError(
            f"{predictions} holds no labels. Give a catalog, a store or a table of them as well: "
            f"sommelier benchmark score {predictions} LABELS"
        )
    predicted = _read_ids_and_columns(predictions)
    known = _read_labels(Path(labels), predicted.columns.tolist(), min_votes)
    return _join(predicted, known, predictions, Path(labels))


def _read_study(file: Path) -> Pairing:
    advice = f"It must hold {', '.join(STUDY_ARRAYS)}: numbers (n_galaxies, n_targets) twice, and the targets' names."
    try:
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as arrays:
            Y, P, columns = (arrays[name] for name in STUDY_ARRAYS)
            ids = arrays["objids"] if "objids" in arrays.files else None
        Y, P = (np.asarray(values, np.float64) for values in (Y, P))
        targets = tuple(map(str, columns.tolist()))
    except FileNotFoundError as error:
        raise SommelierError(f"{file} does not exist. Give the path of a .npz file.") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise SommelierError(f"{file} cannot be read: {error}. {advice}") from error
    if Y.ndim != 2 or Y.shape != P.shape or len(targets) != Y.shape[1] or not Y.size:
        raise SommelierError(f"{file} has labels {Y.shape}, predictions {P.shape}, {len(targets)} names. {advice}")
    if np.isinf(Y).any() or np.isinf(P).any():
        raise SommelierError(f"{file} holds infinite numbers. What is not known is NaN.")
    if len(set(targets)) < len(targets):
        twice = next(target for target in targets if targets.count(target) > 1)
        raise SommelierError(f"{file} names {twice!r} twice in label_columns. Each target has one column.")
    objects = np.arange(len(Y))
    if ids is not None and ids.shape == objects.shape:
        objects = np.unique(ids, return_inverse=True)[1]
    return Pairing(Y, P, targets, _find_answers(targets), objects)


def _find_answers(targets: tuple[str, ...]) -> tuple[Answers, ...]:
    found = find_questions(targets)
    return tuple(Answers(q.name, ending, tuple(columns)) for q, ending, columns in found if len(columns) > 1)


def _read_ids_and_columns(file: Path) -> pd.DataFrame:
    """A table's columns of numbers, by id."""
    table = read_table(file, text_columns=(ID,))
    require_column(table, ID, file)
    ids = read_ids(table[ID], file)
    numbers = [name for name in table.columns if name != ID and table[name].dtype.kind in "biuf"]
    columns = {name: table[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in numbers}
    infinite = [name for name, values in columns.items() if np.isinf(values).any()]
    if infinite:
        raise SommelierError(f"{file}: the column {infinite[0]!r} holds infinite numbers. What is not known is empty.")
    return pd.DataFrame(columns, index=pd.Index(ids, name=ID))


@dataclass(frozen=True)
class Labels:
    """What is known of some galaxies: a column a target."""

    Y: pd.DataFrame
    questions: tuple[Question, ...] = ()
    totals: pd.DataFrame | None = None
    places: Array | None = None  # (n_galaxies, 2)


def _read_labels(file: Path, targets: list[str], min_votes: int) -> Labels:
    if h5py.is_hdf5(file) or file.suffix in (".h5", ".hdf5"):
        with EmbeddingStore.open(file) as store:
            return _of_catalog(Catalog(frame_of(store)[0], store.questions), min_votes)
    if read_mark(file) == CATALOG:
        return _of_catalog(Catalog.read(file), min_votes)
    if min_votes:
        raise SommelierError(f"{file} is a plain table: --min-votes needs a catalog or a store, which know votes.")
    table = _read_ids_and_columns(file)
    found = {t: next((c for c in (f"{t}_fraction", t) if c in table.columns), None) for t in targets}
    columns = {target: column for target, column in found.items() if column}
    return Labels(table[list(columns.values())].set_axis(list(columns), axis=1))


def _of_catalog(catalog: Catalog, min_votes: int) -> Labels:
    index = pd.Index(catalog.ids, name=ID)
    targets = list_targets(catalog.questions)
    Y = pd.DataFrame(catalog.labels(min_votes)[0].astype(np.float64), index, targets)
    counted = {
        target: catalog.frame[question.total_column].to_numpy(dtype=np.float64, na_value=np.nan)
        for question in catalog.questions
        if question.fractions == "raw" and question.total_column in catalog.frame
        for target in question.targets
    }
    places = catalog.frame[["ra", "dec"]].to_numpy(dtype=np.float64)
    return Labels(Y, catalog.questions, pd.DataFrame(counted, index), places)


def _join(predicted: pd.DataFrame, known: Labels, file: Path, labels: Path) -> Pairing:
    """Both for the galaxies and targets that both have."""
    targets = tuple(target for target in predicted.columns if target in known.Y.columns)
    if not targets:
        raise SommelierError(
            f"{labels} has no label of what {file} predicts. Predicted: {_list_some(predicted.columns)}; "
            f"labels: {_list_some(known.Y.columns) or 'none of these, with or without _fraction'}."
        )
    both = predicted.index.intersection(known.Y.index, sort=False)
    if not len(both):
        raise SommelierError(
            f"{file} and {labels} have no {ID} in common: {_list_some(predicted.index, 2)} there, "
            f"{_list_some(known.Y.index, 2)} here."
        )
    rows = known.Y.index.get_indexer(both)
    places = np.full((len(both), 2), np.nan) if known.places is None else known.places[rows]
    ids, no_images = both.to_numpy(dtype=str), np.zeros((len(both), 32), np.uint8)
    totals = None
    if known.totals is not None and set(targets) <= set(known.totals.columns):
        totals = known.totals[list(targets)].to_numpy()[rows]
    return Pairing(
        known.Y[list(targets)].to_numpy()[rows],
        predicted.loc[both, list(targets)].to_numpy(),
        targets,
        _list_answers(known.questions, targets) if known.questions else _find_answers(targets),
        group_galaxies(ids, places[:, 0], places[:, 1], no_images),
        totals,
        tuple(_list_unused(predicted, known, targets, len(both))),
    )


def _list_answers(questions: tuple[Question, ...], targets: tuple[str, ...]) -> tuple[Answers, ...]:
    return tuple(
        Answers(question.name, "", tuple(targets.index(target) for target in question.targets))
        for question in questions
        if len(question.targets) > 1 and set(question.targets) <= set(targets)
    )


def _list_unused(predicted: pd.DataFrame, known: Labels, targets: tuple[str, ...], n: int) -> list[str]:
    """What only one side has."""
    notes = []
    for count, what in (
        (len(predicted) - n, "predicted galaxies have no labels"),
        (len(known.Y) - n, "labelled galaxies are not predicted"),
    ):
        if count:
            notes.append(f"{count} {what}: left out")
    rest = [name for name in predicted.columns if name not in targets]
    if rest:
        notes.append(f"no labels for the columns {_list_some(rest)}: left out")
    return notes


def _list_some(names: Any, most: int = 6) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
