"""The galaxies that a fine-tune learns from: labels, votes, and where their images are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from embeddings.errors import CatalogError, SommelierError
from embeddings.labels import read_labels
from embeddings.questions import Question, list_targets, merge_questions, select_questions
from extract.catalog import Catalog

Array = np.ndarray[Any, Any]
COLUMNS = ("rows", "ids", "surveys", "ra", "dec", "paths", "Y", "votes")


class TrainingError(SommelierError):
    """A fine-tune that cannot start, or cannot go on."""


@dataclass(frozen=True)
class GalaxyTable:
    """
    Galaxies with images and labels, of one or more surveys.

    Attributes
    ----------
    rows : (n_galaxies,) int array
        Their places in the table as it was read; `take` keeps them.
    ids, surveys, paths : (n_galaxies,) arrays of str
        Paths are whole: image root and image.
    ra, dec : (n_galaxies,) arrays
        Degrees ICRS, NaN where unknown.
    Y, votes : (n_galaxies, n_targets) float32 arrays
        Fractions, NaN where not asked; votes for each answer, NaN where there are no counts.
    questions : tuple of Question
    """

    rows: Array
    ids: Array
    surveys: Array
    ra: Array
    dec: Array
    paths: Array
    Y: Array
    votes: Array
    questions: tuple[Question, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def targets(self) -> list[str]:
        """The names of the columns of Y."""
        return list_targets(self.questions)

    @property
    def columns(self) -> list[tuple[Question, range]]:
        """Each question with its columns of Y."""
        ends = np.cumsum([len(question.targets) for question in self.questions]).tolist()
        return [(q, range(end - len(q.targets), end)) for q, end in zip(self.questions, ends, strict=True)]

    @property
    def places(self) -> list[tuple[float, float]]:
        """Each galaxy's ra and dec."""
        return list(zip(self.ra.tolist(), self.dec.tolist(), strict=True))

    def take(self, rows: Array) -> GalaxyTable:
        """Some of the galaxies, by number or by mask."""
        return replace(self, **{name: getattr(self, name)[rows] for name in COLUMNS})


def read_galaxies(
    catalogs: Sequence[Path],
    images: Path | None = None,
    targets: Sequence[str] = (),
    min_votes: int = 0,
    limit: int | None = None,
    seed: int = 0,
) -> GalaxyTable:
    """
    Read the labelled galaxies of catalogs, one catalog after another.

    Parameters
    ----------
    catalogs : sequence of path
    images : path, optional
        The folder of the images, instead of the catalogs' own.
    targets : sequence of str
        Globs over target names; all by default.
    min_votes : int
        Questions that fewer volunteers answered count as not asked.
    limit : int, optional
        At most so many galaxies of each catalog, drawn by `seed`.

    Raises
    ------
    TrainingError
        When there is nothing to learn, a catalog names no images, a target has no labels, or a target is no fraction.
    CatalogError
        When a file is no catalog, or a survey has an id twice.
    SommelierError
        When a glob matches no target.
    """
    read = [_limit(Catalog.read(path), limit, seed) for path in catalogs]
    if not read:
        raise TrainingError("data.catalogs names no catalog. Give one or more, as [sdss.parquet, decals.parquet].")
    questions = _choose_questions(merge_questions(*(catalog.questions for catalog in read)), targets, catalogs)
    parts = [_read_catalog(c, questions, min_votes, images, path) for c, path in zip(read, catalogs, strict=True)]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS[1:]}
    table = GalaxyTable(rows=np.arange(len(columns["ids"])), questions=questions, **columns)
    _require_unique(table)
    table = table.take(np.flatnonzero(~np.isnan(table.Y).all(axis=1)))
    _require_labels(table, min_votes, catalogs)
    return replace(table, rows=np.arange(len(table)))


def _limit(catalog: Catalog, limit: int | None, seed: int) -> Catalog:
    if limit is None or len(catalog) <= limit:
        return catalog
    rows = np.sort(np.random.default_rng(seed).permutation(len(catalog))[:limit])
    return replace(catalog, frame=catalog.frame.iloc[rows].reset_index(drop=True))


def _read_catalog(
    catalog: Catalog, questions: Sequence[Question], min_votes: int, images: Path | None, path: Path
) -> dict[str, Array]:
    """The columns of one catalog; questions that it does not have are not asked of its galaxies."""
    Y = np.full((len(catalog), len(list_targets(questions))), np.nan, np.float32)
    votes = np.full_like(Y, np.nan)
    own, columns, start = {q.name for q in catalog.questions}, catalog.columns, 0
    for question in questions:
        block = slice(start, start := start + len(question.targets))
        if question.name in own:
            Y[:, block], votes[:, block] = read_labels(
                [question], list(columns), columns.__getitem__, len(catalog), min_votes, str(path), catalog.questions
            )
    frame, root = catalog.frame, str(images or catalog.image_root)
    paths = [os.path.join(root, image) if image else "" for image in frame["image"]]
    if not any(paths):
        raise TrainingError(
            f"{path} names no images: a fine-tune learns from pictures. Make it again with --images and --image."
        )
    return {
        "ids": catalog.ids, "surveys": frame["survey"].to_numpy(object), "paths": np.array(paths, object),
        "ra": frame["ra"].to_numpy(np.float64), "dec": frame["dec"].to_numpy(np.float64), "Y": Y, "votes": votes,
    }  # fmt: skip


def _choose_questions(
    known: tuple[Question, ...], targets: Sequence[str], catalogs: Sequence[Path]
) -> tuple[Question, ...]:
    names = ", ".join(map(str, catalogs))
    if not known:
        raise TrainingError(f"{names} has no labels to learn. Make the catalog with labels (--label).")
    questions = select_questions(known, targets)
    values = [question.name for question in questions if question.kind == "value"]
    if values:
        raise TrainingError(
            f"{', '.join(values)} of {names} is no fraction of votes, and fine-tuning learns only those. "
            "Choose others with data.targets, or fit a head on embeddings: sommelier head fit."
        )
    return questions


def _require_unique(table: GalaxyTable) -> None:
    keys = np.array([f"{survey} {id_str}" for survey, id_str in zip(table.surveys, table.ids, strict=True)], object)
    names, counts = np.unique(keys, return_counts=True)
    if (counts > 1).any():
        raise CatalogError(
            f"the catalogs name a galaxy of one survey twice: {', '.join(names[counts > 1][:3])}. Leave one out."
        )


def _require_labels(table: GalaxyTable, min_votes: int, catalogs: Sequence[Path]) -> None:
    names = ", ".join(map(str, catalogs))
    cut = f" of at least {min_votes} votes (data.min_votes)" if min_votes else ""
    if not len(table):
        raise TrainingError(f"no galaxy of {names} has a label{cut}.")
    empty = [t for t, y in zip(table.targets, table.Y.T, strict=True) if np.isnan(y).all()]
    if empty:
        raise TrainingError(
            f"no galaxy of {names} has a label{cut} for {', '.join(empty)}. Choose others with data.targets."
        )
