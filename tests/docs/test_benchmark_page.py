"""The page on the benchmark: it has every key, its commands and its suite are right, and it names every suite."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.results import CELLS, RECORD, SAMPLES, SPLIT, SUITE
from benchmarks.suite import Suite, list_suites, load_suite
from tests.keys import tabulate_keys

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/benchmark.md").read_text(encoding="utf-8")
RUNS = re.findall(r"^ +sommelier benchmark run (.*)$", PAGE + (ROOT / "docs/commands.md").read_text(), re.MULTILINE)


def test_every_key_is_in_the_documentation() -> None:
    assert tabulate_keys(Suite) in PAGE


def test_every_suite_is_named() -> None:
    table = PAGE.split("## The suites that come with it")[1].split("##")[0]
    assert sorted(re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE)) == sorted(list_suites())


def test_every_file_of_the_folder_is_named() -> None:
    table = PAGE.split("## The folder")[1].split("```")[0]
    for name in (RECORD, SUITE, SPLIT, f"{CELLS}/", f"{SAMPLES}/", "results.json", "report.html", "cache/", "runs/"):
        assert f"`{name}`" in table


@pytest.mark.parametrize("words", dict.fromkeys(RUNS))
def test_commands_name_what_is_there(words: str) -> None:
    suite, *options = shlex.split(words)
    overrides = [value for option, value in pairwise(options) if option == "--set"]
    if suite == "mine.yaml":  # of the reader's own
        assert overrides == []
    else:
        load_suite(suite, overrides)


def test_the_least_suite_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(text)
    suite = load_suite(tmp_path / "mine.yaml", ["trainings.mine.balance=equal"])
    assert (suite.reference_model, suite.reference_training) == ("ridge", "mine")
    assert suite.trainings["mine"].balance == "equal"
