"""Fine-tunes in a suite: who they learn from, what they start from, what their backbones' embeddings are worth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from benchmarks import runner
from benchmarks.cells import Cell
from benchmarks.finetunes import digest_finetune, digest_tested, find_start, order_finetunes
from benchmarks.gathering import read_record
from benchmarks.results import CELLS, Results
from benchmarks.runner import Prepared, run_suite
from benchmarks.samples import Sample
from benchmarks.suite import Suite
from benchmarks.trainings import draw_training, find_choosers
from embeddings.files import hash_file
from embeddings.provenance import Space
from embeddings.runs import RunRecord, Split
from embeddings.store import EmbeddingStore
from extract.catalog import Catalog
from finetune.train import Trainer
from heads.io import make_head
from tests.benchmarks.pictures import NUMBERS, SETTINGS, draw, make_pictured, write_catalog, write_sky
from tests.benchmarks.suites import prepare_suite, read_tables
from tests.extract.models import save_model
from tests.test_commands import run

MODELS: dict[str, dict[str, Any]] = {
    "ridge": {"head": "ridge"},
    "ridge on two": {"head": "ridge", "embeddings": "two"},
    "two": {"finetune": "full", "set": SETTINGS | {"init": "one"}},
    "one": {"finetune": "head", "set": SETTINGS},
}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Several of torch's wait for each other longer than such networks compute."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sky(tmp_path_factory.mktemp("sky"))


@pytest.fixture(scope="module")
def suite(sky: Path) -> Suite:
    return make_pictured(sky, models=MODELS, objects="both")


@pytest.fixture(scope="module")
def tuned(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A ridge, a fine-tune of the head, a full one that starts from it, and a ridge on what that left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "write_report", lambda results: results.folder)
        return run_suite(suite, tmp_path_factory.mktemp("results") / "bench")


def find_run(results: Results, model: str) -> Path:
    (folder,) = (results.folder / "runs").glob(f"sdss--{model}--s0-*")
    return folder


def read_tuned(results: Results, sample: Sample | str) -> EmbeddingStore:
    survey = sample if isinstance(sample, str) else sample.survey
    (file,) = (results.folder / "cache").glob(f"sdss--two--s0-*/{survey}.h5")
    return EmbeddingStore.open(file)


def load(results: Results, model: str, test: str) -> np.ndarray:
    with np.load(results.folder / CELLS / f"sdss--{model.replace(' ', '_')}--s0.npz") as saved:
        return np.asarray(saved[test])


@pytest.mark.slow
def test_a_run_knows_the_drawn_galaxies_and_no_test(tuned: Results, suite: Suite) -> None:
    tables = prepare_suite(suite, tuned.folder).bench.tables
    rows = draw_training(tables, suite, "sdss", 0)["sdss"]
    choosers = find_choosers(tables, suite.trainings["sdss"])["sdss"]
    assert 20 < len(rows) < (tables["sdss"].parts == "train").sum()  # a share of 0.8 of them
    for model in ("one", "two"):
        split = Split.read(find_run(tuned, model) / "split.parquet")
        assert set(split.ids[split.parts == "train"]) == set(tables["sdss"].ids[rows])
        assert set(split.ids[split.parts == "val"]) == set(tables["sdss"].ids[choosers])
        known = {name.rpartition("-")[2] for name in split.ids.tolist()}  # sky objects
        for sample in tuned.samples.values():
            tested = {name.rpartition("-")[2] for name in sample.ids.tolist()}
            assert tested
            assert sample.objects == "same" or not tested & known


@pytest.mark.slow
def test_a_fine_tune_starts_from_the_one_that_it_names(tuned: Results) -> None:
    one, two = find_run(tuned, "one"), RunRecord.open(find_run(tuned, "two")).record
    first = RunRecord.open(one).record
    assert Path(two["backbone"]["name"]).resolve() == one.resolve()
    with EmbeddingStore.open(next((tuned.folder / "cache").glob("backbone-*/sdss.h5"))) as store:
        assert first["backbone"]["weights_sha256"] == store.provenance.model["weights_sha256"]
    assert two["backbone"]["weights_sha256"] == hash_file(one / "backbone" / "model.safetensors")


@pytest.mark.slow
def test_predictions_are_those_of_head_predict(tuned: Results, tmp_path: Path) -> None:
    for sample in tuned.samples.values():
        with read_tuned(tuned, sample) as store:
            run("head", "predict", find_run(tuned, "two"), store.path, "-o", tmp_path / "p.parquet")
        table = pd.read_parquet(tmp_path / "p.parquet").set_index("id_str")
        expected = table.loc[sample.ids.tolist(), tuned.targets].to_numpy()
        np.testing.assert_allclose(load(tuned, "two", sample.name), expected, atol=1e-6)
    assert len(tuned.samples) == 3


@pytest.mark.slow
def test_a_head_on_it_reads_its_embeddings(tuned: Results, suite: Suite) -> None:
    tables = prepare_suite(suite, tuned.folder).bench.tables
    table = tables["sdss"]
    rows = np.concatenate([draw_training(tables, suite, "sdss", 0)["sdss"], np.flatnonzero(table.parts == "val")])
    with read_tuned(tuned, "sdss") as store:
        place = {name: row for row, name in enumerate(store.ids.tolist())}
        whole = store.read_vectors(Space(3, "cls"))
        assert Path(store.provenance.runs[-1]["finetune"]["run"]) == find_run(tuned, "two").resolve()
    X = whole[[place[name] for name in table.ids[rows].tolist()]]
    head = make_head("ridge", tuned.questions, random_state=0)
    head.fit(X, table.Y[rows], table.votes[rows], table.groups[rows], table.parts[rows] == "val")
    sample = tuned.samples["sdss-new"]
    expected = head.predict(whole[[place[name] for name in sample.ids.tolist()]])
    np.testing.assert_allclose(load(tuned, "ridge on two", "sdss-new"), expected, atol=1e-5)
    assert not np.allclose(expected, load(tuned, "ridge--L3-cls", "sdss-new"), atol=1e-3)


@pytest.mark.slow
def test_costs_are_known(tuned: Results) -> None:
    (entry,) = tuned.pick(model="two", test="sdss-new")
    assert entry.costs["train_seconds"] > 0
    assert entry.costs["extract_seconds"] > 0
    assert entry.costs["device"] == "1 x cpu"
    assert entry.macro["r"].label == "single run"
    assert any(
        one["backbone"] == str(find_run(tuned, "two")) for one in read_record(tuned.folder)["costs"]["extraction"]
    )


@pytest.mark.slow
def test_a_second_run_trains_and_fits_nothing(tuned: Results, suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("all is there")

    monkeypatch.setattr(runner, "write_report", lambda results: results.folder)
    for name in ("tune_cell", "fit_cell"):
        monkeypatch.setattr(runner, name, refuse)
    faster = suite.extraction.model_copy(update={"threads": 2, "batch_size": 8})
    again = run_suite(suite.model_copy(update={"extraction": faster}), tuned.folder)
    assert [entry.macro["r"].value for entry in again.entries] == [entry.macro["r"].value for entry in tuned.entries]


@pytest.mark.slow
def test_a_lost_record_costs_no_second_training(tuned: Results, suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill after the fine-tune and before its cell: the finished run is found, and asked again."""

    def refuse(*arguments: Any) -> None:
        raise AssertionError("the run is finished")

    monkeypatch.setattr(runner, "write_report", lambda results: results.folder)
    monkeypatch.setattr(Trainer, "train", refuse)
    before = load(tuned, "two", "sdss-new")
    (tuned.folder / CELLS / "sdss--two--s0.json").unlink()
    run_suite(suite, tuned.folder)
    np.testing.assert_array_equal(load(tuned, "two", "sdss-new"), before)


@pytest.mark.slow
def test_stores_that_a_run_made_do_not_test_what_it_learned(tuned: Results, tmp_path: Path) -> None:
    with read_tuned(tuned, "sdss") as store:
        stores = {"sdss": {"store": str(store.path)}}
    split = Split.read(find_run(tuned, "two") / "split.parquet")
    known = {name.rpartition("-")[2] for name in split.ids.tolist()}
    other = {"val": 0.2, "test": 0.5, "seed": 5}  # it puts what the run learned from on the test side
    suite = make_pictured(tmp_path, surveys=stores, split=other)
    tables = read_tables(suite)
    on_test_side = [name.rpartition("-")[2] for name in tables["sdss"].ids[tables["sdss"].parts == "test"].tolist()]
    prepared = prepare_suite(suite, tmp_path / "run")
    kept = [name.rpartition("-")[2] for name in prepared.bench.samples["sdss-new"].ids.tolist()]
    assert kept == [name for name in on_test_side if name not in known]
    assert prepared.excluded["sdss-new"] == len(on_test_side) - len(kept) > 10


# keys


def find_keys(suite: Suite, folder: Path, tested: bool = False) -> dict[str, str]:
    """The keys of the fine-tunes, or of their cells, by model."""
    prepared = prepare_suite(suite, folder)
    keys = _chain(suite, prepared)
    if not tested:
        return keys
    bench, split = prepared.bench, prepared.split
    return {model: digest_tested(bench, Cell("sdss", model, 0), key, split) for model, key in keys.items()}


def _chain(suite: Suite, prepared: Prepared) -> dict[str, str]:
    keys: dict[Cell, str] = {}
    for model in order_finetunes(suite):
        cell = Cell("sdss", model, 0)
        keys[cell] = digest_finetune(prepared.bench, cell, keys, prepared.split)
    return {cell.model: key for cell, key in keys.items()}


def change(suite: Suite, model: str, **settings: Any) -> Suite:
    asked = suite.models[model]
    models = suite.models | {model: asked.model_copy(update={"set": asked.set | settings})}
    return suite.model_copy(update={"models": models})


def test_keys_of_fine_tunes_follow_settings_and_what_they_start_from(suite: Suite, tmp_path: Path) -> None:
    prepared = prepare_suite(suite, tmp_path / "run")

    def keys(changed: Suite) -> Mapping[str, str]:
        return _chain(changed, replace(prepared, bench=replace(prepared.bench, suite=changed)))

    first = keys(suite)
    assert keys(suite) == first
    faster = suite.extraction.model_copy(update={"device": "cuda", "threads": 8, "workers": 2})
    for same in (
        suite.model_copy(update={"extraction": faster, "title": "x"}),
        change(suite, "two", **{"training.threads": 3}),
    ):
        assert keys(same) == first
    longer = keys(change(suite, "two", **{"training.epochs": 2}))
    assert (longer["one"], longer["two"] == first["two"]) == (first["one"], False)
    before = keys(change(suite, "one", **{"training.epochs": 2}))
    assert before["one"] != first["one"]
    assert before["two"] != first["two"]  # it starts from another one
    smaller = suite.extraction.model_copy(update={"size": 14})
    assert not set(keys(suite.model_copy(update={"extraction": smaller})).values()) & set(first.values())


def test_keys_of_fine_tunes_follow_the_file_of_the_configuration(suite: Suite, tmp_path: Path) -> None:
    prepared = prepare_suite(suite, tmp_path / "run")
    file = tmp_path / "mine.yaml"

    def key(dropout: float) -> str:
        file.write_text(
            f"run: r\ndata: {{catalogs: a.parquet}}\nmodel: {{backbone: b, head: {{dropout: {dropout}}}}}\n"
        )
        models = {"mine": suite.models["one"].model_copy(update={"finetune": str(file)})}
        changed = suite.model_copy(update={"models": models})
        return _chain(changed, replace(prepared, bench=replace(prepared.bench, suite=changed)))["mine"]

    assert key(0.1) == key(0.1) != key(0.2)


def test_keys_of_fine_tunes_follow_backbone_and_images(tmp_path: Path) -> None:
    sky = write_sky(tmp_path / "sky")
    suite = make_pictured(sky, models=MODELS)
    first = find_keys(suite, tmp_path / "run")
    (sky / "backbone").rename(sky / "moved")
    moved = find_keys(suite.model_copy(update={"backbone": str(sky / "moved")}), tmp_path / "a")
    (sky / "moved").rename(sky / "backbone")
    assert moved != first  # a name is part of what a run tells of itself
    save_model(sky / "backbone", seed=3)
    assert find_keys(suite, tmp_path / "run")["one"] != first["one"]
    save_model(sky / "backbone")
    assert find_keys(suite, tmp_path / "run") == first
    asked = find_keys(suite, tmp_path / "run", tested=True)
    Image.fromarray(draw(30, "other")).save(sky / "ukidss-images" / "30.png")
    write_catalog(sky, "ukidss", range(20, 100), mag_r=15.0)  # made again
    assert find_keys(suite, tmp_path / "run") == first  # it is tested on these, and learns from others
    assert find_keys(suite, tmp_path / "run", tested=True)["one"] != asked["one"]
    Image.fromarray(draw(3, "other")).save(sky / "sdss-images" / "3.png")
    write_catalog(sky, "sdss", NUMBERS["sdss"], mag_r=15.0)
    assert find_keys(suite, tmp_path / "run")["one"] != first["one"]


def test_other_tests_train_nothing_anew(suite: Suite, tmp_path: Path) -> None:
    few = suite.model_copy(update={"tests": ("sdss",)})
    assert find_keys(few, tmp_path / "run") == find_keys(suite, tmp_path / "run")
    assert find_keys(few, tmp_path / "run", True)["one"] != find_keys(suite, tmp_path / "run", True)["one"]


# budgets, zeroed labels, other sizes


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the backbone of .* was fine-tuned with --size 42:UserWarning")
def test_a_budget_pays_for_what_chooses_as_well(sky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "write_report", lambda results: results.folder)
    models = {"one": {"finetune": "head", "set": SETTINGS, "budgets": True}, "ridge": {"head": "ridge"}}
    zeroed = {"sdss": {"surveys": ["sdss"], "zeroed": ["sdss"], "size": 42}}
    results = run_suite(
        make_pictured(sky, models=models, budgets=[20], trainings=zeroed, test_size=56), tmp_path / "bench"
    )
    (entry,) = results.pick(model="one", budget=20, test="sdss-new")
    assert entry.n_train == 16
    (folder,) = (results.folder / "runs").glob("sdss--one--n20--s0-*")
    split = Split.read(folder / "split.parquet")
    assert [int((split.parts == part).sum()) for part in ("train", "val")] == [16, 4]
    # what was learned are zeros, of images of 42 pixels
    (catalogs,) = (results.folder / "cache" / "catalogs").glob("sdss--one--n20--s0-*")
    assert not Catalog.read(catalogs / "sdss.parquet").labels()[0].any()
    assert RunRecord.open(folder).record["recipe"]["size"] == 42
    sizes = {}
    for file in (results.folder / "cache").glob("sdss--one--n20*/*.json"):
        cost = json.loads(file.read_text())["cost"]
        sizes[cost["survey"]] = cost["size"]
    assert sizes == {"sdss": 42, "ukidss": 56}


def test_starts_are_cells_of_the_same_seed_and_training_set(suite: Suite) -> None:
    assert find_start(suite, Cell("sdss", "two", 3, "", 20)) == Cell("sdss", "one", 3, "", 20)
    assert find_start(suite, Cell("sdss", "one", 3)) is None
    assert order_finetunes(suite) == ["one", "two"]


@pytest.mark.slow
def test_a_split_by_order_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects 60 to 131 choose or are tested in one survey and train in the other: rows keep the part of their own."""
    monkeypatch.setattr(runner, "write_report", lambda results: results.folder)
    sky = write_sky(tmp_path / "sky")
    write_catalog(sky, "decals", range(60, 180))
    surveys = {name: {"catalog": str(sky / f"{name}.parquet")} for name in ("sdss", "decals")}
    suite = make_pictured(
        sky, surveys=surveys, protocol="published", trainings={"mixed": {"surveys": ["sdss", "decals"]}},
        models={"one": {"finetune": "published_head", "set": {"training.epochs": 1, "training.threads": 1}}},
        split={"method": "sequential", "val": 0.2, "test": 0.3}, seeds={"redraw": 1, "finetunes": 1}, min_votes=0,
    )  # fmt: skip
    results = run_suite(suite, tmp_path / "bench")
    (folder,) = (results.folder / "runs").iterdir()
    split = Split.read(folder / "split.parquet")
    parts = {part: set(split.ids[split.parts == part]) for part in ("train", "val")}
    assert parts["train"] == {f"sdss-{n}" for n in range(80)} | {f"decals-{n}" for n in range(60, 120)}
    assert parts["val"] == {f"sdss-{n}" for n in range(80, 112)} | {f"decals-{n}" for n in range(120, 144)}
    assert results.entries[0].n_train == 140
