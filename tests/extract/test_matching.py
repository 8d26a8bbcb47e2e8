"""Pairs on the sky against the haversine formula, and the agreement of their labels against scipy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr

from embeddings.errors import CatalogError, SommelierError
from embeddings.questions import Question
from extract.catalog import Catalog
from extract.matching import compare_labels, describe_pairs, has_position, match_catalogs, write_pairs

NAN = np.nan
ARCSEC = 1 / 3600  # degrees


def at(ra: Any, dec: Any, prefix: str = "a", questions: Any = (), **columns: Any) -> Catalog:
    ra, dec = np.asarray(ra, float), np.asarray(dec, float)
    ids = [f"{prefix}{row}" for row in range(len(ra))]
    core = {"id_str": ids, "survey": f"survey-{prefix}", "ra": ra, "dec": dec, "image": [f"{i}.png" for i in ids]}
    return Catalog(pd.DataFrame(core | columns), tuple(questions))


def separate(a: Catalog, b: Catalog) -> np.ndarray:
    """Haversine formula: arcsec between every two galaxies."""
    ra1, dec1 = (np.radians(a.frame[name].to_numpy())[:, None] for name in ("ra", "dec"))
    ra2, dec2 = (np.radians(b.frame[name].to_numpy())[None, :] for name in ("ra", "dec"))
    square = np.sin((dec2 - dec1) / 2) ** 2 + np.cos(dec1) * np.cos(dec2) * np.sin((ra2 - ra1) / 2) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(np.clip(square, 0, 1)))) * 3600


def check_pairs(a: Catalog, b: Catalog, radius: float, pairs: pd.DataFrame, once: bool = False) -> None:
    """All pairs inside, none outside, each with its separation, in order; a hair at the edge may go either way."""
    expected = separate(a, b)
    if once:
        expected[np.tril_indices(len(a))] = NAN
    rows = [(int(i[1:]), int(j[1:])) for i, j in zip(pairs["id_a"], pairs["id_b"], strict=True)]
    assert len(set(rows)) == len(rows)
    assert set(zip(*np.nonzero(expected < radius - 1e-6), strict=True)) <= set(rows)
    assert set(rows) <= set(zip(*np.nonzero(expected < radius + 1e-6), strict=True))
    found = np.array([expected[row] for row in rows])
    np.testing.assert_allclose(pairs["separation_arcsec"], found, atol=1e-6, rtol=1e-9)
    keys = list(zip((row for row, _ in rows), pairs["separation_arcsec"], strict=True))
    assert keys == sorted(keys)


# pairs


CENTRES = [(0.0, 0.0), (359.9999, -10.0), (10.0, 89.9995), (200.0, -89.9999), (180.0, 45.0), (0.0001, 60.0)]


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("radius", [0.5, 2.0, 30.0])
def test_pairs_are_those_of_the_haversine_formula(
    centre: tuple[float, float], radius: float, rng: np.random.Generator
) -> None:
    catalogs = []
    for prefix, n in (("a", 60), ("b", 40)):
        dec = np.clip(centre[1] + rng.normal(0, 5 * ARCSEC, n), -90, 90)
        ra = (centre[0] + rng.normal(0, 5 * ARCSEC, n) / math.cos(math.radians(centre[1]))) % 360
        catalogs.append(at(ra, dec, prefix))
    a, b = catalogs
    pairs = match_catalogs(a, b, radius)
    assert len(pairs)
    check_pairs(a, b, radius, pairs)
    check_pairs(b, a, radius, match_catalogs(b, a, radius))
    check_pairs(a, a, radius, match_catalogs(a, a, radius), once=True)


skies = st.lists(
    st.tuples(
        st.sampled_from(CENTRES),
        st.floats(-4, 4),
        st.floats(-4, 4),
    ),
    min_size=1,
    max_size=12,
).map(lambda places: [((c[0] + x * ARCSEC) % 360, float(np.clip(c[1] + y * ARCSEC, -90, 90))) for c, x, y in places])


@given(skies, skies, st.floats(0.01, 20))
@settings(max_examples=50, deadline=None)
def test_any_sky(first: list[tuple[float, float]], second: list[tuple[float, float]], radius: float) -> None:
    a, b = at(*zip(*first, strict=True)), at(*zip(*second, strict=True), "b")
    check_pairs(a, b, radius, match_catalogs(a, b, radius))
    check_pairs(a, a, radius, match_catalogs(a, a, radius), once=True)


def test_the_columns_of_pairs() -> None:
    pairs = match_catalogs(at([10, 20], [0, 0]), at([20, 50], [ARCSEC, 0], "b"), 2)
    assert pairs.columns.tolist() == ["id_a", "survey_a", "id_b", "survey_b", "separation_arcsec"]
    (row,) = pairs.to_dict("records")
    assert row.pop("separation_arcsec") == pytest.approx(1, abs=1e-9)
    assert row == {"id_a": "a1", "survey_a": "survey-a", "id_b": "b0", "survey_b": "survey-b"}


@pytest.mark.parametrize(
    ("ra", "dec", "there"),
    [
        (0, 1.999, True),
        (0, 2.001, False),
        (1.999, 0, True),
        (2.001, 0, False),
        (1.41, 1.41, True),  # sqrt(1.41^2 + 1.41^2) = 1.994
        (1.42, 1.42, False),  # 2.008
        (0, 0, True),
    ],
)
def test_the_edge_of_the_radius(ra: float, dec: float, there: bool) -> None:
    """At the equator, on both sides of ra 0."""
    for start in (0.0, 100.0, 360 - ARCSEC):
        pairs = match_catalogs(at([start], [0]), at([(start + ra * ARCSEC) % 360], [dec * ARCSEC], "b"), 2)
        assert len(pairs) == there


def test_seconds_of_ra_shrink_towards_the_poles() -> None:
    """At 60 deg, 3.9 arcsec of ra are 1.95 arcsec on the sky; at the pole all ra are one place."""
    assert len(match_catalogs(at([10], [60]), at([10 + 3.9 * ARCSEC], [60], "b"), 2)) == 1
    assert len(match_catalogs(at([10], [60]), at([10 + 4.1 * ARCSEC], [60], "b"), 2)) == 0
    assert len(match_catalogs(at([10], [90]), at([200], [90], "b"), 2)) == 1
    assert len(match_catalogs(at([10], [-90 + 0.9 * ARCSEC]), at([190], [-90 + 0.9 * ARCSEC], "b"), 2)) == 1


def test_by_rows_then_nearest_first() -> None:
    a = at([50, 10, 30], [0, 0, 0])
    b = at([10, 30, 10, 50, 10], np.array([1.5, 0.1, 0.5, 0.2, 1.0]) * ARCSEC, "b")
    pairs = match_catalogs(a, b, 2)
    assert pairs["id_a"].tolist() == ["a0", "a1", "a1", "a1", "a2"]
    assert pairs["id_b"].tolist() == ["b3", "b2", "b4", "b0", "b1"]
    np.testing.assert_allclose(pairs["separation_arcsec"], [0.2, 0.5, 1.0, 1.5, 0.1], atol=1e-9)


def test_a_catalog_against_itself_gives_each_pair_once() -> None:
    a = at([10, 20, 10, 10], [0, 0, 0, ARCSEC])
    pairs = match_catalogs(a, a)
    assert list(zip(pairs["id_a"], pairs["id_b"], strict=True)) == [("a0", "a2"), ("a0", "a3"), ("a2", "a3")]
    np.testing.assert_allclose(pairs["separation_arcsec"], [0, 1, 1], atol=1e-9)
    assert len(match_catalogs(at([10, 20], [0, 0]), at([10, 20], [0, 0], "b"))) == 2  # not the same catalog


def test_nothing_in_common() -> None:
    pairs = match_catalogs(at([10], [0]), at([20, 190], [0, 0], "b"))
    assert len(pairs) == 0
    assert pairs["separation_arcsec"].dtype == np.float64


def test_rows_without_a_position_are_passed_over() -> None:
    a = at([10, NAN, 20, 30, 30], [0, 0, NAN, 0, 0])
    b = at([30, NAN, 10, NAN], [0, NAN, 0, 0], "b")
    assert has_position(a).tolist() == [True, False, False, True, True]
    pairs = match_catalogs(a, b)
    assert list(zip(pairs["id_a"], pairs["id_b"], strict=True)) == [("a0", "b2"), ("a3", "b0"), ("a4", "b0")]
    # b0 is in two pairs; a1 and a2, b1 and b3 have no position
    assert describe_pairs(a, b, pairs) == {
        **{"pairs": 3, "galaxies_a": 3, "repeated_a": 0, "unplaced_a": 2},
        **{"galaxies_b": 2, "repeated_b": 1, "unplaced_b": 2},
    }
    assert describe_pairs(a, b, pairs[:0]) == {
        **{"pairs": 0, "galaxies_a": 0, "repeated_a": 0, "unplaced_a": 2},
        **{"galaxies_b": 0, "repeated_b": 0, "unplaced_b": 2},
    }


@pytest.mark.parametrize(("ra", "dec"), [([NAN, NAN], [NAN, NAN]), ([1, NAN], [NAN, 2]), ([], [])])
def test_no_positions_is_not_no_pair(ra: list[float], dec: list[float]) -> None:
    with pytest.raises(CatalogError, match=r"the first catalog \(.*\) has no positions: whether .* cannot be told"):
        match_catalogs(at(ra, dec), at([1], [2], "b"))
    with pytest.raises(CatalogError, match=r"the second catalog \(.*\) has no positions.*--crosswalk"):
        match_catalogs(at([1], [2]), at(ra, dec, "b"))


@pytest.mark.parametrize("radius", [0, -1.0, NAN])
def test_a_radius_that_cannot_be(radius: float) -> None:
    with pytest.raises(CatalogError, match=f"the radius is {radius}; it is a positive number of arcsec"):
        match_catalogs(at([1], [2]), at([1], [2], "b"), radius)


# labels


BAR = Question("bar", ("yes", "no"))
ODD, SIZE = Question("odd"), Question("size", kind="value")


def label(catalog: Catalog, *questions: Question, **columns: Any) -> Catalog:
    return Catalog(catalog.frame.assign(**columns), questions)


def pair_up(n: int) -> pd.DataFrame:
    return pd.DataFrame({"id_a": [f"a{row}" for row in range(n)], "id_b": [f"b{row}" for row in range(n)]})


def test_agreement_is_that_of_scipy(rng: np.random.Generator) -> None:
    """Matched in another order than either catalog's, with gaps on both sides and one galaxy in two pairs."""
    n = 40
    x, y = rng.uniform(size=(2, n)).astype(np.float32), rng.normal(size=(2, n))
    y += 0.7 * x
    x[0, rng.integers(0, n, 8)], y[0, rng.integers(0, n, 8)] = NAN, NAN
    a = label(at(np.arange(n), np.zeros(n)), BAR, SIZE, bar_yes_fraction=x[0], bar_no_fraction=x[1], size=x[0])
    b = label(at(np.arange(n), np.zeros(n), "b"), SIZE, BAR, bar_yes_fraction=y[0], bar_no_fraction=y[1], size=y[1])
    rows = np.stack([rng.permutation(n), rng.permutation(n)])[:, :30]
    rows = np.concatenate([rows, [[rows[0, 0]], [rows[1, 1]]]], axis=1)
    pairs = pd.DataFrame({"id_a": [f"a{i}" for i in rows[0]], "id_b": [f"b{i}" for i in rows[1]]})
    scores = compare_labels(a, b, pairs)
    assert [score["target"] for score in scores] == ["bar_yes", "bar_no", "size"]
    for score, left, right in zip(scores, (x[0], x[1], x[0]), (y[0], y[1], y[1]), strict=True):
        left, right = left[rows[0]].astype(float), right[rows[1]]
        both = ~np.isnan(left) & ~np.isnan(right)
        assert score["n"] == both.sum()
        assert score["r"] == pytest.approx(pearsonr(left[both], right[both]).statistic, abs=1e-12)
        assert score["mean_a"] == pytest.approx(left[both].mean())
        assert score["mean_b"] == pytest.approx(right[both].mean())
    assert 0 < scores[0]["n"] < 31 == scores[1]["n"]


def test_agreement_by_hand() -> None:
    """Deviations (-1, 0, 1) and (-1, 1, 0): r = 1 / (sqrt 2 * sqrt 2)."""
    a = label(at([1, 2, 3, 4], [0] * 4), SIZE, size=[1, 2, 3, NAN])
    b = label(at([1, 2, 3, 4], [0] * 4, "b"), SIZE, size=[1, 3, 2, 9])
    (score,) = compare_labels(a, b, pair_up(4))
    assert score == {"target": "size", "r": pytest.approx(0.5), "n": 3, "mean_a": 2.0, "mean_b": 2.0}


def check_constant(value: float, n: int) -> None:
    a = label(at(np.arange(n), np.zeros(n)), ODD, odd_fraction=np.full(n, value))
    b = label(at(np.arange(n), np.zeros(n), "b"), ODD, odd_fraction=np.arange(n) / 10)
    for scores in (compare_labels(a, b, pair_up(n)), compare_labels(a, a, pair_up(n).assign(id_b=lambda p: p["id_a"]))):
        assert scores[0]["r"] is None
        assert scores[0]["n"] == n
        assert scores[0]["mean_a"] == pytest.approx(value)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.25, 0.5, -3.0])
@pytest.mark.parametrize("n", [2, 3, 7])
def test_constant_labels_agree_in_no_way(value: float, n: int) -> None:
    check_constant(value, n)


@pytest.mark.parametrize(("value", "n"), [(0.1, 3), (0.7, 3), (0.1, 7), (0.7, 7), (1 / 3, 10)])
def test_constants_whose_mean_is_rounded(value: float, n: int) -> None:
    """The mean of three 0.1 is not 0.1 in floating point: their deviations are noise."""
    check_constant(value, n)


def test_too_few_to_compare() -> None:
    a = label(at([1, 2], [0, 0]), ODD, odd_fraction=[0.5, NAN])
    b = label(at([1, 2], [0, 0], "b"), ODD, odd_fraction=[0.25, 1])
    assert compare_labels(a, b, pair_up(2)) == [{"target": "odd", "r": None, "n": 1, "mean_a": 0.5, "mean_b": 0.25}]
    nothing = {"target": "odd", "r": None, "n": 0, "mean_a": None, "mean_b": None}
    assert compare_labels(a, b, pair_up(0)) == [nothing]
    assert compare_labels(label(a, ODD, odd_fraction=[NAN, NAN]), b, pair_up(2)) == [nothing]


def test_only_questions_that_both_ask_alike() -> None:
    n = np.arange(3)
    columns = {"bar_yes_fraction": n / 2, "bar_no_fraction": 1 - n / 2, "odd_fraction": n / 3, "size": n}
    a = label(at(n, n), BAR, ODD, SIZE, **columns)
    others = (
        Question("bar", ("yes", "no"), fractions="debiased"),
        Question("bar", ("no", "yes")),
        Question("bar", ("yes", "no"), "disk-edge-on_no"),
        Question("bars", ("yes", "no")),
    )
    for other in others:
        b = label(at(n, n, "b"), other, ODD, bars_yes_fraction=n, bars_no_fraction=n, **columns)
        assert [score["target"] for score in compare_labels(a, b, pair_up(3))] == ["odd"]


def test_a_value_is_not_taken_for_a_fraction_of_the_same_name() -> None:
    """`size` is the label; `size_fraction` is some other column of the release."""
    n = np.arange(3)
    a = label(at(n, n), SIZE, size=[1, 2, 3], size_fraction=[0.5, 0.5, 0.5])
    b = label(at(n, n, "b"), SIZE, size=[2, 4, 6])
    (score,) = compare_labels(a, b, pair_up(3))
    assert (score["r"], score["mean_a"], score["mean_b"]) == (pytest.approx(1), 2, 4)


# on disk


def test_pairs_on_disk(tmp_path: Path) -> None:
    pairs = match_catalogs(at([10, 20], [0, 0]), at([20, 10], [0, 0], "b"))
    write_pairs(tmp_path / "out" / "pairs.parquet", pairs, tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / "pairs.parquet"), pairs, check_dtype=False)
    write_pairs(tmp_path / "out" / "pairs.parquet", pairs[:1])
    assert len(pd.read_parquet(tmp_path / "out" / "pairs.parquet")) == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["pairs.parquet"]


def test_pairs_replace_no_other_file(tmp_path: Path) -> None:
    pairs = match_catalogs(at([10], [0]), at([10], [0], "b"))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SommelierError, match=r"notes\.txt"):
        write_pairs(tmp_path / "notes.txt", pairs)
    pairs.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(SommelierError, match=r"a\.parquet"):
        write_pairs(tmp_path / "a.parquet", pairs[:0], tmp_path / "a.parquet")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(pd.read_parquet(tmp_path / "a.parquet")) == 1
