"""Simulated votes in the files of the real releases: the same names, columns, order and kinds of numbers.

References
----------
.. [1] Willett et al. 2013, MNRAS 435, 2835: GZ2's tables, flags and the strings of ``gz2_class`` (appendix A).
.. [2] Hart et al. 2016, MNRAS 461, 3663: ``gz2_hart16``.
.. [3] Walmsley et al. 2022, MNRAS 509, 3966, and the schema of Zenodo 4573248: GZ DECaLS.
.. [4] Masters et al. 2024, RNAAS 8, 198 (arXiv:2408.10160): GZ UKIDSS.
.. [5] Graham et al. 2005, AJ 130, 1535: Petrosian radii of Sersic profiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embeddings.files import replace_file
from embeddings.questions import Question
from extract.schema import CAMPAIGNS, Dialect
from extract.simulation.answers import Shares
from extract.simulation.names import name_decals, name_places, name_sdss, name_ukidss
from extract.simulation.volunteers import raw_fractions
from extract.surveys import MAPPING

Array = np.ndarray[Any, Any]
Votes = Mapping[str, Array]

SDSS_TABLE, DECALS_TABLE = "gz2_hart16.csv", "gz_decals_volunteers_1_and_2.csv"
UKIDSS_TABLE, CROSSWALK = "ukidss_catalog.csv", "crosswalk.csv"

FLAGGED_ABOVE = 0.8  # of the debiased fraction, as in gz2_hart16
# GZ2 weighs volunteers by how often they agree with others: few votes lose weight but those for an artifact, whose mean
# falls from 0.041 to 0.032 by it
DOWNWEIGHTED, DOWNWEIGHTED_ARTIFACT = 0.02, 0.3
LOST_WEIGHT = (0.5, 1.0)  # what a vote that loses weight loses
# GZ2's letters: roundness, edge-on bulge, bulge, arms, winding, odd feature, in the order of the questions' answers
CLASS_LETTERS = {
    "how-rounded": "ric", "bulge-shape": "rbn", "bulge-size": "dcba", "spiral-arm-count": "1234+?",
    "spiral-winding": "tml", "odd-feature-gz2": "rldiomu",
}  # fmt: skip

DECALS_DEBIASED = {"redshift": (0.02, 0.15), "absmag_r": (-23.0, -21.5)}  # and with this many first votes
DECALS_DEBIASED_VOTES = 30
WRONG_SIZE_ABOVE = 161.0  # pixels of 424: about the mean distance of all pixels from the centre
# questions and answers in the order of the released table, which is not the tree's
DECALS_ORDER = {
    "smooth-or-featured": "smooth featured-or-disk artifact",
    "how-rounded": "round in-between cigar",
    "disk-edge-on": "yes no",
    "bulge-shape": "round boxy no-bulge",
    "bar": "yes no",
    "has-spiral-arms": "yes no",
    "spiral-winding": "tight medium loose",
    "spiral-arm-count-dr12": "1 2 3 4 more-than-4",
    "bulge-size-dr12": "none obvious dominant",
    "merging-dr12": "merger tidal-debris both neither",
}
UKIDSS_ORDER = {
    "smooth-or-featured": "smooth featured-or-disk artifact",
    "disk-edge-on": "yes no",
    "has-spiral-arms": "yes no",
    "bar": "yes no",
    "bulge-size": "dominant obvious just-noticeable no",
    "something-odd": "yes no",
    "how-rounded": "round in-between cigar",
    "bulge-shape": "round boxy no-bulge",
    "spiral-winding": "tight medium loose",
    "spiral-arm-count": "1 2 3 4 more-than-4 cant-tell",
}
# Petrosian radius over R50 by concentration R90 / R50, of Sersic profiles with n = 0.5, 1, 2, 3, 4, 6
CONCENTRATIONS = (1.823, 2.288, 2.875, 3.174, 3.351, 3.553)
PETROSIAN_RATIOS = (1.942, 2.126, 2.281, 2.357, 2.405, 2.464)


def write_sdss(folder: Path, truth: pd.DataFrame, votes: Votes, debiased: Shares, seed: int) -> None:
    """
    Write ``gz2_hart16.csv`` and ``gz2_filename_mapping.csv``.

    Parameters
    ----------
    folder : Path
        Of the release; its images lie below it (`extract.simulation.names.image_path`).
    truth : DataFrame of n_galaxies rows
        With ``galaxy, ra, dec``.
    votes : dict of str to (n_galaxies,) int array
        Of GZ2's tree, by target.
    debiased : dict of str to (n_galaxies, n_answers) array
        By question, NaN where nobody was asked.
    seed : int
        Of the names, and of which votes lose weight.

    Raises
    ------
    StoreError
        When the folder cannot be written; what was there stays.
    """
    dialect, rng = Dialect.raw_gz2(), np.random.default_rng([seed, 2013])
    identities = name_sdss(truth["galaxy"].to_numpy(), seed)
    ra, dec = truth["ra"].to_numpy(float), truth["dec"].to_numpy(float)
    places = name_places(ra, dec)
    clear = {name: np.nan_to_num(values) for name, values in debiased.items()}
    columns: dict[str, Any] = {
        "dr7objid": identities["dr7objid"],
        "ra": _to_single(ra),
        "dec": _to_single(dec),
        "rastring": [f"{name[1:3]}:{name[3:5]}:{name[5:10]}" for name in places],
        "decstring": [f"{name[10:13]}:{name[13:15]}:{name[15:]}" for name in places],
        "sample": "original",
        "gz2_class": classify_gz2(clear),
        "total_classifications": sum_votes(votes, dialect.campaign.questions[0]),
        "total_votes": np.sum([sum_votes(votes, question) for question in dialect.campaign.questions], axis=0),
    }
    for question in dialect.campaign.questions:
        columns |= _gz2_columns(question, dialect, votes, clear[question.name], rng)
    _write(pd.DataFrame(columns), folder / SDSS_TABLE)
    mapping = pd.DataFrame({"objid": identities["dr7objid"], "sample": "original", "asset_id": identities["asset_id"]})
    _write(mapping.sort_values("asset_id"), folder / MAPPING)


def write_decals(folder: Path, truth: pd.DataFrame, votes: Votes, debiased: Shares, distances: Array) -> None:
    """
    Write ``gz_decals_volunteers_1_and_2.csv``.

    Debiased fractions are blank beyond the redshifts, luminosities and votes that the release's schema names.

    Parameters
    ----------
    folder : Path
    truth : DataFrame of n_galaxies rows
        With ``ra, dec, redshift, absmag_r, mag_r, petro_r50, petro_r90``.
    votes : dict of str to (n_galaxies,) int array
        Of the tree of GZD-1/2, by target.
    debiased : dict of str to (n_galaxies, n_answers) array
        By question, NaN where nobody was asked.
    distances : (n_galaxies,) array
        `measure_source_distance` of each image.

    Raises
    ------
    StoreError
        When the folder cannot be written; what was there stays.
    """
    dialect = Dialect.modern(CAMPAIGNS["dr12"])
    r50, r90 = truth["petro_r50"].to_numpy(float), truth["petro_r90"].to_numpy(float)
    columns: dict[str, Any] = {
        "iauname": name_decals(truth["ra"].to_numpy(float), truth["dec"].to_numpy(float)),
        "ra": truth["ra"].to_numpy(float),
        "dec": truth["dec"].to_numpy(float),
        "redshift": truth["redshift"].to_numpy(np.float32),
        "elpetro_absmag_r": truth["absmag_r"].to_numpy(np.float32),
        "sersic_nmgy_r": (10 ** (0.4 * (22.5 - truth["mag_r"].to_numpy(float)))).astype(np.float32),
        "petro_th50": r50.astype(np.float32),
        "petro_th90": r90.astype(np.float32),
        "petro_theta": estimate_petrosian_radius(r50, r90).astype(np.float32),
        "upload_group": "pre_active",
        "active_learning_on": False,
        "in_gzd_c": False,
        "data_release": "DR2",
    }
    given = _are_debiased(truth, votes, dialect.campaign.questions[0])
    for question, answers in _order_columns(dialect, DECALS_ORDER):
        columns[f"{dialect.heads[question.name]}_total-votes"] = sum_votes(votes, question)
        raw = np.nan_to_num(raw_fractions(votes, question))  # 0 of 0 votes is 0 in the released table
        clear = np.where(given[:, None], np.nan_to_num(debiased[question.name]), np.nan)
        for row, stem in answers:
            columns[stem] = votes[question.targets[row]]
            columns[f"{stem}_fraction"], columns[f"{stem}_debiased"] = raw[:, row], clear[:, row]
    columns |= {"wrong_size_statistic": distances, "wrong_size_warning": np.asarray(distances) > WRONG_SIZE_ABOVE}
    _write(pd.DataFrame(columns), folder / DECALS_TABLE)


def write_ukidss(folder: Path, truth: pd.DataFrame, votes: Votes, seed: int) -> None:
    """
    Write ``ukidss_catalog.csv``, and ``crosswalk.csv`` from its subjects to the galaxies of `write_sdss`.

    As in the real table there are no positions and no totals, and what was not asked is 0.

    Parameters
    ----------
    folder : Path
    truth : DataFrame of n_galaxies rows
        With ``galaxy``.
    votes : dict of str to (n_galaxies,) int array
        Of UKIDSS's tree, by target.
    seed : int
        Of the names: the same as for `write_sdss`.

    Raises
    ------
    StoreError
        When the folder cannot be written; what was there stays.
    """
    dialect = Dialect.modern(CAMPAIGNS["ukidss"], "-ukidss")
    galaxies = truth["galaxy"].to_numpy()
    subjects = name_ukidss(galaxies, seed)
    counts: dict[str, Any] = {}
    shares: dict[str, Any] = {}
    for question, answers in _order_columns(dialect, UKIDSS_ORDER):
        raw = np.nan_to_num(raw_fractions(votes, question))
        for row, stem in answers:
            counts[stem], shares[f"{stem}_fraction"] = votes[question.targets[row]], raw[:, row]
    where = {"subfolder": [name[:21] for name in subjects], "filename": [f"{name}.jpg" for name in subjects]}
    _write(pd.DataFrame(where | counts | shares), folder / UKIDSS_TABLE)
    objects = name_sdss(galaxies, seed)["dr7objid"]
    _write(pd.DataFrame({"subject_id": subjects, "dr7objid": objects}), folder / CROSSWALK)


def classify_gz2(debiased: Shares) -> list[str]:
    """
    The strings of GZ2's column ``gz2_class``, of debiased fractions with zeros where nobody was asked [1]_.

    ``A`` is a star or artifact; ``E`` smooth, with its roundness; ``S`` a disk: ``Se`` edge-on with its bulge, else
    ``B`` where it is barred, its bulge, and its arms' number and winding where it has some. What is odd stands in
    brackets.
    """
    best = {name: np.argmax(values, axis=1) for name, values in debiased.items()}
    letter = {name: np.array(list(letters))[best[name]] for name, letters in CLASS_LETTERS.items()}
    bar = np.where(best["bar"] == 0, "B", "")
    arms = np.char.add(letter["spiral-arm-count"], letter["spiral-winding"])
    face_on = np.char.add(np.char.add(bar, letter["bulge-size"]), np.where(best["has-spiral-arms"] == 0, arms, ""))
    disk = np.where(best["disk-edge-on"] == 0, np.char.add("e", letter["bulge-shape"]), face_on)
    odd = np.where(best["something-odd"] == 0, [f"({one})" for one in letter["odd-feature-gz2"]], "")
    smooth, featured = np.char.add("E", letter["how-rounded"]), np.char.add("S", disk)
    kind = best["smooth-or-featured"]
    classes = np.where(kind == 2, "A", np.char.add(np.where(kind == 0, smooth, featured), odd))
    return [str(name) for name in classes]


def estimate_petrosian_radius(r50: Array, r90: Array) -> Array:
    """The Petrosian radius of a Sersic profile with these radii of half and nine tenths of the Petrosian light."""
    return np.asarray(r50 * np.interp(r90 / r50, CONCENTRATIONS, PETROSIAN_RATIOS))


def measure_source_distance(image: Array) -> float:
    """
    GZ DECaLS's measure of a frame of the wrong size: how far, on average, pixels with light are from the centre [3]_.

    Parameters
    ----------
    image : (height, width, 3) uint8 array

    Returns
    -------
    float
        Pixels; of those brighter than twice the 20th percentile. NaN where there are none.
    """
    grey = np.asarray(image, np.float32).mean(axis=2)
    lit = grey > 2 * np.percentile(grey, 20)
    return float(_distances(*grey.shape)[lit].mean()) if lit.any() else float("nan")


@lru_cache(maxsize=4)
def _distances(height: int, width: int) -> Array:
    y, x = np.mgrid[:height, :width]
    return np.asarray(np.hypot(y - (height - 1) / 2, x - (width - 1) / 2))


def sum_votes(votes: Votes, question: Question) -> Array:
    """(n_galaxies,) votes for all answers of a question."""
    return np.asarray(np.sum([votes[target] for target in question.targets], axis=0))


def _gz2_columns(
    question: Question, dialect: Dialect, votes: Votes, debiased: Array, rng: np.random.Generator
) -> dict[str, Array]:
    """The six columns of each answer, in single precision and three digits where GZ2's are."""
    counts = np.stack([votes[target] for target in question.targets], axis=1)
    chance = [DOWNWEIGHTED_ARTIFACT if target.endswith("_artifact") else DOWNWEIGHTED for target in question.targets]
    weights = counts - rng.binomial(counts, chance) * rng.uniform(*LOST_WEIGHT, counts.shape)
    columns: dict[str, Array] = {}
    total, weighted = counts.sum(axis=1), weights.sum(axis=1)
    for column, target in enumerate(question.targets):
        stem, count, weight = dialect.stems[target], counts[:, column], weights[:, column]
        columns[f"{stem}_count"] = count
        columns[f"{stem}_weight"] = _to_single(weight.round(3))
        columns[f"{stem}_fraction"] = _to_single(_divide(count, total).round(3))
        columns[f"{stem}_weighted_fraction"] = _to_single(_divide(weight, weighted).round(3))
        columns[f"{stem}_debiased"] = debiased[:, column]
        columns[f"{stem}_flag"] = (debiased[:, column] > FLAGGED_ABOVE).astype(int)
    return columns


def _are_debiased(truth: pd.DataFrame, votes: Votes, first: Question) -> Array:
    inside = sum_votes(votes, first) >= DECALS_DEBIASED_VOTES
    for name, (low, high) in DECALS_DEBIASED.items():
        inside = inside & (truth[name].to_numpy(float) > low) & (truth[name].to_numpy(float) < high)
    return np.asarray(inside)


def _order_columns(dialect: Dialect, order: Mapping[str, str]) -> Iterator[tuple[Question, list[tuple[int, str]]]]:
    """Each question in a table's order, and of its answers the place in the question and the column's stem."""
    tree = {question.name: question for question in dialect.campaign.questions}
    for name, answers in order.items():
        places = [(tree[name].answers.index(answer), dialect.stems[f"{name}_{answer}"]) for answer in answers.split()]
        yield tree[name], places


def _divide(part: Array, whole: Array) -> Array:
    return np.asarray(np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0))


def _to_single(values: Array) -> Array:
    """As single precision reads in a table that was written in double."""
    return np.asarray(values, np.float32).astype(np.float64)


def _write(frame: pd.DataFrame, path: Path) -> None:
    with replace_file(path) as temporary:
        frame.to_csv(temporary, index=False)
