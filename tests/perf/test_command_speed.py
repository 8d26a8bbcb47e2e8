"""Help at once: nobody waits for torch to read what an option means."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.perf.timing import measure
from tests.test_commands import COMMANDS

pytestmark = pytest.mark.perf


@pytest.mark.parametrize("name", ["sommelier", *COMMANDS])
def test_help(name: str) -> None:
    command = [sys.executable, "-m", *name.split(), "--help"]
    times = measure(3, help=lambda: subprocess.run(command, check=True, capture_output=True))
    assert times["help"] < 0.3
