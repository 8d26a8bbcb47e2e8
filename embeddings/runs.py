"""The folder of a fine-tuning run, as far as what uses its backbone and its head must know it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embeddings.errors import RunError
from embeddings.files import hash_file
from embeddings.objects import group_galaxies

Array = np.ndarray[Any, Any]
FORMAT, VERSION = "galaxy-sommelier/run", "1.0"
SPLIT_FORMAT = "galaxy-sommelier/split"
RUN_RECORD, RUN_CONFIG, SPLIT, BACKBONE, HEAD = "run.json", "config.yaml", "split.parquet", "backbone", "head"
FINISHED = "finished"
PARTS = ("train", "val", "test")  # the first that any row of an object has is that of all
FIELDS = ("status", "epoch", "epochs", "recipe", "space", "split_sha256")


@dataclass(frozen=True)
class RunRecord:
    """
    What a run says of itself.

    Attributes
    ----------
    folder : Path
        Absolute.
    record : dict
        The content of run.json.
    """

    folder: Path
    record: Mapping[str, Any] = field(compare=False)

    @classmethod
    def open(cls, folder: Path) -> RunRecord:
        """
        Read run.json.

        Raises
        ------
        RunError
            When it is missing, damaged or of another version.
        """
        file = folder / RUN_RECORD
        try:
            record = json.loads(file.read_bytes())
        except FileNotFoundError as error:
            raise RunError(f"{folder} is not a run: it has no {RUN_RECORD}. Give the folder of a fine-tune.") from error
        except (OSError, ValueError) as error:
            raise RunError(f"{file} cannot be read: {error}. Restore a copy, or run the fine-tune again.") from error
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise RunError(f"{file} is no record of a fine-tune (its format is not {FORMAT!r}).")
        if str(record.get("version")).split(".")[0] != VERSION.split(".")[0]:
            raise RunError(
                f"{folder} is a run of version {record.get('version')}; this galaxy-sommelier reads {VERSION}. "
                "Upgrade galaxy-sommelier, or run the fine-tune again with this version."
            )
        missing = [name for name in FIELDS if name not in record]
        if missing:
            raise RunError(f"{file} lacks {', '.join(missing)}. Restore a copy, or run the fine-tune again.")
        return cls(folder.resolve(), record)

    def require_finished(self) -> RunRecord:
        """
        The run itself.

        Raises
        ------
        RunError
            When it never finished: how far it is, and the command that goes on.
        """
        if self.record["status"] != FINISHED:
            raise RunError(
                f"the run {self.folder} is not finished: {self.record['epoch']} of {self.record['epochs']} epochs are "
                f"done, and its backbone and head come last. Go on with: sommelier finetune {self.folder / RUN_CONFIG}"
            )
        return self

    def to_provenance(self) -> dict[str, str]:
        """What the provenance of a store that the run's backbone made says of it."""
        return {"run": str(self.folder), "split_sha256": self.record["split_sha256"]}

    def read_split(self) -> Split:
        """
        The galaxies that the run knew, and what for.

        Raises
        ------
        RunError
            When the table is missing, damaged, or not the one that the run used.
        """
        file = self.folder / SPLIT
        try:
            if hash_file(file) != self.record["split_sha256"]:
                raise RunError(
                    f"{file} is not the split that the run used: its sha256 is not the one in {RUN_RECORD}. Restore "
                    "it: without it nobody knows which galaxies the backbone was trained on."
                )
            return Split.read(file)
        except OSError as error:
            raise RunError(
                f"{file} cannot be read: {error}. Restore it: without it nobody knows which galaxies the backbone was "
                "trained on."
            ) from error


def find_run(folder: Path) -> RunRecord | None:
    """
    The run that a folder is, or whose backbone it is; None where there is none.

    Raises
    ------
    RunError
        When the run's record cannot be used.
    """
    folder = folder.resolve()
    if (folder / RUN_RECORD).is_file():
        return RunRecord.open(folder)
    if folder.name == BACKBONE and (folder.parent / RUN_RECORD).is_file():
        return RunRecord.open(folder.parent)
    return None


@dataclass(frozen=True)
class Split:
    """
    What a run used galaxies for.

    Attributes
    ----------
    ids, surveys : (n_galaxies,) arrays of str
    ra, dec : (n_galaxies,) arrays
        Degrees ICRS, NaN where unknown.
    image_sha256 : (n_galaxies, 32) uint8 array
        Zeros where there was no image.
    parts : (n_galaxies,) array of str
        One of `PARTS` each.
    """

    ids: Array
    surveys: Array
    ra: Array
    dec: Array
    image_sha256: Array
    parts: Array

    @classmethod
    def read(cls, file: Path) -> Split:
        """
        Read a split.parquet.

        Raises
        ------
        RunError
            When it is no such table.
        """
        try:
            table = pq.read_table(file, columns=["id_str", "survey", "ra", "dec", "image_sha256", "part"])
            ids, surveys, parts = (np.array(table[name].to_pylist(), str) for name in ("id_str", "survey", "part"))
            ra, dec = (table[name].to_numpy().astype(np.float64) for name in ("ra", "dec"))
            digests = b"".join(digest or bytes(32) for digest in table["image_sha256"].to_pylist())
            images = np.frombuffer(digests, np.uint8).reshape(len(ids), 32)
        except (pa.ArrowException, ValueError, TypeError, KeyError) as error:
            raise RunError(f"{file} is no split of a run: {error}. Restore a copy.") from error
        unknown = sorted({*parts.tolist()} - {*PARTS})
        if unknown:
            raise RunError(f"{file} has the part {unknown[0]!r}; parts are {', '.join(PARTS)}. Restore a copy.")
        return cls(ids, surveys, ra, dec, images, parts)

    def tabulate(self, groups: Array) -> pa.Table:
        """
        What a split.parquet holds: ``id_str, survey, ra, dec, image_sha256, group, part``.

        Parameters
        ----------
        groups : (n_galaxies,) int array
            Sky objects.
        """
        return pa.table(
            {
                "id_str": pa.array(self.ids.tolist(), pa.string()),
                "survey": pa.array(self.surveys.tolist(), pa.string()),
                "ra": self.ra,
                "dec": self.dec,
                "image_sha256": pa.array([digest.tobytes() for digest in self.image_sha256], pa.binary(32)),
                "group": groups.astype(np.int64),
                "part": pa.array(self.parts.tolist(), pa.string()),
            }
        )

    def match(self, ids: Array, ra: Array, dec: Array, image_sha256: Array) -> Array:
        """
        The part of each of some rows.

        Rows are the same sky object by id, position or image bytes, see `group_galaxies`.

        Returns
        -------
        (n_rows,) array of str
            One of `PARTS`, empty where the run did not know the galaxy.
        """
        groups = group_galaxies(
            np.concatenate([self.ids, ids]),
            np.concatenate([self.ra, ra]),
            np.concatenate([self.dec, dec]),
            np.concatenate([self.image_sha256, image_sha256]),
        )
        parts = np.concatenate([self.parts, np.full(len(ids), "")])
        return share_parts(parts, groups)[len(self.ids) :]


def share_parts(parts: Array, groups: Array) -> Array:
    """
    Give all rows of a sky object one part: what was trained on once was trained on.

    Parameters
    ----------
    parts : (n_rows,) array of str
        One of `PARTS`, or empty.
    groups : (n_rows,) int array
        From 0.

    Returns
    -------
    (n_rows,) array of str
    """
    names = np.array([*PARTS, ""])
    rank = np.full(groups.max(initial=-1) + 1, len(PARTS))
    for number, name in reversed([*enumerate(PARTS)]):
        rank[groups[parts == name]] = number
    return np.asarray(names[rank[groups]])
