"""What the commands that fit, compare and use heads print and write."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from embeddings.provenance import Space
from embeddings.questions import Question
from heads.io import HEADS
from heads.linear import RidgeHead
from sommelier import main
from sommelier.heads import NAMES
from tests.heads.conftest import StoreMaker
from tests.test_commands import run

CLS = Space(12, "cls")
SIZE, NOISE = Question("size", kind="value"), Question("noise", kind="value")
SHAPE = Question("shape", ("round", "flat"))


class Sure(RidgeHead):
    """A ridge that knows its spread."""

    def predict_columns(self, X: np.ndarray) -> dict[str, np.ndarray]:
        return {"size_std": np.full(len(X), 0.5)}


@pytest.fixture
def store(make_store: StoreMaker, rng: np.random.Generator) -> Path:
    X = rng.normal(size=(100, 4)).astype(np.float32)
    share = np.clip(X[:, 1] / 6 + 0.5, 0, 1)
    columns = {"size": X[:, 0] + rng.normal(0, 0.1, 100), "noise": rng.normal(size=100)}
    columns |= {"shape_round_fraction": share, "shape_flat_fraction": 1 - share}
    return make_store({CLS: X}, columns, [SIZE, NOISE, SHAPE]).path


def test_the_docs_name_every_head() -> None:
    text = (Path(__file__).parents[2] / "docs/commands.md").read_text()
    assert re.findall(
        r"^\| `(\w+)` \|", text.split("## sommelier head fit")[1].split("\n## ")[0], re.MULTILINE
    ) == list(HEADS)


def test_the_help_names_every_head() -> None:
    assert re.split(r", | or ", NAMES) == list(HEADS)
    for command in ("fit", "compare"):
        assert NAMES in " ".join(run("head", command, "--help").split())


def test_fit_prints_scores(store: Path, tmp_path: Path) -> None:
    output = run("head", "fit", store, "-o", tmp_path / "head", "--targets", "s*")
    assert re.search(r"size .* 0\.9\d\d ± 0\.\d{3} .* 100 ", output)
    accuracy = re.search(r"leading answer to shape right: (\d\.\d{3}) ± \d\.\d{3} of 100 galaxies", output)
    assert accuracy is not None
    assert float(accuracy[1]) > 0.9
    assert "chosen inside the 5 folds: L12-cls in 5 (of L12-cls)" in output


def test_compare_prints_averages_targets_and_losses(store: Path) -> None:
    output = run("head", "compare", store, "--head", "ridge", "--head", "random")
    averages, targets = output.split("R2 of each target")
    assert "averages over 4 targets, 100 galaxies" in averages
    assert [head for head in ("mean", "ridge", "random") if re.search(rf"^│ {head} ", averages, re.MULTILINE)] == [
        "mean", "ridge", "random",
    ]  # fmt: skip
    for target in ("size", "noise", "shape_round", "shape_flat"):
        assert re.search(rf"^│ {target} .* 100 │$", targets, re.MULTILINE)
    assert re.search(r"random is worse than the mean \(R2\) on: .*size", output)
    assert not re.search(r"ridge is worse than the mean .*(size|shape)", output)


def test_compare_of_one_target_is_one_table(store: Path) -> None:
    output = run("head", "compare", store, "--head", "ridge", "--targets", "size")
    assert "size, 100 galaxies" in output
    assert "R2 of each target" not in output


def test_compare_as_json(store: Path) -> None:
    record = json.loads(run("head", "compare", store, "--head", "ridge", "--folds", "4", "--seed", "2", "--json"))
    mean, ridge = record["heads"]
    assert (mean["head"], ridge["head"]) == ("mean", "ridge")
    assert [score["target"] for score in ridge["scores"]] == ["size", "noise", "shape_round", "shape_flat"]
    assert ridge["details"]["folds"] == 4
    assert {"target", "r", "r2", "mae", "auc", "n"} <= set(ridge["scores"][0])
    assert "size" not in ridge["worse_than_mean"]
    assert ridge["seconds"] > 0


def test_compare_says_which_head_was_left_out(store: Path) -> None:
    output = run("head", "compare", store, "--head", "logistic", "--targets", "size")
    assert re.search(r"^logistic was left out: .*size", output, re.MULTILINE)


def test_an_unknown_head(store: Path) -> None:
    result = CliRunner().invoke(main, ["head", "compare", str(store), "--head", "rigde"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: the head 'rigde' is not known. Did you mean 'ridge'")


def test_predictions_have_the_spread(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, "ridge", f"{__name__}:Sure")
    run("head", "fit", store, "-o", tmp_path / "head", "--targets", "size")
    run("head", "predict", tmp_path / "head", store, "-o", tmp_path / "predictions.parquet")
    table = pd.read_parquet(tmp_path / "predictions.parquet")
    assert list(table) == ["id_str", "size", "size_std"]
    assert table["size_std"].tolist() == [0.5] * 100
