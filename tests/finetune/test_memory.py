"""A device that holds so many images and no more."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finetune.memory import find_fitting_batch

CPU = torch.device("cpu")


def attempt_with(room: int, tried: list[int]) -> object:
    def attempt(n_images: int) -> None:
        tried.append(n_images)
        if n_images > room:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return attempt


@given(too_many=st.integers(1, 5000), data=st.data())
def test_the_first_half_that_fits_is_found(too_many: int, data: st.DataObject) -> None:
    room, least, tried = data.draw(st.integers(0, too_many - 1)), data.draw(st.integers(1, 3)), list[int]()
    found = find_fitting_batch(attempt_with(room, tried), too_many, least, CPU)  # type: ignore[arg-type]
    halves = [too_many >> shift for shift in range(1, 14) if too_many >> shift >= least]
    assert found == max([half for half in halves if half <= room], default=0)
    assert tried == [half for half in halves if half >= found or not found]


def test_other_errors_are_not_of_memory() -> None:
    def attempt(n_images: int) -> None:
        raise RuntimeError(f"{n_images} images of a wrong shape")

    with pytest.raises(RuntimeError, match="8 images of a wrong shape"):
        find_fitting_batch(attempt, 16, 1, CPU)
