"""Which rows are one galaxy."""

from __future__ import annotations

import hashlib
from itertools import combinations

import numpy as np
import pytest
from astropy.coordinates import angular_separation
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from embeddings.objects import group_galaxies, measure_separations

NAN = float("nan")
ARCSEC = 1 / 3600


def digests(texts: list[str]) -> np.ndarray:
    """A digest of zeros for an empty text."""
    raw = [hashlib.sha256(text.encode()).digest() if text else bytes(32) for text in texts]
    return np.frombuffer(b"".join(raw), np.uint8).reshape(-1, 32)


def group(
    ids: list[str] | None = None,
    ra: list[float] | None = None,
    dec: list[float] | None = None,
    images: list[str] | None = None,
    **options: float,
) -> list[list[int]]:
    """The groups as sorted lists of rows; what is not given is different in every row."""
    n = len(next(values for values in (ids, ra, images) if values is not None))
    groups = group_galaxies(
        np.array(ids if ids is not None else [f"g{row}" for row in range(n)]),
        np.array([NAN] * n if ra is None else ra),
        np.array([NAN] * n if dec is None else dec),
        digests([f"i{row}" for row in range(n)] if images is None else images),
        **options,
    )
    assert sorted(set(groups.tolist())) == list(range(len(set(groups.tolist()))))
    return sorted(np.flatnonzero(groups == number).tolist() for number in set(groups.tolist()))


def link(n: int, pairs: list[tuple[int, int]]) -> list[list[int]]:
    """The groups that some pairs make, by repeated merging."""
    groups = [{row} for row in range(n)]
    for a, b in pairs:
        joined = next(g for g in groups if a in g) | next(g for g in groups if b in g)
        groups = [g for g in groups if not g & joined] + [joined]
    return sorted(sorted(g) for g in groups)


def test_nothing_in_common() -> None:
    assert group(ids=["a", "b", "c"]) == [[0], [1], [2]]


def test_same_id() -> None:
    assert group(ids=["a", "b", "a"]) == [[0, 2], [1]]


def test_same_image_bytes() -> None:
    assert group(images=["x", "y", "x"]) == [[0, 2], [1]]


@pytest.mark.parametrize("byte", [0, 31])
def test_images_that_differ_in_one_byte_are_two(byte: int) -> None:
    images = np.zeros((3, 32), np.uint8)
    images[:, 15] = 1
    images[1, byte] = 1
    nowhere = np.full(3, NAN)
    groups = group_galaxies(np.array(["a", "b", "c"]), nowhere, nowhere, images)
    assert groups[0] == groups[2] != groups[1]


def test_digests_need_not_be_contiguous() -> None:
    images = np.repeat(digests(["x", "y", "x"]), 2, axis=1)[:, ::2]
    nowhere = np.full(3, NAN)
    groups = group_galaxies(np.array(["a", "b", "c"]), nowhere, nowhere, images)
    assert groups[0] == groups[2] != groups[1]


def test_digests_of_zeros_link_nothing() -> None:
    # zeros are written where there was no file
    assert group(images=["", "", "x", "", "x"]) == [[0], [1], [2, 4], [3]]
    assert group(ids=["a", "b", "a"], images=["", "", ""]) == [[0, 2], [1]]


@pytest.mark.parametrize(
    ("ra", "dec", "same"),
    [
        # 0.0002 degrees across RA 0 are 0.72 arcsec on the equator, 0.0006 are 2.16
        ((359.9999, 0.0001), (0, 0), True),
        ((359.9997, 0.0003), (0, 0), False),
        ((-0.0001, 359.9999), (0, 0), True),
        # 1.99 and 2.01 arcsec in declination
        ((180, 180), (30, 30 + 1.99 * ARCSEC), True),
        ((180, 180), (30, 30 + 2.01 * ARCSEC), False),
        # RA shrinks with cos(60 degrees) = 1/2: 3.9 arcsec of RA are 1.95 on the sky, 4.1 are 2.05
        ((10, 10 + 3.9 * ARCSEC), (60, 60), True),
        ((10, 10 + 4.1 * ARCSEC), (60, 60), False),
        # over the pole: 2 x 0.0001 degrees = 0.72 arcsec, 2 x 0.0003 = 2.16, whatever the RA says
        ((0, 180), (89.9999, 89.9999), True),
        ((0, 180), (89.9997, 89.9997), False),
        ((12, 300), (-90, -90), True),
        # the two poles are not close
        ((0, 0), (90, -90), False),
        # 0.05 degrees of RA: 180 arcsec on the equator, 0.03 where cos(dec) = 1.7e-4
        ((0, 0.05), (0, 0), False),
        ((0, 0.05), (89.99, 89.99), True),
    ],
)
def test_two_arcsec_on_the_sphere(ra: tuple[float, float], dec: tuple[float, float], same: bool) -> None:
    assert group(ra=list(ra), dec=list(dec)) == ([[0, 1]] if same else [[0], [1]])


def test_radius_is_an_option() -> None:
    assert group(ra=[0, 0], dec=[0, 5 * ARCSEC], radius=5.1) == [[0, 1]]


@pytest.mark.parametrize("hole", [NAN, float("inf")])
def test_unknown_positions_link_nothing(hole: float) -> None:
    assert group(ra=[hole, hole, 5, 5, 5], dec=[hole, hole, hole, 1, 1]) == [[0], [1], [2], [3, 4]]


def test_chain_of_positions() -> None:
    # 1.5 arcsec each: the ends are 3 arcsec apart and still one group
    assert group(ra=[7, 7, 7, 7], dec=[0, 1.5 * ARCSEC, 3 * ARCSEC, 1]) == [[0, 1, 2], [3]]


def test_chain_through_id_position_and_image() -> None:
    groups = group(
        ids=["a", "a", "b", "c", "d"],
        ra=[0, 50, 50, NAN, 100],
        dec=[0, 1, 1, NAN, 2],
        images=["i", "j", "k", "k", "l"],
    )
    # 0-1 by id, 1-2 by position, 2-3 by image bytes
    assert groups == [[0, 1, 2, 3], [4]]


def test_no_rows() -> None:
    groups = group_galaxies(np.empty(0, str), np.empty(0), np.empty(0), np.empty((0, 32), np.uint8))
    assert groups.shape == (0,)


rows = st.tuples(
    st.sampled_from("abcdefgh"), st.floats(-6, 6), st.floats(-6, 6), st.booleans(), st.sampled_from(["", *"pqrstuvw"])
)


@settings(deadline=None)
@given(st.lists(rows, min_size=1, max_size=12), st.sampled_from([(0, 0), (359.9999, 45), (123, 89.9995), (200, -89)]))
def test_groups_are_those_of_a_plain_loop(sky: list[tuple], centre: tuple[float, float]) -> None:
    n = len(sky)
    ids, images = [f"{row[0]}" for row in sky], [row[4] for row in sky]
    dec = np.array([min(90, centre[1] + row[2] * ARCSEC) for row in sky])
    ra = np.array([centre[0] + row[1] * ARCSEC / np.cos(np.radians(centre[1])) for row in sky]) % 360
    ra[[row[3] for row in sky]] = NAN

    apart = {
        (a, b): float(np.degrees(angular_separation(*np.radians([ra[a], dec[a], ra[b], dec[b]])))) / ARCSEC
        for a, b in combinations(range(n), 2)
    }
    assume(all(np.isnan(distance) or abs(distance - 2) > 1e-6 for distance in apart.values()))
    pairs = [
        (a, b)
        for a, b in apart
        if ids[a] == ids[b] or (images[a] and images[a] == images[b]) or apart[a, b] < 2  # NaN < 2 is False
    ]
    assert group(ids, ra.tolist(), dec.tolist(), images) == link(n, pairs)


@given(st.lists(st.tuples(st.floats(0, 360), st.floats(-90, 90), st.floats(0, 360), st.floats(-90, 90)), min_size=1))
def test_separations_are_astropys(places: list[tuple[float, float, float, float]]) -> None:
    ra, dec, other_ra, other_dec = np.array(places).T
    expected = np.degrees(angular_separation(*np.radians([ra, dec, other_ra, other_dec]))) * 3600
    np.testing.assert_allclose(measure_separations(ra, dec, other_ra, other_dec), expected, rtol=1e-6, atol=1e-2)


def test_separations_of_unknown_places_are_unknown() -> None:
    found = measure_separations(np.array([10.0, NAN]), np.array([0.0, 0.0]), 10.0 + ARCSEC, 0.0)
    np.testing.assert_allclose(found, [1, NAN], rtol=1e-9)
