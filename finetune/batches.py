"""What a step is fed: read ahead by a thread, the same whenever the step is taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from extract.preprocessing import Recipe
from finetune.augmentation import Augmenter
from finetune.data import GalaxyTable
from finetune.objective import Labels
from finetune.parallel import World
from finetune.sampling import Sampler
from finetune.squares import Squares

Array = np.ndarray[Any, Any]
AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """
    Images and labels.

    Attributes
    ----------
    rows : (n_galaxies,) int array
        Of the table: the whole batch.
    squares : (n_own, 3, size, size) uint8 tensor
        This process's share of the pictures.
    labels : Labels
        Of the whole batch.
    """

    rows: Array
    squares: Tensor
    labels: Labels


@dataclass(frozen=True)
class Feeder:
    """
    Gives every step its batches, and views of them.

    Attributes
    ----------
    table : GalaxyTable
    squares : Squares
        By the table's `rows`.
    labels : Labels
    sampler : Sampler
        Of whole steps.
    augmenter : Augmenter
    recipe : Recipe
    world : World
    accumulate : int
        Batches in a step.
    seed : int
    """

    table: GalaxyTable
    squares: Squares
    labels: Labels
    sampler: Sampler
    augmenter: Augmenter
    recipe: Recipe
    world: World
    accumulate: int
    seed: int

    def iterate(self, step: int, last: int) -> Iterator[tuple[int, list[Batch]]]:
        """The steps from one on, each with its batches, while a thread reads those of the next ones."""
        with ThreadPoolExecutor(1, "read") as pool:
            waiting: deque[tuple[int, Future[list[Batch]]]] = deque()
            plans = self._plan(step, last)
            try:
                for number, rows in plans:
                    waiting.append((number, pool.submit(self._read_step, rows)))
                    if len(waiting) > AHEAD:
                        number, future = waiting.popleft()
                        yield number, future.result()
                while waiting:
                    number, future = waiting.popleft()
                    yield number, future.result()
            finally:
                for _, future in waiting:
                    future.cancel()

    def _plan(self, step: int, last: int) -> Iterator[tuple[int, Array]]:
        epoch, plan = -1, np.empty((0, 0), np.int64)
        for number in range(step, last):
            if number // self.sampler.n_steps != epoch:
                epoch = number // self.sampler.n_steps
                plan = self.sampler.draw_epoch(epoch)
            yield number, plan[number % self.sampler.n_steps]

    def _read_step(self, rows: Array) -> list[Batch]:
        return [self.read_batch(part) for part in np.split(rows, self.accumulate)]

    def read_batch(self, rows: Array) -> Batch:
        """The pictures of a batch that are this process's own, and the labels of all."""
        own = rows[self.world.own_slice(len(rows))]
        squares = self.squares.read(self.table.rows[own])
        if self.world.device.type == "cuda":
            squares = squares.pin_memory()
        return Batch(rows, squares, self.labels.take(rows))

    def view(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Random views of a batch, as the backbone takes them; what is drawn is drawn for the whole batch."""
        draws = self.augmenter.draw(len(batch.rows), generator)[self.world.own_slice(len(batch.rows))]
        squares = batch.squares.to(self.world.device, non_blocking=True)
        return self.recipe.normalise(self.augmenter.apply(squares, draws))

    def look(self, rows: Array) -> Tensor:
        """The pictures of some rows as extraction sees them: resized and normalised, nothing else."""
        squares = self.squares.read(self.table.rows[rows]).to(self.world.device)
        return self.recipe.normalise(squares)


def seed_step(seed: int, step: int) -> torch.Generator:
    """Set torch's own generators for a step, and return another for its views: so a step knows no other one's draws."""
    state = np.random.SeedSequence([seed, step]).generate_state(2, np.uint64)
    torch.manual_seed(int(state[0]) >> 1)
    return torch.Generator().manual_seed(int(state[1]) >> 1)
