"""The vote model: what it recovers from simulated volunteers, how sure it is, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.base import clone
from sklearn.metrics import r2_score

from embeddings.errors import HeadError
from embeddings.questions import Question
from heads import votes as module
from heads.base import INNER_FOLDS
from heads.calibration import tabulate_pit
from heads.io import make_head
from heads.splits import cut_folds
from heads.votes import VotesHead

NAN = float("nan")
SHAPE = Question("shape", ("round", "flat", "odd"))
BAR = Question("bar", ("yes", "no"), parent="shape_flat")
QUESTIONS = (SHAPE, BAR)
PRECISION = 8.0


class Sky(NamedTuple):
    """Vectors, fractions, votes, and the expected fractions that nobody sees."""

    X: np.ndarray
    Y: np.ndarray
    votes: np.ndarray
    truth: np.ndarray


def simulate(n: int, totals: np.ndarray, precision: float = PRECISION, seed: int = 0) -> Sky:
    """Volunteers walk a tree of two questions; who says flat is asked for a bar."""
    rng, weights = np.random.default_rng(seed), np.random.default_rng(5)
    X = rng.normal(size=(n, 12))
    asked, votes, truth = totals, [], []
    for answers in (3, 2):
        mean = softmax(X @ weights.normal(size=(12, answers)), axis=1)
        shares = np.array([rng.dirichlet(precision * m) for m in mean]) if np.isfinite(precision) else mean
        counts = rng.multinomial(asked, shares)
        votes.append(np.where(asked[:, None] > 0, counts, NAN))
        truth.append(mean)
        asked = counts[:, 1]
    with np.errstate(invalid="ignore"):
        Y = np.hstack([count / count.sum(axis=1, keepdims=True) for count in votes])
    return Sky(X.astype(np.float32), Y.astype(np.float32), np.hstack(votes).astype(np.float32), np.hstack(truth))


@pytest.fixture(scope="module")
def sky() -> Sky:
    return simulate(1500, np.random.default_rng(1).choice([5, 40], 1500))


@pytest.fixture(scope="module")
def other_sky() -> Sky:
    return simulate(3000, np.random.default_rng(2).choice([5, 40], 3000), seed=1)


@pytest.fixture(scope="module")
def head(sky: Sky) -> VotesHead:
    return VotesHead(QUESTIONS).fit(sky.X, sky.Y, sky.votes)


# what it learns


@pytest.mark.parametrize(
    "parameters",
    [{}, {"likelihood": "dirichlet-multinomial"}, {"likelihood": "multinomial"}, {"hidden": 32}],
    ids=str,
)
def test_it_recovers_the_expected_fractions(parameters: dict[str, Any], sky: Sky, other_sky: Sky) -> None:
    head = VotesHead(QUESTIONS, **parameters).fit(sky.X, sky.Y, sky.votes)
    P = head.predict(other_sky.X)
    assert min(r2_score(other_sky.truth, P, multioutput="raw_values")) > 0.85
    assert P[:, :3].sum(axis=1) == pytest.approx(np.ones(3000), abs=1e-5)
    assert P[:, 3:].sum(axis=1) == pytest.approx(np.ones(3000), abs=1e-5)
    asked = ~np.isnan(other_sky.Y[:, 3])
    scores = [
        r2_score(y[rows], p[rows])
        for y, p, rows in zip(other_sky.Y.T, P.T, [asked | True] * 3 + [asked] * 2, strict=True)
    ]
    assert head.inner_score_ == pytest.approx(np.mean(scores), abs=0.08)


def test_it_recovers_the_precision(head: VotesHead, other_sky: Sky) -> None:
    for distribution in head.predict_distributions(other_sky.X):
        assert np.median(distribution.precision) == pytest.approx(PRECISION, rel=0.3)


def test_volunteers_who_agree_make_a_multinomial() -> None:
    agreed = simulate(1500, np.full(1500, 40), precision=np.inf)
    head = VotesHead((SHAPE,)).fit(agreed.X, agreed.Y[:, :3], agreed.votes[:, :3])
    (distribution,) = head.predict_distributions(agreed.X)
    assert np.median(distribution.precision) > 200


def test_a_galaxy_with_many_votes_says_more(rng: np.random.Generator) -> None:
    # nothing in the vectors; half say 0.9 with 39 votes, half 0.1 with one: of 40 votes 39 x 0.9 + 0.1 are yes
    X, Y = rng.normal(size=(400, 3)), np.tile([[0.9, 0.1], [0.1, 0.9]], (200, 1))
    votes = Y * np.tile([[39], [1]], (200, 1))
    P = VotesHead((BAR,), likelihood="multinomial", alphas=(1e6,)).fit(X, Y, votes).predict(X)
    assert P[:, 0] == pytest.approx(np.full(400, 0.88), abs=0.005)


@pytest.mark.parametrize("likelihood", ["beta-binomial", "dirichlet-multinomial", "multinomial"])
def test_single_numbers_and_categories_are_one_vote(likelihood: str, rng: np.random.Generator) -> None:
    X = rng.normal(size=(600, 3))
    yes = (X[:, 0] + rng.normal(0, 0.3, size=600) > 0).astype(float)
    head = VotesHead((Question("odd"), BAR), likelihood=likelihood).fit(X, np.column_stack([yes, yes, 1 - yes]))
    P = head.predict(X)
    assert P[:, 0] == pytest.approx(P[:, 1], abs=0.02)
    assert ((P[:, 0] > 0.5) == yes).mean() > 0.85
    assert head.totals_.tolist() == [1, 1]


def test_a_rare_answer_keeps_its_share() -> None:
    # nothing in the vectors; galaxies differ widely in how round they are, and little in how odd
    rng = np.random.default_rng(3)
    rounds, odd = rng.beta(0.8, 0.8, 2000), rng.beta(1.4, 21, 2000)
    shares = np.column_stack([rounds * (1 - odd), (1 - rounds) * (1 - odd), odd])
    X, votes = rng.normal(size=(2000, 4)), rng.multinomial(40, shares).astype(float)
    apart, together = (
        VotesHead((SHAPE,), likelihood=likelihood, alphas=(1e4,)).fit(X, votes / 40, votes)
        for likelihood in ("beta-binomial", "dirichlet-multinomial")
    )
    assert apart.predict(X).mean(axis=0) == pytest.approx(votes.mean(axis=0) / 40, abs=0.01)
    assert together.predict(X)[:, 2].mean() > votes[:, 2].mean() / 40 + 0.02
    spreads = [12 * head.place_votes(X, votes / 40, votes).var(axis=0) for head in (apart, together)]
    assert spreads[0] == pytest.approx(np.ones(3), abs=0.1)
    assert spreads[1][2] < 0.7


@pytest.mark.slow
def test_real_votes_have_a_precision_for_each_answer(real_data: Path, rng: np.random.Generator) -> None:
    """Votes of GZ2's Stripe 82 on the first question, which no vector explains."""
    answers = ("a01_smooth", "a02_features_or_disk", "a03_star_or_artifact")
    columns = [f"t01_smooth_or_features_{answer}_count" for answer in answers]
    votes = pd.read_csv(real_data / "gz2_table5_stripe82/table5.csv.gz", usecols=columns)[columns].to_numpy(float)
    votes = votes[votes.sum(axis=1) >= 10]
    X, Y = rng.normal(size=(len(votes), 2)), votes / votes.sum(axis=1, keepdims=True)
    print(f"  {len(votes)} galaxies, observed {Y.mean(axis=0)}")
    means, spreads = {}, {}
    for likelihood in ("beta-binomial", "dirichlet-multinomial", "multinomial"):
        head = VotesHead((SHAPE,), likelihood=likelihood, alphas=(1e6,)).fit(X, Y, votes)
        (distribution,) = head.predict_distributions(X[:1])
        means[likelihood] = distribution.means[0]
        spreads[likelihood] = 12 * head.place_votes(X, Y, votes).var(axis=0)
        print(f"  {likelihood}: {distribution} spread {spreads[likelihood].round(2)}")
    assert means["beta-binomial"] == pytest.approx(Y.mean(axis=0), abs=0.02)
    assert means["dirichlet-multinomial"][2] > Y[:, 2].mean() + 0.03
    assert spreads["beta-binomial"] == pytest.approx(np.ones(3), abs=0.15)
    assert spreads["dirichlet-multinomial"][2] < 0.7
    assert spreads["multinomial"][:2].min() > 1.5


def test_many_galaxies_choose_by_some(sky: Sky, monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y, votes = (values[:900, :3] if values is not sky.X else values[:900] for values in (sky.X, sky.Y, sky.votes))
    monkeypatch.setattr(module, "MAX_JUDGED", 300)
    head = VotesHead((SHAPE,), likelihood="multinomial").fit(X, Y, votes)
    monkeypatch.undo()
    given = VotesHead((SHAPE,), likelihood="multinomial", alphas=head.alpha_).fit(X, Y, votes)
    assert head.predict(X) == pytest.approx(given.predict(X), abs=2e-3)
    # of one fold, fitted on the others
    held_out = cut_folds(np.arange(900), INNER_FOLDS, 0) == 0
    others = VotesHead((SHAPE,), likelihood="multinomial", alphas=head.alpha_)
    others.fit(X[~held_out], Y[~held_out], votes[~held_out])
    scores = r2_score(Y[held_out], others.predict(X[held_out]), multioutput="raw_values")
    assert head.inner_score_ == pytest.approx(scores.mean(), abs=2e-3)


def test_penalties_are_chosen_for_each_question(rng: np.random.Generator) -> None:
    # of the one question the vectors know everything, of the other nothing
    X = rng.normal(size=(500, 10))
    known = rng.binomial(40, 1 / (1 + np.exp(-2 * X[:, 0])))
    votes = np.column_stack([known, 40 - known, rng.multinomial(40, [0.5, 0.5], size=500)])
    questions = (BAR, Question("odd", ("yes", "no")))
    head = VotesHead(questions, likelihood="multinomial").fit(X, votes / 40, votes)
    assert head.alpha_[0] <= 100
    assert head.alpha_[1] >= 1e4


# how sure it is


def test_it_is_calibrated_at_any_number_of_votes(head: VotesHead, other_sky: Sky) -> None:
    places = head.place_votes(other_sky.X, other_sky.Y, other_sky.votes)
    assert np.array_equal(np.isnan(places), np.isnan(other_sky.Y))
    totals = np.nansum(other_sky.votes[:, :3], axis=1)
    for few, _, many in (list(tabulate_pit(places[:, k], totals, (5, 6, 40))) for k in range(3)):
        for row in (few, many):
            assert row["n"] > 1400
            assert row["mean"] == pytest.approx(0.5, abs=0.03)
            assert row["spread"] == pytest.approx(1, abs=0.1)


def test_a_multinomial_is_too_sure_where_volunteers_are_many(sky: Sky, other_sky: Sky) -> None:
    head = VotesHead(QUESTIONS, likelihood="multinomial").fit(sky.X, sky.Y, sky.votes)
    places = head.place_votes(other_sky.X, other_sky.Y, other_sky.votes)[:, 0]
    few, _, many = tabulate_pit(places, np.nansum(other_sky.votes[:, :3], axis=1), (5, 6, 40))
    assert many["spread"] > 1.5
    assert many["p_value"] < 1e-6
    assert few["spread"] < many["spread"]


def test_std_is_the_spread_of_what_is_seen(head: VotesHead, other_sky: Sky) -> None:
    P = head.predict(other_sky.X)
    asked = np.nansum(other_sky.votes[:, :3], axis=1), np.nansum(other_sky.votes[:, 3:], axis=1)
    std = head.predict_std(other_sky.X, np.maximum(np.column_stack(asked), 1))
    for target in range(5):
        rows = ~np.isnan(other_sky.Y[:, target])
        apart = other_sky.Y[rows, target] - P[rows, target]
        assert (apart**2).mean() == pytest.approx((std[rows, target] ** 2).mean(), rel=0.15)


def test_std_without_totals_is_that_of_the_median(head: VotesHead, sky: Sky) -> None:
    asked = np.nansum(sky.votes[:, 3:], axis=1)
    assert head.totals_[1] == np.median(asked[asked > 0])
    assert np.array_equal(head.predict_std(sky.X), head.predict_std(sky.X, head.totals_))
    endless = head.predict_std(sky.X, np.array([np.inf, np.inf]))
    assert (endless <= head.predict_std(sky.X)).all()
    assert (endless < head.predict_std(sky.X)).mean() > 0.9


# the tree


def test_the_tree_gives_the_share_of_volunteers_asked(head: VotesHead, sky: Sky) -> None:
    P = head.predict(sky.X)
    shares = head.predict_asked(sky.X)
    assert shares["shape"].tolist() == [1] * 1500
    assert shares["bar"] == pytest.approx(P[:, 1])
    columns = head.predict_columns(sky.X)
    assert list(columns) == [
        "shape_round_std", "shape_flat_std", "shape_odd_std", "bar_yes_std", "bar_no_std", "bar_asked",
    ]  # fmt: skip
    assert np.array_equal(columns["bar_asked"], shares["bar"])
    assert np.array_equal(columns["bar_no_std"], head.predict_std(sky.X)[:, 4])


def test_the_tree_does_not_enter_the_likelihood(sky: Sky, head: VotesHead) -> None:
    loose = VotesHead((SHAPE, Question("bar", ("yes", "no")))).fit(sky.X, sky.Y, sky.votes)
    assert np.array_equal(loose.predict(sky.X), head.predict(sky.X))
    assert loose.predict_asked(sky.X)["bar"].tolist() == [1] * 1500


# what it refuses


def test_debiased_fractions_and_values(sky: Sky) -> None:
    debiased = Question("bar", ("yes", "no"), fractions="debiased")
    with pytest.raises(HeadError, match="bar are debiased"):
        VotesHead((SHAPE, debiased)).fit(sky.X, sky.Y, sky.votes)
    with pytest.raises(HeadError, match="size is no fraction"):
        VotesHead((Question("size", kind="value"),)).fit(sky.X, sky.Y[:, :1])


def test_an_unknown_likelihood(sky: Sky) -> None:
    with pytest.raises(HeadError, match="beta-binomial or dirichlet-multinomial or multinomial, not 'poisson'"):
        make_head("votes", QUESTIONS, likelihood="poisson").fit(sky.X, sky.Y, sky.votes)


# there and back


@pytest.mark.parametrize(
    "parameters",
    [{}, {"likelihood": "dirichlet-multinomial"}, {"likelihood": "multinomial"}, {"hidden": 8}],
    ids=str,
)
def test_files_restore_it(parameters: dict[str, Any], sky: Sky) -> None:
    few = sky.X[:200], sky.Y[:200], sky.votes[:200]
    head = VotesHead(QUESTIONS, **parameters).fit(*few)
    restored = clone(head).from_arrays(head.to_arrays()).from_files(head.to_files())
    assert restored.predict(sky.X).tobytes() == head.predict(sky.X).tobytes()
    for name, values in head.predict_columns(sky.X).items():
        assert restored.predict_columns(sky.X)[name].tobytes() == values.tobytes()
