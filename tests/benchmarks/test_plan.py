"""The cells that a suite asks for, counted by hand."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cells import Cell
from benchmarks.plan import check_models, list_seeds, plan_cells
from benchmarks.runner import run_suite
from embeddings.errors import SommelierError
from tests.benchmarks.tables import make_suite

SURVEYS = {"surveys": {name: {"catalog": f"{name}.parquet"} for name in "abc"}}
MODELS = {
    "ridge on two": {"head": "ridge", "embeddings": "two", "trainings": ["a"]},
    "two": {"finetune": "full", "set": {"init": "one"}, "seeds": 4},
    "one": {"finetune": "head"},
    "mean": {"head": "mean", "seeds": 1},
    "ridge": {"head": "ridge"},
}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"head": "rigde"}, "'rigde' is not known. Did you mean 'ridge'"), ({"finetune": "ful"}, "full"),
        ({"finetune": "full", "set": {"training.epoch": 3}}, "training.epochs"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused_before_anything_is_made(tmp_path: Path, model: dict[str, Any], said: str) -> None:
    suite = make_suite(**SURVEYS, models=MODELS | {"wrong": model}, trainings={"a": {"surveys": ["a"]}})
    with pytest.raises(SommelierError, match=re.escape(said)):
        run_suite(suite, tmp_path / "results")
    assert not list(tmp_path.iterdir())
    check_models(make_suite(**SURVEYS, models=MODELS))


def test_every_training_set_model_and_seed_is_there_once() -> None:
    suite = make_suite(**SURVEYS, models=MODELS, seeds={"heads": 3, "finetunes": 2, "first": 7})
    cells = plan_cells(suite, [2, 3], 100)
    assert len(set(cells)) == len(cells)
    counted = Counter((cell.model, cell.training) for cell in cells)
    assert counted == {
        ("one", "a"): 2, ("one", "ab"): 2, ("two", "a"): 2, ("two", "ab"): 2, ("ridge on two", "a"): 2,
        ("mean", "a"): 1, ("mean", "ab"): 1, ("ridge", "a"): 3, ("ridge", "ab"): 3,
    }  # fmt: skip
    assert {cell.space for cell in cells if cell.model in ("one", "two", "ridge on two")} == {""}
    assert {cell.space for cell in cells if cell.model == "ridge"} == {"L3-cls+patch-mean"}
    assert list_seeds(suite, "two") == [7, 8]  # it starts from runs of two seeds, whatever it asks for


def test_what_others_need_comes_before_them() -> None:
    cells = plan_cells(make_suite(**SURVEYS, models=MODELS), [2], 100)
    first = {model: next(n for n, cell in enumerate(cells) if cell.model == model) for model in MODELS}
    last = {model: max(n for n, cell in enumerate(cells) if cell.model == model) for model in MODELS}
    assert last["one"] < first["two"]
    assert last["two"] < first["ridge on two"]


def test_budgets_are_of_the_reference_training_set_and_the_joined_space() -> None:
    models = {"ridge": {"head": "ridge", "seeds": 1}, "knn": {"head": "knn", "seeds": 1, "budgets": False}}
    suite = make_suite(budgets=[10, 20], spaces="both", models=models, extraction={"pools": ["cls"]})
    assert plan_cells(suite, [1, 2], 21) == [
        Cell("a", "ridge", 0, "L2-cls", 10), Cell("a", "ridge", 0, "L2-cls", 20), Cell("a", "ridge", 0, "L2-cls", 0),
        Cell("a", "ridge", 0, "L1-cls", 0), Cell("ab", "ridge", 0, "L2-cls", 0), Cell("a", "knn", 0, "L2-cls", 0),
        Cell("ab", "knn", 0, "L2-cls", 0),
    ]  # fmt: skip
    assert {cell.budget for cell in plan_cells(suite, [2], 20)} == {10, 0}  # one of all is no budget


def test_each_space_on_its_own() -> None:
    suite = make_suite(spaces="each", models={"ridge": {"head": "ridge", "seeds": 1, "trainings": ["a"]}})
    names = [cell.space for cell in plan_cells(suite, [4, 1], 100)]
    assert names == ["L1-cls", "L1-patch-mean", "L4-cls", "L4-patch-mean"]
