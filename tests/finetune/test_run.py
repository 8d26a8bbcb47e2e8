from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from astropy.io import fits

from embeddings.errors import SommelierError
from embeddings.provenance import Space
from embeddings.runs import RunRecord
from embeddings.store import EmbeddingStore
from extract.catalog import Catalog, catalog_from_table
from extract.pipeline import extract_embeddings
from finetune.config import Config, load_config
from finetune.data import TrainingError
from finetune.run import Run, finetune
from finetune.tracking import read_log
from heads.io import load_head
from heads.metrics import pearson_r, score_pooled

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def catalog(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty galaxies in eight places: neighbours on the sky are one object."""
    path = tmp_path_factory.mktemp("catalogs") / "mine.parquet"
    made = catalog_from_table(image_folder / "labels.csv", image_folder, "name", "file", ["kind", "odd"])
    return made.write(path)


def settle(catalog: Path, backbone: Path, run: Path, **changes: Any) -> Config:
    values = {
        "run": run, "data.catalogs": [str(catalog)], "model.backbone": backbone, "data.size": 28, "training.epochs": 2,
        "training.batch_size": 8, "model.head": "{hidden: [8], dropout: 0.1}", "split.val": 0.2, "split.test": 0.2,
        "training.threads": 1, "data.weights": "none",
    } | {name.replace("__", "."): value for name, value in changes.items()}  # fmt: skip
    return load_config("full", [f"{key}={value}" for key, value in values.items()])


@pytest.fixture(scope="module")
def run(catalog: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finetune(settle(catalog, tiny_folder, tmp_path_factory.mktemp("runs") / "full"))


@pytest.fixture(scope="module")
def store(run: Run, catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    """The same galaxies through extraction with the run's backbone."""
    made = extract_embeddings(
        Catalog.read(catalog), str(run.folder), tmp_path_factory.mktemp("stores") / "run.h5", storage="float32"
    )
    assert made is not None
    return made


def test_a_run_leaves_everything_it_promises(run: Run, catalog: Path) -> None:
    files = {path.name for path in run.folder.iterdir()}
    assert files >= {"run.json", "config.yaml", "split.parquet", "log.jsonl", "curves.png", "metrics.json", "README.md",
                     "predictions.parquet", "checkpoints", "backbone", "head"}  # fmt: skip
    assert "images" not in files  # the cache goes when it is of no more use
    split = pd.read_parquet(run.folder / "split.parquet")
    assert list(split) == ["id_str", "survey", "ra", "dec", "image_sha256", "group", "part"]
    assert split["part"].value_counts().to_dict() == run.metrics["split"]
    assert sorted(split["id_str"]) == sorted(Catalog.read(catalog).ids)
    assert split.groupby("group")["part"].nunique().max() == 1
    log = read_log(run.folder / "log.jsonl")
    epochs = [record for record in log if record["kind"] == "epoch"]
    assert [record["epoch"] for record in epochs] == [1, 2]
    assert len(log) - 2 == run.metrics["steps"] == epochs[-1]["step"]
    card = (run.folder / "README.md").read_text()
    assert f"{run.metrics['split']['test']} test" in card
    assert f"fine-tuned from `{run.record['backbone']['name']}`,\n" in card  # trained: nothing else is said
    average = run.metrics["test"]["average"]
    r, error = ("-" if average[name] is None else f"{average[name]:.3f}" for name in ("r", "mae"))
    assert f"| mean over targets | {r} |" in card
    assert f"| {error} |" in card


def test_transformers_alone_loads_the_backbone(run: Run, tiny_folder: Path) -> None:
    script = (
        "import sys; from transformers import AutoModel; m = AutoModel.from_pretrained(sys.argv[1]);"
        "print(type(m).__name__, sum(p.numel() for p in m.parameters()))"
    )
    command = [sys.executable, "-c", script, str(run.folder / "backbone")]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    name, n_parameters = done.stdout.split()[-2:]
    assert name == "Dinov2Model"
    from transformers import AutoModel

    before = AutoModel.from_pretrained(tiny_folder)
    after = AutoModel.from_pretrained(run.folder / "backbone")
    assert int(n_parameters) == sum(parameter.numel() for parameter in before.parameters())
    moved = [
        not torch.equal(a, b)
        for (_, a), (_, b) in zip(before.named_parameters(), after.named_parameters(), strict=True)
    ]
    assert sum(moved) >= len(moved) - 1  # all but the mask token


def test_extraction_and_head_give_the_predictions_of_the_run(run: Run, store: EmbeddingStore) -> None:
    predictions = load_head(run.folder).predict(store)
    frame = pd.read_parquet(run.folder / "predictions.parquet").set_index("id_str")
    rows = [predictions.ids.tolist().index(id_str) for id_str in frame.index]
    np.testing.assert_allclose(predictions.P[rows], frame[predictions.targets].to_numpy(), atol=1e-5)
    assert predictions.seen == run.metrics["split"]["train"]
    # what the run scored is what those predictions score
    catalog_rows = [store.ids.tolist().index(id_str) for id_str in frame.index]
    Y = store.labels(store.questions)[0][catalog_rows]
    P = frame[predictions.targets].to_numpy()
    for number, score in enumerate(run.metrics["test"]["scores"]):
        assert score["n"] == len(frame)
        if score["r"] is not None:
            assert score["r"] == pytest.approx(pearson_r(Y[:, number], P[:, number]), abs=1e-5)
    assert run.metrics["test"]["pooled"]["mae"] == pytest.approx(score_pooled(Y, P)["mae"], abs=1e-6)


def test_the_store_knows_what_the_run_did_with_its_galaxies(run: Run, store: EmbeddingStore) -> None:
    split = pd.read_parquet(run.folder / "split.parquet").set_index("id_str")["part"]
    assert store.parts.tolist() == split.loc[store.ids].tolist()
    assert store.space(-1, "cls") == Space(2, "cls")


def test_a_finished_run_returns_at_once_and_another_configuration_is_refused(
    run: Run, catalog: Path, tiny_folder: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.is_file()}
    again = finetune(settle(catalog, tiny_folder, run.folder))
    assert again.metrics == run.metrics
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(TrainingError, match=r"training.epochs: 2 \(there\), 5 \(here\)"):
        finetune(settle(catalog, tiny_folder, run.folder, training__epochs=5))


def test_other_peoples_folders_are_left_alone(catalog: Path, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("words")
    with pytest.raises(TrainingError, match="holds other things"):
        finetune(settle(catalog, tiny_folder, tmp_path))
    with pytest.raises(TrainingError, match="is a file"):
        finetune(settle(catalog, tiny_folder, tmp_path / "thesis.tex"))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_stages_start_from_backbone_and_head_of_the_first(catalog: Path, tiny_folder: Path, tmp_path: Path) -> None:
    first = finetune(settle(catalog, tiny_folder, tmp_path / "head", model__method="head"))
    frozen = first.folder / "backbone" / "model.safetensors"
    assert frozen.stat().st_size == (tiny_folder / "model.safetensors").stat().st_size
    rates = {"training__learning_rate": 1e-12, "training__head_learning_rate": 1e-12}  # nothing moves
    second = finetune(settle(catalog, tiny_folder, tmp_path / "full", init=first.folder, **rates))
    assert second.record["backbone"]["name"] == str(first.folder)
    a, b = (pd.read_parquet(run.folder / "predictions.parquet").set_index("id_str") for run in (first, second))
    np.testing.assert_allclose(a.to_numpy(), b.loc[a.index].to_numpy(), atol=0.02)  # running moments move a little
    with pytest.raises(TrainingError, match=r"predicts kind_flat.*same data.targets"):
        finetune(settle(catalog, tiny_folder, tmp_path / "x", init=first.folder, data__targets="[odd]"))
    with pytest.raises(SommelierError, match=r"is not a run: it has no run\.json"):
        finetune(settle(catalog, tiny_folder, tmp_path / "z", init=tiny_folder))
    with pytest.raises(TrainingError, match="another shape"):
        finetune(settle(catalog, tiny_folder, tmp_path / "y", init=first.folder, model__head="{hidden: [4]}"))
    shutil.rmtree(first.folder / "checkpoints")
    with pytest.raises(TrainingError, match=r"best.safetensors is not there any more. Start from .*model.backbone="):
        finetune(settle(catalog, tiny_folder, tmp_path / "y", init=first.folder))


def test_a_followed_split_is_that_of_the_other_run(run: Run, catalog: Path, tiny_folder: Path, tmp_path: Path) -> None:
    other = finetune(
        settle(catalog, tiny_folder, tmp_path / "other", seed=7, split__file=run.folder / "split.parquet",
               model__method="head", training__epochs=1)
    )  # fmt: skip
    a, b = (pd.read_parquet(r.folder / "split.parquet").set_index("id_str")["part"] for r in (run, other))
    assert a.to_dict() == b.to_dict()


def test_a_run_on_a_run_tests_on_no_galaxy_that_either_was_trained_on(
    run: Run, catalog: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    whole = Catalog.read(catalog)
    few = Catalog(whole.frame.iloc[5:].reset_index(drop=True), whole.questions, whole.image_root)
    few.write(tmp_path / "few.parquet")
    quick = {"model__method": "head", "training__epochs": 1, "seed": 7}
    before = pd.read_parquet(run.folder / "split.parquet").set_index("id_str")["part"]
    for key in ("init", "model__backbone"):
        other = finetune(settle(tmp_path / "few.parquet", tiny_folder, tmp_path / key, **quick, **{key: run.folder}))
        after = pd.read_parquet(other.folder / "split.parquet").set_index("id_str")["part"]
        assert after.to_dict() == before.to_dict()  # also those that it was not given
        assert sum(other.metrics["split"].values()) == len(few)
        assert finetune(settle(tmp_path / "few.parquet", tiny_folder, tmp_path / key, **quick, **{key: run.folder}))


def test_galaxies_that_a_followed_split_does_not_name_are_left_out(
    run: Run, catalog: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    """Everything has its own place here, so that nothing is matched but by name."""
    whole = Catalog.read(catalog)
    frame = whole.frame.assign(ra=np.arange(len(whole)) * 1.0)
    Catalog(frame, whole.questions, whole.image_root).write(tmp_path / "all.parquet")
    split = pd.read_parquet(run.folder / "split.parquet").assign(ra=np.nan, image_sha256=[bytes(32)] * len(whole))
    kept = split[split["id_str"] != whole.ids[0]]
    kept.to_parquet(tmp_path / "split.parquet")
    config = settle(tmp_path / "all.parquet", tiny_folder, tmp_path / "run", split__file=tmp_path / "split.parquet",
                    model__method="head", training__epochs=1)  # fmt: skip
    with pytest.warns(UserWarning, match=r"1 galaxies are left out: .*split.parquet does not name them"):
        finetune(config)
    assert (
        RunRecord.open(config.run).read_split().ids.tolist()
        == kept.set_index("id_str").loc[whole.ids[1:]].index.tolist()
    )


def test_fits_images_are_drawn_by_extraction_as_the_run_drew_them(
    catalog: Path, tiny_folder: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    whole = Catalog.read(catalog)
    for number in range(len(whole)):
        planes = rng.normal(0, 0.02, (3, 40, 40)) + rng.uniform(0, 1, (3, 1, 1)) * np.hanning(40)[:, None]
        fits.writeto(tmp_path / f"{number}.fits", planes.astype(np.float32))
    frame = whole.frame.assign(image=[f"{number}.fits" for number in range(len(whole))])
    drawn = Catalog(frame, whole.questions, str(tmp_path))
    config = settle(drawn.write(tmp_path / "fits.parquet"), tiny_folder, tmp_path / "run",
                    data__bands="['2', '1', '0']", data__stretch="lupton:Q=3", model__method="head",
                    training__epochs=1)  # fmt: skip
    made = finetune(config)
    own = extract_embeddings(drawn, str(made.folder), tmp_path / "own.h5", storage="float32")
    assert own is not None
    assert own.provenance.images == made.record["rendering"]
    predictions = load_head(made.folder).predict(own)
    frame = pd.read_parquet(made.folder / "predictions.parquet").set_index("id_str")
    rows = [predictions.ids.tolist().index(id_str) for id_str in frame.index]
    np.testing.assert_allclose(predictions.P[rows], frame[predictions.targets].to_numpy(), atol=1e-5)
    with pytest.warns(UserWarning, match=r"drawn otherwise than these .*bands.*stretch"):
        extract_embeddings(drawn, str(made.folder), tmp_path / "other.h5", stretch="asinh", bands=("0",))


def test_a_start_that_failed_leaves_the_folder_to_the_next(catalog: Path, tiny_folder: Path, tmp_path: Path) -> None:
    quick = {"model__method": "head", "training__epochs": 1}
    with pytest.raises(SommelierError, match="fewer than a step takes"):
        finetune(settle(catalog, tiny_folder, tmp_path / "run", training__batch_size=500, seed=9, **quick))
    left = tmp_path / "run" / ".backbone.123.tmp"
    left.mkdir()  # of a process that was killed
    (tmp_path / "run" / ".log.jsonl.123.tmp").touch()
    made = finetune(settle(catalog, tiny_folder, tmp_path / "run", **quick))
    assert load_config(made.folder / "config.yaml").seed == 0
    assert not list(made.folder.glob(".*.tmp"))


def test_adapters_are_merged_and_votes_have_a_spread(catalog: Path, tiny_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="adapters need the extra lora")
    changes = {"model__method": "lora", "training__loss": "dirichlet-multinomial", "model__pooling": "cls+patch-mean",
               "data__cache": "false"}  # fmt: skip
    made = finetune(settle(catalog, tiny_folder, tmp_path / "lora", **changes))
    from safetensors import safe_open

    with safe_open(made.folder / "backbone" / "model.safetensors", "np") as weights:
        assert not [name for name in weights.keys() if "lora" in name]  # noqa: SIM118 - it is no mapping
    both = extract_embeddings(Catalog.read(catalog), str(made.folder), tmp_path / "both.h5", storage="float32")
    assert both is not None
    assert both.spaces == (Space(2, "cls"), Space(2, "patch-mean"))  # what the run's head reads, without being asked
    predictions = load_head(made.folder).predict(both)
    frame = pd.read_parquet(made.folder / "predictions.parquet").set_index("id_str")
    rows = [predictions.ids.tolist().index(id_str) for id_str in frame.index]
    np.testing.assert_allclose(predictions.P[rows], frame[predictions.targets].to_numpy(), atol=1e-5)
    assert {"kind_flat_std", "odd_std"} <= predictions.columns.keys()


def test_images_that_cannot_be_read_are_left_out_and_too_many_stop_it(
    image_folder: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(image_folder / "labels.csv")
    table.loc[:1, "file"] = "missing.png"
    table.to_csv(tmp_path / "labels.csv", index=False)
    made = catalog_from_table(tmp_path / "labels.csv", image_folder, "name", "file", ["kind"])
    made.write(tmp_path / "some.parquet")
    with pytest.warns(UserWarning, match="2 galaxies are left out"):
        run = finetune(settle(tmp_path / "some.parquet", tiny_folder, tmp_path / "run", training__epochs=1))
    assert sum(run.metrics["split"].values()) == 38
    table.loc[:9, "file"] = "missing.png"
    table.to_csv(tmp_path / "labels.csv", index=False)
    made = catalog_from_table(tmp_path / "labels.csv", image_folder, "name", "file", ["kind"])
    made.write(tmp_path / "few.parquet")
    with pytest.raises(TrainingError, match="10 of 40 images cannot be read"):
        finetune(settle(tmp_path / "few.parquet", tiny_folder, tmp_path / "run2"))


def test_a_run_goes_on_only_with_the_galaxies_it_began_with(
    image_folder: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    made = catalog_from_table(image_folder / "labels.csv", image_folder, "name", "file", ["kind"])
    made.write(tmp_path / "c.parquet")
    config = settle(tmp_path / "c.parquet", tiny_folder, tmp_path / "run")
    finished = finetune(config)
    record = json.loads((config.run / "run.json").read_text())
    (config.run / "run.json").write_text(json.dumps(record | {"status": "training"}))  # as if stopped at the end
    again = finetune(config)
    assert again.metrics == finished.metrics
    (config.run / "run.json").write_text(json.dumps(record | {"status": "training"}))
    Catalog(made.frame.iloc[1:].reset_index(drop=True), made.questions, made.image_root).write(tmp_path / "c.parquet")
    with pytest.raises(TrainingError, match=r"not those that .* began with"):
        finetune(config)


def test_a_damaged_checkpoint_says_so(catalog: Path, tiny_folder: Path, tmp_path: Path, run: Run) -> None:
    config = settle(catalog, tiny_folder, tmp_path / "run")
    finetune(config)
    record = json.loads((config.run / "run.json").read_text())
    (config.run / "run.json").write_text(json.dumps(record | {"status": "training"}))
    last = config.run / "checkpoints" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(TrainingError, match=r"last.safetensors is damaged"):
        finetune(config)


def test_a_size_that_is_no_multiple_of_the_patch_is_refused(catalog: Path, tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SommelierError, match="not a multiple of the 14-pixel patches"):
        finetune(settle(catalog, tiny_folder, tmp_path / "run", data__size=30))


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_as_if_nothing_had_happened(
    run: Run, catalog: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    config = settle(catalog, tiny_folder, tmp_path / "killed", training__checkpoint_steps=1)
    config_file = tmp_path / "config.yaml"
    config_file.write_text(config.to_yaml())
    script = (
        "import sys, time; from pathlib import Path; import finetune.train as t\n"
        "step = t.Trainer._take_step\n"
        "t.Trainer._take_step = lambda *a: (time.sleep(0.3), step(*a))[1]\n"
        "from finetune.config import load_config; from finetune.run import finetune\n"
        "finetune(load_config(sys.argv[1]))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for steps in (1, 4):
        process = subprocess.Popen([sys.executable, "-c", script, str(config_file)], env=environment, cwd=tmp_path)
        log, started = config.run / "log.jsonl", time.monotonic()
        while not (log.exists() and len(read_log(log)) >= steps):
            assert process.poll() is None
            assert time.monotonic() - started < 120
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with pytest.raises(SommelierError, match="is not finished"):
            load_head(config.run)
    killed = finetune(load_config(config_file))
    assert killed.metrics["test"] == run.metrics["test"]
    for name in ("backbone/model.safetensors", "head/model.safetensors", "predictions.parquet"):
        assert (killed.folder / name).read_bytes() == (run.folder / name).read_bytes(), name
