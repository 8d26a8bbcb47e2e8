"""Rows through the loop: each vector with its own id, whatever fails beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from embeddings.errors import SommelierError, StoreError
from embeddings.parts import list_parts
from embeddings.provenance import Provenance, Space
from embeddings.store import EmbeddingStore
from extract.images import NO_FILE
from extract.preprocessing import Recipe
from extract.rendering import Rendering
from extract.weights import find_backbone
from extract.worker import REASON_LENGTH, Counters, Embedder, Job, Part, group_batches
from tests.extract.models import make_model, save_model

SPACE, OTHER = Space(1, "cls"), Space(2, "patch-mean")
LEVELS = Recipe("whole", 8, (0.0, 0.0, 0.0), (1 / 255,) * 3)  # leaves the levels of the image, 0 to 255

Embed = Callable[[torch.Tensor, str], torch.Tensor]


class Stub:
    """A backbone whose vector is the mean colour: it shows which image a row was made of."""

    name, depth, embed_dim, patch_size = "stub", 2, 3, 8

    def __init__(self, embed: Embed = lambda colours, _: colours) -> None:
        self._embed = embed
        self.precisions: list[str] = []
        self.shapes: set[tuple[int, ...]] = set()

    def load(self, device: str) -> Stub:
        return self

    def embed(self, images: torch.Tensor, spaces: Iterable[Space], precision: str = "fp32") -> dict[Space, Any]:
        self.precisions.append(precision)
        self.shapes.add(tuple(images.shape))
        vectors = self._embed(images.mean(dim=(2, 3)), precision)
        return {space: vectors * space.layer for space in spaces}


def make_job(
    backbone: Any, folder: Path, precision: str = "fp32", storage: str = "float32", spaces: Any = (SPACE, OTHER)
) -> Job:
    provenance = Provenance({"weights_sha256": "0" * 64}, {}, spaces, precision, storage)
    return Job(folder / "s.h5", "test", provenance, backbone, LEVELS, "cpu", batch_size=4, threads=2)


def colour_of(number: int) -> tuple[int, int, int]:
    return 20 * number, 255 - 20 * number, number


@pytest.fixture
def galaxies(tmp_path: Path) -> list[str]:
    """Eleven images, each of one colour of its own."""
    paths = []
    for number in range(11):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.new("RGB", (16, 12), colour_of(number)).save(paths[-1])
    return paths


def damage(paths: list[str], rows: Iterable[int]) -> None:
    for number, row in enumerate(rows):
        if number % 2:
            Path(paths[row]).unlink()
        else:
            Path(paths[row]).write_bytes(b"no image")


def expected_rows(failed: Iterable[int]) -> np.ndarray:
    rows = np.array([colour_of(number) for number in range(11)], np.float32)
    rows[list(failed)] = np.nan
    return rows


# failed images


@pytest.mark.parametrize(
    "failed",
    [(), (0,), (10,), (3, 4), (4, 5, 6, 7), (1, 3, 8, 9, 10), tuple(range(11)), tuple(range(0, 11, 2))],
    ids=lambda failed: f"failed{len(failed)}",
)
def test_failed_images_never_shift_the_other_rows(failed: tuple[int, ...], galaxies: list[str], tmp_path: Path) -> None:
    damage(galaxies, failed)
    status, vectors, hashes = Embedder(make_job(Stub(), tmp_path)).embed_images(galaxies)
    np.testing.assert_allclose(vectors[SPACE], expected_rows(failed), atol=1e-3)
    np.testing.assert_allclose(vectors[OTHER], 2 * expected_rows(failed), atol=1e-3)
    assert [row for row, text in enumerate(status) if text != "ok"] == list(failed)
    for row, path in enumerate(galaxies):
        data = Path(path).read_bytes() if Path(path).exists() else None
        assert hashes[row] == (hashlib.sha256(data).digest() if data is not None else bytes(32))


def test_parts_bind_vectors_to_ids(galaxies: list[str], tmp_path: Path) -> None:
    """Parts of seven and four rows in batches of four, ids in an order of their own."""
    failed = (2, 8)
    damage(galaxies, failed)
    order = [5, 2, 9, 0, 7, 10, 3, 8, 1, 6, 4]
    parts = [Part([f"id-{n}" for n in rows], [galaxies[n] for n in rows]) for rows in (order[:7], order[7:])]
    counters = Counters(get_context("spawn"))
    Embedder(make_job(Stub(), tmp_path)).embed_parts(parts, counters)
    assert (counters.done, counters.failed) == (11, 2)
    found = {}
    for path in list_parts(tmp_path / "s.h5"):
        with EmbeddingStore.open(path) as part:
            assert not part.verify()
            rows = zip(part.ids, part.status, part.dataset("image_sha256"), part.vectors(*SPACE), strict=True)
            found |= {id_str: row for id_str, *row in rows}
    assert len(list_parts(tmp_path / "s.h5")) == 2
    assert sorted(found) == sorted(f"id-{n}" for n in range(11))
    for number, colours in enumerate(expected_rows(failed)):
        status, digest, vector = found[f"id-{number}"]
        np.testing.assert_allclose(vector, colours, atol=1e-3)
        assert status == {2: "failed: .png is not an image", 8: "failed: no such file"}.get(number, "ok")
        there = Path(galaxies[number])
        assert digest.tobytes() == (hashlib.sha256(there.read_bytes()).digest() if there.exists() else bytes(32))


def test_a_part_without_a_good_row(galaxies: list[str], tmp_path: Path) -> None:
    damage(galaxies, range(11))
    Embedder(make_job(Stub(), tmp_path)).embed_parts([Part(["a", "b"], galaxies[:2])], Counters(get_context("spawn")))
    (path,) = list_parts(tmp_path / "s.h5")
    with EmbeddingStore.open(path) as part:
        assert not part.ok.any()
        assert np.isnan(part.vectors(*SPACE)).all()


def test_long_reasons_are_cut(galaxies: list[str], tmp_path: Path) -> None:
    name = tmp_path / ("x." + "y" * 240)
    name.write_bytes(b"no image")
    Embedder(make_job(Stub(), tmp_path)).embed_parts([Part(["a"], [str(name)])], Counters(get_context("spawn")))
    with EmbeddingStore.open(list_parts(tmp_path / "s.h5")[0]) as part:
        assert part.status[0] == "failed: ." + "y" * (REASON_LENGTH - 1)


def test_an_image_and_its_digest(galaxies: list[str], tmp_path: Path) -> None:
    digest, image = Rendering().load(galaxies[3])
    assert digest == hashlib.sha256(Path(galaxies[3]).read_bytes()).digest()
    assert isinstance(image, np.ndarray)
    assert (image == colour_of(3)).all()
    assert Rendering().load(str(tmp_path / "none.png")) == (NO_FILE, "no such file")
    (tmp_path / "x.png").write_bytes(b"text")
    assert Rendering().load(str(tmp_path / "x.png")) == (hashlib.sha256(b"text").digest(), ".png is not an image")


# numbers that do not fit


def test_a_batch_that_overflows_in_fp16_is_done_again_in_fp32(galaxies: list[str], tmp_path: Path) -> None:
    model = make_model()
    model.embeddings.patch_embeddings.projection.weight.data *= 1e4  # above 65504 for any image that is not black
    model.save_pretrained(tmp_path / "model")
    source, spaces = find_backbone(str(tmp_path / "model")), (Space(2, "patch-mean"), Space(3, "cls"))
    jobs = {p: make_job(source, tmp_path, p, spaces=spaces) for p in ("fp16", "fp32")}
    images = torch.rand(2, 3, 56, 56)
    assert not any(v.isfinite().all() for v in source.load().embed(images, spaces, "fp16").values()), "no overflow"
    for precision, job in jobs.items():
        object.__setattr__(job, "recipe", Recipe("whole", 56))
        jobs[precision] = Embedder(job).embed_images(galaxies)  # type: ignore[assignment]
    (status, mixed, _), (_, exact, _) = jobs["fp16"], jobs["fp32"]  # type: ignore[misc]
    assert status == ["ok"] * 11
    for space in spaces:
        np.testing.assert_array_equal(mixed[space], exact[space])
        assert np.isfinite(mixed[space]).all()


def overflow_in_fp16(colours: torch.Tensor, precision: str) -> torch.Tensor:
    """Half precision is a little off everywhere, and infinite where red is above 100."""
    if precision == "fp32":
        return colours
    return torch.where(colours[:, :1] > 100, torch.inf, colours + 0.25)


def test_only_batches_that_overflow_are_done_again(galaxies: list[str], tmp_path: Path) -> None:
    stub = Stub(overflow_in_fp16)
    status, vectors, _ = Embedder(make_job(stub, tmp_path, "fp16")).embed_images(galaxies)
    assert stub.precisions == ["fp16", "fp16", "fp32", "fp16", "fp32"]
    assert status == ["ok"] * 11
    np.testing.assert_allclose(vectors[SPACE][:4], expected_rows(())[:4] + 0.25, atol=1e-3)
    np.testing.assert_allclose(vectors[SPACE][6:], expected_rows(())[6:], atol=1e-3)


def test_an_overflow_changes_no_other_row(galaxies: list[str], tmp_path: Path) -> None:
    _, vectors, _ = Embedder(make_job(Stub(overflow_in_fp16), tmp_path, "fp16")).embed_images(galaxies)
    np.testing.assert_allclose(vectors[SPACE][:6], expected_rows(())[:6] + 0.25, atol=1e-3)


def test_padding_that_overflows_is_nobodys_business(galaxies: list[str], tmp_path: Path) -> None:
    """The empty rows of a short batch are black; what the model makes of black does not matter."""
    stub = Stub(lambda colours, _: torch.where(colours.sum(1, keepdim=True) == 0, torch.nan, colours))
    status, _, _ = Embedder(make_job(stub, tmp_path, "fp16")).embed_images(galaxies)
    assert status == ["ok"] * 11
    assert stub.precisions == ["fp16"] * 3


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_row_that_is_not_finite_in_fp32_either_fails(
    precision: str, bad: float, galaxies: list[str], tmp_path: Path
) -> None:
    stub = Stub(lambda colours, _: torch.where(colours[:, :1].round() == 100, bad, colours))  # number 5
    status, vectors, _ = Embedder(make_job(stub, tmp_path, precision)).embed_images(galaxies)
    assert status[5] == "failed: the model gave non-finite values, in fp32 too"
    assert [text for row, text in enumerate(status) if row != 5] == ["ok"] * 10
    np.testing.assert_allclose(vectors[SPACE], expected_rows([5]), atol=1e-3)


def test_a_row_that_fails_in_one_space_is_empty_in_all(galaxies: list[str], tmp_path: Path) -> None:
    class OneSpace(Stub):
        def embed(self, images: torch.Tensor, spaces: Iterable[Space], precision: str = "fp32") -> dict[Space, Any]:
            vectors = super().embed(images, spaces, precision)
            vectors[OTHER][images.mean(dim=(2, 3))[:, 0].round() == 100, 1] = torch.nan
            return vectors

    status, vectors, _ = Embedder(make_job(OneSpace(), tmp_path)).embed_images(galaxies)
    assert status[5].startswith("failed: ")
    for space in (SPACE, OTHER):
        assert np.isnan(vectors[space][5]).all()
        assert np.isfinite(vectors[space][[4, 6]]).all()


@pytest.mark.parametrize(("storage", "fits"), [("float16", False), ("float32", True)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_value_that_does_not_fit_the_storage(
    storage: str, fits: bool, sign: int, galaxies: list[str], tmp_path: Path
) -> None:
    stub = Stub(lambda colours, _: torch.where(colours[:, :1].round() == 100, sign * 65600.0, colours))
    job = make_job(stub, tmp_path, storage=storage, spaces=(SPACE,))
    Embedder(job).embed_parts([Part(list("abcdefghijk"), galaxies)], Counters(get_context("spawn")))
    with EmbeddingStore.open(list_parts(tmp_path / "s.h5")[0]) as part:
        status, vectors = part.status, np.array(part.vectors(*SPACE), np.float32)
    if fits:
        assert status.tolist() == ["ok"] * 11
        assert (vectors[5] == sign * 65600).all()
        return
    assert status[5] == "failed: a value of 6.56e+04 does not fit float16; use --storage float32"
    assert status.tolist().count("ok") == 10
    np.testing.assert_allclose(vectors, expected_rows([5]), atol=0.1)


def test_the_largest_value_that_float16_holds(galaxies: list[str], tmp_path: Path) -> None:
    stub = Stub(lambda colours, _: torch.full_like(colours, 65504.0))
    status, _, _ = Embedder(make_job(stub, tmp_path, storage="float16", spaces=(SPACE,))).embed_images(galaxies)
    assert status == ["ok"] * 11


def test_a_gpu_out_of_memory_names_a_smaller_batch(galaxies: list[str], tmp_path: Path) -> None:
    def fail(colours: torch.Tensor, _: str) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(SommelierError, match=r"at a batch size of 4; try --batch-size 2\. Finished parts are kept"):
        Embedder(make_job(Stub(fail), tmp_path)).embed_images(galaxies)


# the company of a row


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder, rng = tmp_path_factory.mktemp("noise"), np.random.default_rng(3)
    paths = []
    for number in range(9):
        paths.append(str(folder / f"{number}.png"))
        Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(paths[-1])
    return paths


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_company_of_a_row_does_not_change_its_bits(precision: str, photographs: list[str], tmp_path: Path) -> None:
    """Full and short batches, good and failed neighbours; each row stays in its own place."""
    source = find_backbone(str(save_model(tmp_path / "model")))
    spaces = (Space(1, "patch-mean"), Space(3, "cls"), Space(3, "patch-mean"))
    job = make_job(source, tmp_path, precision, spaces=spaces)
    object.__setattr__(job, "recipe", Recipe("whole", 56))
    embedder, nothing = Embedder(job), str(tmp_path / "nothing.png")
    a, b, c, d, e, f, g, h, i = photographs
    _, alone, _ = embedder.embed_images([a, nothing, c])
    for company in ([a, b, c, d], [a, e, c], [a, f, c, nothing], [a, nothing, c, g, h, i]):
        _, vectors, _ = embedder.embed_images(company)
        for space in spaces:
            np.testing.assert_array_equal(vectors[space][[0, 2]], alone[space][[0, 2]])
    assert (alone[spaces[0]][0] != alone[spaces[0]][2]).any()


def test_the_model_always_sees_one_shape(galaxies: list[str], tmp_path: Path) -> None:
    """A kernel is chosen by shape, and another kernel may give other bits."""
    damage(galaxies, (1, 2, 9))
    stub = Stub()
    Embedder(make_job(stub, tmp_path)).embed_images(galaxies)
    assert stub.shapes == {(4, 3, 8, 8)}


# stops and parts


def test_a_stop_writes_what_is_ready(galaxies: list[str], tmp_path: Path) -> None:
    counters = Counters(get_context("spawn"))

    def stop_at_the_second(colours: torch.Tensor, _: str) -> torch.Tensor:
        if colours[0, 0] > 50:
            counters.stop()
        return colours

    parts = [Part([f"id-{n}" for n in range(11)], galaxies), Part(["later"], galaxies[:1])]
    Embedder(make_job(Stub(stop_at_the_second), tmp_path)).embed_parts(parts, counters)
    assert counters.stopped
    assert counters.done == 8
    (path,) = list_parts(tmp_path / "s.h5")
    with EmbeddingStore.open(path) as part:
        assert part.ids.tolist() == [f"id-{n}" for n in range(8)]
        np.testing.assert_allclose(part.vectors(*SPACE), expected_rows(())[:8], atol=1e-3)


def test_a_part_that_cannot_be_written_stops_the_work(galaxies: list[str], tmp_path: Path) -> None:
    (tmp_path / "s.h5.parts").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="could not be written"):
        Embedder(make_job(Stub(), tmp_path)).embed_parts([Part(["a"], galaxies[:1])], Counters(get_context("spawn")))


def test_no_galaxies_no_parts(tmp_path: Path) -> None:
    counters = Counters(get_context("spawn"))
    Embedder(make_job(Stub(), tmp_path)).embed_parts([], counters)
    assert (counters.done, counters.failed, list_parts(tmp_path / "s.h5")) == (0, 0, [])


@pytest.mark.parametrize(("per_part", "sizes"), [(1, [2, 2, 2, 1]), (2, [4, 3]), (3, [6, 1]), (4, [7]), (9, [7])])
def test_batches_are_joined_into_parts(per_part: int, sizes: list[int]) -> None:
    batches = [np.array(rows) for rows in ([4, 2], [9, 1], [3, 7], [5])]
    parts = list(group_batches(batches, per_part))
    assert [len(part) for part in parts] == sizes
    assert np.concatenate(parts).tolist() == [4, 2, 9, 1, 3, 7, 5]
    assert list(group_batches([], per_part)) == []
