"""What was run with what: splits, audit, costs, provenance and environment as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.galaxies import name_survey
from benchmarks.leakage import FRAME
from benchmarks.reporting.contenders import count_galaxies, is_number, name_contender, name_training, pick_whole
from benchmarks.results import COPY, Results
from benchmarks.samples import Sample
from benchmarks.statistics import Score
from benchmarks.tables import NOTHING, Content, Quantity, Table

UNCHECKABLE = "not checkable"
PARTS = ("train", "val", "test")
MEBI = 2**20


def tabulate_split(results: Results) -> Table | None:
    """Galaxies of each part, by survey."""
    split = results.record.get("split", {})
    counts = split.get("counts", {})
    if not counts:
        return None
    rows: list[list[Content]] = [
        [name_survey(survey), *(int(parts.get(part, 0)) for part in PARTS)] for survey, parts in counts.items()
    ]
    recipe = ", ".join(f"{key} {value}" for key, value in split.get("recipe", {}).items())
    meaning = f"Recipe: {recipe}. " if recipe else ""
    meaning += f"Digest of the split: {split['digest']}; results with another digest are not on the same galaxies." * (
        "digest" in split
    )
    return Table("Who learns, who chooses, who is tested", ["survey", *PARTS], rows, meaning, "split")


def tabulate_tests(results: Results) -> Table:
    """The test sets."""
    excluded = results.record.get("split", {}).get("excluded", {})
    rows: list[list[Content]] = []
    for name, sample in results.samples.items():
        copied = results.yardsticks.get(name)
        left = excluded.get(name)
        rows.append(
            [sample.title, len(sample), sample.n_labelled, len(np.unique(sample.groups)), int(sample.seen.sum()),
             NOTHING if left is None else int(left), NOTHING if copied is None else count_galaxies(copied)]
        )  # fmt: skip
    columns = ["test", "rows", "with labels", "sky objects", "seen in training", "left out by the audit", COPY]
    meaning = "Seen in training: rows whose sky object some training set shows, in this survey or in another."
    return Table("The tests", columns, rows, meaning, "tests")


def tabulate_trainings(results: Results) -> Table | None:
    """Sky objects of each training set, by survey."""
    trainings = results.record.get("trainings", {})
    if not trainings:
        return None
    surveys = list(dict.fromkeys(survey for parts in trainings.values() for survey in parts))
    rows: list[list[Content]] = [
        [name_training(results, name), *(int(parts.get(survey, 0)) for survey in surveys), int(sum(parts.values()))]
        for name, parts in trainings.items()
    ]
    columns = ["training set", *map(name_survey, surveys), "in all"]
    redraw = results.suite.seeds.redraw
    meaning = f"Sky objects. Each seed learns from {100 * redraw:g} % of them, drawn anew." if redraw < 1 else ""
    return Table("What was learned from", columns, rows, meaning or "Sky objects.", "trainings")


def tabulate_audit(results: Results) -> Table | None:
    """Sky objects of each test that each comparison found in each training set; None where there was no audit."""
    audits = [audit for audit in results.record.get("audit", []) if audit.get("tests")]
    if not audits:
        return None
    kinds = list(dict.fromkeys(test["test"] for audit in audits for test in audit["tests"]))
    rows: list[list[Content]] = []
    for audit in audits:
        found = {test["test"]: test for test in audit["tests"]}
        total = audit.get("found", {})
        least = "" if total.get("complete", True) else "at least "
        rows.append(
            [name_training(results, str(audit.get("training", NOTHING))), name_test(results, audit.get("test", "")),
             int(audit.get("n", 0)), *(_show_found(found.get(kind)) for kind in kinds),
             f"{least}{total['objects']}" if least else int(total.get("objects", 0))]
        )  # fmt: skip
    tests = [test for audit in audits for test in audit["tests"]]
    hows = dict.fromkeys(f"{test['test']}: {test['how']}" for test in tests if test.get("checkable"))
    reasons = dict.fromkeys(f"{test['test']}, {test['reason']}" for test in tests if not test.get("checkable"))
    blind = f" Not checkable, which is not the same as none found: {'; '.join(reasons)}." if reasons else ""
    apart = max((int(test.get("apart") or 0) for test in tests), default=0)
    lookalikes = f" Look-alikes more than {FRAME / 60:g} arcmin apart are other galaxies, left out: up to {apart}."
    meaning = f"Sky objects of the test that were also learned from. What is the same: {'; '.join(hows)}.{blind}"
    meaning += lookalikes if apart else ""
    return Table("Leakage audit", ["learned from", "test", "its rows", *kinds, "any"], rows, meaning, "audit")


def _show_found(test: dict[str, Any] | None) -> Content:
    if test is None:
        return NOTHING
    return int(test["objects"]) if test.get("checkable") else UNCHECKABLE


def name_test(results: Results, test: str) -> str:
    """A test's title, or the survey's name where it is none of the tests."""
    return results.samples[test].title if test in results.samples else name_survey(str(test))


def tabulate_exclusion(results: Results) -> Table | None:
    """Scores with and without the galaxies that were seen in training; None where no test is of both kinds."""
    rows = [row for sample in results.samples.values() for row in _list_exclusion(results, sample)]
    if not rows:
        return None
    columns = ["test", "contender", "n before", "r before", "r after", "R2 before", "R2 after", "n after"]
    meaning = (
        "Before: all galaxies of the test, those seen in training among them. After: without them. The galaxies "
        "differ, so that the difference is not only what having seen them brings."
    )
    return Table("Scores before and after exclusion", columns, rows, meaning, "exclusion")


def _list_exclusion(results: Results, sample: Sample) -> Iterator[list[Content]]:
    """Each contender on a test, and on what the audit leaves of it, or on the test of new objects of that survey."""
    name, new = name_survey(sample.survey), results.samples.get(f"{sample.survey}-new")
    left = None if sample.leaked is None else sample.take(~sample.leaked).n_labelled
    for before in pick_whole(results, test=sample.name):
        who = name_contender(results, before)
        if sample.objects == "same" and new is not None:
            same = {key: getattr(before, key) for key in ("training", "model", "space", "budget")}
            for after in results.pick(**same, test=new.name):
                yield [name, who, sample.n_labelled, *_beside(before.macro, after.macro), new.n_labelled]
        elif left is not None:
            yield [name, who, sample.n_labelled, *_beside(before.macro, before.without), left]


def _beside(before: Mapping[str, Score], after: Mapping[str, Score]) -> list[Content]:
    return [
        Quantity.of(scores[metric]) if metric in scores else NOTHING
        for metric in ("r", "r2")
        for scores in (before, after)
    ]


def tabulate_costs(results: Results) -> Table:
    """Seconds, device and memory of one run of each contender, and of the frozen embeddings."""
    rows: list[list[Content]] = []
    for made in results.record.get("costs", {}).get("extraction", []):
        size = f", {made['size']} px" if made.get("size") else ""
        backbone = Path(str(made.get("backbone", ""))).name  # of a fine-tune it is the run's folder
        what = f"embeddings of {name_survey(str(made.get('survey', '')))}{size}, {backbone}"
        images = int(made["images"]) if is_number(made.get("images")) else NOTHING
        rows.append([what, images, _second(made.get("seconds")), NOTHING, NOTHING, NOTHING, NOTHING,
                     str(made.get("device", NOTHING))])  # fmt: skip
    for entry in {entry.contender: entry for entry in results.headline}.values():
        costs = entry.costs
        seconds = (_second(costs.get(f"{step}_seconds")) for step in ("extract", "train", "fit", "predict"))
        peak = costs.get("peak_memory_bytes")
        memory: Content = Quantity(float(peak) / MEBI, digits=0) if is_number(peak) and peak is not None else NOTHING
        rows.append(
            [name_contender(results, entry), int(entry.n_train), *seconds, memory, str(costs.get("device", NOTHING))]
        )
    columns = [
        "what", "galaxies", "extraction, s", "fine-tune, s", "fit, s", "prediction, s", "peak memory, MiB", "device",
    ]  # fmt: skip
    meaning = "Of one run, the mean over runs. Frozen embeddings are made once for all heads."
    return Table("What it cost", columns, rows, meaning, "costs")


def _second(value: Any) -> Content:
    if not is_number(value):
        return NOTHING
    return Quantity(float(value), digits=0 if value >= 100 else 1 if value >= 1 else 2)


def tabulate_stores(results: Results) -> Table | None:
    """What the galaxies and their vectors were read from."""
    rows: list[list[Content]] = []
    for name, survey in results.record.get("surveys", {}).items():
        for store in survey.get("stores") or [{}]:
            rows.append(
                [
                    name_survey(name),
                    str(survey.get("catalog") or NOTHING),
                    int(survey.get("rows", 0)),
                    *_describe(store),
                ]
            )
    if not rows:
        return None
    columns = ["survey", "catalog", "rows", "store", "size, px", "backbone", "weights", "layers", "precision", "images"]
    meaning = "Weights: the start of their sha256. Images: how they were decoded, stretched and cut out."
    return Table("Provenance", columns, rows, meaning, "provenance")


def _describe(store: dict[str, Any]) -> list[Content]:
    made = store.get("provenance") or {}
    weights = str(made.get("model", {}).get("weights_sha256", NOTHING))[:16]
    images = ", ".join(f"{key} {value}" for key, value in made.get("images", {}).items() if value is not None)
    size = int(store["size"]) if is_number(store.get("size")) else NOTHING
    names = [str(name).partition("-") for name in made.get("layers", [])]
    layers = "; ".join(", ".join(dict.fromkeys(name[part] for name in names)) for part in (0, 2)) if names else NOTHING
    return [str(store.get("path", NOTHING)), size, str(store.get("backbone", NOTHING)), weights, layers,
            str(made.get("precision", NOTHING)), images or NOTHING]  # fmt: skip


def tabulate_environment(results: Results) -> Table | None:
    """Versions and machine."""
    found = results.record.get("environment", {})
    rows: list[list[Content]] = [[str(name), str(value)] for name, value in found.items()]
    return Table("Environment", ["what", "which"], rows, "", "environment") if rows else None
