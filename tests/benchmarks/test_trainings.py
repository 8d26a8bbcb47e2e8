"""Training sets drawn from surveys that are written down by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.suite import Suite
from benchmarks.trainings import count_objects, draw_training, find_choosers, gather
from embeddings.errors import SommelierError
from tests.benchmarks.tables import make_suite, make_table

MANY = 400
# the first hundred rows of b are objects 300 to 399 of a
A = make_table("a", range(MANY), "t" * MANY)
B = make_table("b", range(300, 300 + MANY), "t" * MANY)
WIDE = {"a": A, "b": B}


def drawn(suite: Suite, name: str, seed: int = 0, tables: dict = WIDE, budget: int = 0) -> dict[str, set[int]]:
    """The sky objects of each survey."""
    rows = draw_training(tables, suite, name, seed, budget)
    return {survey: set(tables[survey].groups[own].tolist()) for survey, own in rows.items()}


def test_all_training_rows_with_a_label_and_no_others() -> None:
    Y = np.full((12, 2), 0.5)
    Y[3], Y[4, 0] = np.nan, np.nan  # the fourth has no label at all, the fifth one of two
    table = make_table("a", range(12), "tttttttttxvx", Y=Y)
    rows = draw_training({"a": table}, make_suite(), "a", 0)
    assert rows["a"].tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    assert find_choosers({"a": table}, make_suite().trainings["a"])["a"].tolist() == [10]


def test_a_seed_draws_a_share_and_keeps_paired_galaxies_paired() -> None:
    suite = make_suite(seeds={"redraw": 0.8})
    one = drawn(suite, "ab", 0)
    for survey, n in (("a", MANY), ("b", MANY)):
        assert abs(len(one[survey]) - 0.8 * n) < 4 * np.sqrt(n * 0.8 * 0.2)  # binomial, four sigma
    both = set(range(300, 400))
    assert one["a"] & both == one["b"] & both  # who is drawn is drawn wherever it was seen
    assert drawn(suite, "a", 0)["a"] == one["a"]  # and in every training set
    assert drawn(suite, "ab", 0) == one
    other = drawn(suite, "ab", 1)
    assert other["a"] != one["a"]
    shared = len(one["a"] & other["a"]) / len(one["a"])
    assert abs(shared - 0.8) < 0.1  # independent draws share 0.8 of theirs


def test_all_objects_are_drawn_with_a_share_of_one() -> None:
    assert drawn(make_suite(), "a", 0) == drawn(make_suite(), "a", 5) == {"a": set(range(MANY))}


def test_equal_balance_takes_as_many_rows_of_each_survey_as_the_smallest_has() -> None:
    tables = {"a": make_table("a", range(30), "t" * 30), "b": make_table("b", range(20, 32), "t" * 10 + "vx")}
    suite = make_suite(trainings={"ab": {"surveys": ["a", "b"], "balance": "equal"}})
    rows = draw_training(tables, suite, "ab", 0)
    assert [len(own) for own in rows.values()] == [10, 10]
    assert rows["b"].tolist() == [*range(10)]
    assert len(set(rows["a"].tolist())) == 10
    assert draw_training(tables, suite, "ab", 1)["a"].tolist() != rows["a"].tolist()


def test_overlap_takes_those_that_both_saw_first_and_fills_up() -> None:
    # b has ten training rows: objects 5 to 14; of a's those are rows 5 to 9, and five of the other fifteen fill up
    a = make_table("a", [*range(10), *range(100, 110)], "t" * 20)
    b = make_table("b", range(5, 15), "t" * 10)
    suite = make_suite(trainings={"o": {"surveys": ["a", "b"], "select": "overlap"}})
    rows = draw_training({"a": a, "b": b}, suite, "o", 0)
    assert len(rows["a"]) == 10
    assert {5, 6, 7, 8, 9} <= set(rows["a"].tolist())
    assert rows["b"].tolist() == [*range(10)]


def test_most_votes_are_those_of_the_first_question_or_as_the_study_had_it_of_all() -> None:
    n = 12
    totals = np.stack([np.arange(n), np.zeros(n)], axis=1)  # the last rows have most votes on the first question
    totals[0] = np.nan  # not known is none
    votes = np.stack([np.zeros(n), np.arange(n)[::-1]], axis=1)  # the first ones most of all questions together
    tables = {
        "a": make_table("a", range(n), "t" * n, totals=totals, votes=votes),
        "b": make_table("b", range(50, 58), "t" * 8),
    }
    trainings = {"m": {"surveys": ["a", "b"], "select": "most-votes"}}
    sound, published = make_suite(trainings=trainings), make_suite(trainings=trainings, protocol="published")
    assert draw_training(tables, sound, "m", 0)["a"].tolist() == [4, 5, 6, 7, 8, 9, 10, 11]
    assert draw_training(tables, published, "m", 0)["a"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    unknown = tables | {"a": make_table("a", range(n), "t" * n, totals=np.full((n, 2), np.nan))}
    with pytest.raises(
        SommelierError, match="galaxies of a that have most votes, and it has no votes: take select: all"
    ):
        draw_training(unknown, sound, "m", 0)


@pytest.mark.parametrize("budget", [8, 101, 400, 700])
def test_a_budget_has_as_many_objects_as_asked_each_once(budget: int) -> None:
    rows = draw_training(WIDE, make_suite(), "ab", 3, budget)
    groups = gather(rows, WIDE, "groups")
    assert len(groups) == len(set(groups.tolist())) == budget
    # surveys take turns: each has half, as long as both have objects left that nobody took
    assert budget == 700 or abs(len(rows["a"]) - len(rows["b"])) <= 1


def test_a_budget_is_filled_from_the_survey_that_has_more() -> None:
    tables = {"a": make_table("a", range(30), "t" * 30), "b": make_table("b", range(3), "t" * 3)}
    rows = draw_training(tables, make_suite(), "ab", 0, 20)
    assert count_objects(rows, tables) == sum(map(len, rows.values())) == 20
    assert len(rows["b"]) <= 3


def test_smaller_budgets_of_a_seed_are_among_larger_ones() -> None:
    few, more = (drawn(make_suite(), "a", 2, budget=n)["a"] for n in (50, 100))
    assert few < more
    assert drawn(make_suite(), "a", 3, budget=50)["a"] != few


def test_an_equal_budget_has_as_many_objects_as_the_other_training_set() -> None:
    trainings = {"a": {"surveys": ["a"]}, "even": {"surveys": ["a", "b"], "budget": "a"}}
    suite = make_suite(trainings=trainings, seeds={"redraw": 0.5})
    for seed in (0, 1):
        n = len(drawn(suite, "a", seed)["a"])
        groups = gather(draw_training(WIDE, suite, "even", seed), WIDE, "groups")
        assert len(groups) == len(set(groups.tolist())) == n
    little = {"a": A, "b": make_table("b", range(700, 712), "t" * 12)}
    suite = make_suite(trainings=trainings | {"even": {"surveys": ["b"], "budget": "a"}})
    with pytest.raises(SommelierError, match="has 12 sky objects, fewer than the budget of 400"):
        draw_training(little, suite, "even", 0)


def test_too_large_budgets_and_too_few_galaxies_are_refused() -> None:
    with pytest.raises(SommelierError, match="'a' has 400 sky objects, fewer than the budget of 401"):
        draw_training(WIDE, make_suite(), "a", 0, 401)
    with pytest.raises(SommelierError, match="'a' has 7 galaxies; at least 8"):
        draw_training({"a": make_table("a", range(10), "t" * 7 + "vvx")}, make_suite(), "a", 0)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_training_row_is_ever_on_another_side(data: st.DataObject) -> None:
    tables = {}
    for survey in "ab":
        n = data.draw(st.integers(12, 40))
        parts = "t" * 10 + data.draw(st.text("tvx", min_size=n - 10, max_size=n - 10))
        start = data.draw(st.integers(0, 20))
        tables[survey] = make_table(survey, range(start, start + n), parts)
    rules = {
        "balance": data.draw(st.sampled_from(["natural", "equal"])),
        "select": data.draw(st.sampled_from(["all", "overlap", "most-votes"])),
    }
    suite = make_suite(trainings={"m": {"surveys": ["a", "b"], **rules}})
    budget = data.draw(st.sampled_from([0, 8]))
    rows = draw_training(tables, suite, "m", data.draw(st.integers(0, 9)), budget)
    choosers = find_choosers(tables, suite.trainings["m"])
    for survey, own in rows.items():
        assert set(tables[survey].parts[own]) <= {"train"}
        assert set(tables[survey].parts[choosers[survey]]) <= {"val"}
        assert len(set(own.tolist())) == len(own)
