"""Results as tables that people read: in a terminal, in Markdown, in LaTeX, and with all digits in CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.statistics import Score
from embeddings.files import replace_file

METRICS = {"r": "Pearson r", "r2": "R2", "mae": "MAE", "pooled_r": "pooled r"}
NOTHING = "-"
LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
)


@dataclass(frozen=True)
class Quantity:
    """
    A number in a table: rounded for the eye, whole for other programs.

    Attributes
    ----------
    value, low, high : float
        NaN where there is none; `low` and `high` are the ends of its interval.
    digits : int
        After the point.
    sign : bool
        Show the plus.
    bare : bool
        Leave the interval to the CSV.
    """

    value: float
    low: float = float("nan")
    high: float = float("nan")
    digits: int = 2
    sign: bool = False
    bare: bool = False

    @classmethod
    def of(
        cls,
        score: Score | Sequence[float | None] | float | None,
        digits: int = 2,
        sign: bool = False,
        bare: bool = False,
    ) -> Quantity:
        """Of a score, of ``[value, low, high]`` as JSON has it, of a number, or of nothing."""
        if isinstance(score, Score):
            value, low, high = (score.value, *score.interval) if np.isfinite(score.value) else (np.nan,) * 3
        elif isinstance(score, Sequence):
            value, low, high = (np.nan if number is None else number for number in score)
        else:
            value, low, high = (np.nan if score is None else score), np.nan, np.nan
        return cls(float(value), float(low), float(high), digits, sign, bare)

    @property
    def has_interval(self) -> bool:
        """Whether both ends are known."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return NOTHING
        style = f"{'+' if self.sign else ''}z.{self.digits}f"  # z: no -0.00
        if self.bare or not self.has_interval:
            return f"{self.value:{style}}"
        return f"{self.value:{style}} [{self.low:{style}}, {self.high:{style}}]"


Content = str | int | Quantity


@dataclass(frozen=True)
class Table:
    """
    Text and numbers in columns.

    Attributes
    ----------
    title : str
    columns : sequence of str
    rows : sequence of sequences of str, int or Quantity
    meaning : str
        One plain sentence, or a few.
    name : str
        Of its files, without an ending.
    cautions : sequence of str
        What one must know before reading it; they stand above it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Content]]
    meaning: str = ""
    name: str = ""
    cautions: Sequence[str] = ()

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers, beside words that say why there is none: they stand to the right."""
        return [any(not isinstance(cell, str) for cell in column) for column in zip(*self.rows, strict=True)]

    @property
    def texts(self) -> list[list[str]]:
        """The rows as people read them."""
        return [[str(cell) for cell in row] for row in self.rows]

    def to_markdown(self) -> str:
        """A pipe table under its title and cautions, its meaning below."""
        lines = [f"**{self.title}**", ""]
        for caution in self.cautions:
            lines += [f"> {caution}", ""]
        rows = [[cell.replace("|", "\\|") for cell in row] for row in (self.columns, *self.texts)]
        lines += [f"| {' | '.join(cells)} |" for cells in (rows[0], ["--"] * len(self.columns), *rows[1:])]
        return "\n".join([*lines, "", self.meaning, ""])

    def to_csv(self) -> str:
        """Numbers with all their digits; an interval has two columns of its own, ``NAME low`` and ``NAME high``."""
        ranged = [
            any(isinstance(cell, Quantity) and cell.has_interval for cell in column)
            for column in zip(*self.rows, strict=True)
        ] or [False] * len(self.columns)
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        names = zip(self.columns, ranged, strict=True)
        writer.writerow([name for column, wide in names for name in _name_columns(column, wide)])
        for row in self.rows:
            cells = zip(row, ranged, strict=True)
            writer.writerow([value for cell, wide in cells for value in _list_values(cell, wide)])
        return buffer.getvalue()

    def to_latex(self) -> str:
        """A float with the rules of the package booktabs; all text is escaped."""
        header, *rows = ([cell.translate(LATEX) for cell in row] for row in (self.columns, *self.texts))
        align = "".join("r" if numeric else "l" for numeric in self.numeric) or "l" * len(self.columns)
        note = " ".join([*self.cautions, self.meaning]).strip().translate(LATEX)
        lines = [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            rf"\caption{{{self.title.translate(LATEX)}}}",
            *([rf"\label{{tab:{self.name}}}"] if self.name else []),
            rf"\begin{{tabular}}{{{align}}}",
            r"\toprule",
            " & ".join(header) + r" \\",
            r"\midrule",
            *(" & ".join(row) + r" \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            *([rf"\par\smallskip {{\footnotesize {note}}}"] if note else []),
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """``NAME.md``, ``NAME.csv`` and ``NAME.tex``, each put in place whole."""
        for ending, text in (("md", self.to_markdown()), ("csv", self.to_csv()), ("tex", self.to_latex())):
            with replace_file(folder / f"{self.name}.{ending}") as temporary:
                temporary.write_text(text, encoding="utf-8")


def _name_columns(column: str, wide: bool) -> list[str]:
    return [column, f"{column} low", f"{column} high"] if wide else [column]


def _list_values(cell: Content, wide: bool) -> list[str | int | float]:
    """A cell's values; empty where a number is not known."""
    if not isinstance(cell, Quantity):
        return [cell, "", ""] if wide else [cell]
    numbers = (cell.value, cell.low, cell.high) if wide else (cell.value,)
    return [number if np.isfinite(number) else "" for number in numbers]


def show_score(score: Score | None, digits: int = 2, sign: bool = False, bare: bool = False) -> str:
    """``0.51 [0.47, 0.55]``, or `bare` of its interval; a dash where there is none."""
    return str(Quantity.of(score, digits, sign, bare))
