"""What the commands that run suites print, write and refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from benchmarks import runner
from benchmarks.results import Results
from benchmarks.suite import list_suites, load_suite
from sommelier import main
from tests.benchmarks.suites import make_keys, write_surveys
from tests.test_commands import run


def fail(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of a suite of three stores; figures are left out."""
    monkeypatch.setattr(runner, "write_report", lambda results: results.folder / "report.html")
    monkeypatch.chdir(tmp_path)
    keys = make_keys(write_surveys(tmp_path / "stores"), seeds={"heads": 1}, title="Mine")
    file = tmp_path / "mine.yaml"
    file.write_text("# of three stores\n" + yaml.safe_dump(keys, sort_keys=False))
    return file


def test_run_writes_results_and_says_what_it_did(suite: Path) -> None:
    output = run("benchmark", "run", suite, "-o", "out")
    assert "3 tests, 4 answers" in output
    assert "2 cells, 2 of them computed now" in output
    assert (Path("out") / "results.json").is_file()
    assert "2 cells, 0 of them computed now" in run("benchmark", "run", suite, "-o", "out")
    # --json prints what results.json holds, and nothing else on stdout
    result = CliRunner().invoke(main, ["benchmark", "run", str(suite), "-o", "out", "--json"])
    assert json.loads(result.stdout) == json.loads((Path("out") / "results.json").read_text())


def test_the_folder_is_named_after_the_suite(suite: Path) -> None:
    run("benchmark", "run", "mine.yaml")
    assert (Path("results") / "mine" / "results.json").is_file()


def test_set_changes_keys_and_wrong_ones_are_explained(suite: Path) -> None:
    shown = yaml.safe_load(run("benchmark", "run", suite, "--set", "seeds.heads=3", "--set", "tests=sdss", "--show"))
    assert (shown["seeds"]["heads"], shown["tests"]) == (3, ["sdss"])
    assert "there is no key 'seed.heads'" in fail("benchmark", "run", suite, "--set", "seed.heads=3")
    said = fail("benchmark", "run", suite, "--set", "trainings.sdss.surveys=sds")
    assert "trainings.sdss.surveys names 'sds'. Did you mean 'sdss'" in said
    assert not Path("results").exists()


def test_show_prints_a_suite_with_its_comments(suite: Path) -> None:
    assert run("benchmark", "run", suite, "--show").startswith("# of three stores\n")
    for name in list_suites():
        text = run("benchmark", "run", name, "--show")
        Path("copy.yaml").write_text(text)
        assert load_suite("copy.yaml") == load_suite(name)


def test_unknown_suites_are_named_with_the_nearest(suite: Path) -> None:
    said = fail("benchmark", "run", "stagess")
    assert "stagess is no file, and no suite of the program's own. Did you mean 'stages'" in said


def test_what_is_missing_is_said_without_a_traceback(suite: Path) -> None:
    said = fail("benchmark", "run", "stages", "-o", "out")
    assert "sdss.parquet does not exist" in said
    assert "--set surveys.sdss.catalog=FILE.parquet" in said
    Path("other").mkdir()
    (Path("other") / "mine.txt").write_text("mine")
    assert "holds other things" in fail("benchmark", "run", suite, "-o", "other")


def test_a_stop_says_what_is_kept(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object) -> Results:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "fit_cell", stop)
    result = CliRunner().invoke(main, ["benchmark", "run", str(suite), "-o", "out"])
    assert result.exit_code == 130
    assert "What is done is kept in out" in result.output


def test_list_names_every_suite_with_its_question(suite: Path) -> None:
    output = run("benchmark", "list")
    record = json.loads(run("benchmark", "list", "--json"))
    assert [one["suite"] for one in record] == list_suites()
    for one in record:
        assert one["suite"] in output
        assert one["question"] == load_suite(one["suite"]).question


def test_several_processes_may_fit(suite: Path) -> None:
    result = CliRunner().invoke(main, ["benchmark", "run", str(suite), "--jobs", "0"])
    assert result.exit_code == 2
    assert "--jobs" in result.output
