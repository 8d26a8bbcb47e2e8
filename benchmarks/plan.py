"""What a suite asks for: its cells, in an order in which each finds what it needs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from benchmarks.cells import Cell
from benchmarks.finetunes import order_finetunes
from benchmarks.suite import Suite
from finetune.config import load_config
from heads.io import HEADS, find_head


def check_models(suite: Suite) -> None:
    """
    Refuse heads and fine-tunes that there are not.

    Raises
    ------
    SommelierError
        With the nearest name.
    """
    for model in suite.models.values():
        if model.head is not None and model.head not in HEADS:
            find_head(model.head)
        if model.finetune is not None:
            given = {"run": "run", "data.catalogs": ["catalog"], "model.backbone": suite.backbone, **model.set}
            load_config(model.finetune, [f"{key}={json.dumps(value)}" for key, value in given.items() if key != "init"])


def list_seeds(suite: Suite, model: str) -> list[int]:
    """The seeds of a model: of one that needs a fine-tune of the suite, no more than that has."""
    asked = suite.models[model]
    n = asked.seeds or (suite.seeds.finetunes if asked.is_tuned else suite.seeds.heads)
    origin = suite.find_origin(model)
    if origin is not None:
        n = min(n, len(list_seeds(suite, origin)))
    return list(range(suite.seeds.first, suite.seeds.first + n))


def plan_cells(suite: Suite, layers: Sequence[int], most: int) -> list[Cell]:
    """
    All cells: fine-tunes first, then heads.

    A budget is for the joined space alone.

    Parameters
    ----------
    suite : Suite
    layers : sequence of int
        That the frozen stores hold, counted from 1.
    most : int
        Sky objects that every seed has of the reference training set: budgets of as many and more are left out.
    """
    names = [*order_finetunes(suite), *(name for name, model in suite.models.items() if model.head)]
    return [
        Cell(training, name, seed, space, budget)
        for name in names
        for training in suite.list_trainings(name)
        for number, space in enumerate(_list_spaces(suite, name, training, layers))
        for budget in (suite.list_budgets(name, training) if number == 0 else (0,))
        if budget < most
        for seed in list_seeds(suite, name)
    ]


def _list_spaces(suite: Suite, model: str, training: str, layers: Sequence[int]) -> list[str]:
    if suite.models[model].is_tuned:
        return [""]  # the run's own
    return [space.name for space in suite.list_spaces(model, training, layers)]
