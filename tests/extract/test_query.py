"""A query picture is embedded as the store's own images were, or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from embeddings.errors import SearchError, StoreError
from embeddings.provenance import Space
from embeddings.store import EmbeddingStore
from extract.catalog import catalog_from_folder
from extract.pipeline import extract_embeddings
from extract.query import choose_model, embed_query


@pytest.fixture(scope="module")
def store(image_folder: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    path = tmp_path_factory.mktemp("query") / "s.h5"
    catalog = catalog_from_folder(image_folder, survey="drawn", pattern="*.png")
    pools = {"pools": ("cls", "patch-mean"), "size": 56, "workers": 1, "storage": "float32"}
    made = extract_embeddings(catalog, str(tiny_folder), path, **pools)
    assert made is not None
    return made


@pytest.fixture(scope="module")
def fits_store(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    folder = tmp_path_factory.mktemp("fits")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        fits.writeto(folder / f"images/{number}.fits", rng.normal(1, 1, (3, 40, 40)).astype(np.float32))
    catalog = catalog_from_folder(folder / "images", survey="pixels", pattern="*.fits")
    made = extract_embeddings(catalog, str(tiny_folder), folder / "f.h5", size=56, workers=1, storage="float32")
    assert made is not None
    return made


@pytest.mark.parametrize("pooling", ["cls", "patch-mean", "cls+patch-mean"])
def test_a_store_s_own_image_gets_its_own_vector(pooling: str, store: EmbeddingStore, image_folder: Path) -> None:
    space = Space(2, pooling)
    query = embed_query(store, space, str(image_folder / "g07.png"), device="cpu")
    row = store.ids.tolist().index("g07")
    np.testing.assert_allclose(query.vector, store.read_vectors(space)[row], atol=1e-4)
    np.testing.assert_array_equal(query.picture, np.asarray(Image.open(image_folder / "g07.png")))


def test_fits_is_stretched_as_the_store_was(fits_store: EmbeddingStore) -> None:
    path = str(Path(fits_store.image_roots[0]) / "2.fits")
    query = embed_query(fits_store, fits_store.space(), path, device="cpu")
    row = fits_store.ids.tolist().index("2")
    np.testing.assert_allclose(query.vector, fits_store.vectors()[row], atol=1e-4)


def test_what_cannot_be_treated_like_the_store_is_refused(
    store: EmbeddingStore, fits_store: EmbeddingStore, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(SearchError, match=r"broken.png: .png is not an image. It cannot be embedded as the images of"):
        embed_query(store, store.space(), str(tmp_path / "broken.png"))
    path = str(Path(fits_store.image_roots[0]) / "2.fits")
    with pytest.raises(SearchError, match=r"FITS pixels need a stretch.*was made of pictures, not of FITS"):
        embed_query(store, store.space(), path)
    with pytest.raises(SearchError, match="no such file"):
        embed_query(store, store.space(), str(tmp_path / "nothing.jpg"))


def test_other_weights_are_refused(store: EmbeddingStore, image_folder: Path) -> None:
    with pytest.raises(StoreError, match=r"tiny has weights .* made"):
        embed_query(store, store.space(), str(image_folder / "g07.png"), backbone="tiny")


def test_whose_way_a_picture_is_treated(store: EmbeddingStore, fits_store: EmbeddingStore) -> None:
    stores = [store, fits_store]
    assert choose_model(stores, "x.png") is store
    assert choose_model(stores, "x.png", "pixels") is fits_store
    assert choose_model([fits_store], "x.fits") is fits_store
    with pytest.raises(SearchError, match=r"\(drawn, pixels\) make pictures of FITS in different ways.*--as SURVEY"):
        choose_model(stores, "x.fits[1]")
    with pytest.raises(SearchError, match=r"no survey is called 'x'; known: drawn, pixels"):
        choose_model(stores, "x.fits", "x")
