import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import SommelierError
from embeddings.questions import (
    Question,
    expected_shares,
    list_targets,
    merge_questions,
    select_questions,
    target_kinds,
)

SMOOTH = Question("smooth-or-featured", ("smooth", "featured-or-disk", "artifact"))
EDGE = Question("disk-edge-on", ("yes", "no"), "smooth-or-featured_featured-or-disk")
ODD = Question("odd")
SOMETHING_ODD = Question("something-odd", ("yes", "no"), unless="smooth-or-featured_artifact")
REDSHIFT = Question("redshift", kind="value")
TREE = (SMOOTH, EDGE, ODD, REDSHIFT)


def test_columns_of_a_question_with_answers() -> None:
    assert EDGE.targets == ("disk-edge-on_yes", "disk-edge-on_no")
    assert EDGE.target_columns == ("disk-edge-on_yes_fraction", "disk-edge-on_no_fraction")
    assert EDGE.vote_columns == ("disk-edge-on_yes", "disk-edge-on_no")
    assert EDGE.total_column == "disk-edge-on_total-votes"


def test_columns_of_a_single_fraction() -> None:
    assert ODD.targets == ("odd",)
    assert ODD.target_columns == ("odd_fraction",)
    assert ODD.vote_columns == ()


def test_columns_of_a_value() -> None:
    assert REDSHIFT.targets == REDSHIFT.target_columns == ("redshift",)
    assert REDSHIFT.vote_columns == ()


def test_bad_questions_are_refused() -> None:
    with pytest.raises(SommelierError, match="'odd': kind is 'fraction' or 'value', not 'text'"):
        Question("odd", kind="text")  # type: ignore[arg-type]
    with pytest.raises(SommelierError, match="'redshift': a value has no answers"):
        Question("redshift", ("a",), kind="value")
    with pytest.raises(SommelierError, match="'odd': fractions are raw, weighted, debiased, not 'cooked'"):
        Question("odd", fractions="cooked")  # type: ignore[arg-type]


def test_json_and_back() -> None:
    record = {"name": "disk-edge-on", "answers": ["yes", "no"], "kind": "fraction"}
    record |= {"parent": "smooth-or-featured_featured-or-disk"}
    assert EDGE.to_dict() == record
    for question in TREE:
        assert Question.from_dict(json.loads(json.dumps(question.to_dict()))) == question


def test_a_record_says_who_is_not_asked_and_what_fractions_are() -> None:
    """Only where they say something: the records of plain questions are those of format 1.0."""
    assert SOMETHING_ODD.to_dict() == {
        **{"name": "something-odd", "answers": ["yes", "no"], "parent": None, "kind": "fraction"},
        "unless": "smooth-or-featured_artifact",
    }
    debiased = replace(EDGE, fractions="debiased")
    assert debiased.to_dict() == EDGE.to_dict() | {"fractions": "debiased"}
    both = replace(SOMETHING_ODD, fractions="weighted")
    assert list(both.to_dict()) == ["name", "answers", "parent", "kind", "unless", "fractions"]
    for question in (SOMETHING_ODD, debiased, both):
        assert Question.from_dict(json.loads(json.dumps(question.to_dict()))) == question
    for question in TREE:
        assert list(question.to_dict()) == ["name", "answers", "parent", "kind"]
    assert len({EDGE, debiased, SOMETHING_ODD, both}) == 4


def test_records_of_the_first_format_are_read() -> None:
    record = '{"name": "bar", "answers": ["yes", "no"], "parent": "disk-edge-on_no", "kind": "fraction"}'
    question = Question.from_dict(json.loads(record))
    assert question == Question("bar", ("yes", "no"), "disk-edge-on_no")
    assert (question.unless, question.fractions) == (None, "raw")


def test_targets_and_kinds_line_up() -> None:
    assert list_targets(TREE)[3:] == ["disk-edge-on_yes", "disk-edge-on_no", "odd", "redshift"]
    assert target_kinds(TREE) == ["fraction"] * 6 + ["value"]


def test_select_keeps_matching_answers_in_order() -> None:
    assert select_questions(TREE, []) == TREE
    assert select_questions(TREE, ["red*", "*_no", "smooth-or-featured_s*"]) == (
        Question("smooth-or-featured", ("smooth",)),
        Question("disk-edge-on", ("no",), "smooth-or-featured_featured-or-disk"),
        REDSHIFT,
    )
    assert select_questions([ODD, Question("ODD")], ["odd"]) == (ODD,)  # names are compared with case


def test_select_names_what_it_does_not_find() -> None:
    with pytest.raises(SommelierError, match=r"no target matches 'disk-edge-on_ye'.*'disk-edge-on_yes'"):
        select_questions(TREE, ["odd", "disk-edge-on_ye"])
    with pytest.raises(SommelierError, match="no target matches 'ODD'"):
        select_questions(TREE, ["ODD"])


def test_merge_is_a_union_in_order() -> None:
    assert merge_questions() == ()
    assert merge_questions([EDGE, ODD], [SMOOTH, EDGE]) == (EDGE, ODD, SMOOTH)


def test_merge_refuses_two_meanings() -> None:
    with pytest.raises(SommelierError, match="'odd' is defined in two ways"):
        merge_questions([ODD], [Question("odd", kind="value")])


def test_merge_refuses_raw_beside_debiased() -> None:
    """They are different numbers under one name."""
    debiased = replace(EDGE, fractions="debiased")
    assert merge_questions([debiased], [debiased]) == (debiased,)
    with pytest.raises(SommelierError, match="'disk-edge-on' is defined in two ways") as caught:
        merge_questions([SMOOTH, EDGE], [debiased])
    assert "'fractions': 'debiased'" in str(caught.value)
    with pytest.raises(SommelierError, match="'something-odd' is defined in two ways"):
        merge_questions([SOMETHING_ODD], [replace(SOMETHING_ODD, unless=None)])


def test_select_keeps_what_a_question_is() -> None:
    question = replace(SOMETHING_ODD, fractions="debiased")
    (selected,) = select_questions([question], ["*_yes"])
    assert selected == Question("something-odd", ("yes",), unless="smooth-or-featured_artifact", fractions="debiased")


words = st.text("abcdefghij-_", min_size=1, max_size=8)
trees = st.lists(
    st.builds(Question, words, st.lists(words, unique=True, max_size=4).map(tuple)), unique_by=lambda q: q.name
)


@given(trees, st.data())
def test_select_by_full_names_gives_exactly_these(questions: list[Question], data: st.DataObject) -> None:
    known = sorted(set(list_targets(questions)))
    wanted = data.draw(st.lists(st.sampled_from(known), min_size=1)) if known else []
    expected = [target for target in list_targets(questions) if not wanted or target in wanted]
    assert list_targets(select_questions(questions, wanted)) == expected


# the way through the tree


FACE_ON, SPIRAL = "disk-edge-on_no", "has-spiral-arms_yes"
GZ2 = (  # Willett+ 2013, figure 1
    SMOOTH,
    EDGE,
    Question("bar", ("yes", "no"), FACE_ON),
    Question("has-spiral-arms", ("yes", "no"), FACE_ON),
    Question("bulge-size", ("no", "just-noticeable", "obvious", "dominant"), FACE_ON),
    SOMETHING_ODD,
    Question("odd-feature", ("ring", "lens"), "something-odd_yes"),
    Question("how-rounded", ("round", "in-between", "cigar"), "smooth-or-featured_smooth"),
    Question("bulge-shape", ("round", "boxy", "no-bulge"), "disk-edge-on_yes"),
    Question("spiral-winding", ("tight", "medium", "loose"), SPIRAL),
)
NAN = np.nan
# three galaxies: a face-on spiral, one that is smooth for everybody, one that nobody saw
FRACTIONS = {
    "smooth-or-featured_smooth": [0.125, 1, NAN],
    "smooth-or-featured_featured-or-disk": [0.75, 0, NAN],
    "smooth-or-featured_artifact": [0.125, 0, NAN],
    "disk-edge-on_yes": [0.25, NAN, NAN],
    "disk-edge-on_no": [0.75, NAN, NAN],
    "has-spiral-arms_yes": [0.5, NAN, NAN],
    "something-odd_yes": [0.25, 0.5, NAN],
}


def fraction_of(galaxies: slice = slice(2), dtype: str = "float32") -> Callable[[str], np.ndarray]:
    n = len(range(3)[galaxies])
    return lambda target: np.array(FRACTIONS.get(target, [NAN] * 3)[galaxies], dtype).reshape(n)


def test_shares_are_products_along_the_way() -> None:
    shares = expected_shares(GZ2, fraction_of())
    by_hand = {
        "smooth-or-featured": [1, 1],
        "disk-edge-on": [0.75, 0],
        "bar": [0.5625, 0],  # 0.75 * 0.75; nobody said disk, so nobody was asked how it is seen
        "has-spiral-arms": [0.5625, 0],
        "bulge-size": [0.5625, 0],
        "something-odd": [0.875, 1],  # all but those who saw an artifact
        "odd-feature": [0.21875, 0.5],  # 0.875 * 0.25
        "how-rounded": [0.125, 1],
        "bulge-shape": [0.1875, 0],  # 0.75 * 0.25
        "spiral-winding": [0.28125, 0],  # 0.75 * 0.75 * 0.5
    }
    assert list(shares) == list(by_hand)
    for name, expected in by_hand.items():
        assert shares[name].dtype == np.float64
        np.testing.assert_array_equal(shares[name], expected, err_msg=name)


def test_shares_do_not_depend_on_the_order_of_questions(rng: np.random.Generator) -> None:
    shares = expected_shares(GZ2, fraction_of())
    for _ in range(10):
        shuffled = [GZ2[i] for i in rng.permutation(len(GZ2))]
        again = expected_shares(shuffled, fraction_of())
        assert list(again) == [question.name for question in shuffled]
        for name, values in again.items():
            np.testing.assert_array_equal(values, shares[name])


def test_where_a_question_on_the_way_was_not_asked_nobody_is_expected() -> None:
    shares = expected_shares(GZ2, fraction_of(slice(2, 3)))
    for name in ("disk-edge-on", "bar", "how-rounded", "spiral-winding", "odd-feature"):
        assert shares[name].tolist() == [0], name


def test_where_nobody_was_asked_nobody_goes_on() -> None:
    assert expected_shares(GZ2, fraction_of(slice(2, 3)))["something-odd"].tolist() == [0]


def test_a_question_whose_way_is_not_known_is_left_out() -> None:
    without = [question for question in GZ2 if question.name != "disk-edge-on"]
    assert set(expected_shares(without, fraction_of())) == {
        *("smooth-or-featured", "something-odd", "odd-feature", "how-rounded")
    }
    assert expected_shares([EDGE, SOMETHING_ODD], fraction_of()) == {}
    assert list(expected_shares([SMOOTH, ODD, REDSHIFT], fraction_of())) == ["smooth-or-featured"]
    fewer = replace(SMOOTH, answers=("smooth",))  # an answer that was not selected leads nowhere
    assert list(expected_shares([fewer, EDGE], fraction_of())) == ["smooth-or-featured"]
    assert expected_shares([], fraction_of()) == {}


def test_questions_that_lead_to_each_other() -> None:
    a, b = Question("a", ("x",), "b_x"), Question("b", ("x",), "a_x")
    with pytest.raises(SommelierError, match="the questions a, b lead to each other"):
        expected_shares([SMOOTH, a, b], fraction_of())
    with pytest.raises(SommelierError, match="the questions a lead to each other"):
        expected_shares([Question("a", ("x",), "a_x")], fraction_of())
    with pytest.raises(SommelierError, match="the questions a, b lead to each other"):
        expected_shares([replace(a, parent=None, unless="b_x"), b], fraction_of())
    with pytest.raises(SommelierError, match="the questions a, b, c lead to each other"):
        expected_shares([Question("c", ("x",), "b_x"), b, a], fraction_of())
