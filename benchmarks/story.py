"""What the demo's numbers say, in tables and plain sentences that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.division import TEST_SHARE
from benchmarks.galaxies import name_survey
from benchmarks.shift import COPY, Cell, Shift
from benchmarks.statistics import MIN_LABELS, Score
from benchmarks.tables import Table, show_score, tabulate_difference, tabulate_sample

TOLD = "ridge"  # the head whose numbers the sentences quote
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
)


@dataclass(frozen=True)
class Setting:
    """What was run: how many galaxies, which backbone, in its own words, and whether it was trained."""

    galaxies: int
    seed: int
    backbone: str
    trained: bool
    space: str


def describe_setting(setting: Setting, shift: Shift) -> list[str]:
    """What was done, and how far to trust it."""
    home = next(iter(shift.trainings))
    learned = sum(shift.trainings[home].values())
    asked, left = (", ".join(question.name for question in group) for group in (shift.questions, shift.left_out))
    sizes = [cell.n for cell in shift.cells]
    warning = "It has learned nothing: the scores show how the machinery judges, not what DINOv2 would reach."
    return [
        f"The sky is simulated (seed {setting.seed}): {setting.galaxies} galaxies, seen by three surveys with their "
        "own telescopes, bands and volunteers. Everything after that is done as with real releases. The backbone is "
        f"{setting.backbone}, {setting.space}. {'' if setting.trained else warning}",
        f"{100 * TEST_SHARE:.0f} % of the sky objects were set aside by a hash of their names, in all surveys at once. "
        f"The heads learned from the other {learned} galaxies of {name_survey(home)}, and chose their settings there. "
        f"The questions are those that all surveys ask alike: {asked}. "
        f"{f'Left out, since too few galaxies have a label: {left}. ' if left else ''}"
        f"The tests have {min(sizes)} to {max(sizes)} galaxies: where that is few, the intervals are wide.",
        f"The tests are those of a public study, {STUDY}, called the reference study below, and what they lacked.",
        "An interval comes from drawing the test galaxies again and again, and from nothing else. It leaves out the "
        "draw of the training galaxies: these, the mixture and the seed are held fixed. Nothing is corrected for the "
        "number of comparisons. Another --seed draws everything anew. MAE and pooled r stand without their intervals, "
        "which are in scores.json.",
        "Pearson r and R2 are computed for each answer and averaged. r says whether the predictions rise and fall "
        "with the labels. R2 (1 - squared error / variance) says whether the numbers themselves are right: it is 0 for "
        "whoever knows only the mean of the test's labels, and negative for worse. MAE is the mean error of a vote "
        "fraction. The ceiling is what a head would reach that knows every galaxy's true fractions: votes are few, "
        "and so the labels have noise.",
    ]


def tell_tables(shift: Shift) -> list[Table]:
    """Every table with its sentence."""
    home, mixed = shift.trainings
    surveys = list(dict.fromkeys(cell.test for cell in shift.cells))
    tables = [_tell_home(shift, home)]
    tables += [_tell_away(shift, home, survey) for survey in surveys[1:]]
    tables += [_tell_same(shift, home, survey) for survey in surveys[1:] if shift.pick(home, survey, "same")]
    away = surveys[-1]
    tables.append(_tell_mixed(shift, home, mixed, away))
    tables += [_tell_copy(shift, home, survey) for survey in surveys[1:] if shift.pick(home, survey, "paired")]
    return tables


def _tell_home(shift: Shift, home: str) -> Table:
    cells, ceiling = _by_head(shift.pick(home, home, "new")), shift.ceilings[home, "new"]
    meaning = (
        f"New galaxies of the survey that was learned from. {TOLD} reaches r {_say(cells[TOLD], 'r')}; because "
        f"of the noise of the votes nothing could reach more than {show_score(ceiling.scores['r'])}. The head {FLOOR} "
        f"looks at no image and has no r for any answer. Yet its pooled r is {_say(cells[FLOOR], 'pooled_r')}: all "
        "answers are pooled, with 0 for what was not asked, and that rewards knowing which answers are common. The "
        "reference study's correlations are pooled ones."
    )
    return tabulate_sample(shift, home, home, "new", f"{name_survey(home)}, new objects: in-domain", meaning)


def _tell_away(shift: Shift, home: str, survey: str) -> Table:
    before, after = (_by_head(shift.pick(home, where, "new"))[TOLD] for where in (home, survey))
    floor = _by_head(shift.pick(home, survey, "new"))[FLOOR]
    there, here = name_survey(home), name_survey(survey)
    meaning = (
        f"New galaxies, and pictures of a survey that no head has seen. From {there} to {here}, {TOLD}'s r goes from "
        f"{_say(before, 'r')} to {_say(after, 'r')}, its R2 from {_say(before, 'r2')} to {_say(after, 'r2')}. "
        f"The mean of {there}'s votes has an R2 of {_say(floor, 'r2')} here; the mean of {here}'s own votes would have "
        "0. The difference is what other average votes cost, without any image."
    )
    return tabulate_sample(shift, home, survey, "new", f"{here}, new objects: out-of-domain", meaning)


def _tell_same(shift: Shift, home: str, survey: str) -> Table:
    same, new = (_by_head(shift.pick(home, survey, objects))[TOLD] for objects in ("same", "new"))
    meaning = (
        f"The very galaxies that the heads learned from, as {name_survey(survey)} sees them: what the reference study "
        f"called an unseen survey. The survey is unseen, the galaxies are not. {TOLD}'s r is {_say(same, 'r')} here "
        f"and {_say(new, 'r')} on new galaxies: {_compare(same, new)}. Only the second says what to expect of galaxies "
        "without labels."
    )
    title = f"{name_survey(survey)}, the training objects: not a fair test"
    return tabulate_sample(shift, home, survey, "same", title, meaning)


def _tell_mixed(shift: Shift, home: str, mixed: str, survey: str) -> Table:
    before, after = (shift.pick(training, survey, "new") for training in (home, mixed))
    change = _by_head(after)[TOLD].scores["r"] - _by_head(before)[TOLD].scores["r"]
    one, two = (_count_parts(shift.trainings[training]) for training in (home, mixed))
    meaning = (
        f"Does it help to learn from two surveys instead of one? The galaxies learned from: {one}, or "
        f"{two}. {TOLD}'s r changes by {show_score(change, sign=True)}: {_judge(change)}. Both were tested on the "
        "same galaxies, and the interval is that of the difference."
    )
    title = f"{name_survey(survey)}, new objects: two surveys to learn from, at the same budget"
    return tabulate_difference(before, after, title, meaning)


def _count_parts(parts: Mapping[str, int]) -> str:
    return " and ".join(f"{name_survey(survey)} ({count})" for survey, count in parts.items())


def _tell_copy(shift: Shift, home: str, survey: str) -> Table:
    cells = _by_head(shift.pick(home, survey, "paired"))
    change = cells[TOLD].scores["r"] - cells[COPY].scores["r"]
    there, here = name_survey(home), name_survey(survey)
    meaning = (
        f"New objects that are in both {there} and {here}: instead of a head, copy what {there}'s volunteers said. "
        f"Only labels that both surveys have count, of answers with at least {MIN_LABELS} of them: so the heads' "
        "numbers may differ a little from those on all new objects, even where the galaxies are the same. The copy "
        f"reaches r {_say(cells[COPY], 'r')}. {TOLD} minus the copy is {show_score(change, sign=True)}: "
        f"{_judge(change)}. The copy is one galaxy's noisy votes on another picture of it; a head has learned from "
        "many galaxies' votes, and sees this picture."
    )
    title = f"{here}, new objects also in {there}: copied votes"
    return tabulate_sample(shift, home, survey, "paired", title, meaning)


def _by_head(cells: Sequence[Cell]) -> dict[str, Cell]:
    return {cell.head: cell for cell in cells}


def _say(cell: Cell, metric: str) -> str:
    value = cell.scores[metric].value
    return f"{value:z.2f}" if np.isfinite(value) else "none"


def _judge(change: Score) -> str:
    """What an interval of a difference allows to say: of these heads, whose training is held fixed."""
    low, high = change.interval
    if not np.isfinite(low) or low <= 0 <= high:
        return "within the interval there may be no difference"
    return f"{'more' if low > 0 else 'less'}, by more than the draw of the test galaxies explains"


def _compare(same: Cell, new: Cell) -> str:
    """Different galaxies: their intervals are compared, not their difference."""
    (low_a, high_a), (low_b, high_b) = same.scores["r"].interval, new.scores["r"].interval
    return "the intervals overlap" if low_a <= high_b and low_b <= high_a else "the intervals do not overlap"
