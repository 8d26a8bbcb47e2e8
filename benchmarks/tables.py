"""Results as tables that people read: in a terminal, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.galaxies import name_survey
from benchmarks.shift import Cell, Shift
from benchmarks.statistics import Score

METRICS = {"r": "Pearson r", "r2": "R2", "mae": "MAE", "pooled_r": "pooled r"}
DIGITS = {"r": 2, "r2": 2, "mae": 3, "pooled_r": 2}  # more would be noise
BARE = frozenset({"mae", "pooled_r"})  # without intervals: four of them are wider than a terminal of 80 columns
CEILING = "ceiling"
NOTHING = "-"


@dataclass(frozen=True)
class Table:
    """
    Text in columns.

    Attributes
    ----------
    title : str
    columns : sequence of str
    rows : sequence of sequence of str
    meaning : str
        One plain sentence.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    meaning: str = ""

    def to_markdown(self) -> str:
        """A pipe table under its title, its meaning below."""
        lines = [f"**{self.title}**", ""]
        lines += [f"| {' | '.join(cells)} |" for cells in (self.columns, ["--"] * len(self.columns), *self.rows)]
        return "\n".join([*lines, "", self.meaning, ""])


def show_score(score: Score | None, digits: int = 2, sign: bool = False, bare: bool = False) -> str:
    """``0.51 [0.47, 0.55]``, or `bare` of its interval; a dash where there is none."""
    if score is None or not np.isfinite(score.value):
        return NOTHING
    style = f"{'+' if sign else ''}z.{digits}f"  # z: no -0.00
    if bare:
        return f"{score.value:{style}}"
    low, high = score.interval
    return f"{score.value:{style}} [{low:{style}}, {high:{style}}]"


def tabulate_sample(shift: Shift, training: str, test: str, objects: str, title: str, meaning: str) -> Table:
    """Every head on one test, and the ceiling below them."""
    cells = shift.pick(training, test, objects)
    metrics = [name for name in METRICS if any(name in cell.scores for cell in cells)]
    ceiling = shift.ceilings[test, objects]
    named = [(cell.head, cell.scores) for cell in cells] + [(CEILING, ceiling.scores)]
    rows = [[head, *(show_score(scores.get(name), DIGITS[name], bare=name in BARE) for name in metrics)]
            for head, scores in named]  # fmt: skip
    if ceiling.n_noise:
        meaning = (
            f"{meaning} {ceiling.n_noise} of the answers differ between these galaxies by no more than the noise of "
            "their votes: the ceiling's r counts as 0 there."
        )
    count = f"{cells[0].n} galaxies, 95 % intervals"
    return Table(f"{title} ({count})", ["head", *(METRICS[name] for name in metrics)], rows, meaning)


def tabulate_difference(before: Sequence[Cell], after: Sequence[Cell], title: str, meaning: str) -> Table:
    """What another training set changes for each head on the same galaxies, in pairs."""
    rows = []
    for a, b in zip(before, after, strict=True):
        for metric in ("r", "r2"):
            old, new = a.scores[metric], b.scores[metric]
            if np.isfinite(new.value - old.value):
                change = show_score(new - old, sign=True)
                rows.append([a.head, METRICS[metric], show_score(old, bare=True), show_score(new), change])
    columns = ["head", "score", *(name_survey(cells[0].training) for cells in (before, after)), "paired difference"]
    return Table(f"{title} ({before[0].n} galaxies, 95 % intervals)", columns, rows, meaning)
