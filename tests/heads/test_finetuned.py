"""The head of a fine-tuning run, by hand and through folders."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.base import clone

from embeddings.errors import HeadError, ProvenanceMismatch, RunError
from embeddings.provenance import Space, digest_space
from embeddings.questions import Question
from heads import FittedHead, load_head, make_head
from heads.ballots import LOG_PRECISION_REACH, MIDDLE_PRECISION
from heads.finetuned import FineTunedHead
from heads.io import HEADS
from heads.votes import VotesHead
from tests.heads.conftest import MODEL, StoreMaker
from tests.runs import write_run

CLS = Space(12, "cls")
SHAPE, ODD = Question("shape", ("round", "flat")), Question("odd")
ASKED = (SHAPE, ODD)


def draw_layers(*widths: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    shapes = [((a, b), b) for a, b in pairwise(widths)]
    return [(rng.normal(size=w).astype(np.float32), rng.normal(size=b).astype(np.float32)) for w, b in shapes]


@pytest.fixture
def X(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(3, 2, size=(30, 4)).astype(np.float32)


def outputs_of(layers: list[tuple[np.ndarray, np.ndarray]], X: np.ndarray) -> np.ndarray:
    (w, b), (v, c) = layers
    return np.maximum(X @ w + b, 0) @ v + c


@pytest.mark.parametrize("output", ["identity", "sigmoid"])
def test_each_target_has_its_output(output: Any, X: np.ndarray) -> None:
    layers = draw_layers(4, 8, 3)
    head = FineTunedHead.from_layers(ASKED, layers, output)
    raw = outputs_of(layers, X)  # vectors as they are: nothing is standardised
    expected = expit(raw) if output == "sigmoid" else np.clip(raw, 0, 1)
    np.testing.assert_allclose(head.predict(X), expected, rtol=1e-5, atol=1e-6)
    assert head.predict_columns(X) == {}


def test_values_are_not_clipped(X: np.ndarray) -> None:
    layers = draw_layers(4, 8, 1)
    head = FineTunedHead.from_layers((Question("size", kind="value"),), layers, "identity")
    np.testing.assert_allclose(head.predict(X), outputs_of(layers, X), rtol=1e-5)


def test_answers_share_a_softmax_with_what_stands_for_all_others(X: np.ndarray) -> None:
    layers = draw_layers(4, 8, 4)
    head = FineTunedHead.from_layers(ASKED, layers, "softmax", widths=(2, 2))
    raw = outputs_of(layers, X)
    expected = np.column_stack([softmax(raw[:, :2], axis=1), softmax(raw[:, 2:], axis=1)[:, :1]])
    np.testing.assert_allclose(head.predict(X), expected, rtol=1e-5)
    assert head.predict_columns(X) == {}  # neither precisions nor totals: nothing is known of a spread


@pytest.mark.parametrize("likelihood", ["dirichlet-multinomial", "beta-binomial"])  # of two answers they are the same
def test_precisions_say_how_sure_it_is(likelihood: Any, X: np.ndarray) -> None:
    """The variance of a Dirichlet-multinomial's fraction: p (1 - p) (1 / n) (n + A) / (1 + A)."""
    layers = [*draw_layers(4, 8, 4)[:1], draw_layers(8, 6)[0]]
    head = FineTunedHead.from_layers((SHAPE, ODD), layers, "softmax", (2, 2), (40, 10), likelihood)
    raw = outputs_of(head.layers_, X).astype(np.float64)
    A = MIDDLE_PRECISION * np.exp(LOG_PRECISION_REACH * np.tanh(raw[:, 5] / LOG_PRECISION_REACH))
    p = softmax(raw[:, 2:4], axis=1)[:, 0]
    columns = head.predict_columns(X)
    assert list(columns) == ["shape_round_std", "shape_flat_std", "odd_std"]
    np.testing.assert_allclose(columns["odd_std"], np.sqrt(p * (1 - p) / 10 * (10 + A) / (1 + A)), rtol=1e-4)


def test_it_says_what_a_votes_head_of_the_same_layers_says(X: np.ndarray, rng: np.random.Generator) -> None:
    votes = rng.multinomial(30, [0.5, 0.5], size=30).astype(np.float32)
    fitted = VotesHead((SHAPE,)).fit(X, votes / 30, votes)
    (weight, bias), scaled = fitted.layers_[0], fitted.scale_[:, None]
    layers = [(weight / scaled, bias - (fitted.mean_[:, None] * weight / scaled).sum(axis=0))]
    head = FineTunedHead.from_layers((SHAPE,), layers, "softmax", totals=fitted.totals_, likelihood="beta-binomial")
    np.testing.assert_allclose(head.predict(X), fitted.predict(X), atol=1e-5)
    for name, values in head.predict_columns(X).items():
        np.testing.assert_allclose(values, fitted.predict_columns(X)[name], atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "output", "options", "message"),
    [
        ([], "sigmoid", {}, "do not follow each other"),
        (draw_layers(4, 8)[:1] + draw_layers(7, 3), "sigmoid", {}, "do not follow each other"),
        ([(np.ones((4, 3)), np.ones(2))], "sigmoid", {}, "do not follow each other"),
        (draw_layers(4, 8, 4), "sigmoid", {}, "has 4 outputs; 2 questions with 3 targets need 3"),
        (draw_layers(4, 8, 4), "softmax", {}, "has 4 outputs; 2 questions with 3 targets need 3"),
        (draw_layers(4, 8, 3), "tanh", {}, "identity, sigmoid, softmax; not 'tanh'"),
        (draw_layers(4, 8, 5), "softmax", {"widths": (1, 4)}, "widths are one a question"),
        (draw_layers(4, 8, 3), "softmax", {"totals": (1, 2, 3)}, "totals are one a question"),
    ],
)
def test_layers_that_do_not_belong(layers: Any, output: Any, options: Any, message: str) -> None:
    with pytest.raises(HeadError, match=message):
        FineTunedHead.from_layers(ASKED, layers, output, **options)


def test_it_is_not_fitted_here(X: np.ndarray) -> None:
    head = FineTunedHead.from_layers(ASKED, draw_layers(4, 3))
    with pytest.raises(HeadError, match="sommelier finetune"):
        head.fit(X, np.zeros((30, 3)))
    assert "finetuned" not in HEADS
    with pytest.raises(HeadError, match="'finetuned' is not known"):
        make_head("finetuned")
    assert clone(head).get_params() == {"questions": ASKED, "output": "sigmoid", "likelihood": "multinomial"}


def keep(folder: Path, head: FineTunedHead, train_ids: tuple[str, ...] = ("sky-0", "sky-1")) -> None:
    FittedHead(head, CLS, digest_space(MODEL, CLS), MODEL, np.array(train_ids)).save(folder)


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_a_runs_folder_is_its_head(output: Any, X: np.ndarray, make_store: StoreMaker, tmp_path: Path) -> None:
    width, likelihood = (5, "dirichlet-multinomial") if output == "softmax" else (3, "multinomial")
    head = FineTunedHead.from_layers(ASKED, draw_layers(4, 8, width), output, likelihood=likelihood)
    run = write_run(tmp_path / "run", "0" * 64)
    keep(run / "head", head)
    store = make_store({CLS: X}, parts=["train", "", "train"] + [""] * 27)
    for folder in (run, run / "head"):
        predictions = load_head(folder).predict(store)
        np.testing.assert_array_equal(predictions.P, head.predict(X))
        assert predictions.targets == ["shape_round", "shape_flat", "odd"]
        assert predictions.seen == 3
        assert len(predictions.columns) == (3 if output == "softmax" else 0)


def test_a_store_of_another_backbone_is_refused_with_the_command(
    X: np.ndarray, make_store: StoreMaker, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", "0" * 64)
    keep(run / "head", FineTunedHead.from_layers(ASKED, draw_layers(4, 3)))
    store = make_store({CLS: X}, model=MODEL | {"resize": {"size": 112}})
    command = f"sommelier extract CATALOG --backbone {run} --layer 12 --pool cls -o STORE"
    with pytest.raises(ProvenanceMismatch, match=r"model\.resize\.size: 224 here, 112 there") as raised:
        load_head(run).predict(store)
    assert command in str(raised.value)


def test_runs_without_a_head(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="3 of 10 epochs"):
        load_head(write_run(tmp_path / "run", "0" * 64, status="training", epoch=3))
    with pytest.raises(HeadError, match=r"run/head is not a head"):
        load_head(write_run(tmp_path / "run", "0" * 64))
