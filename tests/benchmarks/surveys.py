"""Surveys without images: vectors that show the truth with noise, and volunteers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embeddings.questions import Question

QUESTIONS = (Question("shape", ("round", "flat")), Question("arms", ("yes", "no"), "shape_flat"))
SKY = np.random.default_rng(0).beta(1, 1, (400, 2))  # what each object truly is


@dataclass(frozen=True)
class Seen:
    """What a survey shows of some objects, one a row."""

    survey: str
    ids: np.ndarray
    X: np.ndarray
    Y: np.ndarray
    votes: np.ndarray
    totals: np.ndarray
    objects: np.ndarray


def see(survey: str, objects: np.ndarray, seed: int, offset: float = 0.0) -> Seen:
    """A survey whose vectors show the truth with noise, and thirty volunteers."""
    rng = np.random.default_rng(seed)
    truth = np.stack([SKY[objects, 0], 1 - SKY[objects, 0], SKY[objects, 1], 1 - SKY[objects, 1]], axis=1)
    X = np.concatenate([truth + rng.normal(0, 0.1, truth.shape), rng.normal(size=(len(objects), 4))], axis=1) + offset
    flat = rng.binomial(30, truth[:, 1])
    arms = rng.binomial(flat, truth[:, 2])
    votes = np.stack([30 - flat, flat, arms, flat - arms], axis=1).astype(np.float32)
    totals = np.stack([np.full(len(objects), 30), np.full(len(objects), 30), flat, flat], axis=1).astype(np.float32)
    Y = np.divide(votes, totals, out=np.full_like(votes, np.nan), where=totals > 0)
    votes[np.isnan(Y)] = np.nan
    ids = np.array([f"{survey}-{number}" for number in objects])
    return Seen(survey, ids, X.astype(np.float32), Y, votes, totals, objects)


def see_all() -> list[Seen]:
    """Two surveys that overlap, and a third of half the objects of the first."""
    north, south = np.arange(0, 300), np.arange(150, 400)
    return [see("north", north, 1), see("south", south, 2, 0.3), see("infrared", north[::2], 3, 0.1)]
