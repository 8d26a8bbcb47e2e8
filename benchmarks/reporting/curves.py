"""Figures of what more labels bring, and of which layer and pooling to read."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from benchmarks.recalibration import Curve
from benchmarks.reporting.canvas import (
    FAINT,
    INK,
    Picture,
    count_columns,
    hide_rest,
    open_figure,
    save_figure,
    style_of,
)
from benchmarks.reporting.contenders import name_contender, name_model, name_training
from benchmarks.reporting.degradation import tell_budget
from benchmarks.reporting.scoreboards import order_spaces
from benchmarks.results import Entry, Results
from benchmarks.tables import Quantity

Array = np.ndarray[Any, Any]
LOWEST = -1.5  # of an axis of R2: what is worse hides the differences between the others


def draw_budgets(results: Results, test: str, folder: Path) -> Picture | None:
    """Macro r against the number of training objects."""
    paths: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in results.pick(test=test):
        if np.isfinite(entry.macro["r"].value):
            paths.setdefault((entry.training, entry.model, entry.space), []).append(entry)
    paths = {key: entries for key, entries in paths.items() if any(entry.budget for entry in entries)}
    if not paths:
        return None
    figure, (axes,) = open_figure(7.2, 0.15 * len(paths) + 3.2)
    said = []
    for number, entries in enumerate(paths.values()):
        entries = sorted(entries, key=lambda entry: entry.budget or np.inf)
        name = name_contender(results, entries[-1]).removesuffix(f", {entries[-1].budget} objects")
        places = [float(entry.budget or entry.n_train) for entry in entries]
        _draw_path(axes, places, [Quantity.of(entry.macro["r"]) for entry in entries], number, name)
        first, last = entries[0].macro["r"].value, entries[-1].macro["r"].value
        said.append(f"{name}: from {first:.2f} with {places[0]:.0f} to {last:.2f} with {places[-1]:.0f}.")
    budgets = sorted({entry.budget for entries in paths.values() for entry in entries if entry.budget})
    ticks = {float(budget): str(budget) for budget in budgets}
    if places[-1] > 1.2 * budgets[-1]:  # else the two would lie on each other
        ticks[places[-1]] = f"all ({places[-1]:.0f})"
    _scale_axis(axes, ticks)
    axes.set_xlabel("training objects; last, all of them", fontsize=8.5, color=INK)
    axes.set_ylabel("Pearson r, mean over answers", fontsize=8.5, color=INK)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    title = f"Label efficiency on {results.samples[test].title}"
    caption = (
        "Bands: 95 % intervals over galaxies and, where there are several runs, over seeds and the objects they drew."
    )
    return save_figure(figure, folder, f"budgets-{test}", title, caption, f"{title}. {' '.join(said)}")


def _draw_path(axes: Axes, places: list[float], values: list[Quantity], number: int, label: str = "") -> None:
    style = style_of(number)
    axes.plot(places, [one.value for one in values], label=label, linewidth=1.5, markersize=5, **style)
    ends = [(one.low, one.high) if one.has_interval else (one.value, one.value) for one in values]
    low, high = zip(*ends, strict=True)
    axes.fill_between(places, low, high, color=style["color"], alpha=0.13, linewidth=0)


def draw_curves(results: Results, models: Collection[str], folder: Path) -> Picture | None:
    """R2 of some models on each other survey against the number of its labels that recalibrate."""
    curves = [curve for curve in results.curves if curve.model in models]
    tests = list(dict.fromkeys(curve.away for curve in curves))
    if not tests:
        return None
    columns = count_columns(len(tests))
    lines = -(-len(tests) // columns)
    figure, axes = open_figure(2.7 * columns + 2.4, 2.9 * lines, lines, columns, share=True)
    named = list(dict.fromkeys((curve.training, curve.model) for curve in curves))
    for one, test in zip(axes, tests, strict=False):
        ticks: dict[float, str] = {}
        for curve in (curve for curve in curves if curve.away == test):
            ticks |= _draw_curve(one, curve.recalibration, named.index((curve.training, curve.model)))
        _scale_axis(one, ticks)
        one.set_title(results.samples[test].title, fontsize=9, color=INK, loc="left")
        one.set_xlabel("labelled galaxies of this survey", fontsize=8.5, color=INK)
    hide_rest(axes, len(tests))
    axes[0].set_ylim(bottom=max(axes[0].get_ylim()[0], LOWEST))
    axes[0].set_ylabel("R2, mean over answers", fontsize=8.5, color=INK)
    handles = [
        Line2D([], [], label=f"{name_model(results, model)}, {name_training(results, training)}", **style_of(number))
        for number, (training, model) in enumerate(named)
    ]
    figure.legend(handles=handles, loc="outside right upper", fontsize=8, frameon=False)
    title = "How few labels of another survey buy the drop back"
    said = [
        f"{results.samples[c.away].title}, {name_model(results, c.model)}: {tell_budget(c.recalibration)}"
        for c in curves
    ]
    caption = "An offset and a slope for each answer. Dashed: R2 at home. Bands: 95 % intervals of one draw of labels."
    return save_figure(figure, folder, "recalibration", title, caption, f"{title}. {' '.join(said)}")


def _draw_curve(axes: Axes, curve: Curve, number: int) -> dict[float, str]:
    """One contender's R2 by labels, and where its axis has ticks: no label has no place on a logarithmic scale."""
    rows = list(curve.to_rows())
    least = min((budget for budget, _ in rows if budget), default=3)
    places = [float(budget or least / 3) for budget, _ in rows]
    _draw_path(axes, places, [Quantity.of(scores["r2"]) for _, scores in rows], number)
    if curve.in_domain is not None:
        axes.axhline(curve.in_domain, color=style_of(number)["color"], linestyle="--", linewidth=1)
    return {place: str(budget or "none") for place, (budget, _) in zip(places, rows, strict=True)}


def _scale_axis(axes: Axes, ticks: dict[float, str]) -> None:
    """A logarithmic axis with these ticks alone."""
    axes.set_xscale("log")
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xticks([], minor=True)


def draw_layers(results: Results, test: str, folder: Path) -> Picture | None:
    """Macro r by layer and pooling, a panel a contender."""
    grids: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for entry in results.pick(test=test, budget=0):
        if entry.space and np.isfinite(entry.macro["r"].value):
            layer, _, pool = entry.space.partition("-")
            grids.setdefault((entry.model, entry.training), {})[layer, pool] = entry.macro["r"].value
    grids = {key: grid for key, grid in grids.items() if len(grid) > 1}
    if not grids:
        return None
    layers, pools = order_spaces([key for grid in grids.values() for key in grid])
    columns = min(len(grids), 4)
    lines = -(-len(grids) // columns)
    size = (1.3 * len(pools) * columns + 1.6, lines * (0.36 * len(layers) + 1.1))
    figure, axes = open_figure(*size, lines, columns, share=True)
    values = [value for grid in grids.values() for value in grid.values()]
    said = []
    for one, ((model, training), grid) in zip(axes, grids.items(), strict=False):
        field = np.array([[grid.get((layer, pool), np.nan) for pool in pools] for layer in layers])
        one.imshow(field, aspect="auto", cmap="cividis", vmin=min(values), vmax=max(values))
        _write_values(one, field, min(values), max(values))
        one.grid(visible=False)
        one.set_title(
            f"{name_model(results, model)}\n{name_training(results, training)}", fontsize=9, color=INK, loc="left"
        )
        one.set_xticks(range(len(pools)), pools)
        best = max(grid, key=lambda key: grid[key])
        said.append(f"{name_model(results, model)}: highest at {'-'.join(best)}, {grid[best]:.2f}.")
    hide_rest(axes, len(grids))
    axes[0].set_yticks(range(len(layers)), layers)
    title = f"Which layer and pooling to read: {results.samples[test].title}"
    caption = "Pearson r, the mean over answers; the tables have the intervals."
    return save_figure(figure, folder, f"layers-{test}", title, caption, f"{title}. {' '.join(said)}")


def _write_values(axes: Axes, field: Array, low: float, high: float) -> None:
    """The numbers, light on dark and dark on light."""
    for (row, column), value in np.ndenumerate(field):
        if np.isfinite(value):
            share = (value - low) / (high - low) if high > low else 0
            axes.text(
                column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if share < 0.5 else INK
            )
        else:
            axes.text(column, row, "-", ha="center", va="center", fontsize=8, color=FAINT)
