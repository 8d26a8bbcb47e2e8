"""Near-duplicates among real galaxies: copies in two collections, told from look-alikes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from embeddings.duplicates import find_duplicates
from embeddings.store import EmbeddingStore
from extract.catalog import Catalog, catalog_from_folder
from extract.pipeline import extract_embeddings

pytestmark = pytest.mark.slow
OTHERS = 15  # galaxies of each set beside the shared ones


def embed(catalog: Catalog, ids: list[str], backbone: Path, path: Path) -> EmbeddingStore:
    few = catalog.frame[catalog.frame["id_str"].isin(ids)]
    store = extract_embeddings(Catalog(few, catalog.questions, catalog.image_root), str(backbone), path, workers=1)
    assert store is not None
    assert store.ok.all()
    return store


def test_all_copies_are_found_and_nothing_else(real_data: Path, real_backbone: Path, tmp_path: Path) -> None:
    spiral = catalog_from_folder(real_data / "sdss_kaggle_spiral/images", survey="spiral")
    other = catalog_from_folder(real_data / "sdss_kaggle_unlabelled/images", survey="unlabelled")
    table = real_data / "sdss_kaggle_unlabelled/shared_ids_with_sdss_kaggle_spiral_24.csv"
    listed = set(pd.read_csv(table, dtype=str)["GalaxyID"])
    shared = sorted(listed & set(spiral.ids.tolist()) & set(other.ids.tolist()))
    assert len(shared) == 20
    stores = []
    for catalog in (spiral, other):
        rest = [str(name) for name in catalog.ids if name not in listed and "/" not in name][:OTHERS]
        stores.append(embed(catalog, [*shared, *rest], real_backbone, tmp_path / f"{catalog.surveys[0]}.h5"))
    columns = find_duplicates(stores).to_columns()
    assert sorted(columns["id_a"]) == shared
    assert columns["id_a"] == columns["id_b"]
    assert set(columns["survey_a"]) == {"spiral"}
    assert min(columns["similarity"]) > 0.99
