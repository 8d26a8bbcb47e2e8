"""What volunteers of a simulated sky were to say: the chances that the votes in its releases were drawn with."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd

from embeddings.errors import SommelierError, did_you_mean
from extract.schema import CAMPAIGNS
from extract.simulation.answers import SIGHT, expect_shares
from extract.simulation.sky import CAMPAIGN, RECORD, TRUTH, VERSION, start_volunteers

IDS = {"sdss": "dr7objid", "decals": "iauname", "ukidss": "subject_id"}  # what catalogs call a galaxy


def read_chances(folder: str | os.PathLike[str], survey: str) -> pd.DataFrame:
    """
    The probability of each answer, of each galaxy that a survey shows, among volunteers who are asked the question.

    It follows from the galaxy, from what the survey's image shows of it, and from what no feature explains
    (`extract.simulation.answers.DISAGREEMENT`), which is drawn for each survey: votes are draws with these very
    probabilities.

    Parameters
    ----------
    folder : path
        Of a finished sky.
    survey : {'sdss', 'decals', 'ukidss'}

    Returns
    -------
    DataFrame of (n_galaxies, n_targets)
        By id, as catalogs have it; a question's columns add up to one, whether or not anybody is asked it.

    Raises
    ------
    SommelierError
        For an unknown survey, or a folder without a finished sky of this version.
    """
    if survey not in IDS:
        raise SommelierError(f"a simulated sky has no survey {survey!r}. {did_you_mean(survey, IDS)}")
    root = Path(folder)
    record, truth = _read_record(root), pd.read_parquet(root / TRUTH)
    shown = truth[truth[f"in_{survey}"]].sort_values("galaxy")
    sight = shown[[f"{survey}_{name}" for name in SIGHT]].set_axis(list(SIGHT), axis=1)
    campaign = CAMPAIGNS[CAMPAIGN[survey]]
    shares = expect_shares(shown, sight, campaign, start_volunteers(survey, record["seed"]))
    columns = [target for question in campaign.questions for target in question.targets]
    values = np.concatenate([shares[question.name] for question in campaign.questions], axis=1)
    return pd.DataFrame(values, index=pd.Index(shown[IDS[survey]], name="id_str"), columns=columns)


def _read_record(root: Path) -> dict[str, int]:
    """What the sky says of itself."""
    try:
        record = json.loads((root / RECORD).read_bytes())
    except (OSError, ValueError) as error:
        raise SommelierError(
            f"{root} holds no simulated sky: {RECORD} cannot be read ({error}). Make one with: sommelier simulate --to "
            f"{root}"
        ) from error
    if record.get("version") != VERSION or not record.get("complete") or not (root / TRUTH).exists():
        raise SommelierError(
            f"the sky in {root} is not finished, or of another version than {VERSION}: its votes cannot be traced. "
            "Simulate it again in another folder."
        )
    return dict(record)
