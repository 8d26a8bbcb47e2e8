"""The most memory that a piece of work held."""

from __future__ import annotations

import re
from pathlib import Path

PROCESS = Path("/proc/self")  # Linux's: proc(5)


class PeakMemory:
    """
    The process's peak of resident memory from now on; making another one ends this one's count.

    Where the system cannot let it start anew (it is Linux's, and not every container's), the peak is not known: that
    since the process started would be of other work as well.
    """

    def __init__(self) -> None:
        try:
            (PROCESS / "clear_refs").write_text("5")
        except OSError:
            self.known = False
        else:
            self.known = True

    def read(self) -> int | None:
        """The peak since this was made, in bytes; None where it is not known."""
        found = re.search(r"VmHWM:\s+(\d+) kB", (PROCESS / "status").read_text()) if self.known else None
        return 1024 * int(found[1]) if found else None
