"""Surveys of a few galaxies, written down by hand: who they are, what part they have, what was voted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.material import SurveyTable
from benchmarks.suite import Suite

PART = {"t": "train", "v": "val", "x": "test"}


def make_table(survey: str, groups: Sequence[int], parts: str, **changes: Any) -> SurveyTable:
    """A row a letter of `parts`: t(rain), v(al) or x (test); ids are ``survey-row``, labels 0.5 of ten votes."""
    n = len(groups)
    values: dict[str, Any] = {
        "ids": np.array([f"{survey}-{row}" for row in range(n)]),
        "Y": np.full((n, 2), 0.5, np.float32),
        "votes": np.full((n, 2), 5, np.float32),
        "totals": np.full((n, 2), 10, np.float32),
        "groups": np.array(groups),
        "parts": np.array([PART[letter] for letter in parts]),
        "ra": np.array(groups, float),
        "dec": np.zeros(n),
        "tuned": np.zeros(n, bool),
        "properties": {},
    }
    values |= {name: np.asarray(value) if name != "properties" else value for name, value in changes.items()}
    return SurveyTable(survey, **{"whole": values["Y"]} | values)


def make_suite(**changes: Any) -> Suite:
    """Surveys a, b and c of which the training sets of a test are made."""
    keys: dict[str, Any] = {
        "surveys": {name: {"store": f"{name}.h5"} for name in "abc"},
        "backbone": "tiny",
        "trainings": {"a": {"surveys": ["a"]}, "ab": {"surveys": ["a", "b"]}},
        "models": {"ridge": {"head": "ridge"}},
        "seeds": {"redraw": 1},
    }
    return Suite.model_validate(keys | changes)
