"""Where a model does worst: the answer, and the bin of magnitude, size or redshift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.resampling import Resampling
from benchmarks.statistics import MIN_LABELS, ModelScores, Score, score_runs
from embeddings.errors import SommelierError

Array = np.ndarray[Any, Any]
MIN_GALAXIES, MAX_BINS = 100, 10


@dataclass(frozen=True)
class WorstAnswer:
    """
    The answer with the lowest score.

    Attributes
    ----------
    target : str
    score : Score
        Of that answer, which was chosen because it is low: another sample would have it higher.
    n : int
        Rows with a label.
    share : float
        Of the resamples, in how many it is the worst as well: how sure it is that it is this one.
    """

    target: str
    score: Score
    n: int
    share: float


@dataclass(frozen=True)
class Bin:
    """
    Galaxies between two values of a property.

    Attributes
    ----------
    name : str
    low, high : float
        The least and greatest value in it.
    n : int
        Sky objects.
    score : Score
    """

    name: str
    low: float
    high: float
    n: int
    score: Score

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {name: getattr(self, name) for name in ("name", "low", "high", "n")} | {"score": self.score.to_list()}


def find_worst_answer(
    scores: ModelScores, targets: Sequence[str], metric: str = "r", min_labels: int = MIN_LABELS
) -> WorstAnswer | None:
    """
    The answer that is predicted worst.

    Parameters
    ----------
    scores : ModelScores
    targets : sequence of str
        The names of its columns.
    metric : {'r', 'r2'}
    min_labels : int
        Answers with fewer are not looked at.

    Returns
    -------
    WorstAnswer or None
        None when no answer has enough labels and a score.
    """
    column = scores.targets[metric]
    kept = [t for t, score in enumerate(column) if scores.n[t] >= min_labels and np.isfinite(score.value)]
    if not kept:
        return None
    worst = min(kept, key=lambda t: column[t].value)
    draws = np.stack([np.where(np.isfinite(column[t].draws), column[t].draws, np.inf) for t in kept])
    share = float((draws.argmin(axis=0) == kept.index(worst)).mean())
    return WorstAnswer(targets[worst], column[worst], int(scores.n[worst]), share)


def cut_bins(values: Array, objects: Array, min_galaxies: int = MIN_GALAXIES, max_bins: int = MAX_BINS) -> Array:
    """
    Cut galaxies into bins of about equal numbers, each with enough sky objects.

    Parameters
    ----------
    values, objects : (n_rows,) arrays
        A property, NaN where not known; equal values stay together.
    min_galaxies, max_bins : int

    Returns
    -------
    (n_rows,) int array
        From 0 in ascending order; -1 where the value is not known, and everywhere with too few galaxies.
    """
    bins = np.full(len(values), -1)
    known = np.flatnonzero(np.isfinite(values))
    if len(np.unique(objects[known])) < min_galaxies:
        return bins
    for n_bins in range(max_bins, 0, -1):
        edges = np.unique(np.quantile(values[known], np.arange(1, n_bins) / n_bins))
        _, found = np.unique(np.searchsorted(edges, values[known], side="left"), return_inverse=True)
        if min(len(np.unique(objects[known[found == number]])) for number in range(found.max() + 1)) >= min_galaxies:
            break
    bins[known] = found
    return bins


def score_bins(
    Y: Array,
    predictions: Mapping[int, Array],
    resampling: Resampling,
    properties: Mapping[str, Array],
    metric: str = "r",
    min_labels: int = MIN_LABELS,
) -> list[Bin]:
    """
    A model's macro score in bins of each property.

    Within a bin labels vary less than among all galaxies, so that r and R2 are lower there: compare bins, or models in
    the same bin, and not a bin with the whole.

    Parameters
    ----------
    Y, predictions, resampling
        As for `benchmarks.statistics.score_runs`.
    properties : mapping of str to (n_rows,) array
        Such as magnitude, size, redshift; NaN where not known.
    metric : str
    min_labels : int
        Answers with fewer labels in a bin do not count there.

    Returns
    -------
    list of Bin
        Of at least 100 galaxies that have labels; empty where nothing is known of so many.

    Raises
    ------
    SommelierError
        When a property has another number of rows.
    """
    found = []
    labelled = ~np.isnan(Y).all(axis=1)
    for name, values in properties.items():
        values = np.asarray(values, np.float64)
        if len(values) != len(Y):
            raise SommelierError(f"{name} has {len(values)} values for {len(Y)} galaxies: it needs one a row.")
        bins = cut_bins(np.where(labelled, values, np.nan), resampling.objects)
        for number in range(bins.max(initial=-1) + 1):
            rows = np.flatnonzero(bins == number)
            own = np.where((~np.isnan(Y[rows])).sum(axis=0) < min_labels, np.nan, Y[rows])
            part = Resampling(resampling.objects[rows], resampling.random_state, resampling.n_resamples)
            score = score_runs(own, {seed: P[rows] for seed, P in predictions.items()}, part).macro[metric]
            found.append(Bin(name, float(values[rows].min()), float(values[rows].max()), part.n_objects, score))
    return found


def find_worst_bin(bins: Sequence[Bin]) -> Bin | None:
    """The bin with the lowest score; None where no bin has one."""
    return min((one for one in bins if np.isfinite(one.score.value)), key=lambda one: one.score.value, default=None)
