"""How many images a device can take, found by trying."""

from __future__ import annotations

from collections.abc import Callable

import torch


def find_fitting_batch(attempt: Callable[[int], None], too_many: int, least: int, device: torch.device) -> int:
    """
    The largest half, quarter, ... of a batch that fits.

    Parameters
    ----------
    attempt : callable
        Computes with so many images; raises `torch.OutOfMemoryError` where they do not fit.
    too_many : int
        Does not fit.
    least : int
        Fewer are of no use.
    device : torch.device

    Returns
    -------
    int
        0 where not even the least does.
    """
    size = too_many // 2
    while size >= least:
        if device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            attempt(size)
        except torch.OutOfMemoryError:
            size //= 2
        else:
            return size
    return 0
