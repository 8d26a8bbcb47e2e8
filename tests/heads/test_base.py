"""What all heads share: the checks of their input, clipping, and scikit-learn's own protocol."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from embeddings.errors import HeadError
from embeddings.questions import Question
from heads.base import Head, TargetsError, group_targets
from heads.baselines import MeanHead, RandomHead
from heads.io import HEADS, find_head
from heads.knn import KNNHead
from heads.linear import RidgeHead
from heads.logistic import LogisticHead

NAN = float("nan")


HEAD_CLASSES = [find_head(name) for name in HEADS if name != "xgboost" or find_spec("xgboost")]  # of an extra
PARAMETERS: dict[str, dict[str, Any]] = {  # so that scikit-learn's checks take seconds
    "mlp": {"hidden": (32,), "learning_rate": 0.02, "max_epochs": 30},
    "xgboost": {"n_rounds": 20},
}


class Squeezed(Head):
    """Labels are squeezed into [0, 1], and predictions stretched: scikit-learn's checks hand in any numbers."""

    def _check_targets(self, X: np.ndarray, Y: np.ndarray) -> np.ndarray:
        finite = Y[np.isfinite(Y)]
        self.lowest_ = finite.min(initial=0)
        self.range_ = finite.max(initial=1) - self.lowest_
        return super()._check_targets(X, np.where(np.isfinite(Y), np.clip((Y - self.lowest_) / self.range_, 0, 1), Y))

    def predict(self, X: np.ndarray) -> np.ndarray:
        return super().predict(X) * self.range_ + self.lowest_


def make_checked(head_class: type[Head]) -> Head:
    """A head for scikit-learn's checks; they pickle it, so that its class must be found in this module."""
    if head_class.fractions_only:
        name = f"Squeezed{head_class.__name__}"
        head_class = globals().setdefault(name, type(name, (Squeezed, head_class), {"__module__": __name__}))
    return head_class(**PARAMETERS.get(head_class.name, {}))


def ask(head_class: type[Head]) -> tuple[Question, ...]:
    """Two answers and a single number, which is a value where the head takes values."""
    return SHAPE, Question("size", kind="fraction" if head_class.fractions_only else "value")


SHAPE = Question("shape", ("round", "flat"))
SIZE = Question("size", kind="value")
every_head = pytest.mark.parametrize("head_class", HEAD_CLASSES)


class Recorder(Head):
    """Keeps what `_fit` is given, and predicts what it is told."""

    name = "recorder"

    def __init__(self, questions: Any = None, random_state: int = 0, answer: Any = None) -> None:
        super().__init__(questions, random_state)
        self.answer = answer

    def _fit(self, X: np.ndarray, Y: np.ndarray, votes: Any, groups: np.ndarray) -> None:
        self.given_ = X, Y, votes, groups

    def _predict(self, X: np.ndarray) -> np.ndarray:
        return np.array(self.answer, float)


@pytest.fixture
def X(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(3, 2, size=(30, 4))


@pytest.fixture
def Y(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(size=(30, 3))


# scikit-learn's protocol. All checks pass: Y and predictions are always (n, n_targets), as the tags say, and the
# mean predictor has the tag of a poor score. The check of the array API needs SCIPY_ARRAY_API=1 and is skipped.


@parametrize_with_checks([make_checked(head_class) for head_class in HEAD_CLASSES])
def test_scikit_learns_checks(estimator: Head, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize(
    "head",
    [
        MeanHead((SHAPE,), 3),
        KNNHead((SHAPE,), 3, k_choices=(2, 4)),
        RidgeHead((SHAPE,), 3, alphas=(1.0, 10.0)),
        RandomHead((SHAPE,), 3),
        LogisticHead((SHAPE,), 3, alphas=(1.0, 10.0)),
    ],
)
def test_clone_and_parameters(head: Head, X: np.ndarray, Y: np.ndarray) -> None:
    parameters = head.get_params(deep=False)
    assert parameters["questions"] == (SHAPE,)
    assert parameters["random_state"] == 3
    copied = clone(head.fit(X, Y[:, :2]))
    assert copied.get_params(deep=False) == parameters
    with pytest.raises(NotFittedError):
        copied.predict(X)
    assert copied.set_params(random_state=5, questions=None) is copied
    assert (copied.random_state, copied.questions) == (5, None)
    with pytest.raises(ValueError, match="Invalid parameter 'depth'"):
        copied.set_params(depth=3)


@every_head
def test_same_seed_same_predictions(head_class: type[Head], X: np.ndarray, Y: np.ndarray) -> None:
    head = head_class(random_state=1).fit(X, Y)
    assert np.array_equal(head.predict(X), clone(head).fit(X, Y).predict(X))


# standardisation


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_are_standardised_as_by_scikit_learn(X: np.ndarray, Y: np.ndarray, dtype: type) -> None:
    head = Recorder(answer=Y).fit(X.astype(dtype), Y)
    given, *_ = head.given_
    assert given.dtype == head.mean_.dtype == head.scale_.dtype == dtype
    assert given == pytest.approx(StandardScaler().fit_transform(X), abs=1e-5 if dtype is np.float32 else 1e-12)


def test_half_precision_becomes_float32(X: np.ndarray, Y: np.ndarray) -> None:
    given, labels, *_ = Recorder().fit(X.astype(np.float16), Y).given_
    assert given.dtype == labels.dtype == np.float32


def test_lists_keep_their_digits(X: np.ndarray, Y: np.ndarray) -> None:
    # scikit-learn takes the first type that it is offered for what has none
    given, *_ = Recorder().fit(X.tolist(), Y.tolist()).given_
    assert given.dtype == np.float64
    assert np.array_equal(given, Recorder().fit(X, Y).given_[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("constant", [0, 0.1, 7.3, 1e4, 1e-30])
def test_a_constant_feature_is_only_centred(constant: float, dtype: type, rng: np.random.Generator) -> None:
    # in float32 the computed spread of 3000 times 0.1 is 3e-6, not 0: dividing by it would turn another survey's
    # constant, 0.2, into 30,000
    X = rng.normal(size=(3000, 2)).astype(dtype)
    X[:, 1] = constant
    head = Recorder(answer=X).fit(X, X[:, :1])
    assert head.scale_[1] == 1
    assert head.mean_[1] == pytest.approx(constant, rel=1e-3)
    assert np.abs(head.given_[0][:, 1]).max() <= 1e-3 * constant


def test_a_spread_that_underflows_divides_nothing() -> None:
    X = np.array([[0, 1], [1e-30, 2], [2e-30, 3]], np.float32)  # squares of 1e-30 are 0 in float32
    head = Recorder().fit(X, np.arange(3))
    assert np.isfinite(head.given_[0]).all()
    assert head.scale_[0] == 1


# what goes in


def test_votes_and_groups_are_handed_on(X: np.ndarray, Y: np.ndarray) -> None:
    groups = np.arange(30) // 2
    _, labels, votes, given = Recorder().fit(X, Y, votes=10 * Y, groups=groups.tolist()).given_
    assert np.array_equal(labels, Y)
    assert np.array_equal(votes, 10 * Y)
    assert np.array_equal(given, groups)
    *_, votes, given = Recorder().fit(X, Y).given_
    assert votes is None
    assert np.array_equal(given, np.arange(30))


@every_head
def test_one_dimensional_labels_are_one_target(head_class: type[Head], X: np.ndarray, Y: np.ndarray) -> None:
    P = head_class().fit(X, Y[:, 0]).predict(X)
    assert P.shape == (30, 1)
    assert np.array_equal(P, head_class().fit(X, Y[:, :1]).predict(X))


@every_head
@pytest.mark.parametrize(("bad", "message"), [(np.inf, "infinite"), (-np.inf, "infinite"), (NAN, "no training galaxy")])
def test_infinite_and_empty_targets(head_class: type[Head], bad: float, message: str, X: np.ndarray) -> None:
    Y = np.zeros((30, 3))
    Y[:, 2] = bad
    with pytest.raises(HeadError, match=message) as raised:
        head_class(questions=ask(head_class)).fit(X, Y)
    assert "size" in str(raised.value)
    with pytest.raises(HeadError, match="target 2"):
        head_class().fit(X, Y)


def test_one_infinite_label_is_enough(X: np.ndarray, Y: np.ndarray) -> None:
    Y[3, 1] = np.inf
    with pytest.raises(HeadError, match="shape_flat has infinite labels"):
        MeanHead(questions=(SHAPE, SIZE)).fit(X, Y)


@every_head
def test_labels_of_other_galaxies(head_class: type[Head], X: np.ndarray, Y: np.ndarray) -> None:
    with pytest.raises(HeadError, match="X has 30 rows and Y has 29"):
        head_class().fit(X, Y[:-1])


@pytest.mark.parametrize("shape", [(), (30, 2, 2)])
def test_labels_of_another_shape(shape: tuple[int, ...], X: np.ndarray) -> None:
    with pytest.raises(HeadError, match="shape"):
        MeanHead().fit(X, np.zeros(shape))


def test_labels_of_other_questions(X: np.ndarray, Y: np.ndarray) -> None:
    with pytest.raises(HeadError, match="Y has 3 targets and the questions have 2: shape_round, shape_flat"):
        MeanHead(questions=(SHAPE,)).fit(X, Y)


def test_bad_labels_are_value_errors_too(X: np.ndarray) -> None:
    assert issubclass(TargetsError, HeadError)
    with pytest.raises(ValueError, match="infinite"):
        MeanHead().fit(X, np.full(30, np.inf))


@every_head
def test_bad_vectors(head_class: type[Head], X: np.ndarray, Y: np.ndarray) -> None:
    head = head_class()
    with pytest.raises(NotFittedError):
        head.predict(X)
    head.fit(X, Y)
    with pytest.raises(ValueError, match="features"):
        head.predict(X[:, :2])
    X[3, 1] = NAN
    for use in (lambda: head.predict(X), lambda: head.fit(X, Y)):
        with pytest.raises(ValueError, match="NaN"):
            use()


@every_head
def test_what_is_given_stays_as_it_is(head_class: type[Head], X: np.ndarray, Y: np.ndarray) -> None:
    Y[::3, 0] = NAN
    given = [X.copy(), Y.copy()]
    X.flags.writeable = Y.flags.writeable = False
    head_class(ask(head_class)).fit(X, Y).predict(X)
    assert np.array_equal(X, given[0])
    assert np.array_equal(Y, given[1], equal_nan=True)


def test_fractions_are_refused_where_they_are_none(X: np.ndarray, Y: np.ndarray) -> None:
    with pytest.raises(HeadError, match="size is no fraction of votes, and logistic learns only those"):
        LogisticHead((SHAPE, SIZE)).fit(X, Y)
    for wrong in (-0.1, 1.1):
        Y[3, 1] = wrong
        with pytest.raises(HeadError, match="target 1 is no fraction"):
            LogisticHead().fit(X, Y)


def test_votes_of_other_targets(X: np.ndarray, Y: np.ndarray) -> None:
    with pytest.raises(HeadError, match=r"votes have shape \(30, 2\) and Y \(30, 3\)"):
        MeanHead().fit(X, Y, votes=np.ones((30, 2)))


@pytest.mark.parametrize("wrong", [-1, np.inf])
def test_votes_are_counts(wrong: float, X: np.ndarray, Y: np.ndarray) -> None:
    votes = np.ones((30, 3))
    votes[4, 2] = wrong
    with pytest.raises(HeadError, match="votes are counts"):
        MeanHead().fit(X, Y, votes=votes)


# weights


def weigh(Y: Any, votes: Any, questions: tuple[Question, ...] = (SHAPE,)) -> np.ndarray:
    head = MeanHead(questions, weight_by_votes=True)
    weights = head._weigh(np.array(Y, float), np.array(votes, float))
    assert weights is not None
    return weights


def test_weights_are_totals_over_their_mean() -> None:
    # totals 40, 10, 10: mean 20
    weights = weigh([[0.75, 0.25], [1, 0], [0.5, 0.5]], [[30, 10], [10, 0], [5, 5]])
    assert weights.tolist() == [[2, 2], [0.5, 0.5], [0.5, 0.5]]


def test_unasked_galaxies_weigh_nothing_and_change_no_mean() -> None:
    weights = weigh([[0.75, 0.25], [NAN, NAN], [1, 0]], [[30, 10], [50, 50], [10, 0]])
    assert weights.tolist() == [[1.6, 1.6], [0, 0], [0.4, 0.4]]


def test_galaxies_without_counts_weigh_one() -> None:
    weights = weigh([[0.75, 0.25], [1, 0], [0.5, 0.5]], [[30, 10], [10, 0], [NAN, NAN]])
    assert weights.tolist() == [[1.6, 1.6], [0.4, 0.4], [1, 1]]


def test_values_and_single_numbers_weigh_one() -> None:
    questions = (SIZE, Question("odd"), SHAPE)
    weights = weigh([[7, 0, 0, 1], [9, 1, 1, 0]], [[NAN, NAN, 0, 3], [NAN, NAN, 1, 0]], questions)
    assert weights.tolist() == [[1, 1, 1.5, 1.5], [1, 1, 0.5, 0.5]]


def test_no_weights_unless_asked_to(Y: np.ndarray) -> None:
    assert MeanHead((SHAPE,))._weigh(Y[:, :2], np.ones((30, 2))) is None


def test_weights_need_votes_and_questions(X: np.ndarray, Y: np.ndarray) -> None:
    for head, votes in ((MeanHead((SHAPE, SIZE), weight_by_votes=True), None), (MeanHead(weight_by_votes=True), Y)):
        with pytest.raises(HeadError, match="weight_by_votes needs votes, and questions"):
            head.fit(X, Y, votes=votes)


def test_weights_need_somebody_to_have_voted() -> None:
    with pytest.raises(HeadError, match="nobody voted on shape"):
        weigh([[0, 1], [1, 0]], [[0, 0], [0, 0]])


def test_votes_of_some_answers_are_no_total() -> None:
    # two answers of three: the third's votes are missing, and the sum of these says little
    with pytest.raises(HeadError, match=r"shape_round, shape_flat do not add up to one.*--targets 'shape_\*'"):
        weigh([[0.2, 0.1], [0.5, 0.5], [0.1, 0.3]], [[2, 1], [5, 5], [1, 3]])
    debiased = Question("shape", ("round", "flat"), fractions="debiased")  # need not add up to one
    assert weigh([[0.2, 0.1], [0.5, 0.5]], [[6, 4], [25, 5]], (debiased,)).tolist() == [[0.5, 0.5], [1.5, 1.5]]


def test_a_few_odd_rows_are_no_missing_answer() -> None:
    Y, votes = np.tile([0.333, 0.666], (40, 1)), np.tile([10.0, 20.0], (40, 1))
    Y[0] = [0.1, 0.1]
    assert weigh(Y, votes) == pytest.approx(1)


# what comes out


@every_head
def test_no_galaxies_no_predictions(head_class: type[Head], X: np.ndarray, Y: np.ndarray) -> None:
    assert head_class(ask(head_class)).fit(X, Y).predict(X[:0]).shape == (0, 3)


def test_fractions_are_clipped_and_values_are_not(X: np.ndarray, Y: np.ndarray) -> None:
    answer = [[-0.5, 1.5, -7], [0.25, 1, 30]]
    head = Recorder((SHAPE, SIZE), answer=answer).fit(X, Y)
    assert head.predict(X[:2]).tolist() == [[0, 1, -7], [0.25, 1, 30]]
    head.set_params(questions=(SIZE, SHAPE))
    assert head.predict(X[:2]).tolist() == [[-0.5, 1, 0], [0.25, 1, 1]]


@pytest.mark.parametrize("questions", [None, ()])
def test_without_questions_every_target_is_a_value(questions: Any, X: np.ndarray, Y: np.ndarray) -> None:
    answer = [[-0.5, 1.5, -7]]
    assert Recorder(questions, answer=answer).fit(X, Y).predict(X[:1]).tolist() == answer


def test_ridge_leaves_unit_interval_only_for_values(X: np.ndarray) -> None:
    # a plane fitted to 0 and 1 passes both ends ten spreads out
    Y = (X[:, :1] > 3).astype(float)
    far = X.mean(0) + 10 * X.std(0) * np.array([[-1, 0, 0, 0], [1, 0, 0, 0]])
    assert RidgeHead((Question("odd"),)).fit(X, Y).predict(far).tolist() == [[0], [1]]
    low, high = RidgeHead((SIZE,)).fit(X, Y).predict(far).ravel()
    assert low < -1
    assert high > 2


# inner folds


def test_inner_folds_keep_groups_whole() -> None:
    groups = np.repeat(np.arange(20), 3)
    folds = MeanHead()._inner_folds(groups)
    assert set(folds) == set(range(5))
    assert (folds.reshape(20, 3) == folds[::3, None]).all()


def test_inner_folds_are_as_many_as_galaxies_allow() -> None:
    assert sorted(MeanHead()._inner_folds(np.array([7, 7, 8, 9]))) in ([0, 0, 1, 2], [0, 1, 1, 2], [0, 1, 2, 2])


@pytest.mark.parametrize("head_class", [KNNHead, RidgeHead])
def test_one_galaxy_cannot_be_cut(head_class: type[Head], X: np.ndarray, Y: np.ndarray) -> None:
    with pytest.raises(HeadError, match="one galaxy only"):
        head_class().fit(X, Y, groups=np.zeros(30))


# helpers


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 1000))
def test_group_targets_finds_equal_patterns(n: int, n_targets: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    patterns = rng.random((n, 2)) < 0.5  # two patterns, so that targets share them
    Y = np.where(patterns[:, rng.integers(2, size=n_targets)], 1.0, NAN)
    found = list(group_targets(Y))
    assert sorted(np.concatenate([targets for _, targets in found]).tolist()) == list(range(n_targets))
    for rows, targets in found:
        assert (~np.isnan(Y[:, targets]) == rows[:, None]).all()
    assert len(found) == len({tuple(column) for column in np.isnan(Y).T})


def test_targets_that_weigh_galaxies_alike_are_grouped() -> None:
    Y = np.array([[1, 2, 3, 4], [1, 2, 3, NAN], [1, 2, 3, 4]])
    weights = np.array([[2, 2, 1, 2], [1, 1, 2, 0], [0, 0, 1, 0]], float)
    found = [(rows.tolist(), targets.tolist()) for rows, targets in group_targets(Y, weights)]
    assert found == [([True, True, False], [0, 1]), ([True, True, True], [2]), ([True, False, False], [3])]


@every_head
def test_arrays_restore_a_head(head_class: type[Head], X: np.ndarray, Y: np.ndarray) -> None:
    head = head_class(ask(head_class)).fit(X, Y)
    restored = clone(head).from_arrays(head.to_arrays()).from_files(head.to_files())
    assert np.array_equal(restored.predict(X), head.predict(X))
    assert restored.n_targets_ == 3
    arrays = head.to_arrays()
    del arrays["mean_"]
    with pytest.raises(KeyError):
        clone(head).from_arrays(arrays)
