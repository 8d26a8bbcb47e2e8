"""Splits over several surveys: objects whole, shares kept, files that say when they were changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.splits import SkySplit, SplitRecipe, cut_split, cut_stores
from embeddings.errors import SommelierError, StoreError
from embeddings.provenance import Space
from embeddings.runs import Split
from heads.splits import hash_share
from tests.heads.conftest import StoreMaker, make_store  # noqa: F401 - a fixture

rng = np.random.default_rng(5)
N = 1000
RA, DEC = rng.uniform(0, 360, N), np.degrees(np.arcsin(rng.uniform(-1, 1, N)))
# north sees objects 0 to 699, south 500 to 999 an arcsecond beside; the third has some of the north without positions
SEEN = {"north": np.arange(700), "south": np.arange(500, N), "infrared": np.arange(0, 300, 3)}
OBJECTS = np.concatenate(list(SEEN.values()))
SURVEYS = np.repeat(list(SEEN), [len(objects) for objects in SEEN.values()])
IDS = np.array([f"{survey[0]}{number:04}" for survey, number in zip(SURVEYS, OBJECTS, strict=True)])
IDS[SURVEYS == "infrared"] = [f"n{number:04}" for number in SEEN["infrared"]]  # by the ids of the north
PLACE_RA = np.where(SURVEYS == "infrared", np.nan, RA[OBJECTS])
PLACE_DEC = np.where(SURVEYS == "infrared", np.nan, DEC[OBJECTS] + (SURVEYS == "south") / 3600)
PLACE_DEC = np.where(PLACE_DEC > 90, 90, PLACE_DEC)


def cut(recipe: SplitRecipe, rows: np.ndarray | slice = slice(None)) -> SkySplit:
    images = np.zeros((len(IDS), 32), np.uint8)
    return cut_split(IDS[rows], SURVEYS[rows], PLACE_RA[rows], PLACE_DEC[rows], images[rows], recipe)


def parts_of(split: SkySplit) -> dict[tuple[str, str], str]:
    return dict(zip(zip(split.surveys.tolist(), split.ids.tolist(), strict=True), split.parts.tolist(), strict=True))


@pytest.mark.parametrize("recipe", [SplitRecipe(), SplitRecipe("blocks", seed=3)])
def test_an_object_is_on_one_side_in_all_surveys(recipe: SplitRecipe) -> None:
    split = cut(recipe)
    sides: dict[int, set[str]] = {}
    for number, part in zip(OBJECTS.tolist(), split.parts.tolist(), strict=True):
        sides.setdefault(number, set()).add(part)
    assert all(len(side) == 1 for side in sides.values())
    assert len(set(split.names)) == N
    both = (SURVEYS == "south") & (OBJECTS == 600)
    assert np.array(split.names)[both].tolist() == ["n0600"]  # the smallest id names it


def test_every_survey_is_shared_alike() -> None:
    """Four strata: north alone, with the south, with the infrared, south alone; half an object off in each at most."""
    counts = cut(SplitRecipe(val=0.1, test=0.25)).count()
    for survey, objects in SEEN.items():
        n = len(objects)
        assert counts[survey]["test"] == pytest.approx(0.25 * n, abs=2)
        assert counts[survey]["val"] == pytest.approx(0.1 * n, abs=4)
        assert sum(counts[survey].values()) == n


def test_the_first_by_hash_are_tested() -> None:
    """Of the south alone, 300 objects: those with the 60 least hashes of seed and name."""
    split = cut(SplitRecipe(val=0.1, test=0.2, seed=7))
    alone = [f"s{number:04}" for number in range(700, N)]
    order = sorted(alone, key=lambda name: hash_share(f"7/{name}"))
    parts = dict(zip(split.ids.tolist(), split.parts.tolist(), strict=True))
    assert {name for name in alone if parts[name] == "test"} == set(order[:60])
    assert {name for name in alone if parts[name] == "val"} == set(order[60:90])


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(["hash", "blocks"]))
def test_the_order_of_rows_changes_nothing(order: object, method: str) -> None:
    rows = np.arange(len(IDS))
    order.shuffle(rows)  # type: ignore[attr-defined]
    recipe = SplitRecipe(method)  # type: ignore[arg-type]
    whole, shuffled = cut(recipe), cut(recipe, rows)
    assert parts_of(shuffled) == parts_of(whole)
    assert shuffled.digest == whole.digest


def test_the_digest_tells_splits_apart() -> None:
    splits = [
        cut(recipe) for recipe in (SplitRecipe(), SplitRecipe(seed=1), SplitRecipe("blocks"), SplitRecipe(test=0.3))
    ]
    assert len({split.digest for split in splits}) == 4
    splits[0].require_same(cut(SplitRecipe()))
    with pytest.raises(
        SommelierError, match=r"macro r of different splits.*of 1300 common galaxies are in another part"
    ):
        splits[0].require_same(splits[1], "macro r")
    with pytest.raises(SommelierError, match=r"100 are in one alone"):
        splits[0].require_same(cut(SplitRecipe(), SURVEYS != "infrared"))


def test_blocks_are_whole_healpix_pixels() -> None:
    """Astropy's own HEALPix answers for the parts: no pixel of nside 8 is in two of them, and shares are near."""
    from astropy_healpix import HEALPix

    split = cut(SplitRecipe("blocks", test=0.3, val=0))
    grid = HEALPix(8, "nested", frame="icrs")
    north = SURVEYS == "north"
    pixels = grid.skycoord_to_healpix(SkyCoord(PLACE_RA[north] * units.deg, PLACE_DEC[north] * units.deg))
    pairs = set(zip(pixels.tolist(), split.parts[north].tolist(), strict=True))
    assert len(pairs) == len(set(pixels.tolist())) > 300
    parts = np.array([split.parts[number == OBJECTS][0] for number in range(N)])
    assert (parts == "test").mean() == pytest.approx(0.3, abs=0.02)
    assert not (parts == "val").any()
    near = cut(SplitRecipe("blocks", test=0.3, val=0, nside=1))
    assert len(set(zip((pixels // 64).tolist(), near.parts[north].tolist(), strict=True))) == 12


def test_blocks_need_positions() -> None:
    with pytest.raises(SommelierError, match=r"100 of 100 sky objects have no position.*split by hash"):
        cut(SplitRecipe("blocks"), SURVEYS == "infrared")


def test_the_studys_split_follows_rows_in_each_survey() -> None:
    split = cut(SplitRecipe("sequential", val=0.1, test=0.1))
    south = split.parts[SURVEYS == "south"]
    assert south.tolist() == ["train"] * 400 + ["val"] * 50 + ["test"] * 50
    assert split.parts[(SURVEYS == "north") & (OBJECTS == 699)] == "test"
    assert split.parts[(SURVEYS == "south") & (OBJECTS == 699)] == "train"  # the same object: what the audit is for


@pytest.mark.parametrize("recipe", [SplitRecipe(seed=2), SplitRecipe("blocks", nside=4), SplitRecipe("sequential")])
def test_a_split_is_read_as_it_was_written(recipe: SplitRecipe, tmp_path: Path) -> None:
    split, file = cut(recipe), tmp_path / "split.parquet"
    split.write(file)
    again = SkySplit.read(file)
    assert (again.digest, again.recipe, again.names) == (split.digest, recipe, split.names)
    assert parts_of(again) == parts_of(split)
    assert Split.read(file).parts.tolist() == split.parts.tolist()  # as a fine-tuning run reads it
    split.write(file)  # again, over itself


def test_files_that_are_no_split(tmp_path: Path) -> None:
    split, file = cut(SplitRecipe()), tmp_path / "split.parquet"
    with pytest.raises(SommelierError, match="is no split of a benchmark"):
        SkySplit.read(file)
    split.write(file)
    table = pq.read_table(file)
    parts = table["part"].to_pylist()
    parts[0] = "train" if parts[0] == "test" else "test"
    pq.write_table(table.set_column(6, "part", [parts]), file)
    with pytest.raises(SommelierError, match="was changed after it was written"):
        SkySplit.read(file)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="would be lost"):
        split.write(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_parts_are_found_by_survey_and_id() -> None:
    split = cut(SplitRecipe())
    ids = np.array(["n0003", "n0000"])
    expected = [split.parts[(SURVEYS == "infrared") & (id_str == IDS)][0] for id_str in ids]
    assert split.find_parts("infrared", ids).tolist() == expected
    with pytest.raises(SommelierError, match=r"does not know 1 of 2 galaxies of south: n0003"):
        split.find_parts("south", np.array(["s0700", "n0003"]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "random"}, "not by 'random'"),
        ({"test": 0.0}, "leave no training or no test galaxies"),
        ({"test": 0.6, "val": 0.4}, "leave no training or no test galaxies"),
        ({"nside": 6}, "nside 6 is not a power of 2"),
    ],
)
def test_recipes_that_cannot_be(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SommelierError, match=message):
        SplitRecipe(**wrong)  # type: ignore[arg-type]


def test_a_part_that_is_empty() -> None:
    with pytest.raises(SommelierError, match=r"of 2 galaxies none is left for test"):
        cut(SplitRecipe(val=0), np.array([0, 1]))


def test_stores_are_divided_together_without_what_has_no_vector(make_store: StoreMaker) -> None:  # noqa: F811
    """The second survey's rows lie on the first one's last fifty, a hundredth of a degree apart."""
    vectors = np.zeros((100, 2), np.float32)
    north = make_store({Space(12, "cls"): vectors}, survey="north", failed=[0])
    south = make_store({Space(12, "cls"): vectors}, survey="south", ra=10 + 0.01 * np.arange(50, 150))
    split = cut_stores([north, south], SplitRecipe(seed=1))
    assert {survey: sum(counts.values()) for survey, counts in split.count().items()} == {"north": 99, "south": 100}
    parts = split.find_parts("north", north.ids[north.ok])
    assert parts[-50:].tolist() == split.find_parts("south", south.ids)[:50].tolist()
    with pytest.raises(SommelierError, match="north-0"):
        split.find_parts("north", north.ids)
