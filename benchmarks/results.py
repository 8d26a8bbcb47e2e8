"""What the cells of a benchmark say together: scores with intervals, comparisons, ranks, ceilings."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ceilings import MIN_VOTES, Ceiling
from benchmarks.cells import Cell, require_outcome
from benchmarks.comparison import Comparison
from benchmarks.decomposition import Decomposition
from benchmarks.recalibration import Curve
from benchmarks.resampling import Resampling
from benchmarks.samples import Sample
from benchmarks.statistics import ModelScores, Score
from benchmarks.suite import Suite
from benchmarks.weaknesses import Bin, WorstAnswer, score_bins
from embeddings.questions import Question, list_targets

Array = np.ndarray[Any, Any]
RECORD, FORMAT, VERSION, KIND = "benchmark.json", "galaxy-sommelier/benchmark", "1.0", "benchmark"
SUITE, SPLIT, CELLS, SAMPLES = "suite.yaml", "split.parquet", "cells", "samples"
COPY = "copied votes"  # of the other survey: no model, a yardstick
Interval = list[float | None]  # value, low, high


@dataclass(frozen=True)
class Entry:
    """
    One contender on one test: a model, trained on one training set with all its seeds.

    Attributes
    ----------
    training, model, space : str
    budget : int
        Training objects, 0 for all.
    test : str
        The sample's name.
    seeds : tuple of int
    macro : dict of str to Score
        ``r, r2, mae, rmse, bias, pooled_r``.
    targets : dict of str to list of [value, low, high]
        ``r, r2, mae, bias`` of each answer.
    n : (n_targets,) int array
        Labels of each answer.
    pooled : dict of str to float
        What the reference study printed (`heads.metrics.score_pooled` on labels with 0 for what was not asked), means
        over seeds: ``pooled_r, pooled_r_squared, r2, mae, mse``.
    worst : WorstAnswer or None
    n_train : int
        Training galaxies, the mean over seeds.
    costs : dict of str to float or str
        Means over seeds, see `benchmarks.cells.Outcome`.
    without : dict of str to Score
        ``r, r2`` without the galaxies that the audit found, on the same draws of sky objects; empty where the test has
        none, or too few others.
    """

    training: str
    model: str
    space: str
    budget: int
    test: str
    seeds: tuple[int, ...]
    macro: dict[str, Score]
    targets: dict[str, list[Interval]]
    n: Array
    pooled: dict[str, float]
    worst: WorstAnswer | None
    n_train: int
    costs: dict[str, Any] = field(default_factory=dict)
    without: dict[str, Score] = field(default_factory=dict)

    @property
    def contender(self) -> tuple[str, str, str, int]:
        """What the entries of one row of a table share over all tests."""
        return self.training, self.model, self.space, self.budget

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        names = ("training", "model", "space", "budget", "test", "seeds", "targets", "n_train", "costs")
        worst = self.worst and {"target": self.worst.target, "n": self.worst.n, "score": self.worst.score.to_list()}
        return {
            **{name: getattr(self, name) for name in names},
            "seeds": list(self.seeds),
            "macro": {name: score.to_list() for name, score in self.macro.items()},
            "label": self.macro["r"].label,
            "n": self.n.tolist(),
            "pooled": {name: value if np.isfinite(value) else None for name, value in self.pooled.items()},
            "worst": worst,
        } | (
            {"without_leaked": {name: score.to_list() for name, score in self.without.items()}} if self.without else {}
        )


@dataclass(frozen=True)
class Contest:
    """
    Contenders beside one reference: one family of comparisons.

    Attributes
    ----------
    varies : {'model', 'training'}
    fixed : str
        The training set, or the model, that all share.
    reference : str
    comparisons : list of Comparison
        On macro r, for every test.
    ranks : dict of str to dict
        By test: each contender's ranks from and to, or None.
    """

    varies: str
    fixed: str
    reference: str
    comparisons: list[Comparison]
    ranks: dict[str, dict[str, tuple[int, int] | None]]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return vars(self) | {"comparisons": [one.to_dict() for one in self.comparisons]}


@dataclass(frozen=True)
class Decomposed:
    """
    Where a contender's drop from its home survey's test to another's comes from.

    Attributes
    ----------
    training, model : str
    home, away : str
        Names of the two tests.
    decomposition : Decomposition
    """

    training: str
    model: str
    home: str
    away: str
    decomposition: Decomposition


@dataclass(frozen=True)
class Recalibrated:
    """
    How few labels of a survey correct a contender's predictions of it.

    Attributes
    ----------
    training, model : str
    home, away : str
        Names of the tests: what is lost is counted from the first.
    recalibration : Recalibration
    """

    training: str
    model: str
    home: str
    away: str
    recalibration: Curve


@dataclass(frozen=True)
class Results:
    """
    Everything that a benchmark found.

    Attributes
    ----------
    folder : Path
    record : dict
        benchmark.json: what was run with what.
    suite : Suite
    questions : tuple of Question
    samples : dict of str to Sample
        The tests, by name; the first is the home survey's.
    entries : list of Entry
    yardsticks : dict of str to ModelScores
        By test: what copying the home survey's votes scores, on the galaxies that have them.
    ceilings : dict of str to Ceiling
        By test: what the noise of the votes leaves; missing where votes are not raw counts.
    contests : list of Contest
    drops : list of Decomposed
        Where the out-of-domain drop comes from; none without paired galaxies.
    curves : list of Recalibrated
        How few labels of the target survey buy it back.
    """

    folder: Path
    record: dict[str, Any]
    suite: Suite
    questions: tuple[Question, ...]
    samples: dict[str, Sample]
    entries: list[Entry]
    yardsticks: dict[str, ModelScores]
    ceilings: dict[str, Ceiling]
    contests: list[Contest]
    drops: list[Decomposed] = field(default_factory=list)
    curves: list[Recalibrated] = field(default_factory=list)

    @cached_property
    def targets(self) -> list[str]:
        """The answers that are predicted: the columns of all labels and predictions."""
        return list_targets(self.questions)

    @cached_property
    def headline(self) -> list[Entry]:
        """The entries that tables show: all training galaxies, the last layer with all pools; no budgets or layers."""
        spaces = ("", self.record["joined_space"])
        each = self.suite.spaces == "each"
        return [entry for entry in self.entries if not entry.budget and (each or entry.space in spaces)]

    def pick(self, **wanted: Any) -> list[Entry]:
        """The entries with these values: ``pick(training="sdss", test="ukidss-new")``."""
        return [entry for entry in self.entries if all(getattr(entry, k) == value for k, value in wanted.items())]

    def predictions(self, entry: Entry) -> dict[int, Array]:
        """What each seed of an entry said of its test's galaxies, (n_rows, n_targets)."""
        cells = [Cell(*_order(entry, seed)) for seed in entry.seeds]
        return {cell.seed: require_outcome(self.folder / CELLS, cell).predictions[entry.test] for cell in cells}

    def mask_totals(self, sample: Sample) -> Array:
        """
        Votes behind each label of a test that counts, NaN where fractions are no shares of them.

        A zero that stands for a question which nobody was asked has no noise, whatever its votes: it gets the two that
        a ceiling needs to count it.
        """
        raw = np.repeat([q.fractions == "raw" for q in self.questions], [len(q.targets) for q in self.questions])
        voted = sample.totals > 0
        nobody = (sample.Y == 0) & ~voted & voted.any(axis=0) & (self.suite.protocol == "published")
        return np.where(raw & ~np.isnan(sample.Y), np.where(nobody, MIN_VOTES, sample.totals), np.nan)

    def score_bins(self, entry: Entry) -> list[Bin]:
        """The macro r of an entry in bins of magnitude, size, redshift, as far as known."""
        sample = self.samples[entry.test]
        resampling = Resampling(sample.groups, 0, self.suite.resamples)
        return score_bins(sample.Y, self.predictions(entry), resampling, sample.properties)

    def to_dict(self) -> dict[str, Any]:
        """As ``results.json`` has it."""
        return {
            "targets": self.targets,
            "tests": {name: {"title": s.title, "n": s.n_labelled} for name, s in self.samples.items()},
            "entries": [entry.to_dict() for entry in self.entries],
            "yardsticks": {
                test: {name: score.to_list() for name, score in found.macro.items()}
                for test, found in self.yardsticks.items()
            },
            "ceilings": {test: ceiling.to_dict() for test, ceiling in self.ceilings.items()},
            "contests": [contest.to_dict() for contest in self.contests],
            "drops": [_describe(one, one.decomposition) for one in self.drops],
            "recalibration": [_describe(one, one.recalibration) for one in self.curves],
        }


def _describe(one: Decomposed | Recalibrated, found: Decomposition | Curve) -> dict[str, Any]:
    return {name: getattr(one, name) for name in ("training", "model", "home", "away")} | found.to_dict()


def _order(entry: Entry, seed: int) -> tuple[str, str, int, str, int]:
    return entry.training, entry.model, seed, entry.space, entry.budget
