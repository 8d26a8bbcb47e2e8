"""A question put to volunteers (or a measured value): pure data that every layer knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np

from embeddings.errors import SommelierError, did_you_mean

Kind = Literal["fraction", "value"]
Fractions = Literal["raw", "weighted", "debiased"]
FRACTIONS = ("raw", "weighted", "debiased")


@dataclass(frozen=True)
class Question:
    """
    One question and its answers, as a decision tree or a label column has them.

    Parameters
    ----------
    name : str
        As in Galaxy Zoo, ``smooth-or-featured``.
    answers : tuple of str
        As in Galaxy Zoo, ``("smooth", "featured-or-disk", "artifact")``. Empty for a column that is
        one number (a value, or a single fraction).
    parent : str, optional
        The target (``disk-edge-on_no``) that leads to this question; None when everybody is asked.
    kind : {'fraction', 'value'}
        ``fraction`` lies in [0, 1]; ``value`` is any number and is left as it is.
    unless : str, optional
        The target after which nobody is asked (``smooth-or-featured_artifact``), where all others are.
    fractions : {'raw', 'weighted', 'debiased'}
        What the fraction columns hold: shares of the votes, of votes weighted by the volunteers' consistency, or
        shares corrected for distance. Only raw ones have the noise of votes; debiased ones need not add up to one.
    crossed : str, optional
        The question of another campaign that it was made of, with loss, and the version of the map. Questions that
        differ in this alone are one question.
    """

    name: str
    answers: tuple[str, ...] = ()
    parent: str | None = None
    kind: Kind = "fraction"
    unless: str | None = None
    fractions: Fractions = "raw"
    crossed: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.fractions not in FRACTIONS:
            raise SommelierError(
                f"question {self.name!r}: fractions are {', '.join(FRACTIONS)}, not {self.fractions!r}"
            )
        if self.kind not in ("fraction", "value"):
            raise SommelierError(f"question {self.name!r}: kind is 'fraction' or 'value', not {self.kind!r}")
        if self.kind == "value" and self.answers:
            raise SommelierError(f"question {self.name!r}: a value has no answers, got {self.answers}")

    @property
    def targets(self) -> tuple[str, ...]:
        """What a head predicts: ``<question>_<answer>``, or the question's name when it is one number."""
        return tuple(f"{self.name}_{answer}" for answer in self.answers) or (self.name,)

    @property
    def target_columns(self) -> tuple[str, ...]:
        """The catalog columns that hold the targets."""
        if self.kind == "value":
            return (self.name,)
        return tuple(f"{target}_fraction" for target in self.targets)

    @property
    def vote_columns(self) -> tuple[str, ...]:
        """The catalog columns that hold the vote counts; a release need not have them."""
        return () if self.kind == "value" or not self.answers else self.targets

    @property
    def total_column(self) -> str:
        """The catalog column that holds how many volunteers answered."""
        return f"{self.name}_total-votes"

    def to_dict(self) -> dict[str, Any]:
        """The question as JSON can hold it; `unless`, `fractions` and `crossed` only where they say something."""
        record = {"name": self.name, "answers": list(self.answers), "parent": self.parent, "kind": self.kind}
        if self.unless is not None:
            record["unless"] = self.unless
        if self.fractions != "raw":
            record["fractions"] = self.fractions
        if self.crossed is not None:
            record["crossed"] = self.crossed
        return record

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Question:
        """The inverse of `to_dict`."""
        fixed = (record["name"], tuple(record["answers"]), record["parent"], record["kind"])
        return cls(*fixed, record.get("unless"), record.get("fractions", "raw"), record.get("crossed"))


def list_targets(questions: Iterable[Question]) -> list[str]:
    """All targets of some questions, in order."""
    return [target for question in questions for target in question.targets]


def target_kinds(questions: Iterable[Question]) -> list[Kind]:
    """The kind of each target, in the order of `list_targets`."""
    return [question.kind for question in questions for _ in question.targets]


def select_questions(questions: Iterable[Question], patterns: Iterable[str]) -> tuple[Question, ...]:
    """
    Keep the questions, and of them the answers, whose targets match a glob.

    Parameters
    ----------
    questions : iterable of Question
        What there is.
    patterns : iterable of str
        Globs over target names (``smooth-or-featured_*``); none of them keeps everything.

    Returns
    -------
    tuple of Question
        In their order; a question keeps only the answers that match.

    Raises
    ------
    SommelierError
        When a pattern matches nothing.
    """
    questions = tuple(questions)
    patterns = tuple(patterns)
    if not patterns:
        return questions
    for pattern in patterns:
        if not any(fnmatchcase(target, pattern) for target in list_targets(questions)):
            raise SommelierError(f"no target matches {pattern!r}. {did_you_mean(pattern, list_targets(questions))}")

    def matches(target: str) -> bool:
        return any(fnmatchcase(target, pattern) for pattern in patterns)

    selected = []
    for question in questions:
        if not any(matches(target) for target in question.targets):
            continue
        answers = tuple(a for a, t in zip(question.answers, question.targets, strict=False) if matches(t))
        selected.append(replace(question, answers=answers))
    return tuple(selected)


def merge_questions(*groups: Iterable[Question]) -> tuple[Question, ...]:
    """
    The union of several lists of questions, in order of first appearance.

    Raises
    ------
    SommelierError
        When two questions of one name differ.
    """
    merged: dict[str, Question] = {}
    for question in (question for group in groups for question in group):
        known = merged.setdefault(question.name, question)
        if known != question:
            raise SommelierError(
                f"question {question.name!r} is defined in two ways: {known.to_dict()} and {question.to_dict()}. "
                "If they are one label, make one catalog of all rows; otherwise rename one of them."
            )
    return tuple(merged.values())


def expected_shares(
    questions: Iterable[Question], fraction: Callable[[str], np.ndarray[Any, Any]]
) -> dict[str, np.ndarray[Any, Any]]:
    """
    The share of a galaxy's volunteers that the decision tree leads to each question.

    The product of the fractions of the answers on the way; 0 where a question on the way was not asked.

    Parameters
    ----------
    questions : iterable of Question
        With every question on the way to those of interest.
    fraction : callable
        Gives the (n_galaxies,) fractions of a target, in [0, 1], NaN where not asked.

    Returns
    -------
    dict of str to (n_galaxies,) float array
        By question; a question whose way leaves the given ones is left out.
    """
    questions = [question for question in questions if question.answers]
    owners = {target: question.name for question in questions for target in question.targets}
    shares: dict[str, np.ndarray[Any, Any]] = {}
    for question in _order_by_parent(questions, owners):
        step = question.parent or question.unless
        if step is None:
            shares[question.name] = np.ones_like(fraction(question.targets[0]), dtype=np.float64)
        elif owners.get(step) in shares:
            chosen = fraction(step).astype(np.float64)
            shares[question.name] = shares[owners[step]] * np.nan_to_num(chosen if question.parent else 1 - chosen)
    return {question.name: shares[question.name] for question in questions if question.name in shares}


def _order_by_parent(questions: list[Question], owners: dict[str, str]) -> list[Question]:
    """Every question after the one that leads to it."""
    ordered: list[Question] = []
    rest = list(questions)
    while rest:
        waiting = {question.name for question in rest}
        ready = [q for q in rest if owners.get(q.parent or q.unless or "", "") not in waiting]
        if not ready:
            names = ", ".join(sorted(waiting))
            raise SommelierError(
                f"the questions {names} lead to each other: each needs a parent that is asked before it."
            )
        ordered += ready
        rest = [question for question in rest if question not in ready]
    return ordered
