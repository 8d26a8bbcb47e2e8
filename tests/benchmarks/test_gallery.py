"""Which galaxies are shown: as the picture's own words say."""

from __future__ import annotations

import numpy as np

from benchmarks.galaxies import Galaxies
from benchmarks.gallery import Album, choose_examples


def see(survey: str, objects: np.ndarray) -> Galaxies:
    """A survey of some objects; what their vectors are does not matter here."""
    ids = np.array([f"{survey}-{number}" for number in objects])
    return Galaxies(survey, ids, np.zeros((len(ids), 2), np.float32), objects)


def test_an_example_is_in_the_most_surveys_has_the_largest_share_and_is_shown_once() -> None:
    surveys = [see("north", np.arange(6)), see("south", np.array([1, 2, 3]))]
    rows = {f"north-{number}": number for number in range(6)}
    votes = {
        "smooth-or-featured_total-votes": np.array([60.0, 60.0, 10.0, 60.0, 60.0, 60.0]),
        # 3 has more votes than 2, but of more volunteers; 4 has a larger share, but is in one survey alone
        "how-rounded_round": np.array([50.0, np.nan, 9.0, 30.0, 60.0, 0.0]),
        "bar_yes": np.array([8.0, 1.0, 10.0, 0.0, 9.0, np.nan]),  # 2 is shown already
        "disk-edge-on_yes": np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        "something-odd_yes": np.array([np.nan, 3.0, 4.0, 5.0, 1.0, 2.0]),  # none is left that both surveys saw
    }
    chosen = choose_examples(surveys, Album("north", rows, [], votes))
    assert chosen == {"round": 2, "disk, edge-on": 1, "bar": 3, "something odd": 5}
