"""
Make the bundled backbone `tiny`: train a small DINOv2 on simulated galaxies, without labels.

    python -m finetune.pretrain build/backbone

The network sees one survey's picture of a galaxy, turned at random, and tells how the galaxy's light is spread over
radius and angle in the pictures of all three surveys (`finetune.descriptors`): what turning does not change, and what
a better telescope would show. Killed, the same command goes on from its last checkpoint as if never stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from embeddings.files import claim_folder
from extract.preprocessing import Recipe, resize
from finetune.augmentation import Augmenter
from finetune.average import MovingAverage
from finetune.batches import seed_step
from finetune.checkpoint import LAST, Checkpoint, pack_optimiser, read_checkpoint, unpack_optimiser, write_checkpoint
from finetune.data import TrainingError
from finetune.predictor import Predictor, make_network, make_targets
from finetune.results import write_backbone
from finetune.schedule import Schedule
from finetune.sections import Augmentation
from finetune.sightings import Sightings

RECORD, GALAXIES, LOG = "pretraining.json", "galaxies", "log.jsonl"
VIEWS = Augmentation(rotation=180, scale=0.05, flip=True, brightness=0.1, contrast=0.1, noise=0.02)
DECAY = 0.05  # of weights, not of biases and norms
WARMUP, FINAL = 0.03, 0.01  # of the learning rate: `finetune.schedule.Schedule`
CLIP = 3.0  # the gradient's norm
AVERAGE = 0.99  # of the moving average of the weights, which is what is kept
COLLAPSED = 1e-4  # spread of normalised features over a batch, below which all galaxies look the same

Say = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Pretraining:
    """
    All that decides what comes out.

    Parameters
    ----------
    galaxies : int
        Of the simulated population.
    seed : int
        Of the population, of the first weights and of every step.
    image_side, side : int
        Pixels of the surveys' pictures, and of the squares that the network will embed.
    small_side : int
        Pixels of most steps: three times as fast as whole ones.
    small_steps, whole_steps : int
    batch : int
        Galaxies in a step.
    learning_rate, whole_learning_rate : float
        The highest of each.
    """

    galaxies: int = 12_000
    seed: int = 20_261_124
    image_side: int = 128
    side: int = 126
    small_side: int = 84
    small_steps: int = 1850
    whole_steps: int = 400
    batch: int = 96
    learning_rate: float = 1e-3
    whole_learning_rate: float = 4e-4

    @property
    def steps(self) -> int:
        """All of them."""
        return self.small_steps + self.whole_steps

    def side_at(self, step: int) -> int:
        """Pixels a side in a step, counted from 0."""
        return self.small_side if step < self.small_steps else self.side

    def rate_at(self, step: int) -> float:
        """The learning rate in a step: up and down again with small pictures, then lower with whole ones."""
        if step < self.small_steps:
            return self.learning_rate * Schedule(self.small_steps, WARMUP, FINAL).factor(step)
        factor = Schedule(self.whole_steps, WARMUP, FINAL).factor(step - self.small_steps)
        return self.whole_learning_rate * factor


class Pretrainer:
    """
    Trains a `Predictor`; every step is a function of its number and of the state that the last one left.

    Parameters
    ----------
    settings : Pretraining
    squares : (n_galaxies, 3, 3, side, side) uint8 tensor
        `Sightings.make`.
    folder : Path
        Of the checkpoint.
    device : str
    """

    def __init__(self, settings: Pretraining, squares: Tensor, folder: Path, device: str = "cpu") -> None:
        self.settings, self.squares, self.folder = settings, squares, folder
        self.device = torch.device(device)
        self.targets = make_targets(squares)
        backbone = make_network(settings.seed)
        torch.manual_seed(settings.seed)
        self.network = Predictor(backbone, self.targets.shape[1]).to(self.device)
        learning = dict(self.network.named_parameters())
        groups = [[name for name in learning if (learning[name].ndim > 1) == decays] for decays in (True, False)]
        self.names = [name for group in groups for name in group]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [learning[name] for name in group], "weight_decay": decay}
                for group, decay in zip(groups, (DECAY, 0.0), strict=True)
            ],
            lr=settings.learning_rate,
        )
        self.average = MovingAverage(learning, AVERAGE)
        self.augmenters = {
            side: Augmenter(VIEWS, side, settings.seed, self.device) for side in (settings.small_side, settings.side)
        }
        self.recipe = Recipe(size=settings.side)
        self.step, self.seconds = 0, 0.0

    def train(self, say: Say = lambda record: None, every: int = 50, until: int | None = None) -> None:
        """
        Train to the last step, or to another one, from the last checkpoint on.

        Parameters
        ----------
        say : callable
            Is given a record of the last steps, and afterwards a checkpoint is written.
        every : int
            Steps between records.
        until : int, optional

        Raises
        ------
        TrainingError
            When the loss is no number, or all galaxies get the same features.
        """
        self.resume()
        losses, start = [], time.perf_counter()
        for step in range(self.step, until or self.settings.steps):
            loss, spread = self._take_step(step)
            losses.append(loss)
            self.step = step + 1
            if self.step % every == 0 or self.step == (until or self.settings.steps):
                self.seconds, start = self.seconds + time.perf_counter() - start, time.perf_counter()
                self._guard(losses, spread)
                self.write()
                seconds = round(self.seconds, 1)
                say({"step": self.step, "loss": float(np.mean(losses)), "spread": spread, "seconds": seconds})
                losses = []

    def _take_step(self, step: int) -> tuple[float, float]:
        """The loss (2 is what a constant reaches), and the spread of normalised features."""
        settings, generator = self.settings, seed_step(self.settings.seed, step)
        for group in self.optimiser.param_groups:
            group["lr"] = settings.rate_at(step)
        rows = torch.randint(len(self.squares), (settings.batch,), generator=generator)
        surveys = torch.randint(self.squares.shape[1], (settings.batch,), generator=generator)
        images = self._view(self.squares[rows, surveys], settings.side_at(step), generator)
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16):
            predictions, features = self.network(images)
        targets = self.targets[rows].to(self.device)
        loss = (predictions.float() - targets).square().mean(dim=(1, 2)).sum()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimiser.step()
        self.average.update(step)
        spread = nn.functional.normalize(features.detach(), dim=1).std(dim=0).mean()
        return loss.item(), spread.item()

    def _view(self, squares: Tensor, side: int, generator: torch.Generator) -> Tensor:
        augmenter = self.augmenters[side]
        small = resize(squares.to(self.device), (side, side))
        return self.recipe.normalise(augmenter.apply(small, augmenter.draw(len(squares), generator)))

    def _guard(self, losses: list[float], spread: float) -> None:
        if not np.isfinite(losses).all() or spread < COLLAPSED:
            raise TrainingError(
                f"before step {self.step} the loss was {losses[-1]:.3g} and the features' spread {spread:.2g}: "
                f"training has collapsed. The checkpoint in {self.folder} is from before: take a smaller learning rate."
            )

    def write(self) -> None:
        """Write what training goes on from."""
        tensors = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self.average.values.items()}
        tensors |= {f"optimiser/{name}": value for name, value in pack_optimiser(self.optimiser, self.names).items()}
        write_checkpoint(self.folder / LAST, Checkpoint(tensors, {"step": self.step, "seconds": self.seconds}))

    def resume(self) -> None:
        """Take up the last checkpoint, if there is one."""
        if not (self.folder / LAST).exists():
            return
        checkpoint = read_checkpoint(self.folder / LAST)
        self.network.load_state_dict(checkpoint.take("network/"))
        self.average.load(checkpoint.take("average/"))
        unpack_optimiser(self.optimiser, self.names, checkpoint.take("optimiser/"))
        self.step, self.seconds = checkpoint.record["step"], checkpoint.record["seconds"]

    def export(self) -> Path:
        """Write the averaged backbone, in half precision, as a folder that transformers loads."""
        with self.average.swapped():
            write_backbone(self.network.backbone.to("cpu"), self.folder, torch.float16)
        return self.folder / "backbone"


def pretrain(
    folder: Path, settings: Pretraining, device: str = "cpu", workers: int | None = None, say: Say = lambda record: None
) -> Path:
    """
    Simulate, train and export; what is done already is not done again.

    Parameters
    ----------
    folder : Path
    settings : Pretraining
    device : str
    workers : int, optional
        Processes that simulate; all cores by default.
    say : callable
        Is given records of how it goes.

    Returns
    -------
    Path
        The backbone's folder.

    Raises
    ------
    SommelierError
        When the folder holds anything else, or training collapsed.
    """
    record = {"format": "galaxy-sommelier pretraining", **asdict(settings)}
    claim_folder(folder, RECORD, record, "pretraining")
    population = Sightings(settings.galaxies, settings.seed, settings.image_side, settings.side)
    squares = population.make(folder / GALAXIES, workers, lambda done, _, total: say({"simulated": done, "of": total}))
    trainer = Pretrainer(settings, squares, folder, device)
    trainer.train(say)
    return trainer.export()


def main() -> None:
    """Run from the command line; prints and keeps a JSON line every so often."""
    parser = argparse.ArgumentParser(description="Make the bundled backbone tiny.")
    parser.add_argument("folder", type=Path, help="for the population, the checkpoint and the backbone")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2, help="of torch on the CPU")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    def say(record: dict[str, Any]) -> None:
        line = json.dumps(record)
        print(line, flush=True)
        with (options.folder / LOG).open("a") as file:
            file.write(line + "\n")

    print(pretrain(options.folder, Pretraining(), options.device, say=say))


if __name__ == "__main__":
    main()
