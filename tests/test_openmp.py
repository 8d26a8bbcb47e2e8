"""torch, faiss, xgboost and scikit-learn bring OpenMP runtimes of their own: in any order they must work together."""

from __future__ import annotations

import subprocess
import sys

import pytest

USE = {
    "torch": "import torch; x = torch.randn(256, 256); assert (x @ x).isfinite().all()",
    "faiss": "import faiss, numpy as np; X = np.eye(64, dtype='f4'); i = faiss.IndexFlatIP(64); i.add(X);"
    "assert (i.search(X, 1)[1][:, 0] == np.arange(64)).all()",
    "sklearn": "import numpy as np; from sklearn.cluster import KMeans; KMeans(2, n_init=1).fit(np.eye(64))",
    "xgboost": "import xgboost, numpy as np; D = xgboost.QuantileDMatrix(np.eye(64), np.ones(64));"
    "assert xgboost.train({'tree_method': 'hist'}, D, 2).num_boosted_rounds() == 2",
}


NAMES = list(USE)
TURNS = [NAMES[start:] + NAMES[:start] for start in range(len(NAMES))]
ORDERS = TURNS + [turn[::-1] for turn in TURNS]  # each comes first, and each before and after each other


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_every_import_order_works(order: list[str]) -> None:
    for name in order:
        pytest.importorskip(name)
    code = "\n".join([*(USE[name] for name in order), *(USE[name] for name in order)])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
