"""The leakage audit of a suite: every training set against every test, before anything is scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.keeping import NOT_KEPT, Keeper
from benchmarks.leakage import Audit, Finding, audit, leave_apart
from benchmarks.material import SurveyTable
from benchmarks.samples import Sample
from benchmarks.sides import Side
from benchmarks.splits import SkySplit
from benchmarks.suite import Suite
from benchmarks.supply import Watch, watch_nothing
from embeddings.duplicates import find_duplicates
from embeddings.errors import SommelierError
from embeddings.store import EmbeddingStore

Array = np.ndarray[Any, Any]
PAIRS = "pairs"  # in the cache


@dataclass(frozen=True)
class SuiteAudit:
    """
    What was found.

    Attributes
    ----------
    records : list of dict
        ``training, test, n, tests, found``, of each training set and test; as `benchmarks.leakage.Audit.to_dict`.
    leaked : dict of str to (n_rows,) bool array
        By test: rows that any training set shows, by whatever told, or that the backbone knew.
    tuned : dict of str to int
        By test: rows whose sky object the backbone that made the vectors was trained on, or chosen by.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    leaked: dict[str, Array] = field(default_factory=dict)
    tuned: dict[str, int] = field(default_factory=dict)


def audit_samples(
    suite: Suite, tables: Mapping[str, SurveyTable], stores: Mapping[str, Path], samples: Mapping[str, Sample],
    split: SkySplit, keeper: Keeper = NOT_KEPT, watch: Watch = watch_nothing,
) -> SuiteAudit:  # fmt: skip
    """
    Look for test galaxies among those that any seed may learn from or choose with.

    Parameters
    ----------
    suite : Suite
    tables : mapping of str to SurveyTable
    stores : mapping of str to Path
        The frozen store of each survey, whose embeddings are compared.
    samples : mapping of str to Sample
        Tests, by name.
    split : SkySplit
        Knows places and images.
    keeper : Keeper
        Of near-identical pairs.
    watch : callable
        As for `benchmarks.runner.run_suite`.
    """
    found = SuiteAudit(leaked={name: np.zeros(len(sample), bool) for name, sample in samples.items()})
    near = NearPairs(stores, suite.audit, keeper, watch)
    for name, training in suite.trainings.items():
        learned = {survey: tables[survey].ids[tables[survey].parts != "test"] for survey in training.surveys}
        side = make_side(split, learned)
        for test, sample in samples.items():
            one = audit(side, make_side(split, {sample.survey: sample.ids}))
            findings = (*one.findings[:-1], near.find(learned, sample, side))
            one = replace(one, findings=findings)
            found.leaked[test] |= one.leaked
            found.records.append(_describe(name, sample, one))
    known = np.concatenate([table.groups[table.tuned] for table in tables.values()])
    for test, sample in samples.items():
        tuned = np.isin(sample.groups, known)
        found.leaked[test] |= tuned
        found.tuned[test] = int(tuned.sum())
    return found


def make_side(split: SkySplit, ids: Mapping[str, Array]) -> Side:
    """Some galaxies of each survey as a side of an audit, without their embeddings."""
    known = [np.flatnonzero((split.surveys == survey) & np.isin(split.ids, chosen)) for survey, chosen in ids.items()]
    rows = np.concatenate(known)
    return Side(
        Path("the suite"), "store", split.ids[rows], split.surveys[rows], split.ra[rows], split.dec[rows],
        split.image_sha256[rows],
    )  # fmt: skip


def _describe(training: str, sample: Sample, found: Audit) -> dict[str, Any]:
    record = found.to_dict()
    return {"training": training, "test": sample.name, "n": len(sample)} | {k: record[k] for k in ("tests", "found")}


class NearPairs:
    """
    Pairs of near-identical embeddings, compared once for each pair of surveys.

    Parameters
    ----------
    stores : mapping of str to Path
    asked : bool
        Whether to compare at all.
    keeper : Keeper
    watch : callable
    """

    def __init__(
        self, stores: Mapping[str, Path], asked: bool, keeper: Keeper = NOT_KEPT, watch: Watch = watch_nothing
    ) -> None:
        self.stores, self.asked, self.keeper, self.watch = stores, asked, keeper, watch
        self._known: dict[tuple[str, str], tuple[str, list[tuple[str, str, float]]]] = {}

    def find(self, learned: Mapping[str, Array], sample: Sample, side: Side) -> Finding:
        """
        The pairs of learned and test galaxies.

        Parameters
        ----------
        learned : mapping of str to (n_galaxies,) array of str
            Ids by survey.
        sample : Sample
        side : Side
            The same galaxies, in order.
        """
        if not self.asked:
            return Finding("embedding", "near-identical embeddings", reason="audit: false in the suite")
        place_a = {(s, i): n for n, (s, i) in enumerate(zip(side.surveys.tolist(), side.ids.tolist(), strict=True))}
        place_b = {id_str: row for row, id_str in enumerate(sample.ids.tolist())}
        a: list[int] = []
        b: list[int] = []
        similarities: list[float] = []
        how = ""
        for survey in learned:
            try:
                how, pairs = self._compare(survey, sample.survey)
            except SommelierError as error:
                return Finding("embedding", "near-identical embeddings", reason=str(error))
            for one, other, similarity in pairs:
                if (survey, one) in place_a and other in place_b:
                    a.append(place_a[survey, one])
                    b.append(place_b[other])
                    similarities.append(similarity)
        found = Finding("embedding", how, np.array(a, int), np.array(b, int), np.array(similarities))
        return leave_apart(found, side.places, np.stack([sample.ra, sample.dec], axis=1))

    def _compare(self, a: str, b: str) -> tuple[str, list[tuple[str, str, float]]]:
        """How two surveys were compared, and their pairs: the ids in `a` and in `b`, and the similarity."""
        if (b, a) in self._known and (a, b) not in self._known:  # minutes, of hundreds of thousands of galaxies
            how, found = self._known[b, a]
            self._known[a, b] = how, [(other, one, similarity) for one, other, similarity in found]
        if (a, b) not in self._known:
            with EmbeddingStore.open(self.stores[a]) as first, EmbeddingStore.open(self.stores[b]) as second:
                stores = [first] if a == b else [first, second]
                how, *columns = self.keeper.call(find_near_pairs, stores, watch=self.watch)
            found = list(zip(*(column.tolist() for column in columns), strict=True))
            if a == b:
                found += [(other, one, similarity) for one, other, similarity in found]
            self._known[a, b] = how, found
        return self._known[a, b]


def find_near_pairs(stores: Sequence[EmbeddingStore], watch: Watch = watch_nothing) -> tuple[str, Array, Array, Array]:
    """
    Near-identical embeddings of one store, or of two.

    Returns
    -------
    how : str
        What counts as that.
    a, b : (n_pairs,) arrays of str
        Ids.
    similarity : (n_pairs,) float array
    """
    names = " and ".join(store.survey for store in stores)
    with watch(f"Comparing embeddings of {names}", "whitening") as report:

        def tell(done: int, total: int) -> None:
            if report:
                report(done, 0, total)

        pairs = find_duplicates(stores, between=len(stores) > 1, report=tell)
    columns, kind = pairs.to_columns(), "whitened" if pairs.whitened else "plain"
    how = f"cosine of {kind} {stores[0].space().name} at least {pairs.threshold:g}"
    a, b = (np.array(columns[name], str) for name in ("id_a", "id_b"))
    return how, a, b, np.array(columns["similarity"], np.float64)


def exclude_leaks(
    suite: Suite, samples: Mapping[str, Sample], found: SuiteAudit
) -> tuple[dict[str, Sample], dict[str, int]]:
    """
    Leave out of tests of new objects what the audit found, and what a fine-tuned backbone knew; a `published` protocol
    tests them all the same, and knows which they are.

    Returns
    -------
    samples : dict of str to Sample
    excluded : dict of str to int
        Rows left out, by test.
    """
    kept, excluded = {}, {}
    for name, sample in samples.items():
        leaked = found.leaked.get(name, np.zeros(len(sample), bool))
        drop = leaked & (sample.objects == "new") & (suite.protocol != "published")
        kept[name] = sample.take(~drop)
        excluded[name] = int(drop.sum())
        if suite.protocol == "published" and leaked.any():
            kept[name] = replace(sample, leaked=leaked)
    return kept, excluded
