"""Memory while parts are written and joined must not grow with the vectors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.perf,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc"),
]

# vectors of 768 x float16 are 1,536 bytes a row; ids, hashes, paths and their Python objects are what may grow
MAX_BYTES_A_ROW = 800
WRITE_AND_JOIN = """
import sys
from pathlib import Path
import numpy as np
from embeddings import layout
from embeddings.layout import Header
from embeddings.parts import Source, join_sources, list_parts, write_part
from embeddings.provenance import Provenance, Space

store, n_rows, space = Path(sys.argv[1]), int(sys.argv[2]), Space(12, "cls")
provenance = Provenance({"weights_sha256": "0"}, {}, (space,), runs=({"backbone": "none"},))
X = np.random.default_rng(0).standard_normal((2000, 768), np.float32).astype(np.float16)
for start in range(0, n_rows, 2000):
    ids = [f"{row:018}" for row in range(start, start + 2000)]
    status = layout.encode_strings(["ok"] * 2000)
    write_part(store, provenance, "sdss", ids, np.zeros((2000, 32), np.uint8), status, {space: X})
sources = [Source.open(part, provenance) for part in list_parts(store)]
place = {id_str: (number, row) for number, source in enumerate(sources) for row, id_str in enumerate(source.ids)}
ids = [f"{row:018}" for row in range(n_rows)]
arrays = {
    "id_str": layout.encode_strings(ids), "survey": layout.encode_strings(["sdss"] * n_rows),
    "ra": np.zeros(n_rows), "dec": np.zeros(n_rows), "image": layout.encode_strings(ids),
    "image_root": np.zeros(n_rows, np.uint16),
}
picks = np.array([place[id_str] for id_str in ids])
join_sources(store, Header("sdss", provenance, (), ("",)), arrays, sources, picks, 768)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # maxrss counts the parent's
print(int(peak.split()[1]) * 1024)
"""


def test_writing_and_joining_parts(tmp_path: Path) -> None:
    peaks = {}
    for n_rows in (20_000, 120_000):
        command = [sys.executable, "-c", WRITE_AND_JOIN, str(tmp_path / f"{n_rows}.h5"), str(n_rows)]
        peaks[n_rows] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    growth = (peaks[120_000] - peaks[20_000]) / 100_000
    shown = ", ".join(f"{n_rows} rows {peak / 2**20:.0f} MiB" for n_rows, peak in peaks.items())
    print(f"  peak {shown}: {growth:.0f} bytes a row")
    assert growth < MAX_BYTES_A_ROW
