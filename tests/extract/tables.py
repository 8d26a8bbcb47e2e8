"""One small survey written in every kind of table, by the libraries that define them."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import MaskedColumn, Table

KINDS = ("csv", "csv.gz", "tsv", "txt", "parquet", "fits", "vot", "ecsv")
ASTROPY = {"fits": "fits", "vot": "votable", "ecsv": "ascii.ecsv"}

IDS = ["587722981742084096", "587722981742084097", "587722981742084098", "1237648720693755918"]
ROWS = {
    "objid": IDS,
    "file": ["a.png", "sub/b.png", "c.png", "d.png"],
    "kind": ["round", "flat", None, "round"],
    "seen": [True, False, True, True],
    "t": [-5, 0, 3, 10],
    "mag": [17.25, None, 16.5, 15.0],
    "specobjid": [299489677444933632, None, 299489677444933633, 7],
    "RA": [160.5, 0.0, None, 359.75],
    "DEC": [-5.5, 90.0, None, 0.25],
}


def write_table(folder: Path, kind: str, ids: type = str) -> Path:
    """Write the rows; `ids` says whether ids are text or 64-bit integers where the kind tells them apart."""
    path = folder / f"survey.{kind}"
    rows = ROWS | {"objid": [ids(i) for i in IDS]}
    if kind in ASTROPY:
        columns = []
        for name, values in rows.items():
            missing = [value is None for value in values]
            filler = next(value for value in values if value is not None)
            filled = [filler if value is None else value for value in values]
            columns.append(MaskedColumn(filled, name, mask=missing) if any(missing) else MaskedColumn(filled, name))
        Table(columns).write(path, format=ASTROPY[kind])
    elif kind == "parquet":
        pq.write_table(pa.table(rows), path)
    else:
        with gzip.open(path, "wt", newline="") if kind.endswith("gz") else path.open("w", newline="") as stream:
            writer = csv.writer(stream, delimiter={"tsv": "\t", "txt": ";"}.get(kind, ","))
            writer.writerow(rows)
            writer.writerows([["" if v is None else v for v in row] for row in zip(*rows.values(), strict=True)])
    return path


def touch_images(folder: Path) -> Path:
    (folder / "sub").mkdir(exist_ok=True)
    for name in ROWS["file"]:
        (folder / str(name)).touch()
    return folder


def as_floats(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], float)
