"""The keys of a pydantic model by their dotted names: what each allows, and what to say when a value is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from embeddings.errors import did_you_mean

WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
PLURALS = {str: "texts", Path: "paths", float: "numbers", int: "whole numbers"}
BOUNDS = (
    (annotated_types.Gt, "gt", "above"),
    (annotated_types.Ge, "ge", "at least"),
    (annotated_types.Lt, "lt", "below"),
    (annotated_types.Le, "le", "at most"),
)


@dataclass(frozen=True)
class Key:
    """
    One key that a file may have.

    Parameters
    ----------
    name : str
        With dots: ``training.epochs``.
    allowed : str
        In words: "a whole number, at least 1".
    default : object
        None where there is none as well.
    required : bool
    meaning : str
    choices : tuple of str
        What a text may be, where that is limited.
    """

    name: str
    allowed: str
    default: Any
    required: bool
    meaning: str
    choices: tuple[str, ...] = ()

    @property
    def is_list(self) -> bool:
        """Whether it holds several values."""
        return self.allowed.startswith("a list")


def list_keys(model: type[BaseModel], prefix: str = "") -> dict[str, Key]:
    """
    All keys of a model and of the models in it, in their order.

    Parameters
    ----------
    model : subclass of BaseModel
    prefix : str
        Before every name.

    Returns
    -------
    dict of str to Key
        By dotted name; a section is no key of its own, except one that may be null.
    """
    return {key.name: key for key in _walk(model, prefix)}


def find_key(name: str, keys: Iterable[str]) -> str | None:
    """The key that a dotted name is of, where ``*`` in a key stands for any name: ``models.*.head``; None for none."""
    parts = name.split(".")
    for key in keys:
        wanted = key.split(".")
        if len(wanted) == len(parts) and all(w in ("*", part) for w, part in zip(wanted, parts, strict=True)):
            return key
    return None


def list_sections(keys: Iterable[str]) -> list[str]:
    """The names of the sections that keys are in: ``training`` of ``training.epochs``."""
    found: dict[str, None] = {}
    for key in keys:
        parts = key.split(".")
        found |= dict.fromkeys(".".join(parts[:n]) for n in range(1, len(parts)))
    return list(found)


def _walk(model: type[BaseModel], prefix: str) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        named = _find_named(field)
        if named is not None:
            yield from _walk(named, f"{prefix}{name}.*.")
            continue
        section, optional = _find_section(field)
        if section is None or optional:
            required = field.is_required()
            default = None if required else field.get_default(call_default_factory=True)
            yield Key(prefix + name, _describe(field), default, required, field.description or "", _list_choices(field))
        if section is not None:
            yield from _walk(section, f"{prefix}{name}.")


def _find_section(field: FieldInfo) -> tuple[type[BaseModel] | None, bool]:
    """The model that a field holds, None where it holds a value; and whether it may be null."""
    kinds = _split_union(field.annotation)
    sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return (sections[0] if sections else None), NoneType in kinds


def _find_named(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a mapping of sections that the user names."""
    value = get_args(field.annotation)[1] if get_origin(field.annotation) is dict else None
    return value if isinstance(value, type) and issubclass(value, BaseModel) else None


def _split_union(annotation: Any) -> tuple[Any, ...]:
    """The kinds that an annotation allows: those of a union, or the one."""
    return get_args(annotation) if NoneType in get_args(annotation) else (annotation,)


def _list_choices(field: FieldInfo) -> tuple[str, ...]:
    kinds = _split_union(field.annotation)
    return tuple(str(choice) for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind))


def _describe(field: FieldInfo) -> str:
    """What a field allows, in words."""
    kinds = _split_union(field.annotation)
    words = [_name(kind) for kind in kinds if kind is not NoneType]
    limits = [
        f"{word} {getattr(item, attribute):g}"
        for bound, attribute, word in BOUNDS
        for item in field.metadata
        if isinstance(item, bound)
    ]
    if any(isinstance(item, annotated_types.MinLen) for item in field.metadata):
        limits = ["not empty"]
    said = " or ".join(words) + (", " + " and ".join(limits) if limits else "")
    return f"{said}; or null" if NoneType in kinds else said


def _name(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"a list of {PLURALS.get(get_args(kind)[0], 'values')}"
    if get_origin(kind) is dict:
        return "keys and values"
    return "a section" if issubclass(kind, BaseModel) else WORDS[kind]


def explain_errors(error: ValidationError, model: type[BaseModel]) -> list[tuple[str, str]]:
    """
    Say for each error of pydantic which key is wrong, what it was, and what is allowed.

    Parameters
    ----------
    error : ValidationError
    model : subclass of BaseModel
        The model that was validated.

    Returns
    -------
    list of (key, sentence)
        The dotted key, empty for what concerns several, and what there is to say.
    """
    keys = list_keys(model)
    return [_explain(details, keys) for details in error.errors(include_url=False, include_context=True)]


def _explain(details: ErrorDetails, keys: dict[str, Key]) -> tuple[str, str]:
    name = ".".join(part for part in details["loc"] if isinstance(part, str))
    if details["type"] == "extra_forbidden":
        return name, explain_unknown(name, keys)
    if details["type"] == "value_error":  # of the models' own checks, which name their keys
        return name, str(details["ctx"]["error"])
    key = keys.get(find_key(name, keys) or "")
    if details["type"] == "missing":
        what = f" ({key.meaning})" if key else ", a section"
        return name, f"{name} is missing{what}."
    if key is None:
        return name, f"{name} is {details['input']!r}; it is a section: write its keys below it."
    near = did_you_mean(str(details["input"]), key.choices) if key.choices else ""
    near = f" {near}" if near.startswith("Did") else ""
    return name, f"{name} is {details['input']!r}; allowed: {key.allowed}.{near}"


def explain_unknown(name: str, keys: dict[str, Key]) -> str:
    """Say that there is no such key, and which is meant: one of that name elsewhere, or the nearest in its section."""
    section, _, last = name.rpartition(".")
    elsewhere = [key for key in keys if key.rpartition(".")[2] == last]
    start = f"{section}." if section else ""
    depth = name.count(".")
    paths = [parts for parts in (key.split(".") for key in keys) if len(parts) > depth]
    siblings = dict.fromkeys(
        parts[depth] for parts in paths if not depth or find_key(section, [".".join(parts[:depth])])
    )
    near = did_you_mean(last, siblings, limit=len(siblings))
    if elsewhere and not (near.startswith("Did") and all("*" in key for key in elsewhere)):
        return f"there is no key {name!r}. Did you mean " + " or ".join(map(repr, elsewhere)) + "?"
    if near.startswith("Did"):  # whole keys, to be copied
        near = near.replace(" '", f" '{start}")
    return f"there is no key {name!r}. {near}"
