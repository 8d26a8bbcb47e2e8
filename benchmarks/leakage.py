"""The leakage audit: which galaxies of a test set are also in a training set, by whatever can tell."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.sides import Report, Side, hash_images, open_side, require_bands
from embeddings.duplicates import find_duplicates
from embeddings.errors import ProvenanceMismatch, SommelierError, StoreError
from embeddings.files import refuse_overwrite, replace_file
from embeddings.objects import MATCH_RADIUS, group_galaxies, measure_separations
from embeddings.search.rows import choose_space
from extract.matching import find_near
from extract.rendering import Rendering

Array = np.ndarray[Any, Any]
FORMAT = "galaxy-sommelier/leaks"
# arcsec that a frame reaches: 424 pixels of 0.02 Petrosian radii (r90) are that wide where r90 is 71 arcsec
FRAME = 600.0
SCHEMA = pa.schema(
    [*((f"{name}_{side}", pa.string()) for side in "ab" for name in ("id", "survey")),
     ("test", pa.string()), ("separation_arcsec", pa.float64()), ("similarity", pa.float64())],
    metadata={"format": FORMAT},
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """
    What one test found.

    Attributes
    ----------
    test : {'id', 'position', 'image', 'embedding'}
    how : str
        What counts as the same.
    a, b : (n_pairs,) int arrays
        Rows of the two sides.
    measure : (n_pairs,) array
        Arcsec of ``position``, cosine of ``embedding``; else empty.
    unchecked : (int, int)
        How many rows of each side lack what is compared.
    reason : str
        Why nothing could be tested; then nothing was found, which is not the same as none.
    apart : int
        Pairs that look alike and lie farther apart than a frame reaches, see `leave_apart`: not among the others.
    """

    test: str
    how: str
    a: Array = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    b: Array = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    measure: Array = field(default_factory=lambda: np.empty(0), repr=False)
    unchecked: tuple[int, int] = (0, 0)
    reason: str = ""
    apart: int = 0

    @property
    def checkable(self) -> bool:
        """Whether anything was tested."""
        return not self.reason


@dataclass(frozen=True)
class Audit:
    """
    Which galaxies of B are also in A.

    Attributes
    ----------
    a, b : Side
    findings : tuple of Finding
        One a test.
    objects : (n_rows_b,) int array
        The sky object of each row of B: same id, same place or same image bytes.
    radius : float
        Arcsec.
    """

    a: Side
    b: Side
    findings: tuple[Finding, ...]
    objects: Array = field(repr=False)
    radius: float = MATCH_RADIUS

    @property
    def leaked(self) -> Array:
        """(n_rows_b,) bool: the rows of B whose sky object any test found in A."""
        found = np.concatenate([finding.b for finding in self.findings])
        return np.isin(self.objects, self.objects[found])

    @property
    def complete(self) -> bool:
        """Whether every test could look at every row; otherwise there may be more than was found."""
        return all(finding.checkable and finding.unchecked == (0, 0) for finding in self.findings)

    def count(self, rows: Array) -> tuple[int, int]:
        """How many different rows of B, and sky objects in them."""
        return len(np.unique(rows)), len(np.unique(self.objects[rows]))

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; counts of what could not be tested are None, never 0."""
        tests = []
        for finding in self.findings:
            rows, objects = self.count(finding.b) if finding.checkable else (None, None)
            pairs = len(finding.b) if finding.checkable else None
            unchecked = dict(zip(("unchecked_a", "unchecked_b"), finding.unchecked, strict=True))
            tests.append(
                {"test": finding.test, "how": finding.how, "checkable": finding.checkable, "rows": rows,
                 "objects": objects, "pairs": pairs, "apart": finding.apart, **unchecked,
                 "reason": finding.reason or None}
            )  # fmt: skip
        rows, objects = self.count(np.flatnonzero(self.leaked))
        return {
            "a": self.a.to_dict(),
            "b": self.b.to_dict() | {"objects": len(np.unique(self.objects))},
            "radius_arcsec": self.radius,
            "tests": tests,
            "found": {"rows": rows, "objects": objects, "complete": self.complete},
            "notes": [*self.a.notes, *self.b.notes, *(note for one in self.findings for note in _tell_apart(one))],
        }

    def to_columns(self) -> dict[str, list[Any]]:
        """Every pair that a test found: ``id_a, survey_a, id_b, survey_b, test, separation_arcsec, similarity``."""
        columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
        measured = {"position": "separation_arcsec", "embedding": "similarity"}
        for finding in self.findings:
            for letter, side, rows in (("a", self.a, finding.a), ("b", self.b, finding.b)):
                columns[f"id_{letter}"] += side.ids[rows].tolist()
                columns[f"survey_{letter}"] += side.surveys[rows].tolist()
            columns["test"] += [finding.test] * len(finding.b)
            for test, name in measured.items():
                columns[name] += finding.measure.tolist() if test == finding.test else [None] * len(finding.b)
        return columns

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the pairs as Parquet; nothing but such a list is replaced."""
        path = Path(path)
        refuse_foreign_leaks(path, self.a.path, self.b.path)
        with replace_file(path) as temporary:
            pq.write_table(pa.table(self.to_columns(), schema=SCHEMA), temporary)
        return path


def _tell_apart(finding: Finding) -> Iterator[str]:
    if finding.apart:
        yield f"pairs that look alike more than {FRAME / 60:g} arcmin apart, other galaxies, left out: {finding.apart}"


def refuse_foreign_leaks(path: Path, *inputs: Path) -> None:
    """Raise unless a list of leaks may be written to a path: before the work, not after it."""
    refuse_overwrite(path, *(each for each in inputs if each.is_file()), mark=FORMAT)


def audit(
    a: str | os.PathLike[str] | Side,
    b: str | os.PathLike[str] | Side,
    radius: float = MATCH_RADIUS,
    layer: int = -1,
    pooling: str | None = None,
    random_state: int = 0,
    report: Report | None = None,
) -> Audit:
    """
    Look for the galaxies of B in A: by id, place, image bytes and embedding.

    Parameters
    ----------
    a, b : path or Side
        Stores or catalogs: what was learned from, and what is tested on. `a` may be the folder of a fine-tuning run,
        which stands for the galaxies that its backbone was trained on.
    radius : float
        Arcsec.
    layer, pooling
        The embedding, as in `EmbeddingStore.space`.
    random_state : int
        Of `find_duplicates`.
    report : callable, optional
        Called while a catalog's images are read, and while embeddings are compared, with rows done, failed, in all.

    Raises
    ------
    SommelierError
        When a side cannot be read, or the radius is none.
    """
    a, b = (side if isinstance(side, Side) else open_side(side) for side in (a, b))
    if b.kind == "run":
        raise SommelierError(f"{b.path} is a run: it can be what was trained on (A), not what is tested on (B).")
    if not 0 < radius < np.inf:
        raise SommelierError(f"the radius is {radius}; it is a positive number of arcsec.")
    images, digests = _compare_images(a, b, report)
    findings = (
        Finding("id", "equal ids", *_pair_equal(a.ids, b.ids)),
        _compare_places(a, b, radius),
        images,
        _compare_embeddings(a, b, layer, pooling, random_state, report),
    )
    return Audit(a, b, findings, group_galaxies(b.ids, b.ra, b.dec, digests, radius), radius)


def _pair_equal(a: Array, b: Array) -> tuple[Array, Array]:
    """The rows of equal values, each with each."""
    left, right = (pd.DataFrame({"value": v, side: np.arange(len(v))}) for v, side in ((a, "a"), (b, "b")))
    pairs = left.merge(right, on="value").sort_values(["b", "a"])
    return pairs["a"].to_numpy(), pairs["b"].to_numpy()


def _compare_places(a: Side, b: Side, radius: float) -> Finding:
    how = f"within {radius:g} arcsec"
    known = [np.flatnonzero(np.isfinite(side.places).all(axis=1)) for side in (a, b)]
    nowhere = [str(side.path) for side, rows in zip((a, b), known, strict=True) if not len(rows)]
    if nowhere:
        return Finding("position", how, reason=f"no positions in {' and '.join(nowhere)}")
    rows_a, rows_b, separation = find_near(a.places[known[0]], b.places[known[1]], radius)
    return Finding(
        "position", how, known[0][rows_a], known[1][rows_b], separation,
        (len(a) - len(known[0]), len(b) - len(known[1])),
    )  # fmt: skip


def _compare_images(a: Side, b: Side, report: Report | None) -> tuple[Finding, Array]:
    """Equal image bytes; and the digests of B, zeros where they are not known."""
    how, nothing = "equal image bytes (sha256)", np.zeros((len(b), 32), np.uint8)
    renderings = [side.rendering for side in (a, b) if side.rendering]
    try:
        _require_same_cut(renderings)
        rendering = next(iter(renderings), Rendering())
        for side in (a, b):
            require_bands(side, rendering)
    except SommelierError as error:
        return Finding("image", how, reason=str(error)), nothing if b.digests is None else b.digests
    digests = [hash_images(s, rendering, report) if s.digests is None else s.digests for s in (a, b)]
    known = [np.flatnonzero(each.any(axis=1)) for each in digests]
    blank = [str(side.path) for side, rows in zip((a, b), known, strict=True) if not len(rows)]
    if blank:
        return Finding("image", how, reason=f"no image can be read of {' and '.join(blank)}"), digests[1]
    texts = [[digest.tobytes() for digest in each[rows]] for each, rows in zip(digests, known, strict=True)]
    rows_a, rows_b = _pair_equal(*(np.array(text, object) for text in texts))
    unchecked = (len(a) - len(known[0]), len(b) - len(known[1]))
    return Finding("image", how, known[0][rows_a], known[1][rows_b], unchecked=unchecked), digests[1]


def _require_same_cut(renderings: list[Rendering]) -> None:
    """Raise where FITS images were cut out or put together in different ways: their digests differ all the same."""
    cuts = {(each.cutout, each.bands) for each in renderings}
    if len(cuts) > 1:
        ways = " and ".join(
            sorted(f"cut-out {cutout} arcsec, bands {','.join(bands) or '-'}" for cutout, bands in cuts)
        )
        raise SommelierError(f"their FITS images were read in different ways ({ways})")


def _compare_embeddings(
    a: Side, b: Side, layer: int, pooling: str | None, random_state: int, report: Report | None
) -> Finding:
    how = "near-identical embeddings"
    if a.store is None or b.store is None:
        without = [f"{name} is a {side.kind}" for name, side in (("A", a), ("B", b)) if side.store is None]
        return Finding("embedding", how, reason=f"only stores have embeddings: {' and '.join(without)}")
    if a.store.path.samefile(b.store.path):
        return Finding("embedding", how, reason="A and B are one store: every row is its own copy")
    try:
        space = choose_space([a.store, b.store], layer, pooling)
    except (ProvenanceMismatch, StoreError) as error:
        return Finding("embedding", how, reason=str(error))

    def tell(done: int, total: int) -> None:
        if report:
            report(done, 0, total)

    stores = [a.store, b.store]
    pairs = find_duplicates(stores, layer=layer, pooling=pooling, random_state=random_state, report=tell, between=True)
    kind = "whitened" if pairs.whitened else "plain"
    how = f"cosine of {kind} {space.name} at least {pairs.threshold:g}"
    found = Finding("embedding", how, pairs.a, pairs.b - len(a), pairs.similarity.astype(np.float64))
    return leave_apart(found, a.places, b.places)


def leave_apart(finding: Finding, a: Array, b: Array) -> Finding:
    """
    Of galaxies that look alike keep those that may be the same, or share a piece of sky.

    Vectors of small, round, faint galaxies are nearly the same without being of one image: where both places are known,
    they tell.

    Parameters
    ----------
    finding : Finding
    a, b : (n_rows, 2) arrays
        Right ascension and declination of the two sides, NaN where not known.
    """
    apart = measure_separations(*a[finding.a].T, *b[finding.b].T) > FRAME
    return replace(
        finding, a=finding.a[~apart], b=finding.b[~apart], measure=finding.measure[~apart], apart=int(apart.sum())
    )
