"""A training step against a plain loop of the same model; cached embeddings against encoding in every epoch."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from embeddings.questions import Question
from extract.backbone import resolve_spaces
from extract.preprocessing import Recipe
from extract.weights import find_backbone
from finetune.augmentation import Augmenter
from finetune.batches import Feeder
from finetune.config import Config
from finetune.data import GalaxyTable
from finetune.model import build_galaxy_network
from finetune.objective import make_objective
from finetune.parallel import World
from finetune.sampling import Sampler
from finetune.train import Trainer
from heads.mlp import MLPHead
from tests.finetune.training import Pictures
from tests.perf.timing import measure

pytestmark = [pytest.mark.perf, pytest.mark.slow]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZE, N, BATCH, EPOCHS = 112, 256, 32, 5
QUESTIONS = (Question("shape", ("smooth", "featured", "artifact")),)


@pytest.fixture
def galaxies() -> tuple[GalaxyTable, Pictures]:
    rng = np.random.default_rng(0)
    squares = torch.from_numpy(rng.integers(0, 255, (N, 3, SIZE, SIZE), dtype=np.uint8))
    votes = rng.multinomial(40, [0.5, 0.4, 0.1], N).astype(np.float32)
    ids, nowhere = np.array([f"g{row}" for row in range(N)], object), np.full(N, np.nan)
    surveys = np.full(N, "sdss", object)
    table = GalaxyTable(np.arange(N), ids, surveys, nowhere, nowhere, ids, votes / 40, votes, QUESTIONS)
    return table, Pictures(squares)


def make_trainer(galaxies: tuple[GalaxyTable, Pictures], folder: Path, method: str, epochs: int) -> Trainer:
    table, pictures = galaxies
    config = Config(
        run=folder, data={"catalogs": ("none",), "size": SIZE}, model={"backbone": "tiny", "method": method},
        training={"epochs": epochs, "batch_size": BATCH, "loss": "mse"}, tracking={"log_steps": 1000},
    )  # fmt: skip
    world = World(0, 1, torch.device(DEVICE))
    objective, labels, bias = make_objective(table, np.ones(N, bool), "mse", "none", False)
    network = build_galaxy_network(find_backbone("tiny").load().model, config.model, bias, "tiny", world).to(DEVICE)
    sampler = Sampler((np.arange(N),), "natural", None, BATCH, 0)
    augmenter = Augmenter(config.augmentation, SIZE, 0, DEVICE)
    feeder = Feeder(table, pictures, labels, sampler, augmenter, Recipe(size=SIZE), world, 1, 0)
    folder.mkdir(exist_ok=True)
    return Trainer(config, network, objective, feeder, np.arange(BATCH), folder, "tiny")


def train_plainly(network: nn.Module, squares: torch.Tensor, Y: torch.Tensor) -> None:
    """What one writes: an epoch without augmentation, of pictures in memory."""
    optimiser = torch.optim.AdamW(network.parameters(), 1e-4)
    recipe, order = Recipe(size=SIZE), torch.randperm(N)
    network.train()
    for rows in order.split(BATCH):
        optimiser.zero_grad()
        outputs = network(recipe.normalise(squares[rows].to(DEVICE)))
        loss = F.mse_loss(torch.sigmoid(outputs), Y[rows].to(DEVICE))
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        loss.item()


def test_a_step_costs_what_a_plain_loop_costs(galaxies: tuple[GalaxyTable, Pictures], tmp_path: Path) -> None:
    trainer = make_trainer(galaxies, tmp_path, "full", 1)
    plain = make_trainer(galaxies, tmp_path, "full", 1).network
    Y = torch.from_numpy(galaxies[0].Y)

    def ours() -> None:
        for step, batches in trainer.feeder.iterate(0, N // BATCH):
            trainer._take_step(step, batches)

    seconds = measure(5, ours=ours, plain=lambda: train_plainly(plain, galaxies[1].squares, Y))
    ratio = seconds["ours"] / seconds["plain"]
    print(f"  {N / seconds['ours']:.0f} images/s with augmentation; {ratio:.3f} x a plain loop without")
    assert ratio < 1.05


def test_a_head_on_cached_embeddings_against_encoding_every_epoch(
    galaxies: tuple[GalaxyTable, Pictures], tmp_path: Path
) -> None:
    table, pictures = galaxies
    backbone = find_backbone("tiny").load(DEVICE)
    recipe = Recipe(size=SIZE)
    spaces = resolve_spaces([-1], ["cls"], backbone.depth, "tiny")
    start = time.perf_counter()
    batches = pictures.squares.split(BATCH)
    parts = [backbone.embed(recipe.normalise(part.to(DEVICE)), spaces)[spaces[0]] for part in batches]
    X = torch.cat(parts).cpu().numpy()
    middle = time.perf_counter()
    MLPHead(QUESTIONS).fit(X, table.Y)
    head = time.perf_counter() - middle
    start, encoding = time.perf_counter(), middle - start
    make_trainer(galaxies, tmp_path, "head", EPOCHS).train()
    reencoding = time.perf_counter() - start
    print(
        f"  {N} images of {SIZE} px: encoded once {encoding:.1f} s, mlp head {head:.2f} s; "
        f"{EPOCHS} epochs that encode {reencoding:.1f} s: {reencoding / (encoding + head):.1f} x in all, "
        f"{reencoding / head:.0f} x once the embeddings are there"
    )
    assert reencoding > 2 * (encoding + head)
