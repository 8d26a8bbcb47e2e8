"""Simulated volunteers: how many look, how they walk a survey's decision tree, and what debiasing makes of their votes.

What they say at each step: `extract.simulation.answers`.

References
----------
.. [1] Willett et al. 2013, MNRAS 435, 2835: GZ2's tree and its volunteers.
.. [2] Hart et al. 2016, MNRAS 461, 3663: GZ2's debiasing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from embeddings.errors import SommelierError, did_you_mean
from embeddings.questions import Question
from extract.schema import Campaign
from extract.simulation.answers import Shares, expect_shares

Array = np.ndarray[Any, Any]

# How many look. GZ2: 16 to 79, in the mean 42.6; 98.4 % have 30 and more, 73.1 % 40 and more, 10.5 % 50 and more: even
# within those groups, but for a tail with a mean of 54, which gives the whole its mean.
GZ2_FROM, GZ2_WIDTHS, GZ2_SHARES, GZ2_TAIL = (16, 30, 40, 50), (14, 10, 10, 30), (0.016, 0.253, 0.626, 0.105), 5.0
# GZD-1/2: about 40; rows of it have 27 to 56
DECALS_MEAN, DECALS_SPREAD, DECALS_RANGE = 40, 10, (20, 80)
# UKIDSS: the denominators of 1,000 galaxies' fractions are 40, of one in twenty 41, of few more or far fewer
UKIDSS_USUAL, UKIDSS_MORE, UKIDSS_FEWER, UKIDSS_FEWEST = 40, (0.945, 0.05, 0.005), 0.015, 5


def walk_tree(shares: Shares, campaign: Campaign, volunteers: Array, rng: np.random.Generator) -> dict[str, Array]:
    """
    Ask volunteers, each question of those whom the tree leads there.

    Parameters
    ----------
    shares : dict of str to (n_galaxies, n_answers) array
        As `expect_shares` gives them.
    campaign : Campaign
    volunteers : (n_galaxies,) int array
        How many look at each galaxy.
    rng : Generator

    Returns
    -------
    dict of str to (n_galaxies,) int array
        Votes by target: those for a question's answers add up to its parent's votes.
    """
    votes: dict[str, Array] = {}
    for question in campaign.questions:
        asked = votes[question.parent] if question.parent else np.asarray(volunteers, np.int64)
        if question.unless:
            asked = asked - votes[question.unless]
        votes |= dict(zip(question.targets, rng.multinomial(asked, shares[question.name]).T, strict=True))
    return votes


def debias_fractions(
    votes: Mapping[str, Array],
    truth: pd.DataFrame,
    sight: pd.DataFrame,
    campaign: Campaign,
    clear: pd.DataFrame | None = None,
) -> Shares:
    """
    What the fractions would be if the image hid nothing, as well as a debiasing can know it.

    The raw fractions are shifted by how much the expected shares differ between perfect sight and this image's, cut at
    [0, 1] and divided by their sum: the noise of the votes stays in them. Real debiasing [2]_ knows only the mean shift
    of galaxies at a redshift; this one knows each galaxy's.

    Parameters
    ----------
    votes : dict of str to (n_galaxies,) int array
        As `walk_tree` gives them.
    truth, sight : DataFrame of n_galaxies rows
        As for `expect_shares`; and what `clear_sight` takes.
    campaign : Campaign
    clear : DataFrame of n_galaxies rows, optional
        The sight of an image that hides nothing; `clear_sight` by default.

    Returns
    -------
    dict of str to (n_galaxies, n_answers) array
        By question; NaN where nobody was asked.
    """
    here = expect_shares(truth, sight, campaign)
    best = expect_shares(truth, clear_sight(truth, sight) if clear is None else clear, campaign)
    debiased = {}
    for question in campaign.questions:
        shifted = np.clip(raw_fractions(votes, question) + best[question.name] - here[question.name], 0, 1)
        debiased[question.name] = shifted / shifted.sum(axis=1, keepdims=True)
    return debiased


def raw_fractions(votes: Mapping[str, Array], question: Question) -> Array:
    """(n_galaxies, n_answers) votes over their total; NaN where nobody was asked."""
    counts = np.stack([votes[target] for target in question.targets], axis=1)
    total = counts.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0))


def clear_sight(truth: pd.DataFrame, sight: pd.DataFrame) -> pd.DataFrame:
    """The sight of an image that shows whatever there is; a spoiled frame stays spoiled."""
    there = {
        "disk": truth["kind"] != "elliptical",
        "arms": truth["arms"] > 0,
        "bar": truth["bar_strength"] > 0,
        "ring": truth["ring_strength"] > 0,
        "clumps": truth["knots"] > 0,
        "odd": truth["odd"] != "",
    }
    seen = {name: np.maximum(plain.to_numpy(dtype=float), sight[name].to_numpy()) for name, plain in there.items()}
    own = {name: truth[name].to_numpy() for name in ("bulge_fraction", "axis_ratio")}
    return sight.assign(**seen, **own, snr=np.inf)


def draw_volunteers(survey: str, n_galaxies: int, rng: np.random.Generator) -> Array:
    """
    How many volunteers look at each galaxy, as in the survey's campaign.

    Parameters
    ----------
    survey : {'sdss', 'decals', 'ukidss'}
    n_galaxies : int
    rng : Generator

    Returns
    -------
    (n_galaxies,) int array

    Raises
    ------
    SommelierError
        For an unknown survey.
    """
    if survey == "sdss":
        group = rng.choice(len(GZ2_SHARES), n_galaxies, p=GZ2_SHARES)
        evenly = (rng.random(n_galaxies) * np.take(GZ2_WIDTHS, group)).astype(np.int64)
        few_more = np.minimum(rng.geometric(1 / GZ2_TAIL, n_galaxies) - 1, GZ2_WIDTHS[-1] - 1)
        return np.asarray(np.take(GZ2_FROM, group) + np.where(group == len(GZ2_FROM) - 1, few_more, evenly))
    if survey == "decals":
        return np.clip(np.rint(rng.normal(DECALS_MEAN, DECALS_SPREAD, n_galaxies)), *DECALS_RANGE).astype(np.int64)
    if survey == "ukidss":
        usual = UKIDSS_USUAL + rng.choice(len(UKIDSS_MORE), n_galaxies, p=UKIDSS_MORE)
        fewer = rng.integers(UKIDSS_FEWEST, UKIDSS_USUAL, n_galaxies)
        return np.where(rng.random(n_galaxies) < UKIDSS_FEWER, fewer, usual)
    raise SommelierError(f"no volunteers look at {survey!r}. {did_you_mean(survey, ('sdss', 'decals', 'ukidss'))}")
