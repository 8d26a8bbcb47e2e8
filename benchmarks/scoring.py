"""How good predictions from anywhere are: each target, their means with intervals, and the study's pooled figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.ceilings import Ceiling, measure_ceiling
from benchmarks.predictions import Answers, Pairing
from benchmarks.resampling import resample_objects
from benchmarks.statistics import Score, score_predictions
from embeddings.errors import SommelierError
from heads.metrics import METRICS, count, keep_asked, leading_accuracy, score_pooled

Array = np.ndarray[Any, Any]
Figures = dict[str, Any]
GAP = 0.005  # between r^2 and R2, from which on it is worth a word


@dataclass(frozen=True)
class Scoring:
    """
    Every figure of one set of predictions.

    Attributes
    ----------
    rows : int
        Galaxies.
    pooled, floor : dict
        The study's figures, see `heads.metrics.score_pooled`; and those of the labels' means, predicted for all.
    macro : dict of str to Score
        ``r, r2, mae``, the means over targets.
    per_target : list of dict
        ``target``, every metric, ``n``.
    questions : list of dict
        ``question, accuracy, majority, n``: how often the answer that is predicted to lead does lead, and how often
        the answer does that leads most often.
    ceiling : Ceiling, optional
        What the noise of the votes leaves, where they are known.
    warnings : list of str
        What the pooled figures hide.
    notes : list of str
        What was left out.
    """

    rows: int
    pooled: Figures
    floor: Figures
    macro: dict[str, Score]
    per_target: list[Figures]
    questions: list[Figures]
    ceiling: Ceiling | None
    warnings: list[str]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it: the pooled figures on top; scores with an interval are ``[value, low, high]``."""
        return {
            "rows": self.rows,
            "targets": len(self.per_target),
            **_drop_nan(self.pooled),
            "mean_predictor": _drop_nan(self.floor),
            "macro": {name: score.to_list() for name, score in self.macro.items()},
            "ceiling": self.ceiling.to_dict() if self.ceiling else None,
            "per_target": [_drop_nan(record) for record in self.per_target],
            "questions": [_drop_nan(record) for record in self.questions],
            "warnings": self.warnings,
            "notes": self.notes,
        }


def _drop_nan(record: Figures) -> Figures:
    """JSON has no NaN."""
    return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in record.items()}


def score_pairing(pairing: Pairing, drop_unasked: bool = False, random_state: int = 0) -> Scoring:
    """
    Score predictions.

    Parameters
    ----------
    pairing : Pairing
    drop_unasked : bool
        Leave out the answers of questions whose labels are all 0: nobody was asked. They count as given otherwise.
    random_state : int
        Of the resamples that give intervals.

    Raises
    ------
    SommelierError
        When no label has a prediction.
    """
    unasked = find_unasked(pairing.Y, [answers.columns for answers in pairing.answers])
    if drop_unasked:
        pairing = replace(pairing, Y=np.where(unasked, np.nan, pairing.Y))
    Y, P = pairing.Y, pairing.P
    if not len(keep_asked(Y, P)[0]):
        raise SommelierError("no galaxy has both a label and a prediction of any target: there is nothing to score.")
    weights = resample_objects(pairing.objects, random_state)
    scores = score_predictions(Y, P, weights)
    pooled, floor = score_pooled(Y, P), score_pooled(Y, predict_means(Y, P))
    asked = np.where(np.isnan(P), np.nan, Y)
    ceiling = None if pairing.totals is None else measure_ceiling(asked, pairing.totals, weights)
    scoring = Scoring(
        len(Y), pooled, floor, {name: scores[name] for name in ("r", "r2", "mae")},
        [score_target(name, y, p) for name, y, p in zip(pairing.targets, Y.T, P.T, strict=True)],
        [score_question(answers, Y, P) for answers in pairing.answers],
        ceiling, [], list(pairing.notes),
    )  # fmt: skip
    scoring.warnings.extend(_list_warnings(scoring, pairing, 0 if drop_unasked else int(unasked.sum())))
    return scoring


def find_unasked(Y: Array, questions: Sequence[Sequence[int]]) -> Array:
    """
    The labels of questions that nobody was asked and that stand as zeros.

    Volunteers who are asked give some answer: fractions of all answers that are 0 mean that nobody was.

    Parameters
    ----------
    Y : (n_rows, n_targets) array
    questions : sequence of sequences of int
        The columns that are all answers to one question; of a single one 0 is an answer.

    Returns
    -------
    (n_rows, n_targets) bool array
    """
    unasked = np.zeros(Y.shape, bool)
    for columns in map(list, questions):
        if len(columns) > 1:
            unasked[:, columns] |= (Y[:, columns] == 0).all(axis=1)[:, None]
    return unasked


def predict_means(Y: Array, P: Array) -> Array:
    """The mean of each target's labels for every galaxy that has a prediction."""
    counted = np.where(np.isnan(P), np.nan, Y)
    n = (~np.isnan(counted)).sum(axis=0)
    means = np.nansum(counted, axis=0) / np.where(n > 0, n, np.nan)
    return np.where(np.isnan(P), np.nan, means)


def score_target(name: str, y: Array, p: Array) -> Figures:
    """Every metric of one target, and over how many galaxies."""
    return {"target": name, **{key: metric(y, p) for key, metric in METRICS.items()}, "n": count(y, p)}


def score_question(answers: Answers, Y: Array, P: Array) -> Figures:
    """
    How often the leading answer of one question is right, over galaxies that were asked.

    An answer that shares the lead counts as right. Where all labels are 0 nobody was asked, and any answer would.
    """
    y, p = Y[:, answers.columns], P[:, answers.columns]
    asked = ~np.isnan(y + p).any(axis=1) & ~(y == 0).all(axis=1)
    y, p = y[asked], p[asked]
    accuracy, n = leading_accuracy(y, p)
    majority = (y == y.max(axis=1, keepdims=True)).mean(axis=0).max() if n else np.nan
    return {"question": answers.name, "accuracy": accuracy, "majority": float(majority), "n": n}


def _list_warnings(scoring: Scoring, pairing: Pairing, n_unasked: int) -> Iterator[str]:
    """What one should know before laying pooled figures beside others."""
    pooled, floor, r = scoring.pooled, scoring.floor, scoring.macro["r"].value
    if np.isfinite(floor["pooled_r"]):
        macro = f"{r:.3f}" if np.isfinite(r) else "not defined"
        yield (
            f"pooled figures mix the targets: their means alone, predicted for every galaxy, have a pooled r of "
            f"{floor['pooled_r']:.3f}. This one is {pooled['pooled_r']:.3f}; the mean r over targets is {macro}"
        )
    if pooled["pooled_r_squared"] - pooled["r2"] > GAP:
        yield (
            f"the square of pooled r ({pooled['pooled_r_squared']:.4f}) is not R2, the share of the variance that is "
            f"explained: that is {pooled['r2']:.4f}"
        )
    if n_unasked:
        share = n_unasked / (~np.isnan(pairing.Y)).sum()
        yield (
            f"{n_unasked} labels ({share:.0%}) are zeros of questions that nobody was asked; they count as answers "
            "here, as the reference study counted them. --drop-unasked leaves them out"
        )
    widths = {answers.question: len(answers.columns) for answers in pairing.answers}
    repeats = sum(len(answers.columns) for answers in pairing.answers) - sum(widths.values())
    if repeats:
        kinds = " and ".join(sorted({answers.ending for answers in pairing.answers}))
        n = len(pairing.targets)
        yield f"the same answers stand here as {kinds}: {n} columns are {n - repeats} different answers"
    worse = [record["target"] for record in scoring.per_target if record["r2"] < 0]
    if worse:
        more = f" and {len(worse) - 5} more" if len(worse) > 5 else ""
        yield f"worse than their own mean (R2 below 0): {', '.join(worse[:5])}{more}"
