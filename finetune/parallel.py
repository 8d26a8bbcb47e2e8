"""Several processes on one run, as torchrun starts them: the backbone's work is shared, the head sees whole batches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from extract.devices import choose_device

PATIENCE = timedelta(
    days=2
)  # what all wait for may be the first one decoding a survey; torchrun ends those of the dead


@dataclass(frozen=True)
class World:
    """
    The processes of a run.

    Attributes
    ----------
    rank, size : int
    device : torch.device
        This process's own.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def own_slice(self, n_rows: int) -> slice:
        """The rows of a batch that this process embeds; the number of processes divides its length."""
        share = n_rows // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def gather(self, features: Tensor) -> Tensor:
        """
        The rows of all processes, in the batch's order; gradients reach this process's own.

        So the head and the loss see the whole batch in every process: batch normalisation, dropout and weights are
        those of a single process.
        """
        if self.size == 1:
            return features
        gathered: Tensor = _Gather.apply(features, self)  # type: ignore[no-untyped-call]
        return gathered

    def collect(self, value: Any) -> list[Any]:
        """What every process has, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        if self.size == 1:
            return flag
        flags = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    @contextmanager
    def lead_first(self) -> Iterator[None]:
        """The leading process goes first, the others after it: they find its files."""
        if self.size > 1 and not self.leads:
            dist.barrier()
        yield
        if self.size > 1 and self.leads:
            dist.barrier()


class _Gather(torch.autograd.Function):
    """
    All rows from all processes.

    Every process computes the same loss from the same rows, so the gradient is at hand without talking; it is
    multiplied by the number of processes because DistributedDataParallel averages over them.
    """

    @staticmethod
    def forward(context: Any, features: Tensor, world: World) -> Tensor:
        context.world = world
        parts = [torch.empty_like(features) for _ in range(world.size)]
        dist.all_gather(parts, features.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        world = context.world
        return gradients[0][world.own_slice(len(gradients[0]))] * world.size, None


@contextmanager
def join_world(device: str = "auto") -> Iterator[World]:
    """Take a place among the processes that torchrun started; alone without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device)
    if size == 1 or "RANK" not in os.environ:
        yield World(0, 1, torch.device(chosen))
        return
    if chosen == "cuda":
        chosen = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.startswith("cuda") else "gloo", timeout=PATIENCE)
    try:
        yield World(int(os.environ["RANK"]), size, torch.device(chosen))
    finally:
        dist.destroy_process_group()


def leave_world() -> None:
    """
    End a process of several at once, when its work is done; alone, do nothing.

    Threads of gloo now and then abort a process that is left to end by itself, and torchrun calls that a failure.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
