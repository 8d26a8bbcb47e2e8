"""Kill an extraction with SIGKILL at random moments, many times; run by test_pipeline in a process of its own.

A fork costs nothing beside an interpreter that imports torch; it is safe here because this process never computes:
its thread pools do not exist yet when it forks.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModel  # noqa: F401 - imported once, for all children
from transformers.models.dinov2 import modeling_dinov2  # noqa: F401 - else each child spends its life on importing it

from embeddings.parts import list_parts
from embeddings.store import EmbeddingStore
from extract.catalog import Catalog
from extract.pipeline import extract_embeddings


def run(catalog: Path, backbone: str, output: Path) -> None:
    work = {"size": 56, "batch_size": 2, "workers": 1, "threads": 1}
    torch.set_num_threads(1)
    extract_embeddings(Catalog.read(catalog), backbone, output, layers=(1, 2), pools=("cls", "patch-mean"), **work)


def start(catalog: Path, backbone: str, output: Path) -> int:
    child = os.fork()
    if child == 0:
        try:
            run(catalog, backbone, output)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
    return child


def check_whole(output: Path) -> None:
    """Whatever a kill left must be whole: the store, if there is one, and every part."""
    for path in ([output] if output.exists() else []) + list_parts(output):
        with EmbeddingStore.open(path) as store:
            problems = store.verify()
            assert not problems, problems


def main(catalog: Path, backbone: str, folder: Path, n_kills: int) -> None:
    before = time.monotonic()
    assert os.waitpid(start(catalog, backbone, folder / "whole.h5"), 0)[1] == 0
    duration = time.monotonic() - before
    output, kills, finished, resumed = folder / "killed.h5", 0, 0, 0
    while kills < n_kills or (resumed < n_kills // 5 and kills < 4 * n_kills):  # a loaded machine is slow to begin
        there = len(list_parts(output))
        child = start(catalog, backbone, output)
        time.sleep(random.uniform(0, duration))
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        check_whole(output)
        if os.WIFSIGNALED(status):
            kills += 1
            resumed += there > 0
        else:
            assert status == 0
            finished += 1
            output.rename(folder / f"finished-{finished}.h5")
    assert os.waitpid(start(catalog, backbone, output), 0)[1] == 0
    output.rename(folder / f"finished-{finished + 1}.h5")
    print(json.dumps({"kills": kills, "resumed": resumed, "finished": finished + 1, "seconds": duration}))


if __name__ == "__main__":
    random.seed(0)
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
