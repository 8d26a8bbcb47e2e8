"""A run's state on disk: one safetensors file, put in place whole, from which training goes on as if never stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from embeddings.files import replace_file
from finetune.data import TrainingError

LAST, BEST = "last.safetensors", "best.safetensors"
RECORD = "record"


@dataclass
class Checkpoint:
    """
    Tensors by name, and what JSON can hold.

    Attributes
    ----------
    tensors : dict of str to Tensor
    record : dict
    """

    tensors: dict[str, Tensor]
    record: dict[str, Any] = field(default_factory=dict)

    def take(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below a prefix, without it."""
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}


def write_checkpoint(file: Path, checkpoint: Checkpoint) -> None:
    """Write a file in place at once."""
    tensors = {name: value.detach().to("cpu").contiguous().clone() for name, value in checkpoint.tensors.items()}
    with replace_file(file) as temporary:
        save_file(tensors, temporary, {RECORD: json.dumps(checkpoint.record)})


def read_checkpoint(file: Path) -> Checkpoint:
    """
    Read a file.

    Raises
    ------
    TrainingError
        When it is missing, cut short or something else.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            record = (opened.metadata() or {}).get(RECORD, "")
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
        return Checkpoint(tensors, json.loads(record))
    except (SafetensorError, OSError, ValueError) as error:
        raise TrainingError(
            f"{file} is damaged or no checkpoint of a run ({error}). Put back a whole copy of it, or remove the "
            f"folder {file.parent}: training then starts from the beginning."
        ) from error


def pack_optimiser(optimiser: torch.optim.Optimizer, names: list[str]) -> dict[str, Tensor]:
    """
    What an optimiser remembers of each parameter, as tensors by name.

    Parameters
    ----------
    optimiser : Optimizer
    names : list of str
        Of its parameters, in the order of its groups.
    """
    state = optimiser.state_dict()["state"]
    return {
        f"{names[index]}/{key}": torch.as_tensor(value)
        for index, remembered in state.items()
        for key, value in remembered.items()
    }


def unpack_optimiser(optimiser: torch.optim.Optimizer, names: list[str], tensors: dict[str, Tensor]) -> None:
    """Give an optimiser what `pack_optimiser` took from one of the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    places = {name: index for index, name in enumerate(names)}
    for full, value in tensors.items():
        name, _, key = full.rpartition("/")
        state.setdefault(places[name], {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
