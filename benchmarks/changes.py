"""Two runs of a benchmark side by side: what of the suite changed, which scores did, and whether that is noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.comparison import LEVEL, MIN_RESAMPLES, adjust_holm, compute_p
from benchmarks.results import Entry, Results
from benchmarks.statistics import SINGLE_RUN, Score
from benchmarks.tables import NOTHING, Quantity, Table

ABSENT = "absent"
Contender = tuple[str, str, str, int, str]  # training, model, space, budget, test


@dataclass(frozen=True)
class Change:
    """
    One contender on one test, in both runs.

    Attributes
    ----------
    contender : (str, str, str, int, str)
        Training set, model, space, budget and test.
    before, after : Score
        Macro r in A and in B.
    difference : Score or None
        B less A: paired where the galaxies are the same; None where the answers are not.
    paired : bool
    p_family : float
        Holm's, over all paired differences; NaN for others, and for points of curves, which have too few resamples.
    note : str
        Why it is not paired, or what else to know.
    """

    contender: Contender
    before: Score
    after: Score
    difference: Score | None
    paired: bool
    p_family: float = float("nan")
    note: str = ""

    @property
    def verdict(self) -> str:
        """``higher``, ``lower``, ``not told apart``; ``not tested``; ``not comparable`` where nothing is paired."""
        if not self.paired or self.difference is None or not np.isfinite(self.difference.value):
            return "not comparable"
        if not np.isfinite(self.p_family):
            return "not tested"
        if self.p_family >= LEVEL:
            return "not told apart"
        return "higher" if self.difference.value > 0 else "lower"

    @property
    def name(self) -> str:
        """The contender in words."""
        training, model, space, budget, _ = self.contender
        return ", ".join([model, f"learned from {training}", *([space] if space else []),
                          *([f"{budget} objects"] if budget else [])])  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; scores are ``[value, low, high]``."""
        return {
            **dict(zip(("training", "model", "space", "budget", "test"), self.contender, strict=True)),
            "before": self.before.to_list(),
            "after": self.after.to_list(),
            "difference": self.difference.to_list() if self.difference is not None else None,
            "paired": self.paired,
            "p_family": self.p_family if np.isfinite(self.p_family) else None,
            "verdict": self.verdict,
            "note": self.note,
        }


@dataclass(frozen=True)
class Changes:
    """
    What differs between two runs.

    Attributes
    ----------
    a, b : Path
        Their folders.
    suite : dict of str to (str, str)
        Keys of the suite that differ, with both values.
    splits : (str, str)
        Digests.
    scores : list of Change
        Of contenders that both have.
    only_a, only_b : list of (str, str, str, int, str)
        Contenders that one of them lacks.
    warnings : list of str
        What forbids to compare.
    """

    a: Path
    b: Path
    suite: dict[str, tuple[str, str]]
    splits: tuple[str, str]
    scores: list[Change]
    only_a: list[Contender]
    only_b: list[Contender]
    warnings: list[str]

    @property
    def same_split(self) -> bool:
        """Whether the same galaxies learn, choose and are tested; unknown splits are others."""
        return self.splits[0] == self.splits[1] != ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "a": str(self.a),
            "b": str(self.b),
            "suite": {key: list(values) for key, values in self.suite.items()},
            "splits": list(self.splits),
            "same_split": self.same_split,
            "scores": [change.to_dict() for change in self.scores],
            "only_a": [list(contender) for contender in self.only_a],
            "only_b": [list(contender) for contender in self.only_b],
            "warnings": self.warnings,
        }

    def tabulate_suite(self) -> Table:
        """The keys that differ."""
        rows = [[key, *values] for key, values in self.suite.items()]
        return Table("What changed in the suite", ["key", "A", "B"], rows, "", "suite-changes")

    def tabulate_scores(self) -> Table:
        """Pearson r in both, the difference and what to think of it; without those that have none in either."""
        rows = [
            [change.name, change.contender[-1], Quantity.of(change.before), Quantity.of(change.after),
             NOTHING if change.difference is None else Quantity.of(change.difference, 3, sign=True),
             Quantity(change.p_family, digits=4), change.verdict, change.note]
            for change in self.scores
            if np.isfinite([change.before.value, change.after.value]).any()
        ]  # fmt: skip
        columns = ["contender", "test", "r in A", "r in B", "B less A", "p (Holm)", "verdict", "note"]
        meaning = (
            "Pearson r, means over answers, 95 % intervals. Paired differences are on the same galaxies; p is "
            "corrected (Holm) for all of them; budgets and single layers are points of curves, and not tested."
        )
        return Table("What changed in the scores", columns, rows, meaning, "score-changes")


def compare_results(a: Results, b: Results) -> Changes:
    """
    Lay two runs side by side.

    Differences are paired where a test has the same galaxies in both. Those of different splits are not: they are given
    with the interval of independent samples, without a verdict, and a warning says so.

    Parameters
    ----------
    a, b : Results
        Before and after.
    """
    splits = (_digest(a), _digest(b))
    entries = [{(*entry.contender, entry.test): entry for entry in results.entries} for results in (a, b)]
    both = [contender for contender in entries[0] if contender in entries[1]]
    changes = [_compare(a, b, entries[0][contender], entries[1][contender]) for contender in both]
    p = [_test(change) for change in changes]
    scores = [replace(c, p_family=float(value)) for c, value in zip(changes, adjust_holm(p), strict=True)]
    only_a, only_b = ([c for c in own if c not in other] for own, other in (entries, entries[::-1]))
    suite = dict(_list_changes(a.suite.model_dump(mode="json"), b.suite.model_dump(mode="json")))
    changed = Changes(a.folder, b.folder, suite, splits, scores, only_a, only_b, [])
    changed.warnings.extend(_warn(a, b, changed))
    return changed


def _test(change: Change) -> float:
    """The p of a paired difference; NaN of others, and of budgets and single layers, whose resamples are too few."""
    difference = change.difference
    tested = change.paired and difference is not None and len(difference.draws) >= MIN_RESAMPLES
    return compute_p(difference) if tested and difference is not None else float("nan")


def _digest(results: Results) -> str:
    return str(results.record.get("split", {}).get("digest", ""))


def _compare(a: Results, b: Results, before: Entry, after: Entry) -> Change:
    contender, old, new = (*before.contender, before.test), before.macro["r"], after.macro["r"]
    if a.targets != b.targets:
        return Change(contender, old, new, None, False, note="other answers")
    note = SINGLE_RUN if 1 in (old.runs, new.runs) else ""
    one, other = a.samples[before.test], b.samples[after.test]
    same = one.ids.shape == other.ids.shape and bool((one.ids == other.ids).all())
    if not same or _digest(a) != _digest(b) or not old.key or old.key != new.key:
        why = "other galaxies" if not same else "another split" if _digest(a) != _digest(b) else "other resamples"
        return Change(contender, old, new, subtract_apart(new, old), False, note=f"unpaired: {why}")
    if not np.array_equal(one.Y, other.Y, equal_nan=True):
        note = f"{note}, other labels".removeprefix(", ")
    return Change(contender, old, new, new - old, True, note=note)


def subtract_apart(one: Score, other: Score) -> Score:
    """The difference of scores on different galaxies, whose draws are independent: those of one are moved on by one."""
    n = min(len(one.draws), len(other.draws))
    lucks = [np.zeros(n) if score.luck is None else score.luck[:n] for score in (one, other)]
    luck = lucks[0] - np.roll(lucks[1], 1)
    return Score(
        one.value - other.value,
        one.draws[:n] - np.roll(other.draws[:n], 1),
        min(one.runs, other.runs),
        luck if luck.any() else None,
        min(one.freedom, other.freedom),
    )


def _list_changes(a: Any, b: Any, path: str = "") -> Iterator[tuple[str, tuple[str, str]]]:
    """The keys in which two suites differ."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys([*a, *b]):
            yield from _list_changes(a.get(key, ABSENT), b.get(key, ABSENT), f"{path}.{key}" if path else str(key))
    elif a != b:
        yield path, (str(a), str(b))


def _warn(a: Results, b: Results, changes: Changes) -> Iterator[str]:
    if not changes.same_split:
        yield (
            f"The splits differ ({_short(changes.splits[0])} in A, {_short(changes.splits[1])} in B): other galaxies "
            "were learned from and tested on, and some may have changed sides. Differences are unpaired, and nothing "
            "tells whether a method became better. Run both with one split."
        )
    if a.targets != b.targets:
        lost, new = (
            [t for t in own if t not in other] for own, other in ((a.targets, b.targets), (b.targets, a.targets))
        )
        yield (
            f"The answers differ ({len(a.targets)} in A, {len(b.targets)} in B; only in A: "
            f"{', '.join(lost) or 'none'}; only in B: {', '.join(new) or 'none'}): means over them are not "
            "comparable, and no difference is given."
        )
    if a.suite.protocol != b.suite.protocol:
        yield f"The protocols differ: {a.suite.protocol} in A, {b.suite.protocol} in B."
    if not changes.scores:
        yield "No contender is in both."


def _short(digest: str) -> str:
    return digest[:16] or "unknown"
