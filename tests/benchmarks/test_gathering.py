"""What the cells say together, beside scipy, scikit-learn and sums by hand on the predictions that were saved."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from benchmarks import drops, gathering
from benchmarks.ceilings import measure_ceiling
from benchmarks.cells import Cell, require_outcome
from benchmarks.comparison import adjust_holm, compute_p
from benchmarks.gathering import average_costs, list_contests, read_record, read_results
from benchmarks.resampling import inflate_luck, resample_objects
from benchmarks.results import CELLS, RECORD, Entry, Results
from embeddings.errors import SommelierError
from tests.benchmarks import benches
from tests.benchmarks.suites import sky_numbers

SMALL = benches.make_suite(
    trainings={"sdss": {"surveys": ["sdss"]}}, models={"ridge": {"head": "ridge"}}, seeds={"heads": 1},
    recalibration={"labels": []},
)  # fmt: skip


def load(results: Results, entry: Entry, seed: int) -> np.ndarray:
    """The predictions as any program reads them."""
    space = f"--{entry.space}" if entry.space else ""
    with np.load(results.folder / "cells" / f"{entry.training}--{entry.model}{space}--s{seed}.npz") as saved:
        return np.asarray(saved[entry.test], np.float64)


def test_every_contender_is_scored_on_every_test(finished: Results) -> None:
    tests = ("sdss-new", "decals-new", "ukidss-new", "ukidss-same")
    assert [(e.training, e.model, e.test) for e in finished.entries] == [
        (t, m, test) for t in ("sdss", "mixed") for m in ("mean", "ridge", "knn") for test in tests
    ]
    assert {e.seeds for e in finished.entries if e.model != "mean"} == {(0, 1, 2)}


@pytest.mark.parametrize("model", ["ridge", "knn"])
def test_scores_are_means_over_answers_and_seeds(finished: Results, model: str) -> None:
    for entry in finished.pick(model=model):
        Y = np.asarray(finished.samples[entry.test].Y, np.float64)
        by_seed = []
        for seed in entry.seeds:
            pairs = [
                (y[~np.isnan(y)], p[~np.isnan(y)]) for y, p in zip(Y.T, load(finished, entry, seed).T, strict=True)
            ]
            by_seed.append(
                {
                    "r": [stats.pearsonr(y, p).statistic for y, p in pairs],
                    "r2": [r2_score(y, p) for y, p in pairs],
                    "mae": [mean_absolute_error(y, p) for y, p in pairs],
                    "rmse": [mean_squared_error(y, p) ** 0.5 for y, p in pairs],
                    "bias": [np.mean(p - y) for y, p in pairs],
                }
            )
        for name in by_seed[0]:
            targets = np.mean([one[name] for one in by_seed], axis=0)
            assert entry.macro[name].value == pytest.approx(targets.mean(), abs=1e-5), (entry.test, name)
            if name != "rmse":
                assert [each[0] for each in entry.targets[name]] == pytest.approx(targets, abs=1e-5)
        assert entry.n.tolist() == (~np.isnan(Y)).sum(axis=0).tolist()
        assert entry.worst is not None
        assert entry.worst.target == finished.targets[int(np.argmin([each[0] for each in entry.targets["r"]]))]


def test_pooled_figures_are_those_of_the_study(finished: Results) -> None:
    for entry in finished.pick(model="ridge"):
        y = np.nan_to_num(finished.samples[entry.test].whole).astype(np.float64).ravel()
        runs = [load(finished, entry, seed).ravel() for seed in entry.seeds]
        expected = {
            "pooled_r": np.mean([stats.pearsonr(y, p).statistic for p in runs]),
            "pooled_r_squared": np.mean([stats.pearsonr(y, p).statistic ** 2 for p in runs]),
            "r2": np.mean([r2_score(y, p) for p in runs]),
            "mae": np.mean([mean_absolute_error(y, p) for p in runs]),
            "mse": np.mean([mean_squared_error(y, p) for p in runs]),
        }
        assert entry.pooled == pytest.approx(expected, abs=1e-5)
        assert entry.macro["pooled_r"].value == pytest.approx(expected["pooled_r"], abs=1e-5)


def test_a_single_run_says_so_and_several_allow_for_other_seeds(finished: Results) -> None:
    for entry in finished.entries:
        score = entry.macro["mae"]
        assert score.label == ("single run" if entry.model == "mean" else "3 seeds")
        assert entry.to_dict()["label"] == score.label
        if entry.model == "mean":
            assert score.luck is None
            continue
        # seeds learn from 0.8 of the objects each: what differs among them is too little by a factor of sqrt(1 + 3 * 4)
        values = [
            np.mean([mean_absolute_error(y[~np.isnan(y)], p[~np.isnan(y)]) for y, p in zip(
                finished.samples[entry.test].Y.T, load(finished, entry, seed).T, strict=True)])
            for seed in entry.seeds
        ]  # fmt: skip
        assert score.luck is not None
        assert score.luck.std() == pytest.approx(np.std(values, ddof=1) / np.sqrt(3) * np.sqrt(13), rel=0.05)
    assert inflate_luck(0.8, 3) == pytest.approx(np.sqrt(13))


def test_copied_votes_are_the_home_surveys_on_the_galaxies_that_have_them(finished: Results) -> None:
    home = finished.samples["sdss-new"]
    place = dict(zip(sky_numbers(home.ids).tolist(), range(len(home)), strict=True))
    assert {*finished.yardsticks} <= {"decals-new", "ukidss-new"}
    assert "ukidss-new" in finished.yardsticks
    for name, found in finished.yardsticks.items():
        sample = finished.samples[name]
        pairs = [(row, place[n]) for row, n in enumerate(sky_numbers(sample.ids).tolist()) if n in place]
        there, here = map(np.array, zip(*pairs, strict=True))
        r = []
        for y, p in zip(sample.Y[there].T, home.Y[here].T, strict=True):
            both = ~np.isnan(y + p)
            r.append(stats.pearsonr(y[both], p[both]).statistic)
        assert found.macro["r"].value == pytest.approx(np.mean(r), abs=1e-5)


def test_ceilings_are_of_the_votes(finished: Results) -> None:
    for name, sample in finished.samples.items():
        F, n = np.asarray(sample.whole, np.float64), np.asarray(sample.totals, np.float64)
        r2 = []
        for f, total in zip(F.T, n.T, strict=True):
            known = ~np.isnan(f) & (total >= 2)
            f, total = f[known], total[known]
            r2.append(1 - np.mean(f * (1 - f) / (total - 1)) / np.var(f))
        assert finished.ceilings[name].scores["r2"].value == pytest.approx(np.mean(r2), abs=1e-6)
        assert finished.ceilings[name].scores["r"].value == pytest.approx(np.mean(np.sqrt(r2)), abs=1e-6)


def test_there_is_no_ceiling_where_fractions_are_no_shares_of_votes(tmp_path: Path) -> None:
    def read(folder: Path, **question: str) -> Results:
        first = benches.QUESTIONS[0].to_dict() | question
        return benches.write_bench(folder, SMALL, questions=[first, benches.QUESTIONS[1].to_dict() | question])

    assert read(tmp_path / "raw").ceilings
    assert read(tmp_path / "debiased", fractions="debiased").ceilings == {}


def test_a_ceiling_is_of_the_answers_with_raw_fractions(tmp_path: Path) -> None:
    mixed = [benches.QUESTIONS[0].to_dict(), benches.QUESTIONS[1].to_dict() | {"fractions": "weighted"}]
    results = benches.write_bench(tmp_path / "one", SMALL, questions=mixed)
    sample = results.samples["sdss-new"]
    alone = measure_ceiling(sample.whole[:, :3], sample.totals[:, :3], resample_objects(sample.groups, 0, 10))
    assert results.ceilings["sdss-new"].scores["r2"].value == pytest.approx(alone.scores["r2"].value)


def test_a_ceiling_is_of_the_labels_that_scores_are_of(tmp_path: Path) -> None:
    samples = benches.make_samples()
    home = samples["sdss-new"]
    few = np.arange(len(home)) % 2 == 0  # labels that too few voted on do not count
    labels, totals = np.where(few[:, None], np.nan, home.Y), np.where(few[:, None], 3, home.totals)
    samples["sdss-new"] = replace(home, Y=labels.astype(np.float32), totals=totals.astype(np.float32))
    found = benches.write_bench(tmp_path / "few", SMALL, samples).ceilings["sdss-new"].scores["r2"].value
    r2 = []
    for f in home.Y[~few].T.astype(np.float64):
        f = f[~np.isnan(f)]
        r2.append(1 - np.mean(f * (1 - f) / (benches.VOTES - 1)) / np.var(f))
    assert found == pytest.approx(np.mean(r2), abs=1e-6)


def test_zeros_of_questions_that_nobody_was_asked_have_no_noise(tmp_path: Path) -> None:
    samples = benches.make_samples()
    for name, one in samples.items():
        asked = ~np.isnan(one.whole)
        samples[name] = replace(one, Y=np.nan_to_num(one.whole), totals=np.where(asked, one.totals, np.float32(0)))
    suite = SMALL.model_copy(update={"protocol": "published"})
    found = benches.write_bench(tmp_path / "zeros", suite, samples).ceilings["sdss-new"].scores["r2"].value
    Y = samples["sdss-new"].Y.astype(np.float64)
    expected = 1 - np.mean(Y * (1 - Y) / (benches.VOTES - 1), axis=0) / np.var(Y, axis=0)
    assert found == pytest.approx(expected.mean(), abs=1e-6)


# comparisons


def test_models_are_compared_with_the_one_reference_and_corrected_within_the_family(finished: Results) -> None:
    contests = {(c.varies, c.fixed): c for c in finished.contests}
    assert {key: c.reference for key, c in contests.items()} == {
        ("model", "sdss"): "ridge", ("model", "mixed"): "ridge", ("training", "ridge"): "sdss",
        ("training", "knn"): "sdss",
    }  # fmt: skip
    found = contests["model", "sdss"]
    assert len(found.comparisons) == 4  # one other, on four tests: one family; the mean is a floor
    expected = []
    for one in found.comparisons:
        model, reference = (
            finished.pick(training="sdss", model=name, test=one.test)[0].macro["r"] for name in (one.model, "ridge")
        )
        assert one.difference.value == pytest.approx(model.value - reference.value)
        expected.append(compute_p(model - reference))
    family = [one.p_family for one in found.comparisons]
    np.testing.assert_allclose(family, adjust_holm(expected))
    # by hand: the smallest of m times m, the next times m - 1 ..., never less than one before it
    sure = sorted(p for p in expected if np.isfinite(p))
    by_hand = np.maximum.accumulate([min(1.0, p * (len(sure) - n)) for n, p in enumerate(sure)])
    assert sorted(p for p in family if np.isfinite(p)) == pytest.approx(by_hand)


def test_ranks_count_who_is_surely_better_and_worse(finished: Results) -> None:
    contest = next(c for c in finished.contests if (c.varies, c.fixed) == ("model", "sdss"))
    for test, ranks in contest.ranks.items():
        assert set(ranks) == {"ridge", "knn"}
        scores = {m: finished.pick(training="sdss", model=m, test=test)[0].macro["r"] for m in ("ridge", "knn")}
        told = compute_p(scores["ridge"] - scores["knn"]) < 0.05
        better = "ridge" if scores["ridge"].value > scores["knn"].value else "knn"
        for model in ("ridge", "knn"):
            assert ranks[model] == ((1, 1) if model == better else (2, 2)) if told else (1, 2)


def test_budgets_and_single_spaces_are_no_contest(finished: Results) -> None:
    suite = finished.suite
    assert list_contests(suite.model_copy(update={"spaces": "each"}), finished.entries, "L2-cls") == []
    assert list_contests(suite, finished.entries, "L9-cls") == []
    one = [entry for entry in finished.entries if entry.model == "ridge"]
    assert {c.varies for c in list_contests(suite, one, "L2-cls")} == {"training"}  # one model is no contest of models


# records


def test_results_are_json_without_nan(finished: Results) -> None:
    text = (finished.folder / "results.json").read_text()

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    record = json.loads(text, parse_constant=refuse)
    assert record["targets"] == ["shape_round", "shape_flat", "arms_yes", "arms_no"]
    assert {name: one["n"] for name, one in record["tests"].items()} == {
        name: sample.n_labelled for name, sample in finished.samples.items()
    }
    assert len(record["entries"]) == len(finished.entries)
    worst = [entry["worst"]["target"] for entry in record["entries"] if entry["worst"]]
    assert set(worst) <= set(record["targets"])


def test_folders_that_are_no_benchmark_say_why(tmp_path: Path) -> None:
    with pytest.raises(SommelierError, match=r"holds no benchmark: benchmark\.json is missing"):
        read_record(tmp_path)
    for text, said in (
        ("{", "cannot be read"), ("[]", "is no record of a benchmark"), ('{"format": "x"}', "its format is not"),
        ('{"format": "galaxy-sommelier/benchmark", "version": "2.0"}', r"of version 2\.0; this .* reads 1\.0"),
    ):  # fmt: skip
        (tmp_path / RECORD).write_text(text)
        with pytest.raises(SommelierError, match=said):
            read_record(tmp_path)


def test_a_test_set_that_is_gone_is_named(tmp_path: Path) -> None:
    results = benches.write_bench(tmp_path / "bench", SMALL)
    (results.folder / "samples" / "sdss-new.npz").unlink()
    with pytest.raises(SommelierError, match=r"sdss-new\.npz cannot be read .* Run the benchmark again"):
        read_results(results.folder)


def test_bins_are_of_properties_that_are_known(tmp_path: Path) -> None:
    results = benches.write_bench(tmp_path / "bench", SMALL, samples=benches.make_samples(220))
    entry = results.pick(training="sdss", model="ridge", test="sdss-new")[0]
    bins = results.score_bins(entry)
    assert {one.name for one in bins} == {"magnitude"}
    magnitude = results.samples["sdss-new"].properties["magnitude"]
    assert sum(one.n for one in bins) == 220
    assert (bins[0].low, bins[-1].high) == (magnitude.min(), magnitude.max())
    for one, after in pairwise(bins):
        assert one.high <= after.low


def test_costs_are_means_over_the_runs_that_know_them() -> None:
    runs = [
        {"device": "cpu", "fit_seconds": 1.0, "peak_memory_bytes": None},
        {"device": "cpu", "fit_seconds": 3.0, "peak_memory_bytes": 5},
    ]
    assert average_costs(runs) == {"device": "cpu", "fit_seconds": 2.0, "peak_memory_bytes": 5.0}
    assert average_costs(runs[:1])["peak_memory_bytes"] is None


def test_scores_are_kept_and_computed_anew_where_something_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = benches.write_bench(tmp_path / "bench", SMALL)
    before, entry = results.to_dict(), results.pick(model="ridge", test="sdss-new")[0]
    scored = []
    real = gathering.score_contender
    real_drop = drops.decompose_drop

    @wraps(real)
    def count(*given: Any) -> Any:
        scored.append(given)
        return real(*given)

    @wraps(real_drop)
    def count_drop(*given: Any, **named: Any) -> Any:
        scored.append(given)
        return real_drop(*given, **named)

    monkeypatch.setattr(gathering, "score_contender", count)
    monkeypatch.setattr(drops, "decompose_drop", count_drop)
    assert read_results(results.folder).to_dict() == before
    assert not scored
    cell = Cell(*entry.contender[:2], entry.seeds[0], *entry.contender[2:])
    outcome = require_outcome(results.folder / CELLS, cell)
    other = {name: P / 2 if name == "sdss-new" else P for name, P in outcome.predictions.items()}
    replace(outcome, predictions=other).write(results.folder / CELLS)
    after = read_results(results.folder)
    changed = [e for e, old in zip(after.entries, results.entries, strict=True) if e.to_dict() != old.to_dict()]
    assert [(e.contender, e.test) for e in changed] == [(entry.contender, "sdss-new")]
    assert len(scored) == 1 + len([d for d in results.drops if (d.training, d.model) == entry.contender[:2]])
