"""Simulated galaxies, each as all three surveys see it: what the bundled backbone learns from, without labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from embeddings.files import claim_folder, replace_file
from extract.images import decode_image
from extract.preprocessing import Recipe
from extract.processes import count_cpus, run_parts
from extract.simulation.instruments import INSTRUMENTS, measure_frames
from extract.simulation.observation import observe_galaxy
from extract.simulation.pictures import draw_picture, encode_picture
from extract.simulation.population import draw_population
from extract.simulation.sky import VERSION

Report = Callable[[int, int, int], None]
RECORD = "sightings.json"
PART_GALAXIES = 48


@dataclass(frozen=True)
class Sightings:
    """
    A population that every survey sees whole, which no sky of `simulate_sky` has.

    Parameters
    ----------
    galaxies : int
    seed : int
        Of the population and of every look at it, used as `simulate_sky` uses its own.
    size : int
        Pixels a side of the surveys' pictures.
    side : int
        Pixels a side of the squares that they are resized to, as extraction does it.
    """

    galaxies: int
    seed: int
    size: int
    side: int

    @property
    def record(self) -> dict[str, Any]:
        """What must be the same for parts to belong together."""
        return {"format": "galaxy-sommelier sightings", "version": VERSION, **vars(self)}

    def make(self, folder: Path, workers: int | None = None, report: Report | None = None) -> Tensor:
        """
        Simulate what is not in the folder yet, and read it all.

        Parameters
        ----------
        folder : Path
            Kept: a run that was stopped goes on where it was.
        workers : int, optional
            Processes; all cores by default.
        report : callable, optional
            Called with parts of 48 galaxies done, failed (0) and to be made.

        Returns
        -------
        (n_galaxies, 3, 3, side, side) uint8 tensor
            Galaxy, survey, colour, row, column.

        Raises
        ------
        SommelierError
            When the folder holds anything else.
        """
        claim_folder(folder, RECORD, self.record, "population")
        starts = range(0, self.galaxies, PART_GALAXIES)
        missing = [start for start in starts if not self._part(folder, start).exists()]
        render = partial(self.render_part, folder)
        for done, _ in enumerate(run_parts(render, missing, workers or count_cpus()), 1):
            if report:
                report(done, 0, len(missing))
        return torch.from_numpy(np.concatenate([np.load(self._part(folder, start)) for start in starts]))

    def _part(self, folder: Path, start: int) -> Path:
        return folder / f"{start:08}.npy"

    def render_part(self, folder: Path, start: int) -> int:
        """Draw every survey's picture of some galaxies, as its file would hold it."""
        truth = _draw(self.galaxies, self.seed).iloc[start : start + PART_GALAXIES]
        recipe, squares = Recipe(size=self.side), []
        for order, (survey, instrument) in enumerate(INSTRUMENTS.items()):
            images = []
            for galaxy, frame in zip(truth.itertuples(), measure_frames(survey, truth), strict=True):
                number = int(galaxy.galaxy)  # type: ignore[arg-type]
                around = np.random.SeedSequence([self.seed, 1, number])
                own = np.random.SeedSequence([self.seed, 2, number, order])
                observation = observe_galaxy(galaxy, instrument, float(frame), self.size, around, own)
                picture = draw_picture(survey, observation, self.size)
                images.append(decode_image(encode_picture(survey, picture)))
            squares.append(recipe.fit_squares(images))
        with replace_file(self._part(folder, start)) as temporary, temporary.open("wb") as file:
            np.save(file, torch.stack(squares, dim=1).numpy())
        return start


@lru_cache(maxsize=1)
def _draw(galaxies: int, seed: int) -> pd.DataFrame:
    return draw_population(galaxies, seed)
