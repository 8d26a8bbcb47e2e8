"""The galaxies of a test set, with all that scores need of them: kept beside the results, so that they stand alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.galaxies import name_survey
from embeddings.errors import SommelierError
from embeddings.files import replace_file

Array = np.ndarray[Any, Any]
ARRAYS = ("ids", "Y", "whole", "votes", "totals", "groups", "seen", "ra", "dec")
ANSWERS = ("Y", "whole", "votes", "totals")  # with a column an answer
PROPERTY = "property: "
Objects = Literal["new", "same", "pool"]


@dataclass(frozen=True)
class Sample:
    """
    One test set.

    Attributes
    ----------
    survey : str
    objects : {"new", "same", "pool"}
        No training set shows any of its sky objects in any survey (but of a survey that was learned from, under
        ``published``); or some may; or galaxies to recalibrate with, no test.
    ids : (n_rows,) array of str
    Y : (n_rows, n_targets) float32 array
        Labels that count, NaN elsewhere.
    whole : (n_rows, n_targets) float32 array
        All labels, however few votes they have; NaN where not asked.
    votes, totals : (n_rows, n_targets) float32 arrays
        Of the answer and of its question; NaN where not known.
    groups : (n_rows,) int array
        Sky objects, numbered over all surveys of the suite.
    seen : (n_rows,) bool array
        Whether some training set shows the object.
    ra, dec : (n_rows,) arrays
        Degrees ICRS, NaN where not known.
    properties : mapping of str to (n_rows,) array
        Magnitude, size, redshift, as far as known.
    leaked : (n_rows,) bool array, optional
        What the audit found and is tested all the same, where there is any.
    """

    survey: str
    objects: Objects
    ids: Array
    Y: Array
    whole: Array
    votes: Array
    totals: Array
    groups: Array
    seen: Array
    ra: Array
    dec: Array
    properties: Mapping[str, Array] = field(default_factory=dict)
    leaked: Array | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def name(self) -> str:
        """``ukidss-new``: of files, and of cells' tests."""
        return f"{self.survey}-{self.objects}"

    @property
    def kind(self) -> str:
        """Its objects in words."""
        if self.objects == "new":  # the published protocol keeps those that training showed
            return "test objects" if self.seen.any() else "new objects"
        return {"same": "all objects", "pool": "to recalibrate with"}[self.objects]

    @property
    def title(self) -> str:
        """As tables and figures call it."""
        n = int(self.seen.sum())
        counted = self.objects == "same" or (self.objects == "new" and n)
        seen = f" ({n} of {len(self)} seen in training)" if counted else ""
        return f"{name_survey(self.survey)}, {self.kind}{seen}"

    @property
    def n_labelled(self) -> int:
        """How many have a label that counts."""
        return int((~np.isnan(self.Y)).any(axis=1).sum())

    def take(self, rows: Array) -> Sample:
        """Some of the galaxies, chosen by booleans."""
        properties = {name: values[rows] for name, values in self.properties.items()}
        leaked = None if self.leaked is None else self.leaked[rows]
        arrays = {name: getattr(self, name)[rows] for name in ARRAYS}
        return replace(self, **arrays, properties=properties, leaked=leaked)

    def answer(self, columns: Array) -> Sample:
        """Some of the answers, by their columns."""
        return replace(self, **{name: getattr(self, name)[:, columns] for name in ANSWERS})

    def write(self, file: Path) -> None:
        """Write npz without pickles."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        arrays |= {PROPERTY + name: values for name, values in self.properties.items()}
        arrays |= {} if self.leaked is None else {"leaked": self.leaked}
        with replace_file(file) as temporary, temporary.open("wb") as raw:
            np.savez(raw, allow_pickle=False, survey=np.array(self.survey), objects=np.array(self.objects), **arrays)

    @classmethod
    def read(cls, file: Path) -> Sample:
        """
        Read what `write` wrote.

        Raises
        ------
        SommelierError
            When it is missing or damaged.
        """
        try:
            # numpy itself would leave a damaged file open
            with file.open("rb") as raw, np.load(raw, allow_pickle=False) as saved:
                arrays = {name: saved[name] for name in saved.files}
            survey, objects = str(arrays.pop("survey")), str(arrays.pop("objects"))
            properties = {name.removeprefix(PROPERTY): arrays[name] for name in arrays if name.startswith(PROPERTY)}
            kept = {name: arrays[name] for name in ARRAYS}
            return cls(survey, objects, **kept, properties=properties, leaked=arrays.get("leaked"))  # type: ignore[arg-type]
        except Exception as error:  # numpy raises whatever a damaged zip makes it raise
            raise SommelierError(
                f"{file} cannot be read ({error}). Run the benchmark again: it writes what is missing."
            ) from error
