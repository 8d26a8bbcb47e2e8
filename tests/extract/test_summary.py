"""What a catalog holds: every figure by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from embeddings.questions import Question
from extract.catalog import Catalog
from extract.schema import CAMPAIGNS, CROSSINGS, MAP_VERSION
from extract.summary import describe_crossings, summarise_catalog

NAN = np.nan
SMOOTH = Question("smooth-or-featured", ("smooth", "featured-or-disk", "artifact"))
EDGE = Question("disk-edge-on", ("yes", "no"), "smooth-or-featured_featured-or-disk")
ODD = Question("something-odd", ("yes", "no"), unless="smooth-or-featured_artifact")
SIZE = Question("size", kind="value")
TREE = (SMOOTH, EDGE, ODD, SIZE)

# votes for smooth, featured, artifact; edge-on yes, no; odd yes, no
VOTES = [[(5, 4, 1), (1, 3), (3, 6)], [(20, 0, 0), (0, 0), (0, 20)], [(0, 8, 0), (3, 3), (4, 4)]]
UNASKED = [(0, 0, 0), (0, 0), (0, 0)]


def make(root: Path, votes: Any = VOTES, **columns: Any) -> Catalog:
    n = len(votes)
    core = {"id_str": [f"g{row}" for row in range(n)], "survey": ["sdss", "decals", "sdss", "sdss"][:n]}
    core |= {"ra": [10.0, NAN, 30.0, 40.0][:n], "dec": [1.0, 2.0, NAN, 4.0][:n]}
    frame = pd.DataFrame(core | {"image": [f"g{row}.png" for row in range(n)]})
    for index, question in enumerate((SMOOTH, EDGE, ODD)):
        counts = np.array([row[index] for row in votes])
        total = counts.sum(axis=1)
        frame[question.total_column] = total
        for target, count in zip(question.targets, counts.T, strict=True):
            frame[target] = count
            frame[f"{target}_fraction"] = np.divide(count, total, out=np.full(n, NAN), where=total > 0)
    frame["size"] = [1.5, NAN, 2.5, 3.5][:n]
    return Catalog(frame.assign(**columns), TREE, str(root), ("a note", "another"))


def questions_of(catalog: Catalog) -> dict[str, dict[str, Any]]:
    return {record["name"]: record for record in summarise_catalog(catalog)["questions"]}


def test_a_summary(tmp_path: Path) -> None:
    (tmp_path / "g1.png").touch()
    catalog = make(tmp_path, redshift=[0.1, 0.2, 0.3], flag=["x", None, "y"])
    summary = summarise_catalog(catalog)
    assert list(summary) == [
        *("rows", "surveys", "image_root", "images", "missing_images", "positions", "questions", "notes"),
        "other_columns",
    ]
    assert summary["rows"] == 3
    assert summary["surveys"] == ["decals", "sdss"]
    assert summary["image_root"] == str(tmp_path)
    assert summary["images"] == 1
    assert summary["missing_images"] == {"count": 2, "first": [str(tmp_path / "g0.png"), str(tmp_path / "g2.png")]}
    assert summary["positions"] == 1  # of the others one has no ra, one no dec
    assert summary["notes"] == ["a note", "another"]
    assert summary["other_columns"] == ["redshift", "flag"]


def test_figures_of_questions(tmp_path: Path) -> None:
    assert summarise_catalog(make(tmp_path))["questions"] == [
        SMOOTH.to_dict()
        | {
            "asked": 3,
            "mean_votes": 12.6667,  # (10 + 20 + 8) / 3
            "share_reached": 1.0,
            "share_expected": 1.0,
        },
        EDGE.to_dict()
        | {
            "asked": 2,
            "mean_votes": 3.3333,  # (4 + 0 + 6) / 3
            "share_reached": 0.3833,  # (4 / 10 + 0 / 20 + 6 / 8) / 3
            "share_expected": 0.4667,  # (0.4 + 0 + 1) / 3: two of the 8 left
        },
        ODD.to_dict()
        | {
            "asked": 3,
            "mean_votes": 12.3333,  # (9 + 20 + 8) / 3
            "share_reached": 0.9667,  # (9 / 10 + 20 / 20 + 8 / 8) / 3
            "share_expected": 0.9667,  # (1 - 0.1 + 1 + 1) / 3
        },
        SIZE.to_dict() | {"asked": 2},
    ]


def test_galaxies_that_nobody_was_asked_about_count_in_no_share(tmp_path: Path) -> None:
    """In a file of several campaigns that is most of them; the two shares stand beside each other."""
    some, all_of_them = questions_of(make(tmp_path, [*VOTES, UNASKED])), questions_of(make(tmp_path))
    assert some["disk-edge-on"]["mean_votes"] == 2.5  # (4 + 0 + 6 + 0) / 4
    for name in ("smooth-or-featured", "disk-edge-on", "something-odd"):
        assert some[name]["asked"] == all_of_them[name]["asked"]
        for share in ("share_reached", "share_expected"):
            assert some[name][share] == all_of_them[name][share]


def test_nobody_asked_at_all(tmp_path: Path) -> None:
    records = questions_of(make(tmp_path, [UNASKED, UNASKED]))
    assert records["disk-edge-on"]["asked"] == 0
    assert records["disk-edge-on"]["mean_votes"] == 0
    assert records["disk-edge-on"]["share_reached"] is None


def test_without_vote_counts(tmp_path: Path) -> None:
    """Kaggle has none: the tree alone says how many are expected."""
    catalog = make(tmp_path)
    totals = [question.total_column for question in (SMOOTH, EDGE, ODD)]
    records = questions_of(replace(catalog, frame=catalog.frame.drop(columns=totals)))
    assert records["disk-edge-on"] == EDGE.to_dict() | {"asked": 2, "share_expected": 0.4667}
    # and without the total of the question that everybody is asked, nobody knows the share
    records = questions_of(replace(catalog, frame=catalog.frame.drop(columns=totals[:1])))
    assert records["disk-edge-on"] == EDGE.to_dict() | {"asked": 2, "mean_votes": 3.3333, "share_expected": 0.4667}


def test_raw_fractions_lead_through_the_tree(tmp_path: Path) -> None:
    """Debiased labels are shares of nobody."""
    catalog = make(tmp_path)
    frame, questions = catalog.frame.copy(), [replace(q, fractions="debiased") for q in (SMOOTH, EDGE)]
    for question in questions:
        for target in question.targets:
            frame[f"{target}_raw_fraction"] = frame[f"{target}_fraction"]
            frame[f"{target}_fraction"] = frame[f"{target}_fraction"] / 2
    summary = summarise_catalog(replace(catalog, frame=frame, questions=tuple(questions)))
    assert summary["questions"][1]["share_expected"] == 0.4667
    assert summary["questions"][1]["fractions"] == "debiased"
    assert not [name for name in summary["other_columns"] if "raw_fraction" in name]


def test_a_question_whose_way_is_not_there(tmp_path: Path) -> None:
    catalog = replace(make(tmp_path), questions=(EDGE,))
    assert summarise_catalog(catalog)["questions"] == [EDGE.to_dict() | {"asked": 2, "mean_votes": 3.3333}]
    assert "smooth-or-featured_smooth" in summarise_catalog(catalog)["other_columns"]


def test_columns_beside_a_label_are_no_other_columns(tmp_path: Path) -> None:
    catalog = make(tmp_path, **{"disk-edge-on_yes_debiased": 0.1, "disk-edge-on_yes_flag": 1, "disk-edge-on_note": "x"})
    assert summarise_catalog(catalog)["other_columns"] == ["disk-edge-on_note"]


def test_a_column_that_begins_like_a_label(tmp_path: Path) -> None:
    catalog = make(tmp_path, disk_fraction=[0, 1, 1], disk_radius=[1.5, 2.5, 3.5], size_error=0.1)
    catalog = replace(catalog, questions=(*TREE, Question("disk")))
    assert summarise_catalog(catalog)["other_columns"] == ["disk_radius", "size_error"]


def test_no_more_than_three_missing_images_are_shown(tmp_path: Path) -> None:
    missing = summarise_catalog(make(tmp_path, [*VOTES, UNASKED]))["missing_images"]
    assert (missing["count"], len(missing["first"])) == (4, 3)


def test_json_holds_it_and_the_disk_changes_nothing(tmp_path: Path) -> None:
    catalog = make(tmp_path, [*VOTES, UNASKED], n=pd.array([1, None, 3, 4], "Int64"))
    summary = summarise_catalog(catalog)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    again = Catalog.read(catalog.write(tmp_path / "c.parquet"))
    assert summarise_catalog(again) == summary


# crossings


def test_crossings_as_json() -> None:
    record = describe_crossings()
    assert json.loads(json.dumps(record)) == record
    assert record["version"] == MAP_VERSION
    assert set(record["maps"]) == set(CROSSINGS)
    assert record["maps"]["bar-dr5"]["target"] == "bar"
    assert record["maps"]["bar-dr5"]["answers"] == {"yes": ["strong", "weak"], "no": ["no"]}
    assert "how strong the bar is" in record["maps"]["bar-dr5"]["loss"]
    assert "GZ2 did not ask about merging" in record["none"]["merging-dr5"]


@pytest.mark.parametrize("campaign", CAMPAIGNS)
def test_every_question_of_its_own_has_a_crossing_or_a_reason(campaign: str) -> None:
    """Each map starts at answers that the campaign has, and ends at answers of GZ2's."""
    record, gz2 = describe_crossings(), {q.name: q for q in CAMPAIGNS["gz2"].questions}
    own = {q.name: q for q in CAMPAIGNS[campaign].questions if q.name.endswith(f"-{campaign}")}
    assert set(own) <= {*record["maps"], *record["none"]}
    assert not {*record["maps"]} & {*record["none"]}
    for name in own.keys() & record["maps"].keys():
        crossing = record["maps"][name]
        assert set(crossing["answers"]) <= set(gz2[crossing["target"]].answers)
        taken = [part for parts in crossing["answers"].values() for part in parts]
        assert sorted(taken) == sorted(own[name].answers)
        assert crossing["reason"]
        assert crossing["loss"]
