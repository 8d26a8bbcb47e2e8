"""A question put to volunteers (or a measured value): pure data that every layer knows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from embeddings.errors import SommelierError, did_you_mean

Kind = Literal["fraction", "value"]


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
    """

    name: str
    answers: tuple[str, ...] = ()
    parent: str | None = None
    kind: Kind = "fraction"

    def __post_init__(self) -> None:
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
        """The question as JSON can hold it."""
        return {"name": self.name, "answers": list(self.answers), "parent": self.parent, "kind": self.kind}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Question:
        """The inverse of `to_dict`."""
        return cls(record["name"], tuple(record["answers"]), record["parent"], record["kind"])


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
        selected.append(Question(question.name, answers, question.parent, question.kind))
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
