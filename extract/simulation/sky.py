"""Simulate a sky: images by many processes in parts that survive a kill, then votes, then the releases' tables."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embeddings.errors import SommelierError
from embeddings.files import claim_folder, replace_file
from embeddings.parts import FileLock
from extract.processes import count_cpus, run_parts
from extract.schema import CAMPAIGNS
from extract.simulation.answers import expect_shares
from extract.simulation.instruments import FRAME, INSTRUMENTS, measure_frames
from extract.simulation.names import MOST_GALAXIES, image_path, name_decals, name_sdss, name_ukidss
from extract.simulation.observation import observe_galaxy
from extract.simulation.pictures import draw_picture, encode_picture, write_picture
from extract.simulation.population import draw_population
from extract.simulation.releases import measure_source_distance, write_decals, write_sdss, write_ukidss
from extract.simulation.volunteers import debias_fractions, draw_volunteers, walk_tree

Report = Callable[[int, int, int], None]

VERSION = 1  # of the simulation: another one draws another sky from the same seed
RECORD, TRUTH, PARTS, LOCK = "sky.json", "truth.parquet", ".parts", ".sky.json.lock"
PART_GALAXIES = 24
SMALLEST = 32  # pixels a side of an image
CAMPAIGN = {"sdss": "gz2", "decals": "dr12", "ukidss": "ukidss"}
NAMES = {"sdss": "asset_id", "decals": "iauname", "ukidss": "subject_id"}  # what an image is called by


@dataclass(frozen=True)
class Sky:
    """
    What a simulated sky is made of; the same one is always the same, bit for bit, on one kind of machine.

    Parameters
    ----------
    galaxies : int
    seed : int
    size : int
        Pixels a side of its images.
    """

    galaxies: int
    seed: int = 0
    size: int = FRAME

    def __post_init__(self) -> None:
        if self.galaxies > MOST_GALAXIES:
            raise SommelierError(
                f"a sky has at most {MOST_GALAXIES} galaxies, not {self.galaxies}: their names end there."
            )
        if self.galaxies < 1 or self.size < SMALLEST or self.seed < 0:
            raise SommelierError(
                f"a sky has at least 1 galaxy, images of at least {SMALLEST} pixels and a seed from 0 on, not "
                f"{self.galaxies} galaxies of {self.size} pixels with seed {self.seed}."
            )

    @property
    def record(self) -> dict[str, Any]:
        """What `sky.json` holds."""
        return {"format": "galaxy-sommelier simulated sky", "version": VERSION, **asdict(self)}


def simulate_sky(
    folder: str | os.PathLike[str],
    galaxies: int = 1000,
    seed: int = 0,
    size: int = FRAME,
    workers: int | None = None,
    progress: Report | None = None,
) -> pd.DataFrame:
    """
    Write three Galaxy Zoo releases of one simulated population, and the truth.

    A run that was stopped goes on where it was; of a finished sky nothing is made again. The result does not depend on
    `workers`.

    Parameters
    ----------
    folder : path
        New, empty, or one that holds this same sky.
    galaxies : int
        How many different galaxies: about 70 % are in SDSS, 60 % in DECaLS, 30 % in both, 28 % in UKIDSS.
    seed : int
    size : int
        Pixels a side; 424 in the real releases.
    workers : int, optional
        Processes; all cores by default.
    progress : callable, optional
        Called with images done, failed (0) and to be made.

    Returns
    -------
    DataFrame
        One row a galaxy, as in ``truth.parquet``: the population, names in each release (empty where it is not in
        it), and what each survey's image shows, ``sdss_arms`` and so on (`extract.simulation.sight`).

    Raises
    ------
    SommelierError
        When the folder holds another sky or anything else, or a process died.
    """
    root, sky = Path(folder), Sky(galaxies, seed, size)
    there = claim_folder(root, RECORD, sky.record, "sky")
    if not (there.get("complete") and (root / TRUTH).exists()):
        with FileLock(root / LOCK):
            _make_sky(root, sky, workers or count_cpus(), progress)
    shutil.rmtree(root / PARTS, ignore_errors=True)
    return pd.read_parquet(root / TRUTH)


def _make_sky(root: Path, sky: Sky, workers: int, progress: Report | None) -> None:
    """Images, then tables, then the record that says that all is there."""
    (root / PARTS).mkdir(parents=True, exist_ok=True)
    _render_parts(root, sky, workers, progress)
    sights = pd.concat([pd.read_parquet(_part_path(root, start)) for start in _list_starts(sky)])
    truth = _name_population(sky).set_index("galaxy", drop=False)
    for survey in INSTRUMENTS:
        seen = sights[sights["survey"] == survey].set_index("galaxy")
        _write_release(root / survey, survey, truth, seen, sky.seed)
    with replace_file(root / TRUTH) as temporary:
        _join_sights(truth, sights).to_parquet(temporary, index=False)
    for leftover in root.rglob(".*.tmp"):  # of runs that were killed while they wrote
        leftover.unlink(missing_ok=True)
    _write_record(root, sky.record | {"complete": True})


def _write_record(root: Path, record: dict[str, Any]) -> None:
    with replace_file(root / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n")


def _list_starts(sky: Sky) -> range:
    return range(0, sky.galaxies, PART_GALAXIES)


def _part_path(root: Path, start: int) -> Path:
    return root / PARTS / f"{start:08}.parquet"


@lru_cache(maxsize=1)
def _name_population(sky: Sky) -> pd.DataFrame:
    """The galaxies with their names, empty where a survey does not have one."""
    truth = draw_population(sky.galaxies, sky.seed)
    names = name_sdss(truth["galaxy"].to_numpy(), sky.seed)
    truth["dr7objid"] = names["dr7objid"].where(truth["in_sdss"], "")
    truth["asset_id"] = names["asset_id"].astype(str).where(truth["in_sdss"], "")
    inside = truth["in_decals"]
    truth["iauname"] = ""
    truth.loc[inside, "iauname"] = name_decals(truth.loc[inside, "ra"].to_numpy(), truth.loc[inside, "dec"].to_numpy())
    subjects = pd.Series(name_ukidss(truth["galaxy"].to_numpy(), sky.seed), index=truth.index)
    truth["subject_id"] = subjects.where(truth["in_ukidss"], "")
    return truth


def _render_parts(root: Path, sky: Sky, workers: int, progress: Report | None) -> None:
    """Render every part that is not there, and say how it goes."""
    truth = _name_population(sky)
    images = truth[["in_sdss", "in_decals", "in_ukidss"]].sum(axis=1).to_numpy()
    missing = [start for start in _list_starts(sky) if not _part_path(root, start).exists()]
    total = sum(int(images[start : start + PART_GALAXIES].sum()) for start in missing)
    done = 0
    for start in run_parts(partial(render_part, root, sky), missing, workers):
        done += int(images[start : start + PART_GALAXIES].sum())
        if progress:
            progress(done, 0, total)


def render_part(root: Path, sky: Sky, start: int) -> int:
    """Draw and write all surveys' images of some galaxies, then what they show."""
    truth = _name_population(sky).iloc[start : start + PART_GALAXIES]
    rows = []
    for order, (survey, instrument) in enumerate(INSTRUMENTS.items()):
        seen = truth[truth[f"in_{survey}"]]
        for galaxy, side in zip(seen.itertuples(), measure_frames(survey, seen), strict=True):
            number = int(galaxy.galaxy)  # type: ignore[arg-type]
            around = np.random.SeedSequence([sky.seed, 1, number])
            own = np.random.SeedSequence([sky.seed, 2, number, order])
            observation = observe_galaxy(galaxy, instrument, float(side), sky.size, around, own)
            picture = draw_picture(survey, observation, sky.size)
            path = root / survey / image_path(survey, getattr(galaxy, NAMES[survey]))
            write_picture(path, encode_picture(survey, picture))
            distance = measure_source_distance(np.asarray(picture)) if survey == "decals" else np.nan
            rows.append({"galaxy": number, "survey": survey, **observation.sight, "source_distance": distance})
    with replace_file(_part_path(root, start)) as temporary:
        pd.DataFrame(rows).to_parquet(temporary, index=False)
    return start


def start_volunteers(survey: str, seed: int) -> np.random.Generator:
    """What a survey's volunteers say is drawn from this: first how they disagree, then how many look, then votes."""
    return np.random.default_rng([seed, 3, *survey.encode()])


def _write_release(folder: Path, survey: str, truth: pd.DataFrame, sight: pd.DataFrame, seed: int) -> None:
    """Let volunteers classify a survey's images, and write its tables."""
    truth = truth.loc[sight.index]
    campaign = CAMPAIGNS[CAMPAIGN[survey]]
    rng = start_volunteers(survey, seed)
    shares = expect_shares(truth, sight, campaign, rng)  # first of all, so that `read_chances` can draw it again
    votes = walk_tree(shares, campaign, draw_volunteers(survey, len(truth), rng), rng)
    if survey == "ukidss":
        write_ukidss(folder, truth, votes, seed)
        return
    debiased = debias_fractions(votes, truth, sight, campaign)
    if survey == "sdss":
        write_sdss(folder, truth, votes, debiased, seed)
    else:
        write_decals(folder, truth, votes, debiased, sight["source_distance"].to_numpy())


def _join_sights(truth: pd.DataFrame, sights: pd.DataFrame) -> pd.DataFrame:
    """What each survey's image shows, beside what there is."""
    for survey in INSTRUMENTS:
        seen = sights[sights["survey"] == survey].set_index("galaxy").drop(columns=["survey", "source_distance"])
        truth = truth.join(seen.add_prefix(f"{survey}_"))
    return truth.reset_index(drop=True)
