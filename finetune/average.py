"""A moving average of what learns: validated and kept in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """
    The exponential moving average of parameters.

    Early steps weigh more, so that the start is soon forgotten: the decay of a step is at most
    (1 + step) / (10 + step), as in TensorFlow's ExponentialMovingAverage.

    Parameters
    ----------
    learning : mapping of str to Parameter
    decay : float
    """

    def __init__(self, learning: Mapping[str, nn.Parameter], decay: float) -> None:
        self._learning, self.decay = dict(learning), decay
        self.values = {name: parameter.detach().clone() for name, parameter in learning.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in what a step, counted from 0, has made."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.values.values()), [p.detach() for p in self._learning.values()], 1 - decay)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Put back what `values` were."""
        for name, value in self.values.items():
            value.copy_(values[name])

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The averages in the parameters' place."""
        held = {name: parameter.detach().clone() for name, parameter in self._learning.items()}
        self._put(self.values)
        try:
            yield
        finally:
            self._put(held)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._learning.items():
            parameter.copy_(values[name])
