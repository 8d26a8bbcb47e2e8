"""Predictions from anywhere: published numbers, scipy, and what is said about pooled figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr

from benchmarks.predictions import Answers, Pairing, read_pairing
from benchmarks.scoring import find_unasked, score_pairing, score_question
from embeddings.errors import CatalogError, SommelierError
from embeddings.questions import Question
from extract.catalog import Catalog

NAN = float("nan")
SHAPE, ARMS = Question("shape", ("round", "flat")), Question("arms", ("yes", "no"), "shape_flat")
STUDY = ("t02_edgeon_a04_yes_fraction", "t02_edgeon_a05_no_fraction", "t06_odd_a14_yes_fraction")


def write_study(file: Path, Y: np.ndarray, P: np.ndarray, columns=STUDY, **more) -> Path:
    np.savez(file, true_labels=Y, predictions=P, label_columns=np.array(columns), **more)
    return file


def write_catalog(file: Path, ids: list[str], votes: np.ndarray, totals: np.ndarray) -> Path:
    """Votes for round and flat, then arms; NaN fractions where nobody was asked."""
    frame = pd.DataFrame({"id_str": ids, "survey": "mine", "ra": np.arange(len(ids)), "dec": 0.0, "image": "x.png"})
    for question, columns in ((SHAPE, (0, 1)), (ARMS, (2, 3))):
        frame[question.total_column] = totals[:, columns[0]]
        for target, column in zip(question.targets, columns, strict=True):
            frame[target] = votes[:, column]
            with np.errstate(invalid="ignore"):
                frame[f"{target}_fraction"] = votes[:, column] / totals[:, column]
    return Catalog(frame, (SHAPE, ARMS), str(file.parent)).write(file)


# the reference study's own files


@pytest.mark.parametrize(
    ("survey", "published", "r", "floor"),
    [
        # FACTS of the study's files: pooled r, its square, MAE, MSE, R2; mean r per target; pooled r of the means
        ("sdss", (0.8928, 0.7971, 0.0852, 0.0248, 0.7970), None, 0.672),
        ("ukidss", (0.8393, 0.7043, 0.1411, 0.0459, 0.6892), 0.650, None),
    ],
)
def test_the_published_figures(
    survey: str, published: tuple[float, ...], r: float | None, floor: float | None, real_data: Path
) -> None:
    file = real_data / f"gz_labels_and_predictions/{survey}_predictions_1000.npz"
    record = score_pairing(read_pairing(file)).to_dict()
    keys = ("pooled_r", "pooled_r_squared", "mae", "mse", "r2")
    assert tuple(record[key] for key in keys) == pytest.approx(published, abs=0.00005)
    if r:
        assert record["macro"]["r"][0] == pytest.approx(r, abs=0.0005)
    if floor:
        assert record["mean_predictor"]["pooled_r"] == pytest.approx(floor, abs=0.0005)
    (first, *_) = record["questions"]
    assert first["question"] == "smooth-or-featured"
    if survey == "ukidss":
        assert first["accuracy"] == pytest.approx(0.852, abs=0.0005)
        by_name = {target["target"]: target for target in record["per_target"]}
        assert by_name["t03_bar_a06_bar_fraction"]["r"] == pytest.approx(0.5207, abs=0.00005)
        assert by_name["t04_spiral_a08_spiral_fraction"]["mae"] == pytest.approx(0.1824, abs=0.00005)
        # 3.3 % of the galaxies were not asked about edge-on, 6.6 % about bar and arms (6.4 % of all 70,845), two
        # answers each: 2 * (33 + 66 + 66) = 330
        assert any(warning.startswith("330 labels (3%)") for warning in record["warnings"])
        asked = {question["question"]: question["n"] for question in record["questions"]}
        assert (asked["disk-edge-on"], asked["bar"], asked["has-spiral-arms"]) == (967, 934, 934)
    else:
        assert any("74 columns are 37 different answers" in warning for warning in record["warnings"])


def test_figures_of_a_small_study_are_scipys(tmp_path: Path, rng: np.random.Generator) -> None:
    Y, P = rng.uniform(size=(30, 3)), rng.uniform(size=(30, 3))
    record = score_pairing(read_pairing(write_study(tmp_path / "s.npz", Y, P))).to_dict()
    assert record["pooled_r"] == pytest.approx(pearsonr(Y.ravel(), P.ravel()).statistic)
    assert record["mse"] == pytest.approx(((Y - P) ** 2).mean())
    each = [pearsonr(y, p).statistic for y, p in zip(Y.T, P.T, strict=True)]
    assert [target["r"] for target in record["per_target"]] == pytest.approx(each)
    value, low, high = record["macro"]["r"]
    assert value == pytest.approx(np.mean(each))
    assert low < value < high
    means = np.tile(Y.mean(axis=0), (30, 1))
    assert record["mean_predictor"]["pooled_r"] == pytest.approx(pearsonr(Y.ravel(), means.ravel()).statistic)
    json.dumps(record, allow_nan=False)


# zeros that are no answers


def test_galaxies_that_nobody_was_asked_about_do_not_count_as_right() -> None:
    Y = np.array([[0.9, 0.1], [0.2, 0.8], [0.0, 0.0], [NAN, NAN], [0.5, 0.5], [0.7, 0.3]])
    P = np.array([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.8, 0.2]])
    record = score_question(Answers("edge", "", (0, 1)), Y, P)
    # asked: rows 0, 1, 4, 5; right: 0, 4 (a tie), 5. The first answer leads in 0, 4, 5, the second in 1, 4
    assert (record["accuracy"], record["majority"], record["n"]) == (0.75, 0.75, 4)


def test_zeros_of_unasked_questions_are_found_counted_and_left_out_if_asked(tmp_path: Path) -> None:
    Y = np.array([[1.0, 0, 0.5], [0, 0, 0], [0.25, 0.75, 0.5], [0.5, 0.5, 1]])
    P = np.array([[0.8, 0.2, 0.5], [0.9, 0.1, 0.1], [0.3, 0.7, 0.4], [0.4, 0.6, 0.9]])
    pairing = read_pairing(write_study(tmp_path / "s.npz", Y, P))
    assert pairing.answers == (Answers("disk-edge-on", "fraction", (0, 1)),)  # of something-odd one answer is missing
    unasked = find_unasked(pairing.Y, [answers.columns for answers in pairing.answers])
    assert unasked.tolist() == [[False] * 3, [True, True, False], [False] * 3, [False] * 3]
    assert not find_unasked(Y, [(1,), (2,)]).any()  # 0 is an answer where there is no other
    filled, asked = (score_pairing(pairing, drop).to_dict() for drop in (False, True))
    assert any(warning.startswith("2 labels (17%) are zeros") for warning in filled["warnings"])
    assert not any("zeros" in warning for warning in asked["warnings"])
    rows = [0, 2, 3]
    assert asked["per_target"][0]["r"] == pytest.approx(pearsonr(Y[rows, 0], P[rows, 0]).statistic)
    assert [target["n"] for target in asked["per_target"]] == [3, 3, 4]
    assert filled["pooled_r"] == pytest.approx(pearsonr(Y.ravel(), P.ravel()).statistic)


def test_a_constant_prediction_is_called_what_it_is(rng: np.random.Generator) -> None:
    P = np.tile([0.1, 0.9], (200, 1))
    Y = P + rng.uniform(-0.1, 0.1, (200, 2))
    scoring = score_pairing(Pairing(Y, P, ("a", "b"), (), np.arange(200)))
    r = pearsonr(Y.ravel(), P.ravel()).statistic
    assert r > 0.98
    assert scoring.warnings[0].endswith(f"This one is {r:.3f}; the mean r over targets is not defined")
    assert scoring.to_dict()["macro"]["r"] == [None, None, None]


# tables


def test_two_tables_are_joined_by_id(tmp_path: Path, rng: np.random.Generator) -> None:
    ids = [f"58772295223102674{number}" for number in range(10)] + ["rest"]
    totals = np.full((11, 4), 20.0)
    flat = rng.integers(1, 19, 11)
    totals[:, 2:] = flat[:, None]
    totals[3, 2:] = 0  # nobody was asked about arms
    arms = np.minimum(rng.integers(0, 10, 11), totals[:, 2])
    votes = np.stack([20 - flat, flat, arms, totals[:, 2] - arms], axis=1)
    catalog = write_catalog(tmp_path / "c.parquet", ids, votes, totals)
    P = rng.uniform(size=(11, 4))
    columns = [*SHAPE.targets, *ARMS.targets]
    table = pd.DataFrame(P, columns=columns).assign(id_str=[*ids[:10], "unknown"], shape_round_std=0.1)
    table.sample(frac=1, random_state=0).to_parquet(tmp_path / "p.parquet")
    pairing = read_pairing(tmp_path / "p.parquet", catalog)
    scoring = score_pairing(pairing)
    y, p = votes[:10, 2] / np.where(totals[:10, 2] > 0, totals[:10, 2], NAN), P[:10, 2]
    there = np.isfinite(y)
    record = scoring.to_dict()
    assert record["rows"] == 10
    assert record["per_target"][2]["r"] == pytest.approx(pearsonr(y[there], p[there]).statistic, abs=1e-6)
    assert record["per_target"][2]["n"] == 9
    assert [question["question"] for question in record["questions"]] == ["shape", "arms"]
    assert record["notes"] == [
        "1 predicted galaxies have no labels: left out",
        "1 labelled galaxies are not predicted: left out",
        "no labels for the columns shape_round_std: left out",
    ]
    assert set(record["ceiling"]) == {"r", "r2", "answers_of_noise"}
    few = score_pairing(read_pairing(tmp_path / "p.parquet", catalog, min_votes=10)).to_dict()
    assert few["per_target"][2]["n"] == int((totals[:10, 2] >= 10).sum())
    # the same labels as a plain table: no votes, no ceiling
    labels = pd.read_parquet(catalog)[["id_str", *(f"{target}_fraction" for target in columns)]]
    labels.to_csv(tmp_path / "labels.csv", index=False)
    plain = score_pairing(read_pairing(tmp_path / "p.parquet", tmp_path / "labels.csv")).to_dict()
    assert plain["pooled_r"] == pytest.approx(record["pooled_r"], abs=1e-6)
    assert plain["ceiling"] is None


def test_files_that_cannot_be_scored(tmp_path: Path) -> None:
    Y = np.full((3, 3), 0.5)
    study = write_study(tmp_path / "s.npz", Y, Y)
    with pytest.raises(SommelierError, match="holds its own labels: leave out"):
        read_pairing(study, study)
    with pytest.raises(SommelierError, match=r"labels \(3, 3\), predictions \(2, 3\), 3 names"):
        read_pairing(write_study(tmp_path / "t.npz", Y, Y[:2]))
    with pytest.raises(SommelierError, match="names 'a' twice"):
        read_pairing(write_study(tmp_path / "t.npz", Y, Y, ("a", "b", "a")))
    with pytest.raises(SommelierError, match="infinite"):
        read_pairing(write_study(tmp_path / "t.npz", Y, Y * np.inf))
    np.savez(tmp_path / "t.npz", true_labels=Y, predictions=Y)
    with pytest.raises(SommelierError, match="label_columns"):
        read_pairing(tmp_path / "t.npz")
    np.savez(tmp_path / "t.npz", true_labels=Y, predictions=Y, label_columns=np.array(["a", None, {}]))
    with pytest.raises(SommelierError, match=r"cannot be read: .*allow_pickle"):
        read_pairing(tmp_path / "t.npz")
    (tmp_path / "t.npz").write_bytes(b"no zip")
    with pytest.raises(SommelierError, match="cannot be read"):
        read_pairing(tmp_path / "t.npz")
    with pytest.raises(SommelierError, match="does not exist"):
        read_pairing(tmp_path / "none.npz")
    everything = write_study(tmp_path / "t.npz", Y * NAN, Y)
    with pytest.raises(SommelierError, match="no galaxy has both a label and a prediction"):
        score_pairing(read_pairing(everything))


def test_tables_that_do_not_belong_together(tmp_path: Path) -> None:
    def write(file: str, **columns) -> Path:
        pd.DataFrame(columns).to_csv(tmp_path / file, index=False)
        return tmp_path / file

    predictions = write("p.csv", id_str=["1", "2"], odd=[0.1, 0.2])
    with pytest.raises(SommelierError, match=r"holds no labels\. Give a catalog, a store or a table"):
        read_pairing(predictions)
    with pytest.raises(SommelierError, match=r"have no id_str in common: 1, 2 there, 3, 4 here"):
        read_pairing(predictions, write("l.csv", id_str=["3", "4"], odd=[0.1, 0.2]))
    with pytest.raises(
        SommelierError, match=r"has no label of what .* predicts. Predicted: odd; labels: none of these"
    ):
        read_pairing(predictions, write("l.csv", id_str=["1", "2"], even=[0.1, 0.2]))
    with pytest.raises(CatalogError, match="1 ids appear more than once: 1"):
        read_pairing(predictions, write("l.csv", id_str=["1", "1"], odd=[0.1, 0.2]))
    with pytest.raises(CatalogError, match="has no column 'id_str'"):
        read_pairing(predictions, write("l.csv", name=["1", "2"], odd=[0.1, 0.2]))
    with pytest.raises(SommelierError, match="a plain table: --min-votes needs a catalog"):
        read_pairing(predictions, write("l.csv", id_str=["1", "2"], odd=[0.1, 0.2]), min_votes=3)
    with pytest.raises(SommelierError, match="the column 'odd' holds infinite numbers"):
        read_pairing(predictions, write("l.csv", id_str=["1", "2"], odd=[0.1, np.inf]))
