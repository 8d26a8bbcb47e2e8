"""What is said before anyone reads a table: all that applies, and nothing that does not."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks import runner
from benchmarks.cautions import list_cautions
from benchmarks.results import Results
from benchmarks.runner import run_suite
from tests.benchmarks import benches
from tests.benchmarks.pictures import make_pictured, write_sky
from tests.benchmarks.suites import INFRARED, NORTH, make_suite, sky_numbers, write_survey

STUDY: dict[str, Any] = {
    "protocol": "published", "objects": "same", "min_votes": 0,
    "split": {"method": "sequential", "val": 0.1, "test": 0.3},
    "trainings": {
        "sdss": {"surveys": ["sdss"], "size": 28},
        "native": {"surveys": ["sdss"], "size": 42},
        "zeros": {"surveys": ["sdss"], "size": 28, "zeroed": ["sdss"]},
    },
    "test_size": 42, "models": {"random": {"head": "random"}, "ridge": {"head": "ridge"}},
    "seeds": {"heads": 1, "redraw": 1},
}  # fmt: skip


def by_kind(results: Results) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in list_cautions(results):
        found.setdefault(one["about"], []).append(one["text"])
    return found


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The reference study's choices, all at once."""
    sky = write_sky(tmp_path_factory.mktemp("sky"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "write_report", lambda results: results.folder)
        return run_suite(make_pictured(sky, **STUDY), tmp_path_factory.mktemp("results") / "bench")


@pytest.mark.slow
def test_everything_that_is_wrong_with_the_study_is_said(study: Results) -> None:
    said = by_kind(study)
    assert {*said} == {"seen", "pooled r", "r squared", "zeros", "sizes", "order", "zeroed", "single run"}
    assert study.record["cautions"] == list_cautions(study)
    # objects 20 to 99 were drawn from SDSS's 0 to 159, of which the first 0.7 train (0.6) or choose
    assert "80 of the 80 test galaxies of UKIDSS (ukidss-same)" in said["seen"][0]
    assert said["sizes"][0].startswith("Training sets were seen at different resolutions (sdss 28 px, native 42 px, ze")
    assert "tested at 42 px, whatever the training was" in said["sizes"][1]
    assert "In the training set zeros, all labels of sdss are 0" in said["zeroed"][0]
    assert said["single run"] == [
        next(t for t in said["single run"] if t.startswith("random, ridge: a single run each"))
    ]


@pytest.mark.slow
def test_the_mean_predictors_pooled_r_is_that_of_the_labels_means(study: Results) -> None:
    (text,) = by_kind(study)["pooled r"]
    Y = np.nan_to_num(study.samples["sdss-new"].whole.astype(np.float64))
    r = stats.pearsonr(Y.ravel(), np.tile(Y.mean(axis=0), len(Y))).statistic
    assert f"has a pooled r of {r:.3f} on sdss-new, " in text


@pytest.mark.slow
def test_r_squared_is_told_from_r2_where_they_differ_most(study: Results) -> None:
    (text,) = by_kind(study)["r squared"]
    gaps = {
        (*entry.contender, entry.test): entry.pooled["pooled_r_squared"] - entry.pooled["r2"] for entry in study.entries
    }
    assert f"of {sum(gap > 0.005 for gap in gaps.values())} entries" in text
    worst = max(study.entries, key=lambda e: e.pooled["pooled_r_squared"] - e.pooled["r2"])
    assert f"{worst.model} trained on {worst.training}, on {worst.test}: {worst.pooled['pooled_r_squared']:.3f}" in text


@pytest.mark.slow
def test_zeros_are_the_share_of_questions_that_nobody_was_asked(study: Results) -> None:
    (text,) = by_kind(study)["zeros"]
    share = np.isnan(study.samples["ukidss-same"].whole).mean()
    assert share > 0
    assert f"{share:.0%} on ukidss-same" in text


def test_zeros_are_known_where_a_release_wrote_them(tmp_path: Path) -> None:
    """As UKIDSS: no blank, but all answers of a question 0."""
    suite = benches.make_suite(
        protocol="published", trainings={"sdss": {"surveys": ["sdss"]}}, models={"ridge": {"head": "ridge"}},
        seeds={"heads": 2}, recalibration={"labels": []},
    )  # fmt: skip
    samples = benches.make_samples()
    for name in ("sdss-new", "decals-new"):
        sample = samples[name]
        whole = np.nan_to_num(sample.Y) if name == "sdss-new" else np.full_like(sample.Y, 0.5)
        samples[name] = replace(sample, Y=whole, whole=whole)
    blank = np.isnan(benches.make_samples()["sdss-new"].Y).mean()
    results = benches.write_bench(tmp_path, suite, samples)
    (text,) = by_kind(results)["zeros"]
    assert re.findall(r"% on (\S+?)[,.]", text) == ["sdss-new", "ukidss-new", "ukidss-same"]  # decals has none
    assert f" {blank:.0%} on sdss-new" in text


def test_a_sound_suite_is_told_only_what_applies(finished: Results) -> None:
    said = by_kind(finished)
    assert {*said} == {"seen", "pooled r", "single run", "few seeds"}  # the mean has one seed, the others three
    assert said["few seeds"][0].startswith("knn, ridge: two or three seeds")
    (text,) = said["seen"]  # of the test that asks for all objects, and of no other
    sample = finished.samples["ukidss-same"]
    n = int(sample.seen.sum())
    assert 0 < n < len(sample)
    assert f"{n} of the 120 test galaxies of UKIDSS (ukidss-same) are sky objects that training showed" in text
    assert said["single run"][0].startswith("mean: a single run each")
    new = replace(
        finished, samples={name: s for name, s in finished.samples.items() if s.objects == "new"},
        entries=[entry for entry in finished.entries if entry.model != "mean"], record={"split": {}},
    )  # fmt: skip
    assert {*by_kind(new)} == {"pooled r", "few seeds"}


def test_galaxies_that_only_embeddings_tell_are_counted(finished: Results) -> None:
    def audit(test: str, place: int | None, near: int | None) -> dict[str, Any]:
        rows = {"id": 0, "position": place, "image": 0, "embedding": near}
        return {"test": test, "tests": [{"test": name, "rows": n} for name, n in rows.items()]}

    audits = [audit("a-new", None, 3), audit("a-new", None, 5), audit("b-new", 7, 7), audit("c-new", 0, None)]
    told = replace(finished, record=finished.record | {"audit": audits})
    (text,) = by_kind(told)["look-alikes"]
    assert "up to 5 on a-new. Some may" in text  # of b-new places tell as much


@pytest.mark.parametrize("protocol", ["sound", "published"])
def test_galaxies_that_the_backbone_knew_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setattr(runner, "write_report", lambda results: results.folder)
    write_survey(tmp_path / "sdss.h5", "sdss", NORTH, 1)
    write_survey(tmp_path / "ukidss.h5", "ukidss", INFRARED, 3, part=np.where(INFRARED < 60, b"train", b"test"))
    stores = {name: {"store": str(tmp_path / f"{name}.h5")} for name in ("sdss", "ukidss")}
    suite = make_suite(tmp_path, surveys=stores, objects="both", protocol=protocol, recalibration={"labels": []})
    results = run_suite(suite, tmp_path / "run")
    said = by_kind(results)["tuned"]
    counts = {match[2]: (int(match[1]), text) for text in said if (match := re.match(r"(\d+) galaxies of (\S+)", text))}
    assert counts["ukidss-same"][0] == 30
    assert "tested all the same, and say nothing of new galaxies" in counts["ukidss-same"][1]
    for name in ("sdss-new", "ukidss-new"):
        known = set(sky_numbers(results.samples[name].ids).tolist()) & set(range(0, 60, 2))
        if protocol == "sound":
            assert not known
            assert counts[name][0] == results.record["split"]["excluded"][name] > 0
            assert counts[name][1].endswith("They are left out.")
        else:
            assert counts[name][0] == len(known) > 0
            assert results.record["split"]["excluded"][name] == 0
