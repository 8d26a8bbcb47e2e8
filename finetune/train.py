"""The training loop: every step a pure function of its number and of the state that the last one left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from embeddings.errors import SommelierError
from extract.backbone import PRECISIONS
from finetune.average import MovingAverage
from finetune.batches import Batch, Feeder, seed_step
from finetune.checkpoint import (
    BEST,
    LAST,
    Checkpoint,
    pack_optimiser,
    read_checkpoint,
    unpack_optimiser,
    write_checkpoint,
)
from finetune.config import Config, is_smaller_better
from finetune.data import TrainingError
from finetune.memory import find_fitting_batch
from finetune.model import GalaxyNetwork, group_parameters, list_learning
from finetune.objective import Objective
from finetune.schedule import Schedule
from heads.metrics import mae, pearson_r, r2

Array = np.ndarray[Any, Any]
Log = Callable[[dict[str, Any]], None]


@dataclass
class Progress:
    """What a run remembers besides tensors."""

    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    stopping_best: float | None = None
    waited: int = 0
    stopped: bool = False
    loss_sum: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


class Trainer:
    """
    Trains a network.

    Parameters
    ----------
    config : Config
    network : GalaxyNetwork
        On the device of the feeder's world.
    objective : Objective
    feeder : Feeder
    val : int array
        Rows that choose.
    folder : Path
        Of checkpoints.
    name : str
        Of the backbone, for error messages.
    precision : {'fp32', 'bf16', 'fp16'}
    """

    def __init__(
        self,
        config: Config,
        network: GalaxyNetwork,
        objective: Objective,
        feeder: Feeder,
        val: Array,
        folder: Path,
        name: str,
        precision: str = "fp32",
    ) -> None:
        self.config, self.network, self.objective, self.feeder = config, network, objective, feeder
        self.val, self.folder, self.precision = val, folder, precision
        training, self.world = config.training, feeder.world
        groups = group_parameters(network, training, name)
        self.learning = list_learning(network)
        names = {id(parameter): key for key, parameter in self.learning.items()}
        self.names = [names[id(parameter)] for group in groups for parameter in group["params"]]
        self.optimiser = torch.optim.AdamW(groups, fused=self.world.device.type == "cuda")
        self.scaler = torch.amp.GradScaler(self.world.device.type, enabled=precision == "fp16")
        self.average = MovingAverage(self.learning, training.ema) if training.ema else None
        self.n_steps = feeder.sampler.n_steps * training.epochs
        self.schedule = Schedule(self.n_steps, training.warmup, training.final_learning_rate)
        self.progress = Progress()
        self.parallel: Any = network
        if self.world.size > 1:
            ids = [self.world.device.index] if self.world.device.type == "cuda" else None
            self.parallel = DistributedDataParallel(network, device_ids=ids, broadcast_buffers=False)

    # the loop

    def train(self, log: Log = lambda record: None, stop: Callable[[], bool] = lambda: False) -> Progress:
        """
        Train to the last epoch, or until early stopping.

        Parameters
        ----------
        log : callable
            Is given every step's and epoch's record, in the leading process.
        stop : callable
            Whether to stop after this step.

        Raises
        ------
        KeyboardInterrupt
            When `stop` said so; the state is written.
        TrainingError
            For a loss that is no number, or no memory.
        """
        progress, per_epoch = self.progress, self.feeder.sampler.n_steps
        started, done = time.perf_counter(), 0
        steps = self.feeder.iterate(progress.step, progress.step if progress.stopped else self.n_steps)
        for step, batches in steps:
            loss, norm = self._take_step(step, batches)
            progress.step, progress.loss_sum, done = step + 1, progress.loss_sum + loss, done + 1
            self._log_step(log, step, loss, norm, self._measure(done, time.perf_counter() - started))
            if (step + 1) % per_epoch == 0:
                if self._finish_epoch(log, step // per_epoch, self._measure(done, time.perf_counter() - started)):
                    break
                started, done = time.perf_counter(), 0
            elif self.config.training.checkpoint_steps and (step + 1) % self.config.training.checkpoint_steps == 0:
                self._write_last()
            if self.world.any(stop()):
                self._write_last()
                raise KeyboardInterrupt
        return progress

    def _take_step(self, step: int, batches: Sequence[Batch]) -> tuple[float, float]:
        """One step of the optimiser; the loss, and the gradient's norm before it was clipped."""
        generator = seed_step(self.config.seed, step)
        factor = self.schedule.factor(step)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * factor
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        losses = []
        for number, batch in enumerate(batches):
            with self._hold_gradients(number + 1 < len(batches)):
                losses.append(self._accumulate(batch, generator, len(batches)))
        self.scaler.unscale_(self.optimiser)
        clip = self.config.training.clip
        norm = torch.nn.utils.clip_grad_norm_(self.learning.values(), clip if clip else float("inf"))
        loss, size = torch.stack([torch.stack(losses).sum(), norm.float()]).tolist()  # one wait for the device
        self._guard(loss, size, step, batches)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.average:
            self.average.update(step)
        return loss, size

    def _accumulate(self, batch: Batch, generator: torch.Generator, n_batches: int) -> Tensor:
        labels = batch.labels.to(self.world.device)
        with suppress(torch.OutOfMemoryError):
            with self._autocast():
                outputs = self.parallel(self.feeder.view(batch, generator))
            loss: Tensor = self.objective(outputs, labels) / n_batches
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch has no type for it
            return loss.detach()
        # here, and not where it was caught: the error holds on to what the step had made
        raise TrainingError(self._explain_memory(len(batch.rows)))

    def _hold_gradients(self, hold: bool) -> AbstractContextManager[Any]:
        """Several processes exchange gradients in a step's last batch only."""
        held: AbstractContextManager[Any] = self.parallel.no_sync() if hold and self.world.size > 1 else nullcontext()
        return held

    def _autocast(self) -> torch.autocast:
        half = self.precision != "fp32"
        return torch.autocast(self.world.device.type, PRECISIONS[self.precision] if half else None, enabled=half)

    def _guard(self, loss: float, norm: float, step: int, batches: Sequence[Batch]) -> None:
        """Stop at a loss or gradient that is no number; fp16 skips such a step while its scale can still fall."""
        if np.isfinite(loss) and (np.isfinite(norm) or self.scaler.get_scale() > 1):
            return
        rows = np.concatenate([batch.rows for batch in batches])
        ids = ", ".join(self.feeder.table.ids[rows].tolist())
        what = "loss" if not np.isfinite(loss) else "gradient"
        raise TrainingError(
            f"the {what} of step {step + 1} is not finite. The last checkpoint is from before it; look at the images "
            f"and votes of its galaxies, or lower training.learning_rate or training.clip: {ids}"
        )

    def _explain_memory(self, n_images: int) -> str:
        size, accumulate = self.config.training.batch_size, self.config.training.accumulate
        self.optimiser.zero_grad(set_to_none=True)
        least = -(-2 // self.world.size)  # batch normalisation takes two in all
        room = find_fitting_batch(self._try_batch, n_images // self.world.size, least, self.world.device)
        fits = room * self.world.size
        if not fits:
            return (
                f"the memory of {self.world.device} does not hold this network for a batch of two images. Take another "
                "method, a smaller data.size or backbone, or training.precision: bf16."
            )
        return (
            f"the memory of {self.world.device} ran out at training.batch_size {size}; {fits} fits. For steps of as "
            f"many galaxies: --set training.batch_size={fits} --set training.accumulate={accumulate * -(-size // fits)}"
        )

    def _try_batch(self, n_images: int) -> None:
        """Forward and backward with so many images, of nothing in particular."""
        size = self.config.data.size
        images = torch.zeros(n_images, 3, size, size, device=self.world.device)
        self.network.head.eval()  # of several processes each may have one image, and no batch to normalise by
        with self._autocast():
            self.network(images, gather=False).sum().backward()
        self.optimiser.zero_grad(set_to_none=True)

    # epochs

    def _finish_epoch(self, log: Log, epoch: int, costs: dict[str, float]) -> bool:
        """Validate, and write what to go on from; whether to stop early."""
        progress, training = self.progress, self.config.training
        record: dict[str, Any] = {"kind": "epoch", "epoch": epoch + 1, "step": progress.step,
                  "train_loss": progress.loss_sum / self.feeder.sampler.n_steps, **self.validate()}  # fmt: skip
        progress.loss_sum = 0.0
        record["best"] = _gains(record[training.best], progress.best, training.best, 0.0)
        if record["best"]:
            progress.best, progress.best_epoch = record[training.best], epoch + 1
        self._count_patience(record)
        progress.history.append(record)
        if self.world.leads:
            if record["best"]:
                write_checkpoint(self.folder / BEST, Checkpoint(self._state(averaged=True), record))
            log(record | costs)
        self._write_last()
        return progress.stopped

    def _count_patience(self, figures: dict[str, Any]) -> None:
        """Early stopping: epochs in a row without a gain of `min_delta`."""
        rule, progress = self.config.training.early_stopping, self.progress
        if rule is None:
            return
        if _gains(figures[rule.metric], progress.stopping_best, rule.metric, rule.min_delta):
            progress.stopping_best, progress.waited = figures[rule.metric], 0
        else:
            progress.waited += 1
        progress.stopped = progress.waited >= rule.patience

    def validate(self) -> dict[str, float]:
        """``val_loss``, and averages over targets: ``val_r, val_r2, val_mae``."""
        with self.average.swapped() if self.average else nullcontext():
            outputs = self.predict_outputs(self.val)
        labels = self.feeder.labels.take(self.val)
        P = self.objective.predict(outputs).numpy()
        Y = self.feeder.table.Y[self.val]
        figures = {"val_loss": float(self.objective(outputs, labels))}
        for name, metric in (("r", pearson_r), ("r2", r2), ("mae", mae)):
            values = np.array([metric(y, p) for y, p in zip(Y.T, P.T, strict=True)])
            known = values[np.isfinite(values)]
            figures[f"val_{name}"] = float(known.mean()) if len(known) else float("nan")
        return figures

    @torch.no_grad()
    def predict_outputs(self, rows: Array) -> Tensor:
        """(n_rows, n_outputs) on the CPU, of pictures as extraction sees them; the processes share the work."""
        self.network.eval()
        own = np.array_split(rows, self.world.size)[self.world.rank]
        size = self.config.training.batch_size // self.world.size  # takes no more memory than training does
        parts = []
        for start in range(0, len(own), size):
            with self._autocast():
                parts.append(self.network(self.feeder.look(own[start : start + size]), gather=False).float().cpu())
        outputs = torch.cat(parts) if parts else torch.empty(0, self.objective.n_outputs)
        return torch.cat(self.world.collect(outputs))

    # state

    def _state(self, averaged: bool = False) -> dict[str, Tensor]:
        """What the network learned, with the head's running moments."""
        buffers = {f"head.{name}": value for name, value in self.network.head.named_buffers()}
        learned = self.average.values if averaged and self.average else self.learning
        return {f"network/{name}": value for name, value in {**learned, **buffers}.items()}

    def _write_last(self) -> None:
        if not self.world.leads:
            return
        tensors = self._state()
        tensors |= {f"optimiser/{n}": v for n, v in pack_optimiser(self.optimiser, self.names).items()}
        if self.average:
            tensors |= {f"average/{name}": value for name, value in self.average.values.items()}
        record = {"progress": vars(self.progress), "scaler": self.scaler.state_dict()}
        write_checkpoint(self.folder / LAST, Checkpoint(tensors, record))

    def resume(self) -> None:
        """Take up the last checkpoint, if there is one."""
        if not (self.folder / LAST).exists():
            return
        checkpoint = read_checkpoint(self.folder / LAST)
        self.load_network(checkpoint)
        unpack_optimiser(self.optimiser, self.names, checkpoint.take("optimiser/"))
        if self.average:
            self.average.load(checkpoint.take("average/"))
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(checkpoint.record["scaler"])
        self.progress = Progress(**checkpoint.record["progress"])

    def load_network(self, checkpoint: Checkpoint) -> None:
        """Put what was learned back into the network."""
        tensors = checkpoint.take("network/")
        unknown = self.network.load_state_dict(tensors, strict=False).unexpected_keys
        missing = sorted(self._state().keys() - checkpoint.tensors.keys())
        if unknown or missing:
            raise SommelierError(
                f"the checkpoint is of another network: it lacks {missing[:3]}, and has {unknown[:3]}."
            )

    def load_best(self) -> dict[str, Any]:
        """Put the best epoch's weights into the network; its record."""
        checkpoint = read_checkpoint(self.folder / BEST)
        self.load_network(checkpoint)
        return checkpoint.record

    # words

    def _log_step(self, log: Log, step: int, loss: float, norm: float, costs: dict[str, float]) -> None:
        if not self.world.leads or (step + 1) % self.config.tracking.log_steps:
            return
        rates = {group["part"]: group["lr"] for group in sorted(self.optimiser.param_groups, key=lambda g: g["lr"])}
        epoch = step // self.feeder.sampler.n_steps + 1
        record = {"kind": "step", "epoch": epoch, "step": step + 1, "loss": loss, "gradient_norm": norm,
                  "learning_rate": rates.get("backbone", 0.0), "head_learning_rate": rates["head"]}  # fmt: skip
        log(record | costs)

    def _measure(self, steps: int, seconds: float) -> dict[str, float]:
        """Of this process's steps in the epoch, without validation."""
        rate = steps * self.feeder.sampler.batch_size / max(seconds, 1e-9)
        return {"images_per_second": rate, "seconds": seconds}


def _gains(value: float, best: float | None, metric: str, margin: float) -> bool:
    """Whether a figure is better than the best by more than a margin; any is better than nothing."""
    if best is None or not np.isfinite(best):
        return True
    gain = best - value if is_smaller_better(metric) else value - best
    return bool(gain > margin)
