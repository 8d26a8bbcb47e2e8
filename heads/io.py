"""A fitted head with all that is needed to use it: what it predicts, from which space, how well."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np

from embeddings.errors import HeadError, SommelierError, did_you_mean
from embeddings.files import hash_file, sync_path
from embeddings.layout import decode_strings, encode_strings
from embeddings.provenance import Space, digest_space, require_same_model
from embeddings.questions import Question, list_targets
from embeddings.runs import HEAD, RUN_RECORD, RunRecord
from embeddings.store import EmbeddingStore
from heads.base import Array, Head

HEADS = {  # loaded on use: torch and xgboost take seconds
    "mean": "heads.baselines:MeanHead",
    "random": "heads.baselines:RandomHead",
    "knn": "heads.knn:KNNHead",
    "ridge": "heads.linear:RidgeHead",
    "logistic": "heads.logistic:LogisticHead",
    "mlp": "heads.mlp:MLPHead",
    "xgboost": "heads.boosting:XGBoostHead",
    "votes": "heads.votes:VotesHead",
}
UNFITTED = {"finetuned": "heads.finetuned:FineTunedHead"}  # trained with a backbone: loaded, never fitted
FORMAT = "galaxy-sommelier/head"
VERSION = "1.1"  # 1.1: files of a head's own beside the arrays
RECORD, ARRAYS = "head.json", "arrays.npz"


@dataclass(frozen=True)
class Predictions:
    """
    What a head says of a store's galaxies.

    Attributes
    ----------
    ids : (n_galaxies,) array of str
    P : (n_galaxies, n_targets) array
    targets : list of str
    seen : int
        How many of the galaxies the head or its backbone was trained on: on them it looks better than it is.
    columns : dict of str to (n_galaxies,) array
        What the head says beside the targets, such as ``<target>_std``.
    """

    ids: Array
    P: Array
    targets: list[str]
    seen: int
    columns: dict[str, Array] = field(default_factory=dict)

    def tabulate(self) -> tuple[Array, list[str]]:
        """Targets and what stands beside them as one array (n_galaxies, n_columns), and the columns' names."""
        return np.column_stack([self.P, *self.columns.values()]), [*self.targets, *self.columns]


@dataclass(frozen=True)
class FittedHead:
    """
    A head and its provenance.

    Attributes
    ----------
    head : Head
    space : Space
        The layer and pooling it reads.
    space_id : str
        What a store must have to be read.
    model : dict
        The model record of the stores that it was fitted on, to explain a mismatch.
    train_ids : (n_galaxies,) array of str
    scores : list of dict
        Nested cross-validation; see `heads.evaluation`.
    details : dict
        Stores, folds, choices: recorded, never compared.
    """

    head: Head
    space: Space
    space_id: str
    model: dict[str, Any]
    train_ids: Array
    scores: list[dict[str, Any]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def questions(self) -> tuple[Question, ...]:
        """What it predicts."""
        return tuple(self.head.questions or ())

    @property
    def targets(self) -> list[str]:
        """The names of the columns that it predicts."""
        return list_targets(self.questions)

    def predict(self, store: EmbeddingStore) -> Predictions:
        """
        Predict the galaxies of a store that have vectors.

        Raises
        ------
        ProvenanceMismatch
            When another model or recipe made the store.
        StoreError
            When it does not hold the head's layer and pooling.
        """
        what, run = f"this head (here) and {store.path} (there)", self.details.get("run")
        pools = " ".join(f"--pool {space.pooling}" for space in self.space.parts())
        command = f"sommelier extract CATALOG --backbone {run} --layer {self.space.layer} {pools} -o STORE"
        advice = (f"Make a store for it with: {command}",) if run else ()
        require_same_model(self.model, store.provenance.model, what, *advice)
        space = store.space(*self.space)
        ok = store.ok
        ids = store.ids[ok]
        seen = int((np.isin(ids, self.train_ids) | (store.parts[ok] == "train")).sum())
        X = store.read_vectors(space, ok)
        return Predictions(ids, self.head.predict(X), self.targets, seen, self.head.predict_columns(X))

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """
        Write ``head.json``, ``arrays.npz`` and what files the head has of its own into a folder, in place at once.

        Raises
        ------
        HeadError
            When the folder holds something else.
        """
        target = Path(folder)
        refuse_foreign(target)
        fresh = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            fresh.mkdir(parents=True)
            arrays = {f"head/{name}": values for name, values in self.head.to_arrays().items()}
            arrays["train_ids"] = encode_strings(self.train_ids)
            np.savez(fresh / ARRAYS, **arrays)  # type: ignore[arg-type]  # numpy types allow_pickle in its stead
            for name, content in self.head.to_files().items():
                (fresh / name).write_bytes(content)
            # parameters may be numpy's: alphas=np.logspace(-2, 6, 9)
            record = json.dumps(self._to_record(fresh), indent=1, default=lambda value: value.tolist())
            (fresh / RECORD).write_text(record + "\n")
            for path in (*fresh.iterdir(), fresh):
                sync_path(path)
            _replace_folder(fresh, target)
        except OSError as error:
            raise HeadError(f"{target} could not be written: {error}. What was there is kept.") from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return target

    def _to_record(self, folder: Path) -> dict[str, Any]:
        parameters = {k: v for k, v in self.head.get_params(deep=False).items() if k != "questions"}
        own = sorted(path for path in folder.iterdir() if path.name != ARRAYS)
        return {
            "format": FORMAT,
            "version": VERSION,
            "head": self.head.name,
            "arrays_sha256": hash_file(folder / ARRAYS),
            "files": {path.name: hash_file(path) for path in own},
            "parameters": parameters,
            "questions": [question.to_dict() for question in self.questions],
            "space": {"layer": self.space.layer, "pooling": self.space.pooling, "space_id": self.space_id},
            "model": self.model,
            "scores": self.scores,
            "details": self.details,
        }


def load_head(folder: str | os.PathLike[str]) -> FittedHead:
    """
    Read a head that `FittedHead.save` wrote, or that of a fine-tuning run's folder.

    Raises
    ------
    HeadError
        When the folder is missing, damaged, or of another version.
    RunError
        When the run never finished.
    """
    folder = Path(folder)
    if (folder / RUN_RECORD).is_file():
        run = RunRecord.open(folder).require_finished()
        fitted = load_head(run.folder / HEAD)
        return replace(fitted, details=fitted.details | {"run": str(folder)})
    try:
        record = json.loads((folder / RECORD).read_text())
        # opened here: numpy leaves a file open that is no zip
        with (folder / ARRAYS).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise HeadError(
            f"{folder} is not a head: {error.filename} is missing. Make one with: sommelier head fit STORE -o {folder}"
        ) from error
    except (OSError, ValueError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise HeadError(f"{folder} is damaged: {error}. Fit the head again.") from error
    if not isinstance(record, dict):
        raise HeadError(f"{folder}/{RECORD} is damaged: it holds no JSON object. Fit the head again.")
    if record.get("format") != FORMAT or str(record.get("version")).split(".")[0] != VERSION.split(".")[0]:
        raise HeadError(
            f"{folder} is {record.get('format')} version {record.get('version')}; expected {FORMAT} {VERSION}."
        )
    try:
        for name, digest in {ARRAYS: record["arrays_sha256"], **record.get("files", {})}.items():
            if digest != hash_file(folder / name):
                raise HeadError(
                    f"{folder} is damaged: {name} is not the one that {RECORD} describes. Fit the head again."
                )
        return _assemble(folder, record, arrays)
    except FileNotFoundError as error:
        raise HeadError(f"{folder} is damaged: {error.filename} is missing. Fit the head again.") from error
    except HeadError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError, SommelierError) as error:
        raise HeadError(
            f"{folder} is damaged: {RECORD} and {ARRAYS} do not make a head ({error!r}). Fit the head again."
        ) from error


def _assemble(folder: Path, record: dict[str, Any], arrays: dict[str, Array]) -> FittedHead:
    """The head that a record and its arrays describe."""
    questions = tuple(Question.from_dict(question) for question in record["questions"])
    head = find_head(record["head"], HEADS | UNFITTED)(questions=questions, **record["parameters"])
    head.from_arrays({name.removeprefix("head/"): a for name, a in arrays.items() if name.startswith("head/")})
    head.from_files({name: (folder / name).read_bytes() for name in record.get("files", {})})
    space = Space(record["space"]["layer"], record["space"]["pooling"])
    if digest_space(record["model"], space) != record["space"]["space_id"]:
        raise HeadError(f"{folder}/{RECORD}: the space id does not belong to the model and layer. Fit the head again.")
    return FittedHead(
        head, space, record["space"]["space_id"], record["model"],
        decode_strings(arrays["train_ids"]), record["scores"], record["details"],
    )  # fmt: skip


def make_head(name: str, questions: tuple[Question, ...] | None = None, **parameters: Any) -> Head:
    """
    A head by name.

    Raises
    ------
    HeadError
        For an unknown name, with the nearest.
    """
    return find_head(name)(questions=questions, **parameters)


def find_head(name: str, known: Mapping[str, str] = HEADS) -> type[Head]:
    """
    The class of a head, of those that can be fitted by default.

    Raises
    ------
    HeadError
        For an unknown name, with the nearest.
    """
    if name not in known:
        raise HeadError(f"the head {name!r} is not known. {did_you_mean(name, known)}")
    found: type[Head] = resolve_name(known[name])
    return found


def refuse_foreign(target: Path) -> None:
    """Raise unless `target` is free, an empty folder, or a head and nothing else: it is going to be replaced."""
    if not target.exists():
        return
    if not target.is_dir():
        raise HeadError(f"{target} is a file, not a head. Choose another folder.")
    held = {path.name for path in target.iterdir()}
    if held and RECORD not in held:
        raise HeadError(f"{target} exists and is not a head. Choose another folder.")
    foreign = sorted(held - {RECORD, ARRAYS} - _list_own_files(target / RECORD)) if held else []
    if foreign:
        raise HeadError(
            f"{target} holds more than a head, and it would be lost: {', '.join(foreign[:5])}. "
            "Move it, or choose another folder."
        )


def _list_own_files(record: Path) -> set[str]:
    """The files that a head's record names beside the arrays; none where it cannot be read."""
    try:
        return set(json.loads(record.read_text())["files"])
    except (OSError, ValueError, TypeError, LookupError):
        return set()


def _replace_folder(fresh: Path, target: Path) -> None:
    """Rename `fresh` to `target`, or leave the old one; a kill in between leaves it under a name that says so."""
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(target, old)
    try:
        os.replace(fresh, target)
    except BaseException:
        if old.exists():
            os.replace(old, target)
        raise
    sync_path(target.parent)
    shutil.rmtree(old, ignore_errors=True)
