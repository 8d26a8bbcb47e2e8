"""The embeddings that a suite needs: those that are there, and those that are extracted because they are missing."""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite import Suite
from embeddings.errors import SommelierError
from embeddings.files import hash_file, replace_file
from embeddings.layout import Header, Vectors, write_store
from embeddings.parts import FileLock, lock_path
from embeddings.runs import BACKBONE
from embeddings.store import EmbeddingStore
from extract.catalog import Catalog
from extract.references import Reference

Array = np.ndarray[Any, Any]
Report = Callable[[int, int, int], None]  # images done, failed, in all
Watch = Callable[[str, str], AbstractContextManager[Report | None]]
CACHE = "cache"
SPEED = ("batch_size", "workers", "threads")  # options that change no vector; a device may, by its precision


def watch_nothing(title: str, first: str) -> AbstractContextManager[Report | None]:
    """Nobody looks on."""
    return nullcontext()


@dataclass
class Supply:
    """
    Where stores are, and what it cost to make them.

    Attributes
    ----------
    suite : Suite
    folder : Path
        Of the cache: a folder a backbone, a store a survey.
    watch : callable
        Gives a context manager around a long step, from its title and its first words.
    costs : dict of Path to dict
        By store: ``survey, backbone, size, images, seconds, device`` of each extraction, earlier ones included.
    """

    suite: Suite
    folder: Path
    watch: Watch = watch_nothing
    costs: dict[Path, dict[str, Any]] = field(default_factory=dict)

    def find_frozen(self, survey: str, size: int | None) -> Path:
        """
        The store of the frozen backbone, extracted if it is not there.

        Parameters
        ----------
        survey : str
        size : int or None
            Of the images, None for the suite's.
        """
        source = self.suite.surveys[survey]
        if source.store is not None:
            if size is not None:
                raise SommelierError(
                    f"surveys.{survey} is a store, and a training set or test asks for images of {size} pixels: give "
                    "a catalog, which can be extracted at any size."
                )
            return self._check(source.store, survey)
        assert source.catalog is not None  # of Survey's own check
        options = self.suite.extraction.model_dump(exclude_none=True)
        if size is not None:
            options["size"] = size
        wanted = {"backbone": self.suite.backbone, "revision": self.suite.revision, **_leave_speed(options)}
        wanted["weights"] = hash_backbone(self.suite.backbone)  # other ones are another backbone, in its own folder
        name = f"{Path(self.suite.backbone).name}-{_digest(wanted)[:8]}"
        options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
        if self.suite.revision:
            options["revision"] = self.suite.revision
        if source.images is not None:
            options["image_root"] = str(source.images)
        return self.extract(source.catalog, survey, self.suite.backbone, name, options)

    def extract(self, catalog: Path, survey: str, backbone: str, name: str, options: dict[str, Any]) -> Path:
        """
        A store, extracted unless this very one is there.

        Parameters
        ----------
        catalog : Path
        survey : str
        backbone : str
        name : str
            Of the folder in the cache.
        options : dict
            Of `extract.pipeline.extract_embeddings`.

        Returns
        -------
        Path
        """
        folder = self.folder / name
        file, note = folder / f"{survey}.h5", folder / f"{survey}.json"
        if not catalog.is_file():
            raise SommelierError(
                f"{catalog} does not exist: it is the catalog of {survey} in the suite. Give yours with "
                f"--set surveys.{survey}.catalog=FILE.parquet"
            )
        request = {
            "catalog_sha256": hash_file(catalog),
            "backbone": backbone,
            "weights": hash_backbone(backbone),
            "program": version("galaxy-sommelier"),
            "options": _leave_speed({**options, "device": ""}),  # what is there is there, whoever made it
        }
        digest, record, images = _digest(request), _read_note(note), _digest_images(catalog, survey, options)
        same = record.get("request") == digest and images in ("", record.get("images"))
        if file.exists() and same:  # without a look at the backbone: that takes torch
            self.costs[file] = record["cost"]
            return file
        note.unlink(missing_ok=True)  # from now on the store is no whole one of any request
        cost = self._extract(catalog, survey, backbone, file, options, record.get("cost", {})) | {"backbone": backbone}
        with replace_file(note) as temporary:
            temporary.write_text(json.dumps({"request": digest, "images": images, "cost": cost}, indent=1) + "\n")
        self.costs[file] = cost
        return file

    def _extract(
        self, path: Path, survey: str, backbone: str, file: Path, options: dict[str, Any], earlier: dict[str, Any]
    ) -> dict[str, Any]:
        """Extract what the store lacks, and say what it cost, earlier extractions into it included."""
        from extract.pipeline import extract_embeddings

        catalog = Catalog.read(path)
        if survey not in catalog.surveys:
            raise SommelierError(
                f"{path} has galaxies of {', '.join(catalog.surveys)}, none of {survey}: call the survey in the suite "
                "as the catalog does."
            )
        catalog = catalog.of_survey(survey)
        file.parent.mkdir(parents=True, exist_ok=True)
        spent = earlier.get("seconds", 0) if file.exists() and _strip(file, set(catalog.ids.tolist())) else 0
        start = time.perf_counter()
        with self.watch(f"Embedding {survey} with {file.parent.name}", "loading the backbone") as report, _be_quiet():
            store = extract_embeddings(catalog, backbone, file, report, **options)
        assert store is not None  # only shards leave a store to others
        with store:
            runs = store.provenance.runs
            size = store.provenance.model["resize"]["size"]
            images = len(store)
        seconds = time.perf_counter() - start + spent
        device = str(runs[-1].get("device", "")) if runs else ""
        return {"survey": survey, "size": size, "images": images, "seconds": seconds, "device": device}

    def _check(self, file: Path, survey: str) -> Path:
        with EmbeddingStore.open(file) as store:
            if store.survey != survey:
                raise SommelierError(
                    f"{file} holds galaxies of {store.survey}; the suite calls them {survey}. Take that name."
                )
        return file


@contextmanager
def _be_quiet() -> Iterator[None]:
    """Sizes that differ from those of a fine-tune are the suite's own wish, and among the results' cautions."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*was fine-tuned with --size")
        yield


def write_subset(catalog: Catalog, ids: Array, file: Path, zeroed: bool = False) -> Path:
    """
    Write some galaxies of a catalog, in its order; an equal file stays as it is.

    Parameters
    ----------
    catalog : Catalog
    ids : (n_galaxies,) array of str
    file : Path
    zeroed : bool
        With labels that are all 0, as happened in the reference study.
    """
    frame = catalog.frame[catalog.frame["id_str"].isin(set(ids.tolist()))].reset_index(drop=True)
    if zeroed:
        columns = [column for question in catalog.questions for column in question.target_columns]
        frame = frame.assign(**dict.fromkeys(columns, 0.0))
    subset = replace(catalog, frame=frame)
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists() or not Catalog.read(file).frame.equals(frame):
        subset.write(file)
    return file


def _digest_images(path: Path, survey: str, options: dict[str, Any]) -> str:
    """
    What tells whether images were changed under their names: sizes and times of change of their files.

    Nothing where no file is there: images that were put away have not changed.
    """
    catalog = Catalog.read(path).of_survey(survey)
    root, bands = options.get("image_root", catalog.image_root), options.get("bands") or ()
    names = (os.path.join(root, image) for image in catalog.frame["image"] if image)
    files = {name: Reference.parse(name).describe_files(bands) for name in names}
    return _digest(files) if any(size >= 0 for found in files.values() for size, _ in found) else ""


def _leave_speed(options: dict[str, Any]) -> dict[str, Any]:
    """What of the options the vectors follow from."""
    return {name: value for name, value in options.items() if name not in SPEED}


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True, default=str).encode()).hexdigest()


def hash_backbone(backbone: str) -> list[str]:
    """The sha256 of the weights in a model's folder, or a run's; of a name nothing, which has its revision."""
    folder = Path(backbone)
    own = folder / BACKBONE if (folder / BACKBONE).is_dir() else folder
    files = sorted(own.glob("*.safetensors")) if folder.is_dir() else []
    return [_hash_weights(file, file.stat().st_mtime_ns) for file in files]


@lru_cache
def _hash_weights(file: Path, changed: int) -> str:
    return hash_file(file)


def _strip(file: Path, ids: set[str]) -> bool:
    """
    Leave of a store the vectors of some galaxies, without labels: what else it knew is of an earlier catalog.

    Returns
    -------
    bool
        Whether it has any; otherwise the store is gone.
    """
    with FileLock(lock_path(file)), EmbeddingStore.open(file) as store:
        kept = np.array([id_str in ids for id_str in store.ids.tolist()], bool)
        if not kept.any():
            file.unlink()
            return False
        arrays = {name: values[kept] for name, values in store.to_arrays().items() if not name.startswith("catalog/")}
        vectors = {space: Vectors.of(store.read_vectors(space, kept)) for space in store.spaces}
        write_store(file, Header(store.survey, store.provenance, (), store.header.image_roots), arrays, vectors)
    return True


def _read_note(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_bytes())
        return record if isinstance(record, dict) else {}
    except (OSError, ValueError):
        return {}
