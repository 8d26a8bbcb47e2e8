"""Learning rates, as a pure function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """
    A linear rise, then half a cosine down.

    Parameters
    ----------
    n_steps : int
    warmup : float
        Share of the steps in which the rate rises.
    final : float
        What the rate comes to after the last step, as a share of the highest.

    References
    ----------
    Loshchilov & Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", eq. 5, without restarts.
    """

    n_steps: int
    warmup: float
    final: float

    def factor(self, step: int) -> float:
        """Of the rates in a step, counted from 0."""
        rising = round(self.warmup * self.n_steps)
        if step < rising:
            return (step + 1) / rising
        gone = (step - rising) / max(self.n_steps - rising, 1)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * gone)) / 2
