"""What volunteers are expected to say about an image, from what there is and what the image shows.

The shape of every function below is a choice; its numbers are set so that a mixed sample answers about as real
volunteers did. These means are from real tables: GZ2 (Willett+ 2013, Hart+ 2016), GZ UKIDSS (Masters+ 2024) and GZD-5
(Walmsley+ 2022). Nothing here is fitted to single galaxies.

References
----------
.. [1] Willett et al. 2013, MNRAS 435, 2835: GZ2's tree, and what volunteers said.
.. [2] Walmsley et al. 2022, MNRAS 509, 3966: GZ DECaLS.
.. [3] McCullagh 1980, J. R. Stat. Soc. B 42, 109: the cumulative logit of ordered answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from embeddings.errors import SommelierError
from embeddings.questions import Question
from extract.schema import Campaign

Array = np.ndarray[Any, Any]
Shares = dict[str, Array]

TRUTH = ("kind", "inclination", "bulge_boxy", "bar_strength", "arms", "pitch", "odd", "odd_strength")
SIGHT = ("disk", "arms", "bar", "ring", "odd", "clumps", "bulge_fraction", "axis_ratio", "artifact", "snr")

# Of the answers to any question this share is given without looking: GZ2 has a few votes for everything.
SLIPS = 0.03
# Standard deviation of what no feature explains, in the logarithm of an answer's odds, drawn for each galaxy, question
# and answer: galaxies that look alike to us do not look alike to people.
DISAGREEMENT = 0.35

# smooth or featured: log odds of 'featured' of a galaxy that shows nothing, then what each sign adds where it is plain.
# With nothing to see about 1 in 10 of GZ2's volunteers say 'featured' (first quartile 0.105), and 9 in 10 of a spiral.
FEATURED_NOTHING = -2.1
FEATURED_SIGNS = {"disk": 1.5, "arms": 3.2, "bar": 1.2, "ring": 1.0, "clumps": 1.2, "odd": 0.8}
FEATURED_EDGE_ON = 2.4
# star or artifact of an ordinary frame: first quartiles and means are 0.00 and 0.04 in GZ2, 0.075 and 0.13 in UKIDSS,
# 0.07 and 0.12 in GZD-5; six rows of GZD-1/2 have 0.04 to 0.21.
ARTIFACT_COMMON = {"gz2": 0.015, "ukidss": 0.08, "dr12": 0.06, "dr5": 0.07, "dr8": 0.07}
ARTIFACT_SPOILED = 0.85  # of a spoiled frame: as many as ever agree
ARTIFACT_FAINT = 0.25  # of a galaxy that is hardly there at all
FAINT_SNR, FAINT_WIDTH = 12.0, 0.6  # half of that at this signal to noise, and its width in the natural logarithm

# edge-on: disks thinner than about 1 in 4 look it from 75 to 80 degrees on; seeing makes them rounder
EDGE_ANGLE, EDGE_ANGLE_WIDTH = 77.0, 5.0  # degrees
EDGE_RATIO, EDGE_RATIO_WIDTH = 0.30, 0.10
EDGE_NO_DISK = -3.0  # log odds instead of the angle's, where there is no disk

# yes or no: log odds where nothing is seen (false alarms), and what is added where it is plain. Who is asked about bars
# and arms said 'featured': GZ2's medians of well-seen galaxies are 0.25 (bar) and 0.92 (arms), without arms about 0.1.
BAR_NOTHING, BAR_PLAIN = -2.4, 4.8
ARMS_NOTHING, ARMS_PLAIN = -2.1, 5.3
ODD_NOTHING, ODD_PLAIN, ODD_RING = -2.1, 4.8, 1.5  # GZ2: median 0.15, mean 0.22
STRONG_BAR, STRONG_BAR_WIDTH = 0.2, 0.04  # of the bar's share of the light: GZD-5 asks whether it is strong or weak

# ordered answers: where one passes into the next, and the logit's width [3]. Bulges by the square root of their share
# of the light, since a volunteer sees a size. GZ2: no 0.07, just noticeable 0.34, obvious 0.44, dominant 0.15.
BULGE_WIDTH = 0.10
_FOUR_SIZES = (("no", "just-noticeable", "obvious", "dominant"), (0.12, 0.38, 0.92))
_FIVE_SIZES = (("none", "small", "moderate", "large", "dominant"), (0.10, 0.30, 0.55, 0.90))
BULGE_SIZES: Mapping[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "gz2": _FOUR_SIZES,
    "ukidss": _FOUR_SIZES,
    "dr12": (("none", "obvious", "dominant"), (0.20, 0.85)),
    "dr5": _FIVE_SIZES,
    "dr8": _FIVE_SIZES,
}
# round / in between / cigar by the axis ratio as seen: GZ2 has 0.36 / 0.50 / 0.13
CIGAR_BELOW, ROUND_ABOVE, ROUND_WIDTH = 0.36, 0.80, 0.06
# tight / medium / loose by the pitch in degrees: GZ2 has 0.46 / 0.39 / 0.15; faint arms blur it by up to this factor
TIGHT_BELOW, LOOSE_ABOVE, PITCH_WIDTH, PITCH_BLUR = 20.0, 30.0, 3.5, 2.0
# an edge-on bulge: none below this, on the scale of BULGE_SIZES; boxy for few, and for most where it is
NO_BULGE_BELOW, NO_BULGE_WIDTH = 0.25, 0.09
BOXY_FALSE, BOXY_TRUE = 0.08, 0.60  # GZ2: 0.63 / 0.11 / 0.26 round / boxy / none

# arm counts: a wrong count loses by this many arms, from plain to hardly seen arms; and who cannot tell (GZ2: 0.22)
COUNT_PLAIN, COUNT_FAINT = 0.35, 1.6
CANT_TELL_PLAIN, CANT_TELL_FAINT, CANT_TELL_MANY = 0.06, 0.55, 0.10  # the last where there are five and more
ARMS_EXPECTED = 2  # what people count where there are none: the commonest number in GZ2

# what is odd where nothing is plain: the shares of all such votes in GZ2's Stripe 82 table
ODD_PRIOR = {
    "ring": 0.26, "lens-or-arc": 0.07, "disturbed": 0.08, "irregular": 0.07, "other": 0.30, "merger": 0.19,
    "dust-lane": 0.03,
}  # fmt: skip
ODD_TAKEN_FOR = {
    "disturbed": {"merger": 0.2, "irregular": 0.2, "other": 0.1},
    "irregular": {"disturbed": 0.2, "other": 0.2},
    "merger": {"disturbed": 0.15, "other": 0.1},
    "lens-or-arc": {"ring": 0.15, "other": 0.25},
    "ring": {"other": 0.1},
    "dust-lane": {"other": 0.2},
}
# merging, of a galaxy of each odd kind whose oddity is plain: nothing, tidal debris, both, a merger
MERGING = {
    "merger": (0.05, 0.10, 0.25, 0.60),
    "disturbed": (0.20, 0.45, 0.15, 0.20),
    "irregular": (0.65, 0.15, 0.05, 0.15),
}
MERGING_NOTHING = (0.93, 0.04, 0.01, 0.02)
MAJOR_STRENGTH, MAJOR_WIDTH = 0.55, 0.12  # GZD-5 asks how strong a disturbance is


@dataclass(frozen=True)
class _Scene:
    """What there is and what is seen, as arrays."""

    campaign: str
    truth: Mapping[str, Array]
    sight: Mapping[str, Array]


def expect_shares(
    truth: pd.DataFrame, sight: pd.DataFrame, campaign: Campaign, rng: np.random.Generator | None = None
) -> Shares:
    """
    Of the volunteers who are asked a question, what share is expected to give each answer.

    Parameters
    ----------
    truth : DataFrame of n_galaxies rows
        With the columns `TRUTH`.
    sight : DataFrame of n_galaxies rows
        With the columns `SIGHT`: what the image still shows, 0 to 1.
    campaign : Campaign
    rng : Generator, optional
        Draws a disagreement for each galaxy, question and answer that no feature explains (`DISAGREEMENT`). Without
        it, galaxies that look alike are answered alike.

    Returns
    -------
    dict of str to (n_galaxies, n_answers) array
        By question; rows add up to one and have no zeros.

    Raises
    ------
    SommelierError
        When a column is missing or has a gap, or the tables differ in length.
    """
    scene = _Scene(campaign.name, _read(truth, TRUTH, "truth"), _read(sight, SIGHT, "sight"))
    if len(truth) != len(sight):
        raise SommelierError(f"truth has {len(truth)} galaxies and sight {len(sight)}: give one row a galaxy in both.")
    return {question.name: _answer(question, scene, rng) for question in campaign.questions}


def _read(frame: pd.DataFrame, names: tuple[str, ...], what: str) -> dict[str, Array]:
    missing = [name for name in names if name not in frame]
    if missing:
        raise SommelierError(f"{what} has no column {missing[0]!r}: volunteers are told by {', '.join(names)}.")
    gaps = [name for name in names if frame[name].isna().any()]
    if gaps:
        raise SommelierError(f"{what}: the column {gaps[0]!r} has gaps. Give every galaxy a value.")
    return {
        name: frame[name].to_numpy(dtype=object if frame[name].dtype.kind not in "biuf" else float) for name in names
    }


def _answer(question: Question, scene: _Scene, rng: np.random.Generator | None) -> Array:
    """The shares of a question's answers, in their order."""
    said = ANSWERS[question.name.removesuffix(f"-{scene.campaign}")](scene)
    shares = np.stack([said[answer] for answer in question.answers], axis=1)
    shares = shares / shares.sum(axis=1, keepdims=True)
    shares = (1 - SLIPS) * shares + SLIPS / len(question.answers)
    if rng is not None:
        shares = shares * np.exp(rng.normal(0, DISAGREEMENT, shares.shape))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _order(value: Array, steps: tuple[float, ...], width: float | Array) -> list[Array]:
    """Shares of ordered answers, by the cumulative logit."""
    below = [expit((step - value) / width) for step in steps]
    return [high - low for low, high in zip([0.0, *below], [*below, np.ones(len(value))], strict=True)]


def _yes_no(yes: Array) -> Shares:
    return {"yes": yes, "no": 1 - yes}


# what is said to each question: all words that any campaign offers, of which the question's answers are taken


def _see_edge(scene: _Scene) -> Array:
    disk = scene.truth["kind"] != "elliptical"
    angle = np.where(disk, (scene.truth["inclination"] - EDGE_ANGLE) / EDGE_ANGLE_WIDTH, EDGE_NO_DISK)
    return np.asarray(expit(angle + (EDGE_RATIO - scene.sight["axis_ratio"]) / EDGE_RATIO_WIDTH))


def _say_featured(scene: _Scene) -> Shares:
    signs = np.sum([weight * scene.sight[name] for name, weight in FEATURED_SIGNS.items()], axis=0)
    featured = expit(FEATURED_NOTHING + signs + FEATURED_EDGE_ON * _see_edge(scene))
    faint = expit((np.log(FAINT_SNR) - np.log(scene.sight["snr"])) / FAINT_WIDTH)
    clean = (1 - ARTIFACT_COMMON[scene.campaign]) * (1 - ARTIFACT_FAINT * faint)
    clean = clean * (1 - ARTIFACT_SPOILED * scene.sight["artifact"])
    return {"smooth": clean * (1 - featured), "featured-or-disk": clean * featured, "artifact": 1 - clean}


def _say_edge_on(scene: _Scene) -> Shares:
    return _yes_no(_see_edge(scene))


def _say_bar(scene: _Scene) -> Shares:
    bar = expit(BAR_NOTHING + BAR_PLAIN * scene.sight["bar"])
    strong = bar * expit((scene.truth["bar_strength"] - STRONG_BAR) / STRONG_BAR_WIDTH)
    return {**_yes_no(bar), "strong": strong, "weak": bar - strong}


def _say_arms(scene: _Scene) -> Shares:
    return _yes_no(expit(ARMS_NOTHING + ARMS_PLAIN * scene.sight["arms"]))


def _say_bulge_size(scene: _Scene) -> Shares:
    words, steps = BULGE_SIZES[scene.campaign]
    return dict(zip(words, _order(np.sqrt(scene.sight["bulge_fraction"]), steps, BULGE_WIDTH), strict=True))


def _say_odd(scene: _Scene) -> Shares:
    return _yes_no(expit(ODD_NOTHING + ODD_PLAIN * scene.sight["odd"] + ODD_RING * scene.sight["ring"]))


def _say_rounded(scene: _Scene) -> Shares:
    shares = _order(scene.sight["axis_ratio"], (CIGAR_BELOW, ROUND_ABOVE), ROUND_WIDTH)
    return dict(zip(("cigar", "in-between", "round"), shares, strict=True))


def _say_bulge_shape(scene: _Scene) -> Shares:
    bulge = expit((np.sqrt(scene.sight["bulge_fraction"]) - NO_BULGE_BELOW) / NO_BULGE_WIDTH)
    boxy = bulge * np.where(scene.truth["bulge_boxy"] > 0, BOXY_TRUE, BOXY_FALSE)
    return {"round": bulge - boxy, "boxy": boxy, "no-bulge": 1 - bulge}


def _say_winding(scene: _Scene) -> Shares:
    width = PITCH_WIDTH * (PITCH_BLUR - (PITCH_BLUR - 1) * scene.sight["arms"])
    shares = _order(scene.truth["pitch"], (TIGHT_BELOW, LOOSE_ABOVE), width)
    return dict(zip(("tight", "medium", "loose"), shares, strict=True))


def _say_arm_count(scene: _Scene) -> Shares:
    """Two-sided exponential confusion between neighbouring counts; five and more are one answer."""
    seen = scene.sight["arms"]
    arms = np.where(scene.truth["arms"] > 0, np.minimum(scene.truth["arms"], 5), ARMS_EXPECTED)
    reach = COUNT_FAINT + (COUNT_PLAIN - COUNT_FAINT) * seen
    weights = np.exp(-np.abs(np.arange(1, 6)[:, None] - arms) / reach)
    lost = CANT_TELL_FAINT + (CANT_TELL_PLAIN - CANT_TELL_FAINT) * seen + CANT_TELL_MANY * (arms == 5)
    counts = weights / weights.sum(axis=0) * (1 - lost)
    return dict(zip(("1", "2", "3", "4", "more-than-4"), counts, strict=True)) | {"cant-tell": lost}


def _say_odd_feature(scene: _Scene) -> Shares:
    odd, plain = scene.truth["odd"], np.maximum(scene.sight["odd"], 0)
    said = {answer: np.full(len(odd), prior) for answer, prior in ODD_PRIOR.items()}
    said["ring"] = said["ring"] + scene.sight["ring"]  # a ring is named wherever it is seen, odd or not
    for kind in ODD_PRIOR:
        mine, others = odd == kind, ODD_TAKEN_FOR.get(kind, {})
        right = {kind: 1 - sum(others.values()), **others}
        for answer in ODD_PRIOR:
            mixed = (1 - plain) * said[answer] + plain * right.get(answer, 0.0)
            said[answer] = np.where(mine, mixed, said[answer])
    return said


def _say_merging(scene: _Scene) -> Shares:
    plain, shares = scene.sight["odd"], np.tile(np.array(MERGING_NOTHING)[:, None], len(scene.sight["odd"]))
    for kind, sure in MERGING.items():
        mixed = np.outer(MERGING_NOTHING, 1 - plain) + np.outer(sure, plain)
        shares = np.where(scene.truth["odd"] == kind, mixed, shares)
    nothing, debris, both, merger = shares
    major = expit((scene.truth["odd_strength"] - MAJOR_STRENGTH) / MAJOR_WIDTH)
    return {
        **{"neither": nothing, "tidal-debris": debris, "both": both, "merger": merger, "none": nothing},
        "minor-disturbance": (debris + both) * (1 - major),
        "major-disturbance": (debris + both) * major,
    }


# by the question's name without its campaign
ANSWERS: Mapping[str, Callable[[_Scene], Shares]] = {
    "smooth-or-featured": _say_featured,
    "disk-edge-on": _say_edge_on,
    "bar": _say_bar,
    "has-spiral-arms": _say_arms,
    "bulge-size": _say_bulge_size,
    "something-odd": _say_odd,
    "odd-feature": _say_odd_feature,
    "how-rounded": _say_rounded,
    "bulge-shape": _say_bulge_shape,
    "spiral-winding": _say_winding,
    "spiral-arm-count": _say_arm_count,
    "merging": _say_merging,
}
