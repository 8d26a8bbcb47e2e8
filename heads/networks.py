"""Small networks on vectors: built, trained until the held-out galaxies say stop, and folded into plain layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from heads.layers import Array, Layers

MIN_STEPS, MIN_BATCH = 16, 32
Loss = Callable[[Tensor, Tensor], Tensor]  # of outputs (n, n_outputs) and their rows (n,), a mean


@dataclass(frozen=True)
class Schedule:
    """
    How to train.

    Attributes
    ----------
    batch_size : int
        At most; few galaxies are cut into `MIN_STEPS` batches, as long as those hold `MIN_BATCH`.
    learning_rate : float
        The highest, of AdamW; it falls when the held-out loss stops falling.
    weight_decay : float
    max_epochs : int
    patience : int
        Epochs without a better held-out loss before training stops.
    """

    batch_size: int = 512
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    max_epochs: int = 100
    patience: int = 6


def build_network(n_in: int, hidden: Sequence[int], bias: Array, dropout: float) -> nn.Sequential:
    """
    Hidden layers of rectifiers, with batch normalisation and dropout, and one affine layer.

    Parameters
    ----------
    n_in : int
    hidden : sequence of int
        Widths.
    bias : (n_outputs,) array
        What all outputs are before training.
    dropout : float
    """
    parts: list[nn.Module] = []
    for width in hidden:
        parts += [nn.Linear(n_in, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)]
        n_in = width
    last = nn.Linear(n_in, len(bias))
    for layer in (*parts, last):
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.as_tensor(bias))
    return nn.Sequential(*parts, last)


def train_network(network: nn.Sequential, X: Tensor, loss: Loss, held_out: Tensor, schedule: Schedule) -> float:
    """
    Train on the rows that are not held out, and keep the state that was best on those that are.

    Parameters
    ----------
    network : Sequential
        Left in evaluation mode.
    X : (n_galaxies, n_in) tensor
    loss : callable
    held_out : (n_galaxies,) bool tensor
    schedule : Schedule

    Returns
    -------
    float
        The best held-out loss.
    """
    optimiser = torch.optim.AdamW(network.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay)
    slower = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.3, patience=schedule.patience // 3)
    training, testing = torch.nonzero(~held_out)[:, 0], torch.nonzero(held_out)[:, 0]
    best, best_state, waited = _evaluate(network, X, loss, testing), copy_state(network), 0
    for _ in range(schedule.max_epochs):
        _train_epoch(network, X, loss, training[torch.randperm(len(training))], optimiser, schedule.batch_size)
        value = _evaluate(network, X, loss, testing)
        slower.step(value)
        waited += 1
        if value < best:
            best, waited = value, 0
            best_state = copy_state(network)
        if waited >= schedule.patience:
            break
    network.load_state_dict(best_state)
    network.eval()
    return best


def copy_state(network: nn.Module) -> dict[str, Tensor]:
    """The parameters and running moments, apart from what training does next."""
    return {name: values.clone() for name, values in network.state_dict().items()}


def _train_epoch(
    network: nn.Sequential, X: Tensor, loss: Loss, rows: Tensor, optimiser: torch.optim.Optimizer, batch_size: int
) -> None:
    network.train()
    n_batches = max(len(rows) // batch_size, min(len(rows) // MIN_BATCH, MIN_STEPS), 1)
    for batch in rows.tensor_split(n_batches):  # even, so that none is too small to normalise
        optimiser.zero_grad()
        loss(network(X[batch]), batch).backward()  # type: ignore[no-untyped-call]  # torch has no type for it
        optimiser.step()


@torch.no_grad()
def _evaluate(network: nn.Sequential, X: Tensor, loss: Loss, rows: Tensor) -> float:
    network.eval()
    return float(loss(network(X[rows]), rows))


def fold_network(network: nn.Sequential) -> Layers:
    """
    The affine layers of a network in evaluation mode, batch normalisation taken into them.

    Normalised, x W + b becomes (x W + b - mean) g + shift with g = gain / sqrt(variance + eps).
    """
    layers: Layers = []
    for part in network:
        if isinstance(part, nn.Linear):
            layers.append((part.weight.detach().T.double().numpy(), part.bias.detach().double().numpy()))
        elif isinstance(part, nn.BatchNorm1d):
            mean, variance = part.running_mean, part.running_var
            assert mean is not None and variance is not None  # noqa: PT018 - for the type checker
            gain = (part.weight.detach().double() / torch.sqrt(variance.double() + part.eps)).numpy()
            weight, bias = layers[-1]
            shift = part.bias.detach().double().numpy()
            layers[-1] = weight * gain, (bias - mean.double().numpy()) * gain + shift
    # in one order of memory, as they are after saving: else BLAS sums in another
    return [(np.ascontiguousarray(weight, np.float32), bias.astype(np.float32)) for weight, bias in layers]
