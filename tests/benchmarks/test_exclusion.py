"""Scores before and after leaked galaxies are left out, against scipy and scikit-learn on the rows themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import mean_absolute_error, r2_score

from benchmarks.exclusion import score_without
from benchmarks.leakage import Audit, audit
from benchmarks.sides import open_side
from embeddings.errors import ProvenanceMismatch, SommelierError
from embeddings.questions import Question
from embeddings.store import EmbeddingStore
from heads import FittedHead
from heads.io import make_head
from tests.benchmarks.stores import SPACE, write_pictured

SHAPE, SIZE = Question("shape", ("round", "flat")), Question("size", kind="value")
N, LEAKED = 120, 40


def make_head_of(store: EmbeddingStore, rows: slice, questions: tuple[Question, ...]) -> FittedHead:
    """A head that is wrong where it has not learned: its one neighbour is the galaxy itself where it has."""
    table = store.table(targets=[target for question in questions for target in question.targets])
    head = make_head("knn", questions, k_choices=(1,))
    head.fit(table.X[rows], table.Y[rows])
    model = store.provenance.model
    return FittedHead(head, SPACE, store.space_id(SPACE), model, table.ids[rows])


@pytest.fixture
def store(tmp_path: Path, rng: np.random.Generator) -> EmbeddingStore:
    share = rng.uniform(size=N)
    columns = {"shape_round_fraction": share, "shape_flat_fraction": 1 - share, "size": rng.normal(size=N)}
    write_pictured(tmp_path / "b.h5", "ukidss", N, 1, 32, questions=(SHAPE, SIZE), **columns)
    return EmbeddingStore.open(tmp_path / "b.h5")


def audit_ids(store: EmbeddingStore, folder: Path, rows: slice) -> Audit:
    """Some of the galaxies are in A under the same ids, and look otherwise."""
    write_pictured(folder / "a.h5", "sdss", N, 2, 32)
    a = open_side(folder / "a.h5")
    ids = a.ids.copy().astype(store.ids.dtype)
    ids[rows] = store.ids[rows]
    return audit(replace(a, ids=ids), store.path)


def test_leaked_galaxies_flatter_a_head_that_knows_them_by_heart(store: EmbeddingStore, tmp_path: Path) -> None:
    head = make_head_of(store, slice(LEAKED), (SHAPE, SIZE))
    found = audit_ids(store, tmp_path, slice(LEAKED))
    assert found.leaked.sum() == LEAKED
    scores = score_without(found, head, random_state=3)
    assert (scores.n_before, scores.n_after, scores.seen) == (N, N - LEAKED, LEAKED)
    assert scores.targets == ("shape_round", "shape_flat", "size")
    Y, P = store.table().Y, head.predict(store).P
    assert scores.after is not None
    for part, rows in ((scores.before, slice(None)), (scores.after, slice(LEAKED, None))):
        columns = list(zip(Y[rows].T.astype(float), P[rows].T, strict=True))
        assert part["r"].value == pytest.approx(np.mean([pearsonr(y, p).statistic for y, p in columns]))
        assert part["r2"].value == pytest.approx(np.mean([r2_score(y, p) for y, p in columns]))
        assert part["mae"].value == pytest.approx(np.mean([mean_absolute_error(y, p) for y, p in columns]))
    assert scores.difference is not None
    low, high = scores.difference["r"].interval
    assert low < scores.difference["r"].value < high < 0  # known by heart, and then not at all
    record = scores.to_dict()
    assert record["difference"]["r"][0] == pytest.approx(record["after"]["r"][0] - record["before"]["r"][0])


def test_without_leaks_nothing_changes(store: EmbeddingStore, tmp_path: Path) -> None:
    head = make_head_of(store, slice(LEAKED), (SHAPE,))
    scores = score_without(audit_ids(store, tmp_path, slice(0)), head)
    assert scores.difference is not None
    assert all(score.to_list() == [0, 0, 0] for score in scores.difference.values())


def test_where_nothing_is_left_there_is_no_score_after(store: EmbeddingStore, tmp_path: Path) -> None:
    head = make_head_of(store, slice(LEAKED), (SHAPE,))
    scores = score_without(audit_ids(store, tmp_path, slice(5, N)), head)
    assert (scores.n_before, scores.n_after, scores.after, scores.difference) == (N, 5, None, None)
    assert np.isfinite(scores.before["r"].value)
    assert scores.to_dict()["after"] is None


def test_what_cannot_be_scored(store: EmbeddingStore, tmp_path: Path) -> None:
    found = audit_ids(store, tmp_path, slice(LEAKED))
    head = make_head_of(store, slice(LEAKED), (SHAPE,))
    odd = Question("odd", ("yes", "no"))
    other = FittedHead(make_head("mean", (odd,)), SPACE, head.space_id, head.model, head.train_ids)
    with pytest.raises(SommelierError, match=r"has no labels of what the head predicts \(odd\).*sommelier relabel"):
        score_without(found, other)
    weighted = Question("shape", ("round", "flat"), fractions="weighted")
    other = FittedHead(make_head("mean", (weighted,)), SPACE, head.space_id, head.model, head.train_ids)
    with pytest.raises(SommelierError, match="has no labels of what the head predicts"):
        score_without(found, other)
    foreign = FittedHead(head.head, SPACE, "", {**head.model, "weights_sha256": "0"}, head.train_ids)
    with pytest.raises(ProvenanceMismatch, match="weights_sha256"):
        score_without(found, foreign)
