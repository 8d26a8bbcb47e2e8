"""Tables for the eye, for LaTeX and for other programs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

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


TABLE = Table(
    "50 % of A_1 & {B}", ["who|what", "r", "n", "verdict"],
    [
        ["<a> ~ b^2", Quantity(1 / 3, 0.25, 0.5), 12, "higher"],
        ["c\\d", Quantity(np.nan), 7, "-"],
        ["e", Quantity(-0.001, sign=True), 0, "$#"],
    ],
    "Means.", "some-table", ["Mind the gap."],
)  # fmt: skip


def test_quantities_are_rounded_for_the_eye_alone() -> None:
    assert str(Quantity(0.126, 0.1, 0.2)) == "0.13 [0.10, 0.20]"
    assert str(Quantity(0.126, 0.1, 0.2, digits=3, bare=True)) == "0.126"
    assert str(Quantity(-0.001, sign=True)) == "+0.00"
    assert str(Quantity.of([0.5, 0.25, None], 1)) == "0.5"
    assert str(Quantity.of([None, None, None])) == str(Quantity.of(None)) == str(Quantity.of(score(np.nan))) == "-"
    assert Quantity.of(score(0.5)).low == pytest.approx(0.424, abs=1e-3)
    assert str(Quantity.of(12.34, 0, sign=True)) == "+12"


def test_csv_has_all_digits_and_an_interval_in_columns() -> None:
    header, first, second, third = csv.reader(TABLE.to_csv().splitlines())
    assert header == ["who|what", "r", "r low", "r high", "n", "verdict"]
    assert [float(cell) for cell in first[1:5]] == [1 / 3, 0.25, 0.5, 12]
    assert second == ["c\\d", "", "", "", "7", "-"]
    assert third[1:4] == ["-0.001", "", ""]


def test_latex_is_escaped() -> None:
    lines = TABLE.to_latex().splitlines()
    assert r"\caption{50 \% of A\_1 \& \{B\}}" in lines
    assert r"\begin{tabular}{lrrl}" in lines
    assert r"who\textbar{}what & r & n & verdict \\" in lines
    assert (
        r"\textless{}a\textgreater{} \textasciitilde{} b\textasciicircum{}2 & 0.33 [0.25, 0.50] & 12 & higher \\"
        in lines
    )
    assert r"c\textbackslash{}d & - & 7 & - \\" in lines
    assert r"e & +0.00 & 0 & \$\# \\" in lines
    assert lines.count(r"\toprule") == lines.count(r"\midrule") == lines.count(r"\bottomrule") == 1
    assert r"\par\smallskip {\footnotesize Mind the gap. Means.}" in lines


def test_markdown_keeps_its_columns_and_its_cautions_on_top(tmp_path: Path) -> None:
    text = TABLE.to_markdown()
    assert text.index("> Mind the gap.") < text.index("| who\\|what | r | n | verdict |") < text.index("Means.")
    TABLE.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"some-table.{end}" for end in ("csv", "md", "tex")]
    assert (tmp_path / "some-table.md").read_text() == text
    assert TABLE.numeric == [False, True, True, False]
