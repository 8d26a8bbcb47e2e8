"""How training went, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from embeddings.files import replace_file

WINDOW = 100  # a smoothed curve has about so many independent points

Record = dict[str, Any]


def draw_curves(records: Sequence[Record], path: Path) -> None:
    """
    Draw losses, validation r, learning rates and speed against the steps.

    Parameters
    ----------
    records : sequence of dict
        As `finetune.tracking.read_log` gives them.
    path : Path
        A PNG, replaced whole.
    """
    with replace_file(path) as temporary:
        _make_figure(records).savefig(temporary, format="png")


def _make_figure(records: Sequence[Record]) -> Figure:
    steps = [record for record in records if record["kind"] == "step"]
    epochs = [record for record in records if record["kind"] == "epoch"]
    figure = Figure(figsize=(11, 7), dpi=120, layout="constrained")
    loss, score, rate, speed = figure.subplots(2, 2, sharex=True).flat
    _draw(loss, steps, "loss", "each step", color="0.8", linewidth=0.8)
    for name, label in (("train_loss", "training"), ("val_loss", "validation")):
        _draw(loss, epochs, name, label, marker="o")
    for name, label in (("val_r", "Pearson r"), ("val_r2", "R2")):
        _draw(score, epochs, name, label, marker="o")
    for name, label in (("learning_rate", "backbone"), ("head_learning_rate", "head")):
        _draw(rate, [record for record in steps if record[name] > 0], name, label)  # a logarithmic scale has no 0
    _draw(speed, _smooth(steps, "images_per_second"), "images_per_second", "images/s")
    for axes, title in zip(
        (loss, score, rate, speed), ("loss", "validation", "learning rate", "images/s"), strict=True
    ):
        _finish(axes, title, [record["step"] for record in epochs if record.get("best")])
    rate.set_yscale("log")
    return figure


def _draw(axes: Axes, records: Sequence[Record], name: str, label: str, **style: Any) -> None:
    """One curve; where there is no value, a gap."""
    if any(record.get(name) is not None for record in records):
        values = [np.nan if record.get(name) is None else record[name] for record in records]
        axes.plot([record["step"] for record in records], values, label=label, **style)


def _smooth(records: Sequence[Record], name: str) -> list[Record]:
    """Means over neighbouring steps."""
    size = max(1, len(records) // WINDOW)
    groups = [records[start : start + size] for start in range(0, len(records), size)]
    means = [[record[name] for record in group if record.get(name) is not None] for group in groups]
    return [
        {"step": group[-1]["step"], name: float(np.mean(values)) if values else None}
        for group, values in zip(groups, means, strict=True)
    ]


def _finish(axes: Axes, title: str, best: Sequence[int]) -> None:
    """Title, legend, and a line at the best epoch's end."""
    axes.set_title(title, loc="left")
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if best:
        axes.axvline(best[-1], color="0.5", linestyle=":", label="best")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
