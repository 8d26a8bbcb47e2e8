"""The protocol of a head: scikit-learn's, with targets that were not asked and the questions they answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from embeddings.errors import HeadError
from embeddings.questions import Kind, Question, list_targets, target_kinds
from heads.splits import OUTSIDE, cut_folds

Array = np.ndarray[Any, Any]
INNER_FOLDS = 5
WHOLE_TOLERANCE, WHOLE_SHARE = 0.05, 0.95  # releases round fractions to three digits, and a few of their rows are odd


class TargetsError(HeadError, ValueError):
    """Targets that cannot be learned from; a ValueError too, as scikit-learn's checks expect."""


class Head(RegressorMixin, BaseEstimator):
    """
    From vectors to targets.

    A subclass gives `_fit` and `_predict` on standardised vectors, and names its fitted arrays in `saved`.

    Parameters
    ----------
    questions : sequence of Question, optional
        What the columns of Y are: fractions are clipped to [0, 1], values are left as they are. Without
        them every target is a value.
    random_state : int
        Of inner folds, and of whatever else is drawn.
    weight_by_votes : bool
        Weigh each galaxy, for each question, by how many volunteers answered: a fraction of n votes has a variance
        of f (1 - f) / n.

    Attributes
    ----------
    mean_, scale_ : (embed_dim,) arrays
        Standardisation, from the training rows.
    inner_score_ : float
        R2 in inner folds of the training rows, averaged over targets; -inf where nothing was chosen.
    """

    name: ClassVar[str]
    saved: ClassVar[tuple[str, ...]] = ()
    fractions_only: ClassVar[bool] = False  # refuses questions of kind value, and labels outside [0, 1]

    def __init__(
        self,
        questions: Sequence[Question] | None = None,
        random_state: int = 0,
        weight_by_votes: bool = False,
    ) -> None:
        self.questions = questions
        self.random_state = random_state
        self.weight_by_votes = weight_by_votes

    def fit(
        self,
        X: Array,
        Y: Array,
        votes: Array | None = None,
        groups: Array | None = None,
        validation: Array | None = None,
    ) -> Self:
        """
        Fit on the galaxies whose targets are there.

        Parameters
        ----------
        X : (n_galaxies, embed_dim) array
        Y : (n_galaxies, n_targets) array
            NaN where a question was not asked.
        votes : (n_galaxies, n_targets) array, optional
            Vote counts, for `weight_by_votes` and for heads that learn from counts.
        groups : (n_galaxies,) array, optional
            Sky objects, kept whole in inner folds; every row its own by default.
        validation : (n_galaxies,) bool array, optional
            Galaxies that are not learned from, and make every choice that is otherwise made in inner folds.

        Raises
        ------
        TargetsError
            When Y or votes do not fit X or the questions, Y is infinite or has a target without labels, or votes are
            needed and are not there.
        """
        self._fit(*self._prepare(X, Y, votes, groups, validation))
        return self

    def predict(self, X: Array) -> Array:
        """
        Predict every target of every galaxy.

        Returns
        -------
        (n_galaxies, n_targets) array
        """
        P = self._predict(self._place(X))
        fractions = self._find_fractions()
        P[:, fractions] = np.clip(P[:, fractions], 0, 1)
        return P

    def predict_columns(self, X: Array) -> dict[str, Array]:
        """
        What the head says beside the targets, such as ``<target>_std``; nothing by default.

        Returns
        -------
        dict of str to (n_galaxies,) array
            By column name.
        """
        return {}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output, tags.target_tags.single_output = True, False  # (n_galaxies, n_targets) always
        return tags

    def _fit(self, X: Array, Y: Array, votes: Array | None, groups: Array) -> None:
        """Learn from rows whose group is not below 0; the others are there to choose, see `_inner_folds`."""
        raise NotImplementedError

    def _predict(self, X: Array) -> Array:
        raise NotImplementedError

    def _prepare(
        self,
        X: Array,
        Y: Array,
        votes: Array | None = None,
        groups: Array | None = None,
        validation: Array | None = None,
    ) -> tuple[Array, Array, Array | None, Array]:
        """What `fit` is given, checked and standardised, as `_fit` takes it."""
        X = self._check_vectors(X, ensure_min_samples=2)
        Y = self._check_targets(X, np.asarray(Y, dtype=X.dtype))
        self.n_targets_ = Y.shape[1]
        groups = self._number_groups(Y, groups, validation)
        learned = X if validation is None else X[groups >= 0]
        self.mean_ = learned.mean(axis=0)
        spread = learned.std(axis=0)
        # the spread of a constant feature is a rounding error: dividing by it would blow up another survey's constant
        varies = (learned.max(axis=0) > learned.min(axis=0)) & (spread > 0)
        self.scale_ = np.where(varies, spread, 1).astype(X.dtype)
        self.inner_score_ = float("-inf")
        votes = None if votes is None else self._check_votes(Y, np.asarray(votes, dtype=X.dtype))
        return self._standardise(X), Y, votes, groups

    def _number_groups(self, Y: Array, groups: Array | None, validation: Array | None) -> Array:
        """Sky objects numbered from 0 on, those of galaxies that are there to choose from -1 downwards."""
        numbers = np.arange(len(Y)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        if validation is None:
            return numbers
        chooses = np.asarray(validation)
        if chooses.shape != (len(Y),) or chooses.dtype != bool:
            raise TargetsError(
                f"validation is one boolean for each of {len(Y)} galaxies; got {chooses.dtype} of {chooses.shape}."
            )
        if not 2 <= (~chooses).sum() < len(Y):
            raise TargetsError(
                f"{chooses.sum()} of {len(Y)} galaxies choose; it takes one, and 2 others to learn from."
            )
        for question, columns in self._columns(Y):
            asked = np.asarray(~np.isnan(Y[:, columns]).any(axis=1))
            for side, what in ((~chooses, "training"), (chooses, "validation")):
                if not asked[side].any():
                    raise TargetsError(
                        f"no {what} galaxy has labels of {', '.join(question.targets)}; leave it out with --targets."
                    )
        return np.where(chooses, -1 - numbers, numbers)

    def _place(self, X: Array) -> Array:
        """Vectors to predict from, checked and standardised as those that were learned from."""
        check_is_fitted(self, "mean_")
        return self._standardise(self._check_vectors(X, reset=False, ensure_min_samples=0))

    def _check_vectors(self, X: Array, **checks: Any) -> Array:
        """X as scikit-learn checks it: half precision as float32, float32 as it is, all else (lists too) as float64."""
        dtype = np.float32 if getattr(X, "dtype", None) == np.float16 else (np.float64, np.float32)
        return np.asarray(validate_data(self, X, dtype=dtype, **checks))

    def _standardise(self, X: Array) -> Array:
        X = X - self.mean_
        X /= self.scale_
        return X

    def _check_targets(self, X: Array, Y: Array) -> Array:
        """Y as (n_galaxies, n_targets), or what is wrong with it."""
        if Y.ndim not in (1, 2):
            raise TargetsError(f"Y has shape {Y.shape}; y should be a 1d array, or one of (n_galaxies, n_targets).")
        Y = Y[:, None] if Y.ndim == 1 else Y
        if len(Y) != len(X):
            raise TargetsError(f"X has {len(X)} rows and Y has {len(Y)}; they must be the same galaxies.")
        names = list_targets(self.questions or ())
        if names and len(names) != Y.shape[1]:
            raise TargetsError(f"Y has {Y.shape[1]} targets and the questions have {len(names)}: {', '.join(names)}.")
        kinds = target_kinds(question for question, _ in self._columns(Y))
        no_fraction = ((Y < 0) | (Y > 1)).any(axis=0) | np.array([kind == "value" for kind in kinds])
        for wrong, problem in (
            (np.isinf(Y).any(axis=0), "{} has infinite labels; labels are numbers, or NaN where not asked."),
            (np.isnan(Y).all(axis=0), "no training galaxy has a label for {}; leave it out with --targets."),
            (no_fraction & self.fractions_only, "{} is no fraction of votes, and " + f"{self.name} learns only those."),
        ):
            for target in np.flatnonzero(wrong):
                raise TargetsError(problem.format(self._name_target(int(target))))
        return Y

    def _check_votes(self, Y: Array, votes: Array) -> Array:
        """Votes as (n_galaxies, n_targets), or what is wrong with them."""
        votes = votes[:, None] if votes.ndim == 1 else votes
        if votes.shape != Y.shape:
            raise TargetsError(f"votes have shape {votes.shape} and Y {Y.shape}; they must be of the same targets.")
        if (votes < 0).any() or np.isinf(votes).any():
            raise TargetsError(
                "votes are counts, 0 or more, or NaN where there are none; some are negative or infinite."
            )
        return votes

    def _columns(self, Y: Array) -> list[tuple[Question, range]]:
        """Each question with its columns of Y; without questions every target is one of its own."""
        if not self.questions:
            kind: Kind = "fraction" if self.fractions_only else "value"
            return [(Question(self._name_target(t), kind=kind), range(t, t + 1)) for t in range(Y.shape[1])]
        ends = np.cumsum([len(question.targets) for question in self.questions]).tolist()
        return [(q, range(end - len(q.targets), end)) for q, end in zip(self.questions, ends, strict=True)]

    def _weigh(self, Y: Array, votes: Array | None) -> Array | None:
        """
        What each galaxy weighs for each target, or None where all weigh the same.

        As `weigh_by_votes` says.
        """
        if not self.weight_by_votes:
            return None
        if votes is None or not self.questions:
            raise TargetsError(
                "weight_by_votes needs votes, and questions that say which answers' votes make a total. Give both, or "
                "fit without weights."
            )
        return weigh_by_votes(self._columns(Y), Y, votes)

    def _find_fractions(self) -> Array:
        """(n_targets,) bool."""
        kinds = target_kinds(self.questions) if self.questions else ["value"] * self.n_targets_
        return np.array([kind == "fraction" for kind in kinds])

    def _name_target(self, target: int) -> str:
        names = list_targets(self.questions or ())
        return names[target] if names else f"target {target}"

    def _inner_folds(self, groups: Array, target: int = 0) -> Array:
        """
        The fold of each training row, as many folds as the galaxies allow, at most `INNER_FOLDS`.

        Galaxies that are there to choose are the only fold, all others lie outside; see `heads.splits.find_learned`.
        """
        if (groups < 0).any():
            return np.where(groups < 0, 0, OUTSIDE)
        n_groups = len(np.unique(groups))
        if n_groups < 2:
            raise TargetsError(
                f"{self._name_target(target)} has labels of one galaxy only, and inner folds need two. Give more "
                "galaxies, or leave it out with --targets."
            )
        return cut_folds(groups, min(INNER_FOLDS, n_groups), self.random_state)

    # what a folder holds: arrays in one npz, and files of the head's own format beside it

    def to_arrays(self) -> dict[str, Array]:
        """The fitted state."""
        names = ("mean_", "scale_", *self.saved)
        return {name: np.asarray(getattr(self, name)) for name in names} | {"n_targets_": np.asarray(self.n_targets_)}

    def from_arrays(self, arrays: dict[str, Array]) -> Self:
        """The inverse of `to_arrays`."""
        for name in ("mean_", "scale_", *self.saved):
            setattr(self, name, arrays[name])
        self.n_targets_ = int(arrays["n_targets_"])
        self.n_features_in_ = len(self.mean_)
        return self

    def to_files(self) -> dict[str, bytes]:
        """What does not go into `to_arrays`, by file name (``model.safetensors``, ``booster.ubj``)."""
        return {}

    def from_files(self, files: dict[str, bytes]) -> Self:
        """The inverse of `to_files`; called after `from_arrays`."""
        return self


def weigh_by_votes(columns: Sequence[tuple[Question, range]], Y: Array, votes: Array) -> Array:
    """
    What each galaxy weighs for each target: the total of its question's votes, over the mean total.

    Over the mean, so that penalties keep their meaning. Without counts (a value, a galaxy of a release that gives none)
    it is 1.

    Parameters
    ----------
    columns : sequence of (Question, range)
        The questions and their columns of Y.
    Y, votes : (n_galaxies, n_targets) arrays

    Returns
    -------
    (n_galaxies, n_targets) array
        0 where not asked.

    Raises
    ------
    TargetsError
        When a question has counts, and all are 0.
    """
    weights = np.zeros_like(Y)
    for question, own in columns:
        totals = count_volunteers(question, Y[:, own], votes[:, own])
        known = ~np.isnan(totals)
        if known.any() and not totals[known].any():
            raise TargetsError(f"nobody voted on {question.name}: all its totals are 0. Fit without weights.")
        relative = np.ones_like(totals)
        relative[known] = totals[known] / (totals[known].mean() if known.any() else 1)
        weights[:, own] = np.where(np.isnan(Y[:, own]), 0, relative[:, None])
    return weights


def count_volunteers(question: Question, Y: Array, votes: Array) -> Array:
    """
    How many volunteers answered a question.

    Parameters
    ----------
    question : Question
    Y, votes : (n_galaxies, n_answers) arrays
        Its fractions and counts.

    Returns
    -------
    (n_galaxies,) array
        NaN where there are no counts, or no fractions.

    Raises
    ------
    TargetsError
        When answers of the question are missing, and with them their votes.
    """
    if not question.vote_columns:
        return np.full(len(Y), np.nan)
    counted = ~np.isnan(votes + Y).any(axis=1)
    if question.fractions != "debiased" and counted.any() and not adds_up(Y[counted]):
        raise TargetsError(
            f"the fractions of {', '.join(question.targets)} do not add up to one: not all votes are here. Take the "
            f"whole question with --targets '{question.name}_*', or fit without votes."
        )
    return np.where(counted, votes.sum(axis=1), np.nan)


def adds_up(Y: Array) -> bool:
    """Whether a question's fractions (n_galaxies, n_answers) add up to one, a few odd galaxies apart."""
    return bool((np.abs(Y.sum(axis=1) - 1) < WHOLE_TOLERANCE).mean() >= WHOLE_SHARE)


def group_targets(Y: Array, weights: Array | None = None) -> Iterator[tuple[Array, Array]]:
    """
    Targets that are missing for the same galaxies and weigh them alike, such as the answers of one question.

    Yields
    ------
    rows : (n_galaxies,) bool array
        Where they are there, and weigh something.
    targets : int array
        Columns of Y.
    """
    asked = ~np.isnan(Y) if weights is None else ~np.isnan(Y) & (weights > 0)
    alike: dict[bytes, list[int]] = {}
    for target in range(Y.shape[1]):
        key = np.packbits(asked[:, target]).tobytes()
        alike.setdefault(key if weights is None else key + weights[:, target].tobytes(), []).append(target)
    for targets in alike.values():
        yield asked[:, targets[0]], np.array(targets)
