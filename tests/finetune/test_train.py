from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from finetune.checkpoint import LAST, read_checkpoint
from finetune.data import TrainingError
from finetune.train import Trainer
from heads.metrics import mae, pearson_r, r2
from tests.finetune.training import make_config, make_trainer


def read_state(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / LAST).tensors


def stop_after(step: int) -> Any:
    """Says stop when so many steps were taken."""
    taken = 0

    def stop() -> bool:
        nonlocal taken
        taken += 1
        return taken >= step

    return stop


VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"training__ema": 0.9, "training__loss": "bce", "data__mixing": "balanced"},
    {"training__loss": "beta-binomial", "training__accumulate": 2, "model__drop_path": 0.3},
    {"model__method": "last", "model__last_blocks": 1, "training__precision": "bf16"},
    {"model__method": "lora", "training__loss": "multinomial"},
    {"model__method": "head", "model__pooling": "cls+patch-mean"},
)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_a_run_stopped_at_any_step_ends_as_one_that_was_not(tmp_path: Path, changes: dict[str, Any]) -> None:
    if changes.get("model__method") == "lora":
        pytest.importorskip("peft", reason="adapters need the extra lora")
    records: list[dict[str, Any]] = []
    whole = make_trainer(make_config(tmp_path / "whole", **changes))
    whole.train(records.append)
    expected = read_state(tmp_path / "whole")
    n_steps = whole.n_steps
    assert n_steps == {1: 12, 2: 6}[changes.get("training__accumulate", 1)]
    for step in {1, n_steps // 3, n_steps // 3 + 1, n_steps - 1}:
        folder = tmp_path / f"stopped-{step}"
        config = make_config(folder, **changes)
        with pytest.raises(KeyboardInterrupt):
            make_trainer(config).train(stop=stop_after(step))
        torch.manual_seed(123)  # a new process starts with other numbers
        resumed = make_trainer(config)
        resumed.resume()
        assert resumed.progress.step == step
        again: list[dict[str, Any]] = []
        resumed.train(again.append)
        state = read_state(folder)
        assert state.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(state[name], value), f"{name} after a stop at step {step}"
        costs = ("seconds", "images_per_second")
        rest = [{k: v for k, v in record.items() if k not in costs} for record in records if record["step"] > step]
        assert [{k: v for k, v in record.items() if k not in costs} for record in again] == rest
        assert resumed.progress.history == whole.progress.history


def test_training_learns_and_validation_figures_are_those_of_the_metrics(tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path, training__epochs=12, augmentation__rotation=0.0))
    before = trainer.validate()
    trainer.train()
    after = trainer.validate()
    assert after["val_loss"] < 0.8 * before["val_loss"]
    P = trainer.objective.predict(trainer.predict_outputs(trainer.val)).numpy()
    Y = trainer.feeder.table.Y[trainer.val]
    for name, metric in (("val_r", pearson_r), ("val_r2", r2), ("val_mae", mae)):
        assert after[name] == pytest.approx(np.mean([metric(Y[:, t], P[:, t]) for t in range(4)]))
    asked = ~np.isnan(Y)
    assert after["val_loss"] == pytest.approx(np.mean((Y - P)[asked] ** 2), rel=1e-5)


def test_batches_that_accumulate_make_the_step_of_one_large_batch(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"model__head": {"hidden": (), "dropout": 0.0}, "augmentation__noise": 0.0,
                               "training__loss": "multinomial", "augmentation__rotation": 0.0,
                               "augmentation__scale": 0.0, "augmentation__flip": False,
                               "augmentation__brightness": 0.0, "augmentation__contrast": 0.0}  # fmt: skip
    steps = []
    for name, size, accumulate in (("one", 8, 1), ("two", 4, 2)):
        config = make_config(
            tmp_path / name, **changes, training__batch_size=size, training__accumulate=accumulate, training__clip=None
        )
        trainer = make_trainer(config)
        _, batches = next(iter(trainer.feeder.iterate(0, 1)))
        assert len(batches) == accumulate
        steps.append(trainer._take_step(0, batches))
    assert steps[0] == pytest.approx(steps[1], rel=1e-5)  # loss, and norm of the gradient


def test_gradients_are_clipped_and_rates_follow_the_schedule(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = []
    config = make_config(tmp_path, training__clip=1e-9, training__final_learning_rate=0.1, training__weight_decay=0.0)
    trainer = make_trainer(config)
    before = {name: p.detach().clone() for name, p in trainer.learning.items()}
    trainer.train(records.append)
    rates = [record["head_learning_rate"] for record in records if record["kind"] == "step"]
    # cosine from 1e-2 to a tenth of it over 12 steps
    assert rates == pytest.approx([1e-2 * (0.1 + 0.9 * (1 + np.cos(np.pi * s / 12)) / 2) for s in range(12)])
    assert all(record["learning_rate"] == pytest.approx(0.1 * record["head_learning_rate"])
               for record in records if record["kind"] == "step")  # fmt: skip
    # Adam's steps do not know the gradient's size, except where it comes near its epsilon of 1e-8
    largest = max(float((p.detach() - before[name]).abs().max()) for name, p in trainer.learning.items())
    assert largest < 12 * 1e-2 * 0.1


def test_early_stopping_waits_for_gains_of_at_least_a_margin(tmp_path: Path) -> None:
    rule = {"metric": "val_loss", "patience": 2, "min_delta": 10.0}  # no epoch gains so much
    config = make_config(tmp_path, training__epochs=9, training__early_stopping=rule)
    records: list[dict[str, Any]] = []
    progress = make_trainer(config).train(records.append)
    assert [record["epoch"] for record in records if record["kind"] == "epoch"] == [1, 2, 3]  # the first, and two more
    assert progress.stopped
    resumed = make_trainer(config)
    resumed.resume()
    assert resumed.train().step == progress.step  # stopped stays stopped
    assert progress.best == min(record["val_loss"] for record in records if record["kind"] == "epoch")


def test_the_best_epoch_is_kept_whatever_comes_after(tmp_path: Path) -> None:
    config = make_config(tmp_path, training__epochs=6, training__head_learning_rate=0.5, training__best="val_mae")
    trainer = make_trainer(config)
    progress = trainer.train()
    figures = [record["val_mae"] for record in progress.history]
    record = trainer.load_best()
    assert record["epoch"] == int(np.argmin(figures)) + 1 == progress.best_epoch
    assert trainer.validate()["val_mae"] == pytest.approx(min(figures), rel=1e-6)


def test_the_average_is_what_is_validated_and_kept(tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path, training__ema=0.99, training__epochs=1))
    progress = trainer.train()
    average = trainer.average
    assert average is not None
    trained = {name: p.detach().clone() for name, p in trainer.learning.items()}
    assert any(not torch.equal(value, trained[name]) for name, value in average.values.items())
    assert trainer.load_best()["epoch"] == 1
    for name, value in average.values.items():
        assert torch.equal(trainer.learning[name].detach(), value), name
    outputs = trainer.predict_outputs(trainer.val)  # of the averages, now in the network itself
    loss = float(trainer.objective(outputs, trainer.feeder.labels.take(trainer.val)))
    assert progress.history[0]["val_loss"] == pytest.approx(loss, rel=1e-6)


def test_a_loss_that_is_no_number_names_the_galaxies_and_leaves_the_checkpoint(tmp_path: Path) -> None:
    config = make_config(tmp_path, training__checkpoint_steps=1)
    with pytest.raises(KeyboardInterrupt):
        make_trainer(config).train(stop=stop_after(2))
    held = (tmp_path / LAST).read_bytes()
    trainer = make_trainer(config)
    trainer.resume()
    _, batches = next(iter(trainer.feeder.iterate(2, 3)))
    trainer.feeder.labels.weights[batches[0].rows[0]] = np.nan
    with pytest.raises(TrainingError, match="loss of step 3 is not finite") as error:
        trainer.train()
    assert all(trainer.feeder.table.ids[row] in str(error.value) for row in batches[0].rows)
    assert (tmp_path / LAST).read_bytes() == held


def test_where_nobody_was_asked_nothing_is_learned(tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path, training__weight_decay=0.0))
    trainer.feeder.labels.Y[:] = np.nan
    before = {name: p.detach().clone() for name, p in trainer.learning.items()}
    _, batches = next(iter(trainer.feeder.iterate(0, 1)))
    loss, norm = trainer._take_step(0, batches)
    assert (loss, norm) == (0, 0)
    assert all(torch.equal(p.detach(), before[name]) for name, p in trainer.learning.items())


class Hungry(nn.Module):
    """Has memory for so many images."""

    def __init__(self, inner: nn.Module, most: int) -> None:
        super().__init__()
        self.inner, self.most, self.config = inner, most, inner.config

    def forward(self, pixel_values: torch.Tensor) -> Any:
        if len(pixel_values) > self.most:
            raise torch.OutOfMemoryError("no memory")
        return self.inner(pixel_values=pixel_values)


def starve(trainer: Trainer, most: int) -> Trainer:
    trainer.network.backbone = Hungry(trainer.network.backbone, most)
    return trainer


def test_out_of_memory_says_which_batch_fits(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"batch_size=3 --set training.accumulate=3"):
        starve(make_trainer(make_config(tmp_path, training__batch_size=7)), 3).train()
    for most in (0, 1):
        with pytest.raises(TrainingError, match="does not hold this network for a batch of two images"):
            starve(make_trainer(make_config(tmp_path)), most).train()


def test_validation_takes_no_larger_batches_than_training(tmp_path: Path) -> None:
    trainer = starve(make_trainer(make_config(tmp_path, training__batch_size=3, training__epochs=1)), 3)
    assert len(trainer.train().history) == 1


def test_half_precision_whose_gradients_never_are_numbers_stops(tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path, training__precision="fp16", training__epochs=20))
    next(iter(trainer.learning.values())).register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(TrainingError, match="the gradient of step 17 is not finite"):  # the scale begins at 2 ** 16
        trainer.train()


def test_half_precision_with_scaled_gradients_trains(tmp_path: Path) -> None:
    trainer = make_trainer(make_config(tmp_path, training__precision="fp16", training__epochs=6))
    before = trainer.validate()["val_loss"]
    trainer.train()
    assert trainer.scaler.get_scale() > 1
    assert trainer.validate()["val_loss"] < before
    assert read_checkpoint(tmp_path / LAST).record["scaler"]["scale"] == trainer.scaler.get_scale()
