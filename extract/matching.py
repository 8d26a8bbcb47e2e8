"""Which galaxies of two catalogs lie at the same place, and whether their labels agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from embeddings.errors import CatalogError
from embeddings.files import refuse_overwrite, replace_file
from embeddings.questions import list_targets
from extract.catalog import Catalog

FORMAT = "galaxy-sommelier/pairs"

Array = np.ndarray[Any, Any]


def match_catalogs(a: Catalog, b: Catalog, radius: float = 2.0) -> pd.DataFrame:
    """
    All pairs of galaxies closer than a radius on the sky.

    Parameters
    ----------
    a, b : Catalog
        The same one twice finds what it holds twice, each pair once.
    radius : float
        In arcsec.

    Returns
    -------
    DataFrame
        ``id_a, survey_a, id_b, survey_b, separation_arcsec``, by rows of `a`, then nearest first.

    Raises
    ------
    CatalogError
        When a catalog has no positions at all: nothing can be said then, which is not the same as no pair.
    """
    if not radius > 0:
        raise CatalogError(f"the radius is {radius}; it is a positive number of arcsec.")
    rows_a, rows_b, separation = _find_pairs(a, b, radius)
    if a is b:
        once = rows_a < rows_b
        rows_a, rows_b, separation = rows_a[once], rows_b[once], separation[once]
    order = np.lexsort((separation, rows_a))
    rows_a, rows_b = rows_a[order], rows_b[order]
    return pd.DataFrame(
        {
            "id_a": a.frame["id_str"].to_numpy(dtype=object)[rows_a],
            "survey_a": a.frame["survey"].to_numpy(dtype=object)[rows_a],
            "id_b": b.frame["id_str"].to_numpy(dtype=object)[rows_b],
            "survey_b": b.frame["survey"].to_numpy(dtype=object)[rows_b],
            "separation_arcsec": separation[order],
        }
    )


def _find_pairs(a: Catalog, b: Catalog, radius: float) -> tuple[Array, Array, Array]:
    """Rows of both and arcsec between them."""
    places, rows = [], []
    for name, catalog in (("first", a), ("second", b)):
        known = np.flatnonzero(has_position(catalog))
        if not len(known):
            raise CatalogError(
                f"the {name} catalog ({', '.join(catalog.surveys)}) has no positions: whether galaxies are in both "
                "cannot be told from the sky. UKIDSS gets its positions from --crosswalk and --positions."
            )
        places.append(catalog.frame[["ra", "dec"]].to_numpy(dtype=np.float64)[known])
        rows.append(known)
    found_a, found_b, separation = find_near(places[0], places[1], radius)
    return rows[0][found_a], rows[1][found_b], separation


def find_near(a: Array, b: Array, radius: float) -> tuple[Array, Array, Array]:
    """
    All pairs of places closer than a radius (astropy's k-d tree).

    Parameters
    ----------
    a, b : (n_a, 2), (n_b, 2) arrays
        Right ascension and declination in degrees; at least one place each.
    radius : float
        In arcsec.

    Returns
    -------
    rows_a, rows_b : (n_pairs,) int arrays
    separation : (n_pairs,) array
        In arcsec.
    """
    import astropy.units as u
    from astropy.coordinates import SkyCoord, search_around_sky

    places = [SkyCoord(sky[:, 0] * u.deg, sky[:, 1] * u.deg) for sky in (a, b)]
    rows_a, rows_b, separation, _ = search_around_sky(*places, radius * u.arcsec)
    return rows_a, rows_b, separation.to_value(u.arcsec)


def has_position(catalog: Catalog) -> Array:
    """Which galaxies have a position, (n_galaxies,) bool."""
    sky = catalog.frame[["ra", "dec"]].to_numpy(dtype=np.float64)
    return np.asarray(np.isfinite(sky).all(axis=1))


def compare_labels(a: Catalog, b: Catalog, pairs: pd.DataFrame) -> list[dict[str, Any]]:
    """
    How well the labels of matched galaxies agree.

    Returns
    -------
    list of dict
        For each target of a question that both ask alike: ``target, r`` (Pearson; None of fewer than 3), ``n``,
        ``mean_a, mean_b``.
    """
    shared = [question for question in a.questions if question in b.questions]
    rows = []
    for catalog, side in ((a, "a"), (b, "b")):
        place = pd.Series(np.arange(len(catalog)), index=catalog.frame["id_str"])
        rows.append(place.loc[pairs[f"id_{side}"]].to_numpy())
    scores = []
    columns = [column for question in shared for column in question.target_columns]
    for target, column in zip(list_targets(shared), columns, strict=True):
        x, y = (catalog.frame[column].to_numpy(dtype=np.float64)[r] for catalog, r in zip((a, b), rows, strict=True))
        both = np.isfinite(x) & np.isfinite(y)
        x, y = x[both], y[both]
        varied = len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0
        scores.append(
            {
                "target": target,
                "r": float(np.corrcoef(x, y)[0, 1]) if varied else None,
                "n": len(x),
                "mean_a": float(x.mean()) if len(x) else None,
                "mean_b": float(y.mean()) if len(y) else None,
            }
        )
    return scores


def describe_pairs(a: Catalog, b: Catalog, pairs: pd.DataFrame) -> dict[str, int]:
    """Pairs, galaxies in them, galaxies in more than one, and galaxies that could not be checked, by side."""
    counts = {"pairs": len(pairs)}
    for catalog, side in ((a, "a"), (b, "b")):
        times = pairs[f"id_{side}"].value_counts()
        counts[f"galaxies_{side}"] = len(times)
        counts[f"repeated_{side}"] = int((times > 1).sum())
        counts[f"unplaced_{side}"] = int((~has_position(catalog)).sum())
    return counts


def write_pairs(path: Path, pairs: pd.DataFrame, *inputs: Path) -> None:
    """Write pairs as Parquet; nothing but such pairs is replaced."""
    refuse_overwrite(path, *inputs, mark=FORMAT)
    table = pa.Table.from_pandas(pairs, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), "format": FORMAT})
    with replace_file(path) as temporary:
        pq.write_table(table, temporary)
