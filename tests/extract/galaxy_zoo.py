"""Small Galaxy Zoo releases in the files, columns and folders of the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from extract.schema import CAMPAIGNS, Dialect

DIALECTS = {
    "sdss": Dialect.raw_gz2(),
    "decals": Dialect.modern(CAMPAIGNS["dr12"]),
    "decals5": Dialect.modern(CAMPAIGNS["dr5"]),
    "ukidss": Dialect.modern(CAMPAIGNS["ukidss"], "-ukidss"),
}
RA = np.array([126.572601, 180.407516, 228.097458, 0.001, 359.999, 10.5, 200.25, 45.0])
DEC = np.array([54.204586, 3.261067, 7.496871, -0.50833, -45.25, 0.0, 89.5, -1.0])
N = len(RA)


def draw_votes(dialect: Dialect, seed: int = 0, debiased: bool = True) -> dict[str, np.ndarray]:
    """Thirty volunteers a galaxy walk the tree; columns as the release writes them."""
    rng = np.random.default_rng(seed)
    reached: dict[str, np.ndarray] = {}
    columns: dict[str, np.ndarray] = {}
    for question in dialect.campaign.questions:
        there = reached[question.parent] if question.parent else np.full(N, 30)
        if question.unless:
            there = there - reached[question.unless]
        shares = rng.dirichlet(np.full(len(question.answers), 0.7), N)
        votes = np.stack([rng.multinomial(total, share) for total, share in zip(there, shares, strict=True)])
        if not dialect.count_ending and dialect.campaign.name != "ukidss":
            columns[f"{dialect.heads[question.name]}_total-votes"] = there
        for target, count in zip(question.targets, votes.T, strict=True):
            stem, reached[target] = dialect.stems[target], count
            fraction = np.divide(count, there, out=np.zeros(N), where=there > 0)
            columns[stem + dialect.count_ending] = count
            columns[f"{stem}_fraction"] = fraction
            if dialect.campaign.name == "gz2":
                columns[f"{stem}_weight"] = count * 0.9
                columns[f"{stem}_weighted_fraction"] = np.round(fraction * 0.9, 3)
                columns[f"{stem}_flag"] = (fraction > 0.8).astype(int)
            if debiased and dialect.campaign.name != "ukidss":
                columns[f"{stem}_debiased"] = np.round(fraction**2, 4)
    return columns


def name_place(ra: float, dec: float) -> str:
    """The IAU's name of a place, J082617.42+541216.5."""
    hours, seconds = divmod(round(ra / 15 * 3600, 2), 3600)
    degrees, arcseconds = divmod(round(abs(dec) * 3600, 1), 3600)
    return (
        f"J{int(hours):02}{int(seconds // 60):02}{seconds % 60:05.2f}{'-' if dec < 0 else '+'}"
        f"{int(degrees):02}{int(arcseconds // 60):02}{arcseconds % 60:04.1f}"
    )


def draw_image(path: Path, number: int) -> None:
    """A picture that tells its number: its every pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (number, number, number)).save(path)


def write_sdss(folder: Path, **changes: Any) -> pd.DataFrame:
    """gz2_hart16.csv, the mapping, images/<asset_id>.jpg; `changes` replace columns, None drops one."""
    ids = [str(587722952231026744 + 7 * number) for number in range(N)]
    places = [name_place(*place)[1:] for place in zip(RA, DEC, strict=True)]
    table: dict[str, Any] = {
        "dr7objid": ids,
        "ra": RA,
        "dec": DEC,
        "rastring": [f"{name[:2]}:{name[2:4]}:{name[4:9]}" for name in places],
        "decstring": [f"{name[9:12]}:{name[12:14]}:{name[14:]}" for name in places],
        "sample": "original",
        "gz2_class": "Sc",
        "total_classifications": 30,
    }
    frame = _write(folder / "gz2_hart16.csv", table | draw_votes(DIALECTS["sdss"]) | changes)
    mapping = pd.DataFrame({"objid": ids[::-1], "sample": "original", "asset_id": np.arange(N)[::-1] + 1000})
    mapping.to_csv(folder / "gz2_filename_mapping.csv", index=False)
    for number in range(N):
        draw_image(folder / f"images/{1000 + number}.jpg", 10 * number)
    return frame


def write_decals(folder: Path, kind: str = "decals", **changes: Any) -> pd.DataFrame:
    """gz_decals_volunteers_1_and_2.csv or _5.csv, and J???/<iauname>.png in two unpacked parts."""
    names = [name_place(*place) for place in zip(RA, DEC, strict=True)]
    table: dict[str, Any] = {
        "iauname": names,
        "ra": RA,
        "dec": DEC,
        "redshift": [0.05, -9999.0, 0.1, None, 0.2, 0.03, 0.04, 0.06],
        "petro_theta": 5.0,
    }
    end = {"wrong_size_statistic": 150.0, "wrong_size_warning": [False, True, False, False, None, False, False, False]}
    stem = "gz_decals_volunteers_5" if kind == "decals5" else "gz_decals_volunteers_1_and_2"
    frame = _write(folder / f"{stem}.csv", table | draw_votes(DIALECTS[kind], 1) | end | changes)
    for number, name in enumerate(names):
        draw_image(folder / f"gz_decals_dr5_png_part{1 + number % 2}/{name[:4]}/{name}.png", 10 * number)
    return frame


def write_ukidss(folder: Path, **changes: Any) -> pd.DataFrame:
    """ukidss_catalog.csv, {subfolder}/{filename}, and a crosswalk to the galaxies of `write_sdss`."""
    subjects = [f"524482bc3ae74054bf00{number:04x}" for number in range(N)]
    table: dict[str, Any] = {"subfolder": [s[:21] for s in subjects], "filename": [f"{s}.jpg" for s in subjects]}
    frame = _write(folder / "ukidss_catalog.csv", table | draw_votes(DIALECTS["ukidss"], 2) | changes)
    walk = {"subject_id": subjects, "dr7objid": [str(587722952231026744 + 7 * number) for number in range(N)]}
    pd.DataFrame(walk).iloc[::-1].iloc[:-1].to_csv(folder / "crosswalk.csv", index=False)  # the first is not in it
    for number, subject in enumerate(subjects):
        draw_image(folder / f"images/{subject[:21]}/{subject}.jpg", 10 * number)
    return frame


def _write(path: Path, table: dict[str, Any]) -> pd.DataFrame:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame({name: values for name, values in table.items() if values is not None})
    frame.to_csv(path, index=False)
    return frame
