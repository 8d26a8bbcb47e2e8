"""What a report says, section by section: the same on the page and in Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmarks.reporting.answers import follow_headline, tabulate_answers, tabulate_bins, tabulate_questions
from benchmarks.reporting.canvas import Picture
from benchmarks.reporting.charts import draw_costs, draw_distributions, draw_drop, draw_stages
from benchmarks.reporting.contenders import (
    Headline,
    find_headline,
    find_home,
    iterate_samples,
    list_contests,
    list_told,
    name_contender,
)
from benchmarks.reporting.curves import draw_budgets, draw_curves, draw_layers
from benchmarks.reporting.degradation import tabulate_curve, tabulate_degradation, tabulate_drop
from benchmarks.reporting.records import (
    tabulate_audit,
    tabulate_costs,
    tabulate_environment,
    tabulate_exclusion,
    tabulate_split,
    tabulate_stores,
    tabulate_tests,
    tabulate_trainings,
)
from benchmarks.reporting.scoreboards import (
    is_published,
    tabulate_budgets,
    tabulate_contest,
    tabulate_layers,
    tabulate_study,
)
from benchmarks.reporting.sources import Source, list_sources
from benchmarks.reporting.worst import SURE, Card, list_worst
from benchmarks.results import Contest, Results
from benchmarks.tables import Table

Thing = TypeVar("Thing")
HOW_TO_READ = (
    "Pearson r says whether predictions rise and fall with the labels; R2 (1 - squared error / variance) whether the "
    "numbers themselves are right: it is 0 for whoever knows only the mean of the test's labels, and negative for "
    "worse. MAE is the mean error of a vote fraction. Each is computed for each answer, over the galaxies that were "
    "asked, and then averaged over answers.",
    "In brackets stands a 95 % interval: test galaxies are drawn again and again (whole sky objects, so that two "
    "pictures of one galaxy stay together), and of several seeds the spread between runs is added. The interval of a "
    "single run says nothing of other runs. Where two intervals overlap the difference may still be certain: look "
    "at the paired one.",
    "A verdict (higher, lower, not told apart) follows from the paired difference on the same galaxies, with a p "
    "from at least 10,000 resamples, corrected with Holm's method for all comparisons with the same reference. A "
    "rank of 1-3 means that the true rank is one of these; all ranks of a test hold together with a confidence of 95 "
    "%.",
    "The floor is the mean predictor, which looks at no image. The ceiling is what somebody would reach who knows "
    "every galaxy's true vote fractions: votes are few, so that labels have noise which nobody can predict. It needs "
    "raw votes, and is not available where only weighted or debiased fractions are known. Copied votes are what "
    "volunteers said of the same galaxies in the home survey.",
)


@dataclass(frozen=True)
class Section:
    """
    A part of the report.

    Attributes
    ----------
    title : str
    paragraphs : tuple of str
    cautions : tuple of (str, str)
        What it is about, and what to know.
    tables, more : tuples of Table
        Those that the sentences are about, and those to unfold.
    pictures : tuple of Picture
    cards : dict of str to list of Card
        By what they show.
    sources : tuple of Source
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    cautions: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    more: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    cards: dict[str, list[Card]] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()

    @property
    def anchor(self) -> str:
        """Where links lead."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing."""
        return not (
            self.paragraphs or self.cautions or self.tables or self.more or self.pictures or self.cards or self.sources
        )


def list_sections(results: Results, figures: Path) -> list[Section]:
    """Every section that has something to say; figures are drawn into a folder."""
    headline = find_headline(results)
    study = Section("The reference study's figures", tables=(tabulate_study(results),))
    sections = [
        Section("Cautions", cautions=_list_cautions(results)),
        *([study] if is_published(results) else []),
        _show_scores(results, headline, figures),
        _show_shift(results, headline, figures),
        _show_answers(results, headline, figures),
        _show_labels(results, figures),
        _show_layers(results, figures),
        _show_costs(results, figures),
        _show_worst(results, headline),
        *([] if is_published(results) else [study]),
        _show_tests(results),
        _show_records(results),
        Section("Data, licences, citations", sources=tuple(list_sources(results))),
        Section("How to read it", HOW_TO_READ),
    ]
    return [section for section in sections if not section.is_empty]


def _keep(things: Iterable[Thing | None]) -> tuple[Thing, ...]:
    """Those that there are."""
    return tuple(thing for thing in things if thing is not None)


def _list_cautions(results: Results) -> tuple[tuple[str, str], ...]:
    return tuple((str(one.get("about", "")), str(one["text"])) for one in results.record.get("cautions", []))


def _show_scores(results: Results, headline: Headline | None, figures: Path) -> Section:
    told = list_told(results, headline)
    first: list[Contest] = []
    rest: list[Contest] = []
    for contest in list_contests(results):
        is_told = contest is headline.contest if headline and contest.varies == "model" else contest.fixed in told
        (first if is_told else rest).append(contest)
    tests = [name for name, _ in iterate_samples(results)]
    tables, more = (
        _keep(tabulate_contest(results, contest, test) for contest in contests for test in tests)
        for contests in (first, rest)
    )
    return Section("Scores on every test", tables=tables, more=more, pictures=_keep([draw_stages(results, figures)]))


def _show_shift(results: Results, headline: Headline | None, figures: Path) -> Section:
    pictures: list[Picture | None] = []
    if headline is not None:
        home, *away = follow_headline(results, headline)
        pictures.append(draw_drop(results, home, away, figures))
    told = list_told(results, headline)
    learned = headline.entry.training if headline else results.suite.reference_training
    pictures.append(draw_curves(results, told, figures))
    found = [
        *((drop.model in told and drop.training == learned, tabulate_drop(results, drop)) for drop in results.drops),
        *(
            (curve.model in told and curve.training == learned, tabulate_curve(results, curve))
            for curve in results.curves
        ),
    ]
    tables, more = (tuple(table for is_told, table in found if is_told is wanted) for wanted in (True, False))
    tables = (*_keep([tabulate_degradation(results)]), *tables)
    return Section("On other surveys", tables=tables, more=more, pictures=_keep(pictures))


def _show_answers(results: Results, headline: Headline | None, figures: Path) -> Section:
    if headline is None:
        return Section("Answer by answer")
    entries = list(follow_headline(results, headline))
    makers: tuple[Callable[..., Table | None], ...] = (tabulate_questions, tabulate_answers, tabulate_bins)
    tables, more = (
        _keep(make(results, entry) for entry in group for make in makers) for group in (entries[:1], entries[1:])
    )
    new = [entry for entry in entries if results.samples[entry.test].objects == "new"]
    pictures = _keep(draw_distributions(results, entry, figures) for entry in new or entries[:1])
    words = f"Of the best contender, {name_contender(results, headline.entry)}. results.json has them for all."
    return Section("Answer by answer", (words,), tables=tables, more=more, pictures=pictures)


def _show_labels(results: Results, figures: Path) -> Section:
    tests = [name for name, _ in iterate_samples(results)]
    return Section(
        "How many labels it takes",
        tables=_keep(tabulate_budgets(results, test) for test in tests),
        pictures=_keep(draw_budgets(results, test, figures) for test in tests),
    )


def _show_layers(results: Results, figures: Path) -> Section:
    tests = [name for name, _ in iterate_samples(results)]
    return Section(
        "Layers and poolings",
        tables=tuple(table for test in tests for table in tabulate_layers(results, test)),
        pictures=_keep(draw_layers(results, test, figures) for test in tests),
    )


def _show_costs(results: Results, figures: Path) -> Section:
    home = find_home(results, results.suite.reference_training)
    pictures = _keep([draw_costs(results, home, figures)])
    return Section("Cost", tables=(tabulate_costs(results),), pictures=pictures)


def _show_worst(results: Results, headline: Headline | None) -> Section:
    if headline is None:
        return Section("The worst errors")
    cards = {
        results.samples[entry.test].title: found
        for entry in follow_headline(results, headline)
        if (found := list_worst(results, entry))
    }
    words = (
        f"The galaxies whose label is farthest from the prediction of {name_contender(results, headline.entry)}, each "
        f"with its worst answer; of labels with at least {SURE} votes, where votes are known and there are such. A "
        "large error may be the model's, the volunteers' or the picture's."
    )
    return Section("The worst errors", (words,), cards=cards) if cards else Section("The worst errors")


def _show_tests(results: Results) -> Section:
    makers = (tabulate_tests, tabulate_split, tabulate_trainings, tabulate_audit, tabulate_exclusion)
    return Section("Tests, splits and leakage audit", tables=_keep(make(results) for make in makers))


def _show_records(results: Results) -> Section:
    makers = (tabulate_stores, tabulate_environment)
    return Section("Provenance and environment", tuple(_tell_run(results)), tables=_keep(m(results) for m in makers))


def _tell_run(results: Results) -> Iterator[str]:
    started, finished = (results.record.get(key) for key in ("started", "finished"))
    when = f", started {started}, finished {finished}" if started and finished else ""
    yield f"Protocol {results.suite.protocol}, suite {results.suite.digest}, backbone {results.suite.backbone}{when}."
    left = results.record.get("left_out", [])
    if left:
        yield f"Questions left out, because too few galaxies have a label: {', '.join(left)}."
