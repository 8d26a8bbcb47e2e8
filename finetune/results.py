"""What a run leaves: backbone, head, scores on galaxies that no choice saw, and a card that says it all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from transformers.utils import logging

from embeddings.export import write_predictions
from embeddings.files import replace_file, sync_path
from embeddings.provenance import Space, digest_space
from embeddings.runs import BACKBONE, HEAD
from extract.preprocessing import Recipe
from extract.weights import find_in_folder
from finetune.config import Config
from finetune.data import GalaxyTable
from finetune.model import GalaxyNetwork
from finetune.objective import Objective
from finetune.tracking import clean_numbers
from heads.ballots import Likelihood
from heads.evaluation import measure_folds, score_average, score_questions, score_targets
from heads.finetuned import FineTunedHead
from heads.io import FittedHead
from heads.metrics import score_pooled
from heads.networks import fold_network

Array = np.ndarray[Any, Any]
METRICS, PREDICTIONS, CARD = "metrics.json", "predictions.parquet", "README.md"


def score_predictions(table: GalaxyTable, P: Array, zero_unasked: bool) -> dict[str, Any]:
    """
    Every figure of predictions, as `heads.evaluation` has them of one fold.

    Parameters
    ----------
    table : GalaxyTable
    P : (n_galaxies, n_targets) array
    zero_unasked : bool
        The pooled figures, which are the study's, count unasked questions as 0; no other does.

    Returns
    -------
    dict
        ``galaxies, average, scores, questions, pooled``.
    """
    Y, one = table.Y, np.zeros(len(table), np.int64)
    figures = measure_folds(Y, P, one)
    pooled = score_pooled(np.nan_to_num(Y) if zero_unasked else Y, P)
    record = {
        "galaxies": len(table),
        "average": score_average(figures),
        "scores": list(score_targets(Y, P, figures, table.targets)),
        "questions": list(score_questions(Y, P, one, table.questions)),
        "pooled": {name: value if np.isfinite(value) else None for name, value in pooled.items()},
    }
    return dict(_drop_spread(record))


def _drop_spread(value: Any) -> Any:
    """One fold has no spread."""
    if isinstance(value, dict):
        return {key: _drop_spread(item) for key, item in value.items() if not key.endswith("_sd")}
    return [_drop_spread(item) for item in value] if isinstance(value, list) else value


def write_backbone(backbone: Any, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a transformers model as ``backbone/`` of a run's folder, in place at once."""
    target = folder / BACKBONE
    fresh = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    logging.disable_progress_bar()
    shutil.rmtree(fresh, ignore_errors=True)
    backbone.to(dtype).save_pretrained(fresh)
    for file in fresh.iterdir():
        sync_path(file)
    shutil.rmtree(target, ignore_errors=True)  # of a run that was stopped here: it says when it is done
    fresh.rename(target)
    sync_path(folder)


def write_head(
    network: GalaxyNetwork,
    objective: Objective,
    table: GalaxyTable,
    train: Array,
    recipe: Recipe,
    metrics: dict[str, Any],
    folder: Path,
) -> None:
    """
    Write the head as `heads.io` does, for embeddings that the run's backbone makes.

    Parameters
    ----------
    network : GalaxyNetwork
        On the CPU; its backbone is written.
    objective : Objective
    table : GalaxyTable
    train : (n_galaxies,) bool array
    recipe : Recipe
    metrics : dict
        The run's.
    folder : Path
        Of the run.
    """
    source = find_in_folder(str(folder), folder / BACKBONE)
    model = source.to_dict() | recipe.to_dict()
    space = Space(source.depth, network.pooling)
    layers = fold_network(network.head)
    if objective.counts_votes:
        counted = (objective.widths, objective.totals, cast("Likelihood", objective.loss))
        head = FineTunedHead.from_layers(table.questions, layers, "softmax", *counted)
    else:
        head = FineTunedHead.from_layers(table.questions, layers, "sigmoid")
    test = metrics["test"] or {}
    details = {"run": str(folder), **{key: test[key] for key in test if key != "scores"}}
    FittedHead(
        head, space, digest_space(model, space), model, table.ids[train].astype(str), test.get("scores", []), details
    ).save(folder / HEAD)


def write_json(file: Path, record: dict[str, Any]) -> None:
    """Write JSON in place at once; what is no number is null."""
    with replace_file(file) as temporary:
        temporary.write_text(json.dumps(clean_numbers(record), indent=1) + "\n")


def write_test_predictions(folder: Path, table: GalaxyTable, P: Array) -> None:
    """Write the test galaxies' predictions: ``id_str`` and one column a target."""
    write_predictions(folder / PREDICTIONS, table.ids.astype(str), P.astype(np.float32), table.targets)


def write_card(folder: Path, config: Config, record: dict[str, Any], metrics: dict[str, Any]) -> None:
    """Write README.md: what the run learned from, how, how well, and what its predictions must not be taken for."""
    environment = Environment(
        loader=PackageLoader("finetune", "templates"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )  # fmt: skip
    environment.filters["figure"] = lambda value: "-" if value is None else f"{value:z.3f}"
    template = environment.get_template("card.md")
    with replace_file(folder / CARD) as temporary:
        text = template.render(folder=folder, config=config, record=record, metrics=metrics)
        temporary.write_text(text, encoding="utf-8")
