"""Surveys, and a benchmark on them, that several tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import runner
from benchmarks.results import Results
from tests.benchmarks.suites import make_suite, write_surveys


@pytest.fixture(scope="session")
def surveys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of three stores; not to be changed."""
    return write_surveys(tmp_path_factory.mktemp("surveys"))


@pytest.fixture(scope="session")
def finished(surveys: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A benchmark of two training sets and three heads; not to be changed."""
    suite = make_suite(
        surveys, objects="both", trainings={"sdss": {"surveys": ["sdss"]}, "mixed": {"surveys": ["sdss", "decals"]}},
        models={"mean": {"head": "mean", "seeds": 1}, "ridge": {"head": "ridge"}, "knn": {"head": "knn"}},
        seeds={"heads": 3},
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "write_report", lambda results: results.folder)  # seconds of figures
        return runner.run_suite(suite, tmp_path_factory.mktemp("results") / "bench")
