"""The extraction as a whole: the same rows whatever happens, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from embeddings.errors import BusyError, ProvenanceMismatch, SommelierError, StoreError
from embeddings.files import hash_file
from embeddings.parts import FileLock, list_parts
from embeddings.store import EmbeddingStore
from extract import weights
from extract.catalog import Catalog, catalog_from_table
from extract.pipeline import Extraction, Options, extract_embeddings
from tests.conftest import draw_galaxy

FAST: dict[str, Any] = {"size": 56, "batch_size": 4, "workers": 1, "threads": 1, "layers": (1, -1)}


@pytest.fixture
def catalog(image_folder: Path, tmp_path: Path) -> Catalog:
    """Forty galaxies whose images may be damaged: a copy."""
    images = tmp_path / "images"
    shutil.copytree(image_folder, images)
    return catalog_from_table(images / "labels.csv", images, "name", "file", ["kind", "size"], survey="test")


@pytest.fixture
def embed(catalog: Catalog, tiny_folder: Path, tmp_path: Path) -> Any:
    def run(output: str = "s.h5", galaxies: Catalog | None = None, **options: Any) -> EmbeddingStore | None:
        made = catalog if galaxies is None else galaxies
        return extract_embeddings(made, str(tiny_folder), tmp_path / output, **(FAST | options))

    return run


def take(catalog: Catalog, rows: Any) -> Catalog:
    return Catalog(catalog.frame.iloc[rows].reset_index(drop=True), catalog.questions, catalog.image_root)


def rows_of(store: EmbeddingStore) -> dict[str, tuple[Any, ...]]:
    """Everything a row holds, by id, as bytes: equal means equal to the last bit."""
    columns = [store.status, store.images, *(store.column(name) for name in store.columns)]
    columns += [[row.tobytes() for row in store.dataset("image_sha256")]]
    columns += [[row.tobytes() for row in store.vectors(*space)] for space in store.spaces]
    return {id_str: tuple(map(str, values)) for id_str, *values in zip(store.ids, *columns, strict=True)}


def test_vectors_are_those_of_the_model_row_by_row(embed: Any, catalog: Catalog, tiny_folder: Path) -> None:
    from transformers import AutoModel

    store = embed(storage="float32")
    model = AutoModel.from_pretrained(tiny_folder).eval()
    for row in (0, 17, 39):
        image = Image.open(Path(catalog.image_root) / catalog.frame["image"][row]).convert("RGB")
        assert store.images[row] == catalog.frame["image"][row]
        squared = np.asarray(image.resize((56, 56), Image.Resampling.BICUBIC), np.float32) / 255
        pixels = torch.tensor((squared - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], dtype=torch.float32)
        with torch.no_grad():
            expected = model(pixels.permute(2, 0, 1)[None]).pooler_output[0].numpy()
        ours = store.vectors(2, "cls")[row]
        # one 8-bit level between the two resizes is all that differs
        assert ours @ expected / np.linalg.norm(ours) / np.linalg.norm(expected) > 0.9999
    assert store.ids.tolist() == catalog.ids.tolist()


def test_the_store_carries_catalog_labels_and_provenance(embed: Any, catalog: Catalog) -> None:
    store = embed()
    table = store.table()
    assert table.targets == ["kind_flat", "kind_round", "size"]
    frame = pd.read_csv(Path(catalog.image_root) / "labels.csv")
    np.testing.assert_array_equal(table.Y[:, 1], frame["kind"] == "round")
    np.testing.assert_allclose(table.Y[:, 2], frame["size"], rtol=1e-6)
    np.testing.assert_array_equal(store.column("odd"), frame["odd"])
    np.testing.assert_array_equal(store.ra, frame["ra"])
    assert store.verify() == []
    run = store.provenance.runs[0]
    assert run["device"] == "cpu"
    assert run["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 1}, {"batch_size": 7}, {"threads": 2}],
)
def test_batch_size_and_threads_change_rounding_only(embed: Any, options: dict[str, Any]) -> None:
    first = embed(storage="float32").vectors().astype(np.float64)
    other = embed("other.h5", storage="float32", **options).vectors().astype(np.float64)
    cosine = (first * other).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(other, axis=1)
    assert cosine.min() >= 1 - 1e-6


def test_the_order_of_the_catalog_changes_nothing(embed: Any, catalog: Catalog, rng: np.random.Generator) -> None:
    order = rng.permutation(len(catalog))
    shuffled = embed("shuffled.h5", take(catalog, order))
    assert shuffled.ids.tolist() == catalog.ids[order].tolist()
    assert rows_of(shuffled) == rows_of(embed())


def test_shards_in_any_order_make_the_same_store(embed: Any) -> None:
    whole = rows_of(embed())
    assert embed("sharded.h5", shard=(3, 3)) is None
    assert embed("sharded.h5", shard=(1, 3)) is None
    assert rows_of(embed("sharded.h5", shard=(2, 3))) == whole


def test_a_run_without_shards_finishes_what_shards_began(embed: Any, tmp_path: Path) -> None:
    whole = rows_of(embed())
    embed("sharded.h5", shard=(2, 4))
    done = {path.name: path.stat().st_mtime_ns for path in list_parts(tmp_path / "sharded.h5")}
    assert done
    assert rows_of(embed("sharded.h5")) == whole
    assert not (tmp_path / "sharded.h5.parts").exists()


@pytest.mark.slow
def test_processes_make_the_same_store(embed: Any) -> None:
    assert rows_of(embed("two.h5", workers=2)) == rows_of(embed("one.h5", workers=1))


def count_embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids that pass through the model from now on."""
    from extract.worker import Embedder

    seen: list[str] = []
    original = Embedder._embed_batch

    def spy(self: Embedder, ids: list[str], loaded: Any) -> Any:
        seen.extend(ids)
        return original(self, ids, loaded)

    monkeypatch.setattr(Embedder, "_embed_batch", spy)
    return seen


def test_a_rerun_computes_nothing_and_writes_nothing(
    embed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed()
    before = (tmp_path / "s.h5").stat()
    seen = count_embedded(monkeypatch)
    assert len(embed()) == 40
    assert seen == []
    assert (tmp_path / "s.h5").stat().st_ino == before.st_ino


def test_new_galaxies_are_added_and_old_rows_kept(
    embed: Any, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rows_of(embed("whole.h5"))
    embed("grown.h5", take(catalog, slice(0, 25)))
    seen = count_embedded(monkeypatch)
    grown = embed("grown.h5", take(catalog, slice(25, 40)))  # a catalog of the new ones alone
    assert sorted(seen) == catalog.ids[25:].tolist()
    assert grown.ids.tolist() == catalog.ids.tolist()
    assert rows_of(grown) == whole


def test_a_changed_image_is_embedded_again(embed: Any, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    first = rows_of(embed())
    fresh = draw_galaxy(np.random.default_rng(99))
    Image.fromarray(fresh).save(Path(catalog.image_root) / "g07.png")
    seen = count_embedded(monkeypatch)
    second = rows_of(embed())
    assert seen == ["g07"]
    assert first.pop("g07") != second.pop("g07")
    assert first == second


def test_new_labels_reach_the_store_without_embedding(
    embed: Any, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed()
    seen = count_embedded(monkeypatch)
    images = Path(catalog.image_root)
    relabelled = catalog_from_table(images / "labels.csv", images, "name", "file", ["odd"], survey="test")
    assert embed(galaxies=relabelled).targets == ["odd", "kind_flat", "kind_round", "size"]
    assert seen == []


def test_a_catalog_without_labels_takes_none_away(embed: Any, catalog: Catalog) -> None:
    before = embed()
    bare = Catalog(catalog.frame[["id_str", "survey", "ra", "dec", "image"]], (), catalog.image_root)
    after = embed(galaxies=bare)
    assert after.questions == before.questions
    assert rows_of(after) == rows_of(before)


def test_a_store_that_grew_meanwhile_keeps_all_rows(catalog: Catalog, tiny_folder: Path, tmp_path: Path) -> None:
    halves = [take(catalog, slice(0, 20)), take(catalog, slice(20, 40))]
    waiting = Extraction(halves[1], str(tiny_folder), tmp_path / "s.h5", Options(**FAST))
    extract_embeddings(halves[0], str(tiny_folder), tmp_path / "s.h5", **FAST)
    assert waiting.run() is not None
    with EmbeddingStore.open(tmp_path / "s.h5") as store:
        assert store.ids.tolist() == catalog.ids.tolist()


def test_a_store_of_another_versions_tiny_is_refused(
    catalog: Catalog, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(weights, "TINY_FOLDER", tiny_folder)
        patch.setattr(weights, "TINY_SHA256", hash_file(tiny_folder / "model.safetensors"))
        made = extract_embeddings(take(catalog, slice(0, 20)), "tiny", tmp_path / "s.h5", **FAST)
    before = rows_of(made)
    with pytest.raises(ProvenanceMismatch, match="weights_sha256"):
        extract_embeddings(catalog, "tiny", tmp_path / "s.h5", **FAST)
    assert rows_of(EmbeddingStore.open(tmp_path / "s.h5")) == before


def test_an_image_that_is_gone_takes_no_vector_with_it(embed: Any, catalog: Catalog) -> None:
    before = rows_of(embed())
    (Path(catalog.image_root) / "g11.png").unlink()
    assert rows_of(embed()) == before


def test_long_integers_survive_where_new_rows_lack_them(embed: Any, catalog: Catalog) -> None:
    numbers = np.arange(20) + 123456789012345678
    old = take(catalog, slice(0, 20))
    embed(galaxies=Catalog(old.frame.assign(specobjid=numbers), old.questions, old.image_root))
    store = embed(galaxies=take(catalog, slice(20, 40)))
    assert [int(value) for value in store.column("specobjid")[:20]] == numbers.tolist()


def test_failed_images_are_rows_with_reasons_and_shift_nobody(embed: Any, catalog: Catalog) -> None:
    whole = rows_of(embed("whole.h5"))
    images = Path(catalog.image_root)
    data = (images / "g03.png").read_bytes()
    (images / "g03.png").write_bytes(data[: len(data) // 2])
    (images / "g11.png").unlink()
    (images / "g20.png").write_bytes(b"")
    store = embed(max_failures=3)
    status = dict(zip(store.ids.tolist(), store.status.tolist(), strict=True))
    assert status["g11"] == "failed: no such file"
    assert status["g20"] == "failed: empty file"
    assert status["g03"].startswith("failed: cannot be decoded")
    assert np.isnan(store.vectors()[[3, 11, 20]]).all()
    rest = {id_str: row for id_str, row in rows_of(store).items() if id_str not in ("g03", "g11", "g20")}
    assert rest == {id_str: whole[id_str] for id_str in rest}
    assert len(rest) == 37
    assert store.table().X.shape == (37, 32)


def test_retry_failed_tries_failed_rows_alone(embed: Any, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(catalog.image_root) / "g11.png"
    data = path.read_bytes()
    path.write_bytes(data[:100])
    embed()
    seen = count_embedded(monkeypatch)
    embed()
    assert seen == []  # the same bytes fail the same way: not tried again unasked
    again = embed(retry_failed=True)
    assert seen == ["g11"]
    assert not again.ok[11]
    path.write_bytes(data)
    assert embed().ok.all()


def test_too_many_failures_stop_and_keep_what_is_done(embed: Any, catalog: Catalog, tmp_path: Path) -> None:
    images = Path(catalog.image_root)
    held = {path: path.read_bytes() for path in sorted(images.glob("*.png"))[20:]}
    for path in held:
        path.unlink()
    with pytest.raises(SommelierError, match=r"images failed so far, more than --max-failures \(0.1\)"):
        embed()
    with pytest.raises(SommelierError, match=r"images failed so far"):
        embed()  # the same command again does not wave them through
    assert not (tmp_path / "s.h5").exists()
    assert list_parts(tmp_path / "s.h5")
    for path, data in held.items():
        path.write_bytes(data)
    assert embed().ok.all()


def test_another_recipe_is_refused_with_the_fields_that_differ(embed: Any) -> None:
    embed()
    with pytest.raises(ProvenanceMismatch, match=r"model.resize.size: 70 here, 56 there"):
        embed(size=70)
    with pytest.raises(ProvenanceMismatch, match=r"storage: .float32. here, .float16. there"):
        embed(storage="float32")


def test_parts_of_another_recipe_are_refused(embed: Any) -> None:
    embed("s.h5", shard=(1, 2))
    with pytest.raises(ProvenanceMismatch, match=r"model.resize.size"):
        embed("s.h5", size=70)


def test_a_damaged_part_is_named_and_nothing_else_lost(embed: Any, tmp_path: Path) -> None:
    embed("s.h5", shard=(1, 2))
    part = list_parts(tmp_path / "s.h5")[0]
    data = bytearray(part.read_bytes())
    with EmbeddingStore.open(part) as store:
        offset = store._file["vectors/L2-cls"].id.get_offset()
    data[offset] ^= 1
    part.write_bytes(data)
    with pytest.raises(StoreError, match=rf"{part.name}: vectors/L2-cls, rows 0 to"):
        embed("s.h5")
    part.unlink()
    assert rows_of(embed("s.h5")) == rows_of(embed("whole.h5"))


def test_two_runs_on_one_output_are_refused(embed: Any, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".s.h5.lock"), pytest.raises(BusyError, match=rf"process {os.getpid()} on "):
        embed()
    assert embed() is not None


def test_a_catalog_of_two_surveys_needs_two_stores(embed: Any, catalog: Catalog) -> None:
    frame = catalog.frame.assign(survey=["a", "b"] * 20)
    with pytest.raises(SommelierError, match=r"a store holds one survey; the catalog has a, b"):
        embed(galaxies=Catalog(frame, catalog.questions, catalog.image_root))


def test_a_failing_disk_keeps_finished_parts(embed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows_of(embed("whole.h5"))
    from embeddings import files

    calls, sync = [], files.sync_path

    def fail_on_the_third_part(path: Path) -> None:
        calls.append(path)
        if len(calls) == 5:  # two calls a part: the file and its folder
            raise OSError(28, "No space left on device")
        sync(path)

    monkeypatch.setattr(files, "sync_path", fail_on_the_third_part)
    with pytest.raises(StoreError, match=r"No space left on device.*run the same command again"):
        embed()
    monkeypatch.setattr(files, "sync_path", sync)
    assert len(list_parts(tmp_path / "s.h5")) >= 2
    assert not [path for path in (tmp_path / "s.h5.parts").iterdir() if path.suffix == ".tmp"]
    assert rows_of(embed()) == whole


@pytest.mark.slow
def test_fifty_kills_change_nothing(catalog: Catalog, tiny_folder: Path, tmp_path: Path) -> None:
    catalog.write(tmp_path / "c.parquet")
    command = [sys.executable, "-m", "tests.extract.kill_trials", tmp_path / "c.parquet", tiny_folder, tmp_path, "50"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["kills"] >= 50
    assert record["resumed"] >= 10  # kills that met parts of an earlier run
    whole = rows_of(EmbeddingStore.open(tmp_path / "whole.h5"))
    for number in range(1, record["finished"] + 1):
        assert rows_of(EmbeddingStore.open(tmp_path / f"finished-{number}.h5")) == whole


def start_command(catalog: Path, backbone: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sommelier", "extract", catalog, "--backbone", backbone, "-o", output]
    return subprocess.Popen(
        [*map(str, command), "--size", "56", "--threads", "1", "--batch-size", "1", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def long_catalog(catalog: Catalog, tmp_path: Path) -> Path:
    """The same forty images under 4,000 ids: some seconds of work."""
    frame = pd.concat([catalog.frame.assign(id_str=catalog.frame["id_str"] + f"-{n:02}") for n in range(100)])
    Catalog(frame.reset_index(drop=True), catalog.questions, catalog.image_root).write(tmp_path / "long.parquet")
    return tmp_path / "long.parquet"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, "1"), (signal.SIGTERM, "2")])
def test_a_signal_writes_what_is_done(
    number: int, workers: str, long_catalog: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "s.h5"
    process = start_command(long_catalog, tiny_folder, output, "--workers", workers)
    wait_for(lambda: list_parts(output))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert "run the same command to go on" in err
    assert "Traceback" not in err
    assert not output.exists()
    done = sum(len(EmbeddingStore.open(part)) for part in list_parts(output))
    assert 0 < done < 4000
    process = start_command(long_catalog, tiny_folder, output, "--workers", workers)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "4000 rows, 4000 ok" in out


@pytest.mark.slow
def test_killed_main_process_leaves_no_lock_and_no_workers(
    long_catalog: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "s.h5"
    process = start_command(long_catalog, tiny_folder, output, "--workers", "2")
    wait_for(lambda: list_parts(output))
    process.kill()
    process.communicate()
    session = process.pid

    def alone() -> bool:
        command = ["ps", "-o", "pid=,stat=", "-s", str(session)]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        return all(" Z" in line for line in found.stdout.splitlines())

    wait_for(alone, 20)
    again = start_command(long_catalog, tiny_folder, output, "--workers", "2")
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert "4000 rows, 4000 ok" in out


@pytest.mark.slow
def test_shards_side_by_side_and_the_last_joins(
    catalog: Catalog, tiny_folder: Path, tmp_path: Path, embed: Any
) -> None:
    catalog.write(tmp_path / "c.parquet")
    output = tmp_path / "s.h5"
    shards = [
        start_command(
            tmp_path / "c.parquet", tiny_folder, output, "--shard", f"{number}/3", "--layer", "1", "--layer", "2"
        )
        for number in (1, 2, 3)
    ]
    said = [process.communicate(timeout=120) for process in shards]
    assert [process.returncode for process in shards] == [0, 0, 0], said
    assert sum("40 rows, 40 ok" in out for out, _ in said) >= 1
    assert rows_of(EmbeddingStore.open(output)) == rows_of(embed("whole.h5", batch_size=1))
    assert not list(tmp_path.glob("*.parts"))
    assert not list(tmp_path.glob(".*lock"))


@pytest.mark.slow
def test_damaged_weights_are_named_by_workers_too(catalog: Catalog, tiny_folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_folder, model)
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    catalog.write(tmp_path / "c.parquet")
    process = start_command(tmp_path / "c.parquet", model, tmp_path / "s.h5", "--workers", "2")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "the weights in" in err
    assert "cannot be loaded; the file may be cut short" in err
    assert "Traceback" not in err
