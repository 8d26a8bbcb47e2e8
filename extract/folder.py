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

    Releases unpack in several ways (``images/``, ``gz_decals_dr5_png_part3/J133/``); what they agree on is the name.
    """

    def __init__(self, root: Path, suffixes: Sequence[str]) -> None:
        self.root = root
        self._places: dict[str, list[str]] = {}
        for path in walk_files(root, suffixes):
            self._places.setdefault(path.rpartition("/")[2], []).append(path)

    def locate(self, expected: Iterable[str], endings: Sequence[str]) -> tuple[list[str], list[bool]]:
        """
        Where images are.

        Parameters
        ----------
        expected : iterable of str
            Paths as the release has them, without their endings; empty where it names none.
        endings : sequence of str
            Tried in turn.

        Returns
        -------
        paths : list of str
            Below the root; as expected, with the first ending, where there is no file.
        there : list of bool
        """
        if not self._places:
            paths = [name + endings[0] if name else "" for name in expected]
            return paths, [False] * len(paths)
        paths, there = [], []
        for name in expected:
            found = ""
            for ending in endings:
                places = self._places.get(name[name.rfind("/") + 1 :] + ending)
                if places:  # of several files of one name, the one in the folder that is expected
                    wanted = f"/{name}{ending}"
                    found = next((place for place in places if f"/{place}".endswith(wanted)), places[0])
                    break
            paths.append(found or (name + endings[0] if name else ""))
            there.append(bool(found))
        return paths, there
