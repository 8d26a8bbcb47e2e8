"""A catalog of the small images, and a machine that small networks do not make wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from extract.catalog import Catalog, catalog_from_table
from finetune.data import GalaxyTable, read_galaxies


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several of torch's wait for each other longer than such networks compute."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


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
