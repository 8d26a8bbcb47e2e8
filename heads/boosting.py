"""Gradient-boosted trees on what a ridge leaves over."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Self

import numpy as np
from sklearn.decomposition import PCA

from embeddings.errors import HeadError
from embeddings.questions import Question
from heads.base import Array, Head
from heads.linear import RidgeHead
from heads.scores import mean_r2

MIN_GALAXIES = (
    20  # fewer labelled galaxies on either side of the inner split teach trees nothing, and stop them at random
)


class XGBoostHead(Head):
    """
    Ridge regression, and histogram trees (XGBoost) on its residuals, seen along the leading principal components.

    What embeddings say is close to linear, which trees copy badly and dearly; so a ridge says what is linear and the
    trees add the rest (`docs/performance.md` has the figures). One booster a target, on one binned matrix: a galaxy
    without the target weighs nothing. A fifth of the galaxies, which neither that ridge nor the trees learn from, stops
    the trees; where they do not help there at all, a target keeps its ridge alone. The ridge that predicts is then
    fitted on all galaxies.

    Parameters
    ----------
    questions, random_state, weight_by_votes
        As in `Head`.
    n_components : int or None
        Principal components of the standardised vectors that the trees see; None for the vectors themselves.
    n_rounds, patience : int
        At most so many trees a target, and stop after so many without gain.
    learning_rate : float
    max_depth, max_bin : int
        Of each tree, and of the histograms.
    device : str
        ``cpu``, ``cuda``, or ``auto``: cuda where XGBoost was built with it and there is one.

    Attributes
    ----------
    coef_ : (embed_dim, n_targets) array
    intercept_ : (n_targets,) array
        Of the ridge, on standardised vectors.
    components_ : (embed_dim, n_components) array
    boosters_ : dict of int to xgboost.Booster
        By target; those that trees help.

    References
    ----------
    Chen & Guestrin 2016, XGBoost: A Scalable Tree Boosting System, KDD 785.
    """

    name = "xgboost"
    saved = ("coef_", "intercept_", "components_")

    def __init__(
        self,
        questions: Sequence[Question] | None = None,
        random_state: int = 0,
        weight_by_votes: bool = False,
        n_components: int | None = 64,
        n_rounds: int = 150,
        patience: int = 10,
        learning_rate: float = 0.2,
        max_depth: int = 4,
        max_bin: int = 64,
        device: str = "auto",
    ) -> None:
        super().__init__(questions, random_state, weight_by_votes)
        self.n_components = n_components
        self.n_rounds = n_rounds
        self.patience = patience
        self.learning_rate = learning_rate
        self.max_depth = max_depth
        self.max_bin = max_bin
        self.device = device

    def _fit(self, X: Array, Y: Array, votes: Array | None, groups: Array) -> None:
        load_xgboost()  # before any work
        chooses = groups < 0
        ridge = self._make_ridge(self.questions).fit(X, Y, votes, groups, chooses if chooses.any() else None)
        self.coef_, self.intercept_ = _unstandardise(ridge)
        self.inner_score_ = ridge.inner_score_
        self.components_ = self._find_components(X[~chooses])
        self.boosters_: dict[int, Any] = {}
        held_out = self._inner_folds(groups) == 0
        columns = [(q, c) for q, c in self._columns(Y) if _count_least(Y[:, c], groups, held_out) >= MIN_GALAXIES]
        if columns:
            self._learn_rest(X, Y, votes, groups, held_out, columns)

    def _learn_rest(
        self, X: Array, Y: Array, votes: Array | None, groups: Array, held_out: Array,
        columns: Sequence[tuple[Question, range]],
    ) -> None:  # fmt: skip
        """Give trees what a ridge leaves over of some questions, and add what they gain to the inner score."""
        targets = np.concatenate([np.array(c) for _, c in columns])
        weights = self._weigh(Y, votes)
        Y = Y[:, targets]
        weights = (~np.isnan(Y)).astype(X.dtype) if weights is None else weights[:, targets]
        if (groups < 0).any():  # the ridge that predicts has not seen them either
            coef, intercept = self.coef_[:, targets], self.intercept_[targets]
        else:
            inner, inside = self._make_ridge([question for question, _ in columns]), ~held_out
            inner.fit(X[inside], Y[inside], None if votes is None else votes[inside][:, targets], groups[inside])
            coef, intercept = _unstandardise(inner)
        residual = np.nan_to_num(Y - (X @ coef + intercept))
        before = (weights * residual**2)[held_out].sum(axis=0, dtype=np.float64)
        after = self._boost(X @ self.components_, residual, weights, held_out, targets, before)
        # all folds judge the ridge, one the trees: what they gain there is less noisy than what they reach
        reached, had = (mean_r2(squares, Y[held_out], weights[held_out]) for squares in (after, before))
        if np.isfinite(had):
            self.inner_score_ += (reached - had) * len(targets) / self.n_targets_

    def _make_ridge(self, questions: Sequence[Question] | None) -> RidgeHead:
        return RidgeHead(questions, self.random_state, self.weight_by_votes)

    def _find_components(self, X: Array) -> Array:
        """(embed_dim, n_components), from the training galaxies."""
        if self.n_components is None or self.n_components >= X.shape[1]:
            return np.eye(X.shape[1], dtype=X.dtype)
        pca = PCA(min(self.n_components, len(X)), svd_solver="covariance_eigh").fit(X)
        return np.ascontiguousarray(pca.components_.T, dtype=X.dtype)

    def _boost(
        self, Z: Array, residual: Array, weights: Array, held_out: Array, targets: Array, before: Array
    ) -> Array:
        """Grow trees; weighted sums of squares of each target over the galaxies held out, from those before."""
        xgboost = load_xgboost()
        sides = ~held_out, held_out
        training = xgboost.QuantileDMatrix(Z[sides[0]], max_bin=self.max_bin)
        stopping = xgboost.QuantileDMatrix(Z[sides[1]], max_bin=self.max_bin, ref=training)
        parameters = {
            "tree_method": "hist", "max_bin": self.max_bin, "max_depth": self.max_depth, "eta": self.learning_rate,
            "base_score": 0.0, "seed": self.random_state, "device": choose_device(self.device),
        }  # fmt: skip
        squares = before.copy()
        for index, target in enumerate(targets.tolist()):
            for matrix, rows in zip((training, stopping), sides, strict=True):
                matrix.set_info(label=residual[rows, index], weight=weights[rows, index])
            booster = xgboost.train(
                parameters, training, self.n_rounds, evals=[(stopping, "stopping")],
                early_stopping_rounds=self.patience, verbose_eval=False,
            )  # fmt: skip
            reached = booster.best_score**2 * weights[held_out, index].sum(dtype=np.float64)
            if reached < squares[index]:
                squares[index] = reached
                self.boosters_[target] = booster[: booster.best_iteration + 1]
        return np.asarray(squares)

    def _predict(self, X: Array) -> Array:
        P = np.asarray(X @ self.coef_ + self.intercept_)
        if len(X) and self.boosters_:
            matrix = load_xgboost().DMatrix(X @ self.components_)
            for target, booster in self.boosters_.items():
                P[:, target] += booster.predict(matrix)
        return P

    def to_files(self) -> dict[str, bytes]:
        """Each booster in XGBoost's own format, UBJSON."""
        return {f"booster-{target}.ubj": bytes(b.save_raw("ubj")) for target, b in self.boosters_.items()}

    def from_files(self, files: dict[str, bytes]) -> Self:
        """The inverse of `to_files`."""
        self.boosters_ = {}
        for name, content in files.items():
            target = int(name.removeprefix("booster-").removesuffix(".ubj"))
            self.boosters_[target] = load_xgboost().Booster(model_file=bytearray(content))
        return self


def _unstandardise(ridge: RidgeHead) -> tuple[Array, Array]:
    """A ridge's coefficients and intercept on the vectors that it was given, which it standardises anew."""
    coef = ridge.coef_ / ridge.scale_[:, None]
    return coef, ridge.intercept_ - ridge.mean_ @ coef


def _count_least(Y: Array, groups: Array, held_out: Array) -> int:
    """The fewest galaxies that any of the targets has on either side of a split."""
    asked = ~np.isnan(Y)
    return min(len(np.unique(groups[side & column])) for column in asked.T for side in (held_out, ~held_out))


def load_xgboost() -> ModuleType:
    """
    The xgboost module.

    Raises
    ------
    HeadError
        Where it is not installed.
    """
    try:
        return import_module("xgboost")
    except ImportError as error:
        raise HeadError(
            "the head 'xgboost' needs XGBoost, which is not installed. Install it with: pip install xgboost-cpu (on "
            "macOS, or for a GPU: pip install xgboost), or choose another head."
        ) from error


def choose_device(device: str = "auto") -> str:
    """``cuda`` where XGBoost was built with it and there is such a device, else ``cpu``; or what is asked for."""
    if device != "auto":
        return device
    if not load_xgboost().build_info().get("USE_CUDA"):
        return "cpu"
    return "cuda" if import_module("torch").cuda.is_available() else "cpu"
