"""Small things to train on, all in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embeddings.questions import Question
from extract.preprocessing import Recipe
from finetune.augmentation import Augmenter
from finetune.batches import Feeder
from finetune.config import Config
from finetune.data import GalaxyTable
from finetune.model import build_galaxy_network
from finetune.objective import make_objective
from finetune.parallel import World
from finetune.sampling import Sampler, split_surveys
from finetune.train import Trainer
from tests.conftest import draw_galaxy
from tests.extract.models import make_model

SIZE, N = 28, 40
QUESTIONS = (Question("shape", ("round", "flat")), Question("ring", ("yes", "no"), parent="shape_flat"))
ALONE = World(0, 1, torch.device("cpu"))


class Pictures:
    """Squares in memory."""

    def __init__(self, squares: Tensor) -> None:
        self.squares = squares

    def read(self, rows: Any) -> Tensor:
        """Those of some rows."""
        return self.squares[torch.as_tensor(rows)]


def draw_table(n: int = N, seed: int = 0) -> tuple[GalaxyTable, Pictures]:
    """Galaxies of two surveys; the second question was asked of some, and brightness tells the first one's answer."""
    rng = np.random.default_rng(seed)
    squares = torch.stack([Recipe(size=SIZE).fit_squares([draw_galaxy(rng, SIZE)])[0] for _ in range(n)])
    light = squares.float().mean(dim=(1, 2, 3)).numpy()
    share = np.clip((light - light.min()) / np.ptp(light), 0.05, 0.95)
    totals = rng.integers(5, 40, n)
    votes = np.full((n, 4), np.nan, np.float32)
    votes[:, 0] = np.round(share * totals)
    votes[:, 1] = totals - votes[:, 0]
    asked = rng.uniform(size=n) < 0.7
    votes[asked, 2] = rng.binomial(10, 0.3, asked.sum())
    votes[asked, 3] = 10 - votes[asked, 2]
    Y = np.concatenate([votes[:, :2] / votes[:, :2].sum(1, keepdims=True), votes[:, 2:] / 10], axis=1)
    ids = np.array([f"g{row:03}" for row in range(n)], object)
    surveys = np.array(["sdss", "decals"], object)[np.arange(n) % 2]
    places = np.full(n, np.nan)
    table = GalaxyTable(np.arange(n), ids, surveys, places, places, ids, Y.astype(np.float32), votes, QUESTIONS)
    return table, Pictures(squares)


def make_config(folder: Path, **changes: Any) -> Config:
    """A short run; changes are by dotted key, with ``__`` for the dots."""
    values: dict[str, Any] = {
        "run": folder,
        "data": {"catalogs": ("none.parquet",), "size": SIZE},
        "model": {"backbone": "small", "head": {"hidden": (8,), "dropout": 0.2}},
        "training": {"epochs": 3, "batch_size": 8, "learning_rate": 1e-3, "head_learning_rate": 1e-2, "warmup": 0.0,
                     "device": "cpu"},
    }  # fmt: skip
    for name, value in changes.items():
        *sections, last = name.split("__")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return Config(**values)


def make_trainer(config: Config, world: World = ALONE, seed: int = 0) -> Trainer:
    """As a run makes it, of pictures in memory; the last eight galaxies choose."""
    table, pictures = draw_table(seed=seed)
    train = np.arange(N) < N - 8
    objective, labels, bias = make_objective(
        table, train, config.training.loss, config.data.weights, config.data.unasked == "zero"
    )
    torch.manual_seed(config.seed)
    network = build_galaxy_network(make_model(image_size=SIZE), config.model, bias, "small", world)
    surveys: Sequence[Any] = split_surveys(np.flatnonzero(train), table.surveys)
    step = config.training.batch_size * config.training.accumulate
    sampler = Sampler(tuple(surveys), config.data.mixing, config.data.budget, step, config.seed)
    augmenter = Augmenter(config.augmentation, SIZE, config.seed)
    feeder = Feeder(
        table, pictures, labels, sampler, augmenter, Recipe(size=SIZE), world, config.training.accumulate, config.seed
    )
    config.run.mkdir(parents=True, exist_ok=True)
    precision = "fp32" if config.training.precision == "auto" else config.training.precision
    return Trainer(config, network, objective, feeder, np.flatnonzero(~train), config.run, "small", precision)
