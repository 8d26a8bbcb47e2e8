"""Every survey's look at every galaxy: the pictures of a simulated sky, kept in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from embeddings.errors import SommelierError
from extract.simulation import simulate_sky
from extract.simulation.names import image_path
from finetune import sightings
from finetune.sightings import Sightings

POPULATION = Sightings(galaxies=10, seed=3, size=64, side=56)
NAMES = {"sdss": "asset_id", "decals": "iauname", "ukidss": "subject_id"}


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    return POPULATION.make(tmp_path_factory.mktemp("whole"), workers=1)


def test_they_are_the_pictures_of_the_sky_with_the_same_seed(squares: torch.Tensor, tmp_path: Path) -> None:
    truth = simulate_sky(tmp_path, 10, seed=3, size=64, workers=1)
    assert squares.shape == (10, 3, 3, 56, 56)
    compared = 0
    for order, (survey, column) in enumerate(NAMES.items()):
        for number, name in enumerate(truth[column]):
            if name:
                image = Image.open(tmp_path / survey / image_path(survey, name)).resize(
                    (56, 56), Image.Resampling.BICUBIC
                )
                apart = np.abs(np.asarray(image, int) - squares[number, order].permute(1, 2, 0).numpy().astype(int))
                assert apart.max() <= 2  # what Pillow's and torch's resizing differ by
                compared += 1
    assert compared > 10


def test_all_surveys_see_all_galaxies(squares: torch.Tensor) -> None:
    pictures = squares.flatten(2).double()
    assert (pictures.std(dim=2) > 1).all()
    assert len(np.unique(squares.flatten(0, 1).flatten(1).numpy(), axis=0)) == 30


def test_parts_that_are_there_are_not_made_again(
    squares: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sightings, "PART_GALAXIES", 4)
    counts: list[tuple[int, int, int]] = []
    first = POPULATION.make(tmp_path, 1, lambda *count: counts.append(count))
    assert counts == [(1, 0, 3), (2, 0, 3), (3, 0, 3)]
    (tmp_path / "00000004.npy").unlink()
    (tmp_path / ".00000004.npy.1.tmp").write_bytes(b"cut sh")  # a kill left this
    again = POPULATION.make(tmp_path, 1, lambda *count: counts.append(count))
    assert counts[3:] == [(1, 0, 1)]
    assert torch.equal(first, squares)
    assert torch.equal(again, squares)


def test_another_population_is_refused(tmp_path: Path) -> None:
    Sightings(1, 3, 32, 28).make(tmp_path, 1)
    with pytest.raises(SommelierError, match="holds another population: seed 3 there, 4 here"):
        Sightings(1, 4, 32, 28).make(tmp_path, 1)
