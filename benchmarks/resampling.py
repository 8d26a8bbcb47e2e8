"""What else could have been drawn, galaxies and seeds: the same draws for every model, so that scores are paired."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from embeddings.errors import SommelierError

Array = np.ndarray[Any, Any]
N_RESAMPLES = 10_000
BLOCK = 2**24  # weights at a time: 64 MiB of float32


@dataclass(frozen=True)
class Resampling:
    """
    Sky objects drawn with replacement, as many as there are, all rows of an object together.

    Rows of one object are not independent, so that objects are what is drawn (Davison & Hinkley 1997, Bootstrap Methods
    and their Application, section 3.8; Field & Welsh 2007, J. R. Statist. Soc. B 69, 369). Draws follow from the
    objects and `random_state` alone: models that are scored in different processes have the same ones. Fewer resamples
    are the first ones of more.

    Attributes
    ----------
    objects : (n_rows,) array
        Numbers or names.
    random_state : int
    n_resamples : int

    Raises
    ------
    SommelierError
        Without rows or resamples.
    """

    objects: Array = field(repr=False)
    random_state: int = 0
    n_resamples: int = N_RESAMPLES

    def __post_init__(self) -> None:
        if not len(self.objects):
            raise SommelierError("there is no galaxy to resample. Give the test set's sky objects, one a row.")
        if self.n_resamples < 1:
            raise SommelierError(f"{self.n_resamples} resamples say nothing; a p needs thousands (n_resamples=10000).")

    @cached_property
    def index(self) -> Array:
        """(n_rows,) int array: the place of each row's object."""
        return np.asarray(np.unique(self.objects, return_inverse=True)[1])

    @cached_property
    def n_objects(self) -> int:
        """How many different sky objects there are."""
        return int(self.index.max()) + 1

    @cached_property
    def key(self) -> str:
        """What the draws follow from, as 16 hex digits: scores are paired where it is the same."""
        text = f"{self.random_state} {self.n_resamples} ".encode() + self.index.astype("<i8").tobytes()
        return hashlib.sha256(text).hexdigest()[:16]

    def gather(self, rows: Array) -> Array:
        """
        The sums over each object's rows.

        Parameters
        ----------
        rows : (n_rows, n_columns) array

        Returns
        -------
        (n_objects, n_columns) array
        """
        n = len(self.index)
        return np.asarray(csr_array((np.ones(n), (self.index, np.arange(n))), shape=(self.n_objects, n)) @ rows)

    def draw_blocks(self) -> Iterator[Array]:
        """
        How often each object is drawn, some resamples at a time.

        Yields
        ------
        (n_block, n_objects) float32 array
            `n_resamples` rows in all.
        """
        if self.n_resamples * self.n_objects <= BLOCK:
            yield self._whole
        else:
            yield from self._draw(max(1, BLOCK // self.n_objects))

    @cached_property
    def _whole(self) -> Array:
        """All draws where they are one block: kept, since many models are scored on the same ones."""
        (block,) = self._draw(self.n_resamples)
        block.flags.writeable = False
        return block

    def _draw(self, size: int) -> Iterator[Array]:
        rng, n = np.random.default_rng(self.random_state), self.n_objects
        for start in range(0, self.n_resamples, size):
            block = np.empty((min(size, self.n_resamples - start), n), np.float32)
            for weights in block:  # ten times faster than Generator.multinomial, which draws a binomial an object
                weights[:] = np.bincount(rng.integers(n, size=n, dtype=np.int32), minlength=n)
            yield block

    def draw_rows(self) -> Iterator[Array]:
        """
        How often each row is drawn, some resamples at a time.

        Yields
        ------
        (n_block, n_rows) float32 array
        """
        for block in self.draw_blocks():
            yield block[:, self.index]


def resample_objects(objects: Array, random_state: int, n_resamples: int = 2000) -> Array:
    """
    How often each row is drawn when sky objects are drawn with replacement, for a test set of thousands at most.

    Parameters
    ----------
    objects : (n_rows,) array
        Rows of one object are drawn together.
    random_state : int
    n_resamples : int

    Returns
    -------
    (n_resamples, n_rows) float64 array
        The draws of `Resampling`.
    """
    return np.concatenate(list(Resampling(objects, random_state, n_resamples).draw_rows())).astype(np.float64)


def draw_seeds(seeds: Sequence[int], random_state: int, n_resamples: int = N_RESAMPLES) -> Array:
    """
    Weights on seeds whose sums with the seeds' scores are what another set of seeds could add to their mean.

    Of S scores with standard deviation s, the sums are normal with standard deviation s / sqrt(S); that s is not known
    well is for `Score.spread` to allow for. Drawing three or five seeds with replacement would not do: no draw leaves
    the range of the scores, in which their median lies with a chance of 1 - 2^(1 - S) alone, 75 % for three and 93.75 %
    for five, and percentiles reach less. Models with the same seeds have the same weights, so that what a seed does to
    both cancels in their difference; those of other seeds are independent.

    Parameters
    ----------
    seeds : sequence of int
        Not negative, all different.
    random_state : int
    n_resamples : int

    Returns
    -------
    (n_resamples, n_seeds) float64 array
        Each row's sum is 0; all 0 for a single seed, of which nothing is known.

    Raises
    ------
    SommelierError
        For seeds that occur twice or are negative.
    """
    n = len(seeds)
    if len(set(seeds)) < n or min(seeds, default=-1) < 0:
        raise SommelierError(f"seeds must be different and not negative, not {', '.join(map(str, seeds)) or 'none'}.")
    if n == 1:
        return np.zeros((n_resamples, 1))
    # the 1 keeps this stream apart from that of the objects
    rng = np.random.default_rng([random_state, 1, *sorted(seeds)])
    normal = rng.standard_normal((n_resamples, n))[:, np.argsort(np.argsort(seeds))]
    # the sums of the centred values with the scores have variance (n - 1) s^2
    return np.asarray((normal - normal.mean(axis=1, keepdims=True)) / np.sqrt(n * (n - 1)))


def inflate_luck(share: float, n_seeds: int) -> float:
    """
    How much wider than `draw_seeds` has it the luck of seeds is that each learn from a part of the same objects.

    Two parts, each a share s of the objects drawn without replacement, have s of their objects in common, and to first
    order their scores correlate by s: the scores differ too little from each other, and their mean keeps what is
    peculiar to the objects, however many seeds there are. Of S scores with variance v among them the mean has variance
    v / S (1 + S s / (1 - s)): v / S from the parts, and v s / (1 - s) from the objects, which is the variance of one
    model of all objects by the delete-d jackknife. Where a seed does more than choose the part (initialisation, order)
    or a score answers to the training set in second order, this is too wide and not too narrow.

    Parameters
    ----------
    share : float
        Of the objects to learn from, in [0, 1); 0 stands for training sets that have nothing in common.
    n_seeds : int

    Returns
    -------
    float
        The root of 1 + S s / (1 - s), for `benchmarks.statistics.score_runs`.

    Raises
    ------
    SommelierError
        For another share or no seed.

    References
    ----------
    Shao & Wu 1989, Ann. Statist. 17, 1176 (the delete-d jackknife); Nadeau & Bengio 2003, Machine Learning 52, 239
    (the mean of scores that correlate).
    """
    if not 0 <= share < 1 or n_seeds < 1:
        raise SommelierError(
            f"{n_seeds} seeds that each learn from a share of {share} of the objects: at least one seed and a share "
            "from 0 to below 1 were expected. Seeds that all learn from everything say nothing of other training sets."
        )
    return float(np.sqrt(1 + n_seeds * share / (1 - share)))
