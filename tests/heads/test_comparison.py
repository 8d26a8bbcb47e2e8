"""All heads under one split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings.errors import HeadError
from embeddings.provenance import Space
from embeddings.questions import Question
from embeddings.store import EmbeddingStore
from heads import compare_heads, comparison, fit_head, memory
from heads.base import Head
from heads.comparison import list_losses
from heads.io import HEADS
from heads.linear import RidgeHead
from heads.memory import PeakMemory
from tests.heads.conftest import StoreMaker

CLS = Space(12, "cls")
SIZE, NOISE = Question("size", kind="value"), Question("noise", kind="value")
SHAPE = Question("shape", ("round", "flat"))


class Refuser(Head):
    """Learns nothing."""

    name = "refuser"

    def _fit(self, *given: Any) -> None:
        raise HeadError("these labels are not for me")


class Hoarder(RidgeHead):
    """Holds 300 MB while it is fitted."""

    def _fit(self, *given: Any) -> None:
        assert np.ones(300 * 2**17).sum() > 0
        super()._fit(*given)


class Contrarian(RidgeHead):
    """Predicts the opposite."""

    def _predict(self, X: np.ndarray) -> np.ndarray:
        return -super()._predict(X)


@pytest.fixture
def store(make_store: StoreMaker, rng: np.random.Generator) -> EmbeddingStore:
    X = rng.normal(size=(120, 4)).astype(np.float32)
    share = np.clip(X[:, 1] / 6 + 0.5, 0, 1)
    columns = {"size": X[:, 0] + rng.normal(0, 0.1, 120), "noise": rng.normal(size=120)}
    columns |= {"shape_round_fraction": share, "shape_flat_fraction": 1 - share}
    return make_store({CLS: X, Space(6, "cls"): rng.normal(size=(120, 4))}, columns, [SIZE, NOISE, SHAPE])


def test_each_scores_as_it_does_alone(store: EmbeddingStore) -> None:
    seen = []
    contenders = compare_heads(
        store, ["ridge", "knn", "ridge"], targets=["size"], n_folds=4, random_state=3, report=seen.append
    )
    assert contenders == seen
    assert [contender.name for contender in contenders] == ["mean", "ridge", "knn"]
    for contender in contenders:
        alone = fit_head(store, contender.name, targets=["size"], n_folds=4, random_state=3)
        assert contender.fitted is not None
        assert contender.fitted.scores == alone.scores
        assert contender.fitted.details["chosen_in_folds"] == alone.details["chosen_in_folds"]
        assert contender.seconds > 0


def test_all_heads_by_default(store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: HEADS[name] for name in ("ridge", "mean", "random")}
    monkeypatch.setattr(comparison, "HEADS", few)
    assert [contender.name for contender in compare_heads(store)] == ["mean", "ridge", "random"]


def test_what_loses_to_the_mean(store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, "contrarian", f"{__name__}:Contrarian")
    mean, ridge, contrarian = compare_heads(store, ["ridge", "contrarian"], targets=["size", "shape_*"])
    assert mean.lost == ridge.lost == ()
    assert contrarian.lost == ("size", "shape_round", "shape_flat")
    assert contrarian.to_record()["worse_than_mean"] == ["size", "shape_round", "shape_flat"]


def test_losses_by_hand() -> None:
    def score(**r2: float | None) -> list[dict[str, Any]]:
        return [{"target": target, "r2": value} for target, value in r2.items()]

    ours, mean = score(a=0.1, b=-0.02, c=None, d=-0.01), score(a=-0.01, b=-0.01, c=None, d=-0.01)
    assert list_losses(ours, mean) == ("b",)


def test_a_head_that_refuses_is_left_out(store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, "refuser", f"{__name__}:Refuser")
    _, refuser, ridge = compare_heads(store, ["refuser", "ridge"])
    assert refuser.fitted is None
    assert refuser.refusal == "these labels are not for me"
    assert refuser.to_record()["refusal"] == "these labels are not for me"
    assert ridge.fitted is not None


def test_an_unknown_head_stops_before_the_work(store: EmbeddingStore) -> None:
    with pytest.raises(HeadError, match=r"'rigde' is not known\. Did you mean 'ridge'"):
        compare_heads(store, ["knn", "rigde"], report=lambda contender: pytest.fail("it worked"))


@pytest.mark.skipif(not PeakMemory().known, reason="this system cannot let the peak start anew")
def test_peak_memory_is_each_heads_own(store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, "hoarder", f"{__name__}:Hoarder")
    mean, hoarder, ridge = compare_heads(store, ["hoarder", "ridge"], targets=["size"])
    assert mean.peak_bytes is not None
    assert hoarder.peak_bytes - mean.peak_bytes == pytest.approx(300 * 2**20, rel=0.2)
    assert ridge.peak_bytes < mean.peak_bytes + 100 * 2**20


def test_where_the_peak_is_not_known_there_is_none(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "PROCESS", tmp_path / "none")
    (mean,) = compare_heads(store, ["mean"])
    assert mean.peak_bytes is None


def test_records_are_json(store: EmbeddingStore) -> None:
    records = [contender.to_record() for contender in compare_heads(store, ["ridge"])]
    text = json.dumps(records, allow_nan=False)
    assert {"head", "scores", "space", "worse_than_mean", "seconds", "peak_bytes", "details"} == set(records[1])
    assert json.loads(text)[1]["space"] == "L12-cls"


def test_votes_weigh_where_a_head_has_the_switch(make_store: StoreMaker, rng: np.random.Generator) -> None:
    share, total = rng.random(60).round(2), rng.integers(1, 50, 60)
    columns = {"shape_round_fraction": share, "shape_flat_fraction": 1 - share, "shape_total-votes": total}
    columns |= {"shape_round": share * total, "shape_flat": (1 - share) * total}
    store = make_store({CLS: rng.normal(size=(60, 3))}, columns, [SHAPE])
    mean, ridge = compare_heads(store, ["ridge"], weight_by_votes=True)
    for contender in (mean, ridge):
        assert contender.fitted.head.weight_by_votes
    assert mean.fitted.head.predict(np.zeros((1, 3)))[0, 0] == pytest.approx((share * total).sum() / total.sum())
