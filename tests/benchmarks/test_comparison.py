"""Tests, Holm's correction and ranks against hand computation, scipy, and closed testing written out."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, ttest_rel

from benchmarks.comparison import adjust_holm, compare_models, compute_p, rank_models, show_rank
from benchmarks.resampling import draw_seeds
from benchmarks.statistics import Score
from embeddings.errors import SommelierError

N = 20_000
SAME = np.random.default_rng(0).normal(0, 0.05, N)  # what galaxies do to all models alike


def score(value: float, own: float = 0.01, seed: int = 0, **more: object) -> Score:
    """A score whose draws share most, and differ by `own`."""
    return Score(value, value + SAME + np.random.default_rng([7, seed]).normal(0, own, N), **more)  # type: ignore[arg-type]


def test_p_by_hand() -> None:
    # 9,999 differences around d = 2, of which 30 are at least 2 away: p = (30 + 1) / (9,999 + 1)
    draws = np.concatenate([np.full(20, 4.0), np.full(10, -0.5), np.full(9_970, 2.1)])
    with pytest.raises(SommelierError, match=r"at least 10000 resamples, these are 9999"):
        compute_p(Score(2.0, draws[1:]))
    # 10,000 of which 30 are: 31 / 10,001; one without a difference counts as far
    assert compute_p(Score(2.0, draws)) == 31 / 10_001
    assert compute_p(Score(-2.0, -draws)) == 31 / 10_001
    draws[-1] = np.nan
    assert compute_p(Score(2.0, draws)) == 32 / 10_001
    assert compute_p(Score(5.0, np.full(10_000, 5.0))) == 1 / 10_001  # never 0
    assert compute_p(Score(0.0, draws)) == 1
    assert np.isnan(compute_p(Score(np.nan, draws)))


def test_p_of_a_normal_difference_is_that_of_the_normal_distribution() -> None:
    difference = score(0.53, 0.01, 1) - score(0.5, 0.01, 2)
    assert compute_p(difference) == pytest.approx(2 * norm.sf(0.03 / np.hypot(0.01, 0.01)), rel=0.15)


def test_where_seeds_decide_p_is_students_paired() -> None:
    seeds, a, b = [0, 1, 2, 3, 4], np.array([0.51, 0.55, 0.50, 0.56, 0.53]), np.array([0.50, 0.52, 0.51, 0.54, 0.50])
    luck = draw_seeds(seeds, 0, 200_000)
    scores = [Score(x.mean(), np.full(200_000, x.mean()), 5, luck @ x, 4) for x in (a, b)]
    difference = scores[0] - scores[1]
    theirs = ttest_rel(a, b)
    assert compute_p(difference) == pytest.approx(theirs.pvalue, rel=0.03)
    assert difference.interval == pytest.approx(tuple(theirs.confidence_interval(0.95)), abs=0.001)


def test_holm_by_hand() -> None:
    # ascending 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04, and the last is raised to 0.06
    assert adjust_holm([0.01, 0.04, np.nan, 0.03, 0.005]) == pytest.approx(
        [0.03, 0.06, np.nan, 0.06, 0.02], nan_ok=True
    )
    assert adjust_holm([0.9, 0.8]).tolist() == [1, 1]
    assert adjust_holm([]).tolist() == []


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_of_bonferroni(p: list[float]) -> None:
    """A hypothesis falls when every set of hypotheses that holds it does: the largest of the sets' Bonferroni p."""
    numbers = range(len(p))
    sets = [chosen for size in range(1, len(p) + 1) for chosen in combinations(numbers, size)]
    expected = [max(min(1, len(c) * min(p[i] for i in c)) for c in sets if number in c) for number in numbers]
    assert adjust_holm(p) == pytest.approx(expected)


def test_the_table_is_one_family() -> None:
    scores = {
        "sdss": {"ridge": score(0.50, seed=1, runs=5), "mlp": score(0.60, seed=2, runs=5),
                 "mean": Score(np.nan, np.full(N, np.nan), 5)},
        "decals": {"ridge": score(0.40, seed=3, runs=5), "mlp": score(0.401, seed=4)},
    }  # fmt: skip
    better, nothing, alike = compare_models(scores, "ridge")
    assert (better.test, better.model, better.verdict, better.note) == ("sdss", "mlp", "higher", "")
    assert better.difference.value == pytest.approx(0.1)
    assert better.p == 1 / (N + 1)
    assert better.p_family == 2 * better.p  # of two: one without a score is no test
    assert (nothing.verdict, nothing.to_dict()["p"]) == ("not comparable", None)
    assert (alike.verdict, alike.note) == ("not told apart", "single run")
    (down,) = (one for one in compare_models(scores, "mlp") if one.test == "sdss" and one.model == "ridge")
    assert down.verdict == "lower"
    assert down.to_dict()["difference"][0] == pytest.approx(-0.1)


def test_a_reference_that_is_not_there() -> None:
    with pytest.raises(SommelierError, match=r"sdss has no score of 'rigde'.*Did you mean 'ridge'"):
        compare_models({"sdss": {"ridge": score(0.5)}}, "rigde")


def test_scores_of_other_galaxies_or_draws_are_not_compared() -> None:
    with pytest.raises(SommelierError, match="no paired difference"):
        score(0.5, key="a") - score(0.4, key="b")
    with pytest.raises(SommelierError, match="no paired difference"):
        score(0.5) - Score(0.4, np.zeros(3))
    assert (score(0.5, key="a") - score(0.4, key="a")).key == "a"


def test_ranks_by_hand() -> None:
    # best is above all; second and third cannot be told apart; last is below all; the mean has no score
    scores = {"third": score(0.699, seed=1), "best": score(0.9, seed=2), "last": score(0.3, seed=3),
              "second": score(0.70, seed=4), "mean": Score(np.nan, np.full(N, np.nan))}  # fmt: skip
    ranks = rank_models(scores)
    assert ranks == {"third": (2, 3), "best": (1, 1), "last": (4, 4), "second": (2, 3), "mean": None}
    assert [show_rank(ranks[name]) for name in ("best", "second", "mean")] == ["1", "2-3", "-"]
    assert rank_models({"alone": score(0.5)}) == {"alone": (1, 1)}
