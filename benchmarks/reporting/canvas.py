"""Figures for paper and page: light, told apart without colour vision, each as PNG and PDF."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.tables import Quantity
from embeddings.files import replace_file

# Okabe & Ito (2008), Color Universal Design, without yellow, which is faint on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "D", "s", "^", "v", "p", "<", ">", "h", "d")
INK, FAINT, GRID = "#1b1f24", "#5b6570", "#dde1e6"
CEILING_COLOUR, COPY_COLOUR = "#B8860B", "#7a5195"
DPI = 130


@dataclass(frozen=True)
class Picture:
    """
    A figure that was drawn.

    Attributes
    ----------
    path : Path
        Of the PNG; the PDF lies beside it.
    title, caption, alt : str
        `alt` says what a reader who does not see it must know.
    """

    path: Path
    title: str
    caption: str
    alt: str

    @property
    def name(self) -> str:
        """Of its files, without an ending."""
        return self.path.stem

    @property
    def address(self) -> str:
        """The PNG as a ``data:`` address."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode()


def open_figure(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    share: bool = False,
    engine: Literal["constrained"] | None = "constrained",
) -> tuple[Figure, list[Axes]]:
    """A white figure, in inches, and its axes row by row; `share`: all with the scale of the first."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout=engine)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=share, sharex=share)
    axes = list(grid.flat)
    for one in axes:
        style_axes(one)
    return figure, axes


def style_axes(axes: Axes) -> None:
    """A quiet frame."""
    axes.tick_params(colors=FAINT, labelcolor=INK, labelsize=8.5, length=3)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)


def count_columns(panels: int) -> int:
    """How many panels stand side by side: at most three, and without a hole if that can be."""
    return panels if panels <= 3 else 2 if panels == 4 else 3


def hide_rest(axes: Sequence[Axes], used: int) -> None:
    """Hide the panels that a full grid has too many."""
    for one in axes[used:]:
        one.set_visible(False)


def style_of(number: int) -> dict[str, Any]:
    """Colour and marker of a series: no two of the first seventy are alike."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def draw_points(axes: Axes, places: Sequence[float], values: Sequence[Quantity], number: int, label: str = "") -> None:
    """Horizontal intervals with their points, at heights `places`; what does not exist is left out."""
    style = style_of(number)
    there = [(place, one) for place, one in zip(places, values, strict=True) if one.value == one.value]
    for place, one in there:
        if one.has_interval:
            axes.hlines(place, one.low, one.high, color=style["color"], linewidth=1.6)
    axes.plot(
        [one.value for _, one in there], [place for place, _ in there], linestyle="", markersize=6, label=label,
        markeredgecolor="white", markeredgewidth=0.6, **style,
    )  # fmt: skip


def save_figure(figure: Figure, folder: Path, name: str, title: str, caption: str, alt: str) -> Picture:
    """``NAME.png`` and ``NAME.pdf``, each put in place whole; without dates, so that equal figures are equal files."""
    for ending, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
        with replace_file(folder / f"{name}.{ending}") as temporary:
            figure.savefig(temporary, format=ending, dpi=DPI, facecolor="white", metadata=metadata)
        figure.set_layout_engine("none")  # laid out once: it takes as long as drawing
    return Picture(folder / f"{name}.png", title, caption, alt)
