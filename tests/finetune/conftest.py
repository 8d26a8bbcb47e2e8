"""A catalog of the small images."""

from __future__ import annotations

from pathlib import Path

import pytest

from extract.catalog import Catalog, catalog_from_table
from finetune.data import GalaxyTable, read_galaxies


@pytest.fixture
def catalog(image_folder: Path) -> Catalog:
    """Forty galaxies: `kind` is flat or round, `odd` a fraction of 0 or 1, `size` a value."""
    return catalog_from_table(image_folder / "labels.csv", image_folder, "name", "file", ["kind", "odd", "size"])


@pytest.fixture
def catalog_file(catalog: Catalog, tmp_path: Path) -> Path:
    return catalog.write(tmp_path / "catalog.parquet")


@pytest.fixture
def galaxies(catalog_file: Path) -> GalaxyTable:
    return read_galaxies([catalog_file], targets=["kind_*", "odd"])
