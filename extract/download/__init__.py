"""The files of a Galaxy Zoo release: fetched with pooch, resumed, checked, unpacked."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pooch
import pyarrow as pa
import pyarrow.parquet as pq

from embeddings.errors import SommelierError
from embeddings.files import sync_path
from embeddings.parts import FileLock
from extract.download.archives import count_images, unpack_images
from extract.download.releases import Release, ReleaseFile, WrongFile, find_release
from extract.download.transfer import Partial, Transfer

Report = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Download:
    """
    A file of a release that is there and was checked.

    Attributes
    ----------
    file : ReleaseFile
    path : Path
    fetched : bool
        False if it was there already.
    proof : str
        What it was checked by.
    doubt : str
        What is not as it is known to be, though the file is whole; empty if all is well.
    """

    file: ReleaseFile
    path: Path
    fetched: bool
    proof: str
    doubt: str = ""


def download_release(
    survey: str,
    folder: str | Path,
    images: bool = False,
    mirror: str | None = None,
    report: Report | None = None,
    names: Sequence[str] = (),
) -> list[Download]:
    """
    Fetch a release's files into a folder, or go on where an earlier run stopped.

    What is there already is checked and not fetched again. Where no address is known (ukidss), what is there is
    checked.

    Parameters
    ----------
    survey : str
        ``sdss``, ``decals`` or ``ukidss``.
    folder : str or Path
        Made if need be. A file on its way is called ``.NAME.part`` there.
    images : bool
        Fetch and unpack the images as well. The zips stay; without them a later run fetches them again.
    mirror : str, optional
        ``http(s)://HOST[/FOLDER]`` that is asked instead of the release's own servers, for the same paths.
    report : callable, optional
        Called with what is being done, the bytes that are there, and how many there will be (None: not known).

    names : sequence of str
        Only these files of the release; there are more than a catalog needs.

    Returns
    -------
    list of Download

    Raises
    ------
    SommelierError
        When a file cannot be had, is not the published one, or the disk is full. What was got is kept.
    """
    release, folder = find_release(survey), Path(folder)
    tell: Report = report or (lambda *_: None)
    if not any(file.url for file in release.files):
        return _check_what_is_there(release, folder)
    files = release.select(images, names)
    pooch.get_logger().setLevel("WARNING")
    with FileLock(folder / ".download.lock"):
        try:
            return [_obtain(file, release, folder, mirror, tell) for file in files]
        except OSError as error:
            raise SommelierError(
                f"{error.filename or folder}: {error.strerror or error}. What was got is kept; free some space or "
                "mend what is wrong, and run the same command again to go on from there."
            ) from error


def mirror_url(url: str, mirror: str | None) -> str:
    """
    The same path on another server.

    Raises
    ------
    SommelierError
        When the mirror is no http or https address.
    """
    if mirror is None:
        return url
    there, base = urlsplit(url), urlsplit(mirror)
    if base.scheme not in ("http", "https") or not base.netloc:
        raise SommelierError(f"the mirror {mirror!r} is no address. Give one like https://mirror.example.org")
    return urlunsplit((base.scheme, base.netloc, base.path.rstrip("/") + there.path, there.query, ""))


def check_file(file: ReleaseFile, path: Path) -> str:
    """
    Compare a file with what is known of it; reads it piece by piece.

    Returns
    -------
    str
        What it was checked by.

    Raises
    ------
    WrongFile
        When it is another file.
    """
    size = path.stat().st_size
    if file.size not in (None, size):
        raise WrongFile(f"expected {file.size} bytes, got {size}")
    if file.md5:
        found = pooch.file_hash(str(path), alg="md5")
        if found != file.md5:
            raise WrongFile(f"expected md5 {file.md5}, got {found}")
        return f"md5 {file.md5}"
    if file.archive:
        return f"{count_images(path, file.archive):,} images"
    if file.rows is not None:
        return _check_table(file, path)
    return f"{size:,} bytes"


def _obtain(file: ReleaseFile, release: Release, folder: Path, mirror: str | None, tell: Report) -> Download:
    target = folder / file.name
    there = target.exists()
    proof = _check_present(file, target) if there else _fetch(file, release, target, mirror, tell)
    Partial(target).discard()  # also that of a run that was killed after the file had its name
    doubt = ""
    if file.archive:
        there_now = unpack_images(target, file.archive, folder, partial(tell, f"unpack {file.name}"))
        if file.archive.images not in (None, there_now):
            doubt = f"{file.name} holds {there_now:,} images, {file.archive.images:,} are known; see {release.home}"
    return Download(file, target, not there, proof, doubt)


def _fetch(file: ReleaseFile, release: Release, target: Path, mirror: str | None, tell: Report) -> str:
    if file.url is None:
        raise SommelierError(f"no address of {file.name} is known; see {release.home}.")
    url, begun = mirror_url(file.url, mirror), Partial(target)
    proofs: list[str] = []
    transfer = Transfer(
        begun,
        check=lambda path: None if file.md5 else proofs.append(check_file(file, path)),  # a hash is pooch's to check
        report=partial(tell, file.name),
        room=2 if file.archive else 1,
    )
    registry = {file.name: f"md5:{file.md5}" if file.md5 else None}
    store = pooch.create(target.parent, base_url="", registry=registry, urls={file.name: url}, allow_updates=False)
    try:
        store.fetch(file.name, downloader=transfer)
    except (ValueError, WrongFile) as error:  # pooch's word for a wrong hash, and ours
        begun.discard()
        raise SommelierError(
            f"{url} is not the published {file.name}: {str(error).split('. Deleted')[0]}. It was not kept. Run the "
            f"same command to fetch it anew; if it says the same, look on {release.home} whether the file was replaced."
        ) from error
    finally:
        if not begun.size:
            begun.discard()
    sync_path(target.parent)
    return proofs[0] if proofs else f"md5 {file.md5}"


def _check_present(file: ReleaseFile, path: Path) -> str:
    try:
        return check_file(file, path)
    except WrongFile as error:
        raise SommelierError(
            f"{path} is there, but is not the published file: {error}. Move or remove it, and run the same command "
            "again."
        ) from error


def _check_what_is_there(release: Release, folder: Path) -> list[Download]:
    """Files that can be checked though nobody has written down where they lie."""
    there = [file for file in release.files if (folder / file.name).exists()]
    if not there:
        names = ", ".join(file.name for file in release.files)
        raise SommelierError(
            f"no address of the files of {release.title} is known, so they cannot be fetched. Take them from the "
            f"record that the paper names ({release.citations[0]}), put them into {folder} ({names}: as many as you "
            "have) and run the same command to have them checked; or get the Hugging Face dataset mwalmsley/gz_ukidss "
            "and read it with: sommelier catalog hf"
        )
    return [Download(file, folder / file.name, False, _check_present(file, folder / file.name)) for file in there]


def _check_table(file: ReleaseFile, path: Path) -> str:
    try:
        columns, rows = _measure_table(file.name, path)
    except (gzip.BadGzipFile, EOFError, zlib.error, csv.Error, pa.ArrowException) as error:
        raise WrongFile(f"expected a table of {file.rows:,} rows, but it cannot be read ({error})") from error
    missing = [name for name in file.columns if name not in columns]
    if missing:
        raise WrongFile(f"expected a column {missing[0]!r}, got {', '.join(columns)[:100]!r} ...")
    if rows != file.rows:
        raise WrongFile(f"expected {file.rows:,} rows, got {rows:,}")
    if file.n_columns not in (None, len(columns)):
        raise WrongFile(f"expected {file.n_columns} columns, got {len(columns)}")
    return f"{rows:,} rows, {len(columns)} columns"


def _measure_table(name: str, path: Path) -> tuple[list[str], int]:
    """Columns and number of rows of CSV or Parquet; the path may end otherwise than the name."""
    if name.endswith(".parquet"):
        with pq.ParquetFile(path) as table:
            return table.schema_arrow.names, table.metadata.num_rows
    with gzip.open(path) if name.endswith(".gz") else path.open("rb") as lines:
        header = next(csv.reader([next(lines, b"").decode(errors="replace")]))
        return header, sum(1 for line in lines if line.strip())
