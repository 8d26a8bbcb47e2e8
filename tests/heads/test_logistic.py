"""Fractional logit against scikit-learn's LogisticRegression on labels repeated once an answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from embeddings.errors import HeadError
from embeddings.questions import Question
from heads import logistic
from heads.base import INNER_FOLDS
from heads.logistic import LogisticHead
from heads.splits import cut_folds

NAN = float("nan")
FEW = (1e3, 30.0, 1.0, 0.1)
ARMS = Question("arms", ("one", "two", "more"))
BAR = Question("bar", ("yes", "no"))
ODD = Question("odd")


def draw(rng: np.random.Generator, n: int, d: int, answers: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Features of unlike means and spreads, and votes of 5 to 50 volunteers on softmax probabilities."""
    Z = rng.normal(size=(n, d))
    P = softmax(Z @ rng.normal(size=(d, answers)) / np.sqrt(d) + rng.normal(size=answers), axis=1)
    votes = np.array([rng.multinomial(total, p) for total, p in zip(rng.integers(5, 51, n), P, strict=True)])
    return Z * rng.uniform(0.1, 5, d) + rng.uniform(-3, 3, d), votes.astype(float)


def shares(votes: np.ndarray) -> np.ndarray:
    return votes / votes.sum(axis=1, keepdims=True)


def reference(X: np.ndarray, F: np.ndarray, penalty: float, weight: np.ndarray | None = None) -> LogisticRegression:
    """Each galaxy once an answer, weighing its fraction."""
    n, answers = F.shape
    F = F if weight is None else F * weight[:, None]
    model = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000)
    return model.fit(np.repeat(X, answers, axis=0), np.tile(np.arange(answers), n), sample_weight=F.ravel())


def make(question: Question, alphas: tuple[float, ...], **options: bool) -> LogisticHead:
    return LogisticHead((question,), alphas=alphas, tolerance=1e-14, **options)


# one penalty


@pytest.mark.parametrize("alpha", [0.1, 10.0, 1e4])
@pytest.mark.parametrize(("n", "d"), [(300, 10), (40, 60)])
def test_equals_logistic_regression(n: int, d: int, alpha: float, rng: np.random.Generator) -> None:
    X, votes = draw(rng, n, d)
    head = make(ARMS, (alpha,)).fit(X, shares(votes))
    scaled = StandardScaler().fit_transform(X)
    model = reference(scaled, shares(votes), alpha)
    assert head.predict(X) == pytest.approx(model.predict_proba(scaled), abs=2e-6)
    assert head.coef_ == pytest.approx(model.coef_.T, abs=2e-5)


def test_float32_is_close(rng: np.random.Generator) -> None:
    X, votes = draw(rng, 300, 10)
    exact, rough = (make(ARMS, (3.0,)).fit(X.astype(t), shares(votes)) for t in (np.float64, np.float32))
    assert rough.coef_.dtype == np.float32
    assert rough.predict(X) == pytest.approx(exact.predict(X), abs=1e-4)


def test_default_tolerance_is_far_below_the_noise_of_votes(rng: np.random.Generator) -> None:
    X, votes = draw(rng, 500, 20)
    rough = LogisticHead((ARMS,), alphas=(1.0,)).fit(X, shares(votes))
    assert rough.predict(X) == pytest.approx(make(ARMS, (1.0,)).fit(X, shares(votes)).predict(X), abs=3e-3)


def test_weighted_by_votes_is_the_likelihood_of_counts(rng: np.random.Generator) -> None:
    X, votes = draw(rng, 300, 10)
    head = make(ARMS, (3.0,), weight_by_votes=True).fit(X, shares(votes), votes)
    scaled, total = StandardScaler().fit_transform(X), votes.sum(axis=1)
    model = reference(scaled, shares(votes), 3.0, total / total.mean())
    assert head.predict(X) == pytest.approx(model.predict_proba(scaled), abs=2e-6)
    assert np.abs(head.predict(X) - make(ARMS, (3.0,)).fit(X, shares(votes)).predict(X)).max() > 1e-3


@pytest.mark.parametrize("question", [ODD, BAR])
def test_two_answers_are_one_and_the_rest(question: Question, rng: np.random.Generator) -> None:
    # two vectors of opposite sign, each half of scikit-learn's w: alpha / 2 * 2 (w / 2)^2 = w^2 / (2 C), C = 2 / alpha
    X, votes = draw(rng, 200, 8, answers=2)
    head = make(question, (4.0,)).fit(X, shares(votes)[:, : len(question.targets)])
    scaled = StandardScaler().fit_transform(X)
    P = reference(scaled, shares(votes), 2.0).predict_proba(scaled)
    assert head.predict(X) == pytest.approx(P[:, : len(question.targets)], abs=2e-6)


def test_some_answers_of_a_question_leave_room_for_the_rest(rng: np.random.Generator) -> None:
    X, votes = draw(rng, 200, 8)
    whole = make(ARMS, (4.0,)).fit(X, shares(votes)).predict(X)
    part = make(Question("arms", ("one", "two")), (4.0,)).fit(X, shares(votes)[:, :2]).predict(X)
    assert part == pytest.approx(whole[:, :2], abs=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(6, 40), st.integers(1, 12), st.integers(2, 5), st.floats(-1, 4), st.integers(0, 9999))
def test_answers_add_up_to_one(n: int, d: int, answers: int, exponent: float, seed: int) -> None:
    X, votes = draw(np.random.default_rng(seed), n, d, answers)
    question = Question("arms", tuple(map(str, range(answers))))
    P = LogisticHead((question,), alphas=(10**exponent,)).fit(X, shares(votes)).predict(3 * X)
    assert P.sum(axis=1) == pytest.approx(1)
    assert (P >= 0).all()


def test_a_huge_penalty_leaves_the_mean(rng: np.random.Generator) -> None:
    X, votes = draw(rng, 100, 5)
    predicted = make(ARMS, (1e12,)).fit(X, shares(votes)).predict(X)
    assert predicted == pytest.approx(np.tile(shares(votes).mean(axis=0), (100, 1)), abs=1e-6)


def test_rounded_fractions_are_made_to_add_up(rng: np.random.Generator) -> None:
    X, votes = draw(rng, 100, 5)
    rounded = np.floor(shares(votes) * 1000) / 1000
    predicted = make(ARMS, (1.0,)).fit(X, rounded).predict(X)
    assert predicted.sum(axis=1) == pytest.approx(1)
    assert predicted == pytest.approx(make(ARMS, (1.0,)).fit(X, shares(votes)).predict(X), abs=2e-3)


@pytest.mark.parametrize("label", [0.0, 1.0, 0.3])
def test_constant_labels(label: float, rng: np.random.Generator) -> None:
    head = LogisticHead((ODD,)).fit(rng.normal(size=(40, 3)), np.full(40, label))
    assert head.predict(rng.normal(size=(5, 3))) == pytest.approx(label, abs=1e-4)
    assert head.inner_score_ == -np.inf


def test_features_that_do_not_vary(rng: np.random.Generator) -> None:
    _, votes = draw(rng, 50, 4)
    P = LogisticHead((ARMS,)).fit(np.ones((50, 4)), shares(votes)).predict(np.ones((1, 4)))
    assert P[0] == pytest.approx(shares(votes).mean(axis=0), abs=1e-4)


# the choice of the penalty


@pytest.mark.slow
@pytest.mark.parametrize("most", [1000, 100], ids=["all judge", "some judge"])
def test_alpha_and_inner_score_are_those_of_a_plain_loop(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "MAX_JUDGED", most)
    rng = np.random.default_rng(3)
    found = set()
    for n, d in ((60, 5), (60, 25), (150, 2)):
        X, votes = draw(rng, n, d)
        votes = np.array([rng.multinomial(1, p) for p in shares(votes)]).astype(float)  # noisier
        groups = rng.integers(0, 40, n)
        head = make(ARMS, FEW).fit(X, votes, groups=groups)
        scaled, folds = StandardScaler().fit_transform(X), cut_folds(groups, INNER_FOLDS, 0)
        judging = np.isin(np.arange(n), np.linspace(0, n - 1, min(most, n)).astype(int))
        best = max(FEW, key=lambda a: (votes * np.log(hold_out(scaled, votes, folds, judging, a)))[judging].sum())
        assert head.alpha_ == pytest.approx(best)
        P = hold_out(scaled, votes, folds, np.ones(n, bool), best)
        scores = [r2_score(y, p) for y, p in zip(votes.T, P.T, strict=True)]
        assert head.inner_score_ == pytest.approx(np.mean(scores), abs=1e-4)
        whole = reference(scaled, votes, best)
        assert head.predict(X) == pytest.approx(whole.predict_proba(scaled), abs=1e-5)
        found.add(best)
    assert len(found) > 1


def hold_out(X: np.ndarray, Y: np.ndarray, folds: np.ndarray, rows: np.ndarray, alpha: float) -> np.ndarray:
    """Each galaxy predicted by the rows of the other folds."""
    P = np.empty_like(Y)
    for fold in range(INNER_FOLDS):
        inside = (folds != fold) & rows
        P[folds == fold] = reference(X[inside], Y[inside], alpha).predict_proba(X[folds == fold])
    return P


def test_order_of_penalties_does_not_matter(rng: np.random.Generator) -> None:
    X, votes = draw(rng, 80, 6)
    heads = [make(ARMS, alphas).fit(X, shares(votes)) for alphas in (FEW, FEW[::-1])]
    assert np.array_equal(heads[0].coef_, heads[1].coef_)


def test_alpha_is_not_chosen_on_copies(rng: np.random.Generator) -> None:
    # noise, each galaxy four times: where copies are torn apart a small penalty looks best
    X, y = np.repeat(rng.normal(size=(60, 80)), 4, axis=0), np.repeat(rng.integers(0, 2, size=(60, 1)), 4, axis=0)
    whole = LogisticHead((ODD,)).fit(X, y, groups=np.repeat(np.arange(60), 4))
    torn = LogisticHead((ODD,)).fit(X, y)
    assert torn.inner_score_ > 0.5
    assert whole.inner_score_ < 0.05
    assert whole.alpha_ > 100 * torn.alpha_


# questions that were not asked


def test_unasked_galaxies_equal_separate_fits(rng: np.random.Generator) -> None:
    X, votes = draw(rng, 200, 6)
    bar = shares(draw(rng, 200, 6, answers=2)[1])
    Y = np.column_stack([shares(votes), bar])
    Y[:80, 3:] = NAN
    Y[150:, :3] = NAN
    Y[149, 1] = NAN  # one answer missing: the question counts as not asked
    head = LogisticHead((ARMS, BAR), alphas=(2.0,), tolerance=1e-14).fit(X, Y)
    scaled = StandardScaler().fit_transform(X)
    arms, bar = reference(scaled[:149], Y[:149, :3], 2.0), reference(scaled[80:], Y[80:, 3:], 1.0)
    expected = np.column_stack([model.predict_proba(scaled) for model in (arms, bar)])
    assert head.predict(X) == pytest.approx(expected, abs=2e-6)


def test_a_question_that_nobody_answered_whole(rng: np.random.Generator) -> None:
    Y = np.full((20, 2), 0.5)
    Y[::2, 0] = Y[1::2, 1] = NAN
    with pytest.raises(HeadError, match="no training galaxy has labels of all answers of bar"):
        LogisticHead((BAR,)).fit(rng.normal(size=(20, 3)), Y)


def test_labels_of_one_galaxy_only(rng: np.random.Generator) -> None:
    Y = np.full((20, 1), NAN)
    Y[3] = 1
    with pytest.raises(HeadError, match="odd has labels of one galaxy only"):
        LogisticHead((ODD,)).fit(rng.normal(size=(20, 3)), Y)
