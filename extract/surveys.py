"""The surveys' Galaxy Zoo releases: which files, which columns, where the images lie; and their readers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embeddings.errors import CatalogError, did_you_mean
from embeddings.files import read_mark
from extract.catalog import Catalog
from extract.folder import ImageFolder
from extract.positions import compare_with_names, read_positions, take_positions
from extract.schema import CAMPAIGNS, Dialect, best_dialect
from extract.tables import Columns, read_columns, read_ids, read_table, require_column
from extract.tidy import Choices, Core, tidy_catalog

TABLE_ENDINGS = (".parquet", ".csv", ".csv.gz", ".fits", ".fits.gz")
MAPPING = "gz2_filename_mapping.csv"
KAGGLE_SLACK = 0.01  # its numbers are rounded to six digits and more
Array = np.ndarray[Any, Any]
Images = tuple[list[str], list[bool]]  # where they are or should be, and whether they are there
SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Survey:
    """
    One survey's releases.

    Parameters
    ----------
    name, title : str
    tables : tuple of str
        Names of the published tables without their endings, the preferred one first.
    dialects : tuple of Dialect
        How their columns may be written.
    ids : tuple of str
        Columns that hold the id, the first that is there.
    locate : callable
        Finds the images: table, ids, the images' folder and the release's folder.
    prepare : callable, optional
        Adds columns to the table before it is read, and gives notes on them.
    """

    name: str
    title: str
    tables: tuple[str, ...]
    dialects: tuple[Dialect, ...]
    ids: tuple[str, ...]
    locate: Callable[[Columns, pd.Series[Any], ImageFolder, Path, list[str]], Images]
    prepare: Callable[[Columns, Path], list[str]] = field(default=lambda table, file: [])


def read_catalog(
    survey: str,
    release: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    crosswalk: str | os.PathLike[str] | None = None,
    positions: str | os.PathLike[str] | None = None,
    name: str | None = None,
    **choices: Any,
) -> Catalog:
    """
    Read a Galaxy Zoo release as it was published.

    Parameters
    ----------
    survey : {'sdss', 'decals', 'ukidss', 'kaggle'}
    release : path
        The folder that holds table and images, or the table itself.
    images : path, optional
        The folder that holds the images, if not the release's.
    crosswalk : path, optional
        A table of ``subject_id`` and ``dr7objid`` for UKIDSS, and of ``ra`` and ``dec`` if it has them.
    positions : path, optional
        A catalog of SDSS, to give the galaxies of the crosswalk their positions.
    name : str, optional
        What the survey is called in stores and search results.
    **choices
        Fields of `extract.tidy.Choices`: ``fractions``, ``min_votes``, ``drop``, ``drop_missing``, ``cross``.

    Returns
    -------
    Catalog
        With `notes` on what was found.

    Raises
    ------
    CatalogError
        With what, where, what was expected and what to do.
    """
    if survey not in SURVEYS:
        raise CatalogError(f"the survey {survey!r} is not known. {did_you_mean(survey, SURVEYS)}")
    known, chosen = SURVEYS[survey], Choices(**choices)
    file, others = find_table(known, Path(release))
    if file.suffix == ".parquet" and read_mark(file):
        raise CatalogError(
            f"{file} is a catalog already: look at it with 'sommelier catalog info', or extract from it."
        )
    folder = Path(images) if images else file.parent
    if not folder.is_dir():
        raise CatalogError(f"{folder} is not a folder. Give the folder that holds the images with --images.")
    table = read_columns(file, text_columns=known.ids)
    prepared = known.prepare(table, file)
    dialect = _find_dialect(known, table, file)
    ids = _take_ids(known, table, file)
    notes = [f"not read: {other.name}, which is there too; give its path to read it instead" for other in others]
    notes += prepared
    if "auto_posteriors" in file.name:
        notes.append("its fractions are a model's predictions, not shares of votes")
    root = folder.resolve()
    paths, there = known.locate(table, ids, ImageFolder(root, SUFFIXES), file.parent, notes)
    if positions and not crosswalk:
        raise CatalogError("--positions are of SDSS galaxies: which is which, a --crosswalk must say.")
    if crosswalk:
        notes += _join_crosswalk(table, ids, Path(crosswalk), Path(positions) if positions else None)
    ra, dec = _take_positions(table, ids, file)
    core = Core(ids, name or known.name, ra, dec, paths, np.array(there, bool), str(root), tuple(notes))
    return tidy_catalog(core, table, dialect, _stem(file) in known.tables, chosen, file)


def find_table(survey: Survey, release: Path) -> tuple[Path, list[Path]]:
    """
    The table of a release, and other tables of the survey beside it.

    Raises
    ------
    CatalogError
        When there is none, with what was looked for and what is there.
    """
    if release.is_file():
        return release, []
    if not release.is_dir():
        raise CatalogError(f"{release} does not exist. Give the folder of the release, or its table.")
    known = [release / (stem + end) for stem in survey.tables for end in TABLE_ENDINGS]
    found = [path for path in known if path.is_file()]
    if found:
        return found[0], [path for path in found[1:] if _stem(path) != _stem(found[0])]
    for below in sorted(path for path in release.iterdir() if path.is_dir()):
        if any((below / (stem + end)).is_file() for stem in survey.tables for end in TABLE_ENDINGS):
            raise CatalogError(f"{release} has no table of {survey.title}, but {below} has: give that folder.")
    tables = [path for path in sorted(release.iterdir()) if path.name.endswith(TABLE_ENDINGS) and path.name != MAPPING]
    tables = [
        path for path in tables if not path.name.startswith(".") and not (path.suffix == ".parquet" and read_mark(path))
    ]
    if len(tables) == 1:
        return tables[0], []
    there = f"tables there: {', '.join(path.name for path in tables[:8])}" if tables else "it holds no table"
    raise CatalogError(
        f"{release} has no table of {survey.title}: looked for {', '.join(survey.tables)} "
        f"({', '.join(TABLE_ENDINGS)}); {there}. Give the path of the table, or see: sommelier download --help"
    )


def _stem(file: Path) -> str:
    return file.name.split(".")[0]


def _find_dialect(survey: Survey, table: Columns, file: Path) -> Dialect:
    """The campaign whose columns the table has."""
    dialect, score = best_dialect(table, survey.dialects)
    everywhere = {other: best_dialect(table, record.dialects)[1] for other, record in SURVEYS.items()}
    likeliest = max(everywhere, key=lambda other: (everywhere[other], other == survey.name))
    if dialect is None or everywhere[likeliest] > score:
        expected = min(survey.dialects[0].columns)
        hint = (
            f"It looks like {SURVEYS[likeliest].title}: sommelier catalog {likeliest}. "
            if everywhere[likeliest]
            else ""
        )
        raise CatalogError(
            f"{file} has none or few of the columns of {survey.title} ({expected!r} ...). "
            f"{hint}{did_you_mean(expected, table)}"
        )
    return dialect


def _take_ids(survey: Survey, table: Columns, file: Path) -> pd.Series[Any]:
    """The ids as text, repeated ones included."""
    column = next((name for name in survey.ids if name in table), survey.ids[0])
    if column not in table:
        raise CatalogError(
            f"{file} has no column {' or '.join(map(repr, survey.ids))}, which {survey.title} has. "
            f"{did_you_mean(column, table)}"
        )
    path = column.endswith("_loc") or column == "filename"
    given = table[column] if path else table.pop(column)
    if path:  # .../J132/J132200.16+005202.0.png, or <subject id>.jpg
        given = given.astype(object).map(lambda path: Path(str(path)).stem)
    return read_ids(given, file, allow_repeats=True)


def _take_positions(table: Columns, ids: pd.Series[Any], file: Path) -> tuple[Array, Array]:
    """Ra and dec, held against the places that names tell: an iauname, or GZ2's rastring and decstring."""
    ra, dec = take_positions(table, file)
    if {"rastring", "decstring"} <= table.keys():
        compare_with_names(ra, dec, (table["rastring"], table["decstring"]), file)
    compare_with_names(ra, dec, (ids,), file)
    return ra, dec


# where the images of each survey lie


def _find_mapping(*places: Path) -> Path | None:
    return next((place / MAPPING for place in places if (place / MAPPING).is_file()), None)


def _locate_sdss(table: Columns, ids: pd.Series[Any], folder: ImageFolder, release: Path, notes: list[str]) -> Images:
    mapping = _find_mapping(release, folder.root)
    if mapping is None:
        notes.append(f"no {MAPPING} beside the table: images were looked for by object id (Zenodo 3565489 has it)")
        return folder.locate(("images/" + ids).tolist(), ".jpg", anywhere=True)
    assets = _map_assets(table, ids, mapping)
    lost = ids[assets.isna()]
    if len(lost):
        notes.append(f"{len(lost)} ids are not in {MAPPING} and have no image: {', '.join(lost.head(3))} ...")
    return folder.locate(("images/" + assets).where(assets.notna(), "").tolist(), ".jpg", anywhere=False)


def _map_assets(table: Columns, ids: pd.Series[Any], mapping: Path) -> pd.Series[Any]:
    """Each galaxy's asset, of its own sample where the mapping has it more than once."""
    columns = read_columns(mapping, text_columns=("objid", "asset_id"))
    for column in ("objid", "asset_id"):
        require_column(columns, column, mapping)
    assets = pd.DataFrame(
        {name: read_ids(columns[name], mapping, allow_repeats=True) for name in ("objid", "asset_id")}
    )
    found = ids.map(assets.drop_duplicates("objid").set_index("objid")["asset_id"])
    if "sample" in columns and "sample" in table and assets["objid"].duplicated().any():
        keys = assets["objid"] + " " + columns["sample"].astype(str).to_numpy()
        exact = assets.assign(key=keys).drop_duplicates("key").set_index("key")["asset_id"]
        found = (ids + " " + table["sample"].astype(str).to_numpy()).map(exact).fillna(found)
    return found


def _locate_decals(table: Columns, ids: pd.Series[Any], folder: ImageFolder, release: Path, notes: list[str]) -> Images:
    return folder.locate((ids.str[:4] + "/" + ids).tolist(), ".png", anywhere=True)


def _locate_ukidss(table: Columns, ids: pd.Series[Any], folder: ImageFolder, release: Path, notes: list[str]) -> Images:
    given = table.pop("subfolder", pd.Series(np.nan, ids.index)).astype(object)
    subfolder = given.where(given.notna(), ids.str[:21]).astype(str)
    names = table.pop("filename", ids).astype(str).str.removesuffix(".jpg")
    return folder.locate((subfolder + "/" + names).tolist(), ".jpg", anywhere=True)


def _locate_kaggle(table: Columns, ids: pd.Series[Any], folder: ImageFolder, release: Path, notes: list[str]) -> Images:
    return folder.locate(("images_training_rev1/" + ids).tolist(), ".jpg", anywhere=False)


def _join_crosswalk(table: Columns, ids: pd.Series[Any], crosswalk: Path, positions: Path | None) -> list[str]:
    """Give each subject its SDSS id, and a position where one is known; say how many have them."""
    walk = read_table(crosswalk, text_columns=("subject_id", "dr7objid"))
    for column in ("subject_id", "dr7objid"):
        require_column(walk, column, crosswalk)
    walk = walk.assign(subject_id=read_ids(walk["subject_id"], crosswalk).to_numpy())
    objects = read_ids(walk["dr7objid"], crosswalk, allow_repeats=True).to_numpy()
    ra, dec = read_positions(walk, None, None, crosswalk)
    if positions:
        sky = Catalog.read(positions).frame.set_index("id_str")[["ra", "dec"]].reindex(objects)
        if sky["ra"].isna().all():
            raise CatalogError(f"{positions} has a position of none of the galaxies in {crosswalk} ({objects[0]} ...).")
        ra, dec = (np.where(np.isnan(a), sky[c].to_numpy(), a) for a, c in ((ra, "ra"), (dec, "dec")))
    walk = pd.DataFrame({"dr7objid": objects, "ra": ra, "dec": dec}, index=walk["subject_id"])
    joined = walk.reindex(ids.to_numpy())
    if joined["dr7objid"].isna().all():
        raise CatalogError(
            f"{crosswalk} names none of the {len(ids)} subjects: it has {walk.index[0]!r} ..., "
            f"the release {ids.iloc[0]!r} ..."
        )
    table |= {str(column): joined[column].reset_index(drop=True) for column in joined}
    known, placed = int(joined["dr7objid"].notna().sum()), int(joined["ra"].notna().sum())
    hint = "" if placed else "; it has no ra and dec: give the SDSS catalog that has them with --positions"
    return [f"{crosswalk.name} names {known} of {len(ids)} subjects and places {placed}{hint}"]


# Kaggle's Galaxy Challenge multiplied each fraction by the share of volunteers who got that far


def _undo_kaggle(table: Columns, file: Path) -> list[str]:
    """Add fractions of those asked beside the cumulative ones; say where these do not fit together."""
    dialect, odd = SURVEYS["kaggle"].dialects[0], np.zeros(len(table.get("GalaxyID", ())), bool)
    shares: dict[str, Array] = {}
    for number, question in enumerate(CAMPAIGNS["gz2"].questions, 1):
        names = [f"Class{number}.{answer}" for answer in range(1, len(question.answers) + 1)]
        for name in names:
            require_column(table, name, file)
        values = np.stack([_to_share(table[name], file) for name in names])
        shares |= dict(zip(question.targets, values, strict=True))
        asked = values.sum(axis=0)
        arrived = shares[question.parent] if question.parent else np.ones(len(asked))
        odd |= np.abs(asked - arrived) > KAGGLE_SLACK
        fractions = np.divide(values, asked, out=np.zeros_like(values), where=asked > 0)
        for target, fraction in zip(question.targets, fractions, strict=True):
            table[f"{dialect.stems[target]}_fraction"] = pd.Series(fraction)
    words = f"{int(odd.sum())} galaxies have a question whose answers do not add up to the share that got there"
    return [words] if odd.any() else []


def _to_share(column: pd.Series[Any], file: Path) -> Array:
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    wrong = ~((values >= 0) & (values <= 1)) & column.notna().to_numpy()
    if wrong.any():
        row = int(np.argmax(wrong))
        raise CatalogError(
            f"{file}: column {column.name!r} has {int(wrong.sum())} values that are no probabilities in [0, 1] "
            f"(first: {column.iloc[row]} in row {row})."
        )
    return np.asarray(values)


SURVEYS: Mapping[str, Survey] = {
    survey.name: survey
    for survey in (
        Survey(
            "sdss",
            "Galaxy Zoo 2",
            ("gz2_hart16", "zoo2MainSpecz", "zoo2MainPhotoz", "table5"),
            (Dialect.raw_gz2(),),
            ("dr7objid", "objid"),
            _locate_sdss,
        ),
        Survey(
            "decals",
            "Galaxy Zoo DECaLS",
            ("gz_decals_volunteers_1_and_2", "gz_decals_volunteers_5", "gz_decals_auto_posteriors"),
            (Dialect.modern(CAMPAIGNS["dr12"]), Dialect.modern(CAMPAIGNS["dr5"])),
            ("iauname", "png_loc", "file_loc"),
            _locate_decals,
        ),
        Survey(
            "ukidss",
            "Galaxy Zoo UKIDSS",
            ("ukidss_catalog", "ukidss_train_catalog", "ukidss_test_catalog"),
            (Dialect.modern(CAMPAIGNS["ukidss"], "-ukidss"),),
            ("subject_id", "filename"),
            _locate_ukidss,
        ),
        Survey(
            "kaggle",
            "Kaggle's Galaxy Challenge",
            ("training_solutions_rev1",),
            (Dialect.modern(CAMPAIGNS["gz2"]),),
            ("GalaxyID",),
            _locate_kaggle,
            prepare=_undo_kaggle,
        ),
    )
}
