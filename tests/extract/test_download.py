"""Releases arrive whole and checked, whatever the server, the network and the disk do; a kill costs nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from embeddings.errors import BusyError, SommelierError
from embeddings.parts import FileLock
from extract.download import Download, check_file, download_release, mirror_url
from extract.download.releases import RELEASES, ImageArchive, Release, ReleaseFile, WrongFile, find_release, format_size
from extract.download.transfer import CHUNK
from sommelier.download import _show_bytes, download
from tests.extract.server import Answer, Server, serve

ROOT = Path(__file__).parents[2]
Fetch = Callable[..., list[Download]]
ServeOnly = Callable[..., None]
usage = namedtuple("usage", "total used free")

# a release of three small files: a table without a hash, one with a hash, a zip of images

TABLE = b"objid,sample,asset_id\n" + b"".join(b"5877229817420%05d,original,%d\n" % (n, n) for n in range(15_000))
VOTES = random.Random(0).randbytes(300_000)
IMAGES = {f"{number}.jpg": random.Random(number).randbytes(5_000 + number) for number in range(30)}


def make_zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(ZipInfo(name), data)
    return buffer.getvalue()


JUNK = {"images/": b"", "images/._1.jpg": b"macOS", "__MACOSX/images/._2.jpg": b"macOS", "images/README.txt": b"hello"}
JUNK |= {"__MACOSX/images/3.jpg": b"macOS"}
ZIP = make_zip(JUNK | {f"images/{name}": data for name, data in IMAGES.items()})
DATA = {"table.csv": TABLE, "votes.parquet": VOTES, "images.zip": ZIP}


def name_url(name: str) -> str:
    return f"https://data.example.org/records/1/files/{name}?download=1"


TABLE_FILE = ReleaseFile(
    "table.csv", "a table", name_url("table.csv"), rows=15_000, n_columns=3, columns=("objid", "asset_id")
)
VOTES_FILE = ReleaseFile(
    "votes.parquet", "votes", name_url("votes.parquet"), about="0.3 MB", md5=hashlib.md5(VOTES).hexdigest()
)
ZIP_FILE = ReleaseFile("images.zip", "images", name_url("images.zip"), archive=ImageArchive("images", 1, len(IMAGES)))
SMALL = Release("Small Zoo", (TABLE_FILE, VOTES_FILE, ZIP_FILE), "https://example.org", "CC0", ("Me 2024",))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve() as served:
        for name, data in DATA.items():
            path = f"/records/1/files/{name}"
            served.files[path] = data
            served.versions[path] = {"ETag": f'"{hashlib.md5(data).hexdigest()}"'}
        yield served


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client would have slept; it does not."""
    slept: list[float] = []
    monkeypatch.setattr("extract.download.transfer.sleep", slept.append)
    return slept


@pytest.fixture
def serve_only(monkeypatch: pytest.MonkeyPatch) -> ServeOnly:
    """Make a release of just these files."""

    def put(*files: ReleaseFile) -> None:
        monkeypatch.setitem(RELEASES, "sdss", replace(SMALL, files=files))

    put(*SMALL.files)
    return put


@pytest.fixture
def fetch(server: Server, serve_only: ServeOnly, tmp_path: Path) -> Fetch:
    def get(**options: Any) -> list[Download]:
        return download_release("sdss", tmp_path / "to", mirror=server.url, **options)

    return get


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "to").mkdir()
    return tmp_path / "to"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def path_of(name: str) -> str:
    return f"/records/1/files/{name}"


def leave_partial(folder: Path, data: bytes, name: str = "table.csv", **note: Any) -> Path:
    """What an earlier run left."""
    part = folder / f".{name}.part"
    part.write_bytes(data)
    part.with_name(f"{part.name}.json").write_text(json.dumps(note))
    return part


# the records


def test_the_records_are_those_of_the_releases() -> None:
    """Typed again from the releases' own pages."""
    files = {file.name: file for release in RELEASES.values() for file in release.files}
    assert {name: file.md5 for name, file in files.items() if file.md5} == {
        "gz_decals_volunteers_1_and_2.parquet": "e9de511cbd5977e02c81cbdb5d21b7c2",
        "gz_decals_volunteers_5.parquet": "364d0b598b7d2958553350c5ce0ffc14",
        "gz_decals_volunteers_1_and_2.csv": "f1be080ac22269fb5ea4e12ddefb8b11",
        "gz_decals_volunteers_5.csv": "b12e3767b3968f9767d4f4115cc69d4d",
        "gz_decals_auto_posteriors.csv": "5cc06cc0e2d44b5c0eb5c60231530b67",
        "gz_decals_auto_posteriors.parquet": "2e9f4b4fe9f3473a44f60aed0526911f",
        "ukidss_train_catalog.parquet": "8d84de1a1f33556f83470ce0c22c979b",
        "ukidss_test_catalog.parquet": "f64b850e941b09546df5aca84b708fb4",
        "images.tar.xz": "d4586af013b1543753346544b4703711",
    }
    assert {name: file.rows for name, file in files.items() if file.rows} == {
        "gz2_hart16.csv.gz": 239695,
        "gz2_filename_mapping.csv": 355990,
        "gz_decals_volunteers_1_and_2.parquet": 92960,
        "gz_decals_volunteers_5.parquet": 253286,
        "gz_decals_volunteers_1_and_2.csv": 92960,
        "gz_decals_volunteers_5.csv": 253286,
        "ukidss_catalog.parquet": 70845,
        "ukidss_catalog.csv": 70845,
        "ukidss_train_catalog.parquet": 56676,
        "ukidss_test_catalog.parquet": 14169,
    }
    zenodo = "https://zenodo.org/records/{}/files/{}?download=1"
    decals = [name for name in files if name.startswith("gz_decals") or name == "schema.md"]
    assert {name: file.url for name, file in files.items() if file.url} == {
        "gz2_hart16.csv.gz": "https://gz2hart.s3.amazonaws.com/gz2_hart16.csv.gz",
        "gz2_filename_mapping.csv": zenodo.format(3565489, "gz2_filename_mapping.csv"),
        "images_gz2.zip": zenodo.format(3565489, "images_gz2.zip"),
    } | {name: zenodo.format(4573248, name) for name in decals}
    assert len(decals) == 11
    assert files["gz2_hart16.csv.gz"].n_columns == 231
    assert files["gz2_filename_mapping.csv"].columns == ("objid", "sample", "asset_id")
    assert files["images_gz2.zip"].archive == ImageArchive("images", 1, 243434)
    assert {file.size for file in files.values()} == {None}  # no record gives a size to the byte


def test_images_are_fetched_only_when_wanted() -> None:
    assert [file.name for file in find_release("sdss").select(images=False)] == [
        "gz2_hart16.csv.gz",
        "gz2_filename_mapping.csv",
    ]
    assert [file.name for file in find_release("decals").select(images=True)][2:] == [
        f"gz_decals_dr5_png_part{part}.zip" for part in (1, 2, 3, 4)
    ]


def test_files_by_their_names() -> None:
    """The CSVs, the predictions and the description are not needed for a catalog, and come when they are asked for."""
    decals = find_release("decals")
    assert [file.name for file in decals.select()] == [
        "gz_decals_volunteers_1_and_2.parquet",
        "gz_decals_volunteers_5.parquet",
    ]
    assert [file.name for file in decals.select(names=["schema.md"])] == ["schema.md"]
    with pytest.raises(SommelierError, match=r"no file 'schema.txt'\. Did you mean 'schema.md'"):
        decals.select(names=["schema.txt"])


def test_an_unknown_survey(tmp_path: Path) -> None:
    with pytest.raises(SommelierError, match=r"'decal' is known\. Did you mean 'decals'"):
        download_release("decal", tmp_path)


def test_sizes_for_people() -> None:
    assert [format_size(n) for n in (0, 999, 18_700_000, 3_400_000_000, 104 * 10**9, 5 * 10**15)] == [
        "0 B", "999 B", "18.7 MB", "3.4 GB", "104.0 GB", "5000.0 TB",
    ]  # fmt: skip


# all goes well


def test_a_release_is_fetched_checked_and_unpacked(fetch: Fetch, server: Server, tmp_path: Path) -> None:
    steps: dict[str, list[tuple[int, int | None]]] = {}
    done = fetch(images=True, report=lambda what, have, total: steps.setdefault(what, []).append((have, total)))
    folder = tmp_path / "to"
    assert names(folder) == {*DATA, "images"}
    assert {name: (folder / name).read_bytes() for name in DATA} == DATA
    assert {path.name: path.read_bytes() for path in (folder / "images").iterdir()} == IMAGES
    assert [(one.file.name, one.path, one.fetched, one.proof, one.doubt) for one in done] == [
        ("table.csv", folder / "table.csv", True, "15,000 rows, 3 columns", ""),
        ("votes.parquet", folder / "votes.parquet", True, f"md5 {VOTES_FILE.md5}", ""),
        ("images.zip", folder / "images.zip", True, "30 images", ""),
    ]
    assert [asked.path for asked in server.asked] == [f"{path_of(name)}?download=1" for name in DATA]
    assert list(steps) == ["table.csv", "votes.parquet", "images.zip", "unpack images.zip"]
    for what, data in DATA.items():
        assert steps[what][0] == (0, len(data))
        assert steps[what][-1] == (len(data), len(data))
        assert steps[what] == sorted(steps[what])
    unpacked = sum(map(len, IMAGES.values()))
    assert steps["unpack images.zip"][0] == (0, unpacked)
    assert steps["unpack images.zip"][-1] == (unpacked, unpacked)
    assert (folder / "table.csv").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_what_is_there_is_not_fetched_again(fetch: Fetch, server: Server) -> None:
    fetch(images=True)
    server.asked.clear()
    again = fetch(images=True)
    assert server.asked == []
    assert [(one.fetched, one.proof) for one in again] == [
        (False, "15,000 rows, 3 columns"),
        (False, f"md5 {VOTES_FILE.md5}"),
        (False, "30 images"),
    ]


def test_the_release_layout_of_decals(fetch: Fetch, server: Server, serve_only: ServeOnly, tmp_path: Path) -> None:
    """The last two parts of a member's name, whatever folders the zip has above them."""
    server.files[path_of("images.zip")] = make_zip({"a/b/J004/J0045.png": b"one", "J005/J0056.png": b"two"})
    serve_only(replace(ZIP_FILE, archive=ImageArchive("gz_decals_dr5_png_part1", 2)))
    fetch(images=True)
    root = tmp_path / "to" / "gz_decals_dr5_png_part1"
    assert (root / "J004/J0045.png").read_bytes() == b"one"
    assert (root / "J005/J0056.png").read_bytes() == b"two"


def test_a_disk_without_hard_links(fetch: Fetch, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    fetch(images=True)
    assert names(folder) == {*DATA, "images"}
    assert (folder / "votes.parquet").read_bytes() == VOTES


def test_two_at_once(fetch: Fetch, server: Server, folder: Path) -> None:
    with FileLock(folder / ".download.lock"), pytest.raises(BusyError, match="is at work here"):
        fetch()
    assert server.asked == []


# interruptions


@pytest.mark.parametrize("version", [{"ETag": '"abc"'}, {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, {}])
def test_a_broken_transfer_goes_on_where_it_stopped(
    version: dict[str, str], fetch: Fetch, server: Server, folder: Path, waits: list[float]
) -> None:
    server.versions[path_of("table.csv")] = version
    server.answers = [Answer(cut=200_000), Answer(cut=100_000), Answer(), Answer()]
    fetch()
    assert (folder / "table.csv").read_bytes() == TABLE
    first, second, third, _ = server.asked
    assert (first.range, first.if_range, first.status) == (None, None, 200)
    begun = 0
    for asked, before in ((second, first), (third, second)):
        start = int((asked.range or "").removeprefix("bytes=").removesuffix("-"))
        assert begun + before.sent - CHUNK < start <= begun + before.sent
        assert (asked.if_range, asked.status) == (next(iter(version.values()), None), 206)
        begun = start
    assert third.sent == len(TABLE) - begun
    assert waits == [1, 1]  # each time more had come: the wait does not grow


def test_giving_up_keeps_what_was_got_and_the_next_run_goes_on(
    fetch: Fetch, server: Server, folder: Path, waits: list[float]
) -> None:
    server.answers = [Answer(cut=200_000), *[Answer(502)] * 4]
    with pytest.raises(SommelierError) as problem:
        fetch()
    assert waits == [1, 2, 4, 8]
    part = folder / ".table.csv.part"
    assert names(folder) == {part.name, f"{part.name}.json"}
    kept = part.stat().st_size
    assert 200_000 - CHUNK < kept <= 200_000
    assert TABLE.startswith(part.read_bytes())
    assert str(problem.value) == (
        f"{server.url}{path_of('table.csv')}?download=1 could not be fetched: the server answers 502 Bad Gateway (5 "
        f"tries without progress). {kept / 1000:.1f} kB of {len(TABLE) / 1000:.1f} kB are kept; run the same command "
        "again to go on from there."
    )
    server.asked.clear()
    fetch()
    assert (server.asked[0].range, server.asked[0].sent) == (f"bytes={kept}-", len(TABLE) - kept)
    assert (folder / "table.csv").read_bytes() == TABLE


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(
    status: int, fetch: Fetch, server: Server, waits: list[float], folder: Path
) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    server.answers = [
        Answer(status, {"Retry-After": "7"}),
        Answer(status),
        Answer(status, {"Retry-After": later}),
        Answer(status, {"Retry-After": "soon"}),
    ]
    fetch()
    assert waits[:2] == [7, 2]
    assert 90 < waits[2] <= 100
    assert waits[3] == 8
    assert (folder / "table.csv").read_bytes() == TABLE


def test_who_asks_for_an_hour_is_left_alone(fetch: Fetch, server: Server, waits: list[float]) -> None:
    server.answers = [Answer(429, {"Retry-After": "3600"})]
    with pytest.raises(
        SommelierError, match=r"answers 429 Too Many Requests and asks to wait 60 minutes .*Run the same"
    ):
        fetch()
    assert (len(server.asked), waits) == (1, [])


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_file_that_is_not_there(status: int, fetch: Fetch, server: Server, waits: list[float], folder: Path) -> None:
    server.answers = [Answer(status)]
    with pytest.raises(SommelierError, match=rf"table\.csv\?download=1: the server answers {status} .*release's page"):
        fetch()
    assert (len(server.asked), waits) == (1, [])
    assert not (folder / "table.csv").exists()


def test_nobody_listens(serve_only: ServeOnly, tmp_path: Path, waits: list[float]) -> None:
    with serve() as gone:
        pass
    with pytest.raises(
        SommelierError, match=r"could not be fetched: no answer .*refused\) \(5 tries without progress\)\. Run"
    ):
        download_release("sdss", tmp_path, mirror=gone.url)
    assert waits == [1, 2, 4, 8]


def test_a_server_without_ranges(fetch: Fetch, server: Server, folder: Path) -> None:
    server.ranges = False
    server.answers = [Answer(cut=200_000), Answer()]
    fetch()
    assert (folder / "table.csv").read_bytes() == TABLE
    assert [asked.status for asked in server.asked[:2]] == [200, 200]
    assert server.asked[1].range is not None


def test_a_server_without_ranges_that_always_breaks_is_given_up(fetch: Fetch, server: Server) -> None:
    """Bytes come each time, but never more than before."""
    server.ranges = False
    server.answers = [Answer(cut=200_000)] * 50
    with pytest.raises(SommelierError, match=r"the connection broke .*5 tries without progress"):
        fetch()
    assert len(server.asked) == 5


def test_a_server_that_falls_silent(
    fetch: Fetch, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extract.download.transfer.TIMEOUT", (5, 0.1))
    server.answers = [Answer(cut=200_000, stall=0.5)]
    fetch()
    assert server.asked[1].status == 206
    assert (folder / "table.csv").read_bytes() == TABLE


@pytest.mark.parametrize("heeds", [True, False], ids=["heeds If-Range", "ignores If-Range"])
def test_a_file_that_changed_is_begun_again(heeds: bool, fetch: Fetch, server: Server, folder: Path) -> None:
    """Never the head of one version with the tail of another."""
    server.conditions = heeds
    old = TABLE.replace(b"original", b"stripe82")  # as long, with as many rows
    server.answers = [Answer(cut=200_000, headers={"ETag": '"old"'}, data=old)]
    fetch()
    assert (folder / "table.csv").read_bytes() == TABLE
    assert server.asked[1].if_range == '"old"'
    assert server.asked[1 if heeds else 2].status == 200


def test_another_length_is_another_file(fetch: Fetch, server: Server, serve_only: ServeOnly, folder: Path) -> None:
    """A server that names no versions: the size gives it away."""
    server.versions.clear()
    serve_only(TABLE_FILE)
    leave_partial(folder, b"x" * 1000, total=len(TABLE) + 1)
    fetch()
    assert [(asked.range, asked.status) for asked in server.asked] == [("bytes=1000-", 206), (None, 200)]
    assert (folder / "table.csv").read_bytes() == TABLE


@pytest.mark.parametrize(
    "note",
    [{}, {"version": "", "total": None}, {"version": '"v"', "total": 10}, {"total": "many"}, "nonsense", None],
    ids=["empty", "nothing", "too small", "text", "no object", "lost"],
)
def test_a_partial_of_unknown_origin_is_begun_again(note: Any, fetch: Fetch, server: Server, folder: Path) -> None:
    part = leave_partial(folder, b"x" * 1000)
    part.with_name(f"{part.name}.json").write_text(json.dumps(note))
    if note is None:
        part.with_name(f"{part.name}.json").unlink()
    fetch()
    assert server.asked[0].range is None
    assert (folder / "table.csv").read_bytes() == TABLE


def test_a_server_that_tells_neither_size_nor_version(fetch: Fetch, server: Server, folder: Path) -> None:
    server.versions.clear()
    server.lengths = False
    server.answers = [Answer(cut=200_000)]
    seen: set[int | None] = set()
    fetch(report=lambda what, have, total: seen.add(total))
    assert [(asked.range, asked.status) for asked in server.asked[:2]] == [(None, 200), (None, 200)]
    assert (folder / "table.csv").read_bytes() == TABLE
    assert seen == {None}


def test_a_weak_etag_does_not_vouch_for_bytes(fetch: Fetch, server: Server, folder: Path) -> None:
    date = "Mon, 01 Jan 2024 00:00:00 GMT"
    server.versions[path_of("table.csv")] = {"ETag": 'W/"v"', "Last-Modified": date}
    server.answers = [Answer(cut=200_000)]
    fetch()
    assert (server.asked[1].if_range, server.asked[1].status) == (date, 206)
    assert (folder / "table.csv").read_bytes() == TABLE


def test_killed_while_the_whole_file_was_checked(fetch: Fetch, server: Server, folder: Path) -> None:
    """All of it had come: nothing is asked for."""
    part = leave_partial(folder, TABLE, version='"v"', total=len(TABLE))
    os.link(part, folder / "tmpab12cd34")  # pooch's name for it
    (folder / "tmpmine").write_text("of somebody else")
    fetch()
    assert [asked.path for asked in server.asked] == [f"{path_of('votes.parquet')}?download=1"]
    assert names(folder) == {"table.csv", "votes.parquet", "tmpmine"}
    assert (folder / "table.csv").read_bytes() == TABLE


def test_killed_before_the_last_tidying(fetch: Fetch, server: Server, folder: Path) -> None:
    (folder / "table.csv").write_bytes(TABLE)
    leave_partial(folder, TABLE, version='"v"', total=len(TABLE))
    fetch()
    assert names(folder) == {"table.csv", "votes.parquet"}
    assert len(server.asked) == 1


def test_nothing_is_left_to_send(fetch: Fetch, server: Server, folder: Path) -> None:
    """416: the size was not known, and all of it had come."""
    etag = server.versions[path_of("table.csv")]["ETag"]
    leave_partial(folder, TABLE, version=etag, total=None)
    fetch()
    assert [(asked.range, asked.status) for asked in server.asked[:1]] == [(f"bytes={len(TABLE)}-", 416)]
    assert (folder / "table.csv").read_bytes() == TABLE


def test_more_than_the_server_has(fetch: Fetch, server: Server, folder: Path) -> None:
    """416: what is there cannot be a part of it."""
    etag = server.versions[path_of("table.csv")]["ETag"]
    leave_partial(folder, TABLE + b"x", version=etag, total=None)
    fetch()
    assert [asked.status for asked in server.asked[:2]] == [416, 200]
    assert (folder / "table.csv").read_bytes() == TABLE


# kills; in a process that forks, which imports once for all its children

TRIALS = "from tests.extract.test_download import {0}; {0}(*__import__('sys').argv[1:])"


def run_trials(function: str, *words: object) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", TRIALS.format(function), *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout.splitlines()[-1])


def start(url: str, folder: Path, prepare: Callable[[], None] = lambda: None) -> int:
    child = os.fork()
    if child == 0:
        try:
            prepare()
            RELEASES["sdss"] = SMALL
            download_release("sdss", folder, images=True, mirror=url)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
    return child


def check_whole(folder: Path) -> None:
    """Whatever has its final name is whole, at any moment."""
    for name, data in DATA.items():
        assert not (folder / name).exists() or (folder / name).read_bytes() == data, name
    for name, data in IMAGES.items():
        image = folder / "images" / name
        assert not image.exists() or image.read_bytes() == data, name


def finish(url: str, folder: Path) -> None:
    assert os.waitpid(start(url, folder), 0)[1] == 0
    check_whole(folder)
    assert {path.name for path in (folder / "images").iterdir()} == set(IMAGES)
    assert names(folder) >= {*DATA, "images"}
    left = names(folder) - {*DATA, "images"}  # a kill in the instant between two calls leaves an empty file
    assert all(name.startswith("tmp") and (folder / name).stat().st_size == 0 for name in left), left


def kill_in_the_middle(url: str, folder_name: str) -> None:
    """Kill once some of the first file is there, then run to the end."""
    folder = Path(folder_name)
    child = start(url, folder)
    part = folder / ".table.csv.part"
    while not part.exists() or part.stat().st_size < 2 * CHUNK:
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    kept = part.stat().st_size
    finish(url, folder)
    print(kept)


def kill_often(url: str, folder_name: str, n_kills: str) -> None:
    """Kill at random moments, several times in a row, before it may run to the end."""
    random.seed(0)
    killed = 0
    for number in range(int(n_kills)):
        folder = Path(folder_name) / f"{number // 5}"
        child = start(url, folder)
        time.sleep(random.uniform(0.01, 0.06))
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        check_whole(folder)
        if number % 5 == 4:
            finish(url, folder)
    print(killed)


def kill_at_each_step(url: str, folder_name: str) -> None:
    """Kill just before and just after each call that changes names on disk."""
    missed = []
    for point in ("os.link", "os.rename", "os.replace", "pathlib.Path.unlink", "pathlib.Path.write_text"):
        for count in (1, 2, 3, 4, 5):
            for after in (False, True):
                if not kill_at(url, Path(folder_name) / f"{point}-{after}-{count}", point, after, count):
                    missed.append(f"{point} {count}")
    print(json.dumps(missed))


def kill_at(url: str, folder: Path, point: str, after: bool, count: int) -> bool:
    """Kill at the `count`-th call of a function; then everything must end well."""
    module, _, name = point.rpartition(".")
    owner: Any = sys.modules.get(module, Path)

    def prepare() -> None:
        original, calls = getattr(owner, name), []

        def deadly(*args: Any, **options: Any) -> Any:
            calls.append(1)
            if len(calls) < count:
                return original(*args, **options)
            if after:
                original(*args, **options)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(owner, name, deadly)

    status = os.waitpid(start(url, folder, prepare), 0)[1]
    check_whole(folder)
    finish(url, folder)
    return os.WIFSIGNALED(status)


def fill_disk(url: str, folder_name: str) -> None:
    """No file may grow beyond 150,000 bytes: the system says so in the middle of a write."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    folder = Path(folder_name)
    error = io.StringIO()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            limit()
            RELEASES["sdss"] = SMALL
            download_release("sdss", folder, mirror=url)
        except SommelierError as problem:
            os.write(writer, str(problem).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with open(reader) as pipe:
        error.write(pipe.read())
    left = {path.name: path.stat().st_size for path in folder.iterdir()}
    finish(url, folder)
    print(json.dumps([error.getvalue(), left]))


def test_a_killed_run_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.pause = 0.002
    kept = run_trials("kill_in_the_middle", server.url, tmp_path / "to")
    assert kept >= 2 * CHUNK
    asked = [asked for asked in server.asked if "table.csv" in asked.path]
    assert [one.range for one in asked] == [None, f"bytes={kept}-"]
    assert asked[1].sent == len(TABLE) - kept


def test_kills_at_any_moment(server: Server, tmp_path: Path) -> None:
    server.pause = 0.004
    assert run_trials("kill_often", server.url, tmp_path, 40) >= 20
    assert any(asked.status == 206 for asked in server.asked)


def test_kills_at_each_step(server: Server, tmp_path: Path) -> None:
    """Three files, so three links and three renames; each name is removed and replaced more often."""
    assert run_trials("kill_at_each_step", server.url, tmp_path) == [
        f"{point} {count}" for point in ("os.link", "os.rename") for count in (4, 4, 5, 5)
    ] + [f"pathlib.Path.write_text {count}" for count in (4, 4, 5, 5)]


# disks


def test_a_disk_that_fills_up(server: Server, tmp_path: Path) -> None:
    said, left = run_trials("fill_disk", server.url, tmp_path / "to")
    assert said == (
        f"{tmp_path / 'to'}: File too large. What was got is kept; free some space or mend what is wrong, and run the "
        "same command again to go on from there."
    )
    assert left.pop(".table.csv.part.json") > 0
    assert left == {".table.csv.part": 150_000}
    asked = [asked for asked in server.asked if "table.csv" in asked.path]
    assert [one.range for one in asked] == [None, "bytes=150000-"]


def test_room_is_looked_for_before_anything_is_written(
    fetch: Fetch, serve_only: ServeOnly, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    free = 2 * len(ZIP) - 1
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(0, 0, free))
    serve_only(ZIP_FILE)
    with pytest.raises(
        SommelierError,
        match=r"images\.zip needs 0\.3 MB, but .*to has 0\.3 MB free\. Free some".replace("0\\.3 MB", r"[\d.]+ kB"),
    ):
        fetch(images=True)
    assert names(folder) == set()
    serve_only(replace(ZIP_FILE, archive=None))  # a file that is not unpacked needs half of that
    fetch()


def test_what_is_there_needs_no_room(
    fetch: Fetch, server: Server, serve_only: ServeOnly, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    serve_only(TABLE_FILE)
    leave_partial(folder, TABLE[:-100], version=server.versions[path_of("table.csv")]["ETag"], total=len(TABLE))
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(0, 0, 99))
    with pytest.raises(SommelierError, match=r"needs 100 B, but .* has 99 B free"):
        fetch()
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(0, 0, 100))
    fetch()
    assert (folder / "table.csv").read_bytes() == TABLE


def test_no_room_to_unpack(fetch: Fetch, monkeypatch: pytest.MonkeyPatch, folder: Path, serve_only: ServeOnly) -> None:
    serve_only(ZIP_FILE)
    (folder / "images.zip").write_bytes(ZIP)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(0, 0, 1000))
    with pytest.raises(SommelierError, match=r"images\.zip, unpacked, needs 150\.4 kB, but .*images has 1\.0 kB free"):
        fetch(images=True)
    assert list((folder / "images").iterdir()) == []


def test_a_folder_that_is_a_file(serve_only: ServeOnly, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SommelierError, match="file"):
        download_release("sdss", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


# other files than the published ones


def test_a_wrong_hash(fetch: Fetch, server: Server, serve_only: ServeOnly, folder: Path) -> None:
    serve_only(replace(VOTES_FILE, md5="0" * 32))
    for _ in range(2):  # and nothing of it is resumed
        with pytest.raises(SommelierError) as problem:
            fetch()
        said = str(problem.value)
        assert said.startswith(
            f"{server.url}{path_of('votes.parquet')}?download=1 is not the published votes.parquet: "
        )
        assert f"expected md5:{'0' * 32} but got {VOTES_FILE.md5}. It was not kept. Run the same command" in said
        assert "https://example.org" in said
        assert names(folder) == set()
    assert [asked.range for asked in server.asked] == [None, None]


@pytest.mark.parametrize(
    ("file", "data", "reason"),
    [
        (TABLE_FILE, TABLE[:-1].rsplit(b"\n", 1)[0], "expected 15,000 rows, got 14,999"),
        (TABLE_FILE, TABLE.replace(b"asset_id", b"file", 1), "expected a column 'asset_id', got 'objid, sample, file'"),
        (replace(TABLE_FILE, n_columns=4), TABLE, "expected 4 columns, got 3"),
        (TABLE_FILE, b"<html>Log in to the network</html>", "expected a column 'objid', got '<html>Log in"),
        (TABLE_FILE, b"", "expected a column 'objid', got ''"),
        (replace(TABLE_FILE, size=5), TABLE, f"expected 5 bytes, got {len(TABLE)}"),
        (replace(TABLE_FILE, name="table.csv.gz"), gzip.compress(TABLE)[:-50], "expected a table of 15,000 rows, but"),
        (replace(TABLE_FILE, name="table.csv.gz"), TABLE, "expected a table of 15,000 rows, but .*Not a gzipped"),
        (replace(TABLE_FILE, name="table.parquet"), TABLE, "expected a table of 15,000 rows, but"),
        (ZIP_FILE, ZIP[:-30], "expected a zip of images, but it cannot be read as one"),
        (ZIP_FILE, b"<html></html>", "expected a zip of images, but it cannot be read as one"),
    ],
)
def test_files_without_a_hash_are_held_against_what_is_known(
    file: ReleaseFile, data: bytes, reason: str, fetch: Fetch, server: Server, serve_only: ServeOnly, folder: Path
) -> None:
    """Fetched: not kept. There already: left alone."""
    serve_only(file)
    server.files[str(file.url).removeprefix("https://data.example.org").split("?")[0]] = data
    with pytest.raises(SommelierError, match=rf"is not the published {file.name}: {reason}.*It was not kept"):
        fetch(images=True)
    assert names(folder) == set()
    (folder / file.name).write_bytes(data)
    server.asked.clear()
    with pytest.raises(
        SommelierError, match=rf"to/{file.name} is there, but is not the published file: {reason}.*Move or remove it"
    ):
        fetch(images=True)
    assert server.asked == []
    assert (folder / file.name).read_bytes() == data


def test_a_file_that_is_there_with_another_hash_is_left_alone(
    fetch: Fetch, server: Server, serve_only: ServeOnly, folder: Path
) -> None:
    serve_only(VOTES_FILE)
    (folder / "votes.parquet").write_bytes(b"mine")
    mine = hashlib.md5(b"mine").hexdigest()
    with pytest.raises(SommelierError, match=f"expected md5 {VOTES_FILE.md5}, got {mine}. Move or remove it"):
        fetch()
    assert (folder / "votes.parquet").read_bytes() == b"mine"
    assert server.asked == []


def test_rows_of_each_kind_of_table(tmp_path: Path) -> None:
    tables = {"a.csv": TABLE.rstrip(b"\n"), "a.csv.gz": gzip.compress(TABLE + b"\n\n")}
    pq.write_table(pa.table({"objid": range(15_000), "asset_id": range(15_000), "x": range(15_000)}), tmp_path / "part")
    tables["a.parquet"] = (tmp_path / "part").read_bytes()
    for name, data in tables.items():
        (tmp_path / "part").write_bytes(data)  # the name decides, not that of the partial
        assert check_file(replace(TABLE_FILE, name=name), tmp_path / "part") == "15,000 rows, 3 columns"


def test_counting_rows_needs_little_memory(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "wide.csv.gz", "wb", compresslevel=1) as file:
        file.write(b"objid,asset_id,x\n")
        for _ in range(100):
            file.write((b"1,2," + b"7" * 2000 + b"\n") * 100)
    wide = replace(TABLE_FILE, name="wide.csv.gz", rows=10_000)
    tracemalloc.start()
    check_file(wide, tmp_path / "wide.csv.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000  # of 20 MB


# unpacking


def test_unpacking_goes_on_where_it_stopped(fetch: Fetch, server: Server, folder: Path) -> None:
    fetch(images=True)
    images = folder / "images"
    (images / "3.jpg").unlink()
    (images / "4.jpg").write_bytes(b"")  # its bytes were lost in a power cut
    (images / ".5.jpg.tmp").write_bytes(b"half")  # a kill while 5.jpg was written
    (images / "5.jpg").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in images.glob("?.jpg")}
    steps: list[int] = []
    fetch(images=True, report=lambda what, have, total: steps.append(have))
    assert {path.name: path.read_bytes() for path in images.iterdir()} == IMAGES
    changed = {name for name, when in before.items() if (images / name).stat().st_mtime_ns != when}
    assert changed == {"4.jpg"}
    sizes = [len(IMAGES[name]) for name in ("3.jpg", "4.jpg", "5.jpg")]
    everything = sum(map(len, IMAGES.values()))
    assert steps == [everything - sum(sizes), everything - sum(sizes[1:]), everything - sizes[2], everything]


def test_somebody_elses_images_are_not_overwritten(fetch: Fetch, folder: Path) -> None:
    (folder / "images").mkdir()
    (folder / "images" / "7.jpg").write_bytes(b"mine")
    with pytest.raises(SommelierError, match=r"1 images \(.*7\.jpg \.\.\.\) are there with another size .*overwrite"):
        fetch(images=True)
    assert names(folder / "images") == {"7.jpg"}
    assert (folder / "images" / "7.jpg").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ("../evil.jpg", "outside the folder"),
        ("images/../../evil.jpg", "outside the folder"),
        ("/tmp/evil.jpg", "outside the folder"),
        ("..\\evil.jpg", "outside the folder"),
        ("other/1.jpg", r"two members would be written to 1\.jpg"),
    ],
)
def test_a_zip_that_writes_where_it_must_not(
    member: str, reason: str, fetch: Fetch, server: Server, folder: Path
) -> None:
    server.files[path_of("images.zip")] = make_zip({"images/1.jpg": b"good", member: b"evil"})
    with pytest.raises(SommelierError, match=f"is not the published images.zip: .*{reason}"):
        fetch(images=True)
    assert names(folder) == {"table.csv", "votes.parquet"}
    assert not list(folder.parent.rglob("*evil*"))


def test_a_damaged_member(fetch: Fetch, server: Server, folder: Path) -> None:
    """The table of contents is whole, but an image's bytes are not: the images before it stay."""
    at = ZIP.index(IMAGES["9.jpg"])
    server.files[path_of("images.zip")] = ZIP[:at] + b"\0\0\0\0" + ZIP[at + 4 :]
    with pytest.raises(
        SommelierError, match=r"images\.zip is damaged \(Bad CRC-32 .*9\.jpg.*Remove it and run the same"
    ):
        fetch(images=True)
    assert {path.name for path in (folder / "images").glob("*.jpg")} == {f"{number}.jpg" for number in range(9)}
    (folder / "images.zip").unlink()
    server.files[path_of("images.zip")] = ZIP
    fetch(images=True)
    assert {path.name: path.read_bytes() for path in (folder / "images").iterdir()} == IMAGES


def test_another_number_of_images_is_said(fetch: Fetch, serve_only: ServeOnly) -> None:
    serve_only(replace(ZIP_FILE, archive=ImageArchive("images", 1, 31)))
    assert [one.doubt for one in fetch(images=True)] == [
        "images.zip holds 30 images, 31 are known; see https://example.org"
    ]


# mirrors


def test_a_mirror_has_the_same_paths() -> None:
    url = "https://zenodo.org/records/1/files/a.csv?download=1"
    assert mirror_url(url, None) == url
    assert mirror_url(url, "http://m.org:8000") == "http://m.org:8000/records/1/files/a.csv?download=1"
    assert mirror_url(url, "https://m.org/zoo/") == "https://m.org/zoo/records/1/files/a.csv?download=1"


@pytest.mark.parametrize("mirror", ["m.org", "ftp://m.org", "/data/mirror", ""])
def test_a_mirror_that_is_no_address(mirror: str, serve_only: ServeOnly, tmp_path: Path) -> None:
    with pytest.raises(SommelierError, match=r"is no address\. Give one like https://"):
        download_release("sdss", tmp_path, mirror=mirror)


# UKIDSS, whose files nobody has told where to get


def test_ukidss_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(SommelierError) as problem:
        download_release("ukidss", tmp_path / "none", mirror="http://127.0.0.1:9")
    said = str(problem.value)
    for part in ("arXiv:2408.10160", "10.3847/2515-5172/ad6f10", "mwalmsley/gz_ukidss", "sommelier catalog hf"):
        assert part in said
    assert "http" not in said  # no address is made up
    assert not (tmp_path / "none").exists()


def test_ukidss_files_that_are_there_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"filename": [f"{n}.jpg" for n in range(70_845)]})
    pq.write_table(table, tmp_path / "ukidss_catalog.parquet")
    (tmp_path / "ukidss_catalog.csv").write_text("filename\n" + "x.jpg\n" * 70_845)
    before = names(tmp_path)
    done = download_release("ukidss", tmp_path, images=True)
    assert [(one.file.name, one.fetched, one.proof) for one in done] == [
        ("ukidss_catalog.parquet", False, "70,845 rows, 1 columns"),
        ("ukidss_catalog.csv", False, "70,845 rows, 1 columns"),
    ]
    assert names(tmp_path) == before
    (tmp_path / "images.tar.xz").write_bytes(b"other")
    with pytest.raises(
        SommelierError, match=r"images\.tar\.xz is there, .*expected md5 d4586af013b1543753346544b4703711"
    ):
        download_release("ukidss", tmp_path)


def test_a_hash_is_enough(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(VOTES)
    assert check_file(VOTES_FILE, tmp_path / "a") == f"md5 {VOTES_FILE.md5}"
    with pytest.raises(WrongFile, match="got"):
        check_file(replace(VOTES_FILE, md5="1" * 32), tmp_path / "a")
    assert check_file(ReleaseFile("a", ""), tmp_path / "a") == "300,000 bytes"


# the command


def test_the_command_fetches_and_says_how_to_cite(server: Server, serve_only: ServeOnly, tmp_path: Path) -> None:
    folder = tmp_path / "my zoo"
    words = ["sdss", "--to", str(folder), "--images", "--mirror", server.url]
    result = CliRunner().invoke(download, words)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"Small Zoo, 3 files to {folder}",
        "  table.csv: a table (size not known)",
        "  votes.parquet: votes (0.3 MB)",
        "  images.zip: images (size not known)",
        f"{folder}/table.csv: fetched, 15,000 rows, 3 columns",
        f"{folder}/votes.parquet: fetched, md5 {VOTES_FILE.md5}",
        f"{folder}/images.zip: fetched, 30 images",
        "Licence: CC0",
        "Cite: Me 2024",
        f"Next: sommelier catalog sdss '{folder}' -o sdss.parquet",
    ]
    assert result.stderr == ""
    assert "was there, 30 images" in CliRunner().invoke(download, words).output


def test_the_command_names_every_release() -> None:
    (survey,) = [parameter for parameter in download.params if parameter.name == "survey"]
    assert list(survey.type.choices) == list(RELEASES)  # type: ignore[attr-defined]
    for release in RELEASES.values():
        assert release.licence
        assert release.citations
    assert "MNRAS 435, 2835" in RELEASES["sdss"].citations[0]
    assert "MNRAS 461, 3663" in RELEASES["sdss"].citations[1]
    assert "see the record" in RELEASES["sdss"].licence
    assert RELEASES["decals"].licence == "CC-BY-4.0"
    assert "10.5281/zenodo.4573248" in " ".join(RELEASES["decals"].citations)


def test_the_command_says_what_is_doubtful(server: Server, serve_only: ServeOnly, tmp_path: Path) -> None:
    serve_only(replace(ZIP_FILE, archive=ImageArchive("images", 1, 31)))
    result = CliRunner().invoke(download, ["sdss", "--to", str(tmp_path / "to"), "--images", "--mirror", server.url])
    assert "images.zip holds 30 images, 31 are known" in result.stderr


def test_ctrl_c_says_that_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("extract.download.download_release", stop)
    result = CliRunner().invoke(download, ["decals", "--to", str(tmp_path)])
    assert result.exit_code == 130
    assert "What was got is kept; run the same command to go on." in result.stderr


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with _show_bytes() as report:
        assert report is None
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with _show_bytes() as report:
        assert report is not None
        report("a.zip", 500_000, 1_000_000)
        report("a.zip", 1_000_000, 1_000_000)
        report("b.zip", 10, None)
    assert "a.zip" in terminal.getvalue()
    assert "1.0/1.0 MB" in terminal.getvalue()
    assert "b.zip" in terminal.getvalue()
