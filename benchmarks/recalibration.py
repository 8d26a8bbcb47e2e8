"""How few labels of another survey buy back what was lost there: an offset and a slope for each answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.moments import SMALL, Moments
from benchmarks.resampling import N_RESAMPLES, Resampling, draw_seeds, inflate_luck
from benchmarks.statistics import BOUNDS, MIN_LABELS, UNBOUND, Score, resample_moments, score_runs
from embeddings.errors import SommelierError

Array = np.ndarray[Any, Any]
Runs = Mapping[int, Array]  # by seed
BUDGETS = (10, 30, 100, 300, 1000)
METRICS = ("r2", "mae", "bias")  # r hardly answers to an offset and a slope
# so many labels weigh as much as the belief that nothing is wrong, see `fit_affine`
OFFSET_LABELS, SLOPE_LABELS = 2.5, 10.0


@dataclass(frozen=True)
class Point:
    """
    What so many labels bring.

    Attributes
    ----------
    budget : int
        Sky objects of the target survey that were labelled.
    scores : dict of str to Score
        ``r2, mae, bias``, the means over draws and seeds. The interval is of one draw of other labels, on other
        galaxies.
    """

    budget: int
    scores: dict[str, Score]


@dataclass(frozen=True)
class Curve:
    """
    Scores on the target survey by the number of its labels.

    Attributes
    ----------
    uncorrected : dict of str to Score
        Without any; each point's score less this one is paired.
    points : tuple of Point
        Budgets in ascending order.
    answers : (n_answers,) int array
        The columns that count.
    n_pool : int
        Sky objects that labels could be drawn of.
    n_draws : int
    in_domain : float, optional
        R2 on the survey that was learned from.
    """

    uncorrected: dict[str, Score]
    points: tuple[Point, ...]
    answers: Array
    n_pool: int
    n_draws: int
    in_domain: float | None = None

    def find_budget(self, share: float = 0.5) -> int | None:
        """
        The least number of labels after which, on average over draws, a share of what R2 lost is back.

        Returns
        -------
        int or None
            0 where nothing was lost; None where no budget does, or the score in domain is not known.
        """
        before = self.uncorrected["r2"].value
        if self.in_domain is None or not np.isfinite(self.in_domain - before):
            return None
        if self.in_domain <= before:
            return 0
        enough = before + share * (self.in_domain - before)
        return next((point.budget for point in self.points if point.scores["r2"].value >= enough), None)

    def to_rows(self) -> Iterator[tuple[int, dict[str, Score]]]:
        """Budget and scores, in the order of a table; that of 0 is without a correction."""
        yield 0, self.uncorrected
        yield from ((point.budget, point.scores) for point in self.points)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; each score is ``[value, low, high]``."""
        rows = [
            {"labels": budget} | {name: score.to_list() for name, score in scores.items()}
            for budget, scores in self.to_rows()
        ]
        return {
            "answers": self.answers.tolist(),
            "pool": self.n_pool,
            "draws": self.n_draws,
            "runs": self.uncorrected["r2"].runs,
            "curve": rows,
            "in_domain_r2": self.in_domain,
            "labels_for_half": self.find_budget(),
        }


def fit_affine(P: Array, Y: Array, variance: Array) -> tuple[Array, Array]:
    """
    The offset and slope of each answer that bring predictions to labels, shrunk towards 0 and 1.

    Ridge regression of label less prediction on the prediction less its mean m: minimises, over offset a at m and tilt
    t, sum (y - p - a - t (p - m))^2 + 2.5 a^2 + 10 v t^2, where v is the predictions' variance. In Bayes' terms offsets
    are believed to be normal around 0 with a standard deviation of 0.63 times that of the residuals (1 / sqrt 2.5), and
    so is what a tilt does to a prediction one standard deviation from the mean, with 0.32 (1 / sqrt 10). No number of
    labels is too small: with few of them an answer stays nearly as it was, and without any entirely.

    Parameters
    ----------
    P, Y : (n_rows, n_targets) arrays
        An entry counts where both are there.
    variance : (n_targets,) array
        Of predictions, for which no labels are needed.

    Returns
    -------
    offset, slope : (n_targets,) float64 arrays
        Of ``offset + slope * P``.

    References
    ----------
    Hoerl & Kennard 1970, Technometrics 12, 55.
    """
    there = ~np.isnan(P + Y)
    n = there.sum(axis=0)
    middle = np.where(there, P, 0).sum(axis=0) / np.maximum(n, 1)
    x, apart = np.where(there, P - middle, 0), np.where(there, Y - P, 0)
    weight = (x**2).sum(axis=0) + SLOPE_LABELS * variance
    tilt = np.divide((x * apart).sum(axis=0), weight, out=np.zeros(len(n)), where=variance > SMALL)
    return apart.sum(axis=0) / (n + OFFSET_LABELS) - tilt * middle, 1 + tilt


def recalibrate(
    P_pool: Runs,
    Y_pool: Array,
    P_test: Runs,
    Y_test: Array,
    budgets: Sequence[int] = BUDGETS,
    n_draws: int = 20,
    random_state: int = 0,
    objects_pool: Array | None = None,
    objects_test: Array | None = None,
    n_resamples: int = N_RESAMPLES,
    in_domain: float | None = None,
    inflation: float = 1.0,
) -> Curve | None:
    """
    Correct predictions by some labels of the target survey, and score them on others.

    Of the pool so many sky objects are drawn, without replacement, and all their labels used; the objects of a small
    budget are among those of a larger one, and all seeds are corrected by the same. Corrected predictions are clipped
    to [0, 1].

    Parameters
    ----------
    P_pool, P_test : mapping of int to (n_rows, n_targets) array
        By seed: predictions for the target survey's training and test side.
    Y_pool, Y_test : (n_rows, n_targets) arrays
        Fractions, NaN where not asked. Answers with too few labels in the test are left out.
    budgets : sequence of int
        Sky objects to label; what the pool has not is left out. Objects without a label do not count.
    n_draws : int
    random_state, n_resamples : int
        Of the draws and the `Resampling` of the test.
    objects_pool, objects_test : (n_rows,) arrays, optional
        Sky objects, as numbers or names; by default each row is one.
    in_domain : float, optional
        R2 on the survey that was learned from, of the same answers, for `Curve.find_budget`.
    inflation : float
        As for `score_runs`.

    Returns
    -------
    Curve or None
        None when no answer has enough labels in the test.

    Raises
    ------
    SommelierError
        When shapes or seeds do not fit, labels are no fractions, a budget or the number of draws is too small, or a
        sky object is in both pool and test.
    """
    numbered = objects_pool is not None and objects_test is not None
    objects_pool, objects_test = (
        np.arange(len(Y)) if objects is None else np.asarray(objects)
        for objects, Y in ((objects_pool, Y_pool), (objects_test, Y_test))
    )
    _require_fit(P_pool, Y_pool, objects_pool, P_test, Y_test, objects_test, numbered)
    if min(budgets, default=1) < 1 or n_draws < 2:
        raise SommelierError(f"budgets {tuple(budgets)} and {n_draws} draws: a label and two draws are the least.")
    enough = (~np.isnan(Y_test)).sum(axis=0) >= MIN_LABELS
    if not enough.any():
        return None
    Y_pool, Y_test = (np.where(enough, Y, np.nan) for Y in (Y_pool, Y_test))
    resampling = Resampling(objects_test, random_state, n_resamples)
    before = score_runs(Y_test, P_test, resampling, inflation=inflation).macro
    places, n_pool = _draw_places(objects_pool, Y_pool, n_draws, random_state)
    points = []
    for budget in sorted({number for number in budgets if number <= n_pool}):
        mean, values = _correct_all(P_pool, Y_pool, P_test, Y_test, places < budget)
        points.append(Point(budget, _add_luck(mean, values, list(P_test), resampling, budget / n_pool, inflation)))
    uncorrected = {name: before[name] for name in METRICS}
    return Curve(uncorrected, tuple(points), np.flatnonzero(enough), n_pool, n_draws, in_domain)


def _draw_places(objects: Array, Y: Array, n_draws: int, random_state: int) -> tuple[Array, int]:
    """The place of each row's sky object in each random order of those with labels, (n_draws, n_rows); their number."""
    rows = np.flatnonzero(~np.isnan(Y).all(axis=1))
    names, index = np.unique(objects[rows], return_inverse=True)
    rng = np.random.default_rng([random_state, 2])  # the 2 keeps it apart from galaxies' and seeds' draws
    places = np.full((n_draws, len(Y)), len(names))  # those without labels come last
    for place in places:
        place[rows] = rng.permutation(len(names))[index]
    return places, len(names)


def _correct_all(
    P_pool: Runs, Y_pool: Array, P_test: Runs, Y_test: Array, drawn: Array
) -> tuple[Moments, dict[str, Array]]:
    """
    The mean moments over seeds and draws, and each metric's values, (n_seeds, n_draws); `drawn` (n_draws, n_rows).

    R2, MAE and bias are linear in the moments of the error, so that those of the mean moments are the means.
    """
    total, offsets, values = np.zeros(1), np.zeros(1), []
    for seed, P in P_test.items():
        variance = np.var(P_pool[seed], axis=0)
        for rows in drawn:
            offset, slope = fit_affine(P_pool[seed][rows], Y_pool[rows], variance)
            moments = Moments.of(Y_test, np.clip(offset + slope * P, 0, 1))
            total, offsets = total + moments.columns, offsets + moments.offset
            values.append(moments.score().average())
    mean = Moments(total / len(values), offsets / len(values))
    return mean, {name: np.reshape([each[name] for each in values], (len(P_test), -1)) for name in METRICS}


def _add_luck(
    mean: Moments, values: Mapping[str, Array], seeds: list[int], resampling: Resampling, share: float, inflation: float
) -> dict[str, Score]:
    """
    The scores of one budget, which is a share of the pool.

    Beside other galaxies and other seeds goes how far one draw of other labels may lie from the mean of these: the
    variance of one and that of the mean, both made larger since draws overlap, see `inflate_luck`. Degrees of freedom
    are Satterthwaite's (1946, Biometrics Bulletin 2, 110). Draws of the whole pool are all the same and show no luck.
    """
    ((draws, _),) = resample_moments([mean], resampling)
    n_draws = values[METRICS[0]].shape[1]
    numbers = range(max(seeds) + 1, max(seeds) + 1 + n_draws)  # no seed's, whose luck is another
    of_seeds, of_draws = (
        draw_seeds(names, resampling.random_state, resampling.n_resamples) for names in (seeds, numbers)
    )
    of_seeds *= inflation
    if share < 1:  # the weights' sums have the variance of a mean of n_draws
        of_draws *= np.sqrt(n_draws * inflate_luck(share, 1) ** 2 + inflate_luck(share, n_draws) ** 2)
    scores = {}
    for name, table in values.items():
        parts = of_seeds @ table.mean(axis=1), of_draws @ table.mean(axis=0)
        variances, freedoms = [float(part.var()) for part in parts], (max(len(seeds) - 1, 1), n_draws - 1)
        spent = sum(variance**2 / freedom for variance, freedom in zip(variances, freedoms, strict=True))
        freedom = sum(variances) ** 2 / spent if spent > 0 else np.inf
        luck = parts[0] + parts[1]
        bounds = BOUNDS.get(name, UNBOUND)
        scores[name] = Score(float(table.mean()), draws[name][1:], len(seeds), luck, freedom, resampling.key, bounds)
    return scores


def _require_fit(
    P_pool: Runs, Y_pool: Array, objects_pool: Array, P_test: Runs, Y_test: Array, objects_test: Array, numbered: bool
) -> None:
    """Raise where the two sides are not of the same models and answers, or not apart."""
    if not P_test or set(P_pool) != set(P_test):
        raise SommelierError(
            f"seeds {sorted(P_pool)} of the pool and {sorted(P_test)} of the test should be equal: the same models "
            "predict both."
        )
    n_answers = Y_test.shape[1]
    for what, runs, Y, objects in (("pool", P_pool, Y_pool, objects_pool), ("test", P_test, Y_test, objects_test)):
        shapes = {np.shape(values) for values in (Y, *runs.values())}
        if shapes != {(len(objects), n_answers)}:
            raise SommelierError(
                f"predictions and labels of the {what} have the shapes {sorted(shapes)} for {len(objects)} sky "
                f"objects and {n_answers} answers: one row a galaxy, one column an answer."
            )
        if ((np.asarray(Y) < 0) | (np.asarray(Y) > 1)).any():
            raise SommelierError(
                f"labels of the {what} lie outside [0, 1]: only fractions are recalibrated, since what is predicted is "
                "clipped. Leave the answers out that are no fractions."
            )
    both = np.intersect1d(objects_pool, objects_test) if numbered else np.empty(0)
    if both.size:
        raise SommelierError(
            f"{len(both)} sky objects ({both[0]} ...) are in the pool and in the test: labels of the target survey's "
            "training side are drawn, and scored on its test side."
        )
