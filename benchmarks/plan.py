"""What a suite asks for: its cells, in an order in which each finds what it needs."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.cells import Cell
from benchmarks.finetunes import order_finetunes
from benchmarks.suite import FROZEN, Suite
from embeddings.provenance import Space


def list_seeds(suite: Suite, model: str) -> list[int]:
    """The seeds of a model: those of a head on a fine-tune are the fine-tune's."""
    asked = suite.models[model]
    tuned = asked.finetune is not None or asked.on != FROZEN
    n = asked.seeds or (suite.seeds.finetunes if tuned else suite.seeds.heads)
    if asked.head and asked.on != FROZEN:
        n = min(n, len(list_seeds(suite, asked.on)))
    return list(range(suite.seeds.first, suite.seeds.first + n))


def plan_cells(suite: Suite, layers: Sequence[int]) -> list[Cell]:
    """
    All cells: fine-tunes first, then heads.

    Parameters
    ----------
    suite : Suite
    layers : sequence of int
        That the frozen stores hold, counted from 1.
    """
    names = [*order_finetunes(suite), *(name for name, model in suite.models.items() if model.head)]
    return [
        Cell(training, name, seed, space.name if space else "", budget)
        for name in names
        for training in suite.trainings
        for space in _list_spaces(suite, name, layers)
        for budget in (*suite.budgets, 0)
        for seed in list_seeds(suite, name)
    ]


def _list_spaces(suite: Suite, model: str, layers: Sequence[int]) -> list[Space | None]:
    asked = suite.models[model]
    if asked.finetune or asked.on != FROZEN:
        return [None]  # the run's own
    return [*suite.list_spaces(layers)]
