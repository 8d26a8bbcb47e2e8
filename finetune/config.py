"""What a fine-tuning run computes: one validated YAML file."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from embeddings.errors import SommelierError, did_you_mean
from finetune.keys import explain_errors, explain_unknown, list_keys
from finetune.sections import Augmentation, Data, Model, Section, Split, Tracking, Training

# what may differ between two calls that go on with the same run: where things lie, and who looks on
IMMATERIAL = (
    "run",
    "data.images",
    "data.cache",
    "data.workers",
    "training.device",
    "training.threads",
    "training.checkpoint_steps",
)
COUNT_LOSSES = ("multinomial", "dirichlet-multinomial", "beta-binomial")


class ConfigError(SommelierError):
    """A configuration that cannot be read, or that asks for what cannot be."""


def is_smaller_better(metric: str) -> bool:
    """Whether less of a metric is better: losses and errors, not correlations."""
    return metric.rpartition("_")[2] in ("loss", "mae", "rmse")


class Config(Section):
    """
    Everything that a fine-tuning run is made from.

    Every key is described in its section; `finetune.keys.list_keys` lists them.
    """

    run: Annotated[Path, Field(description="the run folder")]
    init: Annotated[Path | None, Field(description="a finished run whose backbone and head to start from")] = None
    seed: Annotated[int, Field(ge=0, description="the same one gives the same run")] = 0
    data: Data
    split: Split = Split()
    model: Model
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def _check_loss(self) -> Self:
        if self.data.unasked == "zero" and self.training.loss in COUNT_LOSSES:
            raise ValueError(
                f"data.unasked is 'zero' and training.loss is {self.training.loss!r}; a likelihood of counts knows "
                "no zero for a question that was not asked. Take unasked: missing, or loss: mse or bce."
            )
        return self

    def to_yaml(self) -> str:
        """Every key, as YAML that `from_yaml` reads."""
        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, width=110))

    @classmethod
    def from_yaml(cls, path: Path) -> Config:
        """
        Read a file.

        Raises
        ------
        ConfigError
            When there is none, or a key or value in it is wrong.
        """
        return load_config(path)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but 1e-4 is a number, and no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [name for number, name in enumerate(names) if name in names[:number]]
        if twice:
            raise yaml.MarkedYAMLError(None, None, f"the key {twice[0]!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def list_shipped() -> list[str]:
    """The names of the configurations that come with the program."""
    folder = resources.files("finetune") / "configs"
    return sorted(file.name.removesuffix(".yaml") for file in folder.iterdir() if file.name.endswith(".yaml"))


def read_config(source: Path | str) -> str:
    """
    The text of a configuration, comments and all; see `load_config`.

    Raises
    ------
    ConfigError
        When it cannot be read.
    """
    path = Path(source)
    name = path.name.removesuffix(".yaml")
    try:
        if not path.exists() and path.parent == Path() and name in list_shipped():
            return (resources.files("finetune") / "configs" / f"{name}.yaml").read_text(encoding="utf-8")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = did_you_mean(name, list_shipped())
        raise ConfigError(f"{source} is no file, and no configuration of the program's own. {near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source} cannot be read as text: {error}") from error


def load_config(source: Path | str, overrides: Sequence[str] = ()) -> Config:
    """
    Read and check a configuration.

    Parameters
    ----------
    source : path or str
        A YAML file, or where there is none of that name, one that comes with the program: ``full``, ``full.yaml``.
    overrides : sequence of str
        ``training.epochs=3``: what replaces the file's; values are YAML.

    Raises
    ------
    ConfigError
        When the file cannot be read; for an unknown key, with the nearest; for a wrong value, with what is allowed.
    """
    values = _parse(read_config(source), str(source))
    if not isinstance(values, dict):
        raise ConfigError(f"{source} holds {type(values).__name__}; a configuration has keys such as run, data, model.")
    names = [_override(values, override) for override in overrides]
    _list_texts(values)
    try:
        # as JSON, pydantic takes texts for paths and lists for tuples, and nothing else for what it is not
        return Config.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        lines = [f"{'--set' if key in names else source}: {text}" for key, text in explain_errors(error, Config)]
        raise ConfigError("\n".join(lines)) from None


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is no YAML: {' '.join(str(error).split())}") from error


def _override(values: dict[str, Any], override: str) -> str:
    """Put one ``key=value`` into nested values; the key's name."""
    name, equals, text = override.partition("=")
    name = name.strip()
    if not equals:
        raise ConfigError(f"--set {override}: write key=value, as training.epochs=3.")
    keys = list_keys(Config)
    if name not in keys and not any(key.startswith(f"{name}.") for key in keys):
        raise ConfigError(f"--set {override}: {explain_unknown(name, keys)}")
    *sections, last = name.split(".")
    for section in sections:
        if not isinstance(values.get(section), dict):
            values[section] = {}
        values = values[section]
    values[last] = text if text.startswith("*") else _parse(text, f"--set {override}")  # a glob, no YAML alias
    return name


def _list_texts(values: dict[str, Any]) -> None:
    """One text stands for a list of one."""
    for name in (name for name, key in list_keys(Config).items() if key.is_list):
        *sections, last = name.split(".")
        inner: Any = values
        for section in sections:
            inner = inner.get(section) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and isinstance(inner.get(last), str):
            inner[last] = [inner[last]]


def list_changes(old: Config, new: Config) -> list[str]:
    """
    What two configurations would compute differently.

    Parameters
    ----------
    old, new : Config
        That of a run folder, and the one that is to go on in it.

    Returns
    -------
    list of str
        "training.epochs: 3 (there), 5 (here)"; places, devices, threads and trackers do not count.
    """
    there, here = _flatten(old), _flatten(new)
    names = [name for name in {**there, **here} if name not in IMMATERIAL and not name.startswith("tracking.")]
    return [
        f"{name}: {_show(there.get(name))} (there), {_show(here.get(name))} (here)"
        for name in names
        if there.get(name) != here.get(name)
    ]


def _flatten(section: Section, prefix: str = "") -> dict[str, Any]:
    """Values by dotted key; paths are made absolute, so that the same place has one name."""
    values: dict[str, Any] = {}
    for name, value in section:
        if isinstance(value, Section):
            values |= _flatten(value, f"{prefix}{name}.")
        else:
            values[prefix + name] = _settle(value)
    return values


def _settle(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_settle(item) for item in value]
    return str(value.resolve()) if isinstance(value, Path) else value


def _show(value: Any) -> str:
    return "null" if value is None else str(value)
