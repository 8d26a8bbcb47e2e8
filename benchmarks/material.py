"""What a suite learns from and is tested on: labels, sky objects and parts of every survey's galaxies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.samples import ANSWERS, Sample
from benchmarks.splits import SkySplit
from benchmarks.suite import Suite
from embeddings.errors import SommelierError
from embeddings.layout import block_ranges
from embeddings.provenance import Space
from embeddings.questions import Question, list_targets, select_questions
from embeddings.store import EmbeddingStore

Array = np.ndarray[Any, Any]
PROPERTIES = {  # as releases call them; the first that a store has
    "magnitude": ("mag_r", "petromag_r", "PETROMAG_R"),
    "size": ("petro_theta", "petror90_r", "PETROR90_R", "petro_th50"),
    "redshift": ("redshift", "REDSHIFT"),
}
ROWS = ("ids", "Y", "whole", "votes", "totals", "groups", "ra", "dec")
VOTED = 2  # votes on a question
POOL = 20_000  # sky objects: twenty draws of a thousand labels


@dataclass(frozen=True)
class SurveyTable:
    """
    The galaxies of one survey that have vectors; attributes as those of `benchmarks.samples.Sample`.

    Attributes
    ----------
    parts : (n_rows,) array of {'train', 'val', 'test'}
        Of the suite's split.
    tuned : (n_rows,) bool array
        Whether the backbone that made the vectors was trained on the galaxy, or chosen by it.
    """

    survey: str
    ids: Array
    Y: Array
    whole: Array
    votes: Array
    totals: Array
    groups: Array
    parts: Array
    ra: Array
    dec: Array
    tuned: Array
    properties: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.ids)

    def answer(self, columns: Array) -> SurveyTable:
        """Some of the answers, by their columns."""
        return replace(self, **{name: getattr(self, name)[:, columns] for name in ANSWERS})

    def to_sample(self, rows: Array, objects: Any, learned: Array) -> Sample:
        """
        Some rows as a test set.

        Parameters
        ----------
        rows : (n_rows,) bool array
        objects : {'new', 'same', 'pool'}
        learned : (n_objects,) int array
            The sky objects that training showed.
        """
        taken = {name: getattr(self, name)[rows] for name in ROWS}
        properties = {name: values[rows] for name, values in self.properties.items()}
        seen = np.isin(self.groups[rows], learned)
        return Sample(self.survey, objects, **taken, seen=seen, properties=properties)


def share_questions(stores: Sequence[EmbeddingStore], targets: Sequence[str]) -> tuple[Question, ...]:
    """
    The questions that all surveys ask alike, with the same kind of fractions, of the first one's.

    Raises
    ------
    SommelierError
        When there is none.
    """
    asked = [{question.name: question for question in store.questions} for store in stores]
    shared = tuple(
        question
        for question in stores[0].questions
        if all(
            question.name in own and own[question.name].answers == question.answers
            and own[question.name].kind == question.kind and own[question.name].fractions == question.fractions
            for own in asked
        )
    )  # fmt: skip
    shared = select_questions(shared, targets) if shared else ()
    if not shared:
        names = " and ".join(str(store.path) for store in stores)
        raise SommelierError(
            f"{names} share no question that is asked alike, with the same kind of fractions: there is "
            "nothing to compare."
        )
    return shared


def read_table(store: EmbeddingStore, questions: Sequence[Question], split: SkySplit, suite: Suite) -> SurveyTable:
    """
    Read a survey's labels, as the suite's protocol takes them.

    Under ``published`` a question that was not asked counts as 0, as in the reference study.
    """
    ok = store.ok
    whole, votes = (values[ok] for values in store.labels(questions))
    totals = np.stack([_count_totals(store, question)[ok] for question in questions for _ in question.targets], axis=1)
    Y = np.where((totals < suite.min_votes) & find_voted(totals), np.nan, whole)
    if suite.protocol == "published":
        Y = np.nan_to_num(whole)
    own = split.surveys == store.survey
    order = {id_str: row for row, id_str in enumerate(split.ids[own].tolist())}
    rows = np.flatnonzero(own)[[order[id_str] for id_str in store.ids[ok].tolist()]]
    found = {
        name: store.column(next(column for column in columns if column in store.columns))[ok].astype(np.float64)
        for name, columns in PROPERTIES.items()
        if any(column in store.columns for column in columns)
    }
    return SurveyTable(
        store.survey, store.ids[ok], Y.astype(np.float32), whole, votes, totals, split.groups[rows],
        split.parts[rows].astype(str), split.ra[rows], split.dec[rows], np.isin(store.parts[ok], ("train", "val")),
        found,
    )  # fmt: skip


def _count_totals(store: EmbeddingStore, question: Question) -> Array:
    """Votes on a question, NaN where the release does not say; only raw fractions are shares of votes."""
    if question.total_column in store.columns:
        return store.column(question.total_column).astype(np.float32)
    whole = next(known for known in store.questions if known.name == question.name)  # whichever answers are predicted
    counts = [store.column(name) for name in whole.vote_columns if name in store.columns]
    return np.asarray(np.nansum(counts, axis=0) if counts else np.full(len(store), np.nan), np.float32)


def find_voted(totals: Array) -> Array:
    """The answers that volunteers voted on, (n_targets,) bool: labels of one vote each are somebody's classes."""
    return np.asarray((totals >= VOTED).any(axis=0))


def find_learned(tables: Mapping[str, SurveyTable], suite: Suite) -> Array:
    """The sky objects that some training set of the suite may show, those that choose included."""
    seen = [tables[name].groups[tables[name].parts != "test"] for name in suite.learned]
    return np.unique(np.concatenate(seen))


def cut_samples(tables: Mapping[str, SurveyTable], suite: Suite) -> dict[str, Sample]:
    """
    The test sets of a suite, and of surveys that are recalibrated a pool of galaxies with whose labels.

    ``new`` are galaxies on the test side whose sky object no training set shows in any survey. A survey that nothing
    learns from has no test side of its own under a sequential split, unless it recalibrates: all of its rows are looked
    at, as the reference study did. ``same`` are all galaxies of such a survey, whatever training showed.

    Returns
    -------
    dict of str to Sample
        By name. Pools last.
    """
    learned = find_learned(tables, suite)
    wanted = ("new", "same") if suite.objects == "both" else (suite.objects,)
    samples, pools = {}, {}
    for name in suite.tested:
        table, own = tables[name], name in suite.learned
        pooled = _is_recalibrated(suite, name)
        whole = suite.split.method == "sequential" and not own and not pooled
        side = np.ones(len(table), bool) if whole else table.parts == "test"
        for objects in ("new",) if own else wanted:
            unseen = ~np.isin(table.groups, learned)
            chosen = side & unseen if objects == "new" and not _keeps_seen(suite, own) else side
            sample = table.to_sample(chosen if objects == "new" else np.ones(len(table), bool), objects, learned)
            samples[sample.name] = sample
        if pooled:
            pool = table.to_sample(_find_pool(table), "pool", learned)
            pools[pool.name] = pool
    return samples | pools


def _find_pool(table: SurveyTable) -> Array:
    """Rows on the training side, of no more sky objects than are needed."""
    tested = table.groups[table.parts == "test"]  # a split by order may have an object on both sides
    rows: Array = (table.parts == "train") & ~np.isin(table.groups, tested)
    objects = np.unique(table.groups[rows])
    if len(objects) > POOL:
        rows &= np.isin(table.groups, np.random.default_rng(13).choice(objects, POOL, replace=False))
    return rows


def _is_recalibrated(suite: Suite, survey: str) -> bool:
    """Whether there is a curve of it: of what learned from one other survey, on a test of new objects."""
    homes = {t.surveys[0] for t in suite.trainings.values() if len(t.surveys) == 1} - {survey}
    new = survey in suite.learned or suite.objects != "same"
    return bool(suite.recalibration.labels and homes and new and suite.spaces != "each")


def _keeps_seen(suite: Suite, own: bool) -> bool:
    """The study's test of the survey that it learned from: the last rows, whatever they show."""
    return own and suite.protocol == "published"


def keep_answered(questions: Sequence[Question], labelled: Sequence[Array], fewest: int) -> tuple[Question, ...]:
    """
    The questions of which every answer has enough labels in every set.

    Parameters
    ----------
    questions : sequence of Question
    labelled : sequence of (n_rows, n_targets) arrays
        Labels of the training sets and of the tests.
    fewest : int

    Raises
    ------
    SommelierError
        When none is left.
    """
    least = np.min([(~np.isnan(Y)).sum(axis=0) for Y in labelled], axis=0)
    ends = np.cumsum([len(question.targets) for question in questions])[:-1]
    kept = tuple(q for q, counts in zip(questions, np.split(least, ends), strict=True) if (counts >= fewest).all())
    if not kept:
        raise SommelierError(
            f"no question has {fewest} labels in every training set and test: there are too few galaxies, or "
            "min_votes is too high."
        )
    return kept


def find_columns(questions: Sequence[Question], kept: Sequence[Question]) -> Array:
    """The columns of some questions' answers among those of all."""
    targets = list_targets(questions)
    return np.array([targets.index(target) for target in list_targets(kept)])


def read_vectors(file: Path, space: Space, ids: Array) -> Array:
    """
    The vectors of some galaxies of a store.

    Parameters
    ----------
    file : Path
    space : Space
    ids : (n_galaxies,) array of str

    Returns
    -------
    (n_galaxies, embed_dim) float32 array

    Raises
    ------
    SommelierError
        When the store lacks one of them.
    """
    places, parts = _map_store(file, file.stat().st_mtime_ns, space)
    missing = [id_str for id_str in ids.tolist() if id_str not in places]
    if missing:
        raise SommelierError(
            f"{file} has no vectors of {len(missing)} of {len(ids)} galaxies, such as {missing[0]}: their images could "
            "not be read. Extract again with --retry-failed, or leave them out of the catalog."
        )
    rows = [places[id_str] for id_str in ids.tolist()]
    return np.concatenate([part[rows] for part in parts], axis=1, dtype=np.float32)


@lru_cache(maxsize=6)
def _map_store(file: Path, changed: int, space: Space) -> tuple[dict[str, int], list[Array]]:
    """
    Where each galaxy's vector is, and the vectors, part by part of a concatenation.

    They are held against their checksums once a process, and then mapped: processes that fit side by side share them.
    Stores are replaced and never rewritten, so that what was mapped stays.
    """
    with EmbeddingStore.open(file) as store:
        rows = np.flatnonzero(store.ok)
        parts = store.space(*space).parts()
        for part in parts:
            blocks = store.vector_blocks(part)
            for start, stop in block_ranges(len(store)):
                blocks.read(start, stop)  # checks
        places = dict(zip(store.ids[rows].tolist(), rows.tolist(), strict=True))
        return places, [store.vectors(part.layer, part.pooling) for part in parts]


def digest_arrays(*arrays: Array) -> str:
    """16 hex digits that change when any value does."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
