"""Parts: the study's by its own figures, hashed ones by what must not change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.questions import Question
from embeddings.runs import Split
from finetune.data import GalaxyTable, TrainingError
from finetune.sections import Split as Settings
from finetune.split import choose_parts, cut_parts, tabulate_split, write_split
from tests.finetune.tables import make_table

ODD = (Question("odd"),)


def name_galaxies(names: list[str]) -> GalaxyTable:
    return make_table(np.zeros((len(names), 1)), questions=ODD, ids=names)


def cut(names: list[str], groups: np.ndarray | None = None, seed: int = 0) -> list[str]:
    own = np.arange(len(names)) if groups is None else groups
    return list(cut_parts(name_galaxies(names), own, "hash", 0.3, 0.3, seed))


@given(
    n=st.integers(60, 90),
    order=st.randoms(use_true_random=False),
    seed=st.integers(0, 9),
)
@settings(max_examples=30, deadline=None)
def test_an_object_keeps_its_part_whatever_galaxies_are_added(n: int, order: object, seed: int) -> None:
    few = [f"galaxy {number}" for number in range(n)]
    many = few + [f"another {number}" for number in range(n // 2)]
    order.shuffle(many)  # type: ignore[attr-defined]
    parts = dict(zip(many, cut(many, seed=seed), strict=True))
    assert [parts[name] for name in few] == cut(few, seed=seed)


@given(groups=st.lists(st.integers(0, 40), min_size=150, max_size=150), seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_objects_stay_whole(groups: list[int], seed: int) -> None:
    names = [f"g{number:03}" for number in range(len(groups))]
    try:
        parts = cut(names, np.array(groups), seed)
    except TrainingError:  # so few objects that a part is empty
        assert len(set(groups)) < 30
        return
    assert len(set(zip(groups, parts, strict=True))) == len(set(groups))


def test_more_views_of_an_object_go_where_it_is() -> None:
    names = [f"g{number:03}" for number in range(100)]
    again = [f"later {number:03}" for number in range(100)]
    assert cut(names + again, np.tile(np.arange(100), 2)) == cut(names) * 2


def test_shares_are_those_asked_for() -> None:
    n = 20_000
    parts = cut_parts(name_galaxies([str(number) for number in range(n)]), np.arange(n), "hash", 0.1, 0.2, 3)
    for part, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        assert abs((parts == part).sum() - share * n) < 4 * np.sqrt(share * (1 - share) * n)  # of a binomial
    assert (parts != cut_parts(name_galaxies([str(i) for i in range(n)]), np.arange(n), "hash", 0.1, 0.2, 4)).any()


def test_the_studys_split() -> None:
    """N - int(0.8 N) - int(0.1 N) = 23,958 test galaxies, as its stored predictions have."""
    n = 239_566
    table = make_table(np.zeros((n, 1)), questions=ODD)
    parts = cut_parts(table, np.zeros(n, int), "sequential", 0.1, 0.1, 0)
    assert (parts[:191_652] == "train").all()
    assert (parts[191_652 : n - 23_958] == "val").all()
    assert (parts[-23_958:] == "test").all()


@given(n=st.integers(100, 400), val=st.integers(1, 40), test=st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_sequential_rounds_down_both(n: int, val: int, test: int) -> None:
    """In whole hundredths, where floating-point numbers cannot err: 0.29 of 100 is 29, and not 28.999999999999996."""
    table = name_galaxies([str(i) for i in range(n)])
    parts = cut_parts(table, np.arange(n), "sequential", val / 100, test / 100, 0).tolist()
    n_train, n_val = (100 - val - test) * n // 100, val * n // 100
    assert parts == ["train"] * n_train + ["val"] * n_val + ["test"] * (n - n_train - n_val)


def test_an_empty_part_is_an_error() -> None:
    with pytest.raises(TrainingError, match=r"of 3 galaxies none is left for val; give more, or other shares"):
        cut_parts(name_galaxies(["a", "b", "c"]), np.arange(3), "sequential", 0.1, 0.1, 0)
    assert set(cut_parts(name_galaxies(["a", "b"]), np.arange(2), "sequential", 0.5, 0, 0)) == {"train", "val"}


def test_a_split_is_read_as_it_was_written(tmp_path: Path, rng: np.random.Generator) -> None:
    table = name_galaxies([f"587{number}" for number in range(20)])
    parts = np.array(["train", "val", "test", "train"] * 5, object)
    digests = rng.integers(0, 256, (20, 32), np.uint8)
    write_split(tmp_path / "split.parquet", tabulate_split(table, digests, parts))
    split = Split.read(tmp_path / "split.parquet")
    assert split.ids.tolist() == table.ids.tolist()
    assert split.parts.tolist() == parts.tolist()
    assert np.array_equal(split.image_sha256, digests)
    assert np.isnan(split.ra).all()


def recall(ids: list[str], parts: list[str]) -> Split:
    """The split of an earlier run."""
    nowhere = np.full(len(ids), np.nan)
    return Split(
        np.array(ids), np.full(len(ids), "sky"), nowhere, nowhere, np.zeros((len(ids), 32), np.uint8), np.array(parts)
    )


def test_what_an_earlier_run_knew_keeps_its_part_and_is_named() -> None:
    names = [f"g{number:02}" for number in range(60)]
    table, images = name_galaxies(names), np.zeros((60, 32), np.uint8)
    alone = choose_parts(table, images, Settings(val=0.3, test=0.3), 0)
    turned = {"train": "test", "val": "train", "test": "val"}
    earlier = recall([*names[:30], "gone"], [*(turned[part] for part in alone[:30]), "train"])
    parts = choose_parts(table, images, Settings(val=0.3, test=0.3), 0, earlier)
    assert parts[:30].tolist() == earlier.parts[:30].tolist()
    assert parts[30:].tolist() == alone[30:].tolist()
    split = tabulate_split(table, images, parts, earlier).to_pylist()
    assert [row["id_str"] for row in split] == [*names, "gone"]
    assert split[-1] | {"ra": 0, "dec": 0} == {
        "id_str": "gone", "survey": "", "ra": 0, "dec": 0, "image_sha256": bytes(32), "group": 60, "part": "train",
    }  # fmt: skip


def test_the_studys_second_stage_has_the_split_of_its_first() -> None:
    names, images = [f"g{number:02}" for number in range(20)], np.full((20, 32), 7, np.uint8)  # all one object
    parts = choose_parts(name_galaxies(names), images, Settings(method="sequential"), 0)
    assert parts.tolist() == ["train"] * 16 + ["val"] * 2 + ["test"] * 2
    nowhere = np.full(20, np.nan)
    earlier = Split(np.array(names), np.full(20, "sky"), nowhere, nowhere, images, parts.astype(str))
    again = choose_parts(name_galaxies(names), images, Settings(method="sequential"), 0, earlier)
    assert again.tolist() == parts.tolist()


def test_a_part_that_an_earlier_run_leaves_empty_is_an_error() -> None:
    names = [f"g{number:02}" for number in range(60)]
    earlier = recall(names, ["test"] * 60)
    with pytest.raises(TrainingError, match=r"the run that trained the backbone gives none of these .* train or val"):
        choose_parts(name_galaxies(names), np.zeros((60, 32), np.uint8), Settings(), 0, earlier)
