"""The probabilities behind a simulated sky's votes: read again, they are those that the votes follow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from embeddings.errors import SommelierError
from extract.schema import CAMPAIGNS
from extract.simulation import Sky, simulate_sky
from extract.simulation.chances import read_chances
from extract.simulation.sky import CAMPAIGN
from extract.surveys import read_catalog


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chances") / "sky"
    simulate_sky(folder, 120, 5, 32, workers=1)
    return folder


def read_votes(sky: Path, survey: str) -> pd.DataFrame:
    options = {"crosswalk": sky / "ukidss/crosswalk.csv"} if survey == "ukidss" else {}
    return read_catalog(survey, sky / survey, **options).frame.set_index("id_str")


def spread(counts: pd.DataFrame, chances: pd.DataFrame, survey: str) -> float:
    """The mean of (f - p)^2 n / (p (1 - p)), which is 1 where counts are binomial with these p."""
    found = []
    for question in CAMPAIGNS[CAMPAIGN[survey]].questions:
        targets = [target for target in question.targets if target in counts]
        n = counts[question.total_column].to_numpy(float)[:, None] if targets else np.zeros((len(counts), 1))
        p, asked = chances[targets].to_numpy(), n[:, 0] > 0
        off = counts[targets].to_numpy(float)[asked] - (n * p)[asked]
        found.append((off**2 / (n * p * (1 - p))[asked]).ravel())
    return float(np.concatenate(found).mean())


@pytest.mark.slow
@pytest.mark.parametrize("survey", ["sdss", "decals", "ukidss"])
def test_the_votes_of_a_sky_follow_its_chances_and_no_others(sky: Path, survey: str) -> None:
    counts, chances = read_votes(sky, survey), read_chances(sky, survey)
    assert set(counts.index) == set(chances.index)
    for question in CAMPAIGNS[CAMPAIGN[survey]].questions:
        np.testing.assert_allclose(chances[list(question.targets)].sum(axis=1), 1)
    chances = chances.loc[counts.index]
    assert spread(counts, chances, survey) == pytest.approx(1, abs=0.2)
    others = chances.set_axis(np.roll(chances.index, 1)).loc[counts.index]
    assert spread(counts, others, survey) > 3


def test_what_is_no_finished_sky_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SommelierError, match="Did you mean 'sdss'"):
        read_chances(tmp_path, "sds")
    with pytest.raises(SommelierError, match="holds no simulated sky"):
        read_chances(tmp_path, "sdss")
    finished = Sky(10).record | {"complete": True}
    (tmp_path / "truth.parquet").write_bytes(b"")
    for change in ({"version": 0}, {"complete": False}):
        (tmp_path / "sky.json").write_text(json.dumps(finished | change))
        with pytest.raises(SommelierError, match="not finished, or of another version"):
            read_chances(tmp_path, "sdss")
