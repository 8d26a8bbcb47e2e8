"""Cores and child processes: what every pool of them needs. No torch: a simulated sky has pools too."""

from __future__ import annotations

import os
import signal
import threading
import time


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
