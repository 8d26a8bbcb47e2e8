"""Training sets from stores, and nested scores that do not leak."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, r2_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from embeddings.errors import HeadError, ProvenanceMismatch, SommelierError, StoreError
from embeddings.provenance import Space
from embeddings.questions import Question
from embeddings.store import EmbeddingStore
from heads import FittedHead, Labels, fit_head, load_head
from heads.baselines import MeanHead
from heads.evaluation import (
    list_candidates,
    measure_folds,
    score_average,
    score_questions,
    score_targets,
    select_candidates,
)
from heads.io import HEADS
from heads.knn import KNNHead
from heads.linear import RidgeHead
from heads.splits import cut_folds
from heads.training import gather_training_set
from tests.heads.conftest import MODEL, StoreMaker

NAN = float("nan")
CLS, PATCH = Space(12, "cls"), Space(12, "patch-mean")
ODD = Question("odd")
SHAPE = Question("shape", ("round", "flat"))
ARMS = Question("arms", ("one", "two"), parent="shape_flat")
SIZE = Question("size", kind="value")


def score(fitted: FittedHead, name: str, target: str | None = None) -> float:
    values = [record[name] for record in fitted.scores if target in (None, record["target"])]
    return float(np.mean(values))


def folds_of(fitted: FittedHead, n_folds: int = 5, seed: int = 0) -> np.ndarray:
    """The outer folds where every row is a galaxy of its own."""
    return cut_folds(np.arange(len(fitted.train_ids)), n_folds, seed)


# no leak: choices are made inside the folds


def draw_noise(seed: int, n: int, d: int, n_spaces: int) -> tuple[dict[Space, np.ndarray], np.ndarray]:
    """Spaces of noise, and a coin for each galaxy."""
    rng = np.random.default_rng(seed)
    spaces = {Space(layer, "cls"): rng.normal(size=(n, d)) for layer in range(1, n_spaces + 1)}
    return spaces, rng.permutation(np.arange(n) % 2).astype(float)


def test_choosing_among_spaces_of_noise_scores_at_chance(make_store: StoreMaker) -> None:
    head = RidgeHead(alphas=(1.0,))
    nested_auc, nested_r2, best_auc, best_r2 = [], [], [], []
    for seed in range(6):
        spaces, odd = draw_noise(seed, n=60, d=4, n_spaces=15)
        store = make_store(spaces, {"odd_fraction": odd}, [ODD])
        fitted = fit_head(store, head, random_state=seed)
        nested_auc.append(score(fitted, "auc"))
        nested_r2.append(score(fitted, "r2"))
        alone = [fit_head(store, head, spaces=[space], random_state=seed) for space in spaces]
        best_auc.append(max(score(one, "auc") for one in alone))
        best_r2.append(max(score(one, "r2") for one in alone))
    # what the test would see if the space were chosen by the scores that are reported
    assert np.mean(best_auc) > 0.62
    assert np.mean(best_r2) - np.mean(nested_r2) > 0.1
    # 6 x 60 coins: the standard error of a mean AUC of 0.5 is about 0.03
    assert np.mean(nested_auc) < 0.55
    assert np.mean(nested_r2) < 0


@pytest.mark.parametrize("head", ["knn", "ridge"])
def test_choosing_penalties_on_noise_scores_at_chance(head: str, make_store: StoreMaker) -> None:
    aucs, r2s = [], []
    for seed in range(6):
        spaces, odd = draw_noise(seed, n=100, d=30, n_spaces=1)
        fitted = fit_head(make_store(spaces, {"odd_fraction": odd}, [ODD]), head, random_state=seed)
        aucs.append(score(fitted, "auc"))
        r2s.append(score(fitted, "r2"))
    assert 0.4 < np.mean(aucs) < 0.57
    assert np.mean(r2s) < 0.01


@pytest.mark.parametrize("link", ["position", "image", "id"])
def test_copies_of_a_galaxy_stay_on_one_side(link: str, make_store: StoreMaker, rng: np.random.Generator) -> None:
    # each galaxy twice, noise for vectors and labels, and a head that learns by heart
    n = 100
    X, odd = np.tile(rng.normal(size=(n, 5)), (2, 1)), np.tile(np.arange(n) % 2, 2).astype(float)
    one = {"columns": {"odd_fraction": odd}, "questions": [ODD]}
    head = KNNHead(k_choices=(1,))
    torn = fit_head(make_store({CLS: X}, **one), head)
    assert score(torn, "auc") > 0.9  # the copies' positions, images and ids differ: this is what a leak looks like
    assert torn.details["objects"] == 2 * n

    if link == "id":  # ids are unique in a store: the copy lies in another survey's
        half = {"columns": {"odd_fraction": odd[:n]}, "questions": [ODD], "ids": [f"g{row}" for row in range(n)]}
        stores = [
            make_store({CLS: X[:n]}, image_bytes=[f"{survey}{row}" for row in range(n)], ra=np.full(n, NAN), **half)
            for survey in "ab"
        ]
    elif link == "position":
        stores = [make_store({CLS: X}, ra=np.tile(10 + np.arange(n) / 100, 2), **one)]
    else:
        stores = [make_store({CLS: X}, image_bytes=[f"image {row % n}" for row in range(2 * n)], **one)]
    whole = fit_head(stores, head)
    assert whole.details["objects"] == n
    assert whole.details["galaxies"] == 2 * n
    assert 0.3 < score(whole, "auc") < 0.7
    assert score(whole, "r2") < 0


def test_copies_do_not_choose_the_space(make_store: StoreMaker, rng: np.random.Generator) -> None:
    # L1 tells copies apart from others and nothing else; L2 has a weak signal. Inner folds that tear copies apart
    # would choose L1
    n = 150
    signal = rng.normal(size=n)
    names = np.repeat(rng.normal(size=(n, 12)), 2, axis=0)
    weak = np.repeat(signal, 2)[:, None] + rng.normal(size=(2 * n, 1))
    store = make_store(
        {Space(1, "cls"): names, Space(2, "cls"): np.hstack([weak, rng.normal(size=(2 * n, 2))])},
        {"size": np.repeat(signal, 2)},
        [SIZE],
        ra=np.repeat(10 + np.arange(n) / 100, 2),
    )
    fitted = fit_head(store, "knn")
    assert fitted.details["chosen_in_folds"] == ["L2-cls"] * 5
    assert fitted.space == Space(2, "cls")


# the right choice


@pytest.mark.parametrize("head", ["knn", "ridge"])
def test_a_planted_signal_is_found_in_every_fold(head: str, make_store: StoreMaker, rng: np.random.Generator) -> None:
    spaces = {Space(layer, "cls"): rng.normal(size=(150, 4)) for layer in (3, 6, 9, 12)}
    odd = (spaces[Space(6, "cls")][:, 2] > 0).astype(float)
    fitted = fit_head(make_store(spaces, {"odd_fraction": odd}, [ODD]), head)
    assert fitted.details["spaces_tried"] == ["L12-cls", "L9-cls", "L6-cls", "L3-cls"]
    assert fitted.details["chosen_in_folds"] == ["L6-cls"] * 5
    assert fitted.space == Space(6, "cls")
    assert score(fitted, "auc") > 0.9


def test_a_signal_split_over_two_poolings(make_store: StoreMaker, rng: np.random.Generator, tmp_path: Path) -> None:
    a, b = rng.normal(size=(2, 200, 3))
    store = make_store({CLS: a, PATCH: b}, {"size": a[:, 0] + b[:, 1]}, [SIZE])
    fitted = fit_head(store)
    assert fitted.details["spaces_tried"] == ["L12-cls", "L12-patch-mean", "L12-cls+patch-mean"]
    assert fitted.details["chosen_in_folds"] == ["L12-cls+patch-mean"] * 5
    assert score(fitted, "r2") > 0.99
    loaded = load_head(fitted.save(tmp_path / "head"))
    assert loaded.space_id == store.space_id(Space(12, "cls+patch-mean"))
    assert np.array_equal(loaded.predict(store).P, fitted.predict(store).P)


def test_the_head_is_fitted_on_all_galaxies(make_store: StoreMaker, rng: np.random.Generator) -> None:
    X = rng.normal(size=(90, 4)).astype(np.float32)
    size = X @ [1, 2, 3, 4] + rng.normal(size=90)
    fitted = fit_head(make_store({CLS: X}, {"size": size}, [SIZE]))
    scaled = StandardScaler().fit(X)
    model = Ridge(float(fitted.head.alpha_[0])).fit(scaled.transform(X), size)
    assert fitted.head.coef_[:, 0] == pytest.approx(model.coef_, abs=1e-4)
    assert fitted.train_ids.tolist() == [f"sky-{row}" for row in range(90)]


# the scores themselves


def test_scores_are_those_of_scikit_learn_fold_by_fold(make_store: StoreMaker, rng: np.random.Generator) -> None:
    X = rng.normal(size=(120, 5)).astype(np.float32)
    size = X[:, 0] * 3 + rng.normal(size=120)
    size[5:25] = NAN
    odd = (X[:, 1] + rng.normal(size=120) > 0).astype(float)
    fitted = fit_head(
        make_store({CLS: X}, {"size": size, "odd_fraction": odd}, [SIZE, ODD]),
        RidgeHead(alphas=(10.0,)),
        n_folds=4,
        random_state=3,
    )
    folds = folds_of(fitted, 4, 3)
    for record, y, clip in zip(fitted.scores, (size, odd), (False, True), strict=True):
        expected: dict[str, list[float]] = {"r": [], "r2": [], "mae": [], "auc": []}
        for fold in range(4):
            asked = ~np.isnan(y)
            scaled = StandardScaler().fit(X[folds != fold])  # on all training galaxies, asked or not
            train, test = (folds != fold) & asked, (folds == fold) & asked
            p = Ridge(10).fit(scaled.transform(X[train]), y[train]).predict(scaled.transform(X[test]))
            p = np.clip(p, 0, 1) if clip else p
            expected["r"].append(pearsonr(y[test], p).statistic)
            expected["r2"].append(r2_score(y[test], p))
            expected["mae"].append(mean_absolute_error(y[test], p))
            if clip:
                expected["auc"].append(roc_auc_score(y[test], p))
        assert record["n"] == asked.sum()
        for name, values in expected.items():
            if values:
                assert record[name] == pytest.approx(np.mean(values), abs=1e-4)
                assert record[f"{name}_sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-4)
            else:
                assert record[name] is record[f"{name}_sd"] is None


def test_score_records(make_store: StoreMaker, rng: np.random.Generator) -> None:
    columns = {"shape_round_fraction": rng.random(60), "shape_flat_fraction": rng.random(60), "size": rng.random(60)}
    fitted = fit_head(make_store({CLS: rng.normal(size=(60, 3))}, columns, [SHAPE, SIZE]))
    assert [record["target"] for record in fitted.scores] == ["shape_round", "shape_flat", "size"]
    figures = ["r", "r2", "mae", "rmse", "bias", "slope", "auc"]
    for record in fitted.scores:
        assert set(record) == {"target", "n", *figures, *(f"{name}_sd" for name in figures)}
    json.dumps(fitted.scores, allow_nan=False)  # None where there is no figure, never NaN


def test_the_mean_head_scores_as_the_mean(make_store: StoreMaker, rng: np.random.Generator) -> None:
    # by hand: each fold is predicted by the mean of the others
    size = rng.normal(10, 1, 50)
    fitted = fit_head(make_store({CLS: rng.normal(size=(50, 2))}, {"size": size}, [SIZE]), "mean")
    folds = folds_of(fitted)
    errors = [np.abs(size[folds == f] - size[folds != f].mean()).mean() for f in range(5)]
    (record,) = fitted.scores
    assert record["mae"] == pytest.approx(np.mean(errors), abs=1e-5)
    assert record["r"] is None  # a constant prediction has no correlation
    assert record["r2"] < 0


def score_folds(Y: np.ndarray, P: np.ndarray, folds: np.ndarray, targets: Sequence[str]) -> list[dict]:
    return list(score_targets(Y, P, measure_folds(Y, P, folds), targets))


def test_score_folds_by_hand() -> None:
    # fold 0: y = (0, 1), p = (0.25, 0.75): r 1, residuals 2/16, about the mean 1/2: R2 = 1 - 1/4; MAE 1/4; AUC 1
    # fold 1: y = (1, 0), p = (0.5, 0.5): no r, R2 = 1 - (1/2) / (1/2) = 0; MAE 1/2; AUC 1/2
    # fold 2: one galaxy, y = 1, p = 0.5: MAE 1/2 only; the galaxy without label counts nowhere
    y, p = np.array([0, 1, 1, 0, 1, NAN]), np.array([0.25, 0.75, 0.5, 0.5, 0.5, 9])
    (record,) = score_folds(y[:, None], p[:, None], np.array([0, 0, 1, 1, 2, 2]), ["odd"])
    assert {name: record[name] for name in record if name.split("_")[0] not in ("rmse", "bias", "slope")} == {
        "target": "odd",
        "r": 1,
        "r_sd": None,  # one fold has none to differ from
        "r2": 0.375,
        "r2_sd": pytest.approx(0.75 / np.sqrt(2)),
        "mae": pytest.approx((0.25 + 0.5 + 0.5) / 3),
        "mae_sd": pytest.approx(np.sqrt(((1 / 6) ** 2 + 2 * (1 / 12) ** 2) / 2)),  # deviations -1/6, 1/12, 1/12
        "auc": 0.75,
        "auc_sd": pytest.approx(0.5 / np.sqrt(2)),
        "n": 5,
    }


def test_averages_over_targets_by_hand() -> None:
    # MAE, by fold: the first target 0.1 and 0.3; the second 0.3, and none in fold 1, where it has no label
    Y, P = np.array([[0, 0], [1, 1], [0, NAN], [1, NAN]]), np.array([[0.1, 0.3], [0.9, 0.7], [0.3, 9], [0.7, 9]])
    average = score_average(measure_folds(Y, P, np.array([0, 0, 1, 1])))
    assert average["mae"] == pytest.approx((0.2 + 0.3) / 2)
    assert average["mae_sd"] == pytest.approx(0.1 / np.sqrt(2))
    assert score_average(measure_folds(Y[:, :1] * 0, P[:, :1], np.array([0, 0, 1, 1])))["r2"] is None


def test_leading_answers_by_hand() -> None:
    # fold 0: right, wrong; fold 1: right, and a galaxy that was not asked; a value has no leading answer
    Y = np.array([[5, 0.9, 0.1], [5, 0.2, 0.8], [5, 0.4, 0.6], [5, NAN, NAN]])
    P = np.array([[5, 0.6, 0.4], [5, 0.7, 0.3], [5, 0.1, 0.9], [5, 0.5, 0.5]])
    (record,) = score_questions(Y, P, np.array([0, 0, 1, 1]), [SIZE, SHAPE])
    assert record == {"question": "shape", "accuracy": 0.75, "accuracy_sd": pytest.approx(0.5 / np.sqrt(2)), "n": 3}


def test_auc_only_where_all_labels_are_0_or_1() -> None:
    # a fold whose labels happen to be 0 and 1 gives no AUC where another fold's are not
    Y, P = np.array([[0, 0], [1, 1], [1, 0.5], [0, 0]]), np.full((4, 2), 0.5)
    coin, share = score_folds(Y, P, np.array([0, 0, 1, 1]), ["coin", "share"])
    assert coin["auc"] == 0.5
    assert share["auc"] is None


# rows


def test_failed_rows_are_left_out(make_store: StoreMaker, rng: np.random.Generator) -> None:
    # failed rows share a digest of zeros: neither rows nor objects
    store = make_store({CLS: rng.normal(size=(60, 3))}, {"size": rng.random(60)}, [SIZE], failed=[0, 5, 9])
    fitted = fit_head(store)
    assert len(fitted.train_ids) == fitted.details["galaxies"] == fitted.details["objects"] == 57
    assert not {"sky-0", "sky-5", "sky-9"} & set(fitted.train_ids.tolist())
    assert score(fitted, "n") == 57


def test_rows_without_any_label_are_left_out(make_store: StoreMaker, rng: np.random.Generator) -> None:
    a, b = rng.random((2, 60))
    a[:10], b[5:20] = NAN, NAN
    columns = {"size": a, "odd_fraction": b}
    fitted = fit_head(make_store({CLS: rng.normal(size=(60, 3))}, columns, [SIZE, ODD]))
    assert len(fitted.train_ids) == 55  # rows 5 to 9 have neither
    assert [record["n"] for record in fitted.scores] == [50, 45]


def test_min_votes(make_store: StoreMaker, rng: np.random.Generator) -> None:
    total = np.arange(60)
    columns = {"shape_total-votes": total, "size": rng.random(60)}
    for answer in SHAPE.targets:
        columns[f"{answer}_fraction"], columns[answer] = rng.random(60), rng.integers(0, 9, 60)
    store = make_store({CLS: rng.normal(size=(60, 3))}, columns, [SHAPE, SIZE])
    data = gather_training_set([store], min_votes=20)
    assert np.isnan(data.Y[:20, :2]).all()
    assert np.isnan(data.votes[:20, :2]).all()
    assert not np.isnan(data.Y[20:]).any()
    assert not np.isnan(data.Y[:, 2]).any()  # nobody votes on a size
    assert np.array_equal(data.votes[20:, 0], columns["shape_round"][20:])
    assert np.isnan(data.votes[:, 2]).all()
    assert [record["n"] for record in fit_head(store, "mean", min_votes=20).scores] == [40, 40, 60]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([], ["shape_round", "shape_flat", "arms_one", "arms_two", "size"]),
        (["shape_*"], ["shape_round", "shape_flat"]),
        (["size", "*_two"], ["arms_two", "size"]),
        (["shape_flat", "arms_*"], ["shape_flat", "arms_one", "arms_two"]),
    ],
)
def test_targets_glob(
    patterns: Sequence[str], expected: list[str], make_store: StoreMaker, rng: np.random.Generator
) -> None:
    names = [*SHAPE.targets, *ARMS.targets]
    columns = {f"{name}_fraction": np.full(30, place / 10) for place, name in enumerate(names)}
    columns["size"] = np.full(30, 9.0)
    store = make_store({CLS: rng.normal(size=(30, 3))}, columns, [SHAPE, ARMS, SIZE])
    fitted = fit_head(store, "mean", targets=patterns)
    assert fitted.targets == expected
    assert [record["target"] for record in fitted.scores] == expected
    means = dict(zip(names, (0, 0.1, 0.2, 0.3), strict=True)) | {"size": 9}
    assert fitted.predict(store).P[0] == pytest.approx([means[name] for name in expected])


def test_a_glob_that_matches_nothing(make_store: StoreMaker, rng: np.random.Generator) -> None:
    store = make_store({CLS: rng.normal(size=(30, 3))}, {"size": rng.random(30)}, [SIZE])
    with pytest.raises(SommelierError, match=r"no target matches 'sise'\. Did you mean 'size'"):
        fit_head(store, targets=["sise"])


# labels from elsewhere


def test_labels_from_a_catalog_are_joined_by_id(make_store: StoreMaker, rng: np.random.Generator) -> None:
    X = rng.normal(size=(80, 3)).astype(np.float32)
    store = make_store({CLS: X}, {"odd_fraction": rng.random(80)}, [ODD], failed=[4])
    order = rng.permutation(80)[:70]
    ids = np.array([f"sky-{row}" for row in order] + ["elsewhere"])
    labels = Labels(ids, {"size": np.append(X[order, 1], 1000.0)}, (SIZE,))
    fitted = fit_head(store, labels=labels)
    assert fitted.targets == ["size"]
    assert fitted.train_ids.tolist() == [f"sky-{row}" for row in range(80) if row in order and row != 4]
    assert score(fitted, "r2") > 0.999  # each galaxy has its own label
    data = gather_training_set([store], labels)
    rows = [int(name.removeprefix("sky-")) for name in data.ids]
    assert data.Y[:, 0] == pytest.approx(X[rows, 1])


def test_min_votes_of_a_catalog(make_store: StoreMaker, rng: np.random.Generator) -> None:
    store = make_store({CLS: rng.normal(size=(40, 3))})
    columns = {"odd_fraction": rng.random(40), "odd_total-votes": np.arange(40)}
    labels = Labels(store.ids, columns, (ODD,))
    assert gather_training_set([store], labels, min_votes=15).ids.tolist() == [f"sky-{row}" for row in range(15, 40)]


def test_no_questions(make_store: StoreMaker, rng: np.random.Generator) -> None:
    with pytest.raises(HeadError, match=r"has no labels to predict.*relabel.*--catalog"):
        fit_head(make_store({CLS: rng.normal(size=(30, 3))}))


@pytest.mark.parametrize("ids", [["nobody"], []])
def test_a_catalog_of_other_galaxies(ids: list[str], make_store: StoreMaker, rng: np.random.Generator) -> None:
    store = make_store({CLS: rng.normal(size=(30, 3))})
    labels = Labels(np.array(ids, dtype=str), {"size": np.ones(len(ids))}, (SIZE,))
    with pytest.raises(HeadError, match=r"no galaxy of .* has both a vector and a label"):
        fit_head(store, labels=labels)


def test_no_label_anywhere(make_store: StoreMaker, rng: np.random.Generator) -> None:
    store = make_store({CLS: rng.normal(size=(30, 3))}, {"size": np.full(30, NAN)}, [SIZE])
    with pytest.raises(HeadError, match="has both a vector and a label"):
        fit_head(store)


def test_targets_that_hardly_any_galaxy_has_are_left_out(make_store: StoreMaker, rng: np.random.Generator) -> None:
    rare, enough = np.full((2, 40), NAN)
    rare[:7], enough[:8] = rng.random(7), rng.random(8)
    columns = {"size": np.append(np.full(5, NAN), rng.random(35)), "odd_fraction": rare, "bar_fraction": enough}
    store = make_store({CLS: rng.normal(size=(40, 3))}, columns, [SIZE, ODD, Question("bar")], failed=[0])
    with pytest.warns(UserWarning, match=r"fewer than 8 galaxies have labels: odd \(6\), bar \(7\)$"):
        fitted = fit_head(store)
    assert fitted.targets == ["size"]
    assert fitted.train_ids.tolist() == [f"sky-{row}" for row in range(5, 40)]  # 1 to 4 have a rare label alone
    assert fitted.head.predict(np.zeros((1, 3))).shape == (1, 1)
    whole = make_store({CLS: rng.normal(size=(40, 3))}, columns, [SIZE, ODD, Question("bar")], survey="whole")
    with pytest.warns(UserWarning, match=r"odd \(7\)$"):
        assert fit_head(whole).targets == ["size", "bar"]


def test_answers_of_one_question_are_left_out_one_by_one(make_store: StoreMaker, rng: np.random.Generator) -> None:
    columns = {"shape_round_fraction": rng.random(30), "shape_flat_fraction": np.full(30, NAN)}
    store = make_store({CLS: rng.normal(size=(30, 3))}, columns, [SHAPE])
    with pytest.warns(UserWarning, match=r"shape_flat \(0\)"):
        assert fit_head(store).questions == (Question("shape", ("round",)),)


def test_copies_of_one_galaxy_are_one_label(make_store: StoreMaker, rng: np.random.Generator) -> None:
    odd = np.where(np.arange(40) < 12, 0.5, NAN)
    place = {"ra": np.repeat(np.arange(20.0), 2)}  # 12 labels of 6 objects
    columns = {"size": rng.random(40), "odd_fraction": odd}
    store = make_store({CLS: rng.normal(size=(40, 3))}, columns, [SIZE, ODD], **place)
    with pytest.warns(UserWarning, match=r"odd \(6\)"):
        data = gather_training_set([store])
    assert (data.targets, data.n_objects) == (["size"], 20)


def test_rows_of_two_stores_stay_with_their_store(make_store: StoreMaker, rng: np.random.Generator) -> None:
    X = rng.normal(size=(60, 3)).astype(np.float32)
    rare = np.where(np.arange(30) < 3, 1.0, NAN)
    size = np.where(np.arange(30) < 2, NAN, np.arange(30.0))
    a = make_store({CLS: X[:30]}, {"size": size, "odd_fraction": rare}, [SIZE, ODD], survey="a")
    b = make_store({CLS: X[30:]}, {"size": size + 100}, [SIZE], survey="b", dec=np.full(30, 20.0))
    with pytest.warns(UserWarning, match=r"odd \(3\)"):
        data = gather_training_set([a, b])
    there = np.r_[2:30, 32:60]
    assert np.array_equal(data.read(CLS), X[there])
    assert data.Y[:, 0].tolist() == np.concatenate([size[2:], size[2:] + 100]).tolist()
    assert data.ids.tolist() == [*a.ids[2:], *b.ids[2:]]


def test_no_target_is_left(make_store: StoreMaker, rng: np.random.Generator) -> None:
    store = make_store({CLS: rng.normal(size=(7, 3))}, {"size": rng.random(7)}, [SIZE])
    with pytest.raises(HeadError, match=r"no target has labels of at least 8 galaxies: size \(7\)"):
        fit_head(store)


def test_infinite_labels_are_named(make_store: StoreMaker, rng: np.random.Generator) -> None:
    store = make_store({CLS: rng.normal(size=(30, 3))}, {"size": np.append(rng.random(29), np.inf)}, [SIZE])
    with pytest.raises(HeadError, match="size has infinite labels"):
        fit_head(store)


def test_too_few_galaxies(make_store: StoreMaker, rng: np.random.Generator) -> None:
    one_place = {"ra": np.zeros(30), "dec": np.zeros(30)}
    store = make_store({CLS: rng.normal(size=(30, 3))}, {"size": rng.random(30)}, [SIZE], **one_place)
    with pytest.raises(HeadError, match=r"no target has labels of at least 8 galaxies: size \(1\)"):
        fit_head(store)
    store = make_store({CLS: rng.normal(size=(12, 3))}, {"size": rng.random(12)}, [SIZE])
    with pytest.raises(HeadError, match="12 different galaxies cannot be cut into 20 folds"):
        fit_head(store, n_folds=20)
    with pytest.raises(HeadError, match="Use at least 2"):
        fit_head(store, n_folds=1)


# several stores


def test_stores_of_equal_space_ids_pool(make_store: StoreMaker, rng: np.random.Generator) -> None:
    X = rng.normal(size=(100, 4)).astype(np.float32)
    size = X @ [1, -1, 2, 0] + rng.normal(0, 0.1, 100)
    place = {"dec": np.zeros(40), "ra": np.arange(40.0)}
    a = make_store({CLS: X[:40]}, {"size": size[:40]}, [SIZE], survey="a", **place)
    b = make_store({Space(6, "cls"): 0 * X[40:], CLS: X[40:]}, {"size": size[40:]}, [SIZE], survey="b")
    both = fit_head([a, b])
    assert both.details["surveys"] == ["a", "b"]
    assert both.details["spaces_tried"] == ["L12-cls"]  # layer 6 is not in both
    assert both.train_ids.tolist() == [*a.ids, *b.ids]
    alone = fit_head(make_store({CLS: X}, {"size": size}, [SIZE]))
    assert np.array_equal(both.head.coef_, alone.head.coef_)
    assert both.scores == alone.scores


def test_stores_with_other_questions_are_nan_there(make_store: StoreMaker, rng: np.random.Generator) -> None:
    X = rng.normal(size=(60, 3))
    a = make_store({CLS: X}, {"size": rng.random(60), "odd_fraction": np.zeros(60)}, [SIZE, ODD], survey="a")
    b = make_store({CLS: X}, {"odd_fraction": np.ones(60)}, [ODD], survey="b", dec=np.full(60, 20))
    data = gather_training_set([a, b])
    assert [question.name for question in data.questions] == ["size", "odd"]
    assert np.isnan(data.Y[60:, 0]).all()
    assert data.Y[:, 1].tolist() == [0] * 60 + [1] * 60
    assert [record["n"] for record in fit_head([a, b], "mean").scores] == [60, 120]


def test_one_sky_object_in_two_surveys_is_one_object(make_store: StoreMaker, rng: np.random.Generator) -> None:
    X = rng.normal(size=(50, 3))
    a, b = (make_store({CLS: X}, {"size": rng.random(50)}, [SIZE], survey=survey) for survey in "ab")
    data = gather_training_set([a, b])
    assert np.array_equal(data.groups[:50], data.groups[50:])  # the same positions
    assert fit_head([a, b], "mean").details["objects"] == 50


def test_different_models_refuse(make_store: StoreMaker, rng: np.random.Generator) -> None:
    X, size = rng.normal(size=(30, 3)), {"size": rng.random(30)}
    a = make_store({CLS: X}, size, [SIZE], survey="a")
    b = make_store({CLS: X}, size, [SIZE], survey="b", model=MODEL | {"weights_sha256": "f" * 64})
    with pytest.raises(ProvenanceMismatch, match=r"model\.weights_sha256") as raised:
        fit_head([a, b])
    assert str(a.path) in str(raised.value)
    assert str(b.path) in str(raised.value)


def test_mixed_precision_warns(make_store: StoreMaker, rng: np.random.Generator) -> None:
    X, size = rng.normal(size=(30, 3)), {"size": rng.random(30)}
    a, b = make_store({CLS: X}, size, [SIZE], survey="a"), make_store({CLS: X}, size, [SIZE], survey="b")
    c = make_store({CLS: X}, size, [SIZE], survey="c", precision="bf16")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_head([a, b], "mean")
    with pytest.warns(UserWarning, match="made differently: precision: .fp32. here, .bf16. there"):
        fit_head([a, c], "mean")


def test_nothing_in_common(make_store: StoreMaker, rng: np.random.Generator) -> None:
    X, size = rng.normal(size=(30, 3)), {"size": rng.random(30)}
    stores = [make_store({space: X}, size, [SIZE], survey=space.pooling) for space in (CLS, PATCH)]
    with pytest.raises(HeadError, match="no layer and pooling in common"):
        fit_head(stores)
    with pytest.raises(StoreError, match="does not hold L12-cls"):
        fit_head(stores, spaces=[CLS])


# which spaces


@pytest.fixture
def wide(make_store: StoreMaker, rng: np.random.Generator) -> EmbeddingStore:
    held = [Space(4, "cls"), Space(12, "patch-mean"), Space(12, "cls"), Space(8, "patch-mean")]
    return make_store({space: rng.normal(size=(30, 2)) for space in held}, {"size": rng.random(30)}, [SIZE])


def names(spaces: Sequence[Space]) -> list[str]:
    return [space.name for space in spaces]


def test_candidates_last_layer_first(wide: EmbeddingStore) -> None:
    expected = ["L12-cls", "L12-patch-mean", "L12-cls+patch-mean", "L8-patch-mean", "L4-cls"]
    assert names(list_candidates([wide])) == expected
    assert fit_head(wide, "mean").details["spaces_tried"] == expected


@pytest.mark.parametrize(
    ("layer", "pooling", "expected"),
    [
        (12, None, ["L12-cls", "L12-patch-mean", "L12-cls+patch-mean"]),
        (-1, None, ["L12-cls", "L12-patch-mean", "L12-cls+patch-mean"]),
        (-1, "patch-mean", ["L12-patch-mean"]),
        (None, "cls", ["L12-cls", "L4-cls"]),
        (None, "cls+patch-mean", ["L12-cls+patch-mean"]),
        (8, None, ["L8-patch-mean"]),
    ],
)
def test_candidates_selected(layer: int | None, pooling: str | None, expected: list[str], wide: EmbeddingStore) -> None:
    assert names(select_candidates([wide], layer, pooling)) == expected


@pytest.mark.parametrize(("layer", "pooling"), [(7, None), (4, "patch-mean"), (8, "cls+patch-mean"), (None, "max")])
def test_candidates_that_are_not_there(layer: int | None, pooling: str | None, wide: EmbeddingStore) -> None:
    with pytest.raises(StoreError, match="does not hold"):
        select_candidates([wide], layer, pooling)


def test_the_last_layer_is_recorded_by_its_number(wide: EmbeddingStore, tmp_path: Path) -> None:
    # -1 would mean another layer in another store
    fitted = fit_head(wide, spaces=[Space(-1, "cls")])
    assert fitted.space == CLS
    assert fitted.space_id == wide.space_id(CLS)
    assert load_head(fitted.save(tmp_path / "head")).space == CLS


# heads


def test_an_own_head_gets_the_questions(make_store: StoreMaker, rng: np.random.Generator, tmp_path: Path) -> None:
    X = rng.normal(size=(60, 3)).astype(np.float32)
    columns = {"odd_fraction": (X[:, 0] > 0).astype(float), "size": 100 * X[:, 1]}
    store = make_store({CLS: 5 * X}, columns, [ODD, SIZE])
    head = RidgeHead(alphas=(0.5,))
    fitted = fit_head(store, head)
    assert not hasattr(head, "coef_")
    assert head.questions is None
    assert fitted.head.alphas == (0.5,)
    loaded = load_head(fitted.save(tmp_path / "head"))
    assert loaded.targets == ["odd", "size"]
    odd, size = loaded.predict(store).P.T
    assert (odd.min(), odd.max()) == (0, 1)  # a fraction, clipped
    assert size.max() > 1


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in ("mlp", "votes") else []) for name in HEADS]
)
def test_every_head_by_name(name: str, make_store: StoreMaker, rng: np.random.Generator, tmp_path: Path) -> None:
    if name == "xgboost":
        pytest.importorskip("xgboost")
    X = rng.normal(size=(60, 3))
    store = make_store({CLS: X}, {"odd_fraction": rng.integers(0, 2, 60).astype(float)}, [ODD], storage="float16")
    fitted = fit_head(store, name, random_state=7)
    assert fitted.head.name == name
    assert fitted.head.random_state == 7
    again = fit_head(store, name, random_state=7)
    assert again.scores == fitted.scores
    loaded = load_head(fitted.save(tmp_path / "head"))
    assert loaded.predict(store).P.tobytes() == again.predict(store).P.tobytes()
    assert loaded.predict(store).seen == 60
    assert loaded.scores == fitted.scores
    assert loaded.details == fitted.details


def test_the_seed_moves_the_folds(make_store: StoreMaker, rng: np.random.Generator) -> None:
    store = make_store({CLS: rng.normal(size=(60, 3))}, {"size": rng.random(60)}, [SIZE])
    maes = {fit_head(store, MeanHead(), random_state=seed).scores[0]["mae_sd"] for seed in range(3)}
    assert len(maes) == 3


def test_details_say_what_was_done(make_store: StoreMaker, rng: np.random.Generator) -> None:
    store = make_store({CLS: rng.normal(size=(40, 3))}, {"size": rng.random(40)}, [SIZE], survey="sdss")
    details = fit_head(store, "mean", n_folds=4, random_state=2, min_votes=3).details
    pooled = details.pop("pooled")
    assert pooled["n"] == 40
    assert pooled["mae"] == pytest.approx(details["average"]["mae"], rel=0.2)
    assert details.pop("average")["r"] is None
    assert details == {
        "questions": [],
        "stores": [str(store.path)],
        "surveys": ["sdss"],
        "backbone": "none",
        "galaxies": 40,
        "objects": 40,
        "split": "nested 4-fold cross-validation",
        "seen": 0,
        "folds": 4,
        "random_state": 2,
        "min_votes": 3,
        "spaces_tried": ["L12-cls"],
        "chosen_in_folds": ["L12-cls"] * 4,
    }
