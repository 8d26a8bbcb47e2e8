"""One cell of a benchmark: a model that was trained once, with one seed, and what it says of every test galaxy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite import name_file
from embeddings.errors import SommelierError
from embeddings.files import replace_file

Array = np.ndarray[Any, Any]
FORMAT, VERSION = "galaxy-sommelier/cell", "1.0"


@dataclass(frozen=True)
class Cell:
    """
    What is to be computed.

    Attributes
    ----------
    training, model : str
        Names in the suite.
    seed : int
    space : str
        ``L12-cls+patch-mean``; of a fine-tune, empty.
    budget : int
        Training objects; 0 for all.
    """

    training: str
    model: str
    seed: int
    space: str = ""
    budget: int = 0

    @property
    def contender(self) -> tuple[str, str, str, int]:
        """All but the seed: what the cells of one row of a table share."""
        return self.training, self.model, self.space, self.budget

    @property
    def name(self) -> str:
        """Of its files."""
        parts = [self.training, self.model, self.space, f"n{self.budget}" if self.budget else "", f"s{self.seed}"]
        return name_file("--".join(part for part in parts if part))


@dataclass(frozen=True)
class Outcome:
    """
    A computed cell.

    Attributes
    ----------
    cell : Cell
    key : str
        Digest of everything that it follows from: another key is another result.
    n_train : int
        Training galaxies.
    predictions : mapping of str to (n_rows, n_targets) float32 array
        By the test's name.
    costs : dict
        ``fit_seconds, predict_seconds, peak_memory_bytes, device``; of a fine-tune also ``train_seconds``,
        ``extract_seconds``.
    details : dict
        What else is worth knowing: choices of the head, the run folder.
    """

    cell: Cell
    key: str
    n_train: int
    predictions: Mapping[str, Array] = field(repr=False)
    costs: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write the predictions, then the JSON that says that they are whole: a kill in between leaves no cell."""
        file = folder / f"{self.cell.name}.json"
        with replace_file(file.with_suffix(".npz")) as temporary, temporary.open("wb") as raw:
            np.savez(raw, allow_pickle=False, **self.predictions)
        record = {
            "format": FORMAT, "version": VERSION, "key": self.key, **vars(self.cell), "n_train": self.n_train,
            "costs": self.costs, "details": self.details,
            "predictions_sha256": hashlib.sha256(file.with_suffix(".npz").read_bytes()).hexdigest(),
        }  # fmt: skip
        with replace_file(file) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n")


def read_outcome(folder: Path, cell: Cell, key: str = "") -> Outcome | None:
    """
    Read a cell.

    Parameters
    ----------
    folder : Path
    cell : Cell
    key : str
        Which it must have; any by default.

    Returns
    -------
    Outcome or None
        None where there is none, or one that followed from something else, or whose predictions are not its own.
    """
    file = folder / f"{cell.name}.json"
    try:
        record = json.loads(file.read_bytes())
        raw = file.with_suffix(".npz").read_bytes()
        if record["format"] != FORMAT or (key and record["key"] != key):
            return None
        if hashlib.sha256(raw).hexdigest() != record["predictions_sha256"]:
            return None
        with np.load(BytesIO(raw), allow_pickle=False) as saved:
            predictions = {name: saved[name] for name in saved.files}
        return Outcome(cell, record["key"], record["n_train"], predictions, record["costs"], record["details"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def require_outcome(folder: Path, cell: Cell) -> Outcome:
    """
    Read a cell that must be there.

    Raises
    ------
    SommelierError
    """
    outcome = read_outcome(folder, cell)
    if outcome is None:
        raise SommelierError(
            f"{folder / cell.name}.json is missing or damaged. Go on with: sommelier benchmark run "
            f"{folder.parent / 'suite.yaml'} -o {folder.parent}"
        )
    return outcome
