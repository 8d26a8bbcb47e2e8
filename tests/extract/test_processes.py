"""How many cores, and children that do not outlive their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from extract import processes


def test_the_cores_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 7}, raising=False)
    assert processes.count_cpus() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert processes.count_cpus() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processes.count_cpus() == 1


def test_a_child_leaves_with_its_parent() -> None:
    child = (
        "import os, time; from extract.processes import follow_parent; follow_parent(os.getppid()); "
        "print(os.getpid(), flush=True); time.sleep(60)"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    running = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    number = int(running.stdout.readline())
    os.kill(number, 0)  # it is there
    running.send_signal(signal.SIGKILL)
    running.wait()
    running.stdout.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and is_running(number):
        time.sleep(0.1)
    assert not is_running(number)


def is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True
