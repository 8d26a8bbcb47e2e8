"""Cores and child processes: what every pool of them needs. No torch: a simulated sky has pools too."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from embeddings.errors import SommelierError


def count_cpus() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def follow_parent(parent: int) -> None:
    """
    Leave Ctrl-C to the parent, and leave when it is gone: a pool's processes outlive a killed parent.

    Parameters
    ----------
    parent : int
        Its process id.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def run_parts(make: Callable[[int], int], starts: Sequence[int], workers: int) -> Iterator[int]:
    """
    Make parts of something, here or in processes.

    Parameters
    ----------
    make : callable
        Makes and keeps the part that begins at a number, and returns that; one that can be pickled.
    starts : sequence of int
    workers : int

    Yields
    ------
    int
        The start of each part that is done.

    Raises
    ------
    SommelierError
        When a process died.
    """
    if min(workers, len(starts)) <= 1:
        yield from map(make, starts)
        return
    with ProcessPoolExecutor(min(workers, len(starts)), get_context("spawn"), follow_parent, (os.getpid(),)) as pool:
        try:
            for future in as_completed([pool.submit(make, start) for start in starts]):
                yield future.result()
        except BrokenProcessPool as error:
            raise SommelierError(
                "a process died: out of memory, killed, or of a script without if __name__ == '__main__'. What is "
                "finished is kept: run the same again, with fewer workers if memory is short."
            ) from error
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
