"""COLUMN OP VALUE: what it takes apart, what it lets through, what it refuses."""

from __future__ import annotations

import math
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.errors import SearchError
from embeddings.search.filters import Condition

PYTHON = {"=": operator.eq, "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
          ">": operator.gt, ">=": operator.ge}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "column", "sign", "value", "quoted"),
    [
        ("redshift < 0.1", "redshift", "<", "0.1", False),
        ("redshift<=.1", "redshift", "<=", ".1", False),
        ("smooth-or-featured_smooth_fraction >= 0.8", "smooth-or-featured_smooth_fraction", ">=", "0.8", False),
        ("class = spiral", "class", "=", "spiral", False),
        ("class = 'a < b'", "class", "=", "a < b", True),
        ('class != "it\'s"', "class", "!=", "it's", True),
        ("'odd = name' > 3", "odd = name", ">", "3", False),
        ("my column == 2e-3", "my column", "==", "2e-3", False),
        ("remark = ''", "remark", "=", "", True),
        ("remark = it's", "remark", "=", "it's", False),
    ],
)
def test_conditions_are_taken_apart(text: str, column: str, sign: str, value: str, quoted: bool) -> None:
    assert Condition.parse(text) == Condition(column, sign, value, quoted)


@pytest.mark.parametrize(
    "text",
    ["", "redshift", "< 3", "redshift <", "redshift ~ 3", "__import__('os')", "kind <> x", "z => 3", "kind == = x",
     "kind = 'a' or kind = 'b'", "kind = a and z < 3", "kind = 'a", "kind = 'it''s'"],
)  # fmt: skip
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(SearchError, match=r"is no condition. Write COLUMN OP VALUE"):
        Condition.parse(text)


numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(st.lists(numbers, max_size=20), st.sampled_from(sorted(PYTHON)), st.floats(-1e6, 1e6))
def test_numbers_compare_as_in_python_and_a_missing_one_never_passes(
    values: list[float], sign: str, value: float
) -> None:
    passed = Condition.parse(f"x {sign} {value!r}").test(np.array(values, np.float64), "here")
    assert passed.tolist() == [not math.isnan(x) and PYTHON[sign](x, value) for x in values]


@given(
    st.lists(st.text("abc0", max_size=3), min_size=1, max_size=20),
    st.sampled_from(sorted(PYTHON)),
    st.text("abc0", max_size=3),
)
def test_text_compares_as_in_python(values: list[str], sign: str, value: str) -> None:
    passed = Condition.parse(f"x {sign} '{value}'").test(np.array(values), "here")
    assert passed.tolist() == [(x != "" or value == "") and PYTHON[sign](x, value) for x in values]


def test_missing_text_passes_only_where_it_is_asked_for() -> None:
    values = np.array(["spiral", "", "smooth"])
    passed = {text: Condition.parse(text).test(values, "here").tolist()
              for text in ("class != spiral", "class < z", "class = ''", "class != ''")}  # fmt: skip
    assert passed == {
        "class != spiral": [False, False, True],
        "class < z": [True, False, True],
        "class = ''": [False, True, False],
        "class != ''": [True, False, True],
    }


def test_long_numbers_keep_their_digits() -> None:
    ids = np.array([587722981742084144, 587722981742084145])  # one float64 for both
    assert Condition.parse("objid = 587722981742084145").test(ids, "here").tolist() == [False, True]


@pytest.mark.parametrize("values", [np.array([1, 2]), np.float16([1, 2]), np.float32([1, 2]), np.array([1.0, 2.0])])
@pytest.mark.parametrize("value", ["1e5", "1" + "0" * 400, "18446744073709551616", "1e999"])
def test_numbers_beyond_a_column_s_type_are_larger_than_all(values: np.ndarray, value: str) -> None:
    assert Condition.parse(f"x < {value}").test(values, "here").tolist() == [True, True]
    assert Condition.parse(f"x < -{value}").test(values, "here").tolist() == [False, False]


def test_truth_has_its_words() -> None:
    values = np.array([True, False])
    assert Condition.parse("flag = true").test(values, "here").tolist() == [True, False]
    assert Condition.parse("flag != 1").test(values, "here").tolist() == [False, True]


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("class < 3", ["a", "b"], "class is text in spiral.h5, 3 a number.*put it in quotes"),
        ("class = 1e3", ["a", "b"], "class is text"),
        ("mag = bright", [1.0, 2.0], "mag holds numbers in spiral.h5, 'bright' is text"),
        ("mag = '3'", [1.0, 2.0], "mag holds numbers"),
    ],
)
def test_text_is_not_compared_with_numbers(text: str, values: list[object], message: str) -> None:
    with pytest.raises(SearchError, match=message):
        Condition.parse(text).test(np.array(values), "spiral.h5")
