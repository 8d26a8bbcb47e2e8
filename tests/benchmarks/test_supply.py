"""The cache of embeddings: made once, and again where what they follow from is another."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import RidgeCV

from benchmarks import supply
from benchmarks.supply import CACHE, Supply, write_subset
from embeddings.errors import SommelierError
from embeddings.store import EmbeddingStore
from extract import pipeline
from extract.catalog import Catalog
from tests.benchmarks.pictures import make_pictured, write_catalog, write_sky
from tests.extract.models import save_model

FEW = range(0, 12)


@pytest.fixture
def sky(tmp_path: Path) -> Path:
    folder = tmp_path / "sky"
    write_catalog(folder, "sdss", FEW)
    save_model(folder / "backbone")
    return folder


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The ids of the galaxies that are embedded from now on, one list an extraction."""
    found: list[list[str]] = []
    real = pipeline.Extraction._embed

    def embed(self: Any, batches: list[np.ndarray], report: Any) -> Any:
        found.append(sorted(self.catalog.ids[row] for batch in batches for row in batch))
        return real(self, batches, report)

    monkeypatch.setattr(pipeline.Extraction, "_embed", embed)
    return found


def find(sky: Path, folder: Path, size: int | None = None, **changes: Any) -> Path:
    surveys = {"sdss": {"catalog": str(sky / "sdss.parquet")}}
    suite = make_pictured(sky, surveys=surveys, **changes)
    return Supply(suite, folder / CACHE).find_frozen("sdss", size)


def read(file: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, vectors and labels."""
    with EmbeddingStore.open(file) as store:
        assert store.verify() == []
        return store.ids.tolist(), store.read_vectors(store.space()), store.labels(store.questions)[0]


def ids(numbers: Any) -> list[str]:
    return [f"sdss-{number}" for number in numbers]


def test_what_is_there_is_taken_without_a_look_at_the_backbone(
    sky: Path, tmp_path: Path, embedded: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = find(sky, tmp_path)
    assert embedded == [sorted(ids(FEW))]
    assert read(file)[0] == ids(FEW)
    made = Supply(make_pictured(sky, surveys={"sdss": {"catalog": str(sky / "sdss.parquet")}}), tmp_path / CACHE)

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the store is there")

    monkeypatch.setattr(pipeline, "extract_embeddings", refuse)
    assert made.find_frozen("sdss", None) == file
    cost = made.costs[file]
    assert (cost["survey"], cost["size"], cost["images"], cost["device"]) == ("sdss", 28, 12, "cpu")
    assert cost["seconds"] > 0  # of the extraction that was


def test_settings_of_speed_make_no_other_store_and_those_of_vectors_do(sky: Path, tmp_path: Path) -> None:
    base = {"pools": ["cls"], "size": 28, "device": "cpu", "workers": 1, "threads": 1}
    file = find(sky, tmp_path, extraction=base | {"batch_size": 3})
    others = [
        find(sky, tmp_path, extraction=base | {"size": 42}), find(sky, tmp_path, extraction=base | {"layers": [1]}),
        find(sky, tmp_path, 56, extraction=base),
    ]  # fmt: skip
    assert len({file, *others}) == 4
    assert find(sky, tmp_path, extraction=base | {"batch_size": 5, "threads": 2}) == file
    assert find(sky, tmp_path, 42, extraction=base) == others[0]  # the size of a training set or of the suite


def test_new_labels_are_taken_and_nothing_is_embedded_again(
    sky: Path, tmp_path: Path, embedded: list[list[str]]
) -> None:
    before = read(find(sky, tmp_path))
    embedded.clear()
    write_catalog(sky, "sdss", FEW, shape_round_fraction=np.linspace(0, 1, 12, dtype=np.float32))
    after = read(find(sky, tmp_path))
    assert embedded == []
    np.testing.assert_array_equal(after[1], before[1])
    np.testing.assert_array_equal(after[2][:, 0], np.linspace(0, 1, 12, dtype=np.float32))


def test_galaxies_that_the_catalog_does_not_name_any_more_are_gone(
    sky: Path, tmp_path: Path, embedded: list[list[str]]
) -> None:
    _, before, _ = read(find(sky, tmp_path))
    embedded.clear()
    write_catalog(sky, "sdss", [*range(3, 12), 20])
    names, after, _ = read(find(sky, tmp_path))
    assert names == ids([*range(3, 12), 20])
    assert embedded == [ids([20])]
    np.testing.assert_array_equal(after[:9], before[3:])
    embedded.clear()
    write_catalog(sky, "sdss", range(30, 34))  # none of them
    assert read(find(sky, tmp_path))[0] == ids(range(30, 34))
    assert embedded == [ids(range(30, 34))]


def test_images_that_changed_are_embedded_again(sky: Path, tmp_path: Path, embedded: list[list[str]]) -> None:
    find(sky, tmp_path)
    embedded.clear()
    shutil.copy(sky / "sdss-images" / "5.png", sky / "sdss-images" / "4.png")  # under the same catalog
    _, vectors, _ = read(find(sky, tmp_path))
    assert embedded == [ids([4])]
    np.testing.assert_array_equal(vectors[4], vectors[5])


def test_images_that_were_only_copied_are_not(sky: Path, tmp_path: Path, embedded: list[list[str]]) -> None:
    _, before, labels = read(find(sky, tmp_path))
    embedded.clear()
    (sky / "sdss-images" / "4.png").touch()
    made = Supply(make_pictured(sky, surveys={"sdss": {"catalog": str(sky / "sdss.parquet")}}), tmp_path / CACHE)
    file = made.find_frozen("sdss", None)
    assert embedded == []
    for found, wanted in zip(read(file)[1:], (before, labels), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_images_that_were_put_away_are_not_looked_for(
    sky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = find(sky, tmp_path)
    (sky / "sdss-images").rename(sky / "elsewhere")
    monkeypatch.setattr(pipeline, "extract_embeddings", lambda *arguments, **options: pytest.fail("the store is there"))
    assert find(sky, tmp_path) == file


def test_a_store_that_was_being_renewed_is_not_taken_for_a_whole_one(
    sky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, vectors, labels = read(find(sky, tmp_path))
    before = (sky / "sdss.parquet").read_bytes()
    write_catalog(sky, "sdss", FEW, mag_r=15.0)
    real = pipeline.extract_embeddings

    def stop(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "extract_embeddings", stop)
    with pytest.raises(KeyboardInterrupt):
        find(sky, tmp_path)
    monkeypatch.setattr(pipeline, "extract_embeddings", real)
    (sky / "sdss.parquet").write_bytes(before)
    for found, wanted in zip(read(find(sky, tmp_path))[1:], (vectors, labels), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_images_of_another_survey_in_the_catalog_do_not_matter(
    sky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Catalog.read(sky / "sdss.parquet")
    images, ids = "../other/" + first.frame["image"], "d" + first.frame["id_str"]
    other = first.frame.assign(id_str=ids, survey="decals", image=images)
    shutil.copytree(sky / "sdss-images", sky / "other")
    replace(first, frame=pd.concat([first.frame, other], ignore_index=True)).write(sky / "sdss.parquet")
    file = find(sky, tmp_path)
    (sky / "other" / "4.png").touch()
    monkeypatch.setattr(pipeline, "extract_embeddings", lambda *arguments, **options: pytest.fail("the store is there"))
    assert find(sky, tmp_path) == file


def test_seconds_are_those_of_all_extractions(sky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 40.0, 100.0, 102.0])
    monkeypatch.setattr(supply, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    found = []
    for magnitude in (15.0, 16.0):
        write_catalog(sky, "sdss", FEW, mag_r=magnitude)
        made = Supply(make_pictured(sky, surveys={"sdss": {"catalog": str(sky / "sdss.parquet")}}), tmp_path / CACHE)
        found.append(made.costs[made.find_frozen("sdss", None)]["seconds"])
    assert found == [40, 42]


def test_a_backbone_folder_with_other_weights_is_another_backbone(sky: Path, tmp_path: Path) -> None:
    first = find(sky, tmp_path)
    _, before, _ = read(first)
    save_model(sky / "backbone", seed=1)
    second = find(sky, tmp_path)
    assert second != first
    assert not np.allclose(read(second)[1], before)
    np.testing.assert_array_equal(read(first)[1], before)  # what the others made is kept
    save_model(sky / "backbone", seed=0)
    assert find(sky, tmp_path) == first  # they are back, at another time


def test_a_torn_note_costs_a_look_and_no_embedding(sky: Path, tmp_path: Path, embedded: list[list[str]]) -> None:
    file = find(sky, tmp_path)
    embedded.clear()
    for torn in ("", "[]", '{"request": 1}'):
        file.with_name("sdss.json").write_text(torn)
        assert find(sky, tmp_path) == file
    assert embedded == []


def test_images_may_lie_elsewhere(sky: Path, tmp_path: Path) -> None:
    (sky / "sdss-images").rename(sky / "elsewhere")
    surveys = {"sdss": {"catalog": str(sky / "sdss.parquet"), "images": str(sky / "elsewhere")}}
    file = Supply(make_pictured(sky, surveys=surveys), tmp_path / CACHE).find_frozen("sdss", None)
    assert len(read(file)[0]) == 12


def test_a_catalog_of_other_surveys_is_refused(sky: Path, tmp_path: Path) -> None:
    suite = make_pictured(
        sky, surveys={"decals": {"catalog": str(sky / "sdss.parquet")}}, trainings={"a": {"surveys": ["decals"]}}
    )
    with pytest.raises(SommelierError, match=r"sdss\.parquet has galaxies of sdss, none of decals"):
        Supply(suite, tmp_path / CACHE).find_frozen("decals", None)


def test_a_subset_keeps_the_catalogs_order_and_an_equal_file(sky: Path, tmp_path: Path) -> None:
    catalog = Catalog.read(sky / "sdss.parquet")
    file = write_subset(catalog, np.array(ids([7, 2, 5])), tmp_path / "a" / "some.parquet")
    assert Catalog.read(file).ids.tolist() == ids([2, 5, 7])
    assert Catalog.read(file).image_root == catalog.image_root
    stamp = file.stat().st_mtime_ns
    write_subset(catalog, np.array(ids([5, 2, 7])), file)
    assert file.stat().st_mtime_ns == stamp
    write_subset(catalog, np.array(ids([5, 2])), file)
    assert Catalog.read(file).ids.tolist() == ids([2, 5])


def test_zeroed_labels_are_all_zero(sky: Path, tmp_path: Path) -> None:
    catalog = Catalog.read(sky / "sdss.parquet")
    Y, _ = Catalog.read(write_subset(catalog, catalog.ids, tmp_path / "z.parquet", zeroed=True)).labels()
    assert Y.shape == (12, 4)
    assert not Y.any()
    assert catalog.labels()[0].any()


def test_the_sky_of_pictures_is_learnable(tmp_path: Path) -> None:
    """What other tests build on: frozen vectors tell the votes."""
    sky = write_sky(tmp_path / "sky")
    _, X, Y = read(find(sky, tmp_path))
    assert RidgeCV(np.logspace(-3, 3, 7)).fit(X[:70], Y[:70, 0]).score(X[70:], Y[70:, 0]) > 0.3
