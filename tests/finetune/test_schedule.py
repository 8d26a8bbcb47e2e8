"""Against torch's schedulers."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from finetune.schedule import Schedule


def run_scheduler(n_steps: int, final: float) -> list[float]:
    """The factors of the study's scheduler, stepped once a batch."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = CosineAnnealingLR(optimiser, T_max=n_steps, eta_min=final)
    factors = []
    for _ in range(n_steps):
        factors.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return factors


@pytest.mark.parametrize(("n_steps", "final"), [(1, 0.01), (7, 0.01), (100, 0.0), (100, 1.0)])
def test_without_warmup_it_is_torchs_cosine(n_steps: int, final: float) -> None:
    schedule = Schedule(n_steps, 0, final)
    assert [schedule.factor(step) for step in range(n_steps)] == pytest.approx(run_scheduler(n_steps, final), abs=1e-12)


def test_a_warmup_rises_evenly_and_then_the_cosine_begins() -> None:
    schedule = Schedule(50, 0.1, 0.01)
    factors = [schedule.factor(step) for step in range(50)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5:] == pytest.approx(run_scheduler(45, 0.01), abs=1e-12)


def test_no_factor_is_zero_or_more_than_one() -> None:
    for n_steps in (1, 2, 3, 10):
        for warmup in (0, 0.1, 0.5, 0.99):
            schedule = Schedule(n_steps, warmup, 0.01)
            assert all(0 < schedule.factor(step) <= 1 for step in range(n_steps))
