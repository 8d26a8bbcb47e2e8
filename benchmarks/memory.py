"""The most memory that a piece of work held."""

from __future__ import annotations

import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def reset_peak() -> None:
    """Begin to measure anew, where the system can (Linux: proc(5), clear_refs)."""
    with suppress(OSError):
        CLEAR.write_text("5")


def measure_peak() -> int:
    """The most memory that this process held since `reset_peak`, in bytes; since its start where nothing can reset."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())
    except OSError:
        found = None
    if found:
        return 1024 * int(found[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
