"""
Hold the decomposition of the out-of-domain drop against the truth of a simulated sky; say whether mixing surveys helps.

    python docs/drop.py DEMO [--model ridge --model full]

DEMO is the folder of a finished `sommelier demo`. The benchmark parts the drop with volunteers' votes as labels. On a
simulated sky the probabilities are known that the votes were drawn with, so that the same can be done without noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.comparison import Comparison
from benchmarks.decomposition import CELLS, Decomposition
from benchmarks.demo import BENCHMARK
from benchmarks.drops import list_drops
from benchmarks.galaxies import name_survey
from benchmarks.gathering import read_results
from benchmarks.reporting.degradation import METRIC, PARTS
from benchmarks.results import Decomposed, Results
from benchmarks.samples import Sample
from benchmarks.statistics import Score
from benchmarks.tables import NOTHING, Table, show_score
from embeddings.errors import SommelierError
from extract.simulation.chances import read_chances

Parts = dict[str, Score]
EFFECTS = ("image", "annotation", "interaction", "total")
AGREE = "agree with it"
COLUMNS = ("votes", "votes over their ceiling", "truth", "over the ceiling less truth")


@dataclass(frozen=True)
class Beside:
    """
    One drop in one metric, parted with three kinds of labels, on the same entries and draws.

    Attributes
    ----------
    drop : Decomposed
        The benchmark's own.
    metric : {'r', 'r2'}
    votes : dict of str to Score
        Cells and effects, by the names of `benchmarks.decomposition.Drop`.
    freed : dict of str to Score
        Each cell over the ceiling that the noise of its labels leaves.
    chances : dict of str to Score
        With the probabilities that the votes were drawn with as labels: the truth.
    """

    drop: Decomposed
    metric: str
    votes: Parts
    freed: Parts
    chances: Parts

    def find_error(self, part: str) -> Score:
        """By how much votes over their ceiling miss the truth, paired."""
        return self.freed[part] - self.chances[part]


def main() -> None:
    """Print a table for each drop, then what the results say of mixing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path)
    parser.add_argument("--model", action="append", help="the reference model and the fine-tunes by default")
    options = parser.parse_args()
    results = read_results(options.demo / BENCHMARK)
    suite = results.suite
    tuned = [name for name, model in suite.models.items() if model.finetune]
    for beside in compare_drops(results, options.demo / "sky", options.model or [suite.reference_model, *tuned]):
        print(tabulate(results, beside).to_markdown())
    print(tell_mixing(results))


def compare_drops(results: Results, sky: Path, models: Sequence[str]) -> Iterator[Beside]:
    """
    Part the drops of some models once more, with the truth as labels.

    Parameters
    ----------
    results : Results
        Of a benchmark on the catalogs of the sky.
    sky : Path
    models : sequence of str
        That learned from the reference training set.
    """
    home = results.suite.reference_training
    entries = [one for one in results.headline if one.training == home and one.model in models]
    samples = {name: label_truly(sample, results.targets, sky) for name, sample in results.samples.items()}
    voted = [one for one in results.drops if one.training == home and one.model in models]
    true = list_drops(replace(results, entries=entries, samples=samples, drops=[], curves=[]))
    for drop, other in zip(voted, true, strict=True):
        found = drop.decomposition
        for metric in found.drops:
            votes, chances = (dict(one.decomposition.drops[metric].list_parts()) for one in (drop, other))
            yield Beside(drop, metric, votes, free_parts(found, metric), chances)


def label_truly(sample: Sample, targets: Sequence[str], sky: Path) -> Sample:
    """A test with probabilities as labels, wherever the votes have a label that counts."""
    chances = read_chances(sky, sample.survey)
    missing = np.setdiff1d(sample.ids, chances.index)
    if len(missing):
        raise SommelierError(
            f"{len(missing)} galaxies of the test {sample.name}, such as {missing[0]}, are not in the sky {sky}: give "
            "the sky that the benchmark was made of."
        )
    truth = chances.loc[sample.ids, list(targets)].to_numpy()
    return replace(sample, Y=np.where(np.isnan(sample.Y), np.nan, truth))


def free_parts(found: Decomposition, metric: str) -> Parts:
    """
    Cells over what the noise of their labels leaves, and the effects of these.

    Noise e of the labels y = t + e, which no model knows, lowers R2 by the factor var t / var y and r by its root
    (Spearman 1904, Am. J. Psychol. 15, 72). Divided are means over answers, as tables have them.
    """
    cells = found.drops[metric].cells
    ss, us, su, uu = (divide(cells[name], found.ceilings[name[1]].scores[metric]) for name in CELLS)
    effects = {
        "image": halve((ss - us) - (uu - su)), "annotation": halve((ss - su) - (uu - us)),
        "interaction": (ss - us) - (su - uu), "total": ss - uu,
    }  # fmt: skip
    return dict(zip(CELLS, (ss, us, su, uu), strict=True)) | effects


def divide(score: Score, ceiling: Score) -> Score:
    """A score over another one on the same draws."""
    luck = None if score.luck is None else score.luck / ceiling.value
    return replace(score, value=score.value / ceiling.value, draws=score.draws / ceiling.draws, luck=luck)


def halve(score: Score) -> Score:
    """Half of a score."""
    luck = None if score.luck is None else score.luck / 2
    return replace(score, value=score.value / 2, draws=score.draws / 2, luck=luck)


def tabulate(results: Results, beside: Beside) -> Table:
    """Cells and effects by each kind of labels, and what they say."""
    drop, found = beside.drop, beside.drop.decomposition
    names = {end: name_survey(results.samples[getattr(drop, end)].survey) for end in ("home", "away")}
    rows = [
        [PARTS[part].format(**names), *(show_score(parts[part], 3) for parts in (beside.votes, beside.freed,
         beside.chances)), show_score(beside.find_error(part), 3, sign=True)]
        for part in (*CELLS, *EFFECTS)
    ]  # fmt: skip
    for survey, ceiling in found.ceilings.items():
        words = PARTS[f"ceiling_{survey}"].format(**names)
        rows.append([words, show_score(ceiling.scores[beside.metric], 3), *[NOTHING] * 3])
    title = (
        f"{drop.model}, {names['home']} to {names['away']}, {METRIC[beside.metric]}: {found.n_objects} galaxies, "
        f"{len(found.answers)} answers, 95 % intervals"
    )
    return Table(title, ["", *COLUMNS], rows, tell_agreement(beside))


def tell_agreement(beside: Beside) -> str:
    """Whether votes lead to the true effects, in sentences that follow from the numbers."""
    nearer = sum(abs(beside.votes[cell].value) < abs(beside.chances[cell].value) for cell in CELLS)
    said = [f"With votes {nearer} of the 4 cells are nearer to 0 than in truth."]
    for part, words in (("image", "Other images"), ("annotation", "Other labels")):
        votes, freed, true = (parts[part] for parts in (beside.votes, beside.freed, beside.chances))
        said.append(
            f"{words} cost {votes.value:z.3f} with votes, {freed.value:z.3f} over the ceiling, {true.value:z.3f} in "
            f"truth: votes {judge(votes - true)}, over the ceiling they {judge(beside.find_error(part))}."
        )
    missed = [part for part in (*CELLS, *EFFECTS) if judge(beside.find_error(part)) != AGREE]
    named = f" ({', '.join(missed)})" if missed else ""
    return " ".join([*said, f"Over the ceiling {len(missed)} of 8 cells and effects miss the truth{named}."])


def judge(error: Score) -> str:
    """What the interval of an error allows to say."""
    low, high = error.interval
    if low <= 0 <= high:
        return AGREE
    return f"are too {'high' if error.value > 0 else 'low'} by {show_score(error, 3, sign=True)}"


def tell_mixing(results: Results) -> str:
    """Whether training sets of several surveys help on those that nothing learned from: a sentence for each."""
    suite, told = results.suite, results.suite.reference_model
    contest = next(one for one in results.contests if (one.varies, one.fixed) == ("training", told))
    mixed = [name for name, training in suite.trainings.items() if len(training.surveys) > 1]
    said = []
    for sample in results.samples.values():
        if sample.survey in suite.learned or sample.objects != "new":
            continue
        found = [one for one in contest.comparisons if one.test == sample.name and one.model in mixed]
        listed = "; ".join(
            f"{one.model} {show_score(one.difference, 3, sign=True)} (p {one.p_family:.3f}, {one.verdict})"
            for one in found
        )
        said.append(
            f"On {len(sample)} new galaxies of {name_survey(sample.survey)}, which nothing learned from, "
            f"{conclude(found)}: Pearson r of {told} less that of learning from {contest.reference} alone, paired and "
            f"corrected (Holm), is {listed}."
        )
    return "\n\n".join(said)


def conclude(found: Sequence[Comparison]) -> str:
    """What the verdicts of mixed training sets come to."""
    verdicts = {one.model: one.verdict for one in found}
    better, worse = ([name for name, verdict in verdicts.items() if verdict == word] for word in ("higher", "lower"))
    if better and worse:
        return f"mixing surveys in training helps as {', '.join(better)} and harms as {', '.join(worse)}"
    if better or worse:
        return f"mixing surveys in training {'helps' if better else 'harms'} (as {', '.join(better or worse)})"
    return "no way of mixing surveys in training makes a difference beyond what luck explains"


if __name__ == "__main__":
    try:
        main()
    except SommelierError as error:
        raise SystemExit(str(error)) from None
