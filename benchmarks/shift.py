"""Train on one survey, test on each: what holds in-domain, and what is left on another survey's images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.ceilings import MIN_VOTES, ceiling_of_r, noise_ceiling
from benchmarks.statistics import Score, resample_objects, score_predictions
from embeddings.errors import SommelierError
from embeddings.provenance import Space, require_same_model
from embeddings.questions import Question
from embeddings.search import load_faiss
from embeddings.store import EmbeddingStore
from heads.io import make_head
from heads.splits import group_galaxies

Array = np.ndarray[Any, Any]
Objects = Literal["new", "same", "paired"]
TEST_SHARE = 0.4
MIN_LABELS = 20  # of a question, in the training set and in every test: on fewer a correlation says nothing
COPY = "copied votes"


@dataclass(frozen=True)
class Galaxies:
    """
    Rows of one survey, or of several.

    Attributes
    ----------
    survey : str
    ids : (n_rows,) array of str
    X : (n_rows, embed_dim) float32 array
    Y, votes, totals : (n_rows, n_targets) float32 arrays
        Fractions (NaN where not asked), votes for the answer, votes for the question.
    objects : (n_rows,) int array
        The sky object that each row shows, numbered over all surveys.
    """

    survey: str
    ids: Array
    X: Array
    Y: Array
    votes: Array
    totals: Array
    objects: Array

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> Array:
        """Y with NaN where fewer than two volunteers answered: there noise cannot be told from the galaxy."""
        return np.where(self.totals < MIN_VOTES, np.nan, self.Y)

    def take(self, rows: Array) -> Galaxies:
        """Some of the rows."""
        arrays = ("ids", "X", "Y", "votes", "totals", "objects")
        return replace(self, **{name: getattr(self, name)[rows] for name in arrays})

    def answer(self, targets: Array) -> Galaxies:
        """Some of the targets."""
        return replace(self, **{name: getattr(self, name)[:, targets] for name in ("Y", "votes", "totals")})

    def join(self, other: Galaxies) -> Galaxies:
        """Both surveys' rows."""
        arrays = ("ids", "X", "Y", "votes", "totals", "objects")
        joined = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in arrays}
        return Galaxies(f"{self.survey}+{other.survey}", **joined)


@dataclass(frozen=True)
class Sample:
    """Galaxies to test on: `objects` says whether training saw the same ones ("same") or not ("new")."""

    galaxies: Galaxies
    objects: Objects


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
    trainings : dict of str to int
        Galaxies in each training set.
    cells : list of Cell
    ceilings : dict of (str, str) to dict
        By test and objects: what the noise of the votes leaves of ``r`` and ``r2``.
    """

    questions: tuple[Question, ...]
    left_out: tuple[Question, ...]
    trainings: dict[str, int]
    cells: list[Cell] = field(default_factory=list)
    ceilings: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)

    def pick(self, training: str, test: str, objects: str) -> list[Cell]:
        """The heads of one training set on one test."""
        return [cell for cell in self.cells if (cell.training, cell.test, cell.objects) == (training, test, objects)]


def gather_galaxies(stores: Sequence[EmbeddingStore], questions: Sequence[Question], space: Space) -> list[Galaxies]:
    """
    Read the rows that have vectors, with sky objects that run through all stores.

    Raises
    ------
    ProvenanceMismatch
        When different models made the stores.
    """
    for store in stores[1:]:
        what = f"{stores[0].path} (here) and {store.path} (there)"
        require_same_model(stores[0].provenance.model, store.provenance.model, what)
    kept = [store.ok for store in stores]
    names = ("ra", "dec", "image_sha256")
    columns = [[s.ids[ok], *(s.dataset(name)[ok] for name in names)] for s, ok in zip(stores, kept, strict=True)]
    ids, ra, dec, images = (np.concatenate(values) for values in zip(*columns, strict=True))
    objects = group_galaxies(ids, ra, dec, images)
    ends = np.cumsum([ok.sum() for ok in kept])[:-1]
    gathered = []
    for store, ok, numbers in zip(stores, kept, np.split(objects, ends), strict=True):
        Y, votes = store.labels(questions)
        totals = np.stack([store.column(q.total_column) for q in questions for _ in q.targets], axis=1)
        vectors = store.read_vectors(space, ok)
        gathered.append(
            Galaxies(store.survey, store.ids[ok], vectors, Y[ok], votes[ok], totals[ok].astype(np.float32), numbers)
        )
    return gathered


def split_objects(surveys: Iterable[Galaxies], seed: int, share: float = TEST_SHARE) -> set[int]:
    """
    The sky objects to test on, by a hash of their names: whatever other objects are there, one stays on its side.

    Parameters
    ----------
    surveys : iterable of Galaxies
        All that share their numbering of objects.
    seed : int
    share : float

    Returns
    -------
    set of int
        Of `Galaxies.objects`.
    """
    names: dict[int, str] = {}
    for galaxies in surveys:
        for number, id_str in zip(galaxies.objects.tolist(), galaxies.ids.tolist(), strict=True):
            names[number] = min(names.get(number, id_str), id_str)
    return {number for number, name in names.items() if _hash_share(f"{seed}/{name}") < share}


def _hash_share(text: str) -> float:
    """A number in [0, 1) that looks drawn, the same everywhere."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def mix_at_budget(first: Galaxies, second: Galaxies, n: int, seed: int) -> Galaxies:
    """`n` galaxies, half from each survey, or what the smaller one has and the rest from the other."""
    rng = np.random.default_rng(seed)
    n_second = min(len(second), max(n // 2, n - len(first)))
    n_first = min(len(first), n - n_second)
    parts = [
        galaxies.take(np.sort(rng.choice(len(galaxies), count, replace=False)))
        for galaxies, count in ((first, n_first), (second, n_second))
    ]
    return parts[0].join(parts[1])


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
        The one to train on, the one to mix in, others; of `gather_galaxies`.
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
    trainings, samples = divide_surveys(surveys, seed)
    kept, targets = _keep_answered(questions, [*trainings, *(sample.galaxies for sample in samples)])
    samples = [replace(sample, galaxies=sample.galaxies.answer(targets)) for sample in samples]
    home, mixed = (galaxies.answer(targets) for galaxies in trainings)
    shift = Shift(kept, tuple(q for q in questions if q not in kept), {t.survey: len(t) for t in (home, mixed)})
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


def divide_surveys(surveys: Sequence[Galaxies], seed: int) -> tuple[tuple[Galaxies, Galaxies], list[Sample]]:
    """
    Training sets and tests; no sky object of a test is in a training set, except where the sample says so.

    Returns
    -------
    trainings : (Galaxies, Galaxies)
        Of the first survey, and of the first two mixed at the same budget.
    samples : list of Sample
        New objects of every survey, then the others' pictures of the first one's training objects.
    """
    tested = split_objects(surveys, seed)
    inside = [np.isin(galaxies.objects, list(tested)) for galaxies in surveys]
    train = [galaxies.take(~test) for galaxies, test in zip(surveys, inside, strict=True)]
    samples = [Sample(galaxies.take(test), "new") for galaxies, test in zip(surveys, inside, strict=True)]
    for galaxies in train[2:]:  # those drawn from the first survey, as UKIDSS was
        samples.append(Sample(galaxies.take(np.isin(galaxies.objects, train[0].objects)), "same"))
    return (train[0], mix_at_budget(train[0], train[1], len(train[0]), seed)), samples


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

    With copied votes among the predictions, only labels that both surveys have count, for the heads as well.
    """
    test, copied = sample.galaxies, predictions.get(COPY)
    labels = test.labels if copied is None else np.where(np.isnan(copied), np.nan, test.labels)
    n = int((~np.isnan(labels)).any(axis=1).sum())
    if n < MIN_LABELS:  # hardly an object that both surveys saw
        return
    weights = resample_objects(test.objects, seed)
    for name, P in predictions.items():
        scores = score_predictions(labels, P, weights, test.Y if copied is None else None)
        shift.cells.append(Cell(training, test.survey, sample.objects, name, n, scores))
    r2 = noise_ceiling(labels, test.totals)
    there = np.isfinite(r2)
    ceiling = {"r": float(ceiling_of_r(r2[there]).mean()), "r2": float(r2[there].mean())}
    shift.ceilings[test.survey, sample.objects] = ceiling
