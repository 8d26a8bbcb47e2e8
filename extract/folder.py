"""Image files below a folder, found once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

JUNK = "__MACOSX"  # what macOS puts into archives, beside ._ files


def walk_files(root: Path, suffixes: Sequence[str]) -> Iterator[str]:
    """
    Paths below a folder, in order, with these endings; hidden files and macOS's junk are passed over.

    Links to folders are followed, each folder once.
    """
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != JUNK)
        place = os.path.realpath(folder)
        if place in seen:
            folders[:] = []
            continue
        seen.add(place)
        below = os.path.relpath(folder, root)
        start = "" if below == "." else below.replace(os.sep, "/") + "/"
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(tuple(suffixes)):
                yield start + name


class ImageFolder:
    """
    The images below a folder, by their names.

    Releases unpack in several ways (``images/``, ``gz_decals_dr5_png_part3/J133/``); what they agree on is the end.
    """

    def __init__(self, root: Path, suffixes: Sequence[str]) -> None:
        self.root = root
        self._places: dict[str, list[str]] = {}
        for path in walk_files(root, suffixes):
            stem, dot, _ = path[path.rfind("/") + 1 :].rpartition(".")
            self._places.setdefault(stem if dot else path, []).append(path)

    def locate(self, expected: Iterable[str], ending: str, anywhere: bool) -> tuple[list[str], list[bool]]:
        """
        Where images are, whatever kind of image they are.

        Parameters
        ----------
        expected : iterable of str
            Folder and name as the release has them, without the ending; empty where it names none.
        ending : str
            Of the release's images, for those that are not there.
        anywhere : bool
            Whether the name alone tells an image (``J133536.70-015758.9``); numbers (``1003``) name many things, and
            are only taken from the release's folder, or from the root itself.

        Returns
        -------
        paths : list of str
            Below the root; as expected where there is no file.
        there : list of bool
        """
        if not self._places:  # a table alone: hundreds of thousands of names need not be looked up
            paths = [name + ending if name else "" for name in expected]
            return paths, [False] * len(paths)
        paths, there = [], []
        for name in expected:
            places = self._places.get(name[name.rfind("/") + 1 :], ())
            found = _choose(places, name, ending, anywhere) if places else ""
            paths.append(found or (name + ending if name else ""))
            there.append(bool(found))
        return paths, there


def _choose(places: Sequence[str], name: str, ending: str, anywhere: bool) -> str:
    """Of several files of one name, the one in the folder, and of the kind, that is expected."""
    good = [place for place in places if f"/{place[: place.rfind('.')]}".endswith(f"/{name}")]
    good = good or [place for place in places if anywhere or "/" not in place]
    return min(good, key=lambda place: not place.endswith(ending), default="")
