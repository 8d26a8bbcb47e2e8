"""Whether predicted distributions of votes are as wide as the votes say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.special import gammaln
from scipy.stats import kstest

Array = np.ndarray[Any, Any]
TOTALS = (1, 2, 5, 10, 20, 40, 80)


def randomised_pit(counts: Array, totals: Array, means: Array, precision: Array, rng: np.random.Generator) -> Array:
    """
    Where in its predicted distribution each count lies: uniform in [0, 1] where the prediction is calibrated.

    One answer's count is beta-binomial where all are Dirichlet-multinomial, and binomial at infinite precision. A count
    has a probability of its own, over which its place is drawn.

    Parameters
    ----------
    counts, totals : (n_galaxies,) arrays of whole numbers
        Votes for one answer, and on its question.
    means, precision : (n_galaxies,) arrays
        Of a `VoteDistribution`.
    rng : Generator

    Returns
    -------
    (n_galaxies,) array

    References
    ----------
    Czado, Gneiting & Held 2009, Biometrics 65, 1254.
    """
    counts, totals, means, precision = (np.asarray(values, np.float64) for values in (counts, totals, means, precision))
    steps = np.arange(int(totals.max(initial=0)) + 1)
    place = np.empty(len(counts))
    for rows in np.array_split(np.arange(len(counts)), len(counts) * len(steps) // 4_000_000 + 1):
        chances = _count_chances(steps, totals[rows], means[rows], precision[rows])
        below = np.where(steps < counts[rows, None], chances, 0).sum(axis=1)
        own = np.where(steps == counts[rows, None], chances, 0).sum(axis=1)
        place[rows] = below + rng.uniform(size=len(rows)) * own
    return np.clip(place, 0, 1)


def _count_chances(steps: Array, totals: Array, means: Array, precision: Array) -> Array:
    """The probability of each number of votes, (n_galaxies, n_steps), 0 beyond a galaxy's total."""
    k, n = np.minimum(steps, totals[:, None]), totals[:, None]
    p = np.clip(means, 1e-12, 1 - 1e-12)[:, None]
    chance = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    finite = np.isfinite(precision)
    chance[~finite] += (k * np.log(p) + (n - k) * np.log1p(-p))[~finite]
    yes, both = (p * precision[:, None])[finite], precision[finite, None]
    no, k, n = both - yes, k[finite], n[finite]
    chance[finite] += gammaln(k + yes) - gammaln(yes) + gammaln(n - k + no) - gammaln(no)
    chance[finite] += gammaln(both) - gammaln(n + both)
    return np.asarray(np.where(steps <= totals[:, None], np.exp(chance), 0))


def tabulate_pit(pit: Array, totals: Array, edges: Sequence[int] = TOTALS) -> Iterator[dict[str, Any]]:
    """
    How uniform places in predicted distributions are, by the number of votes.

    Parameters
    ----------
    pit, totals : (n_galaxies,) arrays
        NaN where a question was not asked.
    edges : sequence of int
        The lowest number of votes of each row of the table; the last has no end.

    Yields
    ------
    dict
        ``votes_from, votes_to`` (None: no end), ``n``, and, None without galaxies: ``mean`` (0.5 where the predictions
        are right on average), ``spread`` (12 times the variance: 1 where they are as wide as they should be, above
        where they are too sure, below where they are too wide) and ``p_value`` (of uniformity, Kolmogorov-Smirnov).
    """
    for low, high in zip(edges, [*edges[1:], None], strict=True):
        inside = (totals >= low) & ~np.isnan(pit) & (True if high is None else totals < high)
        places = pit[inside]
        record = {"votes_from": low, "votes_to": None if high is None else high - 1, "n": len(places)}
        if not len(places):
            yield record | {"mean": None, "spread": None, "p_value": None}
            continue
        p_value = float(kstest(places, "uniform").pvalue)
        yield record | {"mean": float(places.mean()), "spread": float(12 * places.var()), "p_value": p_value}
