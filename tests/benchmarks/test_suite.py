"""Suites: what is wrong in one is said before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.suite import ConfigError, Suite, list_suites, load_suite

KEYS: dict[str, Any] = {
    "surveys": {"sdss": {"catalog": "sdss.parquet"}, "decals": {"catalog": "decals.parquet"}},
    "backbone": "tiny",
    "trainings": {"sdss": {"surveys": ["sdss"]}, "mixed": {"surveys": ["sdss", "decals"], "budget": "sdss"}},
    "models": {
        "mean": {"head": "mean"},
        "ridge": {"head": "ridge"},
        "full": {"finetune": "full"},
        "ridge on full": {"head": "ridge", "embeddings": "full"},
    },
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "mine.yaml", KEYS)


def write(file: Path, keys: dict[str, Any]) -> Path:
    file.write_text(yaml.safe_dump(keys, sort_keys=False))
    return file


def change(keys: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """The same keys with another value below a dotted name."""
    first, _, rest = name.partition(".")
    return keys | {first: change(keys.get(first) or {}, rest, value) if rest else value}


def explain(file: Path, name: str, value: Any) -> str:
    """What is said of a suite with one changed value."""
    with pytest.raises(ConfigError) as caught:
        load_suite(write(file, change(KEYS, name, value)))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("backbome", "tiny", "backbone"),
        ("trainings.mixed.survays", ["sdss"], "trainings.mixed.surveys"),
        ("surveys.sdss.catalogue", "a.parquet", "surveys.sdss.catalog"),
        ("models.ridge.haed", "knn", "models.ridge.head"),
        ("extraction.layer", [1], "extraction.layers"),
        ("seeds.head", 3, "seeds.heads"),
    ],
)
def test_unknown_keys_are_named_with_the_nearest(file: Path, name: str, value: Any, meant: str) -> None:
    said = explain(file, name, value)
    assert f"there is no key {name!r}" in said
    assert meant in said.partition("Did you mean")[2]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("trainings.sdss.surveys", ["sds"], "trainings.sdss.surveys names 'sds'. Did you mean 'sdss'"),
        ("trainings.sdss.zeroed", ["sds"], "names 'sds'"),
        ("trainings.mixed.budget", "sds", "trainings.mixed.budget names 'sds'. Did you mean 'sdss'"),
        ("trainings.mixed.budget", "mixed", "trainings.mixed.budget names 'mixed'"),
        ("trainings.sdss.budget", "mixed", "which has a budget itself"),
        ("trainings.sdss.select", "overlap", "needs two surveys"),
        ("models.ridge.embeddings", "ful", "models.ridge.embeddings names 'ful'. Did you mean 'full'"),
        ("models.ridge.embeddings", "mean", "models.ridge.embeddings names 'mean'"),
        ("models.ridge.trainings", ["mixt"], "models.ridge.trainings names 'mixt'. Did you mean 'mixed'"),
        ("models.full.trainings", ["sdss"], "models.ridge on full.trainings has training sets that full"),
        ("models.ridge on full.budgets", True, "full, which it needs, needs budgets: true as well"),
        ("models.full.set", {"init": "ridge"}, "models.full.set.init is 'ridge', which is no fine-tune"),
        ("models.full.set", {"init": "full"}, "models.full needs full: none is first"),
        ("models.full.embeddings", "full", "embeddings goes with head"),
        ("models.ridge.set", {"a": 1}, "set goes with finetune"),
        ("models.ridge.finetune", "full", "either a head or a fine-tune"),
        ("models.ridge.head", None, "either a head or a fine-tune"),
        ("tests", ["ukidss"], "tests names 'ukidss'"),
        ("reference", {"model": "rigde"}, "reference.model names 'rigde'. Did you mean 'ridge'"),
        ("reference", {"training": "sds"}, "reference.training names 'sds'. Did you mean 'sdss'"),
        ("surveys.sdss.catalog", None, "a survey needs a catalog, or a store"),
        ("surveys.decals", {"store": "a.h5"}, "fine-tunes see images: give every survey a catalog"),
        (
            "models",
            {"mean": {"head": "mean"}, "away": {"head": "ridge", "trainings": ["mixed"]}},
            "reference.model is 'away', which does not learn from 'sdss'",
        ),
        ("budgets", [0, 50], "budgets is [0, 50]: whole numbers from 1 were expected, each once"),
        ("recalibration", {"labels": [30, 30]}, "recalibration.labels is [30, 30]: whole numbers from 1"),
        ("recalibration", {"draws": 1}, "recalibration.draws is 1; allowed: a whole number, at least 2"),
        ("resamples", 100, "resamples is 100; allowed: a whole number, at least 10000"),
        ("protocol", "publisht", "Did you mean 'published'?"),
        ("seeds.redraw", 0, "seeds.redraw is 0; allowed: a number, above 0 and at most 1"),
        ("models", {}, "models is {}"),
    ],
)
def test_what_refers_to_nothing_is_refused(file: Path, name: str, value: Any, said: str) -> None:
    assert said in explain(file, name, value)


def test_fine_tunes_that_need_each_other_are_refused(file: Path) -> None:
    models = {"a": {"finetune": "full", "set": {"init": "b"}}, "b": {"finetune": "full", "set": {"init": "a"}}}
    assert "models.a needs b, which needs a: none is first" in explain(file, "models", models)


@pytest.mark.parametrize("names", [("a b", "a_b"), ("Ridge", "ridge"), ("a b c", "a_b c")])
@pytest.mark.parametrize(("section", "value"), [("models", {"head": "mean"}), ("trainings", {"surveys": ["sdss"]})])
def test_names_that_become_one_file_are_refused(
    file: Path, names: tuple[str, str], section: str, value: dict[str, Any]
) -> None:
    keys = {"surveys": {"sdss": {"catalog": "a.parquet"}}, "backbone": "tiny", "trainings": {"t": {"surveys": "sdss"}}}
    keys |= {"models": {"m": {"head": "mean"}}} | {section: dict.fromkeys(names, value)}
    with pytest.raises(ConfigError, match=f"{section}: '{names[0]}' and '{names[1]}' become one name of files"):
        load_suite(write(file, keys))


@pytest.mark.parametrize("name", ["a/b", " a", "a ", "", "a--b", "-a", "a-"])
@pytest.mark.parametrize("section", ["surveys", "trainings", "models"])
def test_names_that_are_none_of_files_are_refused(file: Path, name: str, section: str) -> None:
    value = {"surveys": {"catalog": "a"}, "trainings": {"surveys": ["sdss"]}, "models": {"head": "mean"}}[section]
    assert f"{section} has the name {name!r}" in explain(file, section, KEYS[section] | {name: value})


def test_set_replaces_keys_below_names(file: Path) -> None:
    suite = load_suite(file, ["surveys.sdss.catalog=x.parquet", "trainings.mixed.balance=equal", "seeds.heads=7"])
    assert (suite.surveys["sdss"].catalog, suite.surveys["decals"].catalog) == (
        Path("x.parquet"),
        Path("decals.parquet"),
    )
    assert (suite.trainings["mixed"].balance, suite.seeds.heads) == ("equal", 7)
    with pytest.raises(
        ConfigError, match=r"--set surveys.sdss.catalogs=x: there is no key .*Did you mean 'surveys.sdss"
    ):
        load_suite(file, ["surveys.sdss.catalogs=x"])
    with pytest.raises(ConfigError, match=r"--set: seeds\.heads is 0; allowed: a whole number, at least 1"):
        load_suite(file, ["seeds.heads=0"])


def test_words_that_yaml_takes_for_truth_are_names(file: Path) -> None:
    file.write_text(
        "surveys: {on: {catalog: a.parquet}, 2: {catalog: b.parquet}}\nbackbone: tiny\n"
        "trainings: {no: {surveys: 'on'}, yes: {surveys: ['2'], budget: 'no'}}\nmodels: {off: {head: mean}}\n"
    )
    suite = load_suite(file)
    assert ([*suite.surveys], [*suite.trainings], [*suite.models]) == (["on", "2"], ["no", "yes"], ["off"])
    assert suite.trainings["yes"].surveys == ("2",)
    file.write_text(suite.to_yaml())
    assert load_suite(file) == suite
    with pytest.raises(ConfigError, match="the key 'on' stands twice"):
        load_suite(write_text(file, "surveys: {on: {catalog: a}, on: {catalog: b}}\n"))


def write_text(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def test_merged_mappings_are_read(file: Path) -> None:
    file.write_text(
        "surveys: {sdss: {catalog: a.parquet}}\nbackbone: tiny\ntrainings: {sdss: {surveys: sdss}}\n"
        "models:\n  ridge: &model {head: ridge, seeds: 2}\n  knn: {<<: *model, head: knn}\n"
    )
    assert (load_suite(file).models["knn"].head, load_suite(file).models["knn"].seeds) == ("knn", 2)


@pytest.mark.parametrize("name", ["demo", "label-efficiency", "layers", "mixed", "published", "stages", "survey-shift"])
def test_shipped_suites_load_and_round_trip(name: str, tmp_path: Path) -> None:
    assert name in list_suites()
    suite = load_suite(name)
    file = write_text(tmp_path / "copy.yaml", suite.to_yaml())
    assert load_suite(file) == suite
    assert load_suite(file).digest == suite.digest
    assert suite.question
    assert suite.protocol == ("published" if name == "published" else "sound")


CHANGES = [
    ("title", "x"), ("question", "x"), ("protocol", "published"), ("objects", "same"),
    ("surveys.sdss.images", "x"), ("backbone", "x"), ("revision", "x"), ("extraction.layers", [2]),
    ("extraction.size", 28), ("spaces", "each"), ("targets", ["bar_*"]), ("min_votes", 3), ("split.seed", 1),
    ("split.method", "blocks"), ("trainings.sdss.size", 28), ("trainings.mixed.zeroed", ["decals"]),
    ("budgets", [50]), ("models.ridge.seeds", 3), ("models.full.set", {"training.epochs": 2}), ("tests", ["sdss"]),
    ("test_size", 28), ("seeds.first", 1), ("seeds.redraw", 1.0), ("resamples", 20_000),
    ("reference", {"model": "mean"}), ("audit", False), ("recalibration.draws", 3),
]  # fmt: skip


def test_the_digest_changes_with_any_key(file: Path) -> None:
    digests = [load_suite(file).digest] + [load_suite(write(file, change(KEYS, *one))).digest for one in CHANGES]
    assert len(set(digests)) == len(CHANGES) + 1
    assert {name.partition(".")[0] for name, _ in CHANGES} == {*Suite.model_fields}  # none is forgotten
    assert load_suite(write(file, dict(reversed(KEYS.items())))).digest == digests[0]


def test_references_are_chosen_where_none_is_named(file: Path) -> None:
    suite = load_suite(file)
    assert (suite.reference_model, suite.reference_training) == ("ridge", "sdss")  # the mean looks at nothing
    assert suite.tested == ("sdss", "decals")
    only = load_suite(write(file, change(KEYS, "models", {"mean": {"head": "mean"}})))
    assert only.reference_model == "mean"
    away = {"knn": {"head": "knn", "trainings": ["mixed"]}, "ridge": {"head": "ridge"}}
    assert load_suite(write(file, KEYS | {"models": away})).reference_model == "ridge"  # knn is not where it is asked


def test_budgets_are_for_heads_on_frozen_embeddings_and_the_reference_training_set(file: Path) -> None:
    suite = load_suite(write(file, change(KEYS, "budgets", [30, 10])))
    listed = {(m, t): suite.list_budgets(m, t) for m in suite.models for t in suite.trainings}
    assert listed["ridge", "sdss"] == (30, 10, 0)
    assert {budgets for (m, t), budgets in listed.items() if t == "mixed" or m in ("full", "ridge on full")} == {(0,)}


def test_a_folder_of_the_suites_name_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stages").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_suite("stages").title == "Stages"
