"""What each process of a parallel run does; started by test_parallel, through torchrun's own launcher."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from finetune.parallel import World, join_world, leave_world
from tests.finetune.training import make_config, make_trainer


def work(folder: Path, changes: dict[str, object], world: World) -> dict[str, dict[str, torch.Tensor]]:
    """The gradients of the first step; outputs, weights and moments after training."""
    first = make_trainer(make_config(folder / "first", **changes), world)
    _, batches = next(iter(first.feeder.iterate(0, 1)))
    first._take_step(0, batches)
    gradients = {name: p.grad.clone() for name, p in first.learning.items() if p.grad is not None}
    trainer = make_trainer(make_config(folder, **changes), world)
    trainer.train()
    state = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    return {"gradients": gradients, "state": state, "outputs": {"val": trainer.predict_outputs(trainer.val)}}


def main(folder: Path, changes: dict[str, object]) -> None:
    """Train, and let each process leave its weights."""
    torch.set_num_threads(1)
    with join_world("cpu") as world:
        torch.save(work(folder, changes, world), folder / f"rank{world.rank}.pt")
        values = torch.arange(3.0).requires_grad_() + world.rank * 3
        assert world.gather(values[:, None])[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
        assert world.any(world.rank == 1)
        assert not world.any(False)
        assert world.collect(world.rank) == [0, 1]
        dist.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
    leave_world()
