"""The cache against pictures decoded by hand; what a kill loses."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits
from PIL import Image

from extract.preprocessing import Recipe
from extract.rendering import Rendering
from extract.stretch import Stretch
from finetune import squares
from finetune.data import GalaxyTable, TrainingError
from finetune.squares import Decoder, fill_cache
from tests.conftest import draw_galaxy

RECIPE = Recipe("whole", 28)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(squares, "CHUNK", 8)


@pytest.fixture
def table(galaxies: GalaxyTable, image_folder: Path, tmp_path: Path) -> GalaxyTable:
    """The galaxies, with images of this test's own."""
    shutil.copytree(image_folder, tmp_path / "images")
    return replace(galaxies, paths=np.array([str(tmp_path / "images" / Path(p).name) for p in galaxies.paths], object))


class CountingDecoder(Decoder):
    """Remembers what it decoded; dies after so many calls."""

    def __init__(self, *args: Any, calls: int = 99, **options: Any) -> None:
        super().__init__(*args, **options)
        self.calls, self.rows = calls, list[int]()

    def decode(self, rows: np.ndarray) -> Any:
        if self.calls == 0:
            raise KeyboardInterrupt
        self.calls -= 1
        self.rows += rows.tolist()
        return super().decode(rows)


def count(table: GalaxyTable, recipe: Recipe = RECIPE, calls: int = 99) -> CountingDecoder:
    return CountingDecoder(table, Rendering(), recipe, 2, calls=calls)


@pytest.mark.parametrize("recipe", [RECIPE, Recipe("hf", 28), Recipe("whole", 42)], ids=str)
def test_squares_are_the_recipes_bit_for_bit(table: GalaxyTable, recipe: Recipe, tmp_path: Path) -> None:
    decoder = Decoder(table, Rendering(), recipe, 2)
    cache, state = fill_cache(tmp_path / "cache", decoder)
    rows = np.array([39, 0, 17, 17, 8])
    expected = recipe.fit_squares([np.asarray(Image.open(table.paths[row])) for row in rows])
    for source in (cache, decoder):
        read = source.read(rows)
        assert read.dtype == torch.uint8
        assert torch.equal(read, expected)
    assert state.ok.all()
    digests = [hashlib.sha256(Path(path).read_bytes()).digest() for path in table.paths]
    assert state.digests.tobytes() == b"".join(digests)


def test_what_is_there_is_not_decoded_again(table: GalaxyTable, tmp_path: Path) -> None:
    fill_cache(tmp_path / "cache", count(table))
    again = count(table)
    cache, _ = fill_cache(tmp_path / "cache", again)
    assert again.rows == []
    assert torch.equal(cache.read(np.arange(40)), again.read(np.arange(40)))


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_a_kill_loses_at_most_one_chunk(table: GalaxyTable, tmp_path: Path, calls: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        fill_cache(tmp_path / "cache", count(table, calls=calls))
    later = count(table)
    cache, state = fill_cache(tmp_path / "cache", later)
    assert later.rows == list(range(8 * calls, 40))
    assert torch.equal(cache.read(np.arange(40)), later.read(np.arange(40)))
    assert len(state.problems) == 40


def test_a_kill_while_a_chunk_is_written(table: GalaxyTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record is there and half of its pixels."""
    save, saved = np.save, list[Any]()

    def die(handle: Any, values: np.ndarray) -> None:
        saved.append(values)
        if len(saved) == 3:
            handle.write(b"\x93NUMPY")
            raise KeyboardInterrupt
        save(handle, values)

    monkeypatch.setattr(np, "save", die)
    with pytest.raises(KeyboardInterrupt):
        fill_cache(tmp_path / "cache", count(table))
    monkeypatch.undo()
    monkeypatch.setattr(squares, "CHUNK", 8)
    (folder,) = (tmp_path / "cache").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [
        "00000.json", "00000.npy", "00001.json", "00001.npy", "00002.json",
    ]  # fmt: skip
    later = count(table)
    cache, _ = fill_cache(tmp_path / "cache", later)
    assert later.rows == list(range(16, 40))
    assert torch.equal(cache.read(np.arange(40)), later.read(np.arange(40)))


def test_another_recipe_makes_another_cache_and_removes_the_old(table: GalaxyTable, tmp_path: Path) -> None:
    fill_cache(tmp_path / "cache", count(table))
    (old,) = (tmp_path / "cache").iterdir()
    cache, _ = fill_cache(tmp_path / "cache", count(table, Recipe("whole", 56)))
    (new,) = (tmp_path / "cache").iterdir()
    assert new != old
    assert cache.read(np.array([0])).shape == (1, 3, 56, 56)


def test_a_changed_file_makes_another_cache(table: GalaxyTable, tmp_path: Path, rng: np.random.Generator) -> None:
    fill_cache(tmp_path / "cache", count(table))
    (old,) = (tmp_path / "cache").iterdir()
    changed = Path(table.paths[20])
    Image.fromarray(draw_galaxy(rng)).save(changed)
    os.utime(changed, ns=(1, 1))
    cache, state = fill_cache(tmp_path / "cache", count(table))
    assert old not in (tmp_path / "cache").iterdir()
    assert torch.equal(cache.read(np.array([20])), RECIPE.fit_squares([np.asarray(Image.open(changed))]))
    assert state.digests[20].tobytes() == hashlib.sha256(changed.read_bytes()).digest()


def test_a_changed_file_of_one_band_makes_another_cache(table: GalaxyTable, tmp_path: Path) -> None:
    for band in "grz":
        fits.PrimaryHDU(np.random.default_rng(1).normal(1, 0.1, (32, 32)).astype(np.float32)).writeto(
            tmp_path / f"a-{band}.fits"
        )
    one = replace(table.take(np.array([0])), paths=np.array([str(tmp_path / "a-{band}.fits")], object))
    decoder = Decoder(one, Rendering(Stretch.parse("lupton"), ("g", "r", "z")), RECIPE, 1)
    _, state = fill_cache(tmp_path / "cache", decoder)
    assert state.problems == [""]
    (old,) = (tmp_path / "cache").iterdir()
    os.utime(tmp_path / "a-r.fits", ns=(1, 1))
    fill_cache(tmp_path / "cache", decoder)
    assert old not in (tmp_path / "cache").iterdir()


def test_unreadable_images_are_named_and_not_read_for_training(table: GalaxyTable, tmp_path: Path) -> None:
    Path(table.paths[3]).write_bytes(b"no picture")
    Path(table.paths[9]).unlink()
    paths = table.paths.copy()
    paths[30] = ""
    broken = replace(table, paths=paths)
    decoder = Decoder(broken, Rendering(), RECIPE, 2)
    cache, state = fill_cache(tmp_path / "cache", decoder)
    checked = decoder.check()
    for found in (state, checked):
        assert np.flatnonzero(~found.ok).tolist() == [3, 9, 30]
        assert found.problems[30] == "the catalog names no image"
        assert not found.digests[[9, 30]].any()
        assert found.digests[3].tobytes() == hashlib.sha256(b"no picture").digest()
    assert np.array_equal(state.digests, checked.digests)
    assert not cache.read(np.array([3, 9, 30])).any()
    assert cache.read(np.array([4])).any()
    with pytest.raises(TrainingError, match=r"cannot be read any more: no such file\. Put it back"):
        decoder.read(np.array([4, 9]))


@pytest.mark.parametrize("check", [True, False])
def test_progress_is_reported(table: GalaxyTable, tmp_path: Path, check: bool) -> None:
    Path(table.paths[12]).unlink()
    reports: list[tuple[int, int, int]] = []
    decoder = count(table)
    if check:
        decoder.check(lambda *figures: reports.append(figures))
    else:
        fill_cache(tmp_path / "cache", decoder, lambda *figures: reports.append(figures))
    assert reports == [(8, 0, 40), (16, 1, 40), (24, 1, 40), (32, 1, 40), (40, 1, 40)]
