"""Galaxy Zoo as the Hugging Face hub has it: votes and image bytes in one Parquet file, read where they lie."""

from __future__ import annotations

import hashlib
import io
import os
import resource
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from embeddings.errors import CatalogError, SommelierError
from embeddings.questions import Question
from extract.catalog import Catalog
from extract.images import ImageError, decode_image
from extract.pipeline import extract_embeddings
from extract.rendering import Rendering
from extract.shards import read_hub_catalog, read_shard_image
from tests.conftest import draw_galaxy

NAN = np.nan
SMOOTH = Question("smooth-or-featured", ("smooth", "featured-or-disk", "artifact"))
EDGE = Question("disk-edge-on", ("yes", "no"), "smooth-or-featured_featured-or-disk")
GZ2 = {"smooth-or-featured-gz2": SMOOTH.answers, "disk-edge-on-gz2": EDGE.answers}
DR8 = {"smooth-or-featured-dr8": SMOOTH.answers, "bar-dr8": ("strong", "weak", "no")}

# votes for smooth, featured, artifact and for edge-on yes, no
VOTES = [
    ((10, 30, 0), (6, 24)),
    ((40, 0, 0), (0, 0)),  # nobody was asked whether it is edge-on
    ((1, 2, 1), (2, 0)),
    ((0, 0, 0), (0, 0)),  # not in this campaign at all
]


def encode(picture: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind)
    return stream.getvalue()


def galaxies(n: int, seed: int = 0) -> list[bytes]:
    rng = np.random.default_rng(seed)
    return [encode(draw_galaxy(rng, 32 + row % 3), "JPEG" if row % 2 else "PNG") for row in range(n)]


def hub_images(images: Sequence[bytes | None]) -> pa.Array:
    """As the hub's `Image` feature stores them."""
    rows = [None if data is None else {"bytes": data, "path": f"{row}.jpg"} for row, data in enumerate(images)]
    return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def vote_columns(question: str, answers: Sequence[str], votes: Sequence[Sequence[int]]) -> dict[str, pa.Array]:
    """Counts as int32, fractions and totals as float32, NaN where nobody was asked."""
    counts = np.array(votes, np.int32).reshape(-1, len(answers))
    total = counts.sum(axis=1)
    shares = np.divide(counts, total[:, None], out=np.full(counts.shape, NAN), where=total[:, None] > 0)
    columns = {f"{question}_{a}": pa.array(counts[:, i], pa.int32()) for i, a in enumerate(answers)}
    columns |= {f"{question}_{a}_fraction": pa.array(shares[:, i], pa.float32()) for i, a in enumerate(answers)}
    return columns | {f"{question}_total-votes": pa.array(total, pa.float32())}


def write_shard(
    file: Path, ids: Iterable[str], images: Sequence[bytes | None], votes: Any = None, group: int = 3, **more: Any
) -> Path:
    """A file of a release; the votes are those above, again and again, unless given."""
    ids = list(ids)
    votes = [VOTES[row % len(VOTES)] for row in range(len(ids))] if votes is None else votes
    columns: dict[str, Any] = {"image": hub_images(images), "id_str": pa.array(ids, pa.string())}
    for index, (question, answers) in enumerate(GZ2.items()):
        columns |= vote_columns(question, answers, [row[index] for row in votes])
    columns["summary"] = pa.array([f"galaxy {id_str}" for id_str in ids])
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns | more), file, row_group_size=group)
    return file


def rewrite(file: Path, drop: Iterable[str] = (), **more: Any) -> None:
    table = pq.read_table(file).drop_columns(list(drop))
    for name, values in more.items():
        table = table.append_column(name, values)
    pq.write_table(table, file)


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write_shard(tmp_path / "train-00000-of-00001.parquet", ["g0", "g1", "g2", "g3"], galaxies(4))


def read_back(catalog: Catalog) -> list[bytes]:
    paths = [os.path.join(catalog.image_root, image) for image in catalog.frame["image"]]
    return [read_shard_image(path, int(row)) for path, row in (path.split("#") for path in paths)]


# labels


def test_a_release_becomes_a_catalog(shard: Path) -> None:
    catalog = read_hub_catalog([shard], "gz2")
    assert catalog.ids.tolist() == ["g0", "g1", "g2", "g3"]
    assert catalog.surveys == ["sdss"]
    assert catalog.image_root == str(shard.parent.resolve())
    assert catalog.frame["image"].tolist() == [f"{shard.name}#{row}" for row in range(4)]
    assert catalog.missing_images() == []
    assert np.isnan(catalog.frame[["ra", "dec"]].to_numpy()).all()
    assert catalog.questions == (SMOOTH, EDGE)
    assert catalog.frame["summary"].tolist() == [f"galaxy g{row}" for row in range(4)]
    assert set(catalog.frame.columns) == {
        *("id_str", "survey", "ra", "dec", "image", "summary"),
        *SMOOTH.vote_columns, *SMOOTH.target_columns, SMOOTH.total_column,
        *EDGE.vote_columns, *EDGE.target_columns, EDGE.total_column,
    }  # fmt: skip


def test_labels_and_votes(shard: Path) -> None:
    Y, votes = read_hub_catalog([shard], "gz2").labels()
    shares = [
        [10 / 40, 30 / 40, 0, 6 / 30, 24 / 30],
        [1, 0, 0, NAN, NAN],
        [1 / 4, 2 / 4, 1 / 4, 1, 0],
        [NAN] * 5,
    ]
    np.testing.assert_allclose(Y, shares, rtol=1e-6)
    np.testing.assert_array_equal(votes, [[10, 30, 0, 6, 24], [40, 0, 0, NAN, NAN], [1, 2, 1, 2, 0], [NAN] * 5])
    notes = read_hub_catalog([shard], "gz2").notes
    assert notes[0] == f"read from {shard.name}: Galaxy Zoo 2, 4 rows"
    assert "1 galaxies have no answer to smooth-or-featured" in notes
    assert "4 of 4 galaxies have no position" in notes


def test_choices_of_the_reader(shard: Path) -> None:
    catalog = read_hub_catalog([shard], "gz2", name="hub", min_votes=5)
    assert catalog.surveys == ["hub"]
    assert catalog.ids.tolist() == ["g0", "g1"]
    assert catalog.frame["image"].tolist() == [f"{shard.name}#0", f"{shard.name}#1"]
    assert "2 rows left out: fewer than 5 votes for smooth-or-featured" in catalog.notes


def test_positions_of_a_release(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.parquet", "ab", galaxies(2), ra=pa.array([10.5, 359.75]), dec=pa.array([-5.5, NAN]))
    catalog = read_hub_catalog([tmp_path], "gz2")
    np.testing.assert_array_equal(catalog.frame["ra"], [10.5, 359.75])
    np.testing.assert_array_equal(catalog.frame["dec"], [-5.5, NAN])
    assert "ra_original" not in catalog.frame
    assert "1 of 2 galaxies have no position" in catalog.notes
    write_shard(tmp_path / "a.parquet", "ab", galaxies(2), ra=pa.array([10.5, 400]), dec=pa.array([1.0, 2.0]))
    with pytest.raises(CatalogError, match="'ra' has 1 values that are not in"):
        read_hub_catalog([tmp_path], "gz2")


def test_another_campaign_in_the_same_file(tmp_path: Path) -> None:
    """Its votes are kept as they are, and are labels for whoever asks for them."""
    more = vote_columns("smooth-or-featured-dr8", DR8["smooth-or-featured-dr8"], [(3, 1, 0), (0, 0, 0)])
    more |= vote_columns("bar-dr8", DR8["bar-dr8"], [(1, 1, 2), (0, 0, 0)])
    write_shard(tmp_path / "a.parquet", "ab", galaxies(2), **more)
    gz2, dr8 = (read_hub_catalog([tmp_path], campaign) for campaign in ("gz2", "dr8"))
    assert gz2.questions == (SMOOTH, EDGE)
    assert gz2.frame["bar-dr8_strong"].tolist() == [1, 0]
    assert dr8.surveys == ["decals"]
    assert dr8.questions == (
        SMOOTH,
        Question("bar-dr8", ("strong", "weak", "no"), "disk-edge-on_no"),
    )
    np.testing.assert_array_equal(dr8.labels()[0], [[0.75, 0.25, 0, 0.25, 0.25, 0.5], [NAN] * 6])
    assert dr8.frame["smooth-or-featured-gz2_smooth"].tolist() == [10, 40]


def test_a_campaign_that_is_not_there(tmp_path: Path) -> None:
    more = vote_columns("bar-dr8", DR8["bar-dr8"], [(1, 1, 2), (0, 0, 0)])
    file = write_shard(tmp_path / "a.parquet", "ab", galaxies(2), **more)
    with pytest.raises(CatalogError, match=r"no columns of the campaign 'dr5' .*those of: gz2, dr8\. Choose one with"):
        read_hub_catalog([file], "dr5")
    with pytest.raises(SommelierError, match=r"'gz3' is not known.*'gz2'"):
        read_hub_catalog([file], "gz3")
    rewrite(file, [name for name in pq.read_schema(file).names if "gz2" in name or "dr8" in name])
    with pytest.raises(CatalogError, match="It has none of a known one"):
        read_hub_catalog([file], "gz2")


@pytest.mark.parametrize(("votes", "kept"), [([5, 9, 4], 1), ([9, 9, 4], 0), ([0, 0, 2], 2)])
def test_of_a_repeated_id_the_row_with_most_votes_stays(votes: list[int], kept: int, tmp_path: Path) -> None:
    images = galaxies(3)
    for row in range(3):  # three shards of one row and another
        write_shard(
            tmp_path / f"{row}.parquet",
            ["twice", f"g{row}"],
            [images[row]] * 2,
            [((votes[row], 0, 0), (0, 0)), VOTES[0]],
        )
    catalog = read_hub_catalog([tmp_path], "gz2")
    assert sorted(catalog.ids) == ["g0", "g1", "g2", "twice"]
    row = catalog.ids.tolist().index("twice")
    assert catalog.frame["image"][row] == f"{kept}.parquet#0"
    assert catalog.frame["smooth-or-featured_smooth"][row] == votes[kept]
    assert read_back(catalog)[row] == images[kept]
    assert any(note.startswith("2 rows left out: their id appears again") for note in catalog.notes)


def test_integer_ids_keep_their_digits(tmp_path: Path) -> None:
    file = write_shard(tmp_path / "a.parquet", "ab", galaxies(2))
    rewrite(file, ["id_str"], id_str=pa.array([587722981742084096, 587722981742084097]))
    assert read_hub_catalog([file], "gz2").ids.tolist() == ["587722981742084096", "587722981742084097"]


# files


def test_shards_and_folders_in_order(tmp_path: Path) -> None:
    images = galaxies(12)
    for number in (2, 0, 1):
        rows = slice(4 * number, 4 * number + 4)
        write_shard(tmp_path / "data" / f"train-{number:05}.parquet", [f"g{n}" for n in range(12)][rows], images[rows])
    (tmp_path / "data" / "README.md").touch()
    (tmp_path / "data" / "._train-00000.parquet").write_bytes(b"junk of macOS")
    catalog = read_hub_catalog([tmp_path], "gz2")
    assert catalog.ids.tolist() == [f"g{n}" for n in range(12)]
    assert catalog.image_root == str((tmp_path / "data").resolve())
    assert catalog.frame["image"][5] == "train-00001.parquet#1"
    assert read_back(catalog) == images
    shards = sorted((tmp_path / "data").glob("train-*"))
    some = read_hub_catalog([shards[2], shards[0], shards[2], tmp_path / "data"], "gz2")  # each once, as given
    assert some.ids.tolist() == [f"g{n}" for n in (8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7)]
    assert read_back(some) == images[8:] + images[:8]


def test_folders_apart(tmp_path: Path) -> None:
    """References are relative to the folder that they have in common."""
    images = galaxies(4)
    write_shard(tmp_path / "train" / "0.parquet", "ab", images[:2])
    write_shard(tmp_path / "test" / "deep" / "0.parquet", "cd", images[2:])
    catalog = read_hub_catalog([tmp_path / "train", tmp_path / "test"], "gz2")
    assert catalog.image_root == str(tmp_path.resolve())
    assert catalog.frame["image"].tolist() == [
        *("train/0.parquet#0", "train/0.parquet#1", "test/deep/0.parquet#0", "test/deep/0.parquet#1")
    ]
    assert read_back(catalog) == images


def test_a_relative_path(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shard.parent)
    catalog = read_hub_catalog([shard.name], "gz2")
    monkeypatch.chdir("/")
    assert read_back(catalog) == galaxies(4)


def test_the_hubs_cache(tmp_path: Path) -> None:
    """`snapshot_download` gives a folder of links to files that are named by their hash."""
    images = galaxies(2)
    blob = write_shard(tmp_path / "blobs" / "0a1b2c", "ab", images)
    (tmp_path / "snapshots" / "data").mkdir(parents=True)
    (tmp_path / "snapshots" / "data" / "train.parquet").symlink_to(blob)
    catalog = read_hub_catalog([tmp_path / "snapshots"], "gz2")
    assert [image.rpartition("/")[2] for image in catalog.frame["image"]] == ["train.parquet#0", "train.parquet#1"]
    assert catalog.missing_images() == []
    assert read_back(catalog) == images


def test_an_ending_in_capitals(tmp_path: Path) -> None:
    write_shard(tmp_path / "TRAIN.PARQUET", "ab", galaxies(2))
    catalog = read_hub_catalog([tmp_path], "gz2")
    assert catalog.missing_images() == []


def test_a_catalog_on_disk_finds_its_images(shard: Path, tmp_path: Path) -> None:
    catalog = Catalog.read(read_hub_catalog([shard], "gz2").write(tmp_path / "out" / "hub.parquet"))
    assert catalog.missing_images() == []
    assert read_back(catalog) == galaxies(4)


@pytest.mark.parametrize("change", [{"drop": ["summary"]}, {"extra": pa.array([1, 2])}], ids=["less", "more"])
def test_shards_of_different_releases(change: dict[str, Any], tmp_path: Path) -> None:
    for name, ids in (("a", "ab"), ("b", "cd"), ("c", "ef")):
        write_shard(tmp_path / f"{name}.parquet", ids, galaxies(2))
    rewrite(tmp_path / "b.parquet", **change)
    odd = "summary" if "drop" in change else "extra"
    with pytest.raises(CatalogError, match=rf"b\.parquet and .*a\.parquet have different columns \({odd}\)"):
        read_hub_catalog([tmp_path], "gz2")


def test_columns_in_another_order_are_the_same(tmp_path: Path) -> None:
    images = galaxies(4)
    write_shard(tmp_path / "a.parquet", "ab", images[:2])
    file = write_shard(tmp_path / "b.parquet", "cd", images[2:], VOTES[2:])
    table = pq.read_table(file)
    pq.write_table(table.select(table.column_names[::-1]), file)
    catalog = read_hub_catalog([tmp_path], "gz2")
    assert catalog.frame["smooth-or-featured_smooth"].tolist() == [10, 40, 1, 0]
    assert read_back(catalog) == images


def test_tables_without_images(tmp_path: Path) -> None:
    file = write_shard(tmp_path / "a.parquet", "ab", galaxies(2))
    for images in (None, pa.array(["a.jpg", "b.jpg"]), pa.array([b"x", b"y"])):
        rewrite(
            file, ["image"] if "image" in pq.read_schema(file).names else [], **({"image": images} if images else {})
        )
        with pytest.raises(
            CatalogError, match=r"a\.parquet has no column 'image' that holds image bytes.*catalog table"
        ):
            read_hub_catalog([file], "gz2")


def test_a_release_without_ids(tmp_path: Path) -> None:
    file = write_shard(tmp_path / "a.parquet", "ab", galaxies(2))
    rewrite(file, ["id_str"], id_st=pa.array(["a", "b"]))
    with pytest.raises(CatalogError, match=r"a\.parquet has no column 'id_str'.*Did you mean 'id_st'"):
        read_hub_catalog([file], "gz2")
    rewrite(file, ["id_st"], id_str=pa.array(["a", None]))
    with pytest.raises(CatalogError, match="1 rows have no id"):
        read_hub_catalog([file], "gz2")


def test_files_that_are_no_shards(shard: Path, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"nowhere does not exist\. Give Parquet files of the release"):
        read_hub_catalog([shard, tmp_path / "nowhere"], "gz2")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CatalogError, match="empty holds no Parquet files"):
        read_hub_catalog([tmp_path / "empty"], "gz2")
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(CatalogError, match=rf"{shard.name} cannot be read as Parquet: .*Download it again"):
        read_hub_catalog([shard], "gz2")


# images


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> tuple[Catalog, list[bytes]]:
    """Four shards of 13 rows in groups of 3: 5 groups each, more than are kept."""
    folder, images = tmp_path_factory.mktemp("hub"), galaxies(52)
    for number in range(4):
        rows = range(13 * number, 13 * number + 13)
        write_shard(folder / f"{number}.parquet", [f"g{row}" for row in rows], [images[row] for row in rows])
    return read_hub_catalog([folder], "gz2"), images


def test_images_are_read_back_bit_for_bit(release: tuple[Catalog, list[bytes]]) -> None:
    assert read_back(release[0]) == release[1]


def test_several_threads_read_what_one_reads(release: tuple[Catalog, list[bytes]], rng: np.random.Generator) -> None:
    catalog, images = release
    rows = rng.integers(0, 52, 600)
    paths = [os.path.join(catalog.image_root, catalog.frame["image"][row]) for row in rows]
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(Rendering().load, paths))
    decoded = [decode_image(data) for data in images]
    for row, (digest, image) in zip(rows, loaded, strict=True):
        assert digest == hashlib.sha256(images[row]).digest()
        np.testing.assert_array_equal(image, decoded[row])


def test_rows_far_apart(release: tuple[Catalog, list[bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every read is of another row group, in turn, so none is there still when it is wanted again."""
    catalog, images = release
    order = [13 * shard + row for _ in range(2) for row in (0, 12, 6, 3, 9) for shard in range(4)]
    monkeypatch.setattr("extract.shards.BYTES_KEPT", 1)
    for row in order:
        path, _, number = catalog.frame["image"][row].rpartition("#")
        assert read_shard_image(os.path.join(catalog.image_root, path), int(number)) == images[row]


@pytest.mark.parametrize("row", [4, 5, 10**12, -1])
def test_a_row_that_is_not_there(row: int, shard: Path) -> None:
    with pytest.raises(ImageError, match=f"the shard has 4 rows, none is number {row}$"):
        read_shard_image(str(shard), row)


def test_a_shard_of_no_rows(tmp_path: Path) -> None:
    file = write_shard(tmp_path / "a.parquet", [], [])
    with pytest.raises(ImageError, match="the shard has 0 rows, none is number 0"):
        read_shard_image(str(file), 0)


def test_rows_without_an_image(tmp_path: Path) -> None:
    images = galaxies(4)
    file = write_shard(tmp_path / "a.parquet", "abcd", [images[0], None, images[2], b""])
    assert read_shard_image(str(file), 0) == images[0]
    assert read_shard_image(str(file), 2) == images[2]
    with pytest.raises(ImageError, match="the row has no image"):
        read_shard_image(str(file), 1)
    assert Rendering().load(f"{file}#3")[1] == "empty file"
    nameless = pa.array([{"bytes": None, "path": "a.jpg"}], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": nameless}), tmp_path / "b.parquet")
    with pytest.raises(ImageError, match="the row has no image"):
        read_shard_image(str(tmp_path / "b.parquet"), 0)


def test_shards_that_cannot_be_read(shard: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"^no such file$"):
        read_shard_image(str(tmp_path / "none.parquet"), 0)
    (tmp_path / "text.parquet").write_text("not a table")
    with pytest.raises(ImageError, match=r"^cannot be read: "):
        read_shard_image(str(tmp_path / "text.parquet"), 0)
    whole = bytearray(shard.read_bytes())
    start = whole.find(b"\xff\xd8\xff")
    whole[start - 400 : start + 400] = bytes(800)
    (tmp_path / "damaged.parquet").write_bytes(whole)
    reasons = [Rendering().load(f"{tmp_path / 'damaged.parquet'}#{row}")[1] for row in range(4)]
    assert any(isinstance(reason, str) for reason in reasons)


@pytest.mark.parametrize(
    "columns",
    [{"id_str": ["a"]}, {"image": [b"bytes"]}, {"image": ["a.jpg"]}, {"image": [{"path": "a.jpg"}]}],
    ids=["nothing", "bytes", "text", "path"],
)
def test_tables_of_something_else_fail_a_row_and_stop_nothing(columns: dict[str, Any], tmp_path: Path) -> None:
    """A user's own table may name any Parquet file."""
    pq.write_table(pa.table(columns), tmp_path / "plain.parquet")
    assert isinstance(Rendering().load(f"{tmp_path}/plain.parquet#0")[1], str)


def test_a_shard_that_was_replaced_is_read_anew(shard: Path) -> None:
    """In a notebook, where the process lives on while files are downloaded again."""
    assert read_shard_image(str(shard), 0) == galaxies(4)[0]
    write_shard(shard.with_name("new"), "abcd", galaxies(4, seed=1)).replace(shard)
    assert read_shard_image(str(shard), 0) == galaxies(4, seed=1)[0]


def test_more_shards_than_files_may_be_open(tmp_path: Path) -> None:
    """A process may open 1024 files on most machines; a release has a hundred shards, a machine dozens of threads."""
    image = galaxies(1)
    files = [write_shard(tmp_path / f"{number}.parquet", "a", image) for number in range(40)]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 20, before[1]))
    try:
        for file in files:
            assert read_shard_image(str(file), 0) == image[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# embeddings


def test_embeddings_are_those_of_the_images_as_files(tmp_path: Path) -> None:
    images: list[bytes | None] = [*galaxies(9), None]
    ids = [f"g{row}" for row in range(10)]
    write_shard(tmp_path / "hub" / "0.parquet", ids[:5], images[:5])
    write_shard(tmp_path / "hub" / "1.parquet", ids[5:], images[5:])
    catalog = read_hub_catalog([tmp_path / "hub"], "gz2", name="sky")
    options: dict[str, Any] = {"size": 28, "batch_size": 4, "workers": 1, "threads": 2, "max_failures": 2}
    with extract_embeddings(catalog, "tiny", tmp_path / "hub.h5", **options) as store:  # type: ignore[union-attr]
        assert store.ids.tolist() == ids
        assert store.status.tolist() == ["ok"] * 9 + ["failed: the row has no image"]
        assert store.images.tolist() == [f"{row // 5}.parquet#{row % 5}" for row in range(10)]
        assert store.verify() == []
        vectors = store.vectors(*store.spaces[0])[:]
        np.testing.assert_array_equal(store.table().Y[0], np.float32([0.25, 0.75, 0, 0.2, 0.8]))
    for name, data in zip(ids, images, strict=True):
        (tmp_path / f"{name}.img").write_bytes(data or b"")
    core = {"id_str": ids, "survey": "sky", "ra": NAN, "dec": NAN, "image": [f"{name}.img" for name in ids]}
    files = Catalog(pd.DataFrame(core), (), str(tmp_path))
    with extract_embeddings(files, "tiny", tmp_path / "files.h5", **options) as store:  # type: ignore[union-attr]
        np.testing.assert_array_equal(store.vectors(*store.spaces[0])[:], vectors)
    assert np.isfinite(vectors[:9]).all()
    assert len(np.unique(vectors[:9], axis=0)) == 9
    assert np.isnan(vectors[9]).all()


def test_a_second_run_finds_all_rows_there(shard: Path, tmp_path: Path) -> None:
    catalog, totals = read_hub_catalog([shard], "gz2"), []

    def run() -> int:
        fixed: dict[str, Any] = {"size": 28, "workers": 1, "threads": 1}
        store = extract_embeddings(
            catalog, "tiny", tmp_path / "s.h5", lambda *counts: totals.append(counts[2]), **fixed
        )
        assert store is not None
        store.close()
        return (tmp_path / "s.h5").stat().st_mtime_ns

    written, reports = run(), len(totals)
    assert set(totals) == {4}
    assert run() == written
    assert len(totals) == reports
