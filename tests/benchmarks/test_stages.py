from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from benchmarks.stages import compare_stages
from embeddings.errors import HeadError
from embeddings.runs import RunRecord
from embeddings.store import EmbeddingStore
from extract.catalog import Catalog, catalog_from_table
from extract.pipeline import extract_embeddings
from finetune.config import load_config
from finetune.run import finetune


def extract(catalog: Path, backbone: Path, store: Path) -> EmbeddingStore:
    made = extract_embeddings(Catalog.read(catalog), str(backbone), store, size=28, storage="float32")
    assert made is not None
    return made


def test_stages_are_scored_on_the_test_galaxies_alone(image_folder: Path, tiny_folder: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c.parquet"
    catalog_from_table(image_folder / "labels.csv", image_folder, "name", "file", ["odd"]).write(catalog)
    settings = {"run": tmp_path / "run", "data.catalogs": [str(catalog)], "model.backbone": tiny_folder,
                "data.size": 28, "training.epochs": 1, "training.batch_size": 8, "model.head": "{hidden: []}",
                "split.val": 0.25, "split.test": 0.35, "data.weights": "none"}  # fmt: skip
    run = finetune(load_config("full", [f"{key}={value}" for key, value in settings.items()]))
    frozen = extract(catalog, tiny_folder, tmp_path / "frozen.h5")
    tuned = extract(catalog, run.folder, tmp_path / "tuned.h5")
    stages, n = compare_stages(RunRecord.open(run.folder), [frozen], [tuned], ["ridge"])
    assert [stage.name for stage in stages] == [
        "random, frozen",
        "ridge, frozen",
        "fine-tune",
        "ridge, fine-tuned",
    ]
    parts = pd.read_parquet(run.folder / "split.parquet").set_index("id_str")["part"]
    assert n == (parts == "test").sum()

    # the ridge by hand: learned from train alone, with some penalty
    order = [frozen.ids.tolist().index(id_str) for id_str in parts.index]
    X, y = frozen.read_vectors(frozen.spaces[0])[order].astype(np.float64), frozen.labels(frozen.questions)[0][order]
    train, test = (parts.to_numpy() == part for part in ("train", "test"))
    assert stages[1].scores["auc"].value == pytest.approx(roc_auc_score(y[test, 0], stages[1].P[:, 0]))
    scaler = StandardScaler().fit(X[train])
    candidates = [
        Ridge(alpha).fit(scaler.transform(X[train]), y[train, 0]).predict(scaler.transform(X[test]))
        for alpha in np.logspace(-6, 8, 400)
    ]
    apart = min(float(np.abs(np.clip(P, 0, 1) - stages[1].P[:, 0]).max()) for P in candidates)
    assert apart < 0.02
    own = pd.read_parquet(run.folder / "predictions.parquet").set_index("id_str")
    np.testing.assert_allclose(stages[2].P, own.loc[parts.index[test]].to_numpy(), atol=1e-5)
    # paired: a stage less itself is nothing, on every resample
    assert not np.nanmax(np.abs((stages[2].scores["mae"] - stages[2].scores["mae"]).draws))
    low, high = stages[2].scores["auc"].interval
    assert 0 <= low <= stages[2].scores["auc"].value <= high <= 1


def test_surveys_that_asked_different_questions(image_folder: Path, tiny_folder: Path, tmp_path: Path) -> None:
    catalogs, frozen, tuned = [], [], []
    for number, target in enumerate(("odd", "kind")):
        made = catalog_from_table(image_folder / "labels.csv", image_folder, "name", "file", [target])
        rows = made.frame.iloc[number::2].reset_index(drop=True).assign(survey=target)
        catalogs.append(Catalog(rows, made.questions, made.image_root).write(tmp_path / f"{target}.parquet"))
    settings = {"run": tmp_path / "run", "data.catalogs": [str(path) for path in catalogs], "data.size": 28,
                "model.backbone": tiny_folder, "training.epochs": 1, "training.batch_size": 8, "split.val": 0.25,
                "split.test": 0.35, "data.weights": "none"}  # fmt: skip
    run = finetune(load_config("head", [f"{key}={value}" for key, value in settings.items()]))
    for path in catalogs:
        frozen.append(extract(path, tiny_folder, tmp_path / f"{path.stem}-frozen.h5"))
        tuned.append(extract(path, run.folder, tmp_path / f"{path.stem}-tuned.h5"))
    stages, n = compare_stages(RunRecord.open(run.folder), frozen, tuned, ["ridge"])
    assert n == run.metrics["split"]["test"]
    assert all(stage.P.shape == (n, len(run.record["targets"])) for stage in stages)
    scores = [s["mae"] for s in run.metrics["test"]["scores"] if s["r2"] is not None]  # of labels that vary
    assert stages[2].scores["mae"].value == pytest.approx(np.mean(scores), abs=1e-5)


def test_a_store_that_lacks_galaxies_of_the_run_is_refused(
    image_folder: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    catalog, part = tmp_path / "c.parquet", tmp_path / "part.parquet"
    made = catalog_from_table(image_folder / "labels.csv", image_folder, "name", "file", ["odd"])
    made.write(catalog)
    Catalog(made.frame.iloc[:30].reset_index(drop=True), made.questions, made.image_root).write(part)
    settings = {"run": tmp_path / "run", "data.catalogs": [str(catalog)], "model.backbone": tiny_folder,
                "data.size": 28, "training.epochs": 1, "training.batch_size": 8, "model.method": "head",
                "data.weights": "none"}  # fmt: skip
    run = finetune(load_config("head", [f"{key}={value}" for key, value in settings.items()]))
    store = extract(part, tiny_folder, tmp_path / "part.h5")
    with pytest.raises(HeadError, match=r"10 galaxies of .* are not in"):
        compare_stages(RunRecord.open(run.folder), [store], [store])
