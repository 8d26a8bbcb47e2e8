"""The reference study's lists of outputs, by name, so that its tables can be laid beside ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from embeddings.errors import SommelierError
from embeddings.questions import Question, list_targets
from extract.schema import CAMPAIGNS, CROSSINGS, GZ2_TREE, Dialect

_ORDER_52 = (
    "smooth-or-featured", "disk-edge-on", "bar", "has-spiral-arms", "bulge-size", "how-rounded", "bulge-shape",
    "spiral-winding", "spiral-arm-count",
)  # fmt: skip
_ORDER_26 = (
    "smooth-or-featured", "disk-edge-on", "bar", "has-spiral-arms", "bulge-size", "how-rounded", "spiral-winding",
    "spiral-arm-count", "bulge-shape",
)  # fmt: skip
ENDINGS = ("weighted_fraction", "fraction", "debiased")
_NOT_IN_DECALS = ("bulge-size_just-noticeable", "spiral-arm-count_cant-tell")


def _targets(order: tuple[str, ...]) -> list[str]:
    tree = {question.name: question for question in GZ2_TREE}
    return [target for target in list_targets(tree[name] for name in order) if target not in _NOT_IN_DECALS]


_NINE = _targets(_ORDER_26)[:9]
# Catalog columns in the order of the study's outputs. The 74 are 37 answers twice, not 74 shapes; the 52 are 26 answers
# twice. Names and order: its label_columns and four_survey_feature_mapping.csv.
STUDY_LISTS: dict[str, tuple[str, ...]] = {
    "study-74": tuple(
        f"{target}_{kind}"
        for target in list_targets(CAMPAIGNS["gz2"].questions)
        for kind in ("fraction", "weighted_fraction")
    ),
    "study-52": tuple(f"{target}_{kind}" for target in _targets(_ORDER_52) for kind in ("debiased", "fraction")),
    "study-26": tuple(f"{target}_fraction" for target in _targets(_ORDER_26)),
    "study-11": tuple(f"{target}_fraction" for target in (*_NINE, "something-odd_yes", "something-odd_no")),
    "study-9": tuple(f"{target}_fraction" for target in _NINE),
}


def study_columns(name: str, dialect: Dialect) -> tuple[str, ...]:
    """
    A list in a release's own column names.

    Columns of GZD-1/2 are found through its crossings: the study used them without saying so.

    Parameters
    ----------
    name : str
        Of `STUDY_LISTS`.
    dialect : Dialect
        Of the release.
    """
    columns = []
    for column in STUDY_LISTS[name]:
        target, ending = _split(column)
        columns.append(dialect.release_column(f"{_find(target, dialect)}_{ending}"))
    return tuple(columns)


def find_questions(columns: Sequence[str]) -> list[tuple[Question, str, list[int]]]:
    """
    The questions of which some columns hold every answer.

    Parameters
    ----------
    columns : sequence of str
        In a release's own names, or in this project's; with or without the ending (``_weighted_fraction``).

    Returns
    -------
    list of (Question, str, list of int)
        The question, the columns' common ending, and the column of each answer.
    """
    split = [_split_ending(column) for column in columns]
    stems = {stem for stem, _ in split}
    dialect = max(_list_dialects(), key=lambda dialect: len(stems.intersection(dialect.stems.values())))
    place = {entry: number for number, entry in enumerate(split)}
    found = []
    for ending in dict.fromkeys(ending for _, ending in split):
        for question in dialect.campaign.questions:
            there = [place.get((dialect.stems[target], ending), -1) for target in question.targets]
            if min(there) >= 0:
                found.append((question, ending, there))
    return found


def _list_dialects() -> Iterator[Dialect]:
    """Every way in which releases and catalogs write answers."""
    yield Dialect.raw_gz2()
    for campaign in CAMPAIGNS.values():
        targets = {target: target for question in campaign.questions for target in question.targets}
        yield Dialect(campaign, targets, {})
        for suffix in ("", f"-{campaign.name}"):
            yield Dialect.modern(campaign, suffix)


def _find(target: str, dialect: Dialect) -> str:
    """A target of GZ2's tree as the release's campaign has it."""
    if target in dialect.stems:
        return target
    question, _, answer = target.partition("_")
    for crossing in CROSSINGS.values():
        sources = crossing.answers.get(answer, ()) if crossing.target.name == question else ()
        if len(sources) == 1 and f"{crossing.name}_{sources[0]}" in dialect.stems:
            return f"{crossing.name}_{sources[0]}"
    raise SommelierError(f"{dialect.campaign.title} has nothing that answers to {target!r}.")


def _split(column: str) -> tuple[str, str]:
    """A catalog column as target and ending."""
    target, ending = _split_ending(column)
    if not ending:
        raise SommelierError(f"{column!r} is no fraction column.")
    return target, ending


def _split_ending(column: str) -> tuple[str, str]:
    """What a column is of, and which kind of fraction; empty where its name does not say."""
    for ending in ENDINGS:
        if column.endswith(f"_{ending}"):
            return column.removesuffix(f"_{ending}"), ending
    return column, ""
