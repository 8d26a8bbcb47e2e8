"""A state that is written and read continues as if nothing had been."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from finetune.checkpoint import Checkpoint, pack_optimiser, read_checkpoint, unpack_optimiser, write_checkpoint
from finetune.data import TrainingError


def make() -> tuple[nn.Module, torch.optim.Optimizer, list[str]]:
    """A network whose last bias does not learn, in two groups, in another order than its own."""
    torch.manual_seed(4)
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    names = ["2.weight", "0.weight", "0.bias"]
    own = dict(network.named_parameters())
    groups = [{"params": [own[names[0]]], "lr": 0.1}, {"params": [own[n] for n in names[1:]], "weight_decay": 0.3}]
    return network, torch.optim.AdamW(groups, lr=0.01), names


def take_steps(network: nn.Module, optimiser: torch.optim.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        X = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        network(X).square().sum().backward()
        optimiser.step()


def test_an_optimiser_goes_on_bit_for_bit(tmp_path: Path) -> None:
    network, optimiser, names = make()
    take_steps(network, optimiser, 0, 3)
    tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"optimiser/{name}": value for name, value in pack_optimiser(optimiser, names).items()}
    write_checkpoint(
        tmp_path / "last.safetensors", Checkpoint(tensors, {"step": 3, "loss": 0.1, "history": [{"r": 1}]})
    )
    take_steps(network, optimiser, 3, 6)

    again, its_optimiser, names = make()
    take_steps(again, its_optimiser, 7, 8)  # what it was before must not matter
    checkpoint = read_checkpoint(tmp_path / "last.safetensors")
    assert checkpoint.record == {"step": 3, "loss": 0.1, "history": [{"r": 1}]}
    again.load_state_dict(checkpoint.take("network/"))
    unpack_optimiser(its_optimiser, names, checkpoint.take("optimiser/"))
    take_steps(again, its_optimiser, 3, 6)
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    for name, value in pack_optimiser(optimiser, names).items():
        assert torch.equal(value, pack_optimiser(its_optimiser, names)[name]), name


def test_an_optimiser_that_took_no_step_has_nothing_to_remember() -> None:
    _, optimiser, names = make()
    assert pack_optimiser(optimiser, names) == {}
    unpack_optimiser(optimiser, names, {})
    assert not optimiser.state_dict()["state"]


def test_kinds_of_tensors_stay(tmp_path: Path) -> None:
    """Views of one memory, other types, scalars; the one written is not changed."""
    whole = torch.arange(6.0).reshape(2, 3)
    tensors = {"a": whole.T, "b": whole[0], "half": whole.to(torch.bfloat16), "count": torch.tensor(7), "c": whole}
    write_checkpoint(tmp_path / "best.safetensors", Checkpoint(tensors))
    read = read_checkpoint(tmp_path / "best.safetensors")
    assert read.record == {}
    for name, value in tensors.items():
        assert read.tensors[name].dtype == value.dtype
        assert torch.equal(read.tensors[name], value)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "last.safetensors"
    write_checkpoint(file, Checkpoint({"a": torch.ones(1)}))
    with pytest.raises(TypeError):
        write_checkpoint(file, Checkpoint({"a": torch.zeros(1)}, {"no JSON": object()}))
    assert read_checkpoint(file).tensors["a"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]


@pytest.mark.parametrize("kept", [0, 4, 30, 200, -1])
def test_a_file_cut_short_is_an_error_that_names_it(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "checkpoints" / "last.safetensors"
    write_checkpoint(file, Checkpoint({"a": torch.ones(100), "b": torch.ones(100)}, {"step": 1}))
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(
        TrainingError, match=r"last\.safetensors is damaged .*remove the folder .*checkpoints: training"
    ):
        read_checkpoint(file)


def test_other_files_are_errors(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    (tmp_path / "text").write_text("no checkpoint")
    for name in ("model.safetensors", "text", "missing"):
        with pytest.raises(TrainingError, match=f"{name} is damaged or no checkpoint of a run"):
            read_checkpoint(tmp_path / name)
