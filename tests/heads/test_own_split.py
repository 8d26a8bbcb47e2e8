"""Heads on the embeddings of a fine-tuned backbone: its run's own split takes the place of folds."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import pearsonr
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from embeddings.errors import HeadError
from embeddings.provenance import Space
from embeddings.questions import Question
from embeddings.store import EmbeddingStore
from heads import compare_heads, fit_head, load_head
from heads.io import HEADS
from heads.linear import RidgeHead
from heads.training import gather_training_set
from sommelier import main
from tests.heads.conftest import StoreMaker
from tests.test_commands import run

CLS, DEEP = Space(11, "cls"), Space(12, "cls")
SIZE, FEW = Question("size", kind="value"), Question("few", kind="value")
SHAPE = Question("shape", ("round", "flat"))
PARTS = np.array(["train"] * 60 + ["val"] * 20 + ["test"] * 20)


class Sky:
    """A hundred galaxies; what the backbone was trained on it knows by heart."""

    def __init__(self, make_store: StoreMaker) -> None:
        rng = np.random.default_rng(0)
        self.make_store, self.size = make_store, rng.normal(size=100)
        self.X = np.column_stack([self.size + rng.normal(0, 0.5, 100), rng.normal(size=(100, 4))])
        by_heart = PARTS == "train"
        self.X[by_heart, 1] = self.size[by_heart]

    def store(self, parts: np.ndarray | None = PARTS, rows: Any = slice(None), **options: Any) -> EmbeddingStore:
        columns = {"size": self.size[rows]} | options.pop("columns", {})
        questions = options.pop("questions", [SIZE])
        parts = None if parts is None else parts[rows]
        spaces = options.pop("spaces", {DEEP: self.X[rows]})
        options.setdefault("ids", [f"g{row:03}" for row in np.arange(100)[rows]])
        return self.make_store(spaces, columns, questions, parts=parts, **options)


@pytest.fixture
def sky(make_store: StoreMaker) -> Sky:
    return Sky(make_store)


def test_fitted_on_train_and_reported_on_test(sky: Sky) -> None:
    """The arithmetic of one ridge, by scikit-learn, on the vectors of each part."""
    fitted = fit_head(sky.store(), RidgeHead(alphas=(2.0,)))
    train, test = sky.X[PARTS == "train"].astype(np.float32), sky.X[PARTS == "test"].astype(np.float32)
    mean, scale = train.mean(axis=0), train.std(axis=0)
    model = Ridge(alpha=2.0).fit((train - mean) / scale, sky.size[PARTS == "train"])
    P = model.predict((test - mean) / scale)
    (score,) = fitted.scores
    assert score["r"] == pytest.approx(pearsonr(sky.size[PARTS == "test"], P)[0], abs=1e-4)
    assert score["r2"] == pytest.approx(r2_score(sky.size[PARTS == "test"], P), abs=1e-4)
    assert score["n"] == 20
    assert score["r_sd"] is None
    np.testing.assert_allclose(fitted.head.coef_[:, 0], model.coef_, atol=1e-4)
    assert fitted.details["split"] == "the split of the backbone's run: 60 train, 20 val, 20 test"
    assert (fitted.details["folds"], fitted.details["galaxies"], fitted.details["seen"]) == (1, 100, 0)
    assert fitted.details["pooled"]["n"] == 20
    assert sorted(fitted.train_ids.tolist()) == [f"g{row:03}" for row in range(80)]


def test_cross_validation_would_have_looked_better(sky: Sky) -> None:
    own = fit_head(sky.store(), "ridge").scores[0]["r2"]
    seen = fit_head(sky.store(), "ridge", seen=True)
    assert seen.scores[0]["r2"] > own + 0.1
    assert seen.details["seen"] == 80
    assert seen.details["split"] == (
        "nested 5-fold cross-validation: the backbone was trained on 60 of the 100 galaxies and chosen on 20"
    )


def test_val_chooses_layer_and_penalty_and_test_nothing(sky: Sky) -> None:
    """On val one layer has the signal, on test the other."""
    rng = np.random.default_rng(2)
    signal, noise = sky.size[:, None] + rng.normal(0, 0.1, (100, 1)), rng.normal(size=(100, 1))
    test = (PARTS == "test")[:, None]
    spaces = {CLS: np.where(test, noise, signal), DEEP: np.where(test, signal, noise)}
    fitted = fit_head(sky.store(spaces=spaces), "ridge")
    assert fitted.space == CLS
    assert fitted.details["chosen_in_folds"] == ["L11-cls"]
    assert fitted.scores[0]["r"] < 0.6


@pytest.mark.parametrize("name", [name for name in HEADS if name != "xgboost" or find_spec("xgboost")])
def test_test_labels_change_scores_alone(name: str, sky: Sky) -> None:
    share = 1 / (1 + np.exp(-sky.size))
    heads = []
    for labels in (share, np.where(PARTS == "test", 1 - share, share)):
        columns = {"shape_round_fraction": labels, "shape_flat_fraction": 1 - labels}
        heads.append(fit_head(sky.store(columns=columns, questions=[SHAPE]), name))
    np.testing.assert_array_equal(*(fitted.head.predict(sky.X) for fitted in heads))
    assert heads[0].details["split"] == "the split of the backbone's run: 60 train, 20 val, 20 test"
    assert heads[0].details["questions"][0]["n"] == 20


def test_without_val_inner_folds_of_train_choose(sky: Sky) -> None:
    parts = np.where(PARTS == "val", "train", PARTS)
    fitted = fit_head(sky.store(parts), "ridge")
    assert fitted.details["split"] == "the split of the backbone's run: 80 train, 0 val, 20 test"
    plain = RidgeHead((SIZE,)).fit(sky.X[:80].astype(np.float32), sky.size[:80, None])
    np.testing.assert_allclose(fitted.head.coef_, plain.coef_, atol=1e-5)


def test_galaxies_that_the_run_did_not_know_are_left_out_of_a_mix(sky: Sky) -> None:
    parts = PARTS.copy()
    parts[[0, 70, 90]] = ""
    with pytest.warns(UserWarning, match="3 of 100 galaxies are left out, because the run .* did not know them"):
        fitted = fit_head(sky.store(parts), "mean")
    assert fitted.details["split"] == "the split of the backbone's run: 59 train, 19 val, 19 test"


def test_a_store_of_unknown_galaxies_is_cross_validated(sky: Sky) -> None:
    fitted = fit_head(sky.store(np.full(100, "")), "ridge")
    assert fitted.details["split"] == ("nested 5-fold cross-validation: galaxies that the backbone was not trained on")
    assert (fitted.scores[0]["n"], fitted.details["folds"], fitted.details["seen"]) == (100, 5, 0)
    plain = fit_head(sky.store(None), "ridge")
    assert plain.details["split"] == "nested 5-fold cross-validation"
    assert plain.scores == fitted.scores


def test_without_train_what_chose_the_weights_is_left_out(sky: Sky) -> None:
    rows = slice(60, 100)
    with pytest.warns(UserWarning, match="20 of 40 galaxies are left out, because they chose the backbone's weights"):
        fitted = fit_head(sky.store(rows=rows), "mean")
    assert fitted.scores[0]["n"] == 20
    with pytest.raises(HeadError, match="all 20 labelled galaxies chose the backbone's weights"):
        fit_head(sky.store(rows=slice(60, 80)), "mean")


def test_seen_galaxies_are_not_scored_unless_told(sky: Sky) -> None:
    store = sky.store(rows=slice(0, 80))
    for call in (lambda **o: fit_head(store, "mean", **o), lambda **o: compare_heads(store, ["mean"], **o)):
        with pytest.raises(HeadError, match=r"trained on 60 of the 80 labelled galaxies.*whole catalog.*--seen"):
            call()
        call(seen=True)


def test_one_object_has_one_part_in_all_stores(sky: Sky) -> None:
    """The same galaxies in another survey, whose store does not know the run: by position they were trained on."""
    first = sky.store()
    other = sky.store(None, ids=[f"h{row}" for row in range(100)], survey="other")
    data = gather_training_set([first, other])
    assert data.parts.tolist() == PARTS.tolist() * 2
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        apart = sky.store(None, ids=[f"h{row}" for row in range(100)], survey="other", ra=np.arange(100.0) + 100)
        assert len(gather_training_set([first, apart]).ids) == 100
    assert "100 of 200 galaxies are left out" in str(said[0].message)


def test_targets_need_labels_in_every_part(sky: Sky) -> None:
    few = np.where(np.isin(np.arange(100), [*range(30), 61, 62, 81]), 1.0, np.nan)
    store = sky.store(columns={"few": few}, questions=[SIZE, FEW])
    with pytest.warns(UserWarning, match=r"8 train galaxies and 2 val galaxies and 2 test galaxies.*few \(30, 2, 1\)"):
        assert fit_head(store, "mean").targets == ["size"]
    with pytest.raises(HeadError, match=r"no target has labels of at least 8 train .*few \(30, 2, 1\)"):
        fit_head(store, "mean", targets=["few"])


def test_predictions_count_what_the_backbone_was_trained_on(sky: Sky) -> None:
    fitted = fit_head(sky.store(), "mean")
    others = sky.store(ids=[f"h{row}" for row in range(100)])
    assert fitted.predict(others).seen == 60
    assert fitted.predict(sky.store()).seen == 80


def test_the_commands_warn_without_a_place_in_the_code(sky: Sky, tmp_path: Path) -> None:
    store = sky.store(np.where(np.isin(np.arange(100), [0, 70, 90]), "", PARTS)).path
    for words in (["fit", store, "--head", "mean", "-o", tmp_path / "head"], ["compare", store, "--head", "mean"]):
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # as the program runs, not as the tests do
            output = run("head", *words)
        assert "Warning: 3 of 100 galaxies are left out, because the run that trained the backbone" in output
        assert ".py" not in output


def test_the_commands_say_so(sky: Sky, tmp_path: Path) -> None:
    store = sky.store().path
    output = " ".join(run("head", "fit", store, "-o", tmp_path / "head").split())
    assert "the split of the backbone's run: 60 train, 20 val, 20 test" in output
    assert "±" not in output
    assert "chosen without the test galaxies: L12-cls" in output
    assert "fitted on the training galaxies of the backbone's run" in output
    assert "seen" not in output
    assert load_head(tmp_path / "head").details["folds"] == 1
    output = run("head", "compare", store, "--head", "ridge")
    assert "the split of the backbone's run: 60 train, 20 val, 20 test" in " ".join(output.split())
    for words in (["fit", store, "-o", tmp_path / "head"], ["compare", store, "--head", "ridge"]):
        output = run("head", *words, "--seen")
        assert "the backbone has seen 80 of these 100 galaxies: new ones would score less" in output
        assert "nested 5-fold cross-validation: the backbone was trained on 60" in " ".join(output.split())
    record = json.loads(run("head", "fit", store, "-o", tmp_path / "head", "--seen", "--json"))
    assert record["details"]["seen"] == 80


def test_the_command_refuses_seen_galaxies(sky: Sky, tmp_path: Path) -> None:
    store = sky.store(rows=slice(0, 80)).path
    result = CliRunner().invoke(main, ["head", "fit", str(store), "-o", str(tmp_path / "head")])
    assert result.exit_code == 1
    assert "--seen" in result.output
    assert not (tmp_path / "head").exists()
