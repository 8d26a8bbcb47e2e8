"""Tables say what the scores are, and sentences follow from the numbers."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.ceilings import Ceiling
from benchmarks.shift import Cell, Shift
from benchmarks.statistics import Score
from benchmarks.story import Setting, describe_setting, tell_tables
from benchmarks.tables import CEILING, Table, show_score, tabulate_difference, tabulate_sample
from embeddings.questions import Question


def score(value: float, spread: float = 0.08) -> Score:
    """Draws evenly around the value: the interval is 95 % of them."""
    return Score(value, value + spread * np.linspace(-1, 1, 2001))


def cell(training: str, test: str, objects: str, head: str, r: float) -> Cell:
    scores = {"r": score(r), "r2": score(r**2 if head != "mean" else -0.1), "mae": score(0.2, 0.02)}
    if objects != "paired":
        scores["pooled_r"] = score(0.61)
    return Cell(training, test, objects, head, 50, scores)  # type: ignore[arg-type]


@pytest.fixture
def shift() -> Shift:
    """Good at home, worse elsewhere; the mixture helps."""
    places = [("sdss", "new", 0.8), ("decals", "new", 0.5), ("ukidss", "new", 0.3), ("ukidss", "same", 0.4)]
    cells = [cell("sdss", test, objects, "ridge", r) for test, objects, r in places]
    cells += [cell("sdss", test, objects, "mean", np.nan) for test, objects, _ in places]
    cells += [cell("sdss+decals", "ukidss", "new", head, r) for head, r in (("ridge", 0.7), ("mean", np.nan))]
    cells += [cell("sdss", "ukidss", "paired", head, r) for head, r in (("ridge", 0.3), ("copied votes", 0.9))]
    ceilings = {(c.test, c.objects): Ceiling({"r": score(0.95, 0.02), "r2": score(0.9)}, 0) for c in cells}
    trainings = {"sdss": {"sdss": 60}, "sdss+decals": {"sdss": 32, "decals": 28}}
    return Shift((Question("bar", ("yes", "no")),), (Question("odd"),), trainings, cells, ceilings)


def test_a_score_with_its_interval() -> None:
    assert show_score(score(0.5)) == "0.50 [0.42, 0.58]"
    assert show_score(score(0.5), 3, sign=True) == "+0.500 [+0.424, +0.576]"
    assert show_score(score(0.5), bare=True) == "0.50"
    assert show_score(score(-0.001, 0.0)) == "0.00 [0.00, 0.00]"
    assert show_score(score(np.nan)) == show_score(None) == "-"


def test_every_sample_has_the_ceiling_below_its_heads(shift: Shift) -> None:
    table = tabulate_sample(shift, "sdss", "sdss", "new", "title", "meaning")
    assert table.title == "title (50 galaxies, 95 % intervals)"
    assert list(table.columns) == ["head", "Pearson r", "R2", "MAE", "pooled r"]
    assert [list(row) for row in table.rows] == [
        ["ridge", "0.80 [0.72, 0.88]", "0.64 [0.56, 0.72]", "0.200", "0.61"],
        ["mean", "-", "-0.10 [-0.18, -0.02]", "0.200", "0.61"],
        [CEILING, "0.95 [0.93, 0.97]", "0.90 [0.82, 0.98]", "-", "-"],
    ]
    assert table.meaning == "meaning"


def test_a_ceiling_says_for_how_many_answers_its_r_counts_as_zero(shift: Shift) -> None:
    shift.ceilings["sdss", "new"] = Ceiling({"r": score(0.5), "r2": score(0.2)}, 3)
    table = tabulate_sample(shift, "sdss", "sdss", "new", "title", "Meaning.")
    assert table.meaning.startswith("Meaning. 3 of the answers differ between these galaxies by no more than the noise")


def test_differences_are_of_the_same_head(shift: Shift) -> None:
    before, after = (shift.pick(training, "ukidss", "new") for training in shift.trainings)
    table = tabulate_difference(before, after, "title", "meaning")
    assert [list(row[:2]) for row in table.rows] == [["ridge", "Pearson r"], ["ridge", "R2"], ["mean", "R2"]]
    assert table.rows[0][4] == "+0.40 [+0.40, +0.40]"  # the same draws around both: paired, nothing is left of them


def test_markdown() -> None:
    lines = Table("Title", ("a", "b"), [("1", "2")], "Meaning.").to_markdown().splitlines()
    assert lines == ["**Title**", "", "| a | b |", "| -- | -- |", "| 1 | 2 |", "", "Meaning."]


def test_sentences_follow_from_the_numbers(shift: Shift) -> None:
    home, decals, ukidss, same, both, copied = (table.meaning for table in tell_tables(shift))
    assert "ridge reaches r 0.80" in home
    assert "nothing could reach more than 0.95 [0.93, 0.97]" in home
    assert "pooled r is 0.61" in home
    assert "ridge's r goes from 0.80 to 0.50, its R2 from 0.64 to 0.25" in decals
    assert "The mean of SDSS's votes has an R2 of -0.10 here" in decals
    assert "from 0.80 to 0.30" in ukidss
    assert "r is 0.40 here and 0.30 on new galaxies: the intervals overlap" in same
    assert "galaxies learned from: SDSS (60), or SDSS (32) and DECaLS (28)." in both
    assert "changes by +0.40 [+0.40, +0.40]: more, by more than the draw of the test galaxies explains" in both
    assert (
        "The copy reaches r 0.90. ridge minus the copy is -0.60 [-0.60, -0.60]: less, by more than the draw" in copied
    )


@pytest.mark.parametrize(("ridge", "verdict"), [(0.85, "more, "), (0.8, "there may be no difference"), (0.7, "less, ")])
def test_the_verdict_follows_the_interval_of_the_difference(shift: Shift, ridge: float, verdict: str) -> None:
    later = Score(ridge, score(0.8).draws + 0.04 * np.cos(np.arange(2001)) + ridge - 0.8)  # apart by 0.04 at most
    mixed = shift.pick("sdss+decals", "ukidss", "new")[0]
    before = shift.pick("sdss", "ukidss", "new")[0]
    mixed.scores["r"], before.scores["r"] = later, score(0.8)
    assert verdict in next(table.meaning for table in tell_tables(shift) if "two surveys" in table.title)


def test_what_the_intervals_leave_out_is_said_once(shift: Shift) -> None:
    paragraphs = describe_setting(Setting(100, 0, "tiny", False, "L6-cls"), shift)
    assert sum("leaves out the draw of the training galaxies" in paragraph for paragraph in paragraphs) == 1
    assert "learned from the other 60 galaxies of SDSS" in " ".join(paragraphs)


@pytest.mark.parametrize("trained", [False, True])
def test_the_text_follows_the_backbones_own_description(shift: Shift, trained: bool) -> None:
    text = " ".join(describe_setting(Setting(100, 0, "somebody's network", trained, "L6-cls"), shift))
    assert "The backbone is somebody's network, L6-cls." in text
    assert ("has learned nothing" in text) is not trained
    assert "Left out, since too few galaxies have a label: odd." in text
