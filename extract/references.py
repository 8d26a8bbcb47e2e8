"""What a catalog's image column may say: a file, an extension of one, a file a band, a row of a Parquet table."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FITS_SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz", ".fits.fz")
BAND = "{band}"
_ENDINGS = "|".join(map(re.escape, FITS_SUFFIXES))
_EXTENSION = re.compile(rf"(?P<path>.+(?:{_ENDINGS}))\[(?P<extension>[^\[\]]+)\]", re.IGNORECASE)
_ROW = re.compile(r"(?P<path>.+\.parquet)#(?P<row>[0-9]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Reference:
    """
    One image, as a catalog names it.

    Parameters
    ----------
    path : str
        A file; with ``{band}`` in it, one file a band.
    extension : int or str, optional
        The FITS extension of ``file.fits[1]`` or ``file.fits[SCI]``.
    row : int, optional
        The row of ``shard.parquet#17``.
    """

    path: str
    extension: int | str | None = None
    row: int | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Take a catalog's entry apart."""
        if match := _ROW.fullmatch(text):
            return cls(match["path"], row=int(match["row"]))
        if match := _EXTENSION.fullmatch(text):
            extension = match["extension"]
            return cls(match["path"], int(extension) if extension.isdecimal() else extension)
        return cls(text)

    @property
    def is_fits(self) -> bool:
        """Whether it names FITS files."""
        return self.path.lower().endswith(FITS_SUFFIXES)

    def files(self, bands: Sequence[str]) -> list[str]:
        """The files of each band, or the one file."""
        return [self.path.replace(BAND, band) for band in bands] if BAND in self.path else [self.path]

    def describe_files(self, bands: Sequence[str]) -> list[tuple[int, int]]:
        """
        Size and time of change (ns) of each file, which tell another image from this one; -1 where none is.

        Where the bands are not known, of every file that could be one.
        """
        files = self.files(bands) if bands or BAND not in self.path else sorted(map(str, self._find_bands()))
        return [_describe_file(file) for file in files]

    def exists(self) -> bool:
        """Whether there is a file; of several bands, whether there is any."""
        if BAND not in self.path:
            return os.path.isfile(self.path)
        return any(path.is_file() for path in self._find_bands())

    def _find_bands(self) -> Iterator[Path]:
        """Whatever has such a name, with anything in place of the band."""
        start, rest = self.path.split(BAND, 1)
        folder, slash, name = start.rpartition("/")
        pattern = (glob.escape(name) + "*" + glob.escape(rest)).replace(BAND, "*")
        yield from Path(folder + slash).glob(pattern)


def _describe_file(path: str) -> tuple[int, int]:
    try:
        stat = Path(path).stat()
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def strip_suffix(name: str, suffixes: Sequence[str]) -> str:
    """A file's name without its ending, ``.fits.gz`` counted as one."""
    for suffix in sorted(suffixes, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
