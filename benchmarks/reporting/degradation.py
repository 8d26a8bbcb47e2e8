"""What is left on surveys that were not learned from: how much less, where that comes from, what buys it back."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.galaxies import name_survey
from benchmarks.recalibration import Curve
from benchmarks.reporting.contenders import find_home, name_file, name_model, name_training, pick_whole
from benchmarks.results import Decomposed, Entry, Recalibrated, Results
from benchmarks.statistics import Score
from benchmarks.tables import NOTHING, Content, Quantity, Table

PARTS = {
    "ss": "{home}'s images, {home}'s labels",
    "us": "{away}'s images, {home}'s labels",
    "su": "{home}'s images, {away}'s labels",
    "uu": "{away}'s images, {away}'s labels",
    "image": "lost by other images",
    "annotation": "lost by other labels",
    "interaction": "interaction of the two",
    "total": "lost on the same galaxies: images + labels",
    "whole": "all test galaxies of {home}",
    "population": "lost by other galaxies",
    "overall": "lost in all: galaxies + images + labels",
    "ceiling_s": "vote-noise ceiling of {home}'s labels",
    "ceiling_u": "vote-noise ceiling of {away}'s labels",
}
METRICS = ("r2", "mae", "bias")  # that an offset and a slope change
METRIC = {"r": "Pearson r", "r2": "R2", "mae": "MAE", "rmse": "RMSE", "bias": "bias"}


def change_in_percent(home: Score, away: Score) -> Score | None:
    """
    How much more or less a score is away from home, in per cent of the score at home.

    The two are on different galaxies, and their draws are taken as independent; where both surveys show the same sky
    objects in the same order they are the same draws. What seeds add is carried over to first order.

    Returns
    -------
    Score or None
        None where the score at home may be 0 or less: a share of it says nothing.
    """
    if not (np.isfinite(home.value) and np.isfinite(away.value)) or not home.interval[0] > 0:
        return None
    n = min(len(home.draws), len(away.draws))
    base = np.where(home.draws[:n] > 0, home.draws[:n], np.nan)
    ratio = away.value / home.value
    lucks = [np.zeros(n) if score.luck is None else score.luck[:n] for score in (home, away)]
    luck = 100 * (lucks[1] - ratio * lucks[0]) / home.value
    freedom = min(home.freedom, away.freedom)
    runs = min(home.runs, away.runs)
    return Score(100 * (ratio - 1), 100 * (away.draws[:n] / base - 1), runs, luck if luck.any() else None, freedom)


def tabulate_degradation(results: Results) -> Table | None:
    """Each contender of all training objects at home, and on every other test; one floor is enough."""
    rows = []
    for entry in pick_whole(results):
        floor = results.suite.models[entry.model].is_floor
        if floor and entry.training != results.suite.reference_training:
            continue
        if entry.test == find_home(results, entry.training):
            for test in results.samples:
                rows += [_list_change(results, entry, away)
                         for away in results.pick(**_same(entry), test=test) if away.test != entry.test]  # fmt: skip
    if not rows:
        return None
    columns = (
        "contender", "learned from", "test", "learned from too", "r at home", "r there",
        "change of r, %", "R2 at home", "R2 there", "change of R2, %",
    )  # fmt: skip
    meaning = (
        "At home: new objects of the first survey that was learned from. Changes are in per cent of the score at "
        "home, with 95 % intervals that take the two tests' galaxies as independent draws; a dash where the score at "
        "home may be 0. R2 has no lower end: it may fall by more than 100 %."
    )
    return Table("What is left on other surveys", columns, rows, meaning, "degradation")


def _same(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in ("training", "model", "space", "budget")}


def _list_change(results: Results, home: Entry, away: Entry) -> list[Content]:
    known = results.samples[away.test].survey in results.suite.trainings[home.training].surveys
    scores: list[Content] = []
    for metric in ("r", "r2"):
        here, there = home.macro[metric], away.macro[metric]
        change = Quantity.of(change_in_percent(here, there), 0, sign=True)
        scores += [Quantity.of(here, bare=True), Quantity.of(there), change]
    surveys = "+".join(map(name_survey, results.suite.trainings[home.training].surveys))
    sample = results.samples[away.test]
    space = f", {home.space}" if results.suite.spaces == "each" and home.space else ""
    who = name_model(results, home.model) + space
    learned = name_training(results, home.training)
    learned += "" if learned == surveys else f" ({surveys})"
    test = f"{name_survey(sample.survey)}, {sample.kind}"
    return [who, learned, test, "yes" if known else "no", *scores]


def tabulate_drop(results: Results, drop: Decomposed) -> Table:
    """Where a model's drop from one survey to another comes from."""
    home, away = (name_survey(results.samples[test].survey) for test in (drop.home, drop.away))
    found: dict[str, dict[str, Score]] = {}
    for metric, part, score in drop.decomposition.to_rows():
        found.setdefault(part, {})[metric] = score
    metrics = [name for name in METRIC if any(name in scores for scores in found.values())]
    rows: list[list[Content]] = [
        [words.format(home=home, away=away), *(Quantity.of(found[part].get(name)) for name in metrics)]
        for part, words in PARTS.items()
        if part in found
    ]
    who = f"{name_model(results, drop.model)} that learned from {name_training(results, drop.training)}"
    meaning = (
        f"The same {drop.decomposition.n_objects} sky objects, which nobody learned from, as both surveys see them; "
        f"only answers and galaxies that have labels in both ({len(drop.decomposition.answers)} answers). What is "
        "lost is the score before less the score after, each the mean over both orders of changing images and "
        "labels. Other labels cost also by their own noise: compare the ceilings. 95 % intervals."
    )
    name = name_file("drop", drop.training, drop.model, drop.home, drop.away)
    title = f"Where the drop from {home} to {away} comes from: {who}"
    return Table(title, ["part", *(METRIC[name] for name in metrics)], rows, meaning, name)


def find_pairs(results: Results, entry: Entry) -> list[tuple[Entry, Entry]]:
    """An entry's contender at home, beside each other test that it was scored on."""
    home = results.pick(**_same(entry), test=find_home(results, entry.training))
    return [(home[0], away) for away in results.pick(**_same(entry)) if home and away.test != home[0].test]


def tabulate_curve(results: Results, curve: Recalibrated) -> Table:
    """How few labels of another survey buy the drop back."""
    found = curve.recalibration
    rows: list[list[Content]] = [
        [budget or "none", *(Quantity.of(scores.get(name), 2 if name == "r2" else 3) for name in METRICS)]
        for budget, scores in found.to_rows()
    ]
    if found.in_domain is not None:
        rows.append([f"at home: {results.samples[curve.home].title}", Quantity(found.in_domain), NOTHING, NOTHING])
    who = f"{name_model(results, curve.model)} that learned from {name_training(results, curve.training)}"
    meaning = (
        f"{tell_budget(found)} An offset and a slope for each answer, learned from the labels of so many galaxies of "
        f"the other survey's training side and scored on its test; means over {found.n_draws} draws of them. The "
        "interval is of one draw. Pearson r hardly changes: it does not see offset and slope."
    )
    name = name_file("recalibration", curve.training, curve.model, curve.away)
    title = f"{results.samples[curve.away].title}: labels that buy back the drop, {who}"
    return Table(title, ["labelled galaxies", *(METRIC[metric] for metric in METRICS)], rows, meaning, name)


def tell_budget(found: Curve) -> str:
    """How many labels bring half of the lost R2 back."""
    half = found.find_budget()
    if found.in_domain is None:
        return "How much R2 was lost is not known."
    if half is None:
        return "No number of labels tried buys back half of the lost R2."
    return f"{half} labelled galaxies buy back half of the lost R2." if half else "No R2 was lost."
