"""Pictures of galaxies and of scores, dark as the sky; matplotlib without its global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from embeddings.files import replace_file

Array = np.ndarray[Any, Any]
DPI = 100
BACKGROUND, PANEL, TEXT, FAINT = "#0d1117", "#161b22", "#e6edf3", "#8b949e"
COLOURS = ("#6e7681", "#58a6ff", "#f0883e", "#3fb950", "#bc8cff", "#f778ba", "#39c5cf", "#ff7b72")
DEEPEST = -1.5  # R2 has no lower end: a deeper bar would hide the others
CEILING_COLOUR, CEILING_LABEL = "#e3b341", "ceiling: the noise of the votes"


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet: an (height, width, 3) uint8 array, or None where there is none; words below it."""

    image: Array | None
    caption: str = ""


@dataclass(frozen=True)
class Bar:
    """One bar: height, and the ends of its interval; NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class BarGroup:
    """Bars side by side: what they share, one bar a series, and the ceiling over them, if there is one."""

    label: str
    bars: Sequence[Bar]
    ceiling: Bar | None = None


def draw_sheet(
    path: Path, title: str, subtitle: str, rows: Sequence[Sequence[Tile]], row_labels: Sequence[str],
    column_labels: Sequence[str] = (), side: float = 2.0, caption_lines: int = 2,
) -> None:  # fmt: skip
    """
    Draw pictures in rows, words below each.

    Parameters
    ----------
    path : Path
        A PNG, replaced whole.
    title, subtitle : str
    rows : sequence of sequences of Tile
    row_labels, column_labels : sequence of str
        Beside and above; column labels may be left out.
    side : float
        Of a picture, in inches.
    caption_lines : int
        Room to leave below each picture.
    """
    n_columns = max(map(len, rows))
    left, gap, line = 1.5, 0.12, 0.17
    head = 0.85 + (0.3 if column_labels else 0)
    step = side + caption_lines * line + 0.14
    width, height = left + n_columns * (side + gap) + gap, head + len(rows) * step + 0.1
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=BACKGROUND)
    _write_head(figure, title, subtitle, height, 0.2 / width)
    for column, label in enumerate(column_labels):
        centre = left + column * (side + gap) + side / 2
        figure.text(centre / width, 1 - (head - 0.14) / height, label, color=TEXT, ha="center", fontsize=11)
    for row, (label, tiles) in enumerate(zip(row_labels, rows, strict=True)):
        bottom = height - head - row * step - side
        figure.text(
            0.2 / width, (bottom + side / 2) / height, label, color=TEXT, va="center", fontsize=11, linespacing=1.4
        )
        for column, tile in enumerate(tiles):
            place = ((left + column * (side + gap)) / width, bottom / height, side / width, side / height)
            _draw_tile(figure.add_axes(place), tile)
    _save(figure, path)


def _draw_tile(axes: Axes, tile: Tile) -> None:
    axes.set(xticks=[], yticks=[], facecolor=PANEL)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if tile.image is None:
        axes.text(0.5, 0.5, "not observed", color=FAINT, ha="center", va="center", fontsize=9)
    else:
        axes.imshow(tile.image, interpolation="lanczos", aspect="auto")
    axes.text(0.5, -0.03, tile.caption, transform=axes.transAxes, color=FAINT, ha="center", va="top", fontsize=8.5)


def draw_bars(
    path: Path, title: str, subtitle: str, panels: Mapping[str, Sequence[BarGroup]], series: Sequence[str]
) -> None:
    """
    Draw groups of bars with intervals; the ceiling is a line in the band of its interval.

    What reaches below -1.5 is cut there, and a triangle says so, with the value where it is the bar itself.

    Parameters
    ----------
    path : Path
        A PNG, replaced whole.
    title, subtitle : str
    panels : mapping of str to sequence of BarGroup
        By what the panel's axis shows.
    series : sequence of str
        What the bars of a group are, in their order.
    """
    step, height = 5.3, 5.1
    width = step * len(panels) + 0.3
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=BACKGROUND)
    _write_head(figure, title, subtitle, height, 0.3 / width)
    for number, (label, groups) in enumerate(panels.items()):
        axes = figure.add_axes(((0.65 + step * number) / width, 1.05 / height, (step - 0.65) / width, 2.85 / height))
        _style_axes(axes, label, [group.label for group in groups])
        _draw_groups(axes, groups, len(series))
    handles = [_swatch(COLOURS[index % len(COLOURS)]) for index in range(len(series))]
    figure.legend(
        [*handles, _swatch(CEILING_COLOUR, height=2)], [*series, CEILING_LABEL], loc="lower center",
        ncols=len(series) + 1, frameon=False, labelcolor=TEXT, fontsize=10,
    )  # fmt: skip
    _save(figure, path)


def _draw_groups(axes: Axes, groups: Sequence[BarGroup], n_series: int) -> None:
    numbers = [n for g in groups for bar in g.bars for n in (bar.low, bar.high, bar.value) if np.isfinite(n)]
    lowest = max(min([*numbers, 0]) * 1.1, DEEPEST)
    axes.set_ylim(lowest - (0.06 if lowest < 0 else 0), 1.0)
    width = 0.8 / n_series
    for place, group in enumerate(groups):
        for index, bar in enumerate(group.bars):
            x = place + (index - (n_series - 1) / 2) * width
            _draw_bar(axes, x, 0.9 * width, bar, COLOURS[index % len(COLOURS)], lowest)
        if group.ceiling is not None and np.isfinite(group.ceiling.value):
            ends = (place - 0.45, place + 0.45)
            axes.hlines(group.ceiling.value, *ends, color=CEILING_COLOUR, linewidth=1.8)
            axes.fill_between(ends, group.ceiling.low, group.ceiling.high, color=CEILING_COLOUR, alpha=0.2, linewidth=0)


def _draw_bar(axes: Axes, x: float, width: float, bar: Bar, colour: str, lowest: float) -> None:
    if not np.isfinite(bar.value):
        axes.text(x, 0.015, "constant", color=FAINT, ha="center", va="bottom", fontsize=8, rotation=90)
        return
    axes.bar(x, max(bar.value, lowest), width, color=colour)
    if bar.value < lowest:
        label = f"cut: {bar.value:.2f}"
        axes.text(x, lowest + 0.12, label, color=BACKGROUND, ha="center", va="bottom", fontsize=8, rotation=90)
    else:
        axes.vlines(x, max(bar.low, lowest), bar.high, color=TEXT, linewidth=1.1)
    if min(bar.value, bar.low) < lowest:
        axes.plot(x, lowest, "v", color=TEXT, markersize=6, clip_on=False)


def _style_axes(axes: Axes, title: str, labels: Sequence[str]) -> None:
    axes.set_facecolor(PANEL)
    axes.set_title(title, color=TEXT, fontsize=11, loc="left")
    axes.set_xticks(range(len(labels)), labels, color=TEXT, fontsize=9, linespacing=1.35)
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.tick_params(colors=FAINT, length=0, labelcolor=TEXT, labelsize=9)
    axes.grid(axis="y", color="#30363d", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.axhline(0, color=FAINT, linewidth=0.9)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _swatch(colour: str, height: float = 8) -> Line2D:
    return Line2D([], [], color=colour, linewidth=height)


def _write_head(figure: Figure, title: str, subtitle: str, height: float, left: float) -> None:
    figure.text(left, 1 - 0.2 / height, title, color=TEXT, va="top", fontsize=15, fontweight="bold")
    figure.text(left, 1 - 0.53 / height, subtitle, color=FAINT, va="top", fontsize=10)


def _save(figure: Figure, path: Path) -> None:
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, facecolor=BACKGROUND)
