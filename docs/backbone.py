"""
Print the tables of docs/backbone.md: what a ridge finds in the vectors of `tiny`, beside untrained weights and pixels.

    SOMMELIER_REAL_DATA=DATA python docs/backbone.py WORK

WORK is a folder for a simulated sky, which is not the one that `tiny` learned from, and for stores. DATA holds
``sdss_kaggle_spiral``; without it its table is left out.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.demo import read_releases
from benchmarks.galaxies import name_survey
from benchmarks.resampling import resample_objects
from benchmarks.stages import score_auc
from benchmarks.statistics import Score, score_predictions
from benchmarks.tables import show_score
from embeddings import EmbeddingStore
from embeddings.provenance import Space
from extract.catalog import Catalog, catalog_from_table
from extract.images import decode_image, read_image
from extract.pipeline import extract_embeddings
from extract.preprocessing import Recipe
from extract.simulation import simulate_sky
from extract.weights import find_backbone
from finetune.predictor import make_network
from finetune.pretrain import Pretraining
from finetune.results import write_backbone
from heads.base import Array
from heads.io import make_head
from heads.splits import cut_folds
from heads.training import TrainingSet, gather_training_set

GALAXIES, SEED, IMAGE_SIDE, SIDE = 1500, 20_261_126, 128, 126
PIXELS = 16
FOLDS = 5
TINY, UNTRAINED, RAW = "`tiny`", "the same network, untrained", f"raw {PIXELS} x {PIXELS} pixels"
Features = dict[str, Array]


def embed(catalog: Catalog, work: Path, size: int) -> tuple[TrainingSet, Features]:
    """The labelled galaxies of a catalog, and their features of each kind."""
    untrained = work / "untrained"
    if not untrained.exists():
        write_backbone(make_network(Pretraining().seed), untrained)
    features, data = {}, None
    for name, backbone in ((TINY, "tiny"), (UNTRAINED, str(untrained / "backbone"))):
        path = work / f"{catalog.surveys[0]}-{size}-{'tiny' if name == TINY else 'untrained'}.h5"
        extract_embeddings(catalog, backbone, path, pools=("cls", "patch-mean"), size=size, device="cpu")
        data = gather_training_set([EmbeddingStore.open(path)])
        features[name] = data.read(data.stores[0].space(-1, "cls+patch-mean"))
    assert data is not None
    files = dict(zip(catalog.ids.tolist(), catalog.frame["image"], strict=True))
    images = (decode_image(read_image(os.path.join(catalog.image_root, files[name]))) for name in data.ids.tolist())
    features[RAW] = np.stack([shrink(image) for image in images])
    return data, features


def shrink(image: Array) -> Array:
    """(3 * PIXELS**2,) means of the pixels."""
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
    return np.asarray(F.interpolate(pixels, size=(PIXELS, PIXELS), mode="area").flatten())


def predict_out_of_fold(data: TrainingSet, X: Array) -> Array:
    """(n_galaxies, n_targets) predictions of ridges that never saw the galaxy's sky object."""
    folds, P = cut_folds(data.groups, FOLDS, 0), np.full(data.Y.shape, np.nan)
    for fold in range(FOLDS):
        fit = folds != fold
        ridge = make_head("ridge", data.questions, random_state=0)
        ridge.fit(X[fit], data.Y[fit], data.votes[fit], data.groups[fit])
        P[~fit] = ridge.predict(X[~fit])
    return P


def compare(
    data: TrainingSet, features: Features, score: Callable[[Array, Array], dict[str, Score]]
) -> list[list[str]]:
    """A row a kind of features, then what `tiny` gains over each other kind, paired."""
    scores = {name: score(predict_out_of_fold(data, X), data.Y) for name, X in features.items()}
    rows = [[name, *(show_score(value, 3) for value in found.values())] for name, found in scores.items()]
    for name in (UNTRAINED, RAW):
        gains = [show_score(scores[TINY][key] - scores[name][key], 3, sign=True) for key in scores[name]]
        rows.append([f"{TINY} - {name}", *gains])
    return rows


def tabulate_simulated(catalog: Catalog, work: Path) -> None:
    """Macro r and R2 of every answer with enough labels."""
    data, features = embed(catalog, work, SIDE)
    weights = resample_objects(data.groups, 0)
    survey = name_survey(catalog.surveys[0])
    print(f"\n{survey}: {len(data.ids)} galaxies, {data.Y.shape[1]} answers\n\n| features | r | R2 |\n|--|--|--|")

    def score(P: Array, Y: Array) -> dict[str, Score]:
        found = score_predictions(Y, P, weights)
        return {name: found[name] for name in ("r", "r2")}

    for row in compare(data, features, score):
        print(f"| {' | '.join(row)} |")


def tabulate_real(data_folder: Path, work: Path) -> None:
    """AUC of the noisy spiral label, at two sizes."""
    folder = data_folder / "sdss_kaggle_spiral"
    catalog = catalog_from_table(folder / "labels.csv", folder, "GalaxyID", "file", ["class"], survey="kaggle")
    for size in (SIDE, 224):
        data, features = embed(catalog, work, size)
        weights = resample_objects(data.groups, 0)
        spiral = data.targets.index("class_spirals")
        rows = compare(
            data, features, lambda P, Y, s=spiral, w=weights: {"auc": score_auc(Y[:, s], P[:, s], w)}  # type: ignore[misc]
        )  # fmt: skip
        print(f"\nReal SDSS images at {size} px: {len(data.ids)} galaxies\n\n| features | AUC |\n|--|--|")
        for row in rows:
            print(f"| {' | '.join(row)} |")


def measure_rate(work: Path) -> None:
    """Images a second of both networks, from pixels to vectors, taken in turn."""
    squares = torch.randint(0, 256, (64, 3, SIDE, SIDE), dtype=torch.uint8)
    recipe, spaces = Recipe(size=SIDE), [Space(6, "cls"), Space(6, "patch-mean")]
    networks: dict[str, Any] = {
        TINY: find_backbone("tiny").load(), UNTRAINED: find_backbone(str(work / "untrained" / "backbone")).load()
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(9):
        for name, network in networks.items():
            start = time.perf_counter()
            network.embed(recipe.normalise(squares), spaces)
            seconds[name].append(time.perf_counter() - start)
    rates = ", ".join(f"{name} {len(squares) / np.median(taken):.0f}" for name, taken in seconds.items())
    print(f"\nImages a second at {SIDE} px, float32, {torch.get_num_threads()} threads: {rates}")


def main(work: Path) -> None:
    """Simulate, embed, fit, score; print Markdown."""
    simulate_sky(work / "sky", GALAXIES, SEED, IMAGE_SIDE)
    for catalog in read_releases(work):
        tabulate_simulated(catalog, work)
    real = os.environ.get("SOMMELIER_REAL_DATA")
    if real:
        tabulate_real(Path(real), work)
    else:
        print("\nSOMMELIER_REAL_DATA is not set: nothing was tried on real images.")
    measure_rate(work)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
