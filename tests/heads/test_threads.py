"""Threads are limited for small work, and given back."""

from __future__ import annotations

import numpy as np  # noqa: F401 - brings its BLAS
import torch
from threadpoolctl import threadpool_info

from heads.threads import SMALL, limit_blas, limit_threads


def count_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info()] + [torch.get_num_threads()]


def test_small_work_gets_one_thread_and_large_all() -> None:
    before = count_threads()
    with limit_threads(SMALL - 1):
        assert set(count_threads()) == {1}
    with limit_threads(SMALL):
        assert count_threads() == before
    assert count_threads() == before


def test_blas_gets_one_thread_and_gives_it_back() -> None:
    # a BLAS that is built on OpenMP, such as faiss's, takes its OpenMP pool along: nothing is said of other pools
    import faiss  # noqa: F401

    before = threadpool_info()
    with limit_blas():
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}
    assert threadpool_info() == before
