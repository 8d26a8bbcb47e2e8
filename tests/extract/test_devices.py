"""What `auto` stands for on machines that this one is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from embeddings.errors import SommelierError
from extract import devices


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    def pretend(cuda: bool = False, mps: bool = False, bf16: bool = True, cpus: int = 4) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Model of {device}")
        monkeypatch.setattr(devices, "count_cpus", lambda: cpus)

    return pretend


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_best_device_there_is(cuda: bool, mps: bool, chosen: str, machine: Any) -> None:
    machine(cuda, mps)
    assert devices.choose_device() == chosen
    assert devices.choose_device("cpu") == "cpu"


def test_a_device_by_name(machine: Any) -> None:
    machine(cuda=True)
    assert devices.choose_device("cuda:1") == "cuda:1"
    for name in ("cuda:1", "cuda", "mps"):
        machine()
        with pytest.raises(
            SommelierError, match=rf"--device {name}: torch .* sees no such device\. 'sommelier doctor'"
        ):
            devices.choose_device(name)


def test_a_device_that_nobody_knows() -> None:
    with pytest.raises(SommelierError, match=r"the device 'gpu' is not known\. Did you mean 'cpu'\?"):
        devices.choose_device("gpu")


@pytest.mark.parametrize(
    ("device", "bf16", "chosen"), [("cuda", True, "bf16"), ("cuda:1", True, "bf16"), ("cuda", False, "fp32"),
                                   ("mps", True, "fp32"), ("cpu", True, "fp32")],
)  # fmt: skip
def test_the_precision_of_a_device(device: str, bf16: bool, chosen: str, machine: Any) -> None:
    machine(bf16=bf16)
    assert devices.choose_precision("auto", device) == chosen
    for precision in ("fp32", "bf16", "fp16"):
        assert devices.choose_precision(precision, device) == precision


def test_a_precision_that_nobody_knows() -> None:
    with pytest.raises(SommelierError, match=r"--precision 'fp61' is not known\. Did you mean 'fp16'"):
        devices.choose_precision("fp61", "cpu")


def test_short_work_stays_in_this_process_and_long_work_takes_every_core(machine: Any) -> None:
    machine(cpus=4)
    seconds = devices.CPU_FLOPS
    assert devices.choose_workers(None, "cpu", 10, seconds) == (1, 4)
    assert devices.choose_workers(None, "cpu", 100, seconds) == (4, 1)
    assert devices.choose_workers(None, "cpu", 0, seconds) == (1, 4)


@pytest.mark.parametrize(
    ("asked", "rows", "chosen"),
    [(1, 100, (1, 4)), (2, 100, (2, 2)), (3, 100, (3, 1)), (8, 100, (8, 1)), (8, 2, (2, 2)), (2, 0, (1, 4))],
)
def test_as_many_workers_as_asked_for_but_no_more_than_rows(
    asked: int, rows: int, chosen: tuple[int, int], machine: Any
) -> None:
    machine(cpus=4)
    assert devices.choose_workers(asked, "cpu", rows, 1.0) == chosen


def test_one_process_feeds_a_gpu(machine: Any) -> None:
    machine(cpus=4)
    for device in ("cuda", "cuda:1", "mps"):
        assert devices.choose_workers(None, device, 10**6, 1e12) == (1, 4)


def test_batch_sizes() -> None:
    assert devices.choose_batch_size(None, "cpu") == devices.CPU_BATCH
    assert devices.choose_batch_size(None, "cuda:1") == devices.GPU_BATCH
    assert devices.choose_batch_size(7, "cpu") == devices.choose_batch_size(7, "cuda") == 7


def test_a_device_in_words(machine: Any) -> None:
    machine(cuda=True)
    assert devices.describe_device("cuda:1") == "cuda:1 (Model of cuda:1)"
    assert devices.describe_device("cpu") == "cpu"
