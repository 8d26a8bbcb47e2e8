"""Where the drop comes from and what few labels buy back, of a benchmark's entries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.drops import list_drops, pair_rows
from benchmarks.results import Results
from benchmarks.samples import Sample
from tests.benchmarks import benches
from tests.benchmarks.suites import sky_numbers


def test_drops_are_of_contenders_that_learned_from_one_survey(finished: Results) -> None:
    routes = {(d.training, d.model, d.home, d.away) for d in finished.drops}
    assert routes == {
        ("sdss", model, "sdss-new", away) for model in ("ridge", "knn") for away in ("decals-new", "ukidss-new")
    }


def test_the_parts_of_a_drop_are_of_the_paired_galaxies(finished: Results) -> None:
    drop = next(d for d in finished.drops if (d.model, d.away) == ("ridge", "ukidss-new")).decomposition
    home, away = finished.samples["sdss-new"], finished.samples["ukidss-new"]
    place = dict(zip(sky_numbers(away.ids).tolist(), range(len(away)), strict=True))
    pairs = [(row, place[n]) for row, n in enumerate(sky_numbers(home.ids).tolist()) if n in place]
    here, there = map(np.array, zip(*pairs, strict=True))
    assert drop.n_objects == len(pairs)
    entry = finished.pick(training="sdss", model="ridge", test="sdss-new")[0]
    others = finished.pick(training="sdss", model="ridge", test="ukidss-new")[0]
    predicted = {"s": finished.predictions(entry), "u": finished.predictions(others)}
    rows, labels = {"s": here, "u": there}, {"s": home.Y[here], "u": away.Y[there]}
    both = ~np.isnan(labels["s"] + labels["u"])
    for images in "su":
        for voted in "su":
            r = [
                stats.pearsonr(labels[voted][both[:, t], t], P[rows[images]][both[:, t], t]).statistic
                for P in predicted[images].values()
                for t in drop.answers
            ]
            assert drop.drops["r"].cells[images + voted].value == pytest.approx(np.mean(r), abs=1e-5)
    whole = drop.drops["r"].whole
    assert whole is not None
    assert whole.value == pytest.approx(entry.macro["r"].value)


def test_without_pairs_there_is_no_decomposition(finished: Results) -> None:
    apart = {
        name: sample if sample.survey == "sdss" else replace(sample, groups=sample.groups + 10_000)
        for name, sample in finished.samples.items()
    }
    assert [*list_drops(replace(finished, samples=apart))] == []


def test_curves_start_from_the_score_without_labels(finished: Results) -> None:
    # also on decals, which only the mixed training set learned
    assert [(c.training, c.model, c.away) for c in finished.curves] == [
        ("sdss", model, away) for model in ("ridge", "knn") for away in ("decals-new", "ukidss-new")
    ]
    for curve in finished.curves:
        entry = finished.pick(training="sdss", model=curve.model, test=curve.away)[0]
        assert curve.recalibration.uncorrected["r2"].value == pytest.approx(entry.macro["r2"].value)
        home = finished.pick(training="sdss", model=curve.model, test="sdss-new")[0]
        assert curve.recalibration.in_domain == pytest.approx(home.macro["r2"].value)
        assert [point.budget for point in curve.recalibration.points] == [10]


def test_values_that_are_no_fractions_are_not_recalibrated(tmp_path: Path) -> None:
    suite = benches.make_suite(models={"ridge": {"head": "ridge"}}, trainings={"sdss": {"surveys": ["sdss"]}})
    mass = {"name": "mass", "answers": [], "kind": "value", "parent": None, "fractions": benches.QUESTIONS[1].fractions}
    samples = {
        name: replace(one, Y=np.column_stack([one.Y[:, :4], 9 + one.Y[:, 4]]).astype(np.float32))
        for name, one in benches.make_samples().items()
    }
    bar = benches.QUESTIONS[1].to_dict() | {"answers": ["yes"]}
    questions = [benches.QUESTIONS[0].to_dict(), bar, mass]
    results = benches.write_bench(tmp_path, suite, samples, questions=questions)
    curves = [curve.recalibration for curve in results.curves]
    assert [curve.answers.tolist() for curve in curves] == [[0, 1, 2, 3]] * len(curves)
    assert {curve.in_domain for curve in curves} == {None}  # what was lost is not of the same answers


def make_sample(groups: list[int]) -> Sample:
    return replace(benches.draw_sample("sdss", "new", 0, len(groups)), groups=np.array(groups))


def test_pairs_are_one_row_of_each_object_that_both_show() -> None:
    home, away = make_sample([5, 3, 8, 3, 1]), make_sample([3, 9, 5, 5])
    rows_s, rows_u = pair_rows(home, away)
    assert [(int(home.groups[s]), int(away.groups[u])) for s, u in zip(rows_s, rows_u, strict=True)] == [(3, 3), (5, 5)]
    assert [len(rows) for rows in pair_rows(make_sample([1, 2]), make_sample([3, 4]))] == [0, 0]
