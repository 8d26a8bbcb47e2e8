"""Galaxy Zoo's releases: their files, where they lie, what they can be checked by, whom to cite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embeddings.errors import SommelierError, did_you_mean

GZ2_RECORD = "https://zenodo.org/records/3565489"
POSTERIORS = "gz_decals_auto_posteriors"
DECALS_RECORD = "https://zenodo.org/records/4573248"


class WrongFile(Exception):
    """A file that is not the published one; says what was expected and what was found."""


@dataclass(frozen=True)
class ImageArchive:
    """
    How a zip of images is laid out on disk.

    Attributes
    ----------
    folder : str
        Where the images go, below the release's folder.
    depth : int
        How many of the last parts of a member's name are kept: 1 is the file's name alone.
    images : int or None
        How many images are known to be in it.
    """

    folder: str
    depth: int
    images: int | None = None


@dataclass(frozen=True)
class ReleaseFile:
    """
    A published file and what is known of it; None is what nobody has written down.

    Attributes
    ----------
    name : str
        Its name in the release and on disk.
    what : str
        For people.
    url : str or None
        None where no address is known: such a file is checked, never fetched.
    about : str
        Its size as its record gives it, rounded.
    size : int or None
        Its size in bytes, where known to the byte.
    md5 : str or None
        As its record gives it.
    rows, n_columns : int or None
        Of a table.
    columns : tuple of str
        Some of a table's columns, which must be there.
    archive : ImageArchive or None
        For a zip of images, fetched and unpacked only on request.
    extra : bool
        Not needed for a catalog; fetched only by its name.
    """

    name: str
    what: str
    url: str | None = None
    about: str = "size not known"
    size: int | None = None
    md5: str | None = None
    rows: int | None = None
    n_columns: int | None = None
    columns: tuple[str, ...] = ()
    archive: ImageArchive | None = None
    extra: bool = False


@dataclass(frozen=True)
class Release:
    """
    What a survey's volunteers made.

    Attributes
    ----------
    title : str
    files : tuple of ReleaseFile
        In the order in which they are fetched.
    home : str
        The page or paper to look at when a file is not what it was.
    licence : str
    citations : tuple of str
    """

    title: str
    files: tuple[ReleaseFile, ...]
    home: str
    licence: str
    citations: tuple[str, ...]

    def select(self, images: bool = False, names: Sequence[str] = ()) -> list[ReleaseFile]:
        """
        The files of these names; without names the tables, and the archives of images if they are wanted.

        Raises
        ------
        SommelierError
            When there is none of a name.
        """
        known = {file.name: file for file in self.files}
        for name in names:
            if name not in known:
                raise SommelierError(f"{self.title} has no file {name!r}. {did_you_mean(name, known)}")
        if names:
            return [known[name] for name in names]
        return [file for file in self.files if not file.extra and (images or file.archive is None)]


GZ2 = Release(
    title="Galaxy Zoo 2 (SDSS)",
    files=(
        ReleaseFile(
            "gz2_hart16.csv.gz",
            "votes and debiased fractions of 239,695 galaxies",
            "https://gz2hart.s3.amazonaws.com/gz2_hart16.csv.gz",
            rows=239_695,
            n_columns=231,
            columns=("dr7objid", "ra", "dec", "total_votes"),
        ),
        ReleaseFile(
            "gz2_filename_mapping.csv",
            "which image belongs to which galaxy",
            f"{GZ2_RECORD}/files/gz2_filename_mapping.csv?download=1",
            rows=355_990,
            n_columns=3,
            columns=("objid", "sample", "asset_id"),
        ),
        ReleaseFile(
            "images_gz2.zip",
            "243,434 images, 424 x 424 JPEG; as much again unpacked",
            f"{GZ2_RECORD}/files/images_gz2.zip?download=1",
            about="about 3.4 GB",
            archive=ImageArchive("images", depth=1, images=243_434),
        ),
    ),
    home=GZ2_RECORD,
    licence=f"none that we know of is stated with the files; see the record: {GZ2_RECORD}",
    citations=("Willett et al. 2013, MNRAS 435, 2835", "Hart et al. 2016, MNRAS 461, 3663"),
)

DECALS = Release(
    title="Galaxy Zoo DECaLS",
    files=(
        ReleaseFile(
            "gz_decals_volunteers_1_and_2.parquet",
            "votes of campaigns 1 and 2, 92,960 galaxies",
            f"{DECALS_RECORD}/files/gz_decals_volunteers_1_and_2.parquet?download=1",
            about="18.7 MB",
            md5="e9de511cbd5977e02c81cbdb5d21b7c2",
            rows=92_960,
        ),
        ReleaseFile(
            "gz_decals_volunteers_5.parquet",
            "votes of campaign 5, 253,286 galaxies",
            f"{DECALS_RECORD}/files/gz_decals_volunteers_5.parquet?download=1",
            about="40.5 MB",
            md5="364d0b598b7d2958553350c5ce0ffc14",
            rows=253_286,
        ),
        *(
            ReleaseFile(
                f"gz_decals_dr5_png_part{part}.zip",
                f"images, part {part} of 4, 424 x 424 PNG; as much again unpacked",
                f"{DECALS_RECORD}/files/gz_decals_dr5_png_part{part}.zip?download=1",
                about="the four parts about 104 GB",
                archive=ImageArchive(f"gz_decals_dr5_png_part{part}", depth=2),
            )
            for part in (1, 2, 3, 4)
        ),
        *(
            ReleaseFile(
                name,
                what,
                f"{DECALS_RECORD}/files/{name}?download=1",
                about=about,
                md5=md5,
                rows=rows,
                extra=True,
            )
            for name, what, about, md5, rows in (
                ("gz_decals_volunteers_1_and_2.csv", "as CSV", "80.8 MB", "f1be080ac22269fb5ea4e12ddefb8b11", 92_960),
                ("gz_decals_volunteers_5.csv", "as CSV", "145.8 MB", "b12e3767b3968f9767d4f4115cc69d4d", 253_286),
                (f"{POSTERIORS}.parquet", "a model's predictions", "1.6 GB", "2e9f4b4fe9f3473a44f60aed0526911f", None),
                (f"{POSTERIORS}.csv", "the same as CSV", "2.6 GB", "5cc06cc0e2d44b5c0eb5c60231530b67", None),
                ("schema.md", "the columns described", "4.8 kB", None, None),
            )
        ),
    ),
    home=DECALS_RECORD,
    licence="CC-BY-4.0",
    citations=(
        "Walmsley et al. 2022, MNRAS 509, 3966, doi:10.1093/mnras/stab2093, arXiv:2102.08414",
        "the data: Zenodo, doi:10.5281/zenodo.4573248",
    ),
)

UKIDSS = Release(
    title="Galaxy Zoo UKIDSS",
    files=(
        ReleaseFile("ukidss_catalog.parquet", "votes of all 70,845 galaxies", rows=70_845),
        ReleaseFile("ukidss_catalog.csv", "votes of all 70,845 galaxies", rows=70_845),
        ReleaseFile(
            "ukidss_train_catalog.parquet",
            "votes of the 56,676 training galaxies",
            md5="8d84de1a1f33556f83470ce0c22c979b",
            rows=56_676,
        ),
        ReleaseFile(
            "ukidss_test_catalog.parquet",
            "votes of the 14,169 test galaxies",
            md5="f64b850e941b09546df5aca84b708fb4",
            rows=14_169,
        ),
        ReleaseFile("images.tar.xz", "the images", md5="d4586af013b1543753346544b4703711"),
    ),
    home="arXiv:2408.10160",
    licence="see the record that the paper names; the copy on Hugging Face, mwalmsley/gz_ukidss, is CC-BY-NC-SA-4.0",
    citations=("Masters et al. 2024, RNAAS, doi:10.3847/2515-5172/ad6f10, arXiv:2408.10160",),
)

RELEASES = {"sdss": GZ2, "decals": DECALS, "ukidss": UKIDSS}


def find_release(survey: str) -> Release:
    """
    The release of a survey's votes.

    Raises
    ------
    SommelierError
        When there is none of that name.
    """
    if survey not in RELEASES:
        raise SommelierError(f"no release of a survey {survey!r} is known. {did_you_mean(survey, RELEASES)}")
    return RELEASES[survey]


def format_size(size: int) -> str:
    """Bytes as the records' pages give them: 18.7 MB."""
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
