"""The notebook docs/demo.ipynb: its cells run, in order, on a small benchmark, and it keeps no stale numbers."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import pytest

from tests.benchmarks import benches

NOTEBOOK = json.loads((Path(__file__).parents[2] / "docs/demo.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_it_is_short_and_keeps_no_outputs() -> None:
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    assert len(NOTEBOOK["cells"]) < 15
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])  # as the format wants it
    assert all(len(code.splitlines()) <= 16 for code in CODE)
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
    assert sum('Path("sommelier-demo")' in code for code in CODE) == 1


def run(code: str, names: dict[str, Any]) -> Any:
    """Run a cell; what its last line is, where that is an expression, as a notebook shows it."""
    tree = ast.parse(code)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None  # type: ignore[attr-defined]
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(last, "cell", "eval"), names) if last else None


@pytest.mark.slow
def test_its_cells_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)  # Agg shows nothing, and says so
    models = {"mean": {"head": "mean"}, "ridge": {"head": "ridge"}}
    suite = benches.make_suite(models=models, seeds={"heads": 2}, recalibration={"labels": [10, 30], "draws": 2})
    results = benches.write_bench(tmp_path / "sommelier-demo/benchmark", suite)
    names: dict[str, Any] = {}
    shown = [run(code, names) for code in CODE]
    tests, scores, contests, drops = (table for table in shown if isinstance(table, pd.DataFrame))
    assert list(tests.index) == list(results.samples)
    assert len(scores) == 2 * len(results.samples)  # models that learned from SDSS, on every test
    assert set(contests["verdict"]) <= {"higher", "lower", "not told apart"}
    assert len(contests) == len(results.samples)  # mixed beside sdss
    assert list(drops.index) == [(drop.model, drop.away) for drop in results.drops]
    figures = [plt.figure(number) for number in plt.get_fignums()]
    assert [len(figure.axes) for figure in figures] == [1, len(results.samples)]
    lines = figures[0].axes[0].get_lines()
    assert len(lines) == len(results.curves)
    dots = figures[1].axes[0].collections[0].get_offsets()
    assert dots[:, 0].tolist() == pytest.approx(results.samples["sdss-new"].Y[:, 1].tolist())
    plt.close("all")
