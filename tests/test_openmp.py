"""torch, faiss and scikit-learn bring OpenMP runtimes of their own; in either order they must work in one process."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

USE = {
    "torch": "import torch; x = torch.randn(256, 256); assert (x @ x).isfinite().all()",
    "faiss": "import faiss, numpy as np; X = np.eye(64, dtype='f4'); i = faiss.IndexFlatIP(64); i.add(X);"
    "assert (i.search(X, 1)[1][:, 0] == np.arange(64)).all()",
    "sklearn": "import numpy as np; from sklearn.cluster import KMeans; KMeans(2, n_init=1).fit(np.eye(64))",
}


@pytest.mark.parametrize("order", list(itertools.permutations(USE)), ids="-".join)
def test_every_import_order_works(order: tuple[str, ...]) -> None:
    pytest.importorskip("faiss")
    code = "\n".join([*(USE[name] for name in order), *(USE[name] for name in order)])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
