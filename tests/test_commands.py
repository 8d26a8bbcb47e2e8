"""Every command: help with an example, a place in the docs, errors without tracebacks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pandas as pd
import pytest
from click.testing import CliRunner

from extract.weights import find_backbone
from sommelier import main

ROOT = Path(__file__).parents[1]


def walk(group: click.Group, name: str = "sommelier") -> Iterator[tuple[str, click.Command]]:
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from walk(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


COMMANDS = dict(walk(main))


def run(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example(name: str) -> None:
    assert re.search(rf"^  {name}( |$)", run(*name.split()[1:], "--help"), re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented_with_its_example(name: str) -> None:
    text = (ROOT / "docs/commands.md").read_text()
    section = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert f"\n    {name}" in section
    assert f"`{name.removeprefix('sommelier ')}`" in (ROOT / "docs/api.md").read_text()


def test_help_loads_no_heavy_module() -> None:
    code = "import sys, sommelier\ntry: sommelier.main(['extract', '--help'])\nfinally: print('LOADED', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split("LOADED")[1].split()
    assert not {"torch", "numpy", "pandas", "h5py", "sklearn", "transformers", "rich"} & set(loaded)


def test_a_misspelt_command_gets_the_nearest() -> None:
    result = CliRunner().invoke(main, ["exctract"])
    assert result.exit_code == 2
    assert "Did you mean 'extract'?" in result.output


def test_errors_have_no_traceback_and_exit_1(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["info", str(tmp_path / "nothing.h5")])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "does not exist. Make it with: sommelier extract" in result.output
    assert isinstance(result.exception, SystemExit)


def test_the_whole_way_from_a_table_to_predictions(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    labels = image_folder / "labels.csv"
    table = ["catalog", "table", labels, "--images", image_folder, "--id", "name", "--image", "file"]
    run(*table, "--label", "kind", "--label", "odd", "-o", "all.parquet")
    layers = ["--layer", "3", "--layer", "-1", "--pool", "cls", "--pool", "patch-mean", "--size", "56"]
    output = run("extract", "all.parquet", "--backbone", "tiny", "-o", "all.h5", *layers)
    assert "untrained" not in output
    assert "40 rows, 40 ok, 0 failed; L3-cls, L3-patch-mean, L6-cls, L6-patch-mean" in output

    info = json.loads(run("info", "all.h5", "--json"))
    assert (info["rows"], info["ok"], info["failed"]) == (40, 40, 0)
    assert "every checksum and digest is right" in run("verify", "all.h5", "--deep", "5")

    run("export", "all.h5", "--to", "vectors.parquet")
    vectors = pd.read_parquet("vectors.parquet")
    assert list(vectors) == ["id_str", "status", "L3-cls", "L3-patch-mean", "L6-cls", "L6-patch-mean"]
    assert vectors["id_str"].tolist() == [f"g{number:02}" for number in range(40)]
    assert {len(vector) for vector in vectors["L6-cls"]} == {192}

    record = json.loads(run("head", "fit", "all.h5", "--head", "ridge", "-o", "heads/ridge", "--json"))
    assert [score["target"] for score in record["scores"]] == ["kind_flat", "kind_round", "odd"]
    assert {"target", "r", "r2", "mae", "auc", "n"} <= set(record["scores"][0])
    output = run("head", "predict", "heads/ridge", "all.h5", "-o", "predictions.parquet")
    assert "40 of them have ids that the head was fitted on" in output
    assert list(pd.read_parquet("predictions.parquet")) == ["id_str", "kind_flat", "kind_round", "odd"]

    run(*table, "--label", "size", "-o", "size.parquet")
    assert "40 rows relabelled with size" in run("relabel", "all.h5", "size.parquet")
    record = json.loads(run("head", "fit", "all.h5", "--head", "mean", "-o", "heads/mean", "--json"))
    assert record["scores"][0]["target"] == "size"
    assert record["scores"][0]["auc"] is None
    assert record["scores"][0]["r2"] < 0.01  # the mean of other galaxies explains nothing


def test_one_store_a_survey(image_folder: Path, tmp_path: Path) -> None:
    for survey in ("north", "south"):
        run("catalog", "folder", image_folder, "--survey", survey, "-o", tmp_path / f"{survey}.parquet")
    catalogs = [tmp_path / "north.parquet", tmp_path / "south.parquet"]
    run("extract", *catalogs, "--backbone", "tiny", "--size", "28", "-o", tmp_path / "{survey}.h5")
    assert json.loads(run("info", tmp_path / "south.h5", "--json"))["survey"] == "south"


def test_dry_run_writes_nothing(image_folder: Path, tmp_path: Path) -> None:
    run("catalog", "folder", image_folder, "-o", tmp_path / "c.parquet")
    output = run("extract", tmp_path / "c.parquet", "--backbone", "tiny", "-o", tmp_path / "s.h5", "--dry-run")
    assert "40 rows, 40 to embed, about" in output
    assert [path.name for path in tmp_path.iterdir()] == ["c.parquet"]


def test_an_untrained_network_is_announced(
    image_folder: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("catalog", "folder", image_folder, "-o", tmp_path / "c.parquet")
    source = replace(find_backbone(str(tiny_folder)), trained=False)
    monkeypatch.setattr("extract.pipeline.find_backbone", lambda *_: source)
    output = run("extract", tmp_path / "c.parquet", "--backbone", "x", "--size", "28", "-o", "s.h5", "--dry-run")
    assert "x is untrained: random weights, to try things out with." in output


def test_verify_exits_1_on_damage(image_folder: Path, tmp_path: Path) -> None:
    run("catalog", "folder", image_folder, "-o", tmp_path / "c.parquet")
    store = tmp_path / "s.h5"
    run("extract", tmp_path / "c.parquet", "--backbone", "tiny", "--size", "28", "-o", store)
    data = bytearray(store.read_bytes())
    position = data.index(b"g00g01g02")  # the ids
    data[position + 1] = ord("9")
    store.write_bytes(data)
    result = CliRunner().invoke(main, ["verify", str(store)])
    assert result.exit_code == 1
    assert "id_str, rows 0 to 39: the bytes do not match their checksum" in result.output


def test_no_output_replaces_what_is_not_its_own(image_folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_bytes((image_folder / "labels.csv").read_bytes())
    table = ["catalog", "table", labels, "--images", image_folder, "--id", "name", "--image", "file", "--label", "odd"]
    assert "would lose it" in CliRunner().invoke(main, [*map(str, table), "-o", str(labels)]).output
    run(*table, "-o", tmp_path / "c.parquet")
    store = tmp_path / "s.h5"
    run("extract", tmp_path / "c.parquet", "--backbone", "tiny", "--size", "28", "-o", store)
    run("head", "fit", store, "-o", tmp_path / "head", "--head", "mean")
    before = store.read_bytes()
    for words in (["head", "predict", tmp_path / "head", store, "-o"], ["export", store, "--to"]):
        result = CliRunner().invoke(main, [*map(str, words), str(store)])
        assert result.exit_code == 1
    result = CliRunner().invoke(main, ["head", "fit", str(store), "-o", str(tmp_path)])
    assert result.exit_code == 1
    assert store.read_bytes() == before
    assert labels.read_bytes() == (image_folder / "labels.csv").read_bytes()


def test_relabel_says_which_rows_lost_their_labels(image_folder: Path, tmp_path: Path) -> None:
    lines = (image_folder / "labels.csv").read_text().splitlines(keepends=True)
    (tmp_path / "few.csv").write_text("".join(lines[:11]))
    run("catalog", "folder", image_folder, "-o", tmp_path / "all.parquet")
    run("extract", tmp_path / "all.parquet", "--backbone", "tiny", "--size", "28", "-o", tmp_path / "s.h5")
    few = ["catalog", "table", tmp_path / "few.csv", "--images", image_folder, "--id", "name", "--image", "file"]
    run(*few, "--label", "kind", "-o", tmp_path / "few.parquet")
    output = run("relabel", tmp_path / "s.h5", tmp_path / "few.parquet")
    assert "10 rows relabelled with kind" in output
    assert "30 rows of the store are not in the catalog and have no labels now" in output
