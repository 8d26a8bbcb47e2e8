"""The rules that make a question of a column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from embeddings.errors import CatalogError
from embeddings.questions import Question
from extract.labels import MAX_CATEGORIES, label_columns

HERE = Path("mine.csv")
NAN = np.nan


def label(values: Any, name: str = "kind", **options: Any) -> tuple[Question, dict[str, Any]]:
    return label_columns(pd.Series(values, **options), name, HERE)


@pytest.mark.parametrize("dtype", [object, "str", "string", "category"])
def test_text_is_a_question_with_one_vote_a_galaxy(dtype: Any) -> None:
    question, columns = label(["spiral", None, "edge-on", "spiral"], dtype=dtype)
    assert question == Question("kind", ("edge-on", "spiral"))
    expected = {
        "kind_total-votes": [1, 0, 1, 1],
        "kind_edge-on": [0, NAN, 1, 0],
        "kind_edge-on_fraction": [0, NAN, 1, 0],
        "kind_spiral": [1, NAN, 0, 1],
        "kind_spiral_fraction": [1, NAN, 0, 1],
    }
    assert set(columns) == set(expected) == {*question.target_columns, *question.vote_columns, question.total_column}
    for name, values in expected.items():
        np.testing.assert_array_equal(columns[name], values, err_msg=name)


def test_blanks_are_missing_and_spaces_do_not_make_categories() -> None:
    """As FITS pads text, and as VOTable and Parquet say nothing."""
    question, columns = label(["round", "", "round  ", "   ", "flat"])
    assert question.answers == ("flat", "round")
    np.testing.assert_array_equal(columns["kind_round"], [1, NAN, 1, NAN, 0])
    np.testing.assert_array_equal(columns["kind_total-votes"], [1, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([True, False, True], bool),
        ([True, False, None], "boolean"),
        ([True, False, None], object),
        ([True, False, NAN], object),
        ([True, False, None], "category"),
        ([1, 0, 1], int),
        ([1, 0, None], "Int64"),
        ([1, 0, NAN], float),
        ([1, 0, None], "Float32"),
        ([1, 0, 1], np.uint8),
    ],
)
def test_booleans_and_0_1_are_fractions(values: list[Any], dtype: Any) -> None:
    if dtype == "category":
        values, dtype = pd.Categorical(values), None  # type: ignore[assignment]
    question, columns = label(values, "merger", dtype=dtype)
    assert question == Question("merger")
    (column,) = columns.values()
    assert list(columns) == ["merger_fraction"] == list(question.target_columns)
    assert column.dtype == np.float64
    np.testing.assert_array_equal(column, [1, 0, NAN if pd.isna(values[2]) else 1])


def test_numbers_in_0_1_are_a_fraction() -> None:
    question, columns = label([0.25, NAN, 1.0], "disk_fraction")
    assert question == Question("disk")
    np.testing.assert_array_equal(columns["disk_fraction"], [0.25, NAN, 1.0])


@pytest.mark.parametrize("values", [[0.0, 1.001], [-0.001, 1.0], [2, 3], [-5.0, NAN]])
def test_other_numbers_are_a_value(values: list[float]) -> None:
    question, columns = label(values, "t_fraction")
    assert question == Question("t_fraction", kind="value")
    np.testing.assert_array_equal(columns["t_fraction"], values)


def test_numbers_written_as_text_are_categories() -> None:
    question, _ = label(["1", "0", "2"])
    assert question.answers == ("0", "1", "2")


@pytest.mark.parametrize("values", [[None, None], [NAN, NAN], ["", "  "], pd.array([None, None], "Int64")])
def test_an_empty_column(values: Any) -> None:
    with pytest.raises(CatalogError, match=r"mine\.csv: the label column 'kind' is empty"):
        label(values)


def test_as_many_categories_as_there_may_be() -> None:
    names = [f"k{i:03}" for i in range(MAX_CATEGORIES)]
    question, columns = label(names)
    assert question.answers == tuple(names)
    assert sum(column[7] for name, column in columns.items() if name.endswith("_fraction")) == 1
    with pytest.raises(CatalogError, match=r"'kind' has 201 different values \(k000, k001, k002 \.\.\.\): more than"):
        label([*names, "one more"])


def test_an_index_does_not_move_labels() -> None:
    _, columns = label(["a", "b", "a"], index=[2, 0, 1])
    np.testing.assert_array_equal(columns["kind_a"], [1, 0, 1])
