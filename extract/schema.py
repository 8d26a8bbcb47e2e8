"""Galaxy Zoo's decision trees as questions, how each release writes them, and the map between campaigns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from embeddings.errors import SommelierError, did_you_mean
from embeddings.questions import Question

MAP_VERSION = "1.0"  # of CAMPAIGNS' common names and CROSSINGS together: printed wherever a crossing is used

FEATURED, SMOOTH = "smooth-or-featured_featured-or-disk", "smooth-or-featured_smooth"
ARTIFACT = "smooth-or-featured_artifact"
EDGE_ON, FACE_ON, SPIRAL = "disk-edge-on_yes", "disk-edge-on_no", "has-spiral-arms_yes"

# GZ2's tree (Willett+ 2013, table 2 and figure 1), in the words of Galaxy Zoo's later files, without campaign
GZ2_TREE = (
    Question("smooth-or-featured", ("smooth", "featured-or-disk", "artifact")),
    Question("disk-edge-on", ("yes", "no"), FEATURED),
    Question("bar", ("yes", "no"), FACE_ON),
    Question("has-spiral-arms", ("yes", "no"), FACE_ON),
    Question("bulge-size", ("no", "just-noticeable", "obvious", "dominant"), FACE_ON),
    Question("something-odd", ("yes", "no"), unless=ARTIFACT),
    Question("how-rounded", ("round", "in-between", "cigar"), SMOOTH),
    Question("bulge-shape", ("round", "boxy", "no-bulge"), EDGE_ON),
    Question("spiral-winding", ("tight", "medium", "loose"), SPIRAL),
    Question("spiral-arm-count", ("1", "2", "3", "4", "more-than-4", "cant-tell"), SPIRAL),
)
ODD_FEATURE = Question(
    "odd-feature-gz2",
    ("ring", "lens-or-arc", "disturbed", "irregular", "other", "merger", "dust-lane"),
    "something-odd_yes",
)
_COMMON = {question.name: question for question in GZ2_TREE}

# the raw GZ2 tables name every answer by task and number; a35 does not exist, a38 sits in task 8
GZ2_STEMS = {
    "smooth-or-featured": ("t01_smooth_or_features", "a01_smooth a02_features_or_disk a03_star_or_artifact"),
    "disk-edge-on": ("t02_edgeon", "a04_yes a05_no"),
    "bar": ("t03_bar", "a06_bar a07_no_bar"),
    "has-spiral-arms": ("t04_spiral", "a08_spiral a09_no_spiral"),
    "bulge-size": ("t05_bulge_prominence", "a10_no_bulge a11_just_noticeable a12_obvious a13_dominant"),
    "something-odd": ("t06_odd", "a14_yes a15_no"),
    "how-rounded": ("t07_rounded", "a16_completely_round a17_in_between a18_cigar_shaped"),
    "odd-feature-gz2": (
        "t08_odd_feature",
        "a19_ring a20_lens_or_arc a21_disturbed a22_irregular a23_other a24_merger a38_dust_lane",
    ),
    "bulge-shape": ("t09_bulge_shape", "a25_rounded a26_boxy a27_no_bulge"),
    "spiral-winding": ("t10_arms_winding", "a28_tight a29_medium a30_loose"),
    "spiral-arm-count": ("t11_arms_number", "a31_1 a32_2 a33_3 a34_4 a36_more_than_4 a37_cant_tell"),
}


@dataclass(frozen=True)
class Campaign:
    """
    One round of Galaxy Zoo: a tree, and its own words for it.

    Parameters
    ----------
    name : str
        As Galaxy Zoo's files have it: ``gz2, ukidss, dr12, dr5, dr8``.
    survey : str
        Whose images were shown.
    title : str
    questions : tuple of Question
        Under this project's names: a question drops the campaign where its whole set of answers maps one to one to
        GZ2's, and then takes GZ2's words; otherwise it keeps it (``bulge-size-dr12``).
    words : mapping of str to (str, tuple of str)
        The campaign's own question and answers, by question, where they differ.
    """

    name: str
    survey: str
    title: str
    questions: tuple[Question, ...]
    words: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)

    def own_words(self, question: Question) -> tuple[str, tuple[str, ...]]:
        """The campaign's own name of a question (without its suffix), and of the answers in the question's order."""
        if question.name in self.words:
            return self.words[question.name]
        return question.name.removesuffix(f"-{self.name}"), question.answers


@dataclass(frozen=True)
class Dialect:
    """
    How the columns of one release are written.

    Parameters
    ----------
    campaign : Campaign
    stems : mapping of str to str
        What a column of a target begins with.
    heads : mapping of str to str
        What a column of a question begins with.
    count_ending : str
        Behind the stem of a column of vote counts.
    """

    campaign: Campaign
    stems: Mapping[str, str]
    heads: Mapping[str, str]
    count_ending: str = ""

    @classmethod
    def modern(cls, campaign: Campaign, suffix: str = "") -> Dialect:
        """``<question><suffix>_<answer>``, as in all releases after GZ2."""
        stems: dict[str, str] = {}
        heads: dict[str, str] = {}
        for question in campaign.questions:
            name, answers = campaign.own_words(question)
            heads[question.name] = name + suffix
            stems |= {t: f"{name}{suffix}_{a}" for t, a in zip(question.targets, answers, strict=True)}
        return cls(campaign, stems, heads)

    @classmethod
    def raw_gz2(cls) -> Dialect:
        """``t01_smooth_or_features_a01_smooth_count``, as in GZ2's own tables."""
        stems: dict[str, str] = {}
        heads: dict[str, str] = {}
        for question in CAMPAIGNS["gz2"].questions:
            task, answers = GZ2_STEMS[question.name]
            heads[question.name] = task
            stems |= {t: f"{task}_{a}" for t, a in zip(question.targets, answers.split(), strict=True)}
        return cls(CAMPAIGNS["gz2"], stems, heads, "_count")

    @cached_property
    def columns(self) -> frozenset[str]:
        """The names of all raw fraction columns."""
        return frozenset(f"{stem}_fraction" for stem in self.stems.values())

    def release_column(self, column: str) -> str:
        """The release's own name of a fraction column of the catalog (``bar_yes_debiased``)."""
        for target, stem in self.stems.items():
            if column.startswith(f"{target}_"):
                return stem + column[len(target) :]
        raise SommelierError(f"{column!r} is no fraction column of {self.campaign.title}.")


def _pick(*names: str) -> tuple[Question, ...]:
    return tuple(_COMMON[name] for name in names)


def _decals(name: str, title: str, bulge: str, bars: str | None, merging: str, rounded: str, counts: str) -> Campaign:
    """GZ DECaLS: its trees differ in bars, bulges, arm counts and mergers."""
    bar = Question(f"bar-{name}", tuple(bars.split()), FACE_ON) if bars else _COMMON["bar"]
    arms = Question(f"spiral-arm-count-{name}", tuple(counts.split()), SPIRAL) if counts else None
    questions = (
        *_pick("smooth-or-featured", "disk-edge-on", "has-spiral-arms"),
        bar,
        Question(f"bulge-size-{name}", tuple(bulge.split()), FACE_ON),
        *_pick("how-rounded", "bulge-shape", "spiral-winding"),
        arms or _COMMON["spiral-arm-count"],
        Question(f"merging-{name}", tuple(merging.split()), unless=ARTIFACT),
    )
    words = {
        "how-rounded": ("how-rounded", (rounded, "in-between", "cigar-shaped")),
        "bulge-shape": ("edge-on-bulge", ("rounded", "boxy", "none")),
    }
    return Campaign(name, "decals", title, questions, words)


_GZD5 = (
    "dominant large moderate small none", "strong weak no",
    "none minor-disturbance major-disturbance merger", "round", "",
)  # fmt: skip
CAMPAIGNS = {
    campaign.name: campaign
    for campaign in (
        Campaign("gz2", "sdss", "Galaxy Zoo 2", (*GZ2_TREE[:7], ODD_FEATURE, *GZ2_TREE[7:])),
        Campaign("ukidss", "ukidss", "Galaxy Zoo UKIDSS", GZ2_TREE),
        _decals(
            "dr12", "Galaxy Zoo DECaLS 1 and 2", "dominant obvious none", None,
            "neither tidal-debris both merger", "completely", "1 2 3 4 more-than-4",
        ),
        _decals("dr5", "Galaxy Zoo DECaLS 5", *_GZD5),
        _decals("dr8", "Galaxy Zoo DESI, DR8", *_GZD5),
    )
}  # fmt: skip


def find_campaign(name: str) -> Campaign:
    """
    A campaign by its name in Galaxy Zoo's files.

    Raises
    ------
    SommelierError
        For an unknown one, with those there are.
    """
    if name not in CAMPAIGNS:
        known = "; ".join(f"{each.name} is {each.title}" for each in CAMPAIGNS.values())
        raise SommelierError(f"the campaign {name!r} is not known: {known}. {did_you_mean(name, CAMPAIGNS)}")
    return CAMPAIGNS[name]


@dataclass(frozen=True)
class Crossing:
    """
    A named map from one campaign's question to another's, where there is no exact one.

    Parameters
    ----------
    name : str
        The question that it starts from.
    target : Question
        The question that it makes.
    answers : mapping of str to tuple of str
        The answers whose votes add up to each of the target's; an answer that is not there stays missing.
    reason : str
        Why it may be done.
    loss : str
        What is lost or not comparable.
    """

    name: str
    target: Question
    answers: Mapping[str, tuple[str, ...]]
    reason: str
    loss: str


_BARS = {"yes": ("strong", "weak"), "no": ("no",)}
_BAR_REASON = "a bar is strong or weak in GZD-5 and simply a bar in GZ2: the votes for both add up"
_BAR_LOSS = "how strong the bar is; three answers also invite more votes for a weak bar than two do"
CROSSINGS = {
    crossing.name: crossing
    for crossing in (
        Crossing("bar-dr5", _COMMON["bar"], _BARS, _BAR_REASON, _BAR_LOSS),
        Crossing("bar-dr8", _COMMON["bar"], _BARS, _BAR_REASON, _BAR_LOSS),
        Crossing(
            "bulge-size-dr12",
            _COMMON["bulge-size"],
            {"no": ("none",), "obvious": ("obvious",), "dominant": ("dominant",)},
            "three of GZ2's four sizes have a counterpart of the same meaning in GZD-1/2",
            "GZ2's just-noticeable was not offered: its share went to the other answers, so all fractions are shifted",
        ),
        Crossing(
            "spiral-arm-count-dr12",
            _COMMON["spiral-arm-count"],
            {count: (count,) for count in ("1", "2", "3", "4", "more-than-4")},
            "the counts are the same",
            "GZ2's cant-tell was not offered: its share went to the counts, so all fractions are shifted",
        ),
    )
}
# pairs that look alike and are not: asked for by name, the reason is the answer
NO_CROSSING = {
    "bulge-size-dr5": "its five sizes have no exact counterpart among GZ2's four, and are not forced into them",
    "bulge-size-dr8": "its five sizes have no exact counterpart among GZ2's four, and are not forced into them",
    "merging-dr12": "GZ2 did not ask about merging; the merger of its odd features is one of seven",
    "merging-dr5": "GZ2 did not ask about merging, and GZD-1/2 asked about it in other words",
    "merging-dr8": "GZ2 did not ask about merging, and GZD-1/2 asked about it in other words",
    "odd-feature-gz2": "no other campaign asked which odd feature it is",
}


def find_crossing(name: str) -> Crossing:
    """
    A crossing by the question that it starts from.

    Raises
    ------
    SommelierError
        Where there is none, with the reason.
    """
    if name in NO_CROSSING:
        raise SommelierError(f"{name!r} cannot be crossed to GZ2's tree: {NO_CROSSING[name]}.")
    if name not in CROSSINGS:
        raise SommelierError(f"there is no crossing of {name!r}. {did_you_mean(name, CROSSINGS)}")
    return CROSSINGS[name]


def shared_questions(*campaigns: Campaign) -> tuple[Question, ...]:
    """The questions that several campaigns ask with the same answers."""
    first, *others = campaigns
    return tuple(q for q in first.questions if all(q in campaign.questions for campaign in others))


def best_dialect(columns: Iterable[str], dialects: Iterable[Dialect]) -> tuple[Dialect | None, int]:
    """The dialect that most of the columns belong to, the first of equals, and how many do."""
    present = set(columns)
    scores = [(len(dialect.columns & present), dialect) for dialect in dialects]
    most = max((score for score, _ in scores), default=0)
    return (next(dialect for score, dialect in scores if score == most) if most else None), most
