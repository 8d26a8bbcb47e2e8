"""Scores over all targets, and how far they could be off: other galaxies, other seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit
from threadpoolctl import threadpool_limits

from benchmarks.moments import SCORES, Moments, weigh_auc
from benchmarks.resampling import Resampling, draw_seeds
from embeddings.errors import SommelierError
from heads.metrics import is_binary

Array = np.ndarray[Any, Any]
MIN_LABELS = 20  # of an answer: on fewer a correlation says nothing
SINGLE_RUN = "single run"
BOUNDS = {  # what values a score may have
    "r": (-1.0, 1.0), "pooled_r": (-1.0, 1.0), "r2": (-np.inf, 1.0), "mae": (0.0, np.inf), "rmse": (0.0, np.inf),
    "auc": (0.0, 1.0),
}  # fmt: skip
UNBOUND = (-np.inf, np.inf)
GRID = np.linspace(-8, 8, 4001)  # beyond it a normal value does not come


@dataclass(frozen=True)
class Score:
    """
    A number and its 95 % interval.

    Attributes
    ----------
    value : float
        NaN where it does not exist (a constant has no correlation with anything).
    draws : (n_resamples,) array
        The number on other galaxies: on each resample.
    runs : int
        How many seeds it is the mean of; the interval of one says nothing of other seeds.
    luck : (n_resamples,) array, optional
        What other seeds could add, see `benchmarks.resampling.draw_seeds`.
    freedom : float
        Degrees of freedom of its variance.
    key : str
        Of the resampling, see `Resampling.key`; empty where it is not known.
    bounds : (float, float)
        The least and the greatest value that there can be: an interval says nothing beyond.
    """

    value: float
    draws: Array = field(repr=False)
    runs: int = 1
    luck: Array | None = field(default=None, repr=False)
    freedom: float = np.inf
    key: str = ""
    bounds: tuple[float, float] = UNBOUND

    @property
    def spread(self) -> Array:
        """
        The number on other galaxies and with other seeds, (n_resamples,).

        Galaxies and seeds are crossed, since all runs are tested on the same galaxies: their parts are added. Of a few
        seeds the variance is rough, so that the tails are widened as Cochran's approximate t has them (1964, Biometrics
        20, 191): from the normal distribution's to Student's by the share that seeds have in the variance.
        """
        if self.luck is None:
            return self.draws
        apart = self.draws - self.value
        galaxies, seeds = float(np.nanvar(apart)) if np.isfinite(apart).any() else 0.0, float(self.luck.var())
        if not seeds > 0:
            return self.draws
        root, share = np.sqrt(galaxies + seeds), seeds / (galaxies + seeds)
        normal = (apart + self.luck) / root
        student = np.interp(normal, GRID, _widen(self.freedom))
        return np.asarray(self.value + root * ((1 - share) * normal + share * student))

    @property
    def interval(self) -> tuple[float, float]:
        """
        The bias-corrected percentiles (Efron & Tibshirani 1993, section 14.3, without acceleration).

        Plain ones would not do: with few galaxies nearly every resample has a smaller variance, and so a smaller R2,
        than the sample.
        """
        spread = self.spread
        there = spread[np.isfinite(spread)]
        if not (np.isfinite(self.value) and len(there)):
            return float("nan"), float("nan")
        below = (there < self.value).mean() + (there == self.value).mean() / 2
        bias = ndtri(np.clip(below, 1 / (len(there) + 1), len(there) / (len(there) + 1)))
        low, high = np.quantile(there, ndtr(2 * bias + ndtri([0.025, 0.975])))
        return float(np.clip(low, *self.bounds)), float(np.clip(high, *self.bounds))

    @property
    def label(self) -> str:
        """``single run``, or how many seeds."""
        return SINGLE_RUN if self.runs == 1 else f"{self.runs} seeds"

    def __sub__(self, other: Score) -> Score:
        """
        The difference of two scores on the same resamples: paired, so what both share cancels.

        Raises
        ------
        SommelierError
            When the resamples are known to be others.
        """
        if (self.key and other.key and self.key != other.key) or self.draws.shape != other.draws.shape:
            raise SommelierError(
                "two scores of different galaxies or draws have no paired difference. Score both models on the same "
                "test galaxies, with the same split, random_state and number of resamples."
            )
        lucks = [luck for luck in (self.luck, None if other.luck is None else -other.luck) if luck is not None]
        return Score(
            self.value - other.value,
            self.draws - other.draws,
            min(self.runs, other.runs),
            np.sum(lucks, axis=0) if lucks else None,
            min(self.freedom, other.freedom),
            self.key,
            (self.bounds[0] - other.bounds[1], self.bounds[1] - other.bounds[0]),
        )

    def to_list(self) -> list[float | None]:
        """Value, low and high as JSON can hold them."""
        return [float(number) if np.isfinite(number) else None for number in (self.value, *self.interval)]


@lru_cache
def _widen(freedom: float) -> Array:
    """The values of Student's t that have the probabilities of `GRID` in the normal distribution."""
    tail = stdtrit(freedom, ndtr(GRID[GRID <= 0]))  # of the lower half, where probabilities keep their digits
    return np.concatenate([tail, -tail[-2::-1]])


@dataclass(frozen=True)
class ModelScores:
    """
    One model on one test set.

    Attributes
    ----------
    macro : dict of str to Score
        ``r, r2, mae, rmse, bias``, the means over targets; ``pooled_r`` where all labels were given; ``auc``, the mean
        over targets whose labels are 0 and 1, where there are such.
    targets : dict of str to list of Score
        The first five of each target.
    n : (n_targets,) int array
        Rows with a label and a prediction.
    """

    macro: dict[str, Score]
    targets: dict[str, list[Score]] = field(repr=False)
    n: Array


def score_runs(
    Y: Array,
    predictions: Mapping[int, Array],
    resampling: Resampling,
    whole: Array | None = None,
    inflation: float = 1.0,
) -> ModelScores:
    """
    The scores of a model that was trained with one or several seeds, and their two-level intervals.

    A score is the mean over seeds. On a resample it is the mean of the seeds' scores on the drawn sky objects, the same
    ones for all seeds, since all were tested on the same galaxies; beside it goes what another set of seeds could add,
    see `draw_seeds`. Of a single seed there is nothing to add: the score is of that run.

    Parameters
    ----------
    Y : (n_rows, n_targets) array
        Labels, NaN where not asked.
    predictions : mapping of int to (n_rows, n_targets) array
        By seed. A seed that predicts the same everywhere has an r of 0, if others have one.
    resampling : Resampling
        Of the rows' sky objects.
    whole : (n_rows, n_targets) array, optional
        All labels, however few votes they have, for ``pooled_r``, see `pooled_r`.
    inflation : float
        Factor on what seeds could add, where they learn from parts of the same objects, see `inflate_luck`.

    Returns
    -------
    ModelScores

    Raises
    ------
    SommelierError
        When labels, predictions and objects have different shapes, seeds occur twice, or the factor is below 1.
    """
    if not 1 <= inflation < np.inf:
        raise SommelierError(f"the luck of seeds cannot be inflated by {inflation}: the factor is 1 or more.")
    Y = np.asarray(Y)
    for seed, P in predictions.items():
        if P.shape != Y.shape or len(Y) != len(resampling.objects):
            raise SommelierError(
                f"labels {Y.shape}, predictions of seed {seed} {P.shape} and {len(resampling.objects)} sky objects do "
                "not fit together: one row a galaxy, one column a target."
            )
    luck = inflation * draw_seeds(list(predictions), resampling.random_state, resampling.n_resamples)
    found = resample_moments([Moments.of(Y, P) for P in predictions.values()], resampling)
    macro = {name: _join(name, *_stack([run[0][name] for run in found]), luck, resampling.key) for name in SCORES}
    if whole is not None:
        pooled = resample_moments([Moments.pool(np.nan_to_num(whole), P) for P in predictions.values()], resampling)
        macro["pooled_r"] = _join("pooled_r", *_stack([run[0]["r"] for run in pooled]), luck, resampling.key)
    binary = [t for t in range(Y.shape[1]) if is_binary(Y[:, t])]
    if binary:
        areas = [_score_areas(Y[:, binary], P[:, binary], resampling) for P in predictions.values()]
        macro["auc"] = _join("auc", *_stack(areas), luck, resampling.key)
    targets = {}
    for name in SCORES:
        values, draws = _stack([run[1][name] for run in found])  # (n_seeds, n_targets), (n_seeds, n_resamples, ...)
        targets[name] = [
            _join(name, values[:, t], draws[:, :, t], luck, resampling.key) for t in range(Y.shape[1])
        ]  # fmt: skip
    counted = np.min([(~np.isnan(Y + P)).sum(axis=0) for P in predictions.values()], axis=0)
    return ModelScores(macro, targets, np.asarray(counted))


def resample_moments(
    moments: Sequence[Moments], resampling: Resampling
) -> list[tuple[dict[str, Array], dict[str, Array]]]:
    """Of each run, macro scores (1 + n_resamples,) and the targets' (1 + n_resamples, n_targets): first the sample."""
    parts = [[run.score()] for run in moments]
    gathered = [run.gather(resampling) for run in moments]
    with threadpool_limits(1):  # where others work too, threads that wait for each other take five times the processor
        for weights in resampling.draw_blocks():
            for run, scored in zip(gathered, parts, strict=True):
                scored.append(run.weigh(weights))
    joined = []
    for scored in parts:
        averages = [part.average() for part in scored]
        macro = {name: np.concatenate([average[name] for average in averages]) for name in SCORES}
        joined.append((macro, {name: np.concatenate([getattr(part, name) for part in scored]) for name in SCORES}))
    return joined


def _score_areas(Y: Array, P: Array, resampling: Resampling) -> Array:
    """The mean area under the ROC curve of classes, (1 + n_resamples,): first the sample."""
    columns = list(zip(Y.T, P.T, strict=True))
    parts = [np.mean([weigh_auc(y, p, np.ones((1, len(Y)))) for y, p in columns], axis=0)]
    parts += [np.mean([weigh_auc(y, p, rows) for y, p in columns], axis=0) for rows in resampling.draw_rows()]
    return np.concatenate(parts)


def _stack(runs: list[Array]) -> tuple[Array, Array]:
    """The samples' values and the draws of all runs."""
    stacked = np.stack(runs)
    return stacked[:, 0], stacked[:, 1:]


def _join(name: str, values: Array, draws: Array, luck: Array, key: str) -> Score:
    """The mean over runs: `values` (n_seeds,), `draws` (n_seeds, n_resamples), `luck` (n_resamples, n_seeds)."""
    n, fallen = len(values), np.isnan(values)
    if fallen.any() and not fallen.all():  # runs that predict the same everywhere, beside others that do not
        values, draws = np.where(fallen, 0, values), np.where(fallen[:, None], 0, draws)
    value, mean = float(values.mean()), draws.mean(axis=0)
    bounds = BOUNDS.get(name, UNBOUND)
    if n == 1:
        return Score(value, mean, key=key, bounds=bounds)
    return Score(value, mean, n, luck @ values, n - 1, key, bounds)


def macro_scores(Y: Array, P: Array, weights: Array) -> dict[str, Array]:
    """
    Pearson r, R2 and MAE, each the mean over targets.

    Parameters
    ----------
    Y, P : (n_rows, n_targets) arrays
        Labels and predictions; an entry counts where both are there.
    weights : (n_resamples, n_rows) array
        How often each row counts.

    Returns
    -------
    dict of str to (n_resamples,) array
        ``r, r2, mae``, see `TargetScores.average`.
    """
    scores = Moments.of(Y, P).weigh(weights).average()
    return {name: scores[name] for name in ("r", "r2", "mae")}


def pooled_r(Y: Array, P: Array, weights: Array) -> Array:
    """
    Pearson r of all entries at once, with 0 for the label of a question that was not asked.

    What the reference study called its correlation. The differences between the targets' means alone make it large, so
    that a constant prediction scores high on it.

    Returns
    -------
    (n_resamples,) array
    """
    return Moments.pool(np.nan_to_num(np.asarray(Y, np.float64)), P).weigh(weights).average()["r"]


def score_predictions(Y: Array, P: Array, weights: Array, whole: Array | None = None) -> dict[str, Score]:
    """
    Every score with its interval, of one run.

    Parameters
    ----------
    Y, P : (n_rows, n_targets) arrays
    weights : (n_resamples, n_rows) array
        Of `resample_objects`.
    whole : (n_rows, n_targets) array, optional
        All labels, however few votes they have: ``pooled_r`` is of these, and left out without them.

    Returns
    -------
    dict of str to Score
        ``r, r2, mae`` over the targets' means, ``pooled_r``.
    """
    weights = np.concatenate([np.ones((1, len(Y))), weights])  # the first row is the sample itself
    scores = macro_scores(Y, P, weights)
    if whole is not None:
        scores["pooled_r"] = pooled_r(whole, P, weights)
    return {name: Score(float(values[0]), values[1:], bounds=BOUNDS[name]) for name, values in scores.items()}
