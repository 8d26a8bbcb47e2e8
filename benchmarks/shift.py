"""Train on one survey, test on each: what holds in-domain, and what is left on another survey's images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.ceilings import Ceiling, measure_ceiling
from benchmarks.division import Objects, Sample, divide_surveys
from benchmarks.galaxies import Galaxies, join_galaxies
from benchmarks.resampling import resample_objects
from benchmarks.statistics import MIN_LABELS, Score, score_predictions
from embeddings.errors import SommelierError
from embeddings.questions import Question
from embeddings.search import load_faiss
from heads.io import make_head

Array = np.ndarray[Any, Any]
COPY = "copied votes"


@dataclass(frozen=True)
class Cell:
    """One head, one training set, one test."""

    training: str
    test: str
    objects: Objects
    head: str
    n: int
    scores: dict[str, Score]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; each score is ``[value, low, high]``."""
        names = ("training", "test", "objects", "head", "n")
        return {name: getattr(self, name) for name in names} | {k: s.to_list() for k, s in self.scores.items()}


@dataclass(frozen=True)
class Shift:
    """
    What came out.

    Attributes
    ----------
    questions, left_out : tuple of Question
        What was asked of all tests, and what too few galaxies have a label for.
    trainings : dict of str to dict
        For each training set, how many sky objects are from which survey.
    cells : list of Cell
    ceilings : dict of (str, str) to Ceiling
        By test and objects: what the noise of the votes leaves.
    """

    questions: tuple[Question, ...]
    left_out: tuple[Question, ...]
    trainings: dict[str, dict[str, int]]
    cells: list[Cell] = field(default_factory=list)
    ceilings: dict[tuple[str, str], Ceiling] = field(default_factory=dict)

    def pick(self, training: str, test: str, objects: str) -> list[Cell]:
        """The heads of one training set on one test."""
        return [cell for cell in self.cells if (cell.training, cell.test, cell.objects) == (training, test, objects)]


def copy_votes(test: Galaxies, source: Galaxies) -> Array:
    """What the other survey's volunteers said of the same objects, (n_rows, n_targets); NaN where nothing."""
    place = {number: row for row, number in enumerate(source.objects.tolist())}
    rows = np.array([place.get(number, -1) for number in test.objects.tolist()], int)
    nothing = np.full((1, source.Y.shape[1]), np.nan)  # row -1
    return np.asarray(np.concatenate([source.labels, nothing])[rows])


def run_shift(surveys: Sequence[Galaxies], questions: Sequence[Question], heads: Sequence[str], seed: int) -> Shift:
    """
    Train on the first survey, and on the first two mixed at the same budget; test on every survey.

    Parameters
    ----------
    surveys : sequence of Galaxies
        The one to train on, the one to mix in, others; of `benchmarks.galaxies.gather_galaxies`.
    questions : sequence of Question
        That all ask alike: the columns of their Y.
    heads : sequence of str
    seed : int

    Returns
    -------
    Shift

    Raises
    ------
    SommelierError
        When too few galaxies have labels.
    """
    divided, samples = divide_surveys(surveys, seed)
    trainings = [join_galaxies(parts) for parts in divided]
    kept, targets = _keep_answered(questions, [*trainings, *(sample.galaxies for sample in samples)])
    samples = [replace(sample, galaxies=sample.galaxies.answer(targets)) for sample in samples]
    home, mixed = (galaxies.answer(targets) for galaxies in trainings)
    counts = {
        training.survey: {part.survey: part.count_objects() for part in parts}
        for training, parts in zip(trainings, divided, strict=True)
    }
    shift = Shift(kept, tuple(q for q in questions if q not in kept), counts)
    load_faiss()  # only libraries that are there can be limited
    with threadpool_limits(1):  # on matrices this small threads wait for each other: 30 times where others work too
        for training in (home, mixed):
            for sample, made in zip(samples, _predict_all(kept, training, samples, heads, seed), strict=True):
                if sample.objects == "new" or training is home:  # of the mixed set it would be half the same
                    _score(shift, training.survey, sample, made, seed)
                if sample.objects == "new" and training is home and sample is not samples[0]:
                    copied = made | {COPY: copy_votes(sample.galaxies, samples[0].galaxies)}
                    _score(shift, training.survey, replace(sample, objects="paired"), copied, seed)
    return shift


def _keep_answered(questions: Sequence[Question], everywhere: Sequence[Galaxies]) -> tuple[tuple[Question, ...], Array]:
    """The questions with enough labels everywhere, and their columns."""
    fewest = np.min([(~np.isnan(galaxies.labels)).sum(axis=0) for galaxies in everywhere], axis=0)
    owners = np.repeat(np.arange(len(questions)), [len(question.targets) for question in questions])
    enough = [bool((fewest[owners == number] >= MIN_LABELS).all()) for number in range(len(questions))]
    if not any(enough):
        raise SommelierError(
            f"no question has {MIN_LABELS} labels in the training set and in every test: there are too few galaxies. "
            "Take more of them (--galaxies, with another --out)."
        )
    kept = tuple(question for question, there in zip(questions, enough, strict=True) if there)
    return kept, np.asarray(np.array(enough)[owners])


def _predict_all(
    questions: tuple[Question, ...], training: Galaxies, samples: Sequence[Sample], heads: Sequence[str], seed: int
) -> list[dict[str, Array]]:
    """What each head, fitted on one training set, says of each sample."""
    made: list[dict[str, Array]] = [{} for _ in samples]
    for name in heads:
        head = make_head(name, questions, random_state=seed)
        head.fit(training.X, training.labels, training.votes, training.objects)
        for sample, predictions in zip(samples, made, strict=True):
            predictions[name] = head.predict(sample.galaxies.X)
    return made


def _score(shift: Shift, training: str, sample: Sample, predictions: dict[str, Array], seed: int) -> None:
    """
    Add one sample's cells and ceiling; its draws are the same for all heads and training sets.

    With copied votes among the predictions, only labels that both surveys have count, for the heads as well; answers
    with too few of them are left out.
    """
    test, copied = sample.galaxies, predictions.get(COPY)
    labels = test.labels if copied is None else np.where(np.isnan(copied), np.nan, test.labels)
    few = (~np.isnan(labels)).sum(axis=0) < MIN_LABELS
    labels = np.where(few, np.nan, labels)
    n = int((~np.isnan(labels)).any(axis=1).sum())
    if not n:  # hardly an object that both surveys saw
        return
    weights = resample_objects(test.objects, seed)
    for name, P in predictions.items():
        scores = score_predictions(labels, P, weights, test.Y if copied is None else None)
        shift.cells.append(Cell(training, test.survey, sample.objects, name, n, scores))
    shift.ceilings[test.survey, sample.objects] = measure_ceiling(labels, test.totals, weights)
