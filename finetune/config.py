"""What a fine-tuning run computes: one validated YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, model_validator

from finetune import documents
from finetune.documents import ConfigError as ConfigError
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


def list_shipped() -> list[str]:
    """The names of the configurations that come with the program."""
    return documents.list_shipped("finetune", "configs")


def read_config(source: Path | str) -> str:
    """
    The text of a configuration, comments and all; see `load_config`.

    Raises
    ------
    ConfigError
        When it cannot be read.
    """
    return documents.read_document(source, "finetune", "configs", "configuration")


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
    return documents.validate_document(read_config(source), source, Config, overrides)


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
