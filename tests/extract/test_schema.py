"""The trees against FACTS and against the column names of real releases."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from embeddings.errors import SommelierError
from embeddings.questions import list_targets, merge_questions
from extract.schema import (
    CAMPAIGNS,
    CROSSINGS,
    GZ2_TREE,
    NO_CROSSING,
    Dialect,
    best_dialect,
    find_campaign,
    find_crossing,
    shared_questions,
)
from extract.study import STUDY_LISTS, find_questions, study_columns

# how many label columns Galaxy Zoo's own metadata has for each; raw GZ2 has seven odd features more
LABELS = {"gz2": 30 + 7, "ukidss": 30, "dr12": 30, "dr5": 34, "dr8": 34}
DR12, DR5 = Dialect.modern(CAMPAIGNS["dr12"]), Dialect.modern(CAMPAIGNS["dr5"])
RAW, UKIDSS = Dialect.raw_gz2(), Dialect.modern(CAMPAIGNS["ukidss"], "-ukidss")


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_as_many_answers_as_galaxy_zoo_has(name: str) -> None:
    targets = list_targets(CAMPAIGNS[name].questions)
    assert len(targets) == len(set(targets)) == LABELS[name]


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_every_parent_is_an_answer_of_an_earlier_question(name: str) -> None:
    seen: set[str] = set()
    for question in CAMPAIGNS[name].questions:
        assert {step for step in (question.parent, question.unless) if step} <= seen
        seen |= set(question.targets)


def test_gz2_and_ukidss_share_30_answers() -> None:
    shared = shared_questions(CAMPAIGNS["gz2"], CAMPAIGNS["ukidss"])
    assert len(list_targets(shared)) == 30
    assert shared == GZ2_TREE


def test_questions_keep_their_campaign_unless_all_answers_map() -> None:
    names = {name: {question.name for question in campaign.questions} for name, campaign in CAMPAIGNS.items()}
    assert names["dr12"] - names["gz2"] == {"bulge-size-dr12", "spiral-arm-count-dr12", "merging-dr12"}
    assert names["dr5"] - names["gz2"] == {"bar-dr5", "bulge-size-dr5", "merging-dr5"}
    assert names["dr8"] - names["gz2"] == {"bar-dr8", "bulge-size-dr8", "merging-dr8"}
    assert names["gz2"] - names["ukidss"] == {"odd-feature-gz2"}


def test_all_campaigns_go_into_one_store_side_by_side() -> None:
    merged = merge_questions(*(campaign.questions for campaign in CAMPAIGNS.values()))  # no name means two things
    assert len(merged) == 11 + 3 + 3 + 3


def test_gz2s_words_win() -> None:
    assert DR12.stems["how-rounded_round"] == "how-rounded_completely"
    assert DR12.stems["how-rounded_cigar"] == "how-rounded_cigar-shaped"
    assert DR12.stems["bulge-shape_no-bulge"] == DR5.stems["bulge-shape_no-bulge"] == "edge-on-bulge_none"
    assert DR5.stems["how-rounded_round"] == "how-rounded_round"
    assert DR12.heads["bulge-size-dr12"] == "bulge-size"
    assert UKIDSS.stems["how-rounded_cigar"] == "how-rounded-ukidss_cigar"
    assert RAW.stems["bulge-shape_no-bulge"] == "t09_bulge_shape_a27_no_bulge"
    assert RAW.stems["odd-feature-gz2_dust-lane"] == "t08_odd_feature_a38_dust_lane"


def test_crossings_name_answers_that_exist() -> None:
    questions = {q.name: q for campaign in CAMPAIGNS.values() for q in campaign.questions}
    for name, crossing in CROSSINGS.items():
        assert set(crossing.answers) <= set(crossing.target.answers)
        assert {part for parts in crossing.answers.values() for part in parts} <= set(questions[name].answers)
        assert crossing.reason
        assert crossing.loss
    # every question outside GZ2's tree has a crossing or a reason why not, and none has both
    outside = set(questions) - {question.name for question in GZ2_TREE}
    assert outside == set(CROSSINGS) | set(NO_CROSSING)
    assert not set(CROSSINGS) & set(NO_CROSSING)


def test_five_bulge_sizes_are_not_forced_into_four() -> None:
    with pytest.raises(SommelierError, match=r"'bulge-size-dr5' cannot be crossed .* no exact counterpart"):
        find_crossing("bulge-size-dr5")
    with pytest.raises(SommelierError, match=r"no crossing of 'bar-dr6'\. Did you mean 'bar-dr8' or 'bar-dr5'\?"):
        find_crossing("bar-dr6")
    with pytest.raises(SommelierError, match=r"campaign 'gz3' is not known: gz2 is Galaxy Zoo 2; .*Did you mean 'gz2'"):
        find_campaign("gz3")


@pytest.mark.parametrize(
    ("dialect", "table"),
    [
        (RAW, "galaxy_zoo_2/gz2_hart16.csv"),
        (DR12, "galaxy_zoo_decals/gz_decals_volunteers_1_and_2.csv"),
        (DR5, "galaxy_zoo_decals/gz_decals_volunteers_5.csv"),
        (DR5, "galaxy_zoo_decals/gz_decals_auto_posteriors.csv"),
    ],
)
def test_real_tables_have_exactly_these_fractions(dialect: Dialect, table: str, real_data: Path) -> None:
    with (real_data / "gz_native_format_fixtures" / table).open() as stream:
        header = next(csv.reader(stream))
    fractions = {name for name in header if name.endswith("_fraction") and not name.endswith("weighted_fraction")}
    assert fractions == dialect.columns
    assert best_dialect(header, (RAW, UKIDSS, DR12, DR5)) == (dialect, len(dialect.columns))


def test_a_fraction_column_in_the_releases_words() -> None:
    assert RAW.release_column("bar_yes_debiased") == "t03_bar_a06_bar_debiased"
    assert DR12.release_column("how-rounded_round_fraction") == "how-rounded_completely_fraction"
    with pytest.raises(SommelierError, match="no fraction column of Galaxy Zoo UKIDSS"):
        UKIDSS.release_column("merging-dr5_none_fraction")


# the reference study's lists


def test_the_74_are_the_studys_own_in_order(real_data: Path) -> None:
    with np.load(real_data / "gz_labels_and_predictions/sdss_predictions_1000.npz") as study:
        assert list(study_columns("study-74", RAW)) == study["label_columns"].tolist()


def test_the_26_are_the_studys_own_in_every_survey(real_data: Path) -> None:
    with (real_data / "gz_labels_and_predictions/four_survey_feature_mapping.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for dialect, column in ((RAW, "sdss_column"), (DR12, "decals_column"), (UKIDSS, "ukidss_column")):
        assert list(study_columns("study-26", dialect)) == [row[column] for row in rows]


def test_the_11_are_the_studys_own(real_data: Path) -> None:
    with np.load(real_data / "gz_labels_and_predictions/ukidss_predictions_1000.npz") as study:
        assert list(study_columns("study-11", RAW)) == study["label_columns"].tolist()


def test_the_74_are_eleven_questions_twice() -> None:
    found = find_questions(study_columns("study-74", RAW))
    assert len(found) == 2 * 11
    assert sum(len(columns) for _, _, columns in found) == 74
    # FACTS 1.7: the study took the first three columns for smooth, featured and star
    assert [(q.name, ending, columns) for q, ending, columns in found if q.name == "smooth-or-featured"] == [
        ("smooth-or-featured", "fraction", [0, 2, 4]), ("smooth-or-featured", "weighted_fraction", [1, 3, 5]),
    ]  # fmt: skip


@pytest.mark.parametrize("dialect", [RAW, DR12, UKIDSS])
def test_a_question_is_found_where_all_its_answers_are(dialect: Dialect) -> None:
    columns = [f"{stem}_fraction" for stem in dialect.stems.values()]
    found = {question.name: [columns[n] for n in numbers] for question, _, numbers in find_questions(columns)}
    assert found == {
        question.name: [f"{dialect.stems[target]}_fraction" for target in question.targets]
        for question in dialect.campaign.questions
    }
    assert "smooth-or-featured" not in {question.name for question, _, _ in find_questions(columns[1:])}
    targets = list_targets(dialect.campaign.questions)  # this project's own names, without an ending
    assert [question for question, ending, _ in find_questions(targets) if not ending] == [*dialect.campaign.questions]
    assert find_questions(["a", "b"]) == []


def test_the_lists_are_as_long_as_their_names_say() -> None:
    for name, columns in STUDY_LISTS.items():
        assert len(columns) == len(set(columns)) == int(name.removeprefix("study-"))
    assert STUDY_LISTS["study-9"] == STUDY_LISTS["study-26"][:9]
    assert set(STUDY_LISTS["study-26"]) == {name for name in STUDY_LISTS["study-52"] if name.endswith("_fraction")}
    # the mixed model's outputs 18, 23 and 51, as its mapping file has them
    assert study_columns("study-52", DR12)[18] == "bulge-size_none_debiased"
    assert study_columns("study-52", RAW)[23] == "t05_bulge_prominence_a13_dominant_fraction"
    assert study_columns("study-52", DR12)[51] == "spiral-arm-count_more-than-4_fraction"


def test_a_list_that_a_release_cannot_give() -> None:
    with pytest.raises(SommelierError, match="DECaLS 1 and 2 has nothing that answers to 'something-odd_yes'"):
        study_columns("study-11", DR12)
    with pytest.raises(SommelierError, match="nothing that answers to 'bar_yes'"):  # strong and weak are two columns
        study_columns("study-9", DR5)
