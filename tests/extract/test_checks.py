"""Is a store what it says: rows embedded again. And what an extraction would cost."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embeddings.errors import BackboneError, StoreError
from embeddings.layout import Vectors, write_store
from embeddings.provenance import Space
from embeddings.store import EmbeddingStore
from extract.catalog import Catalog, catalog_from_folder
from extract.checks import estimate_extraction, verify_deep
from extract.pipeline import Extraction, Options, extract_embeddings
from tests.conftest import draw_galaxy
from tests.extract.models import save_model

N = 9
BROKEN = 4
OPTIONS: dict[str, Any] = {
    "layers": (1, -1), "pools": ("cls", "patch-mean"), "size": 56, "batch_size": 4, "workers": 1, "threads": 1,
    "device": "cpu", "max_failures": 0.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, a model, and their store; one image is broken."""
    root, rng = tmp_path_factory.mktemp("checks"), np.random.default_rng(5)
    (root / "images").mkdir()
    for number in range(N):
        Image.fromarray(draw_galaxy(rng, 48)).save(root / "images" / f"g{number}.png")
    (root / "images" / f"g{BROKEN}.png").write_bytes(b"no image")
    save_model(root / "model")
    store = extract_embeddings(catalog_from_folder(root / "images"), str(root / "model"), root / "s.h5", **OPTIONS)
    assert store is not None
    store.close()
    return root


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy of it, with images that may be changed; the store names the old places."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def tamper(place: Path, change: Callable[[dict[Space, np.ndarray]], None]) -> EmbeddingStore:
    """The store with other vectors and right checksums: what only embedding again can find."""
    with EmbeddingStore.open(place / "s.h5") as store:
        vectors = {space: np.array(store.vectors(*space)) for space in store.spaces}
        change(vectors)
        sources = {space: Vectors.of(values) for space, values in vectors.items()}
        write_store(place / "changed.h5", store.header, store.to_arrays(), sources)
    changed = EmbeddingStore.open(place / "changed.h5")
    assert changed.verify() == []
    return changed


def test_a_good_store_passes(made: Path) -> None:
    with EmbeddingStore.open(made / "s.h5") as store:
        assert store.ok.sum() == N - 1
        check = verify_deep(store, 100, device="cpu")
    assert check.checked == N - 1
    assert check.problems == []
    assert 0.99999 < check.min_cosine <= 1.000001


def test_as_many_rows_as_asked_for(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from extract.worker import Embedder

    embedded: list[str] = []
    embed = Embedder.embed_images
    monkeypatch.setattr(
        Embedder, "embed_images", lambda self, paths, places: [embedded.extend(paths), embed(self, paths)][1]
    )
    with EmbeddingStore.open(made / "s.h5") as store:
        samples = []
        for seed in (0, 0, 1, 2, 3):
            assert verify_deep(store, 2, device="cpu", random_state=seed).checked == 2
            samples.append(tuple(embedded[-2:]))
    assert samples[0] == samples[1]
    assert len(set(samples)) > 1
    assert not any(f"g{BROKEN}.png" in path for path in embedded)


def test_no_rows(made: Path) -> None:
    with EmbeddingStore.open(made / "s.h5") as store:
        check = verify_deep(store, 0, device="cpu")
    assert (check.checked, check.problems) == (0, [])
    assert math.isnan(check.min_cosine)


def test_a_changed_image_is_found(place: Path) -> None:
    Image.fromarray(draw_galaxy(np.random.default_rng(99), 48)).save(place / "images" / "g2.png")
    (place / "images" / "g3.png").unlink()
    (place / "images" / "g5.png").write_bytes(b"text")
    with EmbeddingStore.open(place / "s.h5") as store:
        check = verify_deep(store, N, image_root=str(place / "images"), device="cpu")
    assert check.checked == N - 4
    assert [problem.split(": ", 1)[1] for problem in check.problems] == [
        f"row 2 (g2): {place / 'images' / 'g2.png'} has changed since it was embedded",
        f"row 3 (g3): {place / 'images' / 'g3.png'}: no such file",
        f"row 5 (g5): {place / 'images' / 'g5.png'}: .png is not an image",
    ]


@pytest.mark.parametrize("space", [Space(1, "patch-mean"), Space(3, "cls")], ids=lambda space: space.name)
def test_swapped_vectors_are_found(space: Space, place: Path) -> None:
    def swap(vectors: dict[Space, np.ndarray]) -> None:
        vectors[space][[1, 6]] = vectors[space][[6, 1]]

    with tamper(place, swap) as store:
        cosines = store.vectors(*space)[[1, 6]].astype(float)
        expected = float(cosines[0] @ cosines[1] / np.linalg.norm(cosines[0]) / np.linalg.norm(cosines[1]))
        check = verify_deep(store, N, device="cpu")
    assert check.checked == N - 1
    assert [problem.split(": ")[1] for problem in check.problems] == ["row 1 (g1)", "row 6 (g6)"]
    assert check.min_cosine == pytest.approx(expected, abs=1e-3)
    assert f"cosine of only {check.min_cosine:.6f}" in " ".join(check.problems)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_vectors_of_nothing_are_found(value: float, place: Path) -> None:
    """Their cosine is NaN, which is neither above nor below anything."""

    def empty(vectors: dict[Space, np.ndarray]) -> None:
        vectors[Space(3, "patch-mean")][7] = value

    with tamper(place, empty) as store:
        check = verify_deep(store, N, device="cpu")
    assert [problem.split(": ")[1] for problem in check.problems] == ["row 7 (g7)"]
    assert check.min_cosine == 0


def test_another_backbone_is_refused(made: Path, tmp_path: Path) -> None:
    other = save_model(tmp_path / "other", seed=1)
    with (
        EmbeddingStore.open(made / "s.h5") as store,
        pytest.raises(StoreError, match=r"other has weights [0-9a-f]{12}\.\.\., but [0-9a-f]{12}\.\.\. made .*s\.h5"),
    ):
        verify_deep(store, 1, backbone=str(other), device="cpu")


def test_the_same_backbone_elsewhere(place: Path) -> None:
    with EmbeddingStore.open(place / "s.h5") as store:
        check = verify_deep(store, 3, str(place / "model"), str(place / "images"), device="cpu")
    assert (check.checked, check.problems) == (3, [])


def restore(place: Path, **run: Any) -> EmbeddingStore:
    """The store as if another run had made it."""
    with EmbeddingStore.open(place / "s.h5") as store:
        provenance = store.provenance
        provenance = dataclasses.replace(provenance, runs=({**provenance.runs[-1], **run},))
        header = dataclasses.replace(store.header, provenance=provenance)
        vectors = {space: Vectors.of(np.array(store.vectors(*space))) for space in store.spaces}
        write_store(place / "moved.h5", header, store.to_arrays(), vectors)
    return EmbeddingStore.open(place / "moved.h5")


def test_a_backbone_that_is_gone(place: Path) -> None:
    with (
        restore(place, source="/no/such/model") as store,
        pytest.raises(
            StoreError, match=r"/no/such/model, which made .*moved\.h5, is not there\. Say where .*--backbone"
        ),
    ):
        verify_deep(store, 1, device="cpu")


def test_a_hub_model_whose_cache_is_gone_is_sought_by_its_name(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from extract import weights

    asked = []

    def fetch(name: str, revision: str | None) -> Path:
        asked.append((name, revision))
        return place / "model"

    monkeypatch.setattr(weights, "download_backbone", fetch)
    with restore(place, source="/gone/snapshots/abc", backbone="galaxies/small", revision="abc") as store:
        assert verify_deep(store, 2, device="cpu").problems == []
    assert asked == [("galaxies/small", "abc")]


def test_a_name_that_is_no_backbone(made: Path) -> None:
    with EmbeddingStore.open(made / "s.h5") as store, pytest.raises(BackboneError, match="neither a folder nor a hub"):
        verify_deep(store, 1, backbone="./nowhere", device="cpu")


# estimates


def plan(place: Path, catalog: Catalog, output: str = "new.h5", **options: Any) -> Extraction:
    return Extraction(catalog, str(place / "model"), place / output, Options(**(OPTIONS | options)))


def test_an_estimate_counts_rows_and_missing_images(place: Path) -> None:
    catalog = catalog_from_folder(place / "images")
    for number in (0, 8):
        (place / "images" / f"g{number}.png").unlink()
    estimate = estimate_extraction(plan(place, catalog), n_batches=1)
    assert (estimate.rows, estimate.to_do, estimate.missing_images) == (N, N, 2)
    assert 0 < estimate.seconds < 60
    # parts and store at once: four spaces of 32 float16, and 32 bytes of digest
    assert estimate.disk_bytes == 2 * N * (4 * 32 * 2 + 32)
    assert not list(place.glob("*new.h5*")), "something was written"


def test_an_estimate_of_what_is_there_already(place: Path) -> None:
    estimate = estimate_extraction(plan(place, catalog_from_folder(place / "images"), "s.h5"))
    assert (estimate.rows, estimate.to_do, estimate.missing_images, estimate.seconds) == (N, 0, 0, 0.0)


def test_an_estimate_of_new_galaxies(place: Path) -> None:
    """Five rows of the store are not in the catalog, and stay; two of the catalog are new."""
    for number in range(5):
        (place / "images" / f"g{number}.png").unlink()
    for name in ("new1", "new2"):
        Image.fromarray(draw_galaxy(np.random.default_rng(7), 48)).save(place / "images" / f"{name}.png")
    estimate = estimate_extraction(plan(place, catalog_from_folder(place / "images"), "s.h5"), n_batches=1)
    assert (estimate.rows, estimate.to_do, estimate.missing_images) == (N + 2, 2, 0)


def test_an_estimate_without_any_image(place: Path) -> None:
    catalog = catalog_from_folder(place / "images")
    shutil.rmtree(place / "images")
    estimate = estimate_extraction(plan(place, catalog))
    assert (estimate.to_do, estimate.missing_images) == (N, N)
    assert math.isnan(estimate.seconds)


def test_an_estimate_of_a_share(place: Path) -> None:
    catalog = catalog_from_folder(place / "images")
    shares = [estimate_extraction(plan(place, catalog, shard=(i, 2)), n_batches=1).to_do for i in (1, 2)]
    assert shares == [4, 5]  # one batch of four; one of four and one of one
