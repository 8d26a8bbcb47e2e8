"""Write data/store-<version>.h5, one file of each released format version; run once a version, then never again.

python -m tests.embeddings.make_fixture
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from embeddings.layout import VERSION, Header, Vectors, encode_column, encode_strings, write_store
from embeddings.provenance import Provenance, Space
from embeddings.questions import Question

DATA = Path(__file__).parent / "data"
IDS = ["587722981736120347", "587722981736120348", "J0001+00", "galaxie-é", "g5", "g6"]
STATUS = ["ok", "ok", "failed: no such file", "ok", "ok", "ok"]


def main() -> None:
    provenance = Provenance(
        {"weights_sha256": "0" * 64, "architecture": {"depth": 2}, "resize": {"size": 56}, "normalisation": {}},
        {"range": "8-bit RGB", "alpha": "over black", "stretch": None, "bands": None, "cutout": None},
        (Space(1, "cls"), Space(2, "cls"), Space(2, "patch-mean")),
        "fp32",
        "float16",
        (
            {
                "backbone": "tiny",
                "device": "cpu",
                "versions": {},
                "date": "2026-01-01T00:00:00+00:00",
                "finetune": {"run": "/runs/full", "split_sha256": "5" * 64},
            },
        ),
    )
    questions = (Question("shape", ("round", "flat")), Question("bar", ("yes", "no"), "shape_flat"))
    arrays = {
        "id_str": encode_strings(IDS),
        "survey": encode_strings(["sdss"] * 6),
        "ra": np.array([0.0, 10.5, 180.25, np.nan, 359.5, 42.0]),
        "dec": np.array([-90.0, -1.25, 0.0, np.nan, 45.0, 90.0]),
        "image": encode_strings([f"{number}.jpg" for number in range(6)]),
        "image_root": np.array([0, 0, 0, 1, 1, 1], np.uint16),
        "image_sha256": np.stack([np.frombuffer(hashlib.sha256(i.encode()).digest(), np.uint8) for i in IDS]),
        "status": encode_strings(STATUS),
        "part": encode_strings(["train", "", "val", "test", "train", ""]),
        "catalog/shape_round": np.array([30, 0, 7, 20, 10, 40]),
        "catalog/shape_flat": np.array([10, 20, 3, 20, 30, 0]),
        "catalog/shape_total-votes": np.array([40, 20, 10, 40, 40, 40]),
        "catalog/shape_round_fraction": np.array([0.75, 0.0, 0.7, 0.5, 0.25, 1.0]),
        "catalog/shape_flat_fraction": np.array([0.25, 1.0, 0.3, 0.5, 0.75, 0.0]),
        "catalog/bar_yes_fraction": np.array([0.5, 0.125, np.nan, 0.25, 1.0, np.nan]),
        "catalog/bar_no_fraction": np.array([0.5, 0.875, np.nan, 0.75, 0.0, np.nan]),
        "catalog/mag%2Fr": np.array([17.5, 16.25, 15.0, np.nan, 14.0, 13.0], np.float32),
        "catalog/specobjid": np.array([2**53 + 1, 2**60 + 1, 3, 4, 5, 6]),
        "catalog/edge": np.array([True, False, False, True, False, True]),
        "catalog/remark": encode_column(np.array(["", "Ringgalaxie, schön", "c", "d", "e", "f"], object)),
    }
    vectors = {}
    for number, space in enumerate(provenance.spaces):
        values = (np.arange(24).reshape(6, 4) / 4 + 100 * number).astype(np.float16)  # exact in float16
        values[2] = np.nan
        vectors[space] = Vectors.of(values)
    header = Header("sdss", provenance, questions, ("/data/images", "/data/more images"))
    path = DATA / f"store-{'.'.join(map(str, VERSION))}.h5"
    if path.exists():
        raise SystemExit(f"{path} is what version {VERSION} wrote: it stays.")
    write_store(path, header, arrays, vectors)


if __name__ == "__main__":
    main()
