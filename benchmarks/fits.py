"""Cells that are computed on embeddings: a head is fitted, and asked about every test galaxy."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.cells import Cell, Outcome
from benchmarks.material import SurveyTable, digest_arrays, read_vectors
from benchmarks.samples import Sample
from benchmarks.suite import Suite
from benchmarks.trainings import Rows, draw_training, find_choosers, gather
from embeddings.provenance import Space
from embeddings.questions import Question
from embeddings.search import load_faiss
from embeddings.store import EmbeddingStore
from heads.base import Head
from heads.io import make_head
from heads.memory import PeakMemory

Array = np.ndarray[Any, Any]
SMALL = 20_000  # rows: on smaller matrices threads wait for each other longer than they work


@dataclass(frozen=True)
class Bench:
    """
    What all cells of a run share.

    Attributes
    ----------
    suite : Suite
    folder : Path
        Of the results.
    questions : tuple of Question
    tables : dict of str to SurveyTable
    samples : dict of str to Sample
        Tests and pools, by name.
    stores : dict of (str, int) to Path
        The frozen store of each survey and size, 0 for the suite's.
    split_digest : str
    """

    suite: Suite
    folder: Path
    questions: tuple[Question, ...]
    tables: Mapping[str, SurveyTable]
    samples: Mapping[str, Sample]
    stores: Mapping[tuple[str, int], Path]
    split_digest: str

    def draw(self, cell: Cell) -> tuple[Rows, Rows]:
        """
        The rows that a cell learns from, and those that choose.

        With a budget nobody else chooses: labels that choose cost as much as others, so heads choose in folds of what
        they learn from.
        """
        rows = draw_training(self.tables, self.suite, cell.training, cell.seed, cell.budget)
        none = {survey: np.array([], int) for survey in rows}
        return rows, none if cell.budget else find_choosers(self.tables, self.suite.trainings[cell.training])

    def labels(self, cell: Cell, rows: Rows) -> Array:
        """What the rows are learned with."""
        zeroed = self.suite.trainings[cell.training].zeroed
        parts = [
            np.zeros_like(self.tables[survey].Y[chosen]) if survey in zeroed else self.tables[survey].Y[chosen]
            for survey, chosen in rows.items()
        ]
        return np.concatenate(parts)

    def test_size(self, cell: Cell, survey: str) -> int:
        """The size of the images of a test; 0 for the suite's."""
        training = self.suite.trainings[cell.training]
        away = survey not in training.surveys
        return (self.suite.test_size if away else None) or training.size or 0

    def list_tests(self, cell: Cell) -> list[Sample]:
        """What a cell is asked about: pools only where it learned from all that there is of one other survey."""
        surveys = self.suite.trainings[cell.training].surveys
        alone = len(surveys) == 1 and not cell.budget
        return [s for s in self.samples.values() if s.objects != "pool" or (alone and s.survey not in surveys)]

    def digest(self, cell: Cell, *extra: Any, tested: bool = True) -> str:
        """
        The key of a cell: of all that it follows from.

        Parameters
        ----------
        cell : Cell
        *extra
            Space ids, or the key of the fine-tune whose embeddings are read.
        tested : bool
            Whether the galaxies that it is asked about count.
        """
        groups = self.draw(cell)
        chosen = [
            {survey: digest_arrays(self.tables[survey].ids[own]) for survey, own in group.items()} for group in groups
        ]
        asked = [self.suite.test_size, [(s.name, digest_arrays(s.ids)) for s in self.list_tests(cell)]]
        record = [
            vars(cell), chosen, self.split_digest, self.suite.protocol, [q.to_dict() for q in self.questions],
            self.suite.models[cell.model].model_dump(mode="json", include={"head", "embeddings"}),
            self.suite.trainings[cell.training].model_dump(mode="json"),
            [digest_arrays(self.labels(cell, group), gather(group, self.tables, "votes")) for group in groups],
            asked if tested else [], extra,
        ]  # fmt: skip
        return digest_arrays(np.frombuffer(json.dumps(record, sort_keys=True, default=str).encode(), np.uint8))


@dataclass(frozen=True)
class Vectors:
    """Where a cell's vectors are: the training's stores and the tests', by survey."""

    space: Space
    training: Mapping[str, Path]
    tests: Mapping[str, Path]

    def list_files(self) -> list[Path]:
        """Every store once."""
        return [*dict.fromkeys([*self.training.values(), *self.tests.values()])]


def identify_store(file: Path, space: Space) -> str:
    """What a cell that reads a store follows from: its space's id, and the checksums of the vectors."""
    with EmbeddingStore.open(file) as store:
        sums = [store.checksums(f"vectors/{part.name}") for part in store.space(*space).parts()]
        return f"{store.survey} {store.space_id(space)} {digest_arrays(*sums)}"


def find_frozen(bench: Bench, cell: Cell, space: Space) -> Vectors:
    """The frozen stores of a cell."""
    training = bench.suite.trainings[cell.training]
    return Vectors(
        space,
        {survey: bench.stores[survey, training.size or 0] for survey in training.surveys},
        {s.survey: bench.stores[s.survey, bench.test_size(cell, s.survey)] for s in bench.list_tests(cell)},
    )


def fit_cell(bench: Bench, cell: Cell, key: str, vectors: Vectors, threads: int | None = None) -> Outcome:
    """
    Fit a head and predict every test.

    Parameters
    ----------
    bench : Bench
    cell : Cell
    key : str
    vectors : Vectors
    threads : int, optional
        At most so many; few on little data, where more are slower.
    """
    memory = PeakMemory()
    name = bench.suite.models[cell.model].head
    assert name is not None
    rows, choosers = bench.draw(cell)
    X = np.concatenate([_read(bench, vectors.training, vectors.space, group) for group in (rows, choosers)])
    Y = np.concatenate([bench.labels(cell, group) for group in (rows, choosers)])
    votes, groups = (
        np.concatenate([gather(group, bench.tables, attribute) for group in (rows, choosers)])
        for attribute in ("votes", "groups")
    )
    n_train = sum(map(len, rows.values()))
    chooses = np.arange(len(X)) >= n_train
    head: Head = make_head(name, bench.questions, random_state=cell.seed)
    load_faiss()  # only libraries that are there can be limited
    limit = 1 if len(X) < SMALL else threads
    with threadpool_limits(limit):
        start = time.perf_counter()
        head.fit(X, Y, votes, groups, chooses if chooses.any() else None)
        fitted = time.perf_counter()
        predictions = {
            sample.name: head.predict(read_vectors(vectors.tests[sample.survey], vectors.space, sample.ids))
            for sample in bench.list_tests(cell)
        }
        done = time.perf_counter()
    costs = {
        "fit_seconds": fitted - start, "predict_seconds": done - fitted, "peak_memory_bytes": memory.read(),
        "device": "cpu",
    }  # fmt: skip
    predictions = {test: np.asarray(P, np.float32) for test, P in predictions.items()}
    return Outcome(cell, key, n_train, predictions, costs)


def _read(bench: Bench, stores: Mapping[str, Path], space: Space, rows: Rows) -> Array:
    parts = [read_vectors(stores[survey], space, bench.tables[survey].ids[own]) for survey, own in rows.items()]
    return np.concatenate(parts)
