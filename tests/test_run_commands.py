"""A fine-tuning run's folder on the command line: its backbone, its split, its head."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from embeddings.provenance import Space
from embeddings.questions import Question
from embeddings.store import EmbeddingStore
from heads import FittedHead
from heads.finetuned import FineTunedHead
from sommelier import main
from tests.runs import write_run, write_split
from tests.test_commands import run

IDS = [f"g{number:02}" for number in range(40)]
PARTS = ["train"] * 24 + ["val"] * 8 + ["test"] * 8


@pytest.fixture
def catalog(image_folder: Path, tmp_path: Path) -> Path:
    table = [image_folder / "labels.csv", "--images", image_folder, "--id", "name", "--image", "file"]
    run("catalog", "table", *table, "--label", "odd", "-o", tmp_path / "all.parquet")
    return tmp_path / "all.parquet"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", write_split(tmp_path / "run" / "split.parquet", IDS, PARTS))


def test_from_a_run_to_scores_and_predictions(catalog: Path, folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "tuned.h5"
    output = run("extract", catalog, "--backbone", folder, "-o", store)
    assert "40 rows, 40 ok, 0 failed; L3-cls" in output
    assert "untrained" not in output
    finetune = json.loads(run("info", store, "--json"))["finetune"]
    assert finetune["run"] == str(folder.resolve())
    assert [finetune[part] for part in ("train", "val", "test", "unknown")] == [24, 8, 8, 0]

    record = json.loads(run("head", "fit", store, "-o", tmp_path / "ridge", "--json"))
    assert record["details"]["split"] == "the split of the backbone's run: 24 train, 8 val, 8 test"
    assert record["scores"][0]["n"] == 8

    opened = EmbeddingStore.open(store)
    layers = [(np.ones((32, 1), np.float32), np.zeros(1, np.float32))]
    head = FineTunedHead.from_layers((Question("odd"),), layers)
    space = Space(3, "cls")
    FittedHead(head, space, opened.space_id(space), opened.provenance.model, np.array(IDS[:24])).save(folder / "head")
    output = run("head", "predict", folder, store, "-o", tmp_path / "predictions.parquet")
    assert "24 of them are galaxies that the run was trained on" in output
    assert f"{folder}/metrics.json" in output
    table = pd.read_parquet(tmp_path / "predictions.parquet")
    sums = opened.read_vectors(space).sum(axis=1)
    np.testing.assert_allclose(table["odd"], 1 / (1 + np.exp(-sums)), rtol=1e-5)

    run("extract", catalog, "--backbone", "tiny", "--size", "28", "-o", tmp_path / "tiny.h5")
    result = CliRunner().invoke(main, ["head", "predict", str(folder), str(tmp_path / "tiny.h5"), "-o", "p.parquet"])
    assert result.exit_code == 1
    assert f"sommelier extract CATALOG --backbone {folder} --layer 3 --pool cls -o STORE" in result.output


def test_another_size_is_said_aloud(catalog: Path, folder: Path, tmp_path: Path) -> None:
    output = run("extract", catalog, "--backbone", folder, "--size", "28", "-o", tmp_path / "s.h5")
    assert "was fine-tuned with --size 56 --recipe whole, and now sees --size 28" in output


def test_a_run_that_never_finished(catalog: Path, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "0" * 64, status="training", epoch=3)
    words = ["extract", str(catalog), "--backbone", str(folder), "-o", str(tmp_path / "s.h5")]
    for command in (words, ["head", "predict", str(folder), "s.h5", "-o", "p.parquet"]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 1
        assert (
            f"3 of 10 epochs are done, and its backbone and head come last. Go on with: sommelier finetune {folder}"
            in (result.output)
        )
