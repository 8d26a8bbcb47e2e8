"""The answer in sentences: each follows from the results by a rule, none is written for a case."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.comparison import Comparison, show_rank
from benchmarks.galaxies import name_survey
from benchmarks.reporting.contenders import (
    Headline,
    count_answers,
    find_comparison,
    find_floor,
    find_rank,
    list_away,
    list_contests,
    list_rivals,
    list_told,
    name_model,
    name_rival,
    name_training,
)
from benchmarks.reporting.degradation import change_in_percent, find_pairs
from benchmarks.results import Contest, Entry, Results
from benchmarks.tables import Quantity, show_score

MOST_NAMED = 3
TOLD, NOT_TOLD = "more than luck explains", "within what luck explains"


def tell_answer(results: Results, headline: Headline | None) -> str:
    """The best contender, by how much, whether that is luck, and what is left elsewhere: in one sentence."""
    if headline is None:
        return "No contender predicts any answer: there is no correlation to report."
    contest, entry = headline.contest, headline.entry
    models, everyone = results.suite.models, list_rivals(results, contest, headline.test)
    rivals = [one for one in everyone if one is entry or not models[one.model].is_floor]
    name, rank = _quote(name_rival(results, contest, entry)), find_rank(contest, entry)
    does = "is the best" if rank == (1, 1) else "scores highest"
    if len(rivals) == 1:
        who = f"{name}, which learned from {name_training(results, entry.training)}, was tested"
    elif contest.varies == "model":
        who = f"Of {len(rivals)} models that learned from {name_training(results, contest.fixed)}, {name} {does}"
    else:
        who = f"Of {len(rivals)} training sets for {name_model(results, contest.fixed)}, {name} {does}"
    start = f"{who} on {name_test(results, headline.test)}, with a Pearson r of {show_score(entry.macro['r'])}"
    n = count_answers(results, entry)
    start += f" ({f'the mean over {n} answers' if n > 1 else 'one answer'}{_tell_rank(headline)})"
    clauses = [start, *_tell_difference(results, headline), *_tell_losses(results, entry)]
    return "; ".join(clauses) + "."


def name_test(results: Results, test: str) -> str:
    """In a sentence: ``new SDSS galaxies``."""
    sample = results.samples[test]
    survey = name_survey(sample.survey)
    return f"{survey} galaxies, some of them seen in training" if sample.seen.any() else f"new {survey} galaxies"


def _tell_rank(headline: Headline) -> str:
    rank = find_rank(headline.contest, headline.entry)
    if rank is None:
        return ""
    n = len(headline.peers)
    others = (
        f"; {_join([*map(_quote, headline.peers)]) if n <= MOST_NAMED else f'{n} others'} may be as good" if n else ""
    )
    return f"; rank {show_rank(rank)}{others}"


def _tell_difference(results: Results, headline: Headline) -> Iterator[str]:
    """How far the best one is from the reference, or the reference from the nearest other one."""
    contest, entry = headline.contest, headline.entry
    name = (name_model if contest.varies == "model" else name_training)(results, contest.reference)
    comparison = find_comparison(contest, entry)
    if comparison is not None and np.isfinite(comparison.difference.value):
        difference = show_score(comparison.difference, sign=True)
        yield f"that is {difference} beside the reference, {name}: {_judge(comparison)}"
    elif comparison is None:
        others = [one for one in contest.comparisons if one.test == headline.test and np.isfinite(one.p_family)]
        if others:
            nearest = max(others, key=lambda one: one.difference.value)
            named = (name_model if contest.varies == "model" else name_training)(results, nearest.model)
            difference = show_score(nearest.difference, sign=True)
            yield f"it is the reference; the next, {named}, differs by {difference}: {_judge(nearest)}"


def _judge(comparison: Comparison) -> str:
    told = "higher" in comparison.verdict or "lower" in comparison.verdict
    note = f", {comparison.note}" if comparison.note else ""
    return f"{TOLD if told else NOT_TOLD} (p {show_p(comparison.p_family)} after Holm{note})"


def show_p(p: float) -> str:
    """Of the least that 10,000 draws can show, ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _tell_losses(results: Results, entry: Entry) -> Iterator[str]:
    """What is lost away from home: on new objects, or on those there are."""
    pairs = {away.test: (home, away) for home, away in find_pairs(results, entry)}
    away = [test for test in list_away(results, entry.training) if test in pairs]
    new = [test for test in away if results.samples[test].objects == "new"]
    parts = []
    for test in new or away:
        home, there = pairs[test]
        change = Quantity.of(change_in_percent(home.macro["r"], there.macro["r"]), 0, sign=True)
        lost = f" ({change} %)" if np.isfinite(change.value) else ""
        seen = ", some of whose galaxies were seen in training" if results.samples[test].seen.any() else ""
        survey = name_survey(results.samples[test].survey) + seen
        parts.append(f"{show_score(there.macro['r'])} on {survey}{lost}")
    if parts:
        yield f"on {'surveys' if len(parts) > 1 else 'a survey'} that it did not learn from, r is {_join(parts)}"


def tell_more(results: Results, headline: Headline | None) -> Iterator[str]:
    """Further findings, a sentence each."""
    if headline is not None:
        yield from _tell_bounds(results, headline)
    told = list_told(results, headline)
    for contest in list_contests(results):
        if contest.varies == "training" and contest.fixed in told:
            yield from _tell_trainings(results, contest)
    yield from _tell_drops(results, headline)


def _tell_bounds(results: Results, headline: Headline) -> Iterator[str]:
    where = name_test(results, headline.test)
    ceiling = results.ceilings.get(headline.test)
    if ceiling is not None:
        yield (
            f"The noise of the votes leaves at most an r of {show_score(ceiling.scores['r'])} to anybody on {where}, "
            f"and an R2 of {show_score(ceiling.scores['r2'])}."
        )
    floor = find_floor(results, headline.entry.training, headline.test)
    if floor is not None and np.isfinite(floor.pooled.get("pooled_r", np.nan)):
        yield (
            f"The mean predictor, which looks at no image, has no Pearson r, an R2 of {show_score(floor.macro['r2'])} "
            f"and a pooled r of {floor.pooled['pooled_r']:.3f} on {where}: pooled figures reward knowing which answers "
            "are common."
        )


def _tell_trainings(results: Results, contest: Contest) -> Iterator[str]:
    """On the surveys that the reference training set lacks: what other training sets change."""
    model, reference = name_model(results, contest.fixed), name_training(results, contest.reference)
    for test in list_away(results, contest.reference):
        if results.samples[test].objects != "new":
            continue
        known = [one for one in contest.comparisons if one.test == test and np.isfinite(one.difference.value)]
        told = [one for one in known if one.verdict in ("higher", "lower")]
        parts = [
            f"{show_score(one.difference, sign=True)} with {_quote(name_training(results, one.model))}" for one in told
        ]
        start = f"{model} on {name_test(results, test)}, beside learning from {reference}: r changes"
        rest = _join([_quote(name_training(results, one.model)) for one in known if one not in told])
        if parts:
            yield f"{start} by {_join(parts)}, {TOLD}{f'; what {rest} changes is {NOT_TOLD}' if rest else ''}."
        elif known:
            largest = max(known, key=lambda one: abs(one.difference.value))
            most = f"{show_score(largest.difference, sign=True)}, with {_quote(name_training(results, largest.model))}"
            yield f"{start} by at most {most}: {NOT_TOLD}{', as is what the others change' if len(known) > 1 else ''}."


def _tell_drops(results: Results, headline: Headline | None) -> Iterator[str]:
    """Where the drop of the headline's model comes from."""
    for drop in results.drops:
        if headline is None or (drop.training, drop.model) != (headline.entry.training, headline.entry.model):
            continue
        parts = {part: score for metric, part, score in drop.decomposition.to_rows() if metric == "r"}
        if not {"image", "annotation"} <= set(parts):
            continue
        home, away = (name_survey(results.samples[test].survey) for test in (drop.home, drop.away))
        population = f", to other galaxies: {show_score(parts['population'])}" if "population" in parts else ""
        yield (
            f"From {home} to {away}, {name_model(results, drop.model)} loses r to other images: "
            f"{show_score(parts['image'])}, to other labels: {show_score(parts['annotation'])}"
            f"{population}."
        )


def _quote(name: str) -> str:
    """A name that would fall apart in a sentence."""
    return f'"{name}"' if ", " in name or " and " in name else name


def _join(words: list[str] | tuple[str, ...]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
