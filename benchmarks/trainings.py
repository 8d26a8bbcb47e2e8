"""Training sets: which rows of which surveys a model learns from, drawn anew by each seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.material import SurveyTable
from benchmarks.suite import Suite, Training
from embeddings.errors import SommelierError

Array = np.ndarray[Any, Any]
Rows = dict[str, Array]  # by survey, (n_chosen,) int
FEWEST = 8  # training objects


def draw_training(tables: Mapping[str, SurveyTable], suite: Suite, name: str, seed: int, budget: int = 0) -> Rows:
    """
    Draw a training set.

    A seed first draws a share of the sky objects (``seeds.redraw``), the same ones for every training set of the suite
    that has them, then what the training set's own rules leave open.

    Parameters
    ----------
    tables : mapping of str to SurveyTable
    suite : Suite
    name : str
        Of the training set.
    seed : int
    budget : int
        Sky objects, 0 for all.

    Returns
    -------
    dict of str to (n_chosen,) int array
        Rows of each survey.

    Raises
    ------
    SommelierError
        When there are too few galaxies.
    """
    training, rng = suite.trainings[name], np.random.default_rng([seed, 7])
    rows = {survey: _find_rows(tables[survey], suite, seed) for survey in training.surveys}
    rows = _select(rows, tables, suite, training, rng)
    if training.balance == "equal":
        n = min(len(chosen) for chosen in rows.values())
        rows = {survey: _draw(chosen, n, rng) for survey, chosen in rows.items()}
    if training.budget:
        asked = count_objects(draw_training(tables, suite, training.budget, seed), tables)
        rows = _draw_objects(rows, tables, asked, rng, f"the training set {name!r}, which has the budget of another,")
    if budget:
        rows = _draw_objects(rows, tables, budget, rng, f"the training set {name!r}")
    if count_objects(rows, tables) < FEWEST:
        raise SommelierError(
            f"the training set {name!r} has {count_objects(rows, tables)} galaxies; at least {FEWEST} are needed."
        )
    return rows


def find_choosers(tables: Mapping[str, SurveyTable], training: Training) -> Rows:
    """The rows that are not learned from, and choose settings and epochs."""
    return {
        survey: np.flatnonzero((tables[survey].parts == "val") & _is_labelled(tables[survey]))
        for survey in training.surveys
    }


def count_objects(rows: Rows, tables: Mapping[str, SurveyTable]) -> int:
    """How many different sky objects the rows show."""
    return len(np.unique(np.concatenate([tables[survey].groups[chosen] for survey, chosen in rows.items()])))


def gather(rows: Rows, tables: Mapping[str, SurveyTable], name: str) -> Array:
    """An attribute of the tables for the rows, survey after survey."""
    return np.concatenate([getattr(tables[survey], name)[chosen] for survey, chosen in rows.items()])


def _is_labelled(table: SurveyTable) -> Array:
    return np.asarray((~np.isnan(table.Y)).any(axis=1))


def _find_rows(table: SurveyTable, suite: Suite, seed: int) -> Array:
    """The training rows of a survey that a seed has drawn."""
    rows = np.flatnonzero((table.parts == "train") & _is_labelled(table))
    share = suite.seeds.redraw
    if share == 1:
        return rows
    # a number for each sky object, whatever survey shows it: so paired galaxies stay paired
    drawn = np.random.default_rng([seed, 11]).random(int(table.groups.max(initial=0)) + 1)
    return rows[drawn[table.groups[rows]] < share]


def _select(
    rows: Rows, tables: Mapping[str, SurveyTable], suite: Suite, training: Training, rng: np.random.Generator
) -> Rows:
    """Of the first survey as many rows as the second has: those that both saw first, or those with most votes."""
    if training.select == "all":
        return rows
    first, second = training.surveys
    table, n = tables[first], len(rows[second])
    if training.select == "overlap":
        both = np.isin(table.groups[rows[first]], tables[second].groups[rows[second]])
        shared, others = rows[first][both], rows[first][~both]
        chosen = np.concatenate([shared, _draw(others, max(n - len(shared), 0), rng)])
    else:
        # the study took all votes, which favours galaxies with features: they are asked more
        counted = table.votes if suite.protocol == "published" else table.totals[:, :1]
        if not np.isfinite(counted[rows[first]]).any():
            raise SommelierError(
                f"a training set selects those galaxies of {first} that have most votes, and it has no votes: take "
                "select: all, or a catalog with counts."
            )
        votes = np.nan_to_num(counted[rows[first]]).sum(axis=1)
        chosen = rows[first][np.argsort(-votes, kind="stable")[:n]]
    return rows | {first: np.sort(chosen)}


def _draw(rows: Array, n: int, rng: np.random.Generator) -> Array:
    return np.sort(rng.choice(rows, min(n, len(rows)), replace=False))


def _draw_objects(rows: Rows, tables: Mapping[str, SurveyTable], n: int, rng: np.random.Generator, what: str) -> Rows:
    """
    One row each of `n` sky objects, in equal shares of the surveys as far as they have them.

    Surveys take turns, and each takes the next of its objects, in random order, that nobody took before.
    """
    there = count_objects(rows, tables)
    if n > there:
        raise SommelierError(f"{what} has {there} sky objects, fewer than the budget of {n}. Leave that budget out.")
    queues = {
        survey: list(zip(tables[survey].groups[order].tolist(), order.tolist(), strict=True))
        for survey, order in ((survey, rng.permutation(chosen)) for survey, chosen in rows.items())
    }
    taken: dict[str, list[int]] = {survey: [] for survey in rows}
    seen: set[int] = set()
    while len(seen) < n and any(queues.values()):
        for survey, queue in queues.items():
            while queue and len(seen) < n:
                group, row = queue.pop()
                if group not in seen:
                    seen.add(group)
                    taken[survey].append(row)
                    break
    return {survey: np.sort(np.array(chosen, int)) for survey, chosen in taken.items()}
