"""Two runs side by side: the same galaxies are paired, other splits never silently."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.cells import read_outcome
from benchmarks.changes import compare_results, subtract_apart
from benchmarks.comparison import compute_p
from benchmarks.gathering import read_results
from benchmarks.results import CELLS, RECORD, SUITE, Results
from benchmarks.statistics import Score
from embeddings.parts import FileLock
from sommelier import main
from tests.benchmarks.benches import QUESTIONS, draw_sample, list_cells, make_suite, write_bench

KEYS: dict[str, Any] = {
    "trainings": {"sdss": {"surveys": ["sdss"]}},
    "models": {"mean": {"head": "mean"}, "ridge": {"head": "ridge"}, "knn": {"head": "knn"}},
    "seeds": {"heads": 1, "finetunes": 1},
    "recalibration": {"labels": []},
}


def write(
    folder: Path, first: int = 0, better: bool = False, record: dict[str, Any] | None = None, **keys: Any
) -> Results:
    """One test of sixty galaxies; `better`: knn says what the labels are, nearly."""
    sample = draw_sample("sdss", "new", first, 60)
    suite = make_suite(**KEYS | keys)
    results = write_bench(folder, suite, {sample.name: sample}, **record or {})
    if not better:
        return results
    (cell,) = [cell for cell in list_cells(suite) if cell.model == "knn"]
    outcome = read_outcome(folder / CELLS, cell)
    assert outcome is not None
    labels = np.nan_to_num(sample.Y, nan=0.5) + np.random.default_rng(0).normal(0, 0.05, sample.Y.shape)
    replace(outcome, predictions={sample.name: labels.astype(np.float32)}).write(folder / CELLS)
    return read_results(folder)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return write(tmp_path_factory.mktemp("before"))


def test_a_better_head_is_told_from_one_that_did_not_change(before: Results, tmp_path: Path) -> None:
    after = write(tmp_path, better=True, title="Another")
    changes = compare_results(before, after)
    assert changes.suite == {"title": ("Heads & a <fine-tune>", "Another")}
    assert changes.same_split
    assert changes.warnings == []
    found = {change.contender[1]: change for change in changes.scores}
    assert (found["knn"].verdict, found["knn"].note, found["knn"].paired) == ("higher", "single run", True)
    one, other = (results.pick(model="knn")[0].macro["r"] for results in (before, after))
    assert found["knn"].difference is not None
    assert found["knn"].difference.value == pytest.approx(other.value - one.value)
    assert found["knn"].difference.interval == (other - one).interval
    assert found["knn"].p_family == pytest.approx(2 * compute_p(other - one))  # Holm over two: the mean has no r
    assert (found["ridge"].verdict, found["ridge"].p_family) == ("not told apart", 1)
    assert found["ridge"].difference is not None
    assert found["ridge"].difference.to_list() == [0, 0, 0]
    assert found["mean"].verdict == "not comparable"
    assert compare_results(after, before).scores[2].verdict == "lower"


def test_points_of_curves_are_laid_side_by_side_and_not_tested(tmp_path: Path) -> None:
    models = {"ridge": {"head": "ridge"}, "knn": {"head": "knn"}}
    a, b = (write(tmp_path / name, models=models, budgets=[30]) for name in "ab")
    found = {(c.contender[1], c.contender[3]): c for c in compare_results(a, b).scores}
    assert {key: change.verdict for key, change in found.items()} == {
        ("ridge", 30): "not tested", ("ridge", 0): "not told apart",
        ("knn", 30): "not tested", ("knn", 0): "not told apart",
    }  # fmt: skip
    assert found["ridge", 30].difference is not None
    assert found["ridge", 30].difference.to_list() == [0, 0, 0]


def test_other_splits_are_never_compared_silently(before: Results, tmp_path: Path) -> None:
    after = write(tmp_path, better=True, record={"split": {"digest": "cd" * 32}})
    changes = compare_results(before, after)
    assert not changes.same_split
    assert "The splits differ (abababababababab in A, cdcdcdcdcdcdcdcd in B)" in changes.warnings[0]
    assert {change.verdict for change in changes.scores} == {"not comparable"}
    assert {change.note for change in changes.scores} == {"unpaired: another split"}
    assert all(np.isnan(change.p_family) for change in changes.scores)


def test_an_unknown_split_is_another_one(before: Results) -> None:
    record = {key: value for key, value in before.record.items() if key != "split"}
    unknown = replace(before, record=record)
    assert not compare_results(unknown, unknown).same_split
    assert "unknown in A, unknown in B" in compare_results(unknown, unknown).warnings[0]


def test_other_galaxies_of_one_split_are_not_paired(before: Results, tmp_path: Path) -> None:
    changes = compare_results(before, write(tmp_path, first=500))
    assert {change.note for change in changes.scores} == {"unpaired: other galaxies"}
    assert changes.scores[1].difference is not None
    assert {change.verdict for change in changes.scores} == {"not comparable"}


def test_other_answers_have_no_difference(before: Results) -> None:
    changes = compare_results(before, replace(before, questions=QUESTIONS[:1]))
    assert {change.difference for change in changes.scores} == {None}
    assert "only in A: bar_yes, bar_no; only in B: none" in changes.warnings[0]


def test_what_only_one_has_is_listed(before: Results) -> None:
    without = replace(before, entries=[entry for entry in before.entries if entry.model != "knn"])
    changes = compare_results(before, without)
    assert [contender[1] for contender in changes.only_a] == ["knn"]
    assert changes.only_b == []
    assert compare_results(before, replace(before, entries=[])).warnings == ["No contender is in both."]


def test_independent_differences_have_the_sum_of_variances() -> None:
    # the same draws in both, as resamples of as many galaxies have: paired, they would cancel
    draws = np.random.default_rng(0).standard_normal(20_000)
    luck = 2 * np.random.default_rng(1).standard_normal(20_000)
    one, other = Score(1.0, 1 + draws, 3, luck, 2.0), Score(0.5, 0.5 + draws)
    difference = subtract_apart(one, other)
    assert difference.value == 0.5
    assert difference.draws.std() == pytest.approx(np.sqrt(2), rel=0.03)
    assert difference.luck is not None
    assert (difference.luck.std(), difference.runs, difference.freedom) == (pytest.approx(2, rel=0.03), 1, 2.0)


def test_compare_on_the_command_line(before: Results, tmp_path: Path) -> None:
    after = write(tmp_path, better=True, record={"split": {"digest": "cd" * 32}}, min_votes=5)
    run = CliRunner().invoke(main, ["benchmark", "compare", str(before.folder), str(tmp_path)])
    assert run.exit_code == 0, run.output
    assert run.output.index("The splits differ") < run.output.index("min_votes") < run.output.index("unpaired: another")
    run = CliRunner().invoke(main, ["benchmark", "compare", str(before.folder), str(tmp_path), "--json"])
    assert json.loads(run.output) == compare_results(before, after).to_dict()
    assert json.loads(run.output)["suite"]["min_votes"] == ["2", "5"]


def test_report_on_the_command_line(before: Results) -> None:
    run = CliRunner().invoke(main, ["benchmark", "report", str(before.folder)])
    assert run.exit_code == 0, run.output
    assert run.output.startswith("Of 2 models that learned from SDSS, ")
    assert (before.folder / "report.html").stat().st_size > 100_000
    with FileLock(before.folder / ".lock"):  # as a run has it
        refused = CliRunner().invoke(main, ["benchmark", "report", str(before.folder)])
    assert refused.exit_code == 1
    assert "pid" in refused.output or "process" in refused.output


def test_a_folder_without_a_benchmark_is_refused(tmp_path: Path) -> None:
    run = CliRunner().invoke(main, ["benchmark", "report", str(tmp_path)])
    assert run.exit_code == 1
    assert f"{RECORD} is missing" in run.output
    (tmp_path / SUITE).write_text("title: nothing else")
    assert CliRunner().invoke(main, ["benchmark", "compare", str(tmp_path), str(tmp_path)]).exit_code == 1
    assert [file.name for file in tmp_path.iterdir()] == [SUITE]
