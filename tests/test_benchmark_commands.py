"""What the commands that audit and score print, write and refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from embeddings.questions import Question
from embeddings.store import EmbeddingStore
from extract.catalog import catalog_from_folder
from heads import FittedHead
from heads.io import make_head
from sommelier import main
from tests.benchmarks.stores import SPACE, write_pictured
from tests.test_commands import run

ODD = Question("odd")


def fail(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 1, result.output
    return result.output


@pytest.fixture
def catalogs(image_folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Forty images, and copies of three of them under other names; no positions."""
    (tmp_path / "few").mkdir()
    for number in range(3):
        (tmp_path / f"few/copy{number}.png").write_bytes((image_folder / f"g{number:02}.png").read_bytes())
    paths = tmp_path / "all.parquet", tmp_path / "few.parquet"
    for path, folder in zip(paths, (image_folder, tmp_path / "few"), strict=True):
        catalog_from_folder(folder, path.stem).write(path)
    return paths


def test_audit_says_what_it_found_and_what_it_could_not_check(catalogs: tuple[Path, Path], tmp_path: Path) -> None:
    leaks = tmp_path / "leaks.parquet"
    output = run("benchmark", "audit", *catalogs, "-o", leaks)
    lines = {line.split("│")[1].strip(): line for line in output.splitlines() if line.startswith("│")}
    assert [cell.strip() for cell in lines["image"].split("│")[2:4]] == ["3", "3"]
    assert [cell.strip() for cell in lines["position"].split("│")[2:4]] == ["not checkable"] * 2
    assert "only stores have embeddings" in lines["embedding"]
    assert "3 of 3 rows, 3 of 3 sky objects of B are in A" in output
    assert f"{leaks}: 3 pairs" in output
    table = pd.read_parquet(leaks)
    assert table[["id_a", "id_b", "test"]].to_numpy().tolist() == [
        [f"g{number:02}", f"copy{number}", "image"] for number in range(3)
    ]
    record = json.loads(run("benchmark", "audit", *catalogs, "--json"))
    assert {test["test"]: test["rows"] for test in record["tests"]} == {
        "id": 0, "position": None, "image": 3, "embedding": None,
    }  # fmt: skip
    assert record["found"] == {"rows": 3, "objects": 3, "complete": False}


def test_audit_loads_no_torch(catalogs: tuple[Path, Path]) -> None:
    code = (
        "import sys, sommelier\ntry: sommelier.main(['benchmark', 'audit', *sys.argv[1:]])\n"
        "finally: print('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *catalogs], capture_output=True, text=True, check=True)
    assert "sky objects of B are in A" in done.stdout
    assert "torch" not in done.stdout.split("LOADED")[1].split()


def test_audit_refuses_before_it_works(catalogs: tuple[Path, Path], tmp_path: Path) -> None:
    before = catalogs[1].read_bytes()
    assert "would lose it" in fail("benchmark", "audit", *catalogs, "-o", catalogs[1])
    assert catalogs[1].read_bytes() == before
    assert "does not exist" in fail("benchmark", "audit", catalogs[0], tmp_path / "none.parquet")
    assert "does not exist" in fail("benchmark", "audit", catalogs[0], tmp_path / "none.h5")
    assert "is not a head" in fail("benchmark", "audit", *catalogs, "--head", tmp_path)
    assert CliRunner().invoke(main, ["benchmark", "audit", "a", "b", "--radius", "0"]).exit_code == 2


def test_audit_scores_a_head_with_and_without_what_leaked(tmp_path: Path, rng: np.random.Generator) -> None:
    a, b = tmp_path / "a.h5", tmp_path / "b.h5"
    write_pictured(a, "sdss", 80, 1, 32, (ODD,), odd_fraction=rng.uniform(size=80))
    write_pictured(b, "ukidss", 80, 2, 32, (ODD,), odd_fraction=rng.uniform(size=80))
    store = EmbeddingStore.open(b)
    table = store.table()
    head = make_head("knn", (ODD,), k_choices=(1,)).fit(table.X, table.Y)
    FittedHead(head, SPACE, store.space_id(SPACE), store.provenance.model, table.ids).save(tmp_path / "head")
    output = run("benchmark", "audit", a, b, "--head", tmp_path / "head")
    assert "0 of 80 rows, 0 of 80 sky objects of B are in A" in output
    assert "at least 0 of 80" not in output  # every test could look at every row
    rows = {line.split("│")[1].strip(): line for line in output.splitlines() if line.startswith("│")}
    assert "1.000 [1.000, 1.000]" in rows["before"]
    assert "+0.000 [+0.000, +0.000]" in rows["paired difference"]
    assert "80 galaxies have ids that the head or its backbone was trained on" in output
    output = run("benchmark", "audit", b, b, "--head", tmp_path / "head")  # all of it
    assert "80 of 80 rows" in output
    assert "0 labelled galaxies are left without those in A: too few for a score" in output
    record = json.loads(run("benchmark", "audit", b, b, "--head", tmp_path / "head", "--json"))["head"]
    assert (record["n_before"], record["n_after"], record["after"]) == (80, 0, None)
    catalog = tmp_path / "c.parquet"
    catalog_from_folder(tmp_path / "sdss-images", "c").write(catalog)
    assert "a head is scored on embeddings, and" in fail("benchmark", "audit", a, catalog, "--head", tmp_path / "head")


def test_score_of_the_studys_file(tmp_path: Path, rng: np.random.Generator) -> None:
    columns = ["t02_edgeon_a04_yes_fraction", "t02_edgeon_a05_no_fraction"]
    yes = rng.uniform(0.5, 1, size=50)
    Y = np.stack([yes, 1 - yes], axis=1)
    Y[:5] = 0
    study = tmp_path / "study.npz"
    np.savez(study, true_labels=Y, predictions=np.full((50, 2), [0.7, 0.3]), label_columns=columns)
    output = run("benchmark", "score", study)
    assert "their means alone, predicted for every galaxy, have a pooled r of" in output
    assert "the square of pooled r" in output
    assert "10 labels (10%) are zeros of questions that nobody was asked" in output
    assert "disk-edge-on" in output
    asked = run("benchmark", "score", study, "--drop-unasked")
    assert "are zeros" not in asked
    record = json.loads(run("benchmark", "score", study, "--json"))
    assert {"pooled_r", "pooled_r_squared", "r2", "mae", "mse", "per_target"} <= set(record)
    assert record["questions"] == [{"question": "disk-edge-on", "accuracy": 1.0, "majority": 1.0, "n": 45}]
    assert "holds its own labels" in fail("benchmark", "score", study, study)


def test_score_of_a_heads_predictions(image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = [image_folder / "labels.csv", "--images", image_folder, "--id", "name", "--image", "file"]
    run("catalog", "table", *table, "--label", "kind", "--label", "odd", "-o", "all.parquet")
    labels = pd.read_parquet("all.parquet")
    predicted = labels[["id_str"]].assign(kind_flat=0.4, kind_round=0.6, odd=labels["odd_fraction"] * 0.5)
    predicted.to_parquet("predictions.parquet")
    output = run("benchmark", "score", "predictions.parquet", "all.parquet")
    assert "these predictions" in output
    assert "vote-noise ceiling" not in output  # nobody voted
    record = json.loads(run("benchmark", "score", "predictions.parquet", "all.parquet", "--json"))
    by_name = {target["target"]: target for target in record["per_target"]}
    assert by_name["odd"]["r"] == pytest.approx(1)
    assert by_name["kind_flat"]["r"] is None
    (kind,) = record["questions"]
    # every third of forty is flat, the first among them: 14 of 40
    assert (kind["accuracy"], kind["majority"], kind["n"]) == (26 / 40, 26 / 40, 40)
    assert "holds no labels" in fail("benchmark", "score", "predictions.parquet")
