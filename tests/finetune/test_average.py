"""Averages by hand."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from torch import nn

from finetune.average import MovingAverage


def make(decay: float) -> tuple[nn.Parameter, MovingAverage]:
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    return weight, MovingAverage({"weight": weight}, decay)


def put(weight: nn.Parameter, *values: float) -> None:
    with torch.no_grad():
        weight.copy_(torch.tensor(values))


def test_early_steps_weigh_more() -> None:
    """Decays of the first three steps are 1/10, 2/11 and 3/12; the last is cut to 0.2."""
    weight, average = make(0.2)
    put(weight, 11, 2)
    average.update(0)
    assert average.values["weight"].tolist() == pytest.approx([0.1 * 1 + 0.9 * 11, 2])
    put(weight, 0, 2)
    average.update(1)
    assert average.values["weight"].tolist() == pytest.approx([2 / 11 * 10, 2])
    average.update(2)
    assert average.values["weight"].tolist() == pytest.approx([0.2 * 2 / 11 * 10, 2])


def test_a_late_step_has_the_decay_asked_for() -> None:
    weight, average = make(0.99)
    put(weight, 2, 2)
    average.update(10_000)
    assert average.values["weight"].tolist() == pytest.approx([0.99 * 1 + 0.01 * 2, 2])


def test_averages_take_the_place_of_parameters_and_leave_it() -> None:
    weight, average = make(0.5)
    put(weight, 5, 6)
    with suppress(KeyError), average.swapped():
        assert weight.tolist() == [1, 2]
        raise KeyError
    assert weight.tolist() == [5, 6]
    assert average.values["weight"].tolist() == [1, 2]
    assert weight.requires_grad


def test_averages_are_put_back() -> None:
    _, average = make(0.5)
    values = average.values["weight"]
    average.load({"weight": torch.tensor([3.0, 4.0]), "other": torch.zeros(1)})
    assert average.values["weight"].tolist() == [3, 4]
    assert average.values["weight"] is values
