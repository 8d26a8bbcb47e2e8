"""How a report calls who took part, and which entries its sentences are about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.comparison import Comparison
from benchmarks.galaxies import name_survey
from benchmarks.results import Contest, Entry, Results
from benchmarks.samples import Sample
from benchmarks.statistics import ModelScores
from benchmarks.suite import FROZEN

MEAN = "mean"  # the head that looks at no image
MEAN_ROW, CEILING_ROW = "mean predictor", "vote-noise ceiling"
COSTS = ("extract_seconds", "train_seconds", "fit_seconds")  # of the contender alone, frozen embeddings not counted


@dataclass(frozen=True)
class Headline:
    """
    Whom the sentences, the answers and the worst errors are about.

    Attributes
    ----------
    contest : Contest
    entry : Entry
        The best one on `test`: of those with the best first rank the one with the best last rank, then the highest r.
    test : str
        The home test of its training set.
    peers : tuple of str
        Who else may have its rank.
    """

    contest: Contest
    entry: Entry
    test: str
    peers: tuple[str, ...]


def name_model(results: Results, model: str) -> str:
    """As tables call a model: the head that looks at no image by what it is."""
    known = results.suite.models.get(model)
    return MEAN_ROW if known is not None and known.head == MEAN and model == MEAN else model


def name_contender(results: Results, entry: Entry) -> str:
    """The model, and the training set, the space and the budget where the suite has several."""
    parts = [name_model(results, entry.model)]
    if len(results.suite.trainings) > 1:
        parts.append(f"learned from {name_training(results, entry.training)}")
    if entry.space and (results.suite.spaces == "each" or entry.space != results.record["joined_space"]):
        parts.append(entry.space)
    if entry.budget:
        parts.append(f"{entry.budget} objects")
    return ", ".join(parts)


def name_training(results: Results, training: str) -> str:
    """As astronomers write the survey, where a training set is called as one; else its own name."""
    return name_survey(training) if training in results.suite.surveys else training


def name_rival(results: Results, contest: Contest, entry: Entry) -> str:
    """What tells an entry from the others of its contest."""
    varied = str(getattr(entry, contest.varies))
    name = name_model(results, varied) if contest.varies == "model" else name_training(results, varied)
    spaces = {e.space for e in list_rivals(results, contest, entry.test) if getattr(e, contest.varies) == varied}
    return f"{name} {entry.space}" if len(spaces) > 1 else name


def list_rivals(results: Results, contest: Contest, test: str) -> list[Entry]:
    """The entries of a contest on one test, in the suite's order."""
    fixed = {"model": "training", "training": "model"}[contest.varies]
    return pick_whole(results, **{fixed: contest.fixed}, test=test)


def pick_whole(results: Results, **wanted: Any) -> list[Entry]:
    """
    The entries of all training objects with these values.

    They come in the suite's order, without the single spaces that are read beside others.
    """
    whole, suite = set(map(id, results.headline)), results.suite
    models, trainings = list(suite.models), list(suite.trainings)
    found = [entry for entry in results.pick(**wanted) if id(entry) in whole]
    return sorted(found, key=lambda entry: (models.index(entry.model), trainings.index(entry.training)))


def name_file(*parts: str) -> str:
    """Words as a file may be called."""
    return "-".join(re.sub(r"[^\w.+]+", "-", part) for part in parts)


def find_home(results: Results, training: str) -> str:
    """The test that a training set is at home on: new objects of its first survey; the first test if there is none."""
    survey = results.suite.trainings[training].surveys[0]
    own = [name for name, sample in results.samples.items() if sample.survey == survey]
    new = [name for name in own if results.samples[name].objects == "new"]
    return (new or own or list(results.samples))[0]


def list_away(results: Results, training: str) -> list[str]:
    """The tests on surveys that a training set does not have, those of new objects first."""
    surveys = results.suite.trainings[training].surveys
    away = [name for name, sample in results.samples.items() if sample.survey not in surveys]
    return sorted(away, key=lambda name: results.samples[name].objects != "new")


def find_comparison(contest: Contest, entry: Entry) -> Comparison | None:
    """The comparison with the contest's reference; None for the reference itself."""
    varied = getattr(entry, contest.varies)
    for one in contest.comparisons:
        if one.test == entry.test and one.model in (varied, f"{varied} {entry.space}"):
            return one
    return None


def find_rank(contest: Contest, entry: Entry) -> tuple[int, int] | None:
    """The ranks that an entry may have on its test."""
    ranks, varied = contest.ranks.get(entry.test, {}), getattr(entry, contest.varies)
    found = ranks.get(varied, ranks.get(f"{varied} {entry.space}"))
    return None if found is None else (int(found[0]), int(found[1]))


def list_contests(results: Results) -> list[Contest]:
    """
    The comparisons.

    Where nothing was compared, all that learned from the reference's training set stand side by side.
    """
    suite = results.suite
    return results.contests or [Contest("model", suite.reference_training, suite.reference_model, [], {})]


def find_headline(results: Results, varies: str = "model") -> Headline | None:
    """
    The best contender of the first contest between models (or between training sets), on its home test.

    Returns
    -------
    Headline or None
        None where nobody has a correlation.
    """
    contests = list_contests(results)
    contests.sort(key=lambda contest: contest.varies != varies)
    for contest in contests:
        training = contest.fixed if contest.varies == "model" else contest.reference
        test = find_home(results, training)
        ranked = {}
        for entry in list_rivals(results, contest, test):
            rank, r = find_rank(contest, entry), entry.macro["r"].value
            if np.isfinite(r):
                ranked[name_rival(results, contest, entry)] = ((*(rank or (np.inf, np.inf)), -r), entry)
        if ranked:
            best = min(ranked, key=lambda name: ranked[name][0])
            first = ranked[best][0][0]
            peers = tuple(name for name in ranked if name != best and ranked[name][0][0] == first)
            return Headline(contest, ranked[best][1], test, peers)
    return None


def list_told(results: Results, headline: Headline | None) -> list[str]:
    """The models that sentences and figures are about: the reference and the headline's."""
    return list(dict.fromkeys([results.suite.reference_model, *([headline.entry.model] if headline else [])]))


def find_floor(results: Results, training: str, test: str) -> Entry | None:
    """The mean predictor of a training set on a test, if the suite has one."""
    names = [name for name, model in results.suite.models.items() if model.head == MEAN]
    found = [entry for name in names for entry in pick_whole(results, model=name, training=training, test=test)]
    return found[0] if found else None


def sum_costs(results: Results, entry: Entry) -> float:
    """Seconds of one run: fit, and the fine-tunes that it is or needs, with their embeddings; NaN where not known."""
    known = [float(entry.costs[name]) for name in COSTS if is_number(entry.costs.get(name))]
    model = results.suite.models[entry.model]
    before = model.set.get("init") if model.embeddings == FROZEN else model.embeddings
    for one in results.pick(training=entry.training, model=before, test=entry.test, budget=0):
        known.append(sum_costs(results, one))
    return float(sum(known)) if known else float("nan")


def is_number(value: Any) -> bool:
    """Whether a record holds a number there."""
    return isinstance(value, int | float) and bool(np.isfinite(value))


def count_answers(results: Results, entry: Entry) -> int:
    """How many answers a macro score is the mean of: those whose labels vary."""
    return sum(r2[0] is not None for r2 in entry.targets["r2"])


def iterate_samples(results: Results) -> Iterator[tuple[str, Sample]]:
    """The tests by name, those with labels."""
    for name, sample in results.samples.items():
        if sample.n_labelled:
            yield name, sample


def count_galaxies(scores: ModelScores) -> int:
    """Of yardsticks: the most labels that any answer has."""
    return int(scores.n.max(initial=0))
