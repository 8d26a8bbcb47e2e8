from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.parallel import World
from tests.finetune.training import ALONE
from tests.finetune.two_processes import work

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"training__ema": 0.9, "model__drop_path": 0.3},
        {"training__accumulate": 2, "training__loss": "multinomial", "model__method": "last"},
    ],
    ids=str,
)
def test_two_processes_give_what_one_gives(tmp_path: Path, changes: dict[str, Any]) -> None:
    """
    Batch normalisation, dropout, weights and views included: only the order of sums differs.

    Gradients are compared after one step; Adam then makes full steps of gradients that are rounding errors, so after
    training the outputs are compared. The tolerances are those of docs/finetuning.md.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone",
               "-m", "tests.finetune.two_processes", str(tmp_path / "two"), json.dumps(changes)]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    one = work(tmp_path / "one", changes, ALONE)
    ranks = [torch.load(tmp_path / "two" / f"rank{rank}.pt") for rank in range(2)]
    for part in ("gradients", "state", "outputs"):
        for name, value in one[part].items():
            assert torch.equal(ranks[0][part][name], ranks[1][part][name]), name
            if part == "gradients":
                size = float(value.abs().max())
                torch.testing.assert_close(ranks[0][part][name], value, atol=1e-5 * size + 1e-8, rtol=1e-4)
    outputs, expected = ranks[0]["outputs"]["val"], one["outputs"]["val"]
    torch.testing.assert_close(outputs, expected, atol=2e-3, rtol=0)
    assert float(expected.std(dim=0).max()) > 0.02  # the tolerance is small beside what the outputs say


def test_a_process_alone_has_everything() -> None:
    values = torch.ones(3, 2)
    assert ALONE.gather(values) is values
    assert ALONE.collect("x") == ["x"]
    assert ALONE.any(True)
    assert ALONE.leads


def test_the_shares_of_a_batch_are_its_rows_in_order() -> None:
    rows = list(range(12))
    shares = [rows[World(rank, 3, torch.device("cpu")).own_slice(12)] for rank in range(3)]
    assert [*shares[0], *shares[1], *shares[2]] == rows
