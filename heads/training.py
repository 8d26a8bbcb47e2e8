"""The labelled galaxies of one or more stores, put together to learn from."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from glob import escape

import numpy as np

from embeddings.errors import HeadError
from embeddings.labels import read_labels
from embeddings.objects import group_galaxies
from embeddings.provenance import Space, list_differences, require_same_model
from embeddings.questions import Question, list_targets, merge_questions, select_questions
from embeddings.runs import PARTS, share_parts
from embeddings.store import EmbeddingStore
from heads.base import Array

MIN_GALAXIES = 8  # with fewer labels, outer folds have one to score and inner folds hardly any to choose by
MIN_SET_ASIDE = 2  # that choose, and that are reported: one galaxy has no correlation


@dataclass(frozen=True)
class Labels:
    """
    Labels from a catalog, to be used instead of a store's.

    Attributes
    ----------
    ids : (n_rows,) array of str
    columns : dict of str to (n_rows,) array
    questions : tuple of Question
    """

    ids: Array
    columns: dict[str, Array]
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class TrainingSet:
    """
    The rows of one or more stores that have vectors and at least one label, without the vectors.

    Attributes
    ----------
    stores : tuple of EmbeddingStore
    kept : tuple of (n_rows,) bool array
        Which rows of each store.
    ids, groups : (n_galaxies,) arrays
        And the sky objects that they show.
    Y, votes : (n_galaxies, n_targets) arrays
    questions : tuple of Question
    parts : (n_galaxies,) array of str
        ``train``, ``val`` or ``test`` where scores follow the split of the run that trained the backbone; else empty.
    note : str
        What is to be said of the galaxies where a run trained the backbone.
    n_seen : int
        On how many the backbone was trained or chosen that are scored all the same.
    """

    stores: tuple[EmbeddingStore, ...]
    kept: tuple[Array, ...]
    ids: Array
    Y: Array
    votes: Array
    groups: Array
    questions: tuple[Question, ...]
    parts: Array
    note: str = ""
    n_seen: int = 0

    @property
    def targets(self) -> list[str]:
        """The names of the columns of Y."""
        return list_targets(self.questions)

    def take(self, rows: Array) -> TrainingSet:
        """Some of the galaxies, chosen by booleans."""
        kept = []
        ends = np.cumsum([mask.sum() for mask in self.kept])[:-1]
        for mask, there in zip(self.kept, np.split(rows, ends), strict=True):
            mask = mask.copy()
            mask[mask] = there
            kept.append(mask)
        names = ("ids", "Y", "votes", "groups", "parts")
        return replace(self, kept=tuple(kept), **{name: getattr(self, name)[rows] for name in names})

    @property
    def n_objects(self) -> int:
        """How many sky objects the rows show."""
        return len(np.unique(self.groups))

    def read(self, space: Space) -> Array:
        """(n_galaxies, embed_dim) float32."""
        parts = [store.read_vectors(space, kept) for store, kept in zip(self.stores, self.kept, strict=True)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def gather_training_set(
    stores: Sequence[EmbeddingStore],
    labels: Labels | None = None,
    targets: Sequence[str] = (),
    min_votes: int = 0,
    seen: bool = False,
) -> TrainingSet:
    """
    Put the labelled rows of stores together; targets that hardly any galaxy has are left out, with a warning.

    Parameters
    ----------
    stores, labels, targets, min_votes, seen
        As for `heads.fit_head`.

    Raises
    ------
    ProvenanceMismatch
        When different models made the stores.
    HeadError
        When there is nothing to predict or nothing to learn from.
    """
    first = stores[0]
    require_one_model(stores)
    for store in stores[1:]:
        _warn_of_differences(first, store)
    asked = labels.questions if labels else merge_questions(*(store.questions for store in stores))
    questions = select_questions(asked, targets)
    if not questions:
        raise HeadError(
            f"{first.path} has no labels to predict. Give some with: sommelier relabel {first.path} CATALOG, "
            "or --catalog CATALOG."
        )
    rows = [read_rows(store, questions, min_votes, labels) for store in stores]
    kept = tuple(ok & ~np.isnan(Y).all(axis=1) for ok, Y, _ in rows)
    columns = [[s.ids[k], s.ra[k], s.dec[k], s.dataset("image_sha256")[k]] for s, k in zip(stores, kept, strict=True)]
    ids, ra, dec, images = (np.concatenate(values) for values in zip(*columns, strict=True))
    Y = np.concatenate([Y[k] for (_, Y, _), k in zip(rows, kept, strict=True)])
    votes = np.concatenate([votes[k] for (_, _, votes), k in zip(rows, kept, strict=True)])
    if not len(ids):
        cut = f" with at least {min_votes} votes (--min-votes)" if min_votes else ""
        raise HeadError(f"no galaxy of {', '.join(str(s.path) for s in stores)} has both a vector and a label{cut}.")
    groups = group_galaxies(ids, ra, dec, images)
    parts = np.concatenate([store.parts[k] for store, k in zip(stores, kept, strict=True)])
    data = TrainingSet(tuple(stores), kept, ids, Y, votes, groups, questions, share_parts(parts, groups))
    return drop_scarce_targets(settle_parts(data, seen))


def settle_parts(data: TrainingSet, seen: bool = False) -> TrainingSet:
    """
    The galaxies that heads can be fitted and scored on fairly, where a run trained the backbone.

    Galaxies that it was trained on look better to it than others do, and are not scored. Where it was trained on none
    of these, those that chose its weights are left out; else those that its run did not know.

    Parameters
    ----------
    data : TrainingSet
        With the parts that the stores have.
    seen : bool
        Take all galaxies alike, also those that the backbone was trained on.

    Raises
    ------
    HeadError
        When the backbone was trained on some galaxies and none of the others was set aside for tests.
    """
    if not any(store.has_parts for store in data.stores):
        return data
    n, alike = len(data.ids), np.full_like(data.parts, "")
    train, val, test = (int((data.parts == part).sum()) for part in PARTS)
    if seen and train + val:
        note = f"the backbone was trained on {train} of the {n} galaxies and chosen on {val}"
        return replace(data, parts=alike, note=note, n_seen=train + val)
    if train and not test:
        _refuse_seen(data, train)
    if val == n:
        raise HeadError(f"all {n} labelled galaxies chose the backbone's weights: none is left to score. Give others.")
    kept = data.parts != ("" if train else "val")
    if not kept.all():
        why = "the run that trained the backbone did not know them" if train else "they chose the backbone's weights"
        warnings.warn(f"{n - kept.sum()} of {n} galaxies are left out, because {why}", stacklevel=3)
    if not train:
        data = replace(data, parts=alike, note="galaxies that the backbone was not trained on")
    return data.take(kept)


def _refuse_seen(data: TrainingSet, n_train: int) -> None:
    """Raise, saying how to get galaxies that the backbone has not seen."""
    raise HeadError(
        f"the backbone was trained on {n_train} of the {len(data.ids)} labelled galaxies of "
        f"{', '.join(str(store.path) for store in data.stores)}, and its run set none of the others aside for tests: "
        "scores would be of galaxies that it has seen. Extract the whole catalog that the run was given, its test "
        "galaxies included, or only galaxies that the run did not know. To score these all the same: --seen."
    )


def drop_scarce_targets(data: TrainingSet, fewest: int = MIN_GALAXIES) -> TrainingSet:
    """
    Leave out targets that fewer galaxies have than can be learned from, chosen by and scored, and say so.

    Raises
    ------
    HeadError
        When none is left.
    """
    parts = [part for part in ("", *PARTS) if (data.parts == part).any()]
    needed = [MIN_SET_ASIDE if part in ("val", "test") else fewest for part in parts]
    counts = [
        [len(np.unique(data.groups[asked & (data.parts == part)])) for part in parts] for asked in ~np.isnan(data.Y.T)
    ]
    enough = [all(n >= least for n, least in zip(row, needed, strict=True)) for row in counts]
    if all(enough):
        return data
    what = " and ".join(f"{n} {part} galaxies".replace("  ", " ") for n, part in zip(needed, parts, strict=True))
    scarce = ", ".join(
        f"{t} ({', '.join(map(str, n))})" for t, n, fine in zip(data.targets, counts, enough, strict=True) if not fine
    )
    if not any(enough):
        raise HeadError(f"no target has labels of at least {what}: {scarce}. Give more labelled galaxies.")
    warnings.warn(f"left out, because fewer than {what} have labels: {scarce}", stacklevel=2)
    questions = select_questions(
        data.questions, [escape(t) for t, fine in zip(data.targets, enough, strict=True) if fine]
    )
    data = replace(data, Y=data.Y[:, enough], votes=data.votes[:, enough], questions=questions)
    return data.take(np.asarray(~np.isnan(data.Y).all(axis=1)))


def require_one_model(stores: Sequence[EmbeddingStore]) -> None:
    """Raise `ProvenanceMismatch` unless one model made all stores."""
    for store in stores[1:]:
        what = f"{stores[0].path} (here) and {store.path} (there)"
        require_same_model(stores[0].provenance.model, store.provenance.model, what)


def _warn_of_differences(first: EmbeddingStore, other: EmbeddingStore) -> None:
    """Say what may differ between stores that are used together, and does."""
    here, there = (
        {"precision": store.provenance.precision, "images": store.provenance.images} for store in (first, other)
    )
    changes = "; ".join(list_differences(here, there))
    if changes:
        warnings.warn(f"{first.path} (here) and {other.path} (there) were made differently: {changes}", stacklevel=3)


def read_rows(
    store: EmbeddingStore, questions: Sequence[Question], min_votes: int = 0, labels: Labels | None = None
) -> tuple[Array, Array, Array]:
    """
    The labels of a store, of questions that it need not have.

    Parameters
    ----------
    store, questions, min_votes, labels
        As for `heads.fit_head`.

    Returns
    -------
    ok : (n_rows,) bool array
        Where there are vectors.
    Y, votes : (n_rows, n_targets) arrays
        NaN where the store has no such question.
    """
    if labels is None:
        Y = np.full((len(store), len(list_targets(questions))), np.nan, np.float32)
        votes = np.full_like(Y, np.nan)
        own = {question.name for question in store.questions}
        position = 0
        for question in questions:
            width = len(question.targets)
            if question.name in own:
                Y[:, position : position + width], votes[:, position : position + width] = store.labels(
                    [question], min_votes
                )
            position += width
        return store.ok, Y, votes
    Y, votes = read_labels(
        questions,
        list(labels.columns),
        labels.columns.__getitem__,
        len(labels.ids),
        min_votes,
        "the catalog",
        labels.questions,
    )
    place = {id_str: row for row, id_str in enumerate(labels.ids.tolist())}
    rows = np.array([place.get(id_str, -1) for id_str in store.ids.tolist()])
    unlabelled = np.full((1, Y.shape[1]), np.nan, np.float32)  # row -1
    Y, votes = (np.concatenate([values, unlabelled])[rows] for values in (Y, votes))
    return store.ok, Y, votes
