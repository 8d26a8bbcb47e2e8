"""The picture of how training went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from finetune.curves import _make_figure, draw_curves


def make_records() -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for step in range(1, 401):
        record = {"kind": "step", "step": step, "loss": 1 / step, "images_per_second": float(step)}
        records.append(record | {"learning_rate": 1e-5, "head_learning_rate": 1e-3})
        if step % 100 == 0:
            record = {"kind": "epoch", "step": step, "train_loss": 2 / step, "val_loss": 3 / step, "val_r2": None}
            records.append(record | {"val_r": None if step == 100 else 0.5, "best": step < 400})
    return records


def lines(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The curves by panel and label."""
    axes = _make_figure(records).axes
    return {f"{a.get_title(loc='left')}: {line.get_label()}": line.get_xydata() for a in axes for line in a.lines}


def test_each_curve_has_its_points() -> None:
    drawn = lines(make_records())
    assert drawn["loss: each step"].shape == (400, 2)
    assert drawn["loss: validation"].tolist() == [[100, 0.03], [200, 0.015], [300, 0.01], [400, 0.0075]]
    np.testing.assert_array_equal(drawn["validation: Pearson r"][:, 1], [np.nan, 0.5, 0.5, 0.5])
    assert "validation: R2" not in drawn  # no epoch has one
    assert drawn["learning rate: head"][:, 1].tolist() == [1e-3] * 400
    assert drawn["images/s: images/s"][:2].tolist() == [[4, 2.5], [8, 6.5]]  # means of 1..4, of 5..8
    assert drawn["loss: best"][:, 0].tolist() == [300, 300]


def test_a_backbone_that_does_not_learn_has_no_rate() -> None:
    drawn = lines([record | {"learning_rate": 0.0} for record in make_records()])
    assert "learning rate: backbone" not in drawn
    assert "learning rate: head" in drawn


def test_a_png_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    draw_curves([], path)
    empty = path.read_bytes()
    draw_curves(make_records(), path)
    assert path.read_bytes() != empty
    with Image.open(path) as picture:
        assert picture.size == (1320, 840)
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]
