"""k nearest neighbours against a brute force written out, and scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler

from embeddings.questions import Question
from embeddings.search import exact
from heads import knn
from heads.base import INNER_FOLDS
from heads.knn import K_CHOICES, MIN_DISTANCE, KNNHead
from heads.splits import cut_folds

NAN = float("nan")


def directions(X: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """Standardised as the training rows, of length one."""
    X = StandardScaler().fit(X if like is None else like).transform(X)
    return np.array([row / (math.sqrt(sum(row**2)) or 1) for row in X])


def weigh(distance: np.ndarray) -> np.ndarray:
    return 1 / np.maximum(distance, MIN_DISTANCE)


def brute_force(X: np.ndarray, y: np.ndarray, queries: np.ndarray, k: int, fill: float) -> list[float]:
    """Galaxy by galaxy, among those with the target; a row of zeros is sqrt(2) from everything."""
    predictions = []
    asked = [row for row in range(len(X)) if not math.isnan(y[row])]
    for query in queries:
        cosines = [sum(query * row) for row in X]
        nearest = sorted(asked, key=lambda row: -cosines[row])[:k]
        above = below = 0.0
        for row in nearest:
            weight = 1 / max(math.sqrt(max(2 - 2 * cosines[row], 0)), MIN_DISTANCE)
            above, below = above + weight * y[row], below + weight
        predictions.append(above / below if below else fill)
    return predictions


@pytest.fixture(params=["faiss", "numpy"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "numpy":
        monkeypatch.setattr(exact, "load_faiss", lambda: None)
    else:
        pytest.importorskip("faiss")


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("k", [1, 4, 30])
def test_equals_brute_force(k: int, rng: np.random.Generator) -> None:
    X, new = rng.normal(2, 3, size=(30, 5)), rng.normal(2, 3, size=(12, 5))
    Y = rng.uniform(size=(30, 4))
    Y[rng.random((30, 4)) < 0.3] = NAN
    P = KNNHead(k_choices=(k,)).fit(X, Y).predict(new)
    for target, y in enumerate(Y.T):
        expected = brute_force(directions(X), y, directions(new, X), k, np.nanmean(y))
        assert P[:, target] == pytest.approx(expected, abs=1e-5)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 25), st.integers(2, 6), st.integers(1, 30), st.floats(0, 0.9), st.integers(0, 9999))
def test_equals_brute_force_whatever_the_shape(n: int, d: int, k: int, unasked: float, seed: int) -> None:
    rng = np.random.default_rng(seed)  # two features at least: one has only two directions, and ties
    X, new = rng.normal(size=(n, d)), rng.normal(size=(5, d))
    y = np.where(rng.random(n) < unasked, NAN, rng.uniform(size=n))
    y[rng.integers(n)] = 0.5
    k = min(k, n)
    # float32 cosines are good to 1e-7, so distances much below 0.05 are not good to 1e-4
    assume((directions(new, X) @ directions(X).T).max() < 1 - 0.05**2 / 2)
    P = KNNHead(k_choices=(k,)).fit(X, y).predict(new)
    expected = brute_force(directions(X), y, directions(new, X), k, np.nanmean(y))
    assert P.ravel() == pytest.approx(expected, abs=1e-4)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_equals_scikit_learn(k: int, dtype: type, rng: np.random.Generator) -> None:
    X, new = rng.uniform(size=(300, 8)), rng.uniform(size=(50, 8))
    Y = rng.uniform(size=(300, 3))
    P = KNNHead(k_choices=(k,)).fit(X.astype(dtype), Y).predict(new.astype(dtype))
    model = KNeighborsRegressor(k, weights=weigh, algorithm="brute").fit(directions(X), Y)
    assert pytest.approx(model.predict(directions(new, X)), abs=1e-4) == P


def test_weights_by_hand() -> None:
    # standardised, the four corners stay corners. From (1, 1) / sqrt(2) to (1, -1) / sqrt(2) the distance is sqrt(2),
    # to its own copy 0, which counts as 0.001, to the opposite corner 2.
    X = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], float)
    y = np.array([0, 1, 1, 4.0])
    weights = np.array([1000, 1 / math.sqrt(2), 1 / math.sqrt(2), 1 / 2])
    expected = (weights * y).sum() / weights.sum()
    assert KNNHead(k_choices=(4,)).fit(X, y).predict(X[:1])[0, 0] == pytest.approx(expected, abs=1e-6)


def test_neighbours_are_sought_among_those_asked() -> None:
    # the query points along (1.1, 1); the nearest two galaxies, (1, 1) and (1, -1), have no label and one
    X = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]], float)
    y = np.array([NAN, 1, 9, NAN])
    query = X[:1] + np.array([[0.1, 0]])
    assert KNNHead(k_choices=(1,)).fit(X, y).predict(query).tolist() == [[1]]
    # cosines 0.1 and -2.1 over sqrt(2 * 2.21), distances 1.38016 and 1.99943, weights 0.72455 and 0.50014:
    # (0.72455 * 1 + 0.50014 * 9) / (0.72455 + 0.50014)
    assert KNNHead(k_choices=(2,)).fit(X, y).predict(query)[0, 0] == pytest.approx(4.2671, abs=1e-4)


def test_a_galaxy_at_the_mean_has_no_direction() -> None:
    # its standardised vector is zero: all others are equally far, sqrt(2), and it predicts their plain mean
    X = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], float)
    P = KNNHead(k_choices=(4,)).fit(X, np.array([0, 1, 1, 4.0])).predict(np.zeros((1, 2)))
    assert P[0, 0] == pytest.approx(6 / 4)


def test_more_neighbours_than_galaxies(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(6, 4)), rng.uniform(size=6)
    head = KNNHead(k_choices=(40, 80)).fit(X, y)
    assert head.k_.tolist() == [6]
    assert head.predict(X).ravel() == pytest.approx(brute_force(directions(X), y, directions(X), 6, NAN), abs=1e-4)


# the choice of k


def search_k(X: np.ndarray, y: np.ndarray, folds: np.ndarray, choices: tuple[int, ...]) -> tuple[int, float]:
    """The best k over the folds and its summed squared residuals, by scikit-learn."""
    residuals = dict.fromkeys(choices, 0.0)
    for k in choices:
        for fold in np.unique(folds):
            inside = folds != fold
            model = KNeighborsRegressor(min(k, int(inside.sum())), weights=weigh, algorithm="brute")
            held_out = model.fit(X[inside], y[inside]).predict(X[~inside])
            residuals[k] += ((held_out - y[~inside]) ** 2).sum()
    best = min(choices, key=residuals.__getitem__)
    return best, residuals[best]


def test_k_and_inner_score_are_those_of_a_plain_loop(rng: np.random.Generator) -> None:
    X = rng.normal(size=(150, 4))
    sharp, soft, noise = X[:, 0] * X[:, 1], X[:, 0] + rng.normal(size=150), rng.normal(size=150)
    Y = np.stack([sharp, soft, noise], axis=1)
    groups = rng.integers(0, 70, 150)
    head = KNNHead(random_state=2).fit(X, Y, groups=groups)
    folds = cut_folds(groups, INNER_FOLDS, 2)
    chosen = [search_k(directions(X), y, folds, K_CHOICES) for y in Y.T]
    assert head.k_.tolist() == [k for k, _ in chosen]
    assert len(set(head.k_.tolist())) == 3  # each target its own
    scores = [1 - residual / ((y - y.mean()) ** 2).sum() for y, (_, residual) in zip(Y.T, chosen, strict=True)]
    assert head.inner_score_ == pytest.approx(np.mean(scores), abs=1e-5)


def test_predictions_use_each_targets_k(rng: np.random.Generator) -> None:
    X = rng.normal(size=(150, 3))
    Y = np.stack([np.sign(X[:, 0]), rng.normal(size=150)], axis=1)
    head = KNNHead().fit(X, Y)
    near, far = head.k_
    assert near < far
    new = rng.normal(size=(20, 3))
    for target, k in enumerate(head.k_):
        expected = brute_force(directions(X), Y[:, target], directions(new, X), k, NAN)
        assert head.predict(new)[:, target] == pytest.approx(expected, abs=1e-4)


def test_k_is_not_chosen_on_copies(rng: np.random.Generator) -> None:
    # noise, each galaxy four times: where copies are torn apart the head finds them and looks perfect
    X, Y = np.repeat(rng.normal(size=(100, 6)), 4, axis=0), np.repeat(rng.normal(size=(100, 1)), 4, axis=0)
    assert KNNHead().fit(X, Y).inner_score_ > 0.9
    whole = KNNHead().fit(X, Y, groups=np.repeat(np.arange(100), 4))
    assert whole.inner_score_ < 0.05
    assert whole.k_[0] >= 20


def test_a_rare_target_may_be_missing_from_a_fold(rng: np.random.Generator) -> None:
    X = rng.normal(size=(40, 3))
    y = np.full(40, NAN)
    y[[3, 7]] = 0.2, 0.6
    head = KNNHead((Question("odd"),)).fit(X, y)
    P = head.predict(X)
    assert ((P >= 0.2) & (P <= 0.6)).all()


def test_galaxies_are_found_again(rng: np.random.Generator) -> None:
    X, Y = rng.normal(size=(50, 5)), rng.uniform(size=(50, 2))
    assert KNNHead(k_choices=(1,)).fit(X, Y).predict(X) == pytest.approx(Y, abs=1e-6)


# many galaxies, and votes


def test_so_many_galaxies_choose_k_and_no_more(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    X = rng.normal(size=(600, 4))
    Y = np.stack([X[:, 0] + rng.normal(size=600), X[:, 1]], axis=1)
    Y[:500, 1] = NAN  # 100 have the second
    groups = rng.integers(0, 300, 600)
    everyone = KNNHead().fit(X, Y, groups=groups)
    asked: list[np.ndarray] = []

    def spy(rows: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        asked.append(queries)
        return exact.find_neighbours(rows, queries, k)

    monkeypatch.setattr(knn, "MAX_JUDGED", 200)
    monkeypatch.setattr(knn, "find_neighbours", spy)
    few = KNNHead().fit(X, Y, groups=groups)
    queries = np.concatenate(asked)
    assert len(queries) == 300  # 200 of the first target, all 100 of the second
    assert len(np.unique(queries[:200], axis=0)) == 200
    assert few.inner_score_ == pytest.approx(everyone.inner_score_, abs=0.1)
    assert few.k_[1] == everyone.k_[1]  # all that have it chose


def test_votes_weigh_by_hand() -> None:
    # as in test_weights_by_hand, with 10, 20, 30 and 40 volunteers
    X = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], float)
    Y = np.array([[0.0, 1], [1, 0], [1, 0], [0.4, 0.6]])
    votes = Y * np.array([[10], [20], [30], [40]])
    weights = np.array([10 * 1000, 20 / math.sqrt(2), 30 / math.sqrt(2), 40 / 2])
    head = KNNHead((Question("odd", ("yes", "no")),), weight_by_votes=True, k_choices=(4,)).fit(X, Y, votes)
    assert head.predict(X[:1])[0] == pytest.approx(weights @ Y / weights.sum(), abs=1e-6)


def test_votes_choose_k(rng: np.random.Generator) -> None:
    # half of the galaxies follow X to the dot and have a thousand volunteers, half are noise with one
    X = rng.normal(size=(300, 2))
    share = np.where(np.arange(300) % 2, X[:, 0] > 0, rng.random(300))
    Y = np.stack([share, 1 - share], axis=1)
    votes = Y * np.where(np.arange(300) % 2, 1000, 1)[:, None]
    question = (Question("odd", ("yes", "no")),)
    assert KNNHead(question, weight_by_votes=True).fit(X, Y, votes).inner_score_ > 0.8
    assert KNNHead(question).fit(X, Y, votes).inner_score_ < 0.7


def test_neighbours_without_votes_say_nothing(rng: np.random.Generator) -> None:
    X, Y = rng.normal(size=(40, 3)), np.tile([0.25, 0.75], (40, 1))
    votes = Y * np.where(np.arange(40) < 3, 8, 0)[:, None]
    P = KNNHead((Question("odd", ("yes", "no")),), weight_by_votes=True, k_choices=(2,)).fit(X, Y, votes).predict(X)
    assert pytest.approx(np.tile([0.25, 0.75], (40, 1))) == P
