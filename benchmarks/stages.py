"""What training the backbone brings: a run beside heads on frozen and on its own embeddings, on its test galaxies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from typing import Any

import numpy as np

from benchmarks.moments import weigh_auc
from benchmarks.resampling import resample_objects
from benchmarks.statistics import Score, macro_scores, score_predictions
from embeddings.errors import HeadError
from embeddings.objects import group_galaxies
from embeddings.provenance import Space
from embeddings.questions import merge_questions, select_questions
from embeddings.runs import RunRecord
from embeddings.store import EmbeddingStore
from heads.base import Head
from heads.io import load_head, make_head
from heads.metrics import is_binary
from heads.training import read_rows

Array = np.ndarray[Any, Any]
FROZEN, TUNED, REFITTED = "{}, frozen", "fine-tune", "{}, fine-tuned"


@dataclass(frozen=True)
class Stage:
    """
    A model on the run's test galaxies.

    Attributes
    ----------
    name : str
    P : (n_galaxies, n_targets) array
    scores : dict of str to Score
        ``r, r2, mae`` over targets, and ``auc`` where the labels are 0 and 1. Those of two stages are paired.
    learned_r2 : float
        R2 of the training galaxies: how much better it looks than it is.
    """

    name: str
    P: Array
    scores: dict[str, Score]
    learned_r2: float


def compare_stages(
    run: RunRecord,
    frozen: Sequence[EmbeddingStore],
    tuned: Sequence[EmbeddingStore],
    heads: Sequence[str] = ("ridge", "mlp"),
    random_state: int = 0,
) -> tuple[list[Stage], int]:
    """
    Score a run's stages on its test galaxies, which trained nothing and chose nothing.

    Parameters
    ----------
    run : RunRecord
    frozen : sequence of EmbeddingStore
        What the backbone that the run began with makes of the run's galaxies, a store a survey.
    tuned : sequence of EmbeddingStore
        What the run's backbone makes of them.
    heads : sequence of str
        That are fitted on the training galaxies of either; the validation galaxies choose.
    random_state : int
        Of the random head, the others, and the resamples.

    Returns
    -------
    stages : list of Stage
        The random head and the others on frozen embeddings, the run itself, the others on its embeddings.
    n : int
        Test galaxies.

    Raises
    ------
    HeadError
        When a store lacks galaxies of the run.
    """
    space = Space(run.record["space"]["layer"], run.record["space"]["pooling"])
    before, after = (_read(run, stores, space) for stores in (frozen, tuned))
    if not np.array_equal(before.ids, after.ids):
        raise HeadError(
            f"the stores of the frozen and of the fine-tuned backbone hold different galaxies of {run.folder}. "
            "Extract the same catalogs with both."
        )
    models = {FROZEN.format(name): (before.fit(name, random_state), before) for name in ("random", *heads)}
    models[TUNED] = load_head(run.folder).head, after
    models |= {REFITTED.format(name): (after.fit(name, random_state), after) for name in heads}
    train, test = (before.parts == part for part in ("train", "test"))
    weights = resample_objects(before.objects[test], random_state)
    stages = []
    for name, (model, galaxies) in models.items():
        P, learned = model.predict(galaxies.X[test]), model.predict(galaxies.X[train])
        r2 = macro_scores(before.Y[train], learned, np.ones((1, train.sum())))["r2"][0]
        stages.append(Stage(name, P, _score(before.Y[test], P, weights), float(r2)))
    return stages, int(test.sum())


@dataclass(frozen=True)
class Known:
    """The galaxies of a run, in the order of its split."""

    ids: Array
    X: Array
    Y: Array
    votes: Array
    objects: Array
    parts: Array
    questions: Any

    def fit(self, name: str, random_state: int) -> Head:
        """A head that learned from the training galaxies; the validation galaxies chose."""
        kept = self.parts != "test"
        head = make_head(name, self.questions, random_state=random_state)
        return head.fit(self.X[kept], self.Y[kept], self.votes[kept], self.objects[kept], self.parts[kept] == "val")


def _read(run: RunRecord, stores: Sequence[EmbeddingStore], space: Space) -> Known:
    split = run.read_split()
    asked = merge_questions(*(store.questions for store in stores))
    questions = select_questions(asked, [escape(target) for target in run.record["targets"]])
    ids = np.concatenate([store.ids[store.ok] for store in stores])
    X = np.concatenate([store.read_vectors(store.space(*space), store.ok) for store in stores])
    labels = [read_rows(store, questions) for store in stores]
    Y, votes = (np.concatenate([three[n][three[0]] for three in labels]) for n in (1, 2))
    place = {id_str: row for row, id_str in enumerate(ids.tolist())}
    missing = [id_str for id_str in split.ids.tolist() if id_str not in place]
    if missing:
        raise HeadError(
            f"{len(missing)} galaxies of {run.folder} are not in {', '.join(str(s.path) for s in stores)}: "
            f"{', '.join(missing[:3])}. Extract all of its catalogs."
        )
    rows = np.array([place[id_str] for id_str in split.ids.tolist()])
    objects = group_galaxies(split.ids, split.ra, split.dec, split.image_sha256)
    return Known(split.ids, X[rows], Y[rows], votes[rows], objects, split.parts, questions)


def _score(Y: Array, P: Array, weights: Array) -> dict[str, Score]:
    scores = score_predictions(Y, P, weights)
    binary = [target for target in range(Y.shape[1]) if is_binary(Y[:, target])]
    if binary:
        scores["auc"] = score_auc(Y[:, binary[0]], P[:, binary[0]], weights)
    return scores


def score_auc(y: Array, p: Array, weights: Array) -> Score:
    """Of one target, on the sample and on each resample."""
    return Score(float(weigh_auc(y, p, np.ones((1, len(y))))[0]), weigh_auc(y, p, weights))
