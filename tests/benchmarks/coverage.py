"""
How often 95 % intervals hold the truth, by simulation: ``python -m tests.benchmarks.coverage --seeds 3``.

Two ways of making a model (A and B) are trained with some seeds and tested on sky objects with one to three rows. The
truth is the mean, over all seeds there could be, of the correlation over all galaxies there could be; it is known.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np

from benchmarks.comparison import MIN_RESAMPLES, compute_p
from benchmarks.resampling import Resampling
from benchmarks.statistics import score_runs

NOISE = (0.6, 0.9)  # of the two targets' predictions, in units of the labels' spread


class Setting(NamedTuple):
    """What an experiment looks like: `spread` is how much the noise differs between seeds, as a share."""

    objects: int = 250
    seeds: int = 5
    spread: float = 0.05
    resamples: int = 1000


class Coverage(NamedTuple):
    """
    Shares of the experiments: intervals of a score and of a difference that hold the truth, and false findings.

    The last is NaN with fewer resamples than a p needs.
    """

    score: float
    difference: float
    false: float


def know_truth(setting: Setting) -> float:
    """The mean of 1 / sqrt(1 + noise^2) over seeds, whose noise is NOISE times a log-normal factor, and targets."""
    # Gauss-Hermite quadrature: the mean of f(x) over a normal x
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    factor = np.exp(setting.spread * nodes)
    return float(np.mean([weights @ (1 + (noise * factor) ** 2) ** -0.5 / weights.sum() for noise in NOISE]))


def run_experiment(setting: Setting, number: int) -> tuple[bool, bool, float]:
    """Whether the score's interval holds the truth, the difference's holds 0, and p is below 0.05 though it is 0."""
    rng = np.random.default_rng([number, setting.objects, setting.seeds])
    objects = np.repeat(np.arange(setting.objects), rng.integers(1, 4, setting.objects))

    def draw() -> np.ndarray:
        """Normal values that rows of one object share by half."""
        shape = (setting.objects, len(NOISE))
        return np.sqrt(0.5) * (rng.normal(size=shape)[objects] + rng.normal(size=(len(objects), len(NOISE))))

    Y, shared = draw(), draw()
    resampling = Resampling(objects, number, setting.resamples)
    scores = []
    for _ in "AB":
        own, runs = draw(), {}
        for seed in range(setting.seeds):
            factor = np.exp(setting.spread * rng.normal())
            # a third of the variance each: errors that both models share, that all runs of one share, a run's own
            error = (shared + own + draw()) / np.sqrt(3)
            runs[seed] = Y + NOISE * error * factor
        scores.append(score_runs(Y, runs, resampling).macro["r"])
    truth, difference = know_truth(setting), scores[0] - scores[1]
    low, high = scores[0].interval
    below, above = difference.interval
    found = compute_p(difference) < 0.05 if setting.resamples >= MIN_RESAMPLES else np.nan
    return low <= truth <= high, below <= 0 <= above, found


def measure_coverage(setting: Setting, experiments: int) -> Coverage:
    """Over many experiments."""
    return Coverage(*np.mean([run_experiment(setting, number) for number in range(experiments)], axis=0).tolist())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=500)
    for name, default in Setting()._asdict().items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    given = vars(parser.parse_args())
    print(measure_coverage(Setting(**{name: given[name] for name in Setting._fields}), given["experiments"]))
