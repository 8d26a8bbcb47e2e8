"""Tables for the eye, for LaTeX and for other programs."""

from __future__ import annotations

import csv
import io

import numpy as np

from benchmarks.statistics import Score
from benchmarks.tables import Quantity, Table, show_score


def score(value: float, spread: float = 0.08) -> Score:
    """Draws evenly around the value: the interval is 95 % of them."""
    return Score(value, value + spread * np.linspace(-1, 1, 2001))


def test_a_score_with_its_interval() -> None:
    assert show_score(score(0.5)) == "0.50 [0.42, 0.58]"
    assert show_score(score(0.5), 3, sign=True) == "+0.500 [+0.424, +0.576]"
    assert show_score(score(0.5), bare=True) == "0.50"
    assert show_score(score(-0.001, 0.0)) == "0.00 [0.00, 0.00]"
    assert show_score(score(np.nan)) == show_score(None) == "-"


def test_markdown() -> None:
    lines = Table("Title", ("a", "b"), [("1", "2")], "Meaning.").to_markdown().splitlines()
    assert lines == ["**Title**", "", "| a | b |", "| -- | -- |", "| 1 | 2 |", "", "Meaning."]


def test_a_csv_has_an_interval_in_columns_of_its_own() -> None:
    table = Table("Title", ("model", "r"), [("ridge", Quantity(1 / 3, 0.25, 0.5)), ("mean", Quantity(float("nan")))])
    rows = list(csv.reader(io.StringIO(table.to_csv())))
    assert rows[0] == ["model", "r", "r low", "r high"]
    assert [float(value) for value in rows[1][1:]] == [1 / 3, 0.25, 0.5]
    assert rows[2] == ["mean", "", "", ""]


def test_latex_is_escaped() -> None:
    text = Table("50 % & more", ("smooth_or", "r"), [("a#b", "{~}")], "See $x$.").to_latex()
    assert r"\caption{50 \% \& more}" in text
    assert r"smooth\_or & r \\" in text
    assert r"a\#b & \{\textasciitilde{}\} \\" in text
    assert r"See \$x\$." in text
