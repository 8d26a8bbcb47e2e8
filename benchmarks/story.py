"""What the demo's numbers say, in tables and plain sentences that follow from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.decomposition import Drop
from benchmarks.galaxies import name_survey
from benchmarks.results import COPY, Decomposed, Entry, Recalibrated, Results
from benchmarks.samples import Sample
from benchmarks.statistics import Score
from benchmarks.tables import METRICS, Table, show_score

DIGITS = {"r": 2, "r2": 2, "mae": 3, "pooled_r": 2}  # more would be noise
BARE = frozenset({"mae", "pooled_r"})  # without intervals: four of them are wider than a terminal of 80 columns
CEILING = "ceiling"
FLOOR = "mean"
STUDY = "Galaxy Sommelier (SandyYuan/galaxy-sommelier)"
COMMANDS = (
    "sommelier download sdss --to gz2 --images                    # 3.4 GB",
    "sommelier catalog sdss gz2 -o sdss.parquet",
    "sommelier extract sdss.parquet --backbone facebook/dinov2-base -o sdss.h5",
    "sommelier head fit sdss.h5 --head ridge -o models/ridge",
    "sommelier catalog folder MY_IMAGES -o mine.parquet           # your own galaxies",
    "sommelier extract mine.parquet --backbone facebook/dinov2-base -o mine.h5",
    "sommelier head predict models/ridge mine.h5 -o predictions.parquet",
    "sommelier benchmark run stages --set surveys.sdss.catalog=sdss.parquet    # fine-tunes too: wants a GPU",
)


@dataclass(frozen=True)
class Setting:
    """What was run: how many galaxies, which backbone, in its own words, and whether it was trained."""

    galaxies: int
    seed: int
    backbone: str
    trained: bool
    space: str


def describe_setting(setting: Setting, results: Results) -> list[str]:
    """What was done, and how far to trust it."""
    home, split = results.suite.reference_training, results.suite.split
    learned = sum(results.record["trainings"][home].values())
    asked, left = (", ".join(names) for names in ([q.name for q in results.questions], results.record["left_out"]))
    sizes = [sample.n_labelled for sample in results.samples.values()]
    warning = "It has learned nothing: the scores show how the machinery judges, not what DINOv2 would reach."
    return [
        f"The sky is simulated (seed {setting.seed}): {setting.galaxies} galaxies, seen by three surveys with their "
        "own telescopes, bands and volunteers. Everything after that is done as with real releases. The backbone is "
        f"{setting.backbone}, {setting.space}. {'' if setting.trained else warning}",
        f"{100 * split.test:.0f} % of the sky objects were set aside by a hash of their names, in all "
        f"surveys at once, and {100 * split.val:.0f} % choose settings. Each seed of a head learned from "
        f"{100 * results.suite.seeds.redraw:.0f} % of the others, the first from {learned} galaxies of "
        f"{name_survey(home)}. The questions are those that all surveys ask alike: {asked}. "
        f"{f'Left out, since too few galaxies have a label: {left}. ' if left else ''}"
        f"The tests have {min(sizes)} to {max(sizes)} galaxies: where that is few, the intervals are wide.",
        f"The tests are those of a public study, {STUDY}, called the reference study below, and what they lacked.",
        "An interval of 95 % is over other test galaxies and, for a model with several seeds, over other training sets "
        "and initialisations; a fine-tune is a single run here, and its interval says nothing of these. MAE and pooled "
        "r stand without their intervals, which are in the report.",
        "Pearson r and R2 are computed for each answer and averaged. r says whether the predictions rise and fall "
        "with the labels. R2 (1 - squared error / variance) says whether the numbers themselves are right: it is 0 for "
        "whoever knows only the mean of the test's labels, and negative for worse. MAE is the mean error of a vote "
        "fraction. The ceiling is what a head would reach that knows every galaxy's true fractions: votes are few, "
        "and so the labels have noise.",
    ]


def tell_tables(results: Results) -> list[Table]:
    """Every table with its sentence."""
    home, *others = results.samples.values()
    tables = [_tell_home(results, home)]
    tables += [_tell_away(results, home, sample) for sample in others if sample.objects == "new"]
    tables += [_tell_same(results, sample) for sample in others if sample.objects == "same"]
    tables.append(_tell_trainings(results, next(sample for sample in reversed(others) if sample.objects == "new")))
    drops = [drop for drop in results.drops if _is_told(results, drop)]
    tables += [_tell_drops(results, drops)] if drops else []
    tables += [_tell_curve(results, curve) for curve in results.curves if _is_told(results, curve)]
    return tables


def _is_told(results: Results, one: Decomposed | Recalibrated) -> bool:
    return (one.training, one.model) == (results.suite.reference_training, results.suite.reference_model)


def pick_models(results: Results, test: str) -> dict[str, Entry]:
    """The models of the reference training set on one test, by name."""
    home = results.suite.reference_training
    return {entry.model: entry for entry in results.headline if (entry.training, entry.test) == (home, test)}


def tabulate_sample(results: Results, sample: Sample, title: str, meaning: str) -> Table:
    """Every model on one test; below them what copying the other survey's votes scores, and the ceiling."""
    named = {name: entry.macro for name, entry in pick_models(results, sample.name).items()}
    if sample.name in results.yardsticks:
        named[COPY] = results.yardsticks[sample.name].macro
    if sample.name in results.ceilings:
        ceiling = results.ceilings[sample.name]
        named[CEILING] = ceiling.scores
        if ceiling.n_noise:
            differ = "answer differs" if ceiling.n_noise == 1 else "answers differ"
            meaning += (
                f" {ceiling.n_noise} {differ} between these galaxies by no more than the noise of the votes: the "
                "ceiling's r counts as 0 there."
            )
    rows = [
        [name, *(show_score(scores.get(metric), DIGITS[metric], bare=metric in BARE) for metric in METRICS)]
        for name, scores in named.items()
    ]
    return Table(f"{title} ({sample.n_labelled} galaxies, 95 % intervals)", ["model", *METRICS.values()], rows, meaning)


def _tell_home(results: Results, home: Sample) -> Table:
    models, told = pick_models(results, home.name), results.suite.reference_model
    parts = [f"New galaxies of the survey that was learned from. {told} reaches r {_say(models[told], 'r')}"]
    if home.name in results.ceilings:
        ceiling = results.ceilings[home.name].scores["r"]
        parts.append(f"; because of the noise of the votes nothing could reach more than {show_score(ceiling)}")
    parts.append(". ")
    if FLOOR in models:
        parts.append(
            f"The head {FLOOR} looks at no image and has no r for any answer. Yet its pooled r is "
            f"{_say(models[FLOOR], 'pooled_r')}: all answers are pooled, with 0 for what was not asked, and that "
            "rewards knowing which answers are common. The reference study's correlations are pooled ones."
        )
    parts.append(_compare_finetunes(results, models))
    return tabulate_sample(results, home, f"{name_survey(home.survey)}, new objects: in-domain", "".join(parts))


def _compare_finetunes(results: Results, models: dict[str, Entry]) -> str:
    """Fine-tunes beside the reference, on the same galaxies."""
    told, said = models[results.suite.reference_model], ""
    for name, entry in models.items():
        if results.suite.models[name].finetune:
            change = entry.macro["r"] - told.macro["r"]
            said += (
                f" The fine-tune ({name}) minus {told.model} is {show_score(change, sign=True)} in r: {_judge(change)}."
            )
    return said


def _tell_away(results: Results, home: Sample, away: Sample) -> Table:
    told = results.suite.reference_model
    before, models = pick_models(results, home.name)[told], pick_models(results, away.name)
    there, here = name_survey(home.survey), name_survey(away.survey)
    meaning = (
        f"New galaxies, and pictures of a survey that no head has seen. From {there} to {here}, {told}'s r goes from "
        f"{_say(before, 'r')} to {_say(models[told], 'r')}, its R2 from {_say(before, 'r2')} to "
        f"{_say(models[told], 'r2')}. "
    )
    if FLOOR in models:
        meaning += (
            f"The mean of {there}'s votes has an R2 of {_say(models[FLOOR], 'r2')} here; the mean of {here}'s own "
            "votes would have 0. The difference is what other average votes cost, without any image. "
        )
    if away.name in results.yardsticks:
        meaning += (
            f"Copied votes are what {there}'s volunteers said of the same objects, where both surveys saw them: one "
            "galaxy's noisy votes on another picture of it."
        )
    return tabulate_sample(results, away, f"{here}, new objects: out-of-domain", meaning.rstrip())


def _tell_same(results: Results, sample: Sample) -> Table:
    told = results.suite.reference_model
    same = pick_models(results, sample.name)[told]
    new = pick_models(results, f"{sample.survey}-new").get(told)
    meaning = (
        f"All galaxies of {name_survey(sample.survey)}: of {len(sample)}, {int(sample.seen.sum())} are sky objects "
        "that the heads may have learned from or chosen by, in another survey's picture. So the reference study tested "
        "on its unseen survey: the survey is unseen, the galaxies are not."
    )
    if new:
        meaning += (
            f" {told}'s r is {_say(same, 'r')} here and {_say(new, 'r')} on new galaxies: {_compare(same, new)}. Only "
            "the second says what to expect of galaxies without labels."
        )
    return tabulate_sample(results, sample, f"{name_survey(sample.survey)}, all objects: not a fair test", meaning)


def _tell_trainings(results: Results, away: Sample) -> Table:
    told, first = results.suite.reference_model, results.suite.reference_training
    entries = [entry for entry in results.headline if (entry.model, entry.test) == (told, away.name)]
    contest = next((c for c in results.contests if (c.varies, c.fixed) == ("training", told)), None)
    verdicts = {c.model: c for c in contest.comparisons if c.test == away.name} if contest else {}
    rows = []
    for entry in entries:
        found = verdicts.get(entry.training)
        change = show_score(found.difference, sign=True) if found else "reference"
        scores = [show_score(entry.macro[metric]) for metric in ("r", "r2")]
        rows.append([entry.training, str(entry.n_train), *scores, change, found.verdict if found else "-"])
    better = [name for name, found in verdicts.items() if found.verdict == "higher"]
    said = f"{', '.join(better)}: more than luck explains" if better else "no difference is beyond what luck explains"
    meaning = (
        f"Does it help to learn from other surveys, or from several, on a survey that nothing has seen? {told} on the "
        f"same galaxies of {name_survey(away.survey)}, beside learning from {name_survey(first)}: {said}. Differences "
        "are paired, over galaxies and seeds, and the verdicts corrected for their number (Holm)."
    )
    columns = ["learned from", "galaxies", "Pearson r", "R2", f"r less {name_survey(first)}'s", "verdict"]
    title = f"{name_survey(away.survey)}, new objects: what to learn from ({away.n_labelled} galaxies, 95 % intervals)"
    return Table(title, columns, rows, meaning)


def _tell_drops(results: Results, drops: list[Decomposed]) -> Table:
    told = results.suite.reference_model
    rows = [[f"{part}", *(show_score(score, sign=part not in ("home", "away")) for score in scores)]
            for part, *scores in _list_parts(drops)]  # fmt: skip
    home = name_survey(results.samples[drops[0].home].survey)
    columns = ["Pearson r", *(f"{home} to {name_survey(results.samples[drop.away].survey)}" for drop in drops)]
    meaning = (
        f"Where {told}'s drop comes from, on new galaxies that both surveys saw and answers that both have labels "
        "for. The four combinations of images and labels part it: what other images cost, what other volunteers' "
        "labels cost, and, from all test galaxies to the paired ones, what other galaxies cost. Positive is lost."
    )
    return Table(f"Where the drop of {told} comes from (95 % intervals)", columns, rows, meaning)


def _list_parts(drops: list[Decomposed]) -> Iterator[tuple[str, *tuple[Score | None, ...]]]:
    found: list[Drop] = [drop.decomposition.drops["r"] for drop in drops]
    yield "home", *(one.whole for one in found)
    yield "other galaxies", *(one.population for one in found)
    yield "other images", *(one.image for one in found)
    yield "other labels", *(one.annotation for one in found)
    yield "away", *(one.cells["uu"] for one in found)


def _tell_curve(results: Results, curve: Recalibrated) -> Table:
    found, away = curve.recalibration, name_survey(results.samples[curve.away].survey)
    rows = [
        [str(budget), *(show_score(scores[metric], DIGITS.get(metric, 3)) for metric in ("r2", "mae"))]
        for budget, scores in found.to_rows()
    ]
    needed = found.find_budget()
    back = {None: "no number of labels here buys half of it back", 0: "nothing was lost"}
    meaning = (
        f"An offset and a slope for each answer, learned from a few labelled galaxies of {away}, mean of "
        f"{found.n_draws} draws. Of what {curve.model}'s R2 lost, from {found.in_domain:z.2f}: "
        f"{back.get(needed, f'half is back with {needed} labels')}. It mends the scale, not the order: r stays."
    )
    title = f"{away}, new objects: {curve.model} recalibrated with a few labels (95 % intervals)"
    return Table(title, ["labelled galaxies", "R2", "MAE"], rows, meaning)


def _say(entry: Entry, metric: str) -> str:
    value = entry.macro[metric].value
    return f"{value:z.2f}" if np.isfinite(value) else "none"


def _judge(change: Score) -> str:
    """What an interval of a difference allows to say."""
    low, high = change.interval
    if not np.isfinite(low) or low <= 0 <= high:
        return "within the interval there may be no difference"
    return f"{'more' if low > 0 else 'less'}, by more than the interval leaves open"


def _compare(same: Entry, new: Entry) -> str:
    """Different galaxies: their intervals are compared, not their difference."""
    (low_a, high_a), (low_b, high_b) = same.macro["r"].interval, new.macro["r"].interval
    return "the intervals overlap" if low_a <= high_b and low_b <= high_a else "the intervals do not overlap"
