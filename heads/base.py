"""The protocol of a head: scikit-learn's, with targets that were not asked and the questions they answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from embeddings.errors import HeadError
from embeddings.questions import Question, list_targets, target_kinds
from heads.splits import cut_folds

Array = np.ndarray[Any, Any]
INNER_FOLDS = 5


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

    Attributes
    ----------
    mean_, scale_ : (embed_dim,) arrays
        Standardisation, from the training rows.
    inner_score_ : float
        R2 in inner folds of the training rows, averaged over targets; -inf where nothing was chosen.
    """

    name: ClassVar[str]
    saved: ClassVar[tuple[str, ...]] = ()

    def __init__(self, questions: Sequence[Question] | None = None, random_state: int = 0) -> None:
        self.questions = questions
        self.random_state = random_state

    def fit(self, X: Array, Y: Array, votes: Array | None = None, groups: Array | None = None) -> Self:
        """
        Fit on the galaxies whose targets are there.

        Parameters
        ----------
        X : (n_galaxies, embed_dim) array
        Y : (n_galaxies, n_targets) array
            NaN where a question was not asked.
        votes : (n_galaxies, n_targets) array, optional
            Vote counts, for heads that use them.
        groups : (n_galaxies,) array, optional
            Sky objects, kept whole in inner folds; every row its own by default.

        Raises
        ------
        TargetsError
            When Y does not fit X or the questions, is infinite, or has a target without labels.
        """
        X = validate_data(self, X, dtype=(np.float32, np.float64), ensure_min_samples=2)
        Y = self._check_targets(X, np.asarray(Y, dtype=X.dtype))
        self.n_targets_ = Y.shape[1]
        self.mean_ = X.mean(axis=0)
        spread = X.std(axis=0)
        # the spread of a constant feature is a rounding error: dividing by it would blow up another survey's constant
        varies = (X.max(axis=0) > X.min(axis=0)) & (spread > 0)
        self.scale_ = np.where(varies, spread, 1).astype(X.dtype)
        self.inner_score_ = float("-inf")
        self._fit((X - self.mean_) / self.scale_, Y, votes, np.arange(len(X)) if groups is None else np.asarray(groups))
        return self

    def predict(self, X: Array) -> Array:
        """
        Predict every target of every galaxy.

        Returns
        -------
        (n_galaxies, n_targets) array
        """
        check_is_fitted(self, "mean_")
        X = validate_data(self, X, dtype=(np.float32, np.float64), reset=False, ensure_min_samples=0)
        P = self._predict((X - self.mean_) / self.scale_)
        kinds = target_kinds(self.questions) if self.questions else ["value"] * self.n_targets_
        fractions = np.array([kind == "fraction" for kind in kinds])
        P[:, fractions] = np.clip(P[:, fractions], 0, 1)
        return P

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output, tags.target_tags.single_output = True, False  # (n_galaxies, n_targets) always
        return tags

    def _fit(self, X: Array, Y: Array, votes: Array | None, groups: Array) -> None:
        raise NotImplementedError

    def _predict(self, X: Array) -> Array:
        raise NotImplementedError

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
        for wrong, problem in (
            (np.isinf(Y).any(axis=0), "{} has infinite labels; labels are numbers, or NaN where not asked."),
            (np.isnan(Y).all(axis=0), "no training galaxy has a label for {}; leave it out with --targets."),
        ):
            for target in np.flatnonzero(wrong):
                raise TargetsError(problem.format(self._name_target(int(target))))
        return Y

    def _name_target(self, target: int) -> str:
        names = list_targets(self.questions or ())
        return names[target] if names else f"target {target}"

    def _inner_folds(self, groups: Array, target: int = 0) -> Array:
        """The fold of each training row, as many folds as the galaxies allow, at most `INNER_FOLDS`."""
        n_groups = len(np.unique(groups))
        if n_groups < 2:
            raise TargetsError(
                f"{self._name_target(target)} has labels of one galaxy only, and inner folds need two. Give more "
                "galaxies, or leave it out with --targets."
            )
        return cut_folds(groups, min(INNER_FOLDS, n_groups), self.random_state)

    # what a folder holds

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


def group_targets(Y: Array) -> Iterator[tuple[Array, Array]]:
    """
    Targets that are missing for the same galaxies, such as the answers of one question.

    Yields
    ------
    rows : (n_galaxies,) bool array
        Where they are there.
    targets : int array
        Columns of Y.
    """
    asked = ~np.isnan(Y)
    _, pattern = np.unique(np.packbits(asked, axis=0), axis=1, return_inverse=True)
    for number in np.unique(pattern):
        targets = np.flatnonzero(pattern.ravel() == number)
        yield asked[:, targets[0]], targets


def mean_r2(residual: Array, Y: Array) -> float:
    """
    R2 from sums of squared residuals, averaged over the targets that vary.

    Parameters
    ----------
    residual : (n_targets,) array
        Sums over the galaxies that have the target.
    Y : (n_galaxies, n_targets) array
    """
    total = np.nansum((Y - np.nanmean(Y, axis=0)) ** 2, axis=0)
    varies = total > 0
    return float((1 - residual[varies] / total[varies]).mean()) if varies.any() else float("-inf")
