"""The headline's scores of each answer and each question, and where it is worst."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.predictions import Answers
from benchmarks.reporting.contenders import Headline, name_contender
from benchmarks.resampling import Resampling, inflate_luck
from benchmarks.results import Entry, Results
from benchmarks.scoring import score_question
from benchmarks.statistics import ModelScores, Score, score_runs
from benchmarks.tables import NOTHING, Content, Quantity, Table
from embeddings.questions import Question

Array = np.ndarray[Any, Any]
N_RESAMPLES = 2000  # enough for intervals of two digits; only p needs more


def follow_headline(results: Results, headline: Headline) -> Iterator[Entry]:
    """The headline's contender on every test, in their order; its home test first."""
    entry = headline.entry
    everywhere = results.pick(training=entry.training, model=entry.model, space=entry.space, budget=entry.budget)
    yield from sorted(everywhere, key=lambda each: each.test != headline.test)


def tabulate_answers(results: Results, entry: Entry) -> Table:
    """One row an answer."""
    rows = [
        [target, int(entry.n[column]), *(_show(entry, metric, column) for metric in ("r", "r2", "mae", "bias"))]
        for column, target in enumerate(results.targets)
    ]
    title = f"{results.samples[entry.test].title}: each answer, by {name_contender(results, entry)}"
    meaning = (
        "n: labels. Bias: the mean of prediction less label. A dash: the labels do not vary. 95 % intervals over "
        "galaxies and, where there are several runs, seeds; they are not widened for the number of answers."
    )
    return Table(title, ["answer", "n", "Pearson r", "R2", "MAE", "bias"], rows, meaning, f"answers-{entry.test}")


def _show(entry: Entry, metric: str, column: int) -> Content:
    found, digits = entry.targets.get(metric), 3 if metric in ("mae", "bias") else 2
    return NOTHING if found is None else Quantity.of(found[column], digits, sign=metric == "bias")


def tabulate_questions(results: Results, entry: Entry) -> Table:
    """One row a question: the means over its answers, and how often the leading answer is right."""
    sample, runs = results.samples[entry.test], results.predictions(entry)
    share = results.suite.seeds.redraw
    inflation = inflate_luck(share, len(runs)) if share < 1 and len(runs) > 1 else 1.0
    scores = score_runs(sample.Y, runs, Resampling(sample.groups, 0, N_RESAMPLES), inflation=inflation)
    mean = np.mean(list(runs.values()), axis=0)
    rows, start = [], 0
    for question in results.questions:
        columns = np.arange(start, start := start + len(question.targets))
        rows.append(_list_question(question, columns, scores, sample.Y, mean))
    title = f"{sample.title}: each question, by {name_contender(results, entry)}"
    meaning = (
        "Means over the question's answers, 95 % intervals. Leading answer: how often the answer that the mean of all "
        "runs predicts to lead does lead, and how often it would be right to say the commonest one always; over "
        "galaxies with a label of every answer."
    )
    names = ["question", "answers", "n", "Pearson r", "R2", "MAE", "leading answer right", "always the commonest"]
    return Table(title, names, rows, meaning, f"questions-{entry.test}")


def _list_question(question: Question, columns: Array, scores: ModelScores, Y: Array, mean: Array) -> list[Content]:
    found = [_average([scores.targets[name][c] for c in columns]) for name in ("r", "r2", "mae")]
    shown = [Quantity.of(score, digits) for score, digits in zip(found, (2, 2, 3), strict=True)]
    lead: list[Content] = [NOTHING, NOTHING]
    if len(columns) > 1:
        leading = score_question(Answers(question.name, "", tuple(columns.tolist())), Y, mean)
        lead = [Quantity.of(leading[name], 3) for name in ("accuracy", "majority")]
    return [question.name, len(columns), int(scores.n[columns].max()), *shown, *lead]


def _average(scores: list[Score]) -> Score | None:
    """The mean of scores on the same resamples, of those that exist."""
    there = [score for score in scores if np.isfinite(score.value)]
    if not there:
        return None
    lucks = [score.luck for score in there if score.luck is not None]
    with np.errstate(invalid="ignore"):
        draws = np.mean([score.draws for score in there], axis=0)
    luck = np.mean(lucks, axis=0) if lucks else None
    first = there[0]
    value = float(np.mean([score.value for score in there]))
    return Score(value, draws, first.runs, luck, first.freedom, first.key, first.bounds)


def tabulate_bins(results: Results, entry: Entry) -> Table | None:
    """The score in bins of magnitude, size and redshift; None where none of them is known of enough galaxies."""
    if not results.samples[entry.test].properties:
        return None
    rows: list[list[Content]] = [
        [one.name, Quantity(one.low, digits=3), Quantity(one.high, digits=3), one.n, Quantity.of(one.score)]
        for one in results.score_bins(entry)
    ]
    if not rows:
        return None
    title = f"{results.samples[entry.test].title}: bins of galaxies, by {name_contender(results, entry)}"
    meaning = (
        "Pearson r, the mean over answers, of at least 100 sky objects a bin. Within a bin labels vary less than among "
        "all galaxies, so that r is lower there: compare bins with each other."
    )
    return Table(title, ["property", "from", "to", "sky objects", "Pearson r"], rows, meaning, f"bins-{entry.test}")
