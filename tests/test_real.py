"""Real SDSS images with a trained backbone, as a user would run it: skipped where there are none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from embeddings.store import EmbeddingStore
from extract.catalog import Catalog, catalog_from_table
from extract.images import decode_image
from extract.pipeline import extract_embeddings
from finetune.predictor import make_network
from finetune.pretrain import Pretraining
from tests.test_commands import run

pytestmark = pytest.mark.slow
POOLS = ["--pool", "cls", "--pool", "patch-mean"]
SPACES = ["--layer", "7", "--layer", "-1", *POOLS]


@pytest.fixture(scope="module")
def spiral(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalog of 1,400 SDSS images with a noisy spiral label."""
    path = tmp_path_factory.mktemp("spiral") / "spiral.parquet"
    folder = real_data / "sdss_kaggle_spiral"
    table = [folder / "labels.csv", "--images", folder, "--id", "GalaxyID", "--image", "file", "--label", "class"]
    assert "1400 galaxies of spiral" in run("catalog", "table", *table, "-o", path)
    return path


@pytest.fixture(scope="module")
def store(spiral: Path, real_backbone: Path) -> Path:
    path = spiral.with_name("spiral.h5")
    output = run("extract", spiral, "--backbone", real_backbone, *SPACES, "-o", path)
    assert "1400 rows, 1400 ok, 0 failed" in output
    return path


def fit(store: Path, *options: str) -> dict[str, float]:
    record = json.loads(run("head", "fit", store, "-o", store.with_name("head"), "--json", *options))
    (score,) = [score for score in record["scores"] if score["target"] == "class_spirals"]
    assert score["n"] == 1400
    return score | {"space": record["space"]}


def test_the_store_is_what_it_says(store: Path, tmp_path: Path) -> None:
    output = run("verify", store, "--deep", "20")
    assert "every checksum and digest is right (1400 rows)" in output
    assert float(output.rsplit(maxsplit=1)[-1]) > 0.99999
    run("export", store, "--to", tmp_path / "vectors.parquet")
    vectors = pd.read_parquet(tmp_path / "vectors.parquet")
    assert np.stack(vectors["L7-patch-mean"]).shape == (1400, 384)
    assert (vectors["status"] == "ok").all()


def test_scores_are_where_others_found_them(store: Path) -> None:
    # a logistic probe of 1,000 of these images, resized to 256 and cropped to 224, had an AUC of about 0.85 on the last
    # CLS and about 0.88 on that of layer 7; the noise of 1,400 galaxies is about 0.01
    assert 0.83 < fit(store, "--layer", "12", "--pool", "cls")["auc"] < 0.90
    assert 0.85 < fit(store, "--layer", "7", "--pool", "cls")["auc"] < 0.92
    chosen = fit(store)
    assert chosen["auc"] > 0.85
    assert chosen["space"].startswith("L7-")
    assert fit(store, "--head", "mean")["r2"] < 0.01
    assert 0.70 < fit(store, "--head", "knn")["auc"] < chosen["auc"]


def test_nested_ridge_agrees_with_scikit_learn(store: Path) -> None:
    ids, X, Y, votes = EmbeddingStore.open(store).table(layer=7)
    assert len(ids) == len(votes) == 1400
    ridge = make_pipeline(StandardScaler(), RidgeCV(10.0 ** np.arange(-2, 6.25, 0.5)))
    auc = roc_auc_score(Y[:, 1], cross_val_predict(ridge, X, Y[:, 1], cv=5))
    assert fit(store, "--layer", "7", "--pool", "cls")["auc"] == pytest.approx(auc, abs=0.01)


def test_untrained_weights_and_raw_pixels_know_less(spiral: Path) -> None:
    """Of real galaxies, `tiny`, which has seen none, knows more than either: docs/backbone.md."""
    folder = spiral.with_name("untrained")
    make_network(Pretraining().seed).save_pretrained(folder)
    aucs = {}
    for name, backbone in (("tiny", "tiny"), ("untrained", folder)):
        made = spiral.with_name(f"{name}.h5")
        run("extract", spiral, "--backbone", backbone, "--size", "126", *POOLS, "-o", made)
        aucs[name] = fit(made, "--pool", "cls+patch-mean")["auc"]
    catalog = Catalog.read(spiral)
    small = [
        np.asarray(Image.open(Path(catalog.image_root) / image).resize((16, 16), Image.Resampling.BOX)).ravel()
        for image in catalog.frame["image"]
    ]
    ridge = make_pipeline(StandardScaler(), RidgeCV(10.0 ** np.arange(-2, 6.25, 0.5)))
    labels = catalog.columns["class_spirals"]
    pixels = roc_auc_score(labels, cross_val_predict(ridge, np.stack(small).astype(float), labels, cv=5))
    assert 0.60 < pixels < 0.75
    assert 0.60 < aucs["untrained"] < 0.78
    assert aucs["tiny"] > max(pixels, aucs["untrained"]) + 0.03


def test_a_backbone_that_has_seen_the_world_knows_more_than_tiny(store: Path, spiral: Path) -> None:
    made = spiral.with_name("tiny-cls.h5")
    run("extract", spiral, "--backbone", "tiny", "--size", "126", "-o", made)
    assert fit(store)["auc"] > fit(made)["auc"] + 0.03


def test_relabelling_leaves_vectors_alone(store: Path, real_data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.h5"
    copy.write_bytes(store.read_bytes())
    folder = real_data / "sdss_kaggle_spiral"
    rng = np.random.default_rng(0)
    labels = pd.read_csv(folder / "labels.csv", dtype=str).assign(coin=rng.integers(0, 2, 1400)).sample(frac=0.9)
    labels.to_csv(tmp_path / "coin.csv", index=False)
    catalog_from_table(tmp_path / "coin.csv", folder, "GalaxyID", "file", ["coin"]).write(tmp_path / "coin.parquet")
    assert "1260 rows relabelled with coin" in run("relabel", copy, tmp_path / "coin.parquet")
    before, after = EmbeddingStore.open(store), EmbeddingStore.open(copy)
    for space in before.spaces:
        np.testing.assert_array_equal(before.vectors(*space), after.vectors(*space))
    expected = labels.set_index("GalaxyID")["coin"].reindex(after.ids)
    np.testing.assert_array_equal(after.labels(after.questions)[0][:, 0], expected)


def test_real_jpegs_decode_as_pillow_does(real_data: Path) -> None:
    paths = sorted((real_data / "sdss_kaggle_spiral/images").glob("*.jpg"))[:100]
    paths += sorted((real_data / "gz4_interface_examples").rglob("*.jpg"))[:100]
    assert len(paths) == 200
    for path in paths:
        np.testing.assert_array_equal(decode_image(path.read_bytes()), np.asarray(Image.open(path).convert("RGB")))


def test_the_hf_recipe_repeats_the_loop_that_people_write(spiral: Path, real_backbone: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    catalog = Catalog.read(spiral)
    few = Catalog(catalog.frame.head(16), catalog.questions, catalog.image_root)
    store = extract_embeddings(few, str(real_backbone), tmp_path / "hf.h5", recipe="hf", storage="float32", workers=1)
    assert store is not None
    processor = BitImageProcessorPil(
        do_resize=True, size={"shortest_edge": 256}, do_center_crop=True, crop_size={"height": 224, "width": 224},
        resample=3, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
    )  # fmt: skip
    model = AutoModel.from_pretrained(real_backbone).eval()
    for row, image in enumerate(few.frame["image"]):
        pixels = processor(Image.open(Path(few.image_root) / image), return_tensors="pt")
        with torch.no_grad():
            expected = model(**pixels).pooler_output[0].numpy()
        ours = store.vectors()[row]
        assert ours @ expected / np.linalg.norm(ours) / np.linalg.norm(expected) >= 0.9999
