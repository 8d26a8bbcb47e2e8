"""What each step is fed, whenever and wherever it is taken."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from extract.preprocessing import MEAN, STD, Recipe
from finetune.augmentation import Augmenter
from finetune.batches import AHEAD, Feeder, seed_step
from finetune.objective import Labels
from finetune.parallel import World
from finetune.sampling import Sampler
from finetune.sections import Augmentation
from tests.finetune.tables import make_table

N, SIDE = 30, 14
CPU = torch.device("cpu")


class NumberedSquares:
    """Each picture is noise of its own, after its number."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def read(self, rows: np.ndarray) -> Tensor:
        self.asked.append(rows.tolist())
        return torch.stack([self.draw(row) for row in rows.tolist()])

    @staticmethod
    def draw(row: int) -> Tensor:
        generator = torch.Generator().manual_seed(row)
        return torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8, generator=generator)


def make_feeder(accumulate: int = 1, world: World | None = None, **changes: Any) -> Feeder:
    """Thirty galaxies whose pictures are numbers 100 to 129; seven steps of four an epoch."""
    table = make_table(np.arange(N * 5).reshape(N, 5))
    labels = Labels(torch.from_numpy(table.Y), torch.ones(N, 5), torch.arange(N).float()[:, None])
    feeder = Feeder(
        table=replace(table, rows=np.arange(N) + 100),
        squares=NumberedSquares(),
        labels=labels,
        sampler=Sampler((np.arange(N),), "natural", None, 4, 0),
        augmenter=Augmenter(Augmentation(), SIDE, 0),
        recipe=Recipe("whole", SIDE),
        world=world or World(0, 1, CPU),
        accumulate=accumulate,
        seed=0,
    )
    return replace(feeder, **changes)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_steps_follow_the_sampler(accumulate: int) -> None:
    feeder = make_feeder(accumulate)
    steps = list(feeder.iterate(0, 16))
    assert [number for number, _ in steps] == list(range(16))
    plans = np.concatenate([feeder.sampler.draw_epoch(epoch) for epoch in range(3)])
    for (_, batches), rows in zip(steps, plans, strict=False):
        assert len(batches) == accumulate
        assert np.concatenate([batch.rows for batch in batches]).tolist() == rows.tolist()
        for batch in batches:
            assert len(batch.rows) == 4 // accumulate
            assert torch.equal(
                batch.squares, torch.stack([NumberedSquares.draw(100 + row) for row in batch.rows.tolist()])
            )
            assert batch.labels.Y[:, 0].tolist() == (5 * batch.rows).tolist()
            assert batch.labels.counts[:, 0].tolist() == batch.rows.tolist()


@pytest.mark.parametrize("first", [1, 6, 7, 13])
def test_a_step_is_the_same_wherever_one_begins(first: int) -> None:
    later = list(make_feeder().iterate(first, 15))
    for (number, (batch,)), (same, (whole,)) in zip(later, list(make_feeder().iterate(0, 15))[first:], strict=True):
        assert number == same
        assert np.array_equal(batch.rows, whole.rows)
        assert torch.equal(batch.squares, whole.squares)


def test_no_steps_are_no_steps() -> None:
    assert list(make_feeder().iterate(5, 5)) == []


def test_it_reads_ahead_and_no_further() -> None:
    feeder = make_feeder()
    squares: Any = feeder.squares
    steps = feeder.iterate(0, 28)
    next(steps)
    assert len(squares.asked) <= AHEAD + 1
    steps.close()  # type: ignore[attr-defined]
    assert len(squares.asked) <= AHEAD + 1


def test_a_reading_error_reaches_the_step() -> None:
    class Broken(NumberedSquares):
        def read(self, rows: np.ndarray) -> Tensor:
            if len(self.asked) == 2:
                raise OSError("the disk is gone")
            return super().read(rows)

    steps = make_feeder(squares=Broken()).iterate(0, 28)
    assert [next(steps)[0], next(steps)[0]] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(steps)


def test_processes_share_the_pictures_and_the_views() -> None:
    rows = np.array([3, 1, 4, 15])
    whole = make_feeder()
    expected = whole.view(whole.read_batch(rows), torch.Generator().manual_seed(8))
    parts = []
    for rank in (0, 1):
        feeder = make_feeder(world=World(rank, 2, CPU))
        batch = feeder.read_batch(rows)
        assert batch.rows.tolist() == rows.tolist()
        assert torch.equal(batch.labels.Y, whole.labels.Y[rows])  # labels are of all
        assert feeder.squares.asked == [(rows + 100)[2 * rank : 2 * rank + 2].tolist()]  # type: ignore[attr-defined]
        parts.append(feeder.view(batch, torch.Generator().manual_seed(8)))
    assert torch.equal(torch.cat(parts), expected)


def normalise(pixels: Tensor) -> np.ndarray:
    return (pixels.double().numpy() / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))


def test_views_are_normalised_once() -> None:
    still = Augmentation(rotation=0, flip=False, scale=0, brightness=0, contrast=0, noise=0)
    feeder = make_feeder(augmenter=Augmenter(still, SIDE, 0))
    batch = feeder.read_batch(np.array([2, 9]))
    assert feeder.view(batch, torch.Generator()).numpy() == pytest.approx(normalise(batch.squares), abs=1e-5)


def test_validation_sees_the_pictures_as_they_are() -> None:
    feeder = make_feeder()
    expected = normalise(torch.stack([NumberedSquares.draw(107), NumberedSquares.draw(102)]))
    assert feeder.look(np.array([7, 2])).numpy() == pytest.approx(expected, abs=1e-5)


def test_a_steps_draws_are_its_own() -> None:
    def draw(seed: int, step: int) -> tuple[list[float], list[float]]:
        views = seed_step(seed, step)
        return torch.rand(3).tolist(), torch.rand(3, generator=views).tolist()

    first = draw(0, 5)
    torch.rand(100)
    assert draw(0, 5) == first
    others = [draw(0, 6), draw(1, 5), draw(5, 0)]
    drawn = [tuple(values) for pair in (first, *others) for values in pair]
    assert len(set(drawn)) == len(drawn)
