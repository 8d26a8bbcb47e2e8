"""YAML files that a pydantic model checks: read, overridden key by key, explained where they are wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from embeddings.errors import SommelierError, did_you_mean
from finetune.keys import explain_errors, explain_unknown, find_key, list_keys, list_sections

Model = TypeVar("Model", bound=BaseModel)
MERGE, TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"


class ConfigError(SommelierError):
    """A configuration that cannot be read, or that asks for what cannot be."""


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but 1e-4 is a number, keys are texts (``on`` also), and none stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if key.tag != MERGE]
        twice = [name for number, name in enumerate(names) if name in names[:number]]
        if twice:
            raise yaml.MarkedYAMLError(None, None, f"the key {twice[0]!r} stands twice", node.start_mark)
        self.flatten_mapping(node)
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = TEXT
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def list_shipped(package: str, folder: str) -> list[str]:
    """The names of the YAML files that come with a package in one of its folders."""
    files = (resources.files(package) / folder).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def read_document(source: Path | str, package: str, folder: str, kind: str) -> str:
    """
    The text of a file, comments and all, or where there is none of that name, of one that comes with the program.

    Parameters
    ----------
    source : path or str
        ``mine.yaml``; ``full`` or ``full.yaml`` of the program's own.
    package, folder : str
        Where those are.
    kind : str
        What errors call it.

    Raises
    ------
    ConfigError
        When it cannot be read.
    """
    path = Path(source)
    name = path.name.removesuffix(".yaml")
    shipped = list_shipped(package, folder)
    try:
        if not path.is_file() and path.parent == Path() and name in shipped:  # a folder of that name is none
            return (resources.files(package) / folder / f"{name}.yaml").read_text(encoding="utf-8")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = did_you_mean(name, shipped)
        raise ConfigError(f"{source} is no file, and no {kind} of the program's own. {near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source} cannot be read as text: {error}") from error


def validate_document(
    text: str, source: Path | str, model: type[Model], overrides: Sequence[str] = (), kind: str = "configuration"
) -> Model:
    """
    Parse and check YAML.

    Parameters
    ----------
    text : str
    source : path or str
        What errors call the file.
    model : subclass of BaseModel
    overrides : sequence of str
        ``training.epochs=3``: what replaces the file's; values are YAML.
    kind : str
        What errors call it.

    Raises
    ------
    ConfigError
        For an unknown key, with the nearest; for a wrong value, with what is allowed.
    """
    values = _parse(text, str(source))
    if not isinstance(values, dict):
        known = ", ".join(list(model.model_fields)[:3])
        raise ConfigError(f"{source} holds {type(values).__name__}; a {kind} has keys such as {known}.")
    names = [_override(values, override, model) for override in overrides]
    _list_texts(values, model)
    try:
        # as JSON, pydantic takes texts for paths and lists for tuples, and nothing else for what it is not
        return model.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        lines = [f"{'--set' if key in names else source}: {said}" for key, said in explain_errors(error, model)]
        raise ConfigError("\n".join(lines)) from None


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is no YAML: {' '.join(str(error).split())}") from error


def _override(values: dict[str, Any], override: str, model: type[BaseModel]) -> str:
    """Put one ``key=value`` into nested values; the key's name."""
    name, equals, text = override.partition("=")
    name = name.strip()
    if not equals:
        raise ConfigError(f"--set {override}: write key=value, as training.epochs=3.")
    keys = list_keys(model)
    if find_key(name, keys) is None and find_key(name, list_sections(keys)) is None:
        raise ConfigError(f"--set {override}: {explain_unknown(name, keys)}")
    *sections, last = name.split(".")
    for section in sections:
        if not isinstance(values.get(section), dict):
            values[section] = {}
        values = values[section]
    values[last] = text if text.startswith("*") else _parse(text, f"--set {override}")  # a glob, no YAML alias
    return name


def _list_texts(values: dict[str, Any], model: type[BaseModel]) -> None:
    """One text stands for a list of one."""
    lists = [name for name, key in list_keys(model).items() if key.is_list]
    _wrap(values, lists, "")


def _wrap(values: dict[str, Any], lists: Sequence[str], prefix: str) -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            _wrap(value, lists, f"{prefix}{name}.")
        elif isinstance(value, str) and find_key(f"{prefix}{name}", lists):
            values[name] = [value]
