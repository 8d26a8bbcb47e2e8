"""The demo's tables say what the scores are, and its sentences follow from the numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest

from benchmarks.results import COPY, Results
from benchmarks.statistics import Score
from benchmarks.story import CEILING, Setting, _judge, describe_setting, pick_models, tabulate_sample, tell_tables
from tests.benchmarks.benches import write_bench


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Three surveys; heads are worse away from home."""
    return write_bench(tmp_path_factory.mktemp("bench") / "bench")


def test_every_test_has_its_yardsticks_below_the_models(results: Results) -> None:
    home, away, *_ = results.samples.values()
    table = tabulate_sample(results, home, "title", "meaning")
    assert list(table.columns) == ["model", "Pearson r", "R2", "MAE", "pooled r"]
    assert [row[0] for row in table.rows] == ["mean", "ridge", "knn", "full", CEILING]
    ridge = pick_models(results, home.name)["ridge"].macro
    low, high = ridge["r"].interval
    assert table.rows[1][1] == f"{ridge['r'].value:.2f} [{low:.2f}, {high:.2f}]"
    assert table.rows[1][3] == f"{ridge['mae'].value:.3f}"
    assert table.rows[0][1] == "-"  # the mean has no r
    assert table.title == f"title ({home.n_labelled} galaxies, 95 % intervals)"
    below = [row[0] for row in tabulate_sample(results, away, "title", "meaning").rows]
    assert below[-2:] == [COPY, CEILING]


def test_sentences_follow_from_the_numbers(results: Results) -> None:
    told = {table.title: table.meaning for table in tell_tables(results)}
    values = {test: pick_models(results, test)["ridge"].macro["r"].value for test in results.samples}
    home = next(text for title, text in told.items() if "in-domain" in title)
    assert f"ridge reaches r {values['sdss-new']:.2f}" in home
    change = pick_models(results, "sdss-new")["full"].macro["r"] - pick_models(results, "sdss-new")["ridge"].macro["r"]
    assert f"The fine-tune (full) minus ridge is {change.value:+.2f} [" in home
    away = next(text for title, text in told.items() if title.startswith("UKIDSS, new objects: out-of-domain"))
    assert f"r goes from {values['sdss-new']:.2f} to {values['ukidss-new']:.2f}" in away
    same = next(text for title, text in told.items() if "not a fair test" in title)
    assert f"r is {values['ukidss-same']:.2f} here and {values['ukidss-new']:.2f} on new galaxies" in same
    assert any("what to learn from" in title for title in told)
    assert any(title.startswith("Where the drop of ridge comes from") for title in told)


def test_the_parts_of_a_drop_lead_from_home_to_away(results: Results) -> None:
    table = next(t for t in tell_tables(results) if t.title.startswith("Where the drop"))
    for column in range(1, len(table.columns)):
        home, *parts, away = (float(str(row[column]).split()[0]) for row in table.rows)
        assert home - sum(parts) == pytest.approx(away, abs=0.025)  # of five rounded numbers


def test_the_reference_training_set_is_compared_with_nothing(results: Results) -> None:
    table = next(t for t in tell_tables(results) if "what to learn from" in t.title)
    assert [row[0] for row in table.rows] == ["sdss", "mixed"]
    assert table.rows[0][4:] == ["reference", "-"]
    assert re.fullmatch(r"[+-]\d\.\d\d \[[+-]\d\.\d\d, [+-]\d\.\d\d\]", str(table.rows[1][4]))
    higher = table.rows[1][5] == "higher"
    assert ("mixed: more than luck explains" in table.meaning) is higher


@pytest.mark.parametrize("trained", [False, True])
def test_the_text_follows_the_backbones_own_description(results: Results, trained: bool) -> None:
    results.record["left_out"] = ["odd"]
    text = " ".join(describe_setting(Setting(100, 0, "somebody's network", trained, "L6-cls"), results))
    assert "The backbone is somebody's network, L6-cls." in text
    assert ("has learned nothing" in text) is not trained
    assert "Left out, since too few galaxies have a label: odd." in text


def test_a_fine_tune_is_judged_by_the_interval() -> None:
    draws = np.linspace(-0.1, 0.1, 2001)
    assert _judge(Score(0.05, 0.05 + draws)) == "within the interval there may be no difference"
    assert _judge(Score(0.2, 0.2 + draws)).startswith("more, ")
    assert _judge(Score(-0.2, draws - 0.2)).startswith("less, ")
