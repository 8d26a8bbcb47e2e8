"""What a suite reads of its stores: labels as the protocol takes them, sky objects, test sets, vectors."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import material
from benchmarks.material import (
    cut_samples,
    digest_arrays,
    find_columns,
    find_learned,
    keep_answered,
    read_table,
    read_vectors,
    share_questions,
)
from benchmarks.splits import cut_stores
from benchmarks.suite import Suite
from embeddings.errors import SommelierError, StoreError
from embeddings.layout import write_store
from embeddings.provenance import Space
from embeddings.questions import Question
from embeddings.store import EmbeddingStore
from tests.benchmarks import tables
from tests.benchmarks.suites import NORTH, QUESTIONS, make_suite, read_tables, sky_numbers, write_survey, write_surveys
from tests.benchmarks.tables import make_table

SHAPE, ARMS = QUESTIONS
HOME_AND_AWAY = [["sdss"], ["sdss", "decals"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_surveys(tmp_path_factory.mktemp("surveys"))


# test sets


@pytest.mark.parametrize("method", ["hash", "blocks", "sequential"])
@pytest.mark.parametrize("surveys", HOME_AND_AWAY)
def test_new_objects_are_in_no_training_set_through_any_survey(folder: Path, method: str, surveys: list[str]) -> None:
    suite = make_suite(
        folder, objects="both", split={"method": method, "val": 0.1, "test": 0.3, "nside": 1024},
        trainings={name: {"surveys": [name]} for name in surveys}, recalibration={"labels": []},
    )  # fmt: skip
    known = read_tables(suite)
    samples = cut_samples(known, suite)
    shown = {
        number for name in surveys for number in sky_numbers(known[name].ids[known[name].parts != "test"]).tolist()
    }
    for sample in samples.values():
        numbers = sky_numbers(sample.ids)
        assert sample.seen.tolist() == [number in shown for number in numbers.tolist()]
        if sample.objects == "new":
            # the last rows of the first survey, and all of the third, show what the second learned from
            none = method == "sequential" and len(surveys) == 2 and sample.survey != "decals"
            assert (len(sample) == 0) if none else (len(sample) > 10)
            assert not shown & set(numbers.tolist())
    away = [name for name in ("sdss", "decals", "ukidss") if name not in surveys]
    assert {*samples} == {f"{name}-new" for name in ("sdss", "decals", "ukidss")} | {f"{name}-same" for name in away}
    for name in away:
        assert len(samples[f"{name}-same"]) == len(known[name])  # all of them, whatever training showed


def test_a_survey_that_nothing_learns_from_is_tested_whole_when_split_by_order(folder: Path) -> None:
    split = {"method": "sequential", "val": 0.1, "test": 0.3}
    by_order = make_suite(folder, split=split, recalibration={"labels": []})
    known = read_tables(by_order)
    samples = cut_samples(known, by_order)
    # objects 0 to 167 train (240 x 0.6 = 144) and choose (24): of ukidss, every second of 168 to 239 is left
    assert sorted(sky_numbers(samples["ukidss-new"].ids).tolist()) == [*range(168, 240, 2)]
    assert sorted(sky_numbers(samples["decals-new"].ids).tolist()) == [*range(168, 360)]


@pytest.mark.parametrize("method", ["hash", "sequential"])
def test_pools_share_no_object_with_the_test(folder: Path, method: str) -> None:
    suite = make_suite(folder, split={"method": method, "val": 0.1, "test": 0.3})
    samples = cut_samples(read_tables(suite), suite)
    assert [name for name in samples if name.endswith("pool")] == ["decals-pool", "ukidss-pool"]
    assert [*samples][-2:] == ["decals-pool", "ukidss-pool"]  # last
    for survey in ("decals", "ukidss"):
        pool, test = (set(samples[f"{survey}-{what}"].groups.tolist()) for what in ("pool", "new"))
        assert len(pool) > 20
        assert not pool & test


def test_a_survey_that_a_training_set_lacks_has_a_pool(folder: Path) -> None:
    trainings = {name: {"surveys": [name]} for name in ("sdss", "decals")} | {"mixed": {"surveys": ["sdss", "decals"]}}
    for chosen, pools in (
        (["sdss", "decals"], ["sdss", "decals", "ukidss"]), (["sdss", "mixed"], ["decals", "ukidss"]),
        (["mixed"], []),  # curves begin at one home
    ):  # fmt: skip
        keys = {"trainings": {name: trainings[name] for name in chosen}}
        suite = make_suite(folder, split={"val": 0.1, "test": 0.3}, **keys)
        known = read_tables(suite)
        samples = cut_samples(known, suite)
        assert [name.removesuffix("-pool") for name in samples if name.endswith("pool")] == pools
        for survey in pools:  # all that could train
            assert samples[f"{survey}-pool"].ids.tolist() == known[survey].ids[known[survey].parts == "train"].tolist()


def test_a_pool_is_drawn_of_what_is_more_than_it_needs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = make_suite(folder, split={"val": 0.1, "test": 0.3})
    known = read_tables(suite)
    whole = cut_samples(known, suite)["ukidss-pool"].ids.tolist()
    monkeypatch.setattr(material, "POOL", 30)
    drawn = cut_samples(known, suite)["ukidss-pool"].ids.tolist()
    assert len(drawn) == 30
    assert set(drawn) < set(whole)
    assert drawn != whole[:30]  # not in the catalog's order
    other = make_suite(folder, split={"val": 0.1, "test": 0.3}, recalibration={"labels": [5], "draws": 3})
    assert cut_samples(known, other)["ukidss-pool"].ids.tolist() == drawn  # whatever is drawn of it


def test_there_is_no_pool_where_there_is_no_curve(folder: Path) -> None:
    for keys in (
        {"spaces": "each"},
        {"objects": "same", "tests": ["sdss", "ukidss"]},
        {"recalibration": {"labels": []}},
    ):
        suite = make_suite(folder, split={"val": 0.1, "test": 0.3}, **keys)
        pools = [name for name in cut_samples(read_tables(suite), suite) if name.endswith("pool")]
        assert not pools


def test_damaged_vectors_are_not_learned_from(tmp_path: Path) -> None:
    file = tmp_path / "sdss.h5"
    write_survey(file, "sdss", NORTH, 1)
    with EmbeddingStore.open(file) as store:
        ids, space, first = store.ids, store.space(), store.read_vectors(store.space())
        raw = store.vectors()[7].tobytes()
    np.testing.assert_array_equal(read_vectors(file, space, ids[[5, 2]]), first[[5, 2]])
    data = file.read_bytes()
    assert data.count(raw) == 1
    file.write_bytes(data.replace(raw, bytes([raw[0] ^ 1]) + raw[1:]))
    os.utime(file, ns=(0, 1))
    with pytest.raises(StoreError, match="vectors"):
        read_vectors(file, space, ids[[5, 2]])


def test_a_pool_leaves_out_what_the_order_puts_on_both_sides() -> None:
    suite = tables.make_suite(
        trainings={"a": {"surveys": ["a"]}},
        tests=["a", "b"],
        split={"method": "sequential"},
        surveys={"a": {"store": "a"}, "b": {"store": "b"}},
    )
    known = {"a": make_table("a", range(4), "tvxx"), "b": make_table("b", [10, 11, 12, 10, 0], "tttxx")}
    samples = cut_samples(known, suite)
    assert samples["b-pool"].ids.tolist() == ["b-1", "b-2"]  # b-0 shows object 10, which is tested
    assert samples["b-new"].ids.tolist() == ["b-3"]  # b-4 shows object 0, which trained


def test_the_study_tests_its_last_rows_whatever_they_show() -> None:
    surveys = {"surveys": {name: {"store": name} for name in "ab"}, "split": {"method": "sequential"}}
    keys = surveys | {"trainings": {"a": {"surveys": ["a"]}}, "recalibration": {"labels": []}}
    known = {"a": make_table("a", [0, 1, 2, 0], "tvxx"), "b": make_table("b", [0, 1, 2, 3], "ttvx")}
    for protocol, ids, seen in (("published", ["a-2", "a-3"], [False, True]), ("sound", ["a-2"], [False])):
        samples = cut_samples(known, tables.make_suite(protocol=protocol, **keys))
        assert samples["a-new"].ids.tolist() == ids
        assert samples["a-new"].seen.tolist() == seen
        assert samples["b-new"].ids.tolist() == ["b-2", "b-3"]  # of another survey only what training did not show
    assert find_learned(known, tables.make_suite(**keys)).tolist() == [0, 1]


def test_places_votes_and_properties_go_with_the_rows(folder: Path) -> None:
    suite = make_suite(folder)
    sample = cut_samples(read_tables(suite), suite)["sdss-new"]
    numbers = sky_numbers(sample.ids)
    np.testing.assert_allclose(sample.ra, 10 + numbers / 100)
    np.testing.assert_allclose(sample.properties["magnitude"], 14 + numbers / 100)
    assert [*sample.properties] == ["magnitude"]
    asked = ~np.isnan(sample.whole)
    np.testing.assert_allclose(sample.votes[asked] / sample.totals[asked], sample.whole[asked], rtol=1e-6)
    assert (sample.totals[:, :2] == 30).all()


# labels


def write_votes(folder: Path, totals: list[int], **changes: object) -> Path:
    """A survey with one question, whose first answer has a fifth of the votes."""
    n = len(totals)
    fractions = np.full(n, 0.2, np.float32)
    columns = {f"catalog__shape_{a}_fraction": f for a, f in (("round", fractions), ("flat", 1 - fractions))}
    votes = {"catalog__shape_total-votes": np.array(totals, float)}
    return write_survey(folder / "s.h5", "s", np.arange(n), questions=(SHAPE,), **(columns | votes | changes))


def read_labels(file: Path, **keys: object) -> np.ndarray:
    with EmbeddingStore.open(file) as store:
        suite = make_one(file, **keys)
        split = cut_stores([store], suite.split.to_recipe())
        return read_table(store, store.questions, split, suite).Y


def make_one(file: Path, **keys: object) -> Suite:
    """A suite of that one survey."""
    return tables.make_suite(
        surveys={"s": {"store": str(file)}},
        trainings={"s": {"surveys": ["s"]}},
        split={"test": 0.4, "val": 0.2},
        **keys,
    )


def test_labels_of_few_votes_are_not_asked(tmp_path: Path) -> None:
    file = write_votes(tmp_path, [0, 1, 2, 10, 40, 40])
    whole = [[0.2, 0.8]] * 6
    for least, left in ((0, 6), (2, 4), (11, 2), (41, 0)):  # where volunteers voted, too many asked for leave none
        expected = np.float32([[np.nan] * 2] * (6 - left) + whole[:left])
        np.testing.assert_allclose(read_labels(file, min_votes=least), expected)
    np.testing.assert_allclose(read_labels(file, min_votes=41, protocol="published"), np.float32(whole))


def test_labels_of_one_vote_each_are_classes_and_stay(tmp_path: Path) -> None:
    np.testing.assert_allclose(read_labels(write_votes(tmp_path, [1] * 6)), np.float32([[0.2, 0.8]] * 6))


def test_votes_are_counted_where_no_total_is_given(tmp_path: Path) -> None:
    file = tmp_path / "s.h5"
    write_votes(tmp_path, [9] * 6)
    with EmbeddingStore.open(file) as store:
        arrays = {name: values for name, values in store.to_arrays().items() if not name.endswith("total-votes")}
        header, vectors = store.header, {space: store.vector_blocks(space) for space in store.spaces}
        arrays["catalog/shape_round"] = np.float32([1, 1, 1, 3, 3, 3])
        arrays["catalog/shape_flat"] = np.float32([0, 1, 2, 3, 4, np.nan])
        write_store(tmp_path / "t.h5", header, arrays, vectors)
    with EmbeddingStore.open(tmp_path / "t.h5") as store:
        one = Question("shape", ("flat",))  # an answer of it alone: all votes count
        split = cut_stores([store], make_one(file).split.to_recipe())
        table = read_table(store, [one], split, make_one(file, min_votes=3))
    assert table.totals[:, 0].tolist() == [1, 2, 3, 6, 7, 3]
    assert np.isnan(table.Y[:, 0]).tolist() == [True, True, False, False, False, False]


def test_the_study_counts_what_nobody_was_asked_as_zero(tmp_path: Path) -> None:
    fractions = np.float32([0.2, np.nan, 0.2, np.nan, 0.2, 0.2])
    file = write_votes(
        tmp_path, [10, 0, 10, 0, 10, 10],
        catalog__shape_round_fraction=fractions, catalog__shape_flat_fraction=1 - fractions,
    )  # fmt: skip
    asked = np.repeat(~np.isnan(fractions)[:, None], 2, axis=1)
    expected = np.where(asked, np.float32([0.2, 0.8]), np.nan)
    np.testing.assert_allclose(read_labels(file), expected)
    np.testing.assert_allclose(read_labels(file, protocol="published", min_votes=0), np.nan_to_num(expected))


def test_galaxies_that_the_backbone_knew_are_marked(tmp_path: Path) -> None:
    parts = np.array([b"train", b"val", b"test", b"", b"train", b"test"])
    file = write_votes(tmp_path, [10] * 6, part=parts)
    with EmbeddingStore.open(file) as store:
        suite = make_one(file)
        table = read_table(store, store.questions, cut_stores([store], suite.split.to_recipe()), suite)
    assert table.tuned.tolist() == [True, True, False, False, True, False]


# questions


def share(folder: Path, *asked: tuple[Question, ...], targets: tuple[str, ...] = ("*",)) -> list[Question]:
    stores = []
    for number, questions in enumerate(asked):
        stores.append(
            EmbeddingStore.open(write_survey(folder / f"{number}.h5", f"s{number}", np.arange(9), questions=questions))
        )
    try:
        return [*share_questions(stores, targets)]
    finally:
        for store in stores:
            store.close()


def test_questions_are_shared_that_are_asked_alike(tmp_path: Path) -> None:
    assert share(tmp_path, (SHAPE, ARMS), (ARMS, SHAPE)) == [SHAPE, ARMS]
    assert share(tmp_path, (SHAPE, ARMS), (SHAPE,)) == [SHAPE]
    other = Question("arms", ("yes",), "shape_flat")
    assert share(tmp_path, (SHAPE, ARMS), (SHAPE, other)) == [SHAPE]
    # shares of votes and fractions that were corrected for distance are not the same labels
    assert share(tmp_path, (SHAPE, ARMS), (SHAPE, replace(ARMS, fractions="debiased"))) == [SHAPE]
    assert share(tmp_path, (SHAPE, ARMS), (SHAPE, ARMS), targets=("arms_*",)) == [ARMS]
    with pytest.raises(SommelierError, match=r"0\.h5 and .*1\.h5 share no question that is asked alike"):
        share(tmp_path, (SHAPE,), (ARMS,))


def test_questions_are_kept_whose_every_answer_has_enough_labels_everywhere() -> None:
    there = np.full((5, 4), 0.5)
    few = there.copy()
    few[:3, 3] = np.nan  # two labels of the last answer
    assert keep_answered(QUESTIONS, [there, few], 2) == QUESTIONS
    assert keep_answered(QUESTIONS, [there, few], 3) == (SHAPE,)
    assert find_columns(QUESTIONS, [ARMS]).tolist() == [2, 3]
    with pytest.raises(SommelierError, match="no question has 6 labels in every training set and test"):
        keep_answered(QUESTIONS, [there, few], 6)


# vectors


def test_vectors_are_found_by_id(folder: Path) -> None:
    file, space = folder / "sdss.h5", Space(2, "cls")
    with EmbeddingStore.open(file) as store:
        whole = store.read_vectors(space)
        ids = store.ids[[7, 3, 200]]
    np.testing.assert_array_equal(read_vectors(file, space, ids), whole[[7, 3, 200]])
    with pytest.raises(SommelierError, match="has no vectors of 1 of 4 galaxies, such as who"):
        read_vectors(file, space, np.array([*ids, "who"]))


def test_a_store_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    space, names = Space(2, "cls"), np.array(["s-3"])
    file = write_survey(tmp_path / "s.h5", "s", np.arange(9), seed=1)
    before = read_vectors(file, space, names)
    write_survey(file, "s", np.arange(9), seed=2)
    assert not np.array_equal(before, read_vectors(file, space, names))


def test_digests_of_arrays_change_with_any_value_and_with_the_shape() -> None:
    arrays = [np.zeros(4), np.zeros((2, 2)), np.zeros((4, 1)), np.eye(2)]
    assert len({digest_arrays(values) for values in arrays}) == 4
    assert digest_arrays(np.zeros(4), np.eye(2)) != digest_arrays(np.eye(2), np.zeros(4))
    assert digest_arrays(np.eye(2)) == digest_arrays(np.eye(2))
