"""What simulated volunteers say, how they walk the trees, and what debiasing makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logit

from embeddings.errors import SommelierError
from extract.schema import CAMPAIGNS
from extract.simulation.answers import DISAGREEMENT, expect_shares
from extract.simulation.volunteers import (
    clear_sight,
    debias_fractions,
    draw_volunteers,
    raw_fractions,
    walk_tree,
)
from tests.extract.simulation.sky import KINDS, ODDITIES, draw_sight, draw_truth

GZ2, DR5 = CAMPAIGNS["gz2"], CAMPAIGNS["dr5"]
PLAIN = {
    "kind": "spiral", "inclination": 20.0, "bulge_boxy": False, "bar_strength": 0.0, "arms": 2, "pitch": 18.0,
    "odd": "", "odd_strength": 0.0, "bulge_fraction": 0.16, "axis_ratio": 0.9, "ring_strength": 0.0, "knots": 0.0,
}  # fmt: skip
NOTHING = {
    "disk": 0.0, "arms": 0.0, "bar": 0.0, "ring": 0.0, "odd": 0.0, "clumps": 0.0, "bulge_fraction": 0.16,
    "axis_ratio": 0.9, "artifact": 0.0, "snr": np.inf,
}  # fmt: skip


def say(campaign: str = "gz2", truth: dict[str, Any] | None = None, **seen: Any) -> dict[str, dict[str, float]]:
    """What is expected of one galaxy, by question and answer."""
    shares = expect_shares(pd.DataFrame([PLAIN | (truth or {})]), pd.DataFrame([NOTHING | seen]), CAMPAIGNS[campaign])
    questions = CAMPAIGNS[campaign].questions
    return {q.name: dict(zip(q.answers, shares[q.name][0].tolist(), strict=True)) for q in questions}


unit = st.floats(0, 1)
galaxies = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(KINDS), "inclination": st.floats(0, 90), "bulge_boxy": st.booleans(),
        "bar_strength": unit, "arms": st.integers(0, 6), "pitch": st.floats(5, 40),
        "odd": st.sampled_from(("", *ODDITIES)), "odd_strength": unit, "bulge_fraction": unit, "axis_ratio": unit,
        "ring_strength": unit,
        "knots": unit,
    }
)  # fmt: skip
sights = st.fixed_dictionaries(dict.fromkeys(NOTHING, unit) | {"snr": st.floats(1e-3, 1e5)})


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(CAMPAIGNS)), st.lists(st.tuples(galaxies, sights), min_size=1, max_size=4), st.integers(0)
)
def test_shares_are_shares_and_votes_are_kept(name: str, drawn: list[tuple[dict, dict]], seed: int) -> None:
    campaign, rng = CAMPAIGNS[name], np.random.default_rng(seed)
    truth, sight = (pd.DataFrame(list(rows)) for rows in zip(*drawn, strict=True))
    shares = expect_shares(truth, sight, campaign, rng)
    volunteers = rng.integers(0, 60, len(truth))
    votes = walk_tree(shares, campaign, volunteers, rng)
    debiased = debias_fractions(votes, truth, sight, campaign)
    assert list(votes) == [target for question in campaign.questions for target in question.targets]
    for question in campaign.questions:
        assert shares[question.name].shape == (len(truth), len(question.answers))
        assert (shares[question.name] > 0).all()
        np.testing.assert_allclose(shares[question.name].sum(axis=1), 1, atol=1e-12)
        asked = votes[question.parent] if question.parent else volunteers
        asked = asked - votes[question.unless] if question.unless else asked
        total = sum(votes[target] for target in question.targets)
        np.testing.assert_array_equal(total, asked)
        fractions = debiased[question.name]
        np.testing.assert_array_equal(np.isnan(fractions).all(axis=1), total == 0)
        assert ((fractions[total > 0] >= 0) & (fractions[total > 0] <= 1)).all()
        np.testing.assert_allclose(fractions[total > 0].sum(axis=1), 1, atol=1e-12)


def test_shares_by_hand() -> None:
    """A round ball: featured 1 / (1 + e^2.1) = 0.10910, not an artifact 0.985; 3 % answer without looking."""
    ball = say(truth={"kind": "elliptical"}, axis_ratio=1.0)["smooth-or-featured"]
    assert ball["featured-or-disk"] == pytest.approx(0.97 * 0.985 * 0.10910 + 0.01, abs=2e-5)
    assert ball["artifact"] == pytest.approx(0.97 * 0.015 + 0.01, abs=1e-12)
    # the bulge's root is 0.4: 1/(1 + e^2.8) = 0.05732 below, 1/(1 + e^0.2) = 0.45017, 1/(1 + e^-5.2) = 0.99451
    bulge = say()["bulge-size"]
    expected = np.diff([0, 0.05732, 0.45017, 0.99451, 1]) * 0.97 + 0.03 / 4
    np.testing.assert_allclose(list(bulge.values()), expected, atol=2e-5)
    # two plain arms: a neighbour has e^(-1/0.35) = 0.05744 of their votes, and 6 % cannot tell
    counts = say(arms=1.0)["spiral-arm-count"]
    weights = np.exp(-np.array([1, 0, 1, 2, 3]) / 0.35)
    assert counts["2"] == pytest.approx(0.97 * 0.94 / weights.sum() + 0.03 / 6, abs=1e-9)
    assert counts["cant-tell"] == pytest.approx(0.97 * 0.06 + 0.03 / 6)


@pytest.mark.parametrize(
    ("seen", "question", "answer"),
    [
        ("disk", "smooth-or-featured", "featured-or-disk"),
        ("arms", "smooth-or-featured", "featured-or-disk"),
        ("bar", "smooth-or-featured", "featured-or-disk"),
        ("clumps", "smooth-or-featured", "featured-or-disk"),
        ("artifact", "smooth-or-featured", "artifact"),
        ("arms", "has-spiral-arms", "yes"),
        ("bar", "bar", "yes"),
        ("odd", "something-odd", "yes"),
        ("ring", "odd-feature-gz2", "ring"),
        ("bulge_fraction", "bulge-size", "dominant"),
        ("bulge_fraction", "bulge-shape", "round"),
        ("axis_ratio", "how-rounded", "round"),
        ("arms", "spiral-arm-count", "2"),
    ],
)
def test_what_is_seen_better_is_said_more(seen: str, question: str, answer: str) -> None:
    said = [say(**{seen: value})[question][answer] for value in np.linspace(0, 1, 6)]
    assert (np.diff(said) > 0).all()
    assert said[-1] > said[0] + 0.1


def test_what_is_there_is_said_where_it_is_seen() -> None:
    for arms, answer in ((1, "1"), (3, "3"), (4, "4"), (5, "more-than-4"), (6, "more-than-4")):
        counts = say(truth={"arms": arms}, arms=1.0)["spiral-arm-count"]
        assert max(counts, key=counts.__getitem__) == answer
    hidden = say(truth={"arms": 4})["spiral-arm-count"]
    assert max(hidden, key=hidden.__getitem__) == "cant-tell"
    for odd in ODDITIES:
        feature = say(truth={"odd": odd}, odd=1.0)["odd-feature-gz2"]
        assert max(feature, key=feature.__getitem__) == odd
    for pitch, answer in ((8, "tight"), (25, "medium"), (40, "loose")):
        winding = say(truth={"pitch": pitch}, arms=1.0)["spiral-winding"]
        assert max(winding, key=winding.__getitem__) == answer
        assert winding[answer] > say(truth={"pitch": pitch}, arms=0.0)["spiral-winding"][answer]
    edge_on = [
        say(truth={"inclination": angle}, axis_ratio=0.2)["disk-edge-on"]["yes"] for angle in (50, 70, 75, 80, 90)
    ]
    assert (np.diff(edge_on) > 0).all()
    assert edge_on[0] < 0.1
    assert edge_on[-1] > 0.9
    rounder = say(truth={"inclination": 80.0}, axis_ratio=0.5)["disk-edge-on"]["yes"]  # seeing makes it rounder
    assert rounder < edge_on[3] - 0.2
    assert say(axis_ratio=0.15)["how-rounded"]["cigar"] > 0.9
    assert say(truth={"bulge_boxy": True}, bulge_fraction=0.5)["bulge-shape"]["boxy"] > 0.5
    assert say(snr=3.0)["smooth-or-featured"]["artifact"] > 0.2


def test_each_campaign_has_its_own_words() -> None:
    merger = {"odd": "merger", "odd_strength": 0.9}
    assert say("dr12")["merging-dr12"]["neither"] > 0.85
    assert say("dr12", merger, odd=1.0)["merging-dr12"]["merger"] > 0.5
    assert say("dr5", merger, odd=1.0)["merging-dr5"]["merger"] > 0.5
    gentle, violent = (
        say("dr5", {"odd": "disturbed", "odd_strength": strength}, odd=1.0)["merging-dr5"] for strength in (0.2, 0.95)
    )
    assert max(gentle, key=gentle.__getitem__) == "minor-disturbance"
    assert max(violent, key=violent.__getitem__) == "major-disturbance"
    for strength, answer in ((0.1, "weak"), (0.3, "strong")):
        bar = say("dr5", {"bar_strength": strength}, bar=1.0)["bar-dr5"]
        assert max(bar, key=bar.__getitem__) == answer
    sizes = [say("dr5", bulge_fraction=fraction)["bulge-size-dr5"] for fraction in (0.0, 0.04, 0.18, 0.5, 1.0)]
    commonest = [max(size, key=size.__getitem__) for size in sizes]
    assert commonest == ["none", "small", "moderate", "large", "dominant"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # means of real tables: a thousand galaxies of GZ2 and as many of UKIDSS; edge-on is between GZ2's 0.10 and 0.24
        ("gz2", {"smooth-or-featured": (0.514, 0.446, 0.041), "bar": (0.201,), "something-odd": (0.232,)}),
        ("gz2", {"has-spiral-arms": (0.358,), "disk-edge-on": (0.17,)}),
        ("ukidss", {"smooth-or-featured": (0.637, 0.234, 0.129), "bar": (0.113,), "something-odd": (0.143,)}),
        ("dr5", {"smooth-or-featured": (0.525, 0.353, 0.122)}),  # 3,947 real rows of GZD-5
    ],
)
def test_a_mixed_sample_is_answered_about_as_the_real_one(name: str, expected: dict[str, tuple[float, ...]]) -> None:
    campaign, truth, rng = CAMPAIGNS[name], draw_truth(4000), np.random.default_rng(3)
    shares = expect_shares(truth, draw_sight(truth, campaign.survey), campaign, rng)
    votes = walk_tree(shares, campaign, draw_volunteers(campaign.survey, len(truth), rng), rng)
    for question in campaign.questions:
        means = np.nanmean(raw_fractions(votes, question), axis=0)
        for mean, real in zip(means, expected.get(question.name, ()), strict=False):
            assert mean == pytest.approx(real, abs=0.07), question.name


def test_surveys_that_see_less_find_less() -> None:
    truth = draw_truth(2000)
    seen = {s: expect_shares(truth, draw_sight(truth, s), GZ2) for s in ("decals", "sdss", "ukidss")}
    for question, answer in (("smooth-or-featured", 1), ("has-spiral-arms", 0), ("bar", 0), ("something-odd", 0)):
        means = [shares[question][:, answer].mean() for shares in seen.values()]
        assert means == sorted(means, reverse=True), question


def test_votes_are_multinomial(rng: np.random.Generator) -> None:
    """Pooled over galaxies that look alike, against the expected counts."""
    truth, sight = pd.DataFrame([PLAIN] * 3000), pd.DataFrame([NOTHING | {"arms": 0.6, "disk": 0.8}] * 3000)
    shares = expect_shares(truth, sight, GZ2)
    votes = walk_tree(shares, GZ2, np.full(3000, 40), rng)
    for question in GZ2.questions:
        counts = np.array([votes[target].sum() for target in question.targets])
        assert stats.chisquare(counts, shares[question.name][0] * counts.sum()).pvalue > 1e-4, question.name
    featured = votes["smooth-or-featured_featured-or-disk"]
    p = shares["smooth-or-featured"][0, 1]
    assert featured.var() == pytest.approx(40 * p * (1 - p), rel=0.1)


def test_people_disagree_where_nothing_explains_it(rng: np.random.Generator) -> None:
    truth, sight = pd.DataFrame([PLAIN] * 4000), pd.DataFrame([NOTHING] * 4000)
    alike = expect_shares(truth, sight, GZ2)["bar"]
    assert (alike == alike[0]).all()
    apart = logit(expect_shares(truth, sight, GZ2, rng)["bar"][:, 0])
    assert apart.std() == pytest.approx(np.sqrt(2) * DISAGREEMENT, rel=0.05)  # of two answers, each its own
    assert apart.mean() == pytest.approx(logit(alike[0, 0]), abs=0.05)


def test_debiasing_changes_nothing_where_nothing_is_hidden(rng: np.random.Generator) -> None:
    truth = draw_truth(300)
    sight = clear_sight(truth, draw_sight(truth))
    votes = walk_tree(expect_shares(truth, sight, GZ2), GZ2, np.full(300, 40), rng)
    debiased = debias_fractions(votes, truth, sight, GZ2)
    for question in GZ2.questions:
        np.testing.assert_allclose(debiased[question.name], raw_fractions(votes, question), atol=1e-12)


def test_debiasing_gives_back_what_the_image_hides(rng: np.random.Generator) -> None:
    truth = draw_truth(3000)
    sight = draw_sight(truth, "ukidss")
    clear = clear_sight(truth, sight)
    votes = walk_tree(expect_shares(truth, sight, GZ2, rng), GZ2, np.full(3000, 40), rng)
    debiased = debias_fractions(votes, truth, sight, GZ2)["smooth-or-featured"][:, 1]
    best = expect_shares(truth, clear, GZ2)["smooth-or-featured"][:, 1]
    raw = raw_fractions(votes, GZ2.questions[0])[:, 1]
    assert abs(debiased.mean() - best.mean()) < 0.03 < abs(raw.mean() - best.mean())
    assert np.abs(debiased - best).mean() < 0.6 * np.abs(raw - best).mean()
    chosen = debias_fractions(votes, truth, sight, GZ2, clear=sight)["smooth-or-featured"][:, 1]
    np.testing.assert_allclose(chosen, raw, atol=1e-12)


def test_a_tables_index_is_not_its_order(rng: np.random.Generator) -> None:
    truth = draw_truth(50)
    sight = draw_sight(truth)
    votes = walk_tree(expect_shares(truth, sight, GZ2), GZ2, np.full(50, 40), rng)
    here = debias_fractions(votes, truth, sight, GZ2)
    there = debias_fractions(votes, truth.set_index(truth.index[::-1]), sight, GZ2)
    for name, values in here.items():
        np.testing.assert_array_equal(values, there[name])


def test_as_many_volunteers_as_in_the_real_campaigns(rng: np.random.Generator) -> None:
    gz2 = draw_volunteers("sdss", 100_000, rng)  # total_classifications of gz2_hart16
    assert (gz2.min(), gz2.max()) == (16, 79)
    assert gz2.mean() == pytest.approx(42.6, abs=0.1)
    for at_least, share in ((30, 0.984), (40, 0.731), (50, 0.105)):
        assert (gz2 >= at_least).mean() == pytest.approx(share, abs=0.005)
    decals = draw_volunteers("decals", 10_000, rng)
    assert decals.mean() == pytest.approx(40, abs=1)
    assert decals.min() >= 20
    ukidss = draw_volunteers("ukidss", 10_000, rng)
    assert (ukidss == 40).mean() > 0.9
    assert 0 < (ukidss <= 10).mean() < 0.01
    with pytest.raises(SommelierError, match=r"no volunteers look at 'sdds'\. Did you mean 'sdss'"):
        draw_volunteers("sdds", 3, rng)


def test_what_is_missing_is_named() -> None:
    truth, sight = pd.DataFrame([PLAIN]), pd.DataFrame([NOTHING])
    with pytest.raises(SommelierError, match="truth has no column 'pitch'"):
        expect_shares(truth.drop(columns="pitch"), sight, GZ2)
    with pytest.raises(SommelierError, match="sight: the column 'snr' has gaps"):
        expect_shares(truth, sight.assign(snr=np.nan), GZ2)
    with pytest.raises(SommelierError, match="truth has 1 galaxies and sight 2"):
        expect_shares(truth, pd.concat([sight, sight]), DR5)
