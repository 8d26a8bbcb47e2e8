"""The audit of a suite against overlaps that were planted: all of them, nothing else, and what is done with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import auditing
from benchmarks.auditing import SuiteAudit, audit_samples, exclude_leaks
from benchmarks.material import cut_samples
from benchmarks.runner import Prepared
from benchmarks.splits import cut_stores
from benchmarks.suite import Suite
from embeddings.layout import Vectors, encode_strings, write_store
from embeddings.store import EmbeddingStore
from tests.benchmarks.suites import INFRARED, NORTH, make_suite, prepare_suite, read_tables, write_survey

ORDER = {"method": "sequential", "val": 0.1, "test": 0.3}  # it keeps no sky object on one side
TRAINED = 168  # the rows of 240 that learn (144) or choose (24)
UNKNOWN = np.full(120, np.nan)


def write_pair(folder: Path, **changes: Any) -> dict[str, Any]:
    """SDSS's 240 galaxies, and UKIDSS's 120, whose columns may be changed."""
    folder.mkdir(exist_ok=True)
    write_survey(folder / "sdss.h5", "sdss", NORTH, 1)
    write_survey(folder / "ukidss.h5", "ukidss", INFRARED, 3, **changes)
    return {name: {"store": str(folder / f"{name}.h5")} for name in ("sdss", "ukidss")}


def audit_pair(folder: Path, **changes: Any) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The tests of UKIDSS's galaxies in SDSS's training rows, by name, and the ids that leaked."""
    suite = make_suite(folder, surveys=write_pair(folder, **changes), split=ORDER, objects="same")
    tables = read_tables(suite)
    samples = {name: one for name, one in cut_samples(tables, suite).items() if one.objects != "pool"}
    stores = {name: Path(str(source.store)) for name, source in suite.surveys.items()}
    opened = [EmbeddingStore.open(path) for path in stores.values()]
    split = cut_stores(opened, suite.split.to_recipe())
    found = audit_samples(suite, tables, stores, samples, split)
    for store in opened:
        store.close()
    record = next(one for one in found.records if one["test"] == "ukidss-same")
    assert (record["training"], record["n"]) == ("sdss", 120)
    assert record["found"]["rows"] == int(found.leaked["ukidss-same"].sum())
    return {one["test"]: one for one in record["tests"]}, samples["ukidss-same"].ids[
        found.leaked["ukidss-same"]
    ].tolist()


def list_ids(numbers: Any) -> list[str]:
    return [f"ukidss-{number}" for number in numbers]


def test_galaxies_that_were_drawn_from_the_training_survey_are_found_by_place(tmp_path: Path) -> None:
    tests, leaked = audit_pair(tmp_path)
    assert leaked == list_ids(range(0, TRAINED, 2))
    assert {name: tests[name]["rows"] for name in ("id", "position", "image")} == {"id": 0, "position": 84, "image": 0}
    assert tests["embedding"]["reason"] == "audit: false in the suite"
    assert tests["embedding"]["rows"] is None


def test_equal_ids_and_equal_images_tell_without_places(tmp_path: Path) -> None:
    # the first three have ids of SDSS's training rows, the next four the images, the last one a tested row's id
    rng = np.random.default_rng([1, 5])
    theirs = rng.integers(1, 256, (240, 32)).astype(np.uint8)  # as write_survey draws them for SDSS
    ids = list_ids(INFRARED)
    ids[:3], ids[-1] = ["sdss-0", "sdss-2", "sdss-4"], "sdss-239"
    images = np.random.default_rng(8).integers(1, 256, (120, 32)).astype(np.uint8)
    images[3:7] = theirs[[10, 11, 167, 12]]
    tests, leaked = audit_pair(tmp_path, ra=UNKNOWN, dec=UNKNOWN, id_str=encode_strings(ids), image_sha256=images)
    assert leaked == ids[:7]
    assert (tests["id"]["rows"], tests["image"]["rows"]) == (3, 4)
    assert (tests["position"]["checkable"], tests["position"]["rows"]) == (False, None)  # and not 0
    assert tests["position"]["reason"]


def test_near_identical_embeddings_are_found(tmp_path: Path) -> None:
    """Vectors of 64 numbers, of which four galaxies have those of others but for a hair."""
    surveys = write_pair(tmp_path, ra=UNKNOWN, dec=UNKNOWN)
    rng = np.random.default_rng(4)
    one, other = rng.normal(size=(240, 64)), rng.normal(size=(120, 64))
    other[[2, 50, 51]] = one[[0, 143, 167]] + rng.normal(0, 1e-3, (3, 64))
    other[52] = one[239]  # of a test row
    for name, vectors in (("sdss", one), ("ukidss", other)):
        replace_vectors(tmp_path / f"{name}.h5", vectors)
    suite = make_suite(tmp_path, surveys=surveys, split=ORDER, objects="same", audit=True)
    record = next(r for r in prepare_suite(suite, tmp_path / "run").audit if r["test"] == "ukidss-same")
    near = record["tests"][-1]
    assert (near["test"], near["checkable"], near["rows"]) == ("embedding", True, 3)
    assert record["found"]["rows"] == 3


def test_two_surveys_are_compared_once_and_told_from_either_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surveys = write_pair(tmp_path, ra=UNKNOWN, dec=UNKNOWN)
    rng = np.random.default_rng(4)
    one, other = rng.normal(size=(240, 64)), rng.normal(size=(120, 64))
    other[[118, 119, 0]] = one[[0, 1, 239]]  # two tested galaxies of UKIDSS in SDSS's training, one the other way
    for name, vectors in (("sdss", one), ("ukidss", other)):
        replace_vectors(tmp_path / f"{name}.h5", vectors)
    compared: list[list[str]] = []
    real = auditing.find_duplicates

    def count(stores: list[EmbeddingStore], **options: Any) -> Any:
        compared.append([store.survey for store in stores])
        return real(stores, **options)

    monkeypatch.setattr(auditing, "find_duplicates", count)
    trainings = {name: {"surveys": [name]} for name in ("sdss", "ukidss")}
    suite = make_suite(tmp_path, surveys=surveys, split=ORDER, trainings=trainings, audit=True)
    records = prepare_suite(suite, tmp_path / "run").audit
    found = {(one["training"], one["test"]): one["tests"][-1]["rows"] for one in records}
    assert found["sdss", "ukidss-new"] == 2
    assert found["ukidss", "sdss-new"] == 1
    assert compared == [["sdss"], ["sdss", "ukidss"], ["ukidss"]]
    assert prepare_suite(suite, tmp_path / "run").audit == records
    assert len(compared) == 3  # kept
    replace_vectors(tmp_path / "ukidss.h5", rng.permutation(other))
    assert prepare_suite(suite, tmp_path / "run").audit != records
    assert compared[3:] == [["sdss", "ukidss"], ["ukidss"]]


def replace_vectors(file: Path, vectors: np.ndarray) -> None:
    with EmbeddingStore.open(file) as store:
        header, arrays, spaces = store.header, store.to_arrays(), store.spaces
    write_store(file, header, arrays, {space: Vectors.of(vectors.astype(np.float16)) for space in spaces})


# what is done with them


def prepare_twins(folder: Path, protocol: str, **changes: Any) -> tuple[Suite, Prepared]:
    """SDSS whose last five rows are the first five again: same places, other ids and images, split by order."""
    folder.mkdir(exist_ok=True)
    places = 10 + np.arange(240) / 100
    places[-5:] = places[:5]
    write_survey(folder / "sdss.h5", "sdss", NORTH, 1, **({"ra": places} | changes))
    surveys = {"sdss": {"store": str(folder / "sdss.h5")}}
    suite = make_suite(folder, surveys=surveys, split=ORDER, protocol=protocol)
    return suite, prepare_suite(suite, folder / "run")


def test_what_leaked_is_left_out_of_a_sound_test(tmp_path: Path) -> None:
    _, prepared = prepare_twins(tmp_path, "sound")
    assert prepared.bench.samples["sdss-new"].ids.tolist() == [f"sdss-{n}" for n in range(TRAINED, 235)]


def test_what_leaked_is_tested_all_the_same_as_the_study_did(tmp_path: Path) -> None:
    _, prepared = prepare_twins(tmp_path, "published")
    sample = prepared.bench.samples["sdss-new"]
    assert sample.ids.tolist() == [f"sdss-{n}" for n in range(TRAINED, 240)]
    assert sample.ids[sample.seen].tolist() == [f"sdss-{n}" for n in range(235, 240)]
    assert prepared.excluded == {"sdss-new": 0}
    assert sample.leaked is not None
    assert sample.ids[~sample.leaked].tolist() == [f"sdss-{n}" for n in range(TRAINED, 235)]
    (record,) = prepared.audit
    assert record["found"]["rows"] == 5


def test_what_only_embeddings_tell_is_left_out_with_a_count(tmp_path: Path) -> None:
    # on the test side, objects 220 and 224 look as ones that trained, one 5 arcmin from it, one far away
    ra = 10 + INFRARED / 100
    ra[110] = 10 + 160 / 100 + 300 / 3600
    surveys = write_pair(tmp_path, ra=ra)
    rng = np.random.default_rng(4)
    one, other = rng.normal(size=(240, 64)), rng.normal(size=(120, 64))
    other[110], other[112] = one[160], one[3]
    for name, vectors in (("sdss", one), ("ukidss", other)):
        replace_vectors(tmp_path / f"{name}.h5", vectors)
    keys = {"surveys": surveys, "split": ORDER, "audit": True}
    sound = prepare_suite(make_suite(tmp_path, **keys), tmp_path / "sound")
    assert sound.excluded["ukidss-new"] == 1
    tested = sound.bench.samples["ukidss-new"].ids.tolist()
    assert "ukidss-220" not in tested
    assert "ukidss-224" in tested
    (record,) = (one for one in sound.audit if one["test"] == "ukidss-new")
    assert (record["tests"][-1]["rows"], record["tests"][-1]["apart"]) == (1, 1)
    same = prepare_suite(make_suite(tmp_path, objects="same", **keys), tmp_path / "same")
    assert (same.excluded["ukidss-same"], len(same.bench.samples["ukidss-same"])) == (0, 120)


# galaxies that the backbone itself was trained on


def test_galaxies_that_the_backbone_knew_are_no_test_of_it(tmp_path: Path) -> None:
    parts = np.full(240, b"test ")
    parts[:200], parts[200:210], parts[210:215] = b"train", b"val", b""
    _, prepared = prepare_twins(tmp_path, "sound", ra=10 + np.arange(240) / 100, part=parts)
    assert prepared.bench.samples["sdss-new"].ids.tolist() == [f"sdss-{n}" for n in range(210, 240)]
    assert prepared.excluded == {"sdss-new": 42}
    assert prepared.tuned == {"sdss-new": 42}


def test_what_the_backbone_knew_in_one_survey_is_no_test_in_another(tmp_path: Path) -> None:
    surveys = write_pair(tmp_path, part=np.where(INFRARED == 220, b"train", b""))
    suite = make_suite(tmp_path, surveys=surveys, split=ORDER, objects="both")
    prepared = prepare_suite(suite, tmp_path / "run")
    assert prepared.tuned == {"sdss-new": 1, "ukidss-new": 1, "ukidss-same": 1}
    assert prepared.excluded == {"sdss-new": 1, "ukidss-new": 1, "ukidss-same": 0, "ukidss-pool": 0}
    assert "sdss-220" not in prepared.bench.samples["sdss-new"].ids.tolist()


def test_the_study_would_have_tested_them(tmp_path: Path) -> None:
    _, prepared = prepare_twins(tmp_path, "published", part=np.full(240, b"train"))
    assert prepared.tuned == {"sdss-new": 72}
    assert prepared.excluded == {"sdss-new": 0}


def test_exclusion_keeps_what_was_not_audited(tmp_path: Path) -> None:
    suite = make_suite(tmp_path, surveys=write_pair(tmp_path), split=ORDER)
    samples = cut_samples(read_tables(suite), suite)
    kept, excluded = exclude_leaks(suite, samples, SuiteAudit())
    assert {name: len(sample) for name, sample in kept.items()} == {name: len(one) for name, one in samples.items()}
    assert set(excluded.values()) == {0}


@pytest.mark.parametrize("objects", ["new", "both"])
def test_every_training_set_is_audited_against_every_test(tmp_path: Path, objects: str) -> None:
    trainings = {"sdss": {"surveys": ["sdss"]}, "again": {"surveys": ["sdss"], "zeroed": ["sdss"]}}
    suite = make_suite(tmp_path, surveys=write_pair(tmp_path), objects=objects, trainings=trainings)
    pairs = [(one["training"], one["test"]) for one in prepare_suite(suite, tmp_path / "run").audit]
    tests = ["sdss-new", "ukidss-new", *(["ukidss-same"] if objects == "both" else [])]
    assert pairs == [(training, test) for training in ("sdss", "again") for test in tests]
