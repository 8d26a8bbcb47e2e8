"""What this machine computes with, and the choices that ``auto`` stands for."""

from __future__ import annotations

import torch

from embeddings.errors import SommelierError, did_you_mean
from extract.backbone import PRECISIONS
from extract.processes import count_cpus

CPU_BATCH = 4  # a CPU gains nothing from larger ones, and small ones stay in cache
GPU_BATCH = 256
CPU_FLOPS = 80e9  # a second, one thread, fp32, a core of 2020 or later: only to tell short jobs from long ones
SPAWN_SECONDS = 30.0  # work below this does not repay the start of several processes


def choose_device(device: str = "auto") -> str:
    """
    ``auto`` is CUDA, then Apple's MPS, then the CPU.

    Raises
    ------
    SommelierError
        When the device that was asked for is not there.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind = device.split(":")[0]
    if kind not in ("cpu", "cuda", "mps"):
        raise SommelierError(
            f"the device {device!r} is not known. {did_you_mean(device, ('auto', 'cpu', 'cuda', 'cuda:1', 'mps'))}"
        )
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}[kind]
    if not there:
        raise SommelierError(
            f"--device {device}: torch {torch.__version__} sees no such device. 'sommelier doctor' says more."
        )
    return device


def choose_precision(precision: str, device: str) -> str:
    """``auto`` is bf16 on a GPU that has it, fp32 elsewhere."""
    if precision == "auto":
        return "bf16" if device.startswith("cuda") and torch.cuda.is_bf16_supported() else "fp32"
    if precision not in PRECISIONS:
        raise SommelierError(
            f"--precision {precision!r} is not known. {did_you_mean(precision, ('auto', *PRECISIONS))}"
        )
    return precision


def choose_workers(workers: int | None, device: str, n_rows: int, flop_per_image: float) -> tuple[int, int]:
    """
    How many processes, and how many threads in each.

    On a CPU, processes of one thread beat one process of many threads; a short job stays in this process. On a
    GPU one process feeds the device, and its threads decode.

    Returns
    -------
    workers, threads : int
    """
    cpus = count_cpus()
    if device != "cpu":
        return 1, cpus
    if workers is None:
        workers = cpus if n_rows * flop_per_image / CPU_FLOPS > SPAWN_SECONDS else 1
    workers = max(1, min(workers, n_rows))
    return workers, max(1, cpus // workers)


def choose_batch_size(batch_size: int | None, device: str) -> int:
    """The number of images in a batch."""
    if batch_size is not None:
        return batch_size
    return CPU_BATCH if device == "cpu" else GPU_BATCH


def describe_device(device: str) -> str:
    """The device in words, for the record."""
    if device.startswith("cuda"):
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return device
