import numpy as np
import pytest

from embeddings.errors import StoreError
from embeddings.labels import read_labels
from embeddings.questions import Question
from tests.embeddings.conftest import SHAPE, SIZE

NAN = np.nan
COLUMNS = {
    "shape_round_fraction": np.array([0.75, 0.0, NAN, 0.5]),
    "shape_flat_fraction": np.array([0.25, 1.0, NAN, 0.5]),
    "shape_round": np.array([6, 0, 0, 2]),
    "shape_total-votes": np.array([8.0, 5.0, 0.0, NAN]),
    "size": np.array([-3, 7, 8, 9]),
}


def read(*questions: Question, min_votes: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return read_labels(questions, list(COLUMNS), COLUMNS.__getitem__, 4, min_votes, "the catalog")


def test_targets_and_votes_are_columns() -> None:
    Y, votes = read(SHAPE, SIZE)
    np.testing.assert_array_equal(Y, [[0.75, 0.25, -3], [0, 1, 7], [NAN, NAN, 8], [0.5, 0.5, 9]])
    # the release has no votes for flat; nobody was asked about the third galaxy, so its 0 votes are NaN
    np.testing.assert_array_equal(votes, [[6, NAN, NAN], [0, NAN, NAN], [NAN, NAN, NAN], [2, NAN, NAN]])
    assert Y.dtype == votes.dtype == np.float32


def test_few_votes_are_no_answer() -> None:
    Y, votes = read(SHAPE, SIZE, min_votes=6)
    # totals 8, 5, 0, unknown: only the first has 6; size has no votes and stays
    np.testing.assert_array_equal(Y, [[0.75, 0.25, -3], [NAN, NAN, 7], [NAN, NAN, 8], [NAN, NAN, 9]])
    np.testing.assert_array_equal(votes[:, 0], [6, NAN, NAN, NAN])
    np.testing.assert_array_equal(read(SHAPE, min_votes=5)[0][:, 0], [0.75, 0, NAN, NAN])  # at least, not more than


def test_order_is_that_of_the_questions() -> None:
    np.testing.assert_array_equal(read(SIZE, SHAPE)[0][0], [-3, 0.75, 0.25])


def test_no_questions_no_columns() -> None:
    Y, votes = read()
    assert Y.shape == votes.shape == (4, 0)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(StoreError, match=r"the catalog has no column 'shap_round_fraction'.*'shape_round_fraction'"):
        read(Question("shap", ("round",)))


def test_without_a_total_the_votes_are_added_up() -> None:
    columns = {"q_a": np.array([3.0, 1, np.nan]), "q_b": np.array([2.0, 1, np.nan])}
    columns |= {"q_a_fraction": np.array([0.6, 0.5, np.nan]), "q_b_fraction": np.array([0.4, 0.5, np.nan])}
    question = Question("q", ("a", "b"))
    Y, _ = read_labels([question], list(columns), columns.__getitem__, 3, 5, "the catalog")
    np.testing.assert_array_equal(Y, [[np.float32(0.6), np.float32(0.4)], [NAN, NAN], [NAN, NAN]])  # 5, 2 and 0 votes
