"""The figures of a report: who is how good, where it drops, and what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from benchmarks.reporting.canvas import (
    CEILING_COLOUR,
    COPY_COLOUR,
    FAINT,
    INK,
    Picture,
    count_columns,
    draw_points,
    hide_rest,
    open_figure,
    save_figure,
    style_of,
)
from benchmarks.reporting.contenders import (
    MEAN,
    iterate_samples,
    name_contender,
    name_model,
    name_training,
    pick_whole,
    sum_costs,
)
from benchmarks.results import COPY, Entry, Results
from benchmarks.tables import Quantity, show_score

Array = np.ndarray[Any, Any]
LOWEST = -0.3  # of an axis of r: what is worse hides the differences between the others
PER_ROW = 5  # panels of distributions
N_BINS = 20


def draw_stages(results: Results, folder: Path) -> Picture | None:
    """Every contender's macro r on each test, under the ceiling and beside the copied votes."""
    groups = group_contenders(results)
    trainings = list(dict.fromkeys(training for _, training in groups))
    tests = [(name, sample) for name, sample in iterate_samples(results) if pick_whole(results, test=name)]
    if not groups or not tests:
        return None
    columns = count_columns(len(tests))
    lines = -(-len(tests) // columns)
    places, middles = _place_contenders(groups)
    height = 0.155 * (max(places.values()) + 1) + 1.1
    figure, axes = open_figure(8.6 if columns > 1 else 6.5, lines * height + 0.4, lines, columns, share=True)
    for one, (test, sample) in zip(axes, tests, strict=False):
        _draw_bounds(one, results, test)
        for key, place in places.items():
            _draw_rival(one, groups[key].get(test), place, trainings.index(key[1]))
        low, high = one.get_xlim()
        one.set_xlim(max(low, LOWEST), min(max(high, 0.1), 1.02))
        one.set_title(_wrap(sample.title), fontsize=9, color=INK, loc="left")
        one.tick_params(labelbottom=True)
        one.set_xlabel("Pearson r, mean over answers", fontsize=8.5, color=INK)
    hide_rest(axes, len(tests))
    axes[0].set_yticks(list(middles.values()), list(middles))
    axes[0].set_ylim(max(places.values()) + 1.2, -1.2)
    handles = [Line2D([], [], linestyle="", label=name_training(results, training), **style_of(number))
               for number, training in enumerate(trainings)]  # fmt: skip
    figure.legend(handles=[*handles, *BOUNDS], loc="outside lower left", ncols=4, frameon=False, fontsize=8.5)
    title = "Who is how good on every test"
    caption = (
        "Points: means over answers, by training set; bars: 95 % intervals over galaxies and seeds, cut where they "
        "leave the panel. Hollow, at 0: the same said of every galaxy, so that no correlation exists."
    )
    best = " ".join(_tell_best(results, test) for test, _ in tests)
    return save_figure(figure, folder, "stages", title, caption, f"{title}. {best}")


BOUNDS = (
    Line2D([], [], color=CEILING_COLOUR, linewidth=1.6, label="vote-noise ceiling"),
    Line2D([], [], color=COPY_COLOUR, linewidth=1.4, linestyle="--", label=COPY),
)


def group_contenders(results: Results) -> dict[tuple[str, str], dict[str, Entry]]:
    """The entries of all training objects by test, of each model (and space, where there are several) and training."""
    groups: dict[tuple[str, str], dict[str, Entry]] = {}
    for entry in pick_whole(results):
        if results.suite.models[entry.model].head == MEAN and entry.training != results.suite.reference_training:
            continue  # without a correlation all are alike
        space = f" {entry.space}" if results.suite.spaces == "each" and entry.space else ""
        groups.setdefault((name_model(results, entry.model) + space, entry.training), {})[entry.test] = entry
    return groups


def _place_contenders(groups: Iterable[tuple[str, str]]) -> tuple[dict[tuple[str, str], float], dict[str, float]]:
    """The height of each contender, one below another with gaps between models, and the middle of each model's."""
    places: dict[tuple[str, str], float] = {}
    own: dict[str, list[float]] = {}
    for name, training in groups:
        gap = 0 if not places else 1 if name in own else 2
        places[name, training] = max(places.values(), default=0) + gap
        own.setdefault(name, []).append(places[name, training])
    return places, {name: sum(heights) / len(heights) for name, heights in own.items()}


def _draw_rival(axes: Axes, entry: Entry | None, place: float, number: int) -> None:
    if entry is None:
        return
    if np.isfinite(entry.macro["r"].value):
        draw_points(axes, [place], [Quantity.of(entry.macro["r"])], number)
    else:
        axes.plot(0, place, "o", markerfacecolor="none", color=FAINT, markersize=6)


def _draw_bounds(axes: Axes, results: Results, test: str) -> None:
    ceiling, copied = results.ceilings.get(test), results.yardsticks.get(test)
    if ceiling is not None and np.isfinite(ceiling.scores["r"].value):
        low, high = ceiling.scores["r"].interval
        axes.axvspan(low, high, color=CEILING_COLOUR, alpha=0.2, linewidth=0)
        axes.axvline(ceiling.scores["r"].value, color=CEILING_COLOUR, linewidth=1.6)
    if copied is not None and np.isfinite(copied.macro["r"].value):
        axes.axvline(copied.macro["r"].value, color=COPY_COLOUR, linewidth=1.4, linestyle="--")


def _tell_best(results: Results, test: str) -> str:
    there = [entry for entry in pick_whole(results, test=test) if np.isfinite(entry.macro["r"].value)]
    if not there:
        return ""
    best = max(there, key=lambda entry: entry.macro["r"].value)
    return f"{results.samples[test].title}: highest {name_contender(results, best)}, {show_score(best.macro['r'])}."


def _wrap(title: str) -> str:
    return title.replace(", ", ",\n", 1).replace(" (", "\n(")


def draw_drop(results: Results, home: Entry, away: Sequence[Entry], folder: Path) -> Picture | None:
    """Each answer's r at home and on each other test."""
    order = sorted(range(len(results.targets)), key=lambda c: -_value(home.targets["r"][c]))
    order = [column for column in order if np.isfinite(_value(home.targets["r"][column]))]
    if not away or not order:
        return None
    columns = count_columns(len(away))
    lines = -(-len(away) // columns)
    figure, axes = open_figure(2.5 * columns + 2.6, lines * (0.2 * len(order) + 1.3), lines, columns, share=True)
    places = np.arange(len(order))
    for one, entry in zip(axes, away, strict=False):
        here, there = ([Quantity.of(each.targets["r"][column]) for column in order] for each in (home, entry))
        draw_points(one, list(places - 0.16), here, 0, results.samples[home.test].title)
        draw_points(one, list(places + 0.16), there, 1, "the test above the panel")
        one.set_title(_wrap(results.samples[entry.test].title), fontsize=9, color=INK, loc="left")
        one.tick_params(labelbottom=True)
        one.set_xlabel("Pearson r", fontsize=8.5, color=INK)
        low, high = one.get_xlim()
        one.set_xlim(max(low, LOWEST), min(high, 1.02))
    hide_rest(axes, len(away))
    axes[0].set_yticks(places, [results.targets[column] for column in order])
    axes[0].set_ylim(len(order) - 0.4, -0.6)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False, fontsize=8.5)
    who = name_contender(results, home)
    title = f"Each answer at home and on other surveys: {who}"
    falls = [_tell_fall(results, home, entry, order) for entry in away]
    caption = "Bars: 95 % intervals, cut where they leave the panel. Answers in the order of their r at home."
    return save_figure(figure, folder, "drop-per-answer", title, caption, f"{title}. {' '.join(falls)}")


def _tell_fall(results: Results, home: Entry, away: Entry, order: Sequence[int]) -> str:
    falls = {c: _value(home.targets["r"][c]) - _value(away.targets["r"][c]) for c in order}
    known = {column: fall for column, fall in falls.items() if np.isfinite(fall)}
    if not known:
        return ""
    worst = max(known, key=lambda column: known[column])
    n = sum(fall > 0 for fall in known.values())
    return (
        f"{results.samples[away.test].title}: {n} of {len(known)} answers are lower, most of all "
        f"{results.targets[worst]}, by {known[worst]:.2f}."
    )


def _value(interval: Sequence[float | None]) -> float:
    return float("nan") if interval[0] is None else float(interval[0])


def draw_distributions(results: Results, entry: Entry, folder: Path) -> Picture | None:
    """What volunteers said and what is predicted, a panel an answer."""
    sample = results.samples[entry.test]
    predicted = np.mean(list(results.predictions(entry).values()), axis=0)
    there = [c for c, target in enumerate(results.targets) if (~np.isnan(sample.Y[:, c])).any()]
    if not there:
        return None
    lines = -(-len(there) // PER_ROW)
    height = 1.4 * lines + 0.5
    figure, axes = open_figure(9.5, height, lines, PER_ROW, engine=None)  # laying it out would take long
    figure.subplots_adjust(0.055, 0.6 / height, 0.99, 1 - 0.35 / height, 0.22, 0.85)
    apart = []
    for one, column in zip(axes, there, strict=False):
        asked = ~np.isnan(sample.Y[:, column])
        labels, said = sample.Y[asked, column], predicted[asked, column]
        _draw_distribution(one, labels, said)
        one.set_title(_break_name(results.targets[column]), fontsize=7.5, color=INK, loc="left")
        if np.std(labels) > 0:
            apart.append(float(np.std(said) / np.std(labels)))
    hide_rest(axes, len(there))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower right", ncols=2, frameon=False, fontsize=8.5)
    figure.supylabel("galaxies, %", fontsize=8.5, color=INK, x=0.005)
    title = f"Labels and predictions of each answer: {name_contender(results, entry)} on {sample.title}"
    caption = (
        "Grey: labels of the galaxies that were asked; blue: the mean prediction over runs for the same galaxies. A "
        "model that is not sure predicts less spread than the labels have."
    )
    spread = f"In the median answer, predictions spread {np.median(apart):.2f} times as far as labels." if apart else ""
    return save_figure(figure, folder, f"distributions-{entry.test}", title, caption, f"{title}. {spread}")


def _draw_distribution(axes: Axes, labels: Array, said: Array) -> None:
    ends = (0.0, 1.0) if labels.min() >= 0 and labels.max() <= 1 else (float(labels.min()), float(labels.max()))
    edges = np.linspace(*ends, N_BINS + 1)
    for values, label, style in (
        (labels, "labels", {"fill": True, "color": "#c3c9d1"}),
        (np.clip(said, *ends), "predictions", {"color": style_of(0)["color"], "linewidth": 1.4}),
    ):
        axes.stairs(100 * np.histogram(values, edges)[0] / len(labels), edges, label=label, **style)
    axes.set_xticks(np.linspace(*ends, 3))
    axes.locator_params(axis="y", nbins=4)
    axes.tick_params(labelsize=7)


def _break_name(target: str) -> str:
    question, _, answer = target.rpartition("_")
    return f"{question}\n{answer}" if question else answer


def draw_costs(results: Results, test: str, folder: Path) -> Picture | None:
    """Macro r against seconds, of what learned from the reference training set."""
    wanted = pick_whole(results, test=test, training=results.suite.reference_training)
    entries = [e for e in wanted if sum_costs(results, e) > 0 and np.isfinite(e.macro["r"].value)]
    if len(entries) < 2:
        return None
    figure, (axes,) = open_figure(7.6, 0.12 * len(entries) + 3.2)
    for number, entry in enumerate(entries):
        r, seconds = Quantity.of(entry.macro["r"]), sum_costs(results, entry)
        style = style_of(number)
        if r.has_interval:
            axes.vlines(seconds, r.low, r.high, color=style["color"], linewidth=1.3)
        axes.plot(
            seconds,
            r.value,
            linestyle="",
            markersize=7,
            markeredgecolor="white",
            label=name_model(results, entry.model),
            **style,
        )
    axes.set_xscale("log")
    axes.set_xlabel("seconds of one run: fine-tunes, their embeddings, fit", fontsize=8.5, color=INK)
    axes.set_ylabel("Pearson r, mean over answers", fontsize=8.5, color=INK)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    learned = name_training(results, results.suite.reference_training)
    title = f"Score against cost: learned from {learned}, tested on {results.samples[test].title}"
    best = max(entries, key=lambda entry: entry.macro["r"].value)
    fast = min(entries, key=lambda entry: sum_costs(results, entry))
    said = [
        f"{what}: {name_model(results, one.model)}, r {one.macro['r'].value:.2f} in {sum_costs(results, one):.3g} s."
        for what, one in (("Highest", best), ("Fastest", fast))
    ]
    alt = f"{title}. {' '.join(said)}"
    caption = "Frozen embeddings, which all heads share, are not counted; the table of costs has them. 95 % intervals."
    return save_figure(figure, folder, "cost", title, caption, alt)
