"""Zips of images, unpacked so that a kill at any moment costs one image at most."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo

from embeddings.errors import SommelierError
from extract.download.releases import ImageArchive, WrongFile, format_size

IMAGES = (".jpg", ".jpeg", ".png")
DAMAGE = (BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error)  # RuntimeError: encrypted


def count_images(path: Path, layout: ImageArchive) -> int:
    """
    How many images a zip holds; reads its table of contents only.

    Raises
    ------
    WrongFile
        When it is no zip, is cut short, or a member would land outside its folder.
    """
    try:
        with ZipFile(path) as archive:
            return len(_place_members(archive, layout))
    except DAMAGE as error:
        raise WrongFile(f"expected a zip of images, but it cannot be read as one ({error})") from error


def unpack_images(path: Path, layout: ImageArchive, folder: Path, report: Callable[[int, int], None]) -> int:
    """
    Unpack a zip's images; those that are there with the right size stay as they are.

    Parameters
    ----------
    path : Path
        The zip.
    layout : ImageArchive
    folder : Path
        The layout's folder is made below it.
    report : callable
        Called with the bytes that are there and those that there will be.

    Returns
    -------
    int
        The number of images, all of them there now.

    Raises
    ------
    SommelierError
        When the zip is damaged, the disk too small, or other files have the images' names.
    """
    try:
        with ZipFile(path) as archive:
            members = [(info, folder / layout.folder / name) for info, name in _place_members(archive, layout)]
            missing = _find_missing(path, members)
            total, left = (sum(info.file_size for info, _ in some) for some in (members, missing))
            (folder / layout.folder).mkdir(parents=True, exist_ok=True)
            require_space(folder / layout.folder, left, f"{path.name}, unpacked,")
            report(total - left, total)
            for info, target in missing:
                _unpack_member(archive, info, target)
                left -= info.file_size
                report(total - left, total)
    except (*DAMAGE, WrongFile) as error:
        raise SommelierError(
            f"{path} is damaged ({error}). Remove it and run the same command again; images that are unpacked stay."
        ) from error
    return len(members)


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise `SommelierError` unless the disk of a folder has room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SommelierError(
            f"{what} needs {format_size(needed)}, but {folder} has {format_size(free)} free. "
            "Free some space or choose another place; what was got is kept, run the same command again to go on."
        )


def _place_members(archive: ZipFile, layout: ImageArchive) -> list[tuple[ZipInfo, Path]]:
    """Each image with its path below the layout's folder; leaves out what macOS adds."""
    members: dict[Path, ZipInfo] = {}
    for info in archive.infolist():
        name = PurePosixPath(info.filename)
        if name.is_absolute() or ".." in name.parts or "\\" in info.filename:
            raise WrongFile(f"member {info.filename!r} would be written outside the folder")
        if info.is_dir() or name.suffix.lower() not in IMAGES or name.name.startswith("._") or "__MACOSX" in name.parts:
            continue
        place = Path(*name.parts[-layout.depth :])
        if place in members:
            raise WrongFile(f"two members would be written to {place}")
        members[place] = info
    return [(info, place) for place, info in members.items()]


def _find_missing(path: Path, members: list[tuple[ZipInfo, Path]]) -> list[tuple[ZipInfo, Path]]:
    missing: list[tuple[ZipInfo, Path]] = []
    others: list[tuple[ZipInfo, Path]] = []
    for info, target in members:
        size = target.stat().st_size if target.exists() else None
        if size == info.file_size:
            continue
        (others if size else missing).append((info, target))  # empty: a power cut before its bytes were on disk
    if others:
        raise SommelierError(
            f"{len(others)} images ({others[0][1]} ...) are there with another size than in {path.name}: unpacking "
            "would overwrite them. Move them away, or remove them if they were unpacked by halves, and run the same "
            "command again."
        )
    return missing


def _unpack_member(archive: ZipFile, info: ZipInfo, target: Path) -> None:
    temporary = f"{target.parent}/.{target.name}.tmp"
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(info) as source, open(temporary, "wb") as out:
        shutil.copyfileobj(source, out, 2**20)  # checks the member's CRC at its end
    os.replace(temporary, target)
