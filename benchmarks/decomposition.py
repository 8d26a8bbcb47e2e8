"""Where the out-of-domain drop comes from: other images, other volunteers, other galaxies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmarks.ceilings import Ceiling, resample_ceiling
from benchmarks.moments import SCORES
from benchmarks.resampling import N_RESAMPLES, Resampling
from benchmarks.statistics import MIN_LABELS, ModelScores, Score, score_runs
from embeddings.errors import SommelierError, did_you_mean

Array = np.ndarray[Any, Any]
Runs = Mapping[int, Array]  # by seed
CELLS = ("ss", "us", "su", "uu")  # whose images, whose labels
# how much of each cell an effect is: what it does beside one survey's and the other's, halved
EFFECTS = {"image": (0.5, -0.5, 0.5, -0.5), "annotation": (0.5, 0.5, -0.5, -0.5), "interaction": (1, -1, -1, 1)}


class Whole(NamedTuple):
    """
    All test galaxies of S, the paired ones among them.

    Attributes
    ----------
    predictions : mapping of int to (n_rows, n_targets) array
        By seed, from the images of S.
    Y : (n_rows, n_targets) array
        The labels of S, NaN where not asked.
    objects : (n_rows,) array
        Sky objects, numbered or named as those of the pairs.
    """

    predictions: Runs
    Y: Array
    objects: Array


@dataclass(frozen=True)
class Drop:
    """
    One metric: in domain less out of domain, so that what is lost in r or R2 is positive, in an error negative.

    Attributes
    ----------
    cells : dict of str to Score
        ``ss, us, su, uu``: the model on the images of the first with the labels of the second.
    image, annotation : Score
        What the other survey's images cost, and what its labels cost: each the mean over both surveys of the other.
    interaction : Score
        The image effect with the labels of S less that with those of U; the annotation effect differs by as much.
    total : Score
        ss less uu, which is image + annotation.
    whole, population, overall : Score, optional
        On all test galaxies of S; that less ss; that less uu, which is population + image + annotation.
    """

    cells: dict[str, Score]
    image: Score
    annotation: Score
    interaction: Score
    total: Score
    whole: Score | None = None
    population: Score | None = None
    overall: Score | None = None

    def list_parts(self) -> list[tuple[str, Score]]:
        """What is known, from all test galaxies to the drop's parts, by name."""
        names = ("image", "annotation", "interaction", "total", "whole", "population", "overall")
        return [*self.cells.items(), *((name, part) for name in names if (part := getattr(self, name)) is not None)]


@dataclass(frozen=True)
class Decomposition:
    """
    Where the drop comes from.

    Attributes
    ----------
    drops : dict of str to Drop
        By metric.
    ceilings : dict of str to Ceiling
        ``s, u``: what the noise of each survey's votes leaves on the same entries, where their totals are known.
    answers : (n_answers,) int array
        The columns that count.
    n_objects : int
        Sky objects that count.
    runs : int
        Seeds.
    """

    drops: dict[str, Drop]
    ceilings: dict[str, Ceiling]
    answers: Array
    n_objects: int
    runs: int

    def to_rows(self) -> Iterator[tuple[str, str, Score]]:
        """Metric, part and score, in the order of a table; the ceilings' parts are ``ceiling_s, ceiling_u``."""
        for metric, drop in self.drops.items():
            yield from ((metric, name, score) for name, score in drop.list_parts())
            for survey, ceiling in self.ceilings.items():
                if metric in ceiling.scores:
                    yield metric, f"ceiling_{survey}", ceiling.scores[metric]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; each score is ``[value, low, high]``."""
        return {
            "objects": self.n_objects,
            "answers": self.answers.tolist(),
            "runs": self.runs,
            "metrics": {
                metric: {name: score.to_list() for name, score in drop.list_parts()}
                for metric, drop in self.drops.items()
            },
            "ceilings": {survey: ceiling.to_dict() for survey, ceiling in self.ceilings.items()},
        }


def decompose_drop(
    predicted_s: Runs,
    predicted_u: Runs,
    Y_s: Array,
    Y_u: Array,
    objects: Array,
    random_state: int = 0,
    n_resamples: int = N_RESAMPLES,
    totals_s: Array | None = None,
    totals_u: Array | None = None,
    whole: Whole | None = None,
    metrics: Sequence[str] = ("r", "r2"),
    inflation: float = 1.0,
) -> Decomposition | None:
    """
    Part the drop from survey S, which was learned from, to survey U, on held-out galaxies that both saw.

    The model is scored on either survey's images with either survey's labels. Only entries count that both have a
    label for, the same in all four cells, and answers that have enough of them. All parts are on the same resamples of
    sky objects, those of `whole` included, so that what they share cancels.

    Parameters
    ----------
    predicted_s, predicted_u : mapping of int to (n_pairs, n_targets) array
        By seed, from the images of S and of U, of the same galaxies in the same order.
    Y_s, Y_u : (n_pairs, n_targets) arrays
        Labels, NaN where not asked.
    objects : (n_pairs,) array
        Sky objects, as numbers or names.
    random_state, n_resamples : int
        Of the `Resampling`.
    totals_s, totals_u : (n_pairs, n_targets) arrays, optional
        How many volunteers answered, for the ceilings: where labels are raw fractions of votes.
    whole : Whole, optional
        All test galaxies of S, for the population effect.
    metrics : sequence of str
        Of ``r, r2, mae, rmse, bias``.
    inflation : float
        As for `score_runs`.

    Returns
    -------
    Decomposition or None
        None when no answer has enough labels in both.

    Raises
    ------
    SommelierError
        When shapes or seeds do not fit, a metric is not known, or `whole` lacks galaxies of the pairs.

    References
    ----------
    The mean over both orders is Shapley's value of two players (1953, Contributions to the Theory of Games II, 307).
    """
    for metric in metrics:
        if metric not in SCORES:
            raise SommelierError(f"there is no metric {metric!r}. {did_you_mean(metric, SCORES)}")
    totals = [values for values in (totals_s, totals_u) if values is not None]
    shape = len(objects), Y_s.shape[1]
    _require_shape("pairs", shape, [Y_s, Y_u, *predicted_s.values(), *predicted_u.values(), *totals])
    _require_same_models(predicted_s, predicted_u, whole)
    if whole is not None:
        shape = len(whole.objects), Y_s.shape[1]
        _require_shape("the whole test set", shape, [whole.Y, *whole.predictions.values()])
        _require_pairs_within(objects, whole)
    both = ~(np.isnan(Y_s) | np.isnan(Y_u))
    enough = both.sum(axis=0) >= MIN_LABELS
    if whole is not None:
        enough &= (~np.isnan(whole.Y)).sum(axis=0) >= MIN_LABELS
    if not enough.any():
        return None
    Y_s, Y_u = (np.where(both & enough, Y, np.nan) for Y in (Y_s, Y_u))
    rest = [] if whole is None else [whole.objects]
    resampling = Resampling(np.concatenate([objects, *rest]), random_state, n_resamples)
    n_rest = len(resampling.objects) - len(objects)

    def score(predictions: Runs, Y: Array) -> ModelScores:
        runs = {seed: _pad(P, below=n_rest) for seed, P in predictions.items()}
        return score_runs(_pad(Y, below=n_rest), runs, resampling, inflation=inflation)

    found = [score(P, Y) for Y in (Y_s, Y_u) for P in (predicted_s, predicted_u)]
    everyone = None if whole is None else _score_whole(whole, enough, resampling, inflation)
    drops = {m: _part([cell.macro[m] for cell in found], everyone.macro[m] if everyone else None) for m in metrics}
    ceilings = {
        survey: resample_ceiling(_pad(Y, below=n_rest), _pad(totals, below=n_rest), resampling)
        for survey, Y, totals in (("s", Y_s, totals_s), ("u", Y_u, totals_u))
        if totals is not None
    }
    n_objects = len(np.unique(np.asarray(objects)[(both & enough).any(axis=1)]))
    return Decomposition(drops, ceilings, np.flatnonzero(enough), n_objects, len(predicted_s))


def _part(cells: Sequence[Score], whole: Score | None) -> Drop:
    effects = {name: _weigh(cells, shares) for name, shares in EFFECTS.items()}
    total = cells[0] - cells[3]
    named = dict(zip(CELLS, cells, strict=True))
    if whole is None:
        return Drop(named, **effects, total=total)
    return Drop(named, **effects, total=total, whole=whole, population=whole - cells[0], overall=whole - cells[3])


def _weigh(scores: Sequence[Score], shares: Sequence[float]) -> Score:
    """The weighted sum of scores on the same resamples and of the same seeds."""
    first, lucks = scores[0], [score.luck for score in scores if score.luck is not None]
    return Score(
        float(np.dot(shares, [score.value for score in scores])),
        np.tensordot(shares, [score.draws for score in scores], 1),
        first.runs,
        np.tensordot(shares, lucks, 1) if lucks else None,
        first.freedom,
        first.key,
    )


def _score_whole(whole: Whole, enough: Array, resampling: Resampling, inflation: float) -> ModelScores:
    """On all test galaxies of S, whose rows come after those of the pairs."""
    above = len(resampling.objects) - len(whole.Y)
    runs = {seed: _pad(P, above=above) for seed, P in whole.predictions.items()}
    return score_runs(_pad(np.where(enough, whole.Y, np.nan), above), runs, resampling, inflation=inflation)


def _pad(values: Array, above: int = 0, below: int = 0) -> Array:
    """More rows, of which nothing is known."""
    return np.pad(np.asarray(values, np.float64), ((above, below), (0, 0)), constant_values=np.nan)


def _require_shape(what: str, shape: tuple[int, int], arrays: Sequence[Array]) -> None:
    """Raise unless all arrays have a row for each sky object and a column for each answer."""
    shapes = {np.shape(values) for values in arrays}
    if shapes != {shape}:
        raise SommelierError(
            f"predictions, labels and totals of {what} have the shapes {sorted(shapes)} for {shape[0]} sky objects and "
            f"{shape[1]} answers: one row a galaxy, in the same order, one column an answer."
        )


def _require_same_models(predicted_s: Runs, predicted_u: Runs, whole: Whole | None) -> None:
    seeds = [sorted(runs) for runs in (predicted_s, predicted_u, *([] if whole is None else [whole.predictions]))]
    if not seeds[0] or any(each != seeds[0] for each in seeds):
        raise SommelierError(
            f"the seeds {' and '.join(map(str, seeds))} should be equal: the same models see the images of both "
            "surveys and, where they are given, all test galaxies."
        )


def _require_pairs_within(objects: Array, whole: Whole) -> None:
    missing = int((~np.isin(objects, whole.objects)).sum())
    if missing:
        raise SommelierError(
            f"{missing} of {len(objects)} pairs show sky objects that the whole test set lacks. Number the objects of "
            "both alike, and give all test galaxies of the first survey, the paired ones among them."
        )
