"""Who learns and who is tested: sky objects on one side in all surveys, training sets of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchmarks.galaxies import Galaxies
from heads.splits import hash_share

Array = np.ndarray[Any, Any]
Objects = Literal["new", "same", "paired"]
Training = tuple[Galaxies, ...]  # a part a survey
TEST_SHARE = 0.4


@dataclass(frozen=True)
class Sample:
    """Galaxies to test on: `objects` says whether training saw the same ones ("same") or not ("new")."""

    galaxies: Galaxies
    objects: Objects


def split_objects(surveys: Sequence[Galaxies], seed: int, share: float = TEST_SHARE) -> set[int]:
    """
    The sky objects to test on, by a hash of their names: whatever other objects are there, one stays on its side.

    An object's name is its id in the first survey that has it (the least one, where several rows show it), so that
    surveys after that one change nothing.

    Parameters
    ----------
    surveys : sequence of Galaxies
        All that share their numbering of objects.
    seed : int
    share : float

    Returns
    -------
    set of int
        Of `Galaxies.objects`.
    """
    names: dict[int, str] = {}
    for galaxies in surveys:
        own: dict[int, str] = {}
        for number, id_str in zip(galaxies.objects.tolist(), galaxies.ids.tolist(), strict=True):
            own[number] = min(own.get(number, id_str), id_str)
        names = own | names
    return {number for number, name in names.items() if hash_share(f"{seed}/{name}") < share}


def mix_at_budget(first: Galaxies, second: Galaxies, n: int, seed: int) -> Training:
    """
    `n` different sky objects, half from each survey; where one has too few, as many more from the other as it has.

    Returns
    -------
    (Galaxies, Galaxies)
        One row an object, and no object in both.
    """
    rng = np.random.default_rng(seed)
    a, b = (_draw_rows(galaxies, rng) for galaxies in (first, second))
    n_first = n - n // 2
    b = b[~np.isin(second.objects[b], first.objects[a[:n_first]])][: n - len(a[:n_first])]
    more = a[n_first:][~np.isin(first.objects[a[n_first:]], second.objects[b])]
    a = np.concatenate([a[:n_first], more[: n - len(a[:n_first]) - len(b)]])
    return first.take(np.sort(a)), second.take(np.sort(b))


def _draw_rows(galaxies: Galaxies, rng: np.random.Generator) -> Array:
    """One row an object, in random order."""
    rows = rng.permutation(len(galaxies))
    return np.asarray(rows[np.sort(np.unique(galaxies.objects[rows], return_index=True)[1])])


def divide_surveys(surveys: Sequence[Galaxies], seed: int) -> tuple[tuple[Training, Training], list[Sample]]:
    """
    Training sets and tests; no sky object of a test is in a training set, except where the sample says so.

    Returns
    -------
    trainings : (tuple of Galaxies, tuple of Galaxies)
        Of the first survey; of the first two, mixed to as many sky objects.
    samples : list of Sample
        New objects of every survey, then the others' pictures of the first one's training objects.
    """
    tested = split_objects(surveys, seed)
    inside = [np.isin(galaxies.objects, list(tested)) for galaxies in surveys]
    train = [galaxies.take(~test) for galaxies, test in zip(surveys, inside, strict=True)]
    samples = [Sample(galaxies.take(test), "new") for galaxies, test in zip(surveys, inside, strict=True)]
    for galaxies in train[2:]:  # those drawn from the first survey, as UKIDSS was
        samples.append(Sample(galaxies.take(np.isin(galaxies.objects, train[0].objects)), "same"))
    return ((train[0],), mix_at_budget(train[0], train[1], train[0].count_objects(), seed)), samples
