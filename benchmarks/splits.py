"""Who learns, chooses and is tested, over all surveys of a suite: cut once, kept in a file, told apart by a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embeddings.errors import SommelierError
from embeddings.files import refuse_overwrite, replace_file
from embeddings.objects import MATCH_RADIUS, group_galaxies
from embeddings.runs import PARTS, SPLIT_FORMAT
from embeddings.runs import Split as KnownSplit
from embeddings.store import EmbeddingStore
from heads.splits import choose_part, cut_in_order, hash_share, name_objects

Array = np.ndarray[Any, Any]
Method = Literal["hash", "blocks", "sequential"]
NSIDE = 8  # 768 blocks of 54 square degrees over the whole sky


@dataclass(frozen=True)
class SplitRecipe:
    """
    How galaxies were divided.

    Attributes
    ----------
    method : {'hash', 'blocks', 'sequential'}
        By a hash of each sky object's name (its least id over all surveys), with the same shares in every survey; by a
        hash of HEALPix blocks of sky, so that neighbours are on one side (Gorski et al. 2005, ApJ 622, 759); or each
        survey in the order of its rows as the reference study did, whatever they show.
    val, test : float
        Shares.
    seed : int
    radius : float
        Arcsec, within which two rows are one sky object.
    nside : int
        Of the blocks, a power of 2.
    """

    method: Method = "hash"
    val: float = 0.1
    test: float = 0.2
    seed: int = 0
    radius: float = MATCH_RADIUS
    nside: int = NSIDE

    def __post_init__(self) -> None:
        if self.method not in ("hash", "blocks", "sequential"):
            raise SommelierError(f"a split is made by hash, blocks or sequential, not by {self.method!r}.")
        if not (self.test > 0 and self.val >= 0 and self.val + self.test < 1):
            raise SommelierError(
                f"val {self.val} and test {self.test} leave no training or no test galaxies: they are shares, test "
                "above 0 and both together below 1."
            )
        if self.nside < 1 or self.nside & (self.nside - 1):
            raise SommelierError(f"nside {self.nside} is not a power of 2, as nested HEALPix blocks need: try {NSIDE}.")

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        record = {name: getattr(self, name) for name in ("method", "val", "test", "seed", "radius")}
        return record | ({"nside": self.nside} if self.method == "blocks" else {})


@dataclass(frozen=True)
class SkySplit:
    """
    The part of every galaxy.

    Attributes
    ----------
    ids, surveys : (n_galaxies,) arrays of str
    ra, dec : (n_galaxies,) arrays
        Degrees ICRS, NaN where unknown.
    image_sha256 : (n_galaxies, 32) uint8 array
        Zeros where there was no image.
    groups : (n_galaxies,) int array
        Sky objects.
    parts : (n_galaxies,) array of {'train', 'val', 'test'}
    recipe : SplitRecipe
    """

    ids: Array
    surveys: Array
    ra: Array
    dec: Array
    image_sha256: Array
    groups: Array
    parts: Array
    recipe: SplitRecipe

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def digest(self) -> str:
        """Who is where, as 64 hex digits: the same for any order of galaxies, another when one changes its part."""
        rows = sorted(zip(self.surveys.tolist(), self.ids.tolist(), self.parts.tolist(), strict=True))
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    @property
    def names(self) -> list[str]:
        """Of each row, the name of its sky object."""
        return name_objects(self.ids, self.groups)

    def count(self) -> dict[str, dict[str, int]]:
        """Galaxies of each part, by survey."""
        return {
            str(survey): {part: int((self.parts[self.surveys == survey] == part).sum()) for part in PARTS}
            for survey in np.unique(self.surveys)
        }

    def find_parts(self, survey: str, ids: Array) -> Array:
        """
        The parts of some galaxies of a survey, (n_ids,).

        Raises
        ------
        SommelierError
            When the split does not know them.
        """
        own = self.surveys == survey
        known = dict(zip(self.ids[own].tolist(), self.parts[own].tolist(), strict=True))
        missing = [id_str for id_str in ids.tolist() if id_str not in known]
        if missing:
            raise SommelierError(
                f"the split does not know {len(missing)} of {len(ids)} galaxies of {survey}: {', '.join(missing[:3])}. "
                "Cut it again with all stores of the suite."
            )
        return np.array([known[id_str] for id_str in ids.tolist()])

    def write(self, file: Path) -> None:
        """
        Write Parquet that says it, with digest and recipe; a fine-tuning run takes it too (``split.file``).

        Raises
        ------
        StoreError
            When the file cannot be written, or holds something else.
        """
        refuse_overwrite(file, mark=SPLIT_FORMAT)
        known = KnownSplit(self.ids, self.surveys, self.ra, self.dec, self.image_sha256, self.parts)
        metadata = {"format": SPLIT_FORMAT, "digest": self.digest, "recipe": json.dumps(self.recipe.to_dict())}
        with replace_file(file) as temporary:
            pq.write_table(known.tabulate(self.groups).replace_schema_metadata(metadata), temporary)

    @classmethod
    def read(cls, file: Path) -> SkySplit:
        """
        Read what `write` wrote.

        Raises
        ------
        SommelierError
            When it is missing, damaged, or was changed since.
        """
        try:
            known = KnownSplit.read(file)
            table = pq.read_table(file, columns=["group"])
            metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
            recipe, digest = SplitRecipe(**json.loads(metadata["recipe"])), metadata["digest"]
            groups = table["group"].to_numpy()
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise SommelierError(
                f"{file} is no split of a benchmark: {error}. Restore a copy, or cut it anew."
            ) from error
        split = cls(known.ids, known.surveys, known.ra, known.dec, known.image_sha256, groups, known.parts, recipe)
        if split.digest != digest:
            raise SommelierError(
                f"{file} was changed after it was written: its digest is {split.digest[:12]}, not {digest[:12]}. "
                "Restore a copy, or cut it anew."
            )
        return split

    def require_same(self, other: SkySplit, what: str = "results") -> None:
        """
        Refuse to compare what different splits gave.

        Raises
        ------
        SommelierError
        """
        if self.digest == other.digest:
            return
        mine, theirs = (
            dict(zip(zip(s.surveys.tolist(), s.ids.tolist(), strict=True), s.parts.tolist(), strict=True))
            for s in (self, other)
        )
        both = mine.keys() & theirs.keys()
        moved = sum(mine[key] != theirs[key] for key in both)
        raise SommelierError(
            f"{what} of different splits cannot be compared ({self.digest[:12]} and {other.digest[:12]}): {moved} of "
            f"{len(both)} common galaxies are in another part, {len(mine.keys() ^ theirs.keys())} are in one alone. "
            "Run both with one split file."
        )


def cut_stores(stores: Sequence[EmbeddingStore], recipe: SplitRecipe) -> SkySplit:
    """
    Divide the galaxies of a suite's stores that have vectors, see `cut_split`.

    Parameters
    ----------
    stores : sequence of EmbeddingStore
        One a survey.
    recipe : SplitRecipe
    """
    columns = [
        [store.ids[store.ok], np.full(int(store.ok.sum()), store.survey)]
        + [store.dataset(name)[store.ok] for name in ("ra", "dec", "image_sha256")]
        for store in stores
    ]
    ids, surveys, ra, dec, images = (np.concatenate(values) for values in zip(*columns, strict=True))
    return cut_split(ids, surveys, ra, dec, images, recipe)


def cut_split(ids: Array, surveys: Array, ra: Array, dec: Array, image_sha256: Array, recipe: SplitRecipe) -> SkySplit:
    """
    Divide galaxies, all rows of one sky object on one side, over all surveys.

    Parameters
    ----------
    ids, surveys : (n_galaxies,) arrays of str
    ra, dec : (n_galaxies,) arrays
        Degrees ICRS, NaN where unknown.
    image_sha256 : (n_galaxies, 32) uint8 array
        Zeros where there is no image.
    recipe : SplitRecipe
        ``sequential`` does not keep sky objects together; the audit finds them.

    Raises
    ------
    SommelierError
        When a part comes out empty, or blocks are asked for and there are galaxies without a position.
    """
    groups = group_galaxies(ids, ra, dec, image_sha256, recipe.radius)
    split = SkySplit(ids, surveys, ra, dec, image_sha256, groups, np.full(len(ids), "train"), recipe)
    if recipe.method == "sequential":
        parts = np.full(len(ids), "train", object)
        for survey in np.unique(surveys):
            own = surveys == survey
            parts[own] = cut_in_order(int(own.sum()), recipe.val, recipe.test)
    else:
        parts = _cut_objects(split)
    for part, share in zip(PARTS, (1, recipe.val, recipe.test), strict=True):
        if share and not (parts == part).any():
            raise SommelierError(
                f"of {len(ids)} galaxies none is left for {part}: there are too few sky objects, or blocks. Give more "
                "galaxies, other shares, or a larger nside."
            )
    return replace(split, parts=parts.astype(str))


def _cut_objects(split: SkySplit) -> Array:
    """
    The part of each row by hash.

    Units (sky objects, or blocks of them) are taken in the order of their hashes, until the test share is full, then
    the validation share; objects within each stratum, the surveys that show them, so that each is shared alike.
    """
    names = np.array(split.names)
    _, first, rows = np.unique(names, return_index=True, return_inverse=True)
    if split.recipe.method == "blocks":
        units, strata = _find_blocks(split, rows)[first].astype(str), np.full(len(first), "")
    else:
        units, strata = names[first], _find_strata(split.surveys, rows)
    parts = np.empty(len(first), object)
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        unit, place, size = np.unique(units[own], return_inverse=True, return_counts=True)
        order = np.argsort([hash_share(f"{split.recipe.seed}/{name}") for name in unit.tolist()])
        share = np.empty(len(unit))
        share[order] = (np.cumsum(size[order]) - size[order] / 2) / size.sum()  # where its middle lies
        chosen = [choose_part(value, split.recipe.val, split.recipe.test) for value in share.tolist()]
        parts[own] = np.array(chosen, object)[place]
    return parts[rows]


def _find_strata(surveys: Array, rows: Array) -> Array:
    """The surveys that show each object, as one string; `rows` has the object of each row."""
    seen: list[set[str]] = [set() for _ in range(rows.max() + 1)]
    for survey, row in zip(surveys.tolist(), rows.tolist(), strict=True):
        seen[row].add(survey)
    return np.array(["+".join(sorted(names)) for names in seen])


def _find_blocks(split: SkySplit, rows: Array) -> Array:
    """The HEALPix number (nested, ICRS) of each row's object: where the row with the least id and a position lies."""
    from astropy import units
    from astropy_healpix import lonlat_to_healpix

    known = np.flatnonzero(np.isfinite(split.ra) & np.isfinite(split.dec))
    known = known[np.argsort(split.ids[known], kind="stable")]
    there, first = np.unique(rows[known], return_index=True)
    n_objects = rows.max() + 1
    if len(there) < n_objects:
        raise SommelierError(
            f"{n_objects - len(there)} of {n_objects} sky objects have no position, and lie in no block of sky. Give "
            "catalogs with ra and dec (catalog ukidss --crosswalk ... --positions ...), or split by hash."
        )
    chosen = known[first]
    lon, lat = split.ra[chosen] * units.deg, split.dec[chosen] * units.deg
    return np.asarray(lonlat_to_healpix(lon, lat, split.recipe.nside, order="nested"))[rows]
