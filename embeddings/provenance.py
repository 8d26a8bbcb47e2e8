"""What made a set of vectors, and whether two sets may be mixed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from embeddings.errors import ProvenanceMismatch

POOLINGS = ("cls", "patch-mean")


class Space(NamedTuple):
    """One embedding space of a store: a layer (counted from 1) and a pooling."""

    layer: int
    pooling: str

    @property
    def name(self) -> str:
        """The name in files: ``L12-cls``."""
        return f"L{self.layer}-{self.pooling}"

    @classmethod
    def parse(cls, name: str) -> Space:
        """The inverse of `name`."""
        layer, _, pooling = name.removeprefix("L").partition("-")
        return cls(int(layer), pooling)

    def parts(self) -> tuple[Space, ...]:
        """The spaces whose vectors are put side by side: ``cls+patch-mean`` has two."""
        return tuple(Space(self.layer, pooling) for pooling in self.pooling.split("+"))


def digest_json(record: Any) -> str:
    """The sha256 of a JSON value written in one canonical way, as 64 hex digits."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_space(model: dict[str, Any], space: Space) -> str:
    """The space id of a layer and pooling; of a concatenation, the digest of the list of its parts' ids."""
    ids = [digest_json({"model": model, "layer": part.layer, "pooling": part.pooling}) for part in space.parts()]
    return ids[0] if len(ids) == 1 else digest_json(ids)


@dataclass(frozen=True)
class Provenance:
    """
    What made the vectors of a store.

    Parameters
    ----------
    model : dict
        Weights sha256, architecture, resize and normalisation. With a layer and a pooling it is the
        *space id*: only vectors of equal space ids may be compared.
    images : dict
        Decoding, stretch, bands, cut-out. It may differ between surveys.
    spaces : tuple of Space
        The layers and poolings, layers counted from 1.
    precision : {'fp32', 'bf16', 'fp16'}
        Of the arithmetic.
    storage : {'float16', 'float32'}
        Of the vectors on disk.
    runs : tuple of dict
        Device, library versions, date, backbone name: recorded, never compared.
    """

    model: dict[str, Any]
    images: dict[str, Any]
    spaces: tuple[Space, ...]
    precision: str = "fp32"
    storage: str = "float16"
    runs: tuple[dict[str, Any], ...] = field(default=(), compare=False)

    @property
    def cache_digest(self) -> str:
        """The digest that a rerun must share: all but the runs."""
        record = self.to_dict()
        del record["run"]
        return digest_json(record)

    def space_id(self, space: Space) -> str:
        """The digest that heads and indexes must share: model, layer and pooling, as 64 hex digits."""
        return digest_space(self.model, space)

    def to_dict(self) -> dict[str, Any]:
        """The provenance as JSON can hold it."""
        return {
            "model": self.model,
            "images": self.images,
            "layers": [space.name for space in self.spaces],
            "precision": self.precision,
            "storage": self.storage,
            "run": list(self.runs),
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Provenance:
        """The inverse of `to_dict`."""
        return cls(
            record["model"],
            record["images"],
            tuple(Space.parse(name) for name in record["layers"]),
            record["precision"],
            record["storage"],
            tuple(record["run"]),
        )

    def with_runs(self, *runs: dict[str, Any]) -> Provenance:
        """The same provenance with these run records, each once."""
        unique = {digest_json(run): run for run in runs}
        return Provenance(self.model, self.images, self.spaces, self.precision, self.storage, tuple(unique.values()))


def list_differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """
    The fields in which two JSON values differ.

    Yields
    ------
    str
        ``model.resize.size: 224 here, 168 there``.
    """
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            below = f"{path}.{key}" if path else key
            yield from list_differences(ours.get(key, _ABSENT), theirs.get(key, _ABSENT), below)
    elif _show(ours) != _show(theirs):  # as JSON: to Python 1, 1.0 and True are equal, to a digest they are not
        yield f"{path}: {_shorten(_show(ours))} here, {_shorten(_show(theirs))} there"


def require_same_cache(here: Provenance, there: Provenance, where: str) -> None:
    """
    Raise unless two provenances may share one file.

    Parameters
    ----------
    here, there : Provenance
        What is asked for, and what `where` holds.
    where : str
        The file that holds the other one.

    Raises
    ------
    ProvenanceMismatch
        With every field that differs.
    """
    if here.cache_digest == there.cache_digest:
        return
    ours, theirs = here.to_dict(), there.to_dict()
    del ours["run"], theirs["run"]
    differences = "\n  ".join(list_differences(ours, theirs))
    raise ProvenanceMismatch(
        f"{where} was made in another way than is asked for now (here: asked for, there: in the file):\n  "
        f"{differences}\nGive the same options, or write to another file."
    )


def require_same_model(
    here: dict[str, Any],
    there: dict[str, Any],
    what: str,
    advice: str = "Extract both with one backbone and one recipe.",
) -> None:
    """
    Raise unless two model records are equal.

    Raises
    ------
    ProvenanceMismatch
        With every field that differs.
    """
    if digest_json(here) != digest_json(there):
        differences = "\n  ".join(list_differences(here, there, "model"))
        raise ProvenanceMismatch(
            f"{what}: the vectors come from different models and cannot be mixed:\n  {differences}\n{advice}"
        )


_ABSENT = object()  # a field that is null differs from one that is not there


def _show(value: Any) -> str:
    return "nothing" if value is _ABSENT else json.dumps(value, sort_keys=True)


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
