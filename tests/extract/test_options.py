"""Stores made with the backbone of a fine-tuning run."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from embeddings.errors import ProvenanceMismatch, RunError, SommelierError
from embeddings.export import export_store
from embeddings.relabel import relabel_store
from embeddings.store import EmbeddingStore
from embeddings.summary import summarise_store
from extract.catalog import Catalog, catalog_from_table
from extract.checks import verify_deep
from extract.options import Options, choose_pools, choose_recipe, read_run_rendering
from extract.pipeline import extract_embeddings
from extract.preprocessing import Recipe
from extract.weights import find_backbone
from tests.runs import write_run, write_split

FAST: dict[str, Any] = {"batch_size": 4, "workers": 1, "threads": 1}
PARTS = ["train"] * 12 + ["val"] * 4 + ["test"] * 4  # of g00 to g19; the run does not know the others


@pytest.fixture
def catalog(image_folder: Path) -> Catalog:
    labels = ["kind", "odd"]
    return catalog_from_table(image_folder / "labels.csv", image_folder, "name", "file", labels, survey="sky")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    ids = [f"g{number:02}" for number in range(20)]
    return write_run(tmp_path / "run", write_split(tmp_path / "run" / "split.parquet", ids, PARTS))


def take(catalog: Catalog, rows: Any) -> Catalog:
    return Catalog(catalog.frame.iloc[rows].reset_index(drop=True), catalog.questions, catalog.image_root)


def embed(catalog: Catalog, backbone: Path, output: Path, **options: Any) -> EmbeddingStore:
    store = extract_embeddings(catalog, str(backbone), output, **(FAST | options))
    assert store is not None
    assert store.verify() == []
    return store


def test_a_run_is_embedded_with_its_own_recipe_and_tells_parts(catalog: Catalog, run: Path, tmp_path: Path) -> None:
    store = embed(catalog, run, tmp_path / "s.h5")
    assert store.parts.tolist() == PARTS + [""] * 20
    model = store.provenance.model
    assert (model["resize"]["recipe"], model["resize"]["size"]) == ("whole", 56)
    assert model["normalisation"] == {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    weights = run / "backbone" / "model.safetensors"
    assert model["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert [space.name for space in store.spaces] == ["L3-cls"]
    split = hashlib.sha256((run / "split.parquet").read_bytes()).hexdigest()
    assert store.provenance.runs[-1]["finetune"] == {"run": str(run.resolve()), "split_sha256": split}
    summary = summarise_store(store.path)["finetune"]
    assert {name: summary[name] for name in ("train", "val", "test", "unknown")} == {
        "train": 12, "val": 4, "test": 4, "unknown": 20,
    }  # fmt: skip
    assert verify_deep(store, 3).problems == []


def test_the_vectors_are_those_of_the_plain_folder(catalog: Catalog, tmp_path: Path) -> None:
    few, plain, run = take(catalog, range(6)), tmp_path / "plain", tmp_path / "run"
    digest = write_split(run / "split.parquet", ["g03"], ["test"])
    write_run(run, digest, recipe={"name": "whole", "size": 56, "mean": Recipe.mean, "std": Recipe.std})
    shutil.copytree(run / "backbone", plain)
    tuned, folder = embed(few, run, tmp_path / "tuned.h5"), embed(few, plain, tmp_path / "plain.h5", size=56)
    np.testing.assert_array_equal(tuned.vectors(), folder.vectors())
    assert tuned.space_id(tuned.spaces[0]) == folder.space_id(folder.spaces[0])
    assert not folder.has_parts
    # the same weights, now with what the run knows: nothing is embedded, the parts are written
    again = embed(few, run, tmp_path / "plain.h5")
    assert again.parts.tolist() == ["", "", "", "test", "", ""]
    assert again.provenance.runs[-1]["finetune"]["split_sha256"] == digest
    # and cannot get lost again
    with pytest.raises(SommelierError, match=rf"knows which galaxies.*--backbone {run}"):
        embed(few, plain, tmp_path / "plain.h5", size=56)


def test_the_backbone_folder_of_a_run_is_the_run(catalog: Catalog, run: Path, tmp_path: Path) -> None:
    assert embed(take(catalog, range(4)), run / "backbone", tmp_path / "s.h5").parts.tolist() == ["train"] * 4


def test_parts_survive_more_rows_shards_labels_and_export(catalog: Catalog, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    embed(take(catalog, range(15)), run, path)
    late = take(catalog, range(10, 25))
    assert extract_embeddings(late, str(run), path, shard=(1, 2), **FAST) is None
    store = extract_embeddings(late, str(run), path, shard=(2, 2), **FAST)
    assert store is not None
    parts = dict(zip(store.ids.tolist(), store.parts.tolist(), strict=True))
    assert [parts[f"g{number:02}"] for number in range(25)] == PARTS + [""] * 5
    relabel_store(path, catalog.columns, catalog.ids, ())
    relabelled = EmbeddingStore.open(path)
    assert relabelled.parts.tolist() == store.parts.tolist()
    export_store(relabelled, tmp_path / "vectors.parquet")
    table = pd.read_parquet(tmp_path / "vectors.parquet")
    assert list(table) == ["id_str", "status", "part", "L3-cls"]
    assert table.set_index("id_str")["part"].to_dict() == parts


def test_rows_match_by_position_and_by_image(catalog: Catalog, tmp_path: Path, image_folder: Path) -> None:
    """Another survey's names: g05 by its position (10.5, -5.5), g07 by its file."""
    run = tmp_path / "run"
    picture = hashlib.sha256((image_folder / "g07.png").read_bytes()).digest()
    digest = write_split(
        run / "split.parquet", ["p", "q"], ["train", "val"], [10.5, 200], [-5.5, 0], [bytes(32), picture]
    )
    store = embed(take(catalog, range(4, 9)), write_run(run, digest), tmp_path / "s.h5")
    assert store.parts.tolist() == ["", "train", "", "val", ""]


def test_a_rerun_writes_nothing(catalog: Catalog, run: Path, tmp_path: Path) -> None:
    few = take(catalog, range(4))
    embed(few, run, tmp_path / "s.h5")
    before = (tmp_path / "s.h5").stat().st_mtime_ns
    embed(few, run, tmp_path / "s.h5")
    assert (tmp_path / "s.h5").stat().st_mtime_ns == before


def test_runs_that_cannot_be_used(catalog: Catalog, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "0" * 64, status="training", epoch=3)
    with pytest.raises(RunError, match=r"3 of 10 epochs.*sommelier finetune .*config\.yaml"):
        find_backbone(str(run))
    with pytest.raises(RunError, match="3 of 10 epochs"):
        find_backbone(str(run / "backbone"))
    write_run(run, "0" * 64)
    write_split(run / "split.parquet", ["g00"], ["test"])
    with pytest.raises(RunError, match="not the split that the run used"):
        embed(catalog, run, tmp_path / "s.h5")
    assert not (tmp_path / "s.h5.parts").exists()


def test_another_size_is_allowed_and_said_aloud(catalog: Catalog, run: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="fine-tuned with --size 56 --recipe whole, and now sees --size 28"):
        store = embed(take(catalog, range(4)), run, tmp_path / "s.h5", size=28)
    assert store.provenance.model["resize"]["size"] == 28
    with pytest.raises(ProvenanceMismatch, match="28 there"):
        embed(take(catalog, range(4)), run, tmp_path / "s.h5")


def test_what_is_taken_where_nothing_is_asked_for(run: Path) -> None:
    found = find_backbone(str(run)).run
    assert choose_recipe(Options(), None) == (Recipe("whole", 224), "")
    assert choose_recipe(Options(size=112, recipe="hf"), None) == (Recipe("hf", 112), "")
    own = Recipe("whole", 56, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert choose_recipe(Options(), found) == (own, "")
    assert choose_recipe(Options(size=56), found) == (own, "")
    recipe, caution = choose_recipe(Options(recipe="hf"), found)
    assert (recipe.name, recipe.size, recipe.mean) == ("hf", 56, own.mean)
    assert "now sees --size 56 --recipe hf" in caution
    assert choose_pools(Options(), None) == ("cls",)
    assert choose_pools(Options(pools=("patch-mean",)), found) == ("patch-mean",)
    assert choose_pools(Options(), found) == ("cls",)


def test_the_poolings_that_the_runs_head_reads(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "0" * 64, space={"layer": 3, "pooling": "cls+patch-mean"})
    assert choose_pools(Options(), find_backbone(str(run)).run) == ("cls", "patch-mean")


@pytest.mark.parametrize("recipe", [{}, {"name": "whole", "size": "large", "mean": [], "std": []}, None])
def test_a_record_without_a_recipe(recipe: Any, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "0" * 64, recipe=recipe)
    with pytest.raises(RunError, match="no recipe that can be read"):
        choose_recipe(Options(), find_backbone(str(run)).run)


def test_a_record_whose_rendering_cannot_be_read(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "0" * 64, rendering={"stretch": {"name": "unheard-of"}})
    with pytest.raises(RunError, match="no rendering that can be read"):
        read_run_rendering(find_backbone(str(run)).run)
    assert read_run_rendering(None) is None
