"""How many threads a fit gets."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController

SMALL = 10_000_000  # numbers in X
BRING_POOLS = ("torch", "faiss", "xgboost")  # modules with thread pools of their own, loaded on use


def limit_threads(n_numbers: int) -> AbstractContextManager[object]:
    """
    One thread where there is little to do.

    Fits are thousands of short steps. Threads that wait for each other after each of them gain nothing on small
    vectors, and on a busy machine cost a hundred times the work.

    Parameters
    ----------
    n_numbers : int
        The size of what is fitted on.
    """
    limited: AbstractContextManager[object] = _find_pools(_list_loaded()).limit(limits=1 if n_numbers < SMALL else None)
    return limited


def limit_blas() -> AbstractContextManager[object]:
    """One thread a call of BLAS or LAPACK: where several run at once, or threads wait longer than they work."""
    limited: AbstractContextManager[object] = _find_pools(_list_loaded()).limit(limits=1, user_api="blas")
    return limited


def _list_loaded() -> tuple[str, ...]:
    return tuple(name for name in BRING_POOLS if name in sys.modules)


@cache
def _find_pools(loaded: tuple[str, ...]) -> ThreadpoolController:
    """The thread pools of this process; to look for them takes milliseconds, so once for each set of modules."""
    return ThreadpoolController()
