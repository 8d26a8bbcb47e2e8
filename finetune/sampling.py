"""Which galaxies make up each step: a pure function of seed and epoch, so that a run resumes at any step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from finetune.data import TrainingError

Array = np.ndarray[Any, Any]
Mixing = Literal["natural", "balanced", "budget"]


@dataclass(frozen=True)
class Sampler:
    """
    Batches of one or more surveys.

    Parameters
    ----------
    surveys : sequence of int array
        The training rows of each survey.
    mixing : {'natural', 'balanced', 'budget'}
        ``natural`` takes every galaxy once an epoch. ``balanced`` takes as many of each survey as the smallest has, of
        the larger ones others in each epoch. ``budget`` takes the same `budget` galaxies in all epochs, as many of
        each survey.
    budget : int or None
    batch_size : int
        Galaxies of a step; what an epoch leaves over, less than a step, waits for a later one.
    seed : int
    """

    surveys: tuple[Array, ...]
    mixing: Mixing
    budget: int | None
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if self.mixing == "budget":
            short = [len(rows) for rows, n in zip(self.surveys, self._shares(), strict=True) if len(rows) < n]
            if short:
                raise TrainingError(
                    f"data.budget {self.budget} asks {max(self._shares())} training galaxies of each survey, and one "
                    f"has {min(short)}. Give at most {min(map(len, self.surveys)) * len(self.surveys)}."
                )
        if self.n_rows < self.batch_size:
            raise TrainingError(
                f"an epoch has {self.n_rows} training galaxies, fewer than a step takes (training.batch_size times "
                f"training.accumulate: {self.batch_size}). Give more galaxies, or lower these to at most {self.n_rows}."
            )

    @property
    def n_rows(self) -> int:
        """Galaxies that an epoch draws on."""
        return sum(self._shares())

    @property
    def n_steps(self) -> int:
        """Steps of an epoch."""
        return self.n_rows // self.batch_size

    def draw_epoch(self, epoch: int) -> Array:
        """(n_steps, batch_size) rows, those of each batch from all surveys."""
        rows = [self._draw_survey(number, share, epoch) for number, share in enumerate(self._shares())]
        mixed = np.random.default_rng([self.seed, 2, epoch]).permutation(np.concatenate(rows))
        return mixed[: self.n_steps * self.batch_size].reshape(self.n_steps, self.batch_size)

    def _shares(self) -> list[int]:
        """Galaxies of each survey in an epoch."""
        counts, k = [len(rows) for rows in self.surveys], len(self.surveys)
        if self.mixing == "natural":
            return counts
        if self.mixing == "balanced":
            return [min(counts)] * k
        assert self.budget is not None  # the configuration asks for it
        return [self.budget // k + (number < self.budget % k) for number in range(k)]

    def _draw_survey(self, number: int, share: int, epoch: int) -> Array:
        rows = self.surveys[number]
        if share == len(rows):
            return rows
        fixed = self.mixing == "budget"
        rng = np.random.default_rng([self.seed, 1, number, 0 if fixed else epoch + 1])
        return np.asarray(rng.permutation(rows)[:share])


def split_surveys(rows: Array, surveys: Array) -> tuple[Array, ...]:
    """The rows of each survey, in order of first appearance."""
    names: Sequence[Any] = list(dict.fromkeys(surveys[rows].tolist()))
    return tuple(rows[surveys[rows] == name] for name in names)
