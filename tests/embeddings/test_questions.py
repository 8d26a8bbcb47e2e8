import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import SommelierError
from embeddings.questions import Question, list_targets, merge_questions, select_questions, target_kinds

SMOOTH = Question("smooth-or-featured", ("smooth", "featured-or-disk", "artifact"))
EDGE = Question("disk-edge-on", ("yes", "no"), "smooth-or-featured_featured-or-disk")
ODD = Question("odd")
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


def test_json_and_back() -> None:
    record = {"name": "disk-edge-on", "answers": ["yes", "no"], "kind": "fraction"}
    record |= {"parent": "smooth-or-featured_featured-or-disk"}
    assert EDGE.to_dict() == record
    for question in TREE:
        assert Question.from_dict(json.loads(json.dumps(question.to_dict()))) == question


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
