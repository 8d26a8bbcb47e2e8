"""The tidy catalog: one row a galaxy, its image, its labels; Parquet on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from embeddings.errors import CatalogError
from embeddings.files import refuse_overwrite, replace_file
from embeddings.labels import read_labels
from embeddings.questions import Question, merge_questions
from embeddings.relabel import take_rows
from embeddings.store import EmbeddingStore
from extract.folder import walk_files
from extract.images import SUFFIXES
from extract.labels import label_columns
from extract.positions import describe_positions, read_positions
from extract.references import FITS_SUFFIXES, Reference, strip_suffix
from extract.tables import clear_sentinels, read_ids, read_table, require_column

FORMAT = "galaxy-sommelier/catalog"
VERSION = "1.0"
CORE = ("id_str", "survey", "ra", "dec", "image")


@dataclass(frozen=True)
class Catalog:
    """
    Galaxies with their images and labels.

    Attributes
    ----------
    frame : DataFrame
        Columns ``id_str, survey, ra, dec, image`` (degrees ICRS, NaN where unknown), then labels, then
        every other scalar column of the release.
    questions : tuple of Question
        What the label columns are.
    image_root : str
        The folder that `image` is relative to.
    notes : tuple of str
        What its reader found: rows left out, disagreements, what is missing.
    """

    frame: pd.DataFrame
    questions: tuple[Question, ...] = ()
    image_root: str = ""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def ids(self) -> np.ndarray[Any, Any]:
        """(n_galaxies,) str."""
        return self.frame["id_str"].to_numpy(dtype=object)

    @property
    def surveys(self) -> list[str]:
        """The surveys in it."""
        return sorted(self.frame["survey"].unique())

    @property
    def columns(self) -> dict[str, np.ndarray[Any, Any]]:
        """Every column but the core ones, as arrays: numbers, booleans or text."""
        return {name: _to_array(self.frame[name]) for name in self.frame.columns if name not in CORE}

    def labels(self, min_votes: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Targets and votes, each (n_galaxies, n_targets) float32; NaN where not asked."""
        columns = self.columns
        return read_labels(self.questions, list(columns), columns.__getitem__, len(self), min_votes, "the catalog")

    def of_survey(self, survey: str) -> Catalog:
        """The rows of one survey."""
        return replace(self, frame=self.frame[self.frame["survey"] == survey].reset_index(drop=True))

    def missing_images(self) -> list[str]:
        """The paths that do not exist, as they were looked for."""
        paths = [os.path.join(self.image_root, image) for image in self.frame["image"]]
        return [path for path in paths if not Reference.parse(path).exists()]

    def with_notes(self, notes: Iterable[str]) -> Catalog:
        """The same catalog with more notes."""
        return replace(self, notes=(*self.notes, *notes))

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write as Parquet, in place at once; nothing but a catalog is replaced."""
        refuse_overwrite(Path(path), mark=FORMAT)
        metadata = {
            "format": FORMAT,
            "version": VERSION,
            "questions": json.dumps([question.to_dict() for question in self.questions]),
            "image_root": self.image_root,
            "notes": json.dumps(self.notes),
        }
        table = pa.Table.from_pandas(self.frame, preserve_index=False)
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
        with replace_file(Path(path)) as temporary:
            pq.write_table(table, temporary)
        return Path(path)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Catalog:
        """
        Read a catalog.

        Raises
        ------
        CatalogError
            When the file is missing or not a catalog.
        """
        path = Path(path)
        if not path.is_file():
            raise CatalogError(f"{path} does not exist. Make it with: sommelier catalog table FILE -o {path}")
        try:
            table = pq.read_table(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise CatalogError(
                f"{path} cannot be read as Parquet: {str(error).rstrip('.')}. {_ADVICE.format(path)}"
            ) from error
        metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        if metadata.get("format") != FORMAT:
            raise CatalogError(f"{path} is a Parquet table, but not a catalog. {_ADVICE.format(path)}")
        if metadata["version"].split(".")[0] != VERSION.split(".")[0]:
            raise CatalogError(
                f"{path} has catalog version {metadata['version']}; this program reads {VERSION}. Make it again."
            )
        questions = tuple(Question.from_dict(record) for record in json.loads(metadata["questions"]))
        notes = tuple(json.loads(metadata.get("notes", "[]")))
        return cls(table.to_pandas(), questions, metadata["image_root"], notes)


_ADVICE = "Make a catalog of a table with: sommelier catalog table {0} --images DIR --id COLUMN --image COLUMN -o OUT"


def catalog_from_table(
    file: str | os.PathLike[str],
    images: str | os.PathLike[str],
    id_column: str,
    image_column: str,
    labels: Sequence[str] = (),
    survey: str = "mine",
    ra_column: str | None = None,
    dec_column: str | None = None,
) -> Catalog:
    """
    Make a catalog from any table that names an image file a row.

    Parameters
    ----------
    file : path
        CSV, TSV, Parquet, FITS, VOTable or ECSV.
    images : path
        The folder that the image column is relative to.
    id_column, image_column : str
    labels : sequence of str
        Columns to be predicted. Text becomes a question whose categories are its answers, with one vote;
        numbers in [0, 1] become a fraction, other numbers a value.
    survey : str
        Its name in stores and search results.
    ra_column, dec_column : str, optional
        In degrees ICRS; columns called ``ra`` and ``dec`` (any case) are taken without asking.

    Returns
    -------
    Catalog

    Raises
    ------
    CatalogError
        For missing columns, repeated ids, ids that lost digits, positions that cannot be, no rows, no images.
    """
    file = Path(file)
    table = read_table(file, text_columns=(id_column,))
    for name in (id_column, image_column, *labels):
        require_column(table, name, file)
    if not len(table):
        raise CatalogError(f"{file} has no rows.")
    ra, dec = read_positions(table, ra_column, dec_column, file)
    columns = {str(name): table[name] for name in table if name != id_column}
    cleared = clear_sentinels(columns)
    table = table.assign(**columns) if cleared else table
    frame = pd.DataFrame(
        {
            "id_str": read_ids(table[id_column], file),
            "survey": survey,
            "ra": ra,
            "dec": dec,
            "image": table[image_column]
            .astype(object)
            .where(table[image_column].notna(), "")
            .astype(str)
            .astype(object),
        }
    )
    questions, columns = _make_labels(table, labels, file)
    used = {id_column, image_column, ra_column, dec_column, *(columns.keys() & set(labels))}
    if not ra_column and {"ra", "dec"} <= {name.lower() for name in table.columns}:
        used |= {name for name in table.columns if name.lower() in ("ra", "dec")}
    columns |= rename_taken({name: table[name] for name in table.columns if name not in used}, {*CORE, *columns})
    frame = pd.concat([frame, pd.DataFrame(columns, index=frame.index)], axis=1)
    notes = cleared + (describe_positions(ra, dec) if np.isfinite(ra).any() else [])
    catalog = Catalog(frame, questions, str(Path(images).resolve()), tuple(notes))
    _require_images(catalog)
    return catalog


def rename_taken(columns: dict[str, Any], taken: set[str]) -> dict[str, Any]:
    """Columns of a release under their names, with ``_original`` behind those that the catalog needs itself."""
    renamed = {}
    for name, column in columns.items():
        free = name
        while free in taken or free in renamed or (free != name and free in columns):
            free += "_original"
        renamed[free] = column
    return renamed


def _make_labels(table: pd.DataFrame, labels: Sequence[str], file: Path) -> tuple[tuple[Question, ...], dict[str, Any]]:
    """The questions of the label columns, and the catalog columns that they make."""
    columns: dict[str, Any] = {}
    questions = []
    for label in dict.fromkeys(labels):
        question, made = label_columns(table[label], label, file)
        taken = [name for name in made if name in CORE or name in columns]
        if taken:
            raise CatalogError(
                f"{file}: the label {label!r} makes a column {taken[0]!r}, which the catalog has already. "
                "Rename the label's column."
            )
        questions.append(question)
        columns |= made
    return tuple(questions), columns


def catalog_from_folder(folder: str | os.PathLike[str], survey: str = "mine", pattern: str = "*") -> Catalog:
    """
    Make a catalog of every image in a folder and below; ids are file names without the ending.

    Parameters
    ----------
    folder : path
    survey : str
        Its name in stores and search results.
    pattern : str
        Only files whose path below the folder matches this glob (``*.fits``).

    Raises
    ------
    CatalogError
        When the folder is missing, holds no images, or two files would share an id.
    """
    root = Path(folder).resolve()
    if not root.is_dir():
        raise CatalogError(f"{folder} is not a folder. Give the folder that holds the images.")
    found = walk_files(root, (*SUFFIXES, *FITS_SUFFIXES))
    paths = [Path(path) for path in found if fnmatchcase(path, pattern)]
    if not paths:
        which = "" if pattern == "*" else f" that match {pattern!r}"
        raise CatalogError(f"{folder} holds no images{which}. Known endings: {', '.join((*SUFFIXES, *FITS_SUFFIXES))}.")
    frame = pd.DataFrame(
        {
            "id_str": [
                path.with_name(strip_suffix(path.name, (*SUFFIXES, *FITS_SUFFIXES))).as_posix() for path in paths
            ],
            "survey": survey,
            "ra": np.nan,
            "dec": np.nan,
            "image": [path.as_posix() for path in paths],
        }
    )
    try:
        frame["id_str"] = read_ids(frame["id_str"], root)
    except CatalogError as error:
        raise CatalogError(f"{error} If they are other kinds of file, choose one with --pattern '*.fits'.") from None
    return Catalog(frame, (), str(root))


def concatenate_catalogs(catalogs: Sequence[Catalog]) -> tuple[Catalog, list[str], np.ndarray[Any, Any]]:
    """
    Put catalogs one after another.

    Returns
    -------
    catalog : Catalog
        Without an image root of its own.
    roots : list of str
        The image roots, each once.
    root_index : (n_galaxies,) uint16 array
        Which root each row's image lies under.

    Raises
    ------
    CatalogError
        When an id appears twice.
    """
    roots = list(dict.fromkeys(catalog.image_root for catalog in catalogs))
    root_index = np.concatenate([np.full(len(c), roots.index(c.image_root), np.uint16) for c in catalogs])
    frame = _concatenate_frames([catalog.frame for catalog in catalogs])
    read_ids(frame["id_str"], Path("the catalogs together"))
    questions = merge_questions(*(catalog.questions for catalog in catalogs))
    return Catalog(frame, questions), roots, root_index


def frame_of(store: EmbeddingStore) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    """A store's catalog, and the image root of each row."""
    core = {"id_str": store.ids, "survey": store.survey, "ra": store.ra, "dec": store.dec, "image": store.images}
    columns = {name: store.column(name) for name in store.columns}
    frame = pd.DataFrame(core | columns)
    text = [name for name in frame.columns if frame[name].dtype.kind not in "biuf"]
    return frame.astype(dict.fromkeys(text, object)), store.image_roots


def add_columns(catalog: Catalog, store: EmbeddingStore) -> Catalog:
    """The catalog with the columns and questions that only the store has; where both have one, the catalog's stays."""
    place = {id_str: row for row, id_str in enumerate(store.ids.tolist())}
    rows = np.array([place.get(id_str, -1) for id_str in catalog.ids.tolist()], dtype=np.int64)
    own = {question.name for question in catalog.questions}
    others = [question for question in store.questions if question.name not in own]
    # of a question that the catalog brings, the store's votes must not stay beside the catalog's fractions
    replaced = {name for q in catalog.questions for name in (q.total_column, *q.vote_columns, *q.target_columns)}
    names = [name for name in store.columns if name not in catalog.frame.columns and name not in replaced]
    columns = {name: take_rows(store.column(name), rows) for name in names}
    frame = pd.concat([catalog.frame, pd.DataFrame(columns, index=catalog.frame.index)], axis=1)
    return Catalog(frame, (*catalog.questions, *others), catalog.image_root)


def _concatenate_frames(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One frame after another; integers stay integers where a frame lacks the column."""
    exact = {"i": "Int64", "u": "UInt64", "b": "boolean"}
    names = set().union(*(frame.columns for frame in frames))
    gaps = {name for name in names if not all(name in frame.columns for frame in frames)}
    nullable = [
        frame.astype({name: exact[frame[name].dtype.kind] for name in gaps & set(frame.columns)
                      if getattr(frame[name].dtype, "kind", "O") in exact})
        for frame in frames
    ]  # fmt: skip
    return pd.concat(nullable, ignore_index=True)


def _require_images(catalog: Catalog) -> None:
    """At least one image must be there: otherwise the folder or the column is wrong."""
    missing = catalog.missing_images()
    if len(missing) == len(catalog):
        raise CatalogError(
            f"none of the {len(catalog)} images is there; looked for {', '.join(missing[:3])} ... "
            f"Check --images (the folder that the image column is relative to) and --image."
        )


def _to_array(series: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """A column as numbers, booleans, or objects that are text or None."""
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "biuf":
        return series.to_numpy()
    if pd.api.types.is_bool_dtype(series.dtype) or pd.api.types.is_numeric_dtype(series.dtype):
        if series.isna().any() and pd.api.types.is_integer_dtype(series.dtype) and series.abs().max() > 2**53:
            return series.astype(object).where(series.notna(), None).to_numpy(dtype=object)
        return series.to_numpy(dtype=np.float64, na_value=np.nan) if series.isna().any() else np.asarray(series)
    return series.astype(object).where(series.notna(), None).to_numpy(dtype=object)


def split_surveys(catalogs: Sequence[Catalog], output: str) -> list[tuple[Path, list[Catalog]]]:
    """
    Which store each survey goes to.

    Parameters
    ----------
    catalogs : sequence of Catalog
    output : str
        With ``{survey}`` in it, one store a survey; without, one store.

    Returns
    -------
    list of (path, catalogs)
    """
    if "{survey}" not in output:
        return [(Path(output), list(catalogs))]
    surveys = dict.fromkeys(survey for catalog in catalogs for survey in catalog.surveys)
    for survey in surveys:
        if survey != Path(survey).name:
            raise CatalogError(f"the survey {survey!r} cannot be part of a file name: it holds a folder.")
    return [
        (Path(output.replace("{survey}", survey)), [c.of_survey(survey) for c in catalogs if survey in c.surveys])
        for survey in surveys
    ]
