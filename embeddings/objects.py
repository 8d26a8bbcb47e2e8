"""Which rows show one sky object."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

Array = np.ndarray[Any, Any]
MATCH_RADIUS = 2.0  # arcsec, as the reference study matched SDSS to DECaLS


def group_galaxies(ids: Array, ra: Array, dec: Array, image_sha256: Array, radius: float = MATCH_RADIUS) -> Array:
    """
    Give every row the number of its sky object.

    Rows belong together that share an id, lie within `radius` of each other, or show the same image bytes;
    and so do rows that are linked through others. A digest of zeros stands for no image and links nothing.

    Parameters
    ----------
    ids : (n_rows,) array of str
    ra, dec : (n_rows,) arrays
        Degrees ICRS, NaN where unknown.
    image_sha256 : (n_rows, 32) uint8 array
    radius : float
        Arcsec.

    Returns
    -------
    (n_rows,) int array
    """
    imaged = np.flatnonzero(image_sha256.any(axis=1))
    digests = np.ascontiguousarray(image_sha256[imaged]).view("V32").ravel()
    links = [_link_equal(ids), imaged[_link_equal(digests)], _link_near(ra, dec, radius)]
    rows, columns = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(len(ids), len(ids)))
    _, groups = connected_components(graph, directed=False)
    return np.asarray(groups)


def measure_separations(ra: Array, dec: Array, other_ra: Array | float, other_dec: Array | float) -> Array:
    """
    Angles on the sky, by the haversine formula, which stays exact where they are small.

    Parameters
    ----------
    ra, dec, other_ra, other_dec : (n,) arrays or float
        Degrees; NaN where not known.

    Returns
    -------
    (n,) array
        Arcsec.
    """
    longitude, latitude, other_longitude, other_latitude = map(np.radians, (ra, dec, other_ra, other_dec))
    square = np.sin((latitude - other_latitude) / 2) ** 2
    square += np.cos(latitude) * np.cos(other_latitude) * np.sin((longitude - other_longitude) / 2) ** 2
    return np.asarray(np.degrees(2 * np.arcsin(np.sqrt(np.minimum(square, 1)))) * 3600)


def _link_equal(values: Array) -> Array:
    """Each row to the first row of the same value, (2, n_rows)."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    return np.stack([np.arange(len(values)), first[inverse]])


def _link_near(ra: Array, dec: Array, radius: float) -> Array:
    """Pairs closer than `radius` arcsec, (2, n_pairs): a chord on the unit sphere is 2 sin(angle / 2)."""
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    a, d = np.radians(ra[known]), np.radians(dec[known])
    points = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=1)
    if not len(points):
        return np.empty((2, 0), np.int64)
    chord = 2 * np.sin(np.radians(radius / 3600) / 2)
    return np.asarray(known[cKDTree(points).query_pairs(chord, output_type="ndarray").T])
