"""
Hold the simulated sky against real images: the sheets and figures of docs/simulation.md.

    python docs/simulation.py DATA WORK [BACKBONE]

DATA holds ``sdss_kaggle_spiral``, ``sdss_kaggle_unlabelled`` (SDSS as GZ2 showed it), ``gz4_interface_examples`` (from
zooniverse/Galaxy-Zoo, Apache-2.0) and ``gz_native_format_fixtures`` (DECaLS). WORK is a folder for the sky and the
stores. BACKBONE is a model folder or hub id, tried beside `tiny`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from embeddings import EmbeddingStore
from embeddings.files import hash_file
from extract.catalog import catalog_from_table
from extract.pipeline import extract_embeddings
from extract.simulation import simulate_sky
from extract.simulation.appearance import MEASURES, measure_appearance
from extract.simulation.instruments import FRAME
from heads import fit_head

GALAXIES, SEED, MOST = 350, 2026, 200
REAL = {
    "sdss": ("sdss_kaggle_spiral/images", "sdss_kaggle_unlabelled"),
    "decals": ("gz4_interface_examples/images/decals", "gz_native_format_fixtures/galaxy_zoo_decals"),
    "ukidss": (),
}
SHOWN = {"sdss": "gz4_interface_examples/images/sloan", "decals": REAL["decals"][0]}  # whose licence lets them be shown
SIDE, COLUMNS, ROWS, GAP = 106, 6, 6, 12


def find_images(folder: Path, most: int | None = MOST) -> list[Path]:
    """Different images of 424 pixels, as many as asked for, the same at every call."""
    found = {hash_file(path): path for path in sorted(folder.rglob("*")) if path.suffix in (".jpg", ".png")}
    paths = [path for path in found.values() if Image.open(path).size == (FRAME, FRAME)]
    order = np.random.default_rng(0).permutation(len(paths))[:most]
    return [paths[number] for number in sorted(order)]


def measure(paths: Sequence[Path]) -> pd.DataFrame:
    """What `measure_appearance` finds on each image."""
    return pd.DataFrame([measure_appearance(np.asarray(Image.open(path).convert("RGB"))) for path in paths])


def compare(simulated: Sequence[Path], real: dict[str, Sequence[Path]]) -> str:
    """A Markdown table: the simulated median, and the quartiles of each real set."""
    ours = measure(simulated).median()
    theirs = {name: measure(paths).quantile([0.25, 0.5, 0.75]) for name, paths in real.items()}
    lines = ["| | simulated | " + " | ".join(f"{name} ({len(real[name])})" for name in theirs) + " |"]
    lines += ["|--" * (2 + len(theirs)) + "|"]
    for name in MEASURES:
        cells = [f"{q[name].iloc[1]:.3f} ({q[name].iloc[0]:.3f} to {q[name].iloc[2]:.3f})" for q in theirs.values()]
        lines.append(f"| {name} | {ours[name]:.3f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tell_apart(simulated: Sequence[Path], real: Sequence[Path], backbone: str, work: Path, name: str) -> str:
    """The nested-CV scores of a ridge head that is to tell simulated from real images."""
    n = min(len(simulated), len(real))
    files = [*simulated[:n], *real[:n]]
    table = {"id": [f"{number:04}" for number in range(2 * n)], "file": [str(path.resolve()) for path in files]}
    csv = work / f"{name}.csv"
    pd.DataFrame(table | {"simulated": [1] * n + [0] * n}).to_csv(csv, index=False)
    catalog = catalog_from_table(csv, "/", "id", "file", labels=["simulated"], survey=name)
    store = work / f"{name}.h5"
    extract_embeddings(catalog, backbone, store)
    (score,) = fit_head(EmbeddingStore.open(store), "ridge").scores
    return f"AUC {score['auc']:.3f} ± {score['auc_sd']:.3f}, {n} simulated and {n} real"


def draw_sheet(simulated: Sequence[Path], real: Sequence[Path], survey: str, out: Path) -> None:
    """Simulated on the left, real on the right; simulated alone where there is no real image."""
    halves = [("simulated", simulated), ("real", real)] if real else [("simulated", simulated)]
    columns = COLUMNS if real else 2 * COLUMNS
    width = columns * SIDE
    sheet = Image.new("RGB", (len(halves) * (width + GAP) - GAP, ROWS * SIDE + 18), "white")
    pen = ImageDraw.Draw(sheet)
    for half, (title, paths) in enumerate(halves):
        left = half * (width + GAP)
        pen.text((left + 2, 3), f"{survey}, {title}", fill="black")
        for number, path in enumerate(paths[: columns * ROWS]):
            tile = Image.open(path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            sheet.paste(tile, (left + number % columns * SIDE, 18 + number // columns * SIDE))
    sheet.save(out, quality=88)


def main(data: Path, work: Path, backbones: Sequence[str]) -> None:
    """Simulate, draw, measure, tell apart; print Markdown."""
    simulate_sky(work / "sky", GALAXIES, SEED)
    for survey, folders in REAL.items():
        simulated = find_images(work / "sky" / survey)
        real = {folder.split("/")[0]: find_images(data / folder) for folder in folders}
        shown = find_images(data / SHOWN[survey], COLUMNS * ROWS) if survey in SHOWN else []
        draw_sheet(simulated, shown, survey, Path(__file__).with_name(f"simulation_{survey}.jpg"))
        print(f"\n## {survey}: {len(simulated)} simulated images\n\n{compare(simulated, real)}\n")
        for backbone in backbones:
            for name, paths in real.items():
                label = f"{survey}-{name}-{Path(backbone).name}"
                print(f"- {Path(backbone).name}, {name}: {tell_apart(simulated, paths, backbone, work, label)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), ["tiny", *sys.argv[3:]])
