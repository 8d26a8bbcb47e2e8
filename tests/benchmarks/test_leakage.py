"""The audit against overlaps that were planted: all of them, nothing else, and nothing said of what cannot be told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.leakage import Audit, audit
from benchmarks.sides import Side
from embeddings.errors import RunError, SommelierError, StoreError
from embeddings.provenance import Provenance
from extract.catalog import Catalog, catalog_from_folder, catalog_from_table
from extract.simulation import simulate_sky
from extract.surveys import read_catalog
from tests.benchmarks.skies import write_sky
from tests.embeddings.conftest import PROVENANCE
from tests.embeddings.search.stores import draw_clusters, write_vectors
from tests.runs import write_record, write_split

ARCSEC = 1 / 3600
NAN = float("nan")


def by_test(found: Audit) -> dict[str, dict]:
    return {test["test"]: test for test in found.to_dict()["tests"]}


def counts(found: Audit) -> dict[str, int | None]:
    return {name: test["rows"] for name, test in by_test(found).items()}


def read_survey(folder: Path, survey: str, **options) -> Path:
    path = folder / f"{survey}.parquet"
    read_catalog(survey, folder / survey, **options).write(path)
    return path


# galaxies of one survey that were drawn from another's


def test_galaxies_drawn_from_another_survey_are_found_by_place_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sky(tmp_path, 12, 0, monkeypatch)
    sdss = read_survey(tmp_path, "sdss")
    walk = {"crosswalk": tmp_path / "ukidss/crosswalk.csv", "positions": sdss}
    ukidss = read_survey(tmp_path, "ukidss", **walk)
    found = audit(sdss, ukidss)
    assert counts(found) == {"id": 0, "position": 11, "image": 0, "embedding": None}
    # the crosswalk lacks the first subject: whether it is in SDSS is not known
    assert (by_test(found)["position"]["unchecked_a"], by_test(found)["position"]["unchecked_b"]) == (0, 1)
    assert found.to_dict()["found"] == {"rows": 11, "objects": 11, "complete": False}
    assert by_test(found)["embedding"]["reason"] == "only stores have embeddings: A is a catalog and B is a catalog"
    # pair by pair as the crosswalk has them
    crosswalk = pd.read_csv(tmp_path / "ukidss/crosswalk.csv", dtype=str)
    table = pd.DataFrame(found.to_columns())
    assert set(zip(table["id_b"], table["id_a"], strict=True)) == set(
        zip(crosswalk["subject_id"], crosswalk["dr7objid"], strict=True)
    )

    found = audit(sdss, read_survey(tmp_path, "ukidss"))  # as published, without a crosswalk
    assert counts(found) == {"id": 0, "position": None, "image": 0, "embedding": None}
    assert by_test(found)["position"]["reason"] == f"no positions in {ukidss}"


def test_the_simulated_skys_overlaps_are_found_exactly(tmp_path: Path) -> None:
    simulate_sky(tmp_path, 60, seed=3, size=32, workers=1)
    truth = pd.read_parquet(tmp_path / "truth.parquet")
    sdss, decals = read_survey(tmp_path, "sdss"), read_survey(tmp_path, "decals")
    ukidss = read_survey(tmp_path, "ukidss", crosswalk=next((tmp_path / "ukidss").glob("crosswalk*")), positions=sdss)
    for a, b, file in (("sdss", "ukidss", ukidss), ("sdss", "decals", decals), ("decals", "ukidss", ukidss)):
        first = sdss if a == "sdss" else decals
        planted = truth[truth[f"in_{a}"] & truth[f"in_{b}"]]
        found = audit(first, file)
        assert counts(found) == {"id": 0, "position": len(planted), "image": 0, "embedding": None}
        name = {"ukidss": "subject_id", "decals": "iauname"}[b]
        leaked = set(found.b.ids[found.leaked])
        assert leaked == set(planted[name])
    assert 0 < len(planted) < truth["in_ukidss"].sum()  # some are in DECaLS, others not


# each test alone


@pytest.fixture
def planted(tmp_path: Path) -> Audit:
    """
    Of eight galaxies of B four are also in A, each told by another test; one of them has two rows in B. Another
    looks like one of A, far away.
    """
    X = np.random.default_rng(1).normal(size=(108, 32))
    near, images = X[:100], np.random.default_rng(0).integers(1, 256, (108, 32)).astype(np.uint8)
    far = X[100:].copy()
    far[4], far[5] = near[4] * 1.01, near[5] * 1.01
    images[103] = images[3]
    ra_a, ra_b = 10 + np.arange(100) / 10, 200 + np.arange(8) / 10
    ra_b[1], ra_b[2] = ra_a[1] + 1.9 * ARCSEC, ra_a[2] + 2.1 * ARCSEC  # at the equator
    ra_b[4] = ra_a[4] + 300 * ARCSEC  # in the same frame, perhaps
    ra_b[7] = ra_b[4] + ARCSEC  # another row of that object
    ids = [f"south-{row}" for row in range(8)]
    ids[0] = "north-0"
    a = write_vectors(tmp_path / "a.h5", near, "north", ra=ra_a, dec=np.zeros(100), images=images[:100])
    b = write_vectors(tmp_path / "b.h5", far, "south", ids, ra=ra_b, dec=np.zeros(8), images=images[100:])
    return audit(a.path, b.path)


def test_every_test_finds_its_own(planted: Audit) -> None:
    assert counts(planted) == {"id": 1, "position": 1, "image": 1, "embedding": 1}
    assert planted.leaked.tolist() == [True, True, False, True, True, False, False, True]
    assert planted.to_dict()["found"] == {"rows": 5, "objects": 4, "complete": True}
    assert planted.to_dict()["b"]["objects"] == 7
    assert by_test(planted)["embedding"]["how"] == "cosine of whitened L2-cls at least 0.85"
    assert by_test(planted)["embedding"]["apart"] == 1
    assert planted.to_dict()["notes"] == [
        "pairs that look alike more than 10 arcmin apart, other galaxies, left out: 1"
    ]


def test_the_list_has_every_pair_and_what_was_measured(planted: Audit, tmp_path: Path) -> None:
    table = pd.read_parquet(planted.write(tmp_path / "leaks.parquet"))
    expected = ["id_a", "survey_a", "id_b", "survey_b", "test", "separation_arcsec", "similarity"]
    assert list(table) == expected
    assert table[expected[:5]].to_numpy().tolist() == [
        ["north-0", "north", "north-0", "south", "id"],
        ["north-1", "north", "south-1", "south", "position"],
        ["north-3", "north", "south-3", "south", "image"],
        ["north-4", "north", "south-4", "south", "embedding"],
    ]
    assert table["separation_arcsec"].to_numpy() == pytest.approx([NAN, 1.9, NAN, NAN], nan_ok=True, abs=1e-6)
    assert np.isnan(table["similarity"][:3]).all()
    assert 0.85 <= table["similarity"][3] <= 1
    planted.write(tmp_path / "leaks.parquet")  # its own kind is replaced
    (tmp_path / "notes.txt").write_text("mine")
    for foreign in (tmp_path / "a.h5", tmp_path / "notes.txt"):
        before = foreign.read_bytes()
        with pytest.raises(StoreError, match=r"would be lost|would lose it"):
            planted.write(foreign)
        assert foreign.read_bytes() == before


def test_the_radius_is_the_users(tmp_path: Path, planted: Audit) -> None:
    assert counts(audit(planted.a, planted.b, radius=2.2))["position"] == 2
    assert counts(audit(planted.a, planted.b, radius=1.8))["position"] == 0
    with pytest.raises(SommelierError, match="the radius is -1; it is a positive number of arcsec"):
        audit(planted.a, planted.b, radius=-1)


def test_a_catalog_is_compared_by_the_bytes_of_its_files(image_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    for new, old in (("x", "g03"), ("y", "g07")):
        (tmp_path / f"copies/{new}.png").write_bytes((image_folder / f"{old}.png").read_bytes())
    (tmp_path / "copies/z.png").write_bytes(b"no picture")
    catalog_from_folder(image_folder, "all").write(tmp_path / "all.parquet")
    copies = catalog_from_folder(tmp_path / "copies", "copies")
    copies.write(tmp_path / "copies.parquet")
    (tmp_path / "copies/z.png").unlink()
    done: list[tuple[int, int, int]] = []
    found = audit(tmp_path / "all.parquet", tmp_path / "copies.parquet", report=lambda *each: done.append(each))
    assert counts(found) == {"id": 0, "position": None, "image": 2, "embedding": None}
    assert pd.DataFrame(found.to_columns())[["id_a", "id_b"]].to_numpy().tolist() == [["g03", "x"], ["g07", "y"]]
    assert by_test(found)["image"]["unchecked_b"] == 1
    assert (40, 0, 40) in done
    assert done[-1] == (3, 1, 3)
    for name in ("x", "y"):
        (tmp_path / f"copies/{name}.png").unlink()
    found = audit(tmp_path / "all.parquet", tmp_path / "copies.parquet")
    assert by_test(found)["image"]["rows"] is None
    assert by_test(found)["image"]["reason"] == f"no image can be read of {tmp_path / 'copies.parquet'}"


KNOWN = st.tuples(st.sampled_from("abcde"), st.one_of(st.just(NAN), st.integers(0, 12)), st.integers(0, 4))


def make_side(name: str, rows: list[tuple[str, float, int]]) -> Side:
    """Ids, places on the equator in arcsec, images; image 0 is none."""
    digests = np.zeros((len(rows), 32), np.uint8)
    digests[:, 0] = [image for _, _, image in rows]
    ids, surveys, ra = np.array([row[0] for row in rows]), np.full(len(rows), name), np.array([row[1] for row in rows])
    return Side(Path(name), "store", ids, surveys, ra * ARCSEC, np.where(np.isnan(ra), NAN, 0.0), digests)


@settings(deadline=None, max_examples=60)
@given(st.lists(KNOWN, min_size=1, max_size=8), st.lists(KNOWN, min_size=1, max_size=8), st.integers(0, 4))
def test_any_two_sides_are_compared_row_by_row(a: list, b: list, reach: int) -> None:
    found = audit(make_side("a", a), make_side("b", b), radius=reach + 0.5)

    same = {
        "id": lambda x, y: x[0] == y[0],
        "position": lambda x, y: abs(x[1] - y[1]) <= reach,
        "image": lambda x, y: x[2] == y[2] != 0,
    }
    for finding, (test, is_same) in zip(found.findings, same.items(), strict=False):
        assert finding.test == test
        pairs = {(i, j) for i, x in enumerate(a) for j, y in enumerate(b) if is_same(x, y)}
        assert len(finding.a) == len(pairs)
        assert set(zip(finding.a.tolist(), finding.b.tolist(), strict=True)) == pairs
        lacking = {"id": 0, "position": sum(np.isnan(y[1]) for y in b), "image": sum(y[2] == 0 for y in b)}[test]
        assert finding.unchecked[1] == lacking if finding.checkable else not pairs
    # rows of B that share anything, directly or through others, leak together
    leaked = {j for finding in found.findings for j in finding.b.tolist()}
    while (
        grown := {j for j, y in enumerate(b) for i in leaked if any(is_same(b[i], y) for is_same in same.values())}
        - leaked
    ):
        leaked |= grown
    assert np.flatnonzero(found.leaked).tolist() == sorted(leaked)


# what cannot be told is not told


def test_stores_of_different_models_have_nothing_to_compare(tmp_path: Path) -> None:
    X = draw_clusters(60, 4, 1)
    other = replace(PROVENANCE, model={**PROVENANCE.model, "weights_sha256": "00" * 32})
    a = write_vectors(tmp_path / "a.h5", X, "north")
    b = write_vectors(tmp_path / "b.h5", X, "south", provenance=other)
    test = by_test(audit(a.path, b.path))["embedding"]
    assert (test["checkable"], test["rows"], test["objects"], test["pairs"]) == (False, None, None, None)
    assert "different models" in test["reason"]
    assert "weights_sha256" in test["reason"]
    same = write_vectors(tmp_path / "c.h5", X, "south")
    test = by_test(audit(a.path, same.path, layer=1))["embedding"]
    assert "does not hold L1-cls" in test["reason"]
    test = by_test(audit(a.path, a.path))["embedding"]
    assert (test["checkable"], test["rows"]) == (False, None)
    assert "one store" in test["reason"]


def fits_provenance(**images) -> Provenance:
    stretch = {"name": "asinh", "parameters": {}}
    base = {"range": "8-bit RGB", "stretch": stretch, "bands": None, "cutout": None, "missing": {"at_most": 0.2}}
    return replace(PROVENANCE, images=base | images)


def test_images_that_were_cut_in_different_ways_have_other_bytes_whatever_they_show(tmp_path: Path) -> None:
    X = draw_clusters(60, 4, 1)
    a = write_vectors(tmp_path / "a.h5", X, "north", provenance=fits_provenance(cutout={"arcsec": 30.0}))
    b = write_vectors(tmp_path / "b.h5", X, "south", provenance=fits_provenance())
    test = by_test(audit(a.path, b.path))["image"]
    assert test["rows"] is None
    assert test["reason"] == (
        "their FITS images were read in different ways (cut-out 30.0 arcsec, bands - and cut-out None arcsec, bands -)"
    )


def test_fits_files_that_many_galaxies_share_say_nothing(tmp_path: Path) -> None:
    for name in ("mosaic", "one"):
        fits.writeto(tmp_path / f"{name}.fits", np.random.default_rng(0).normal(5, 1, (40, 40)).astype(np.float32))
    (tmp_path / "t.csv").write_text("id,image\na,mosaic.fits\nb,mosaic.fits\nc,one.fits\n")
    catalog_from_table(tmp_path / "t.csv", tmp_path, "id", "image").write(tmp_path / "a.parquet")
    (tmp_path / "t.csv").write_text("id,image\nd,mosaic.fits\ne,one.fits\nf,f-{band}.fits\n")
    catalog_from_table(tmp_path / "t.csv", tmp_path, "id", "image").write(tmp_path / "b.parquet")
    test = by_test(audit(tmp_path / "a.parquet", tmp_path / "b.parquet"))["image"]
    assert test["rows"] is None
    assert test["reason"].startswith(f"{tmp_path / 'b.parquet'} names one image file a band ({{band}})")
    (tmp_path / "t.csv").write_text("id,image\nd,mosaic.fits\ne,one.fits\n")
    catalog_from_table(tmp_path / "t.csv", tmp_path, "id", "image").write(tmp_path / "b.parquet")
    found = audit(tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert by_test(found)["image"]["unchecked_a"] == 2
    pairs = pd.DataFrame(found.to_columns())[["id_a", "id_b"]].to_numpy().tolist()
    assert pairs == [["c", "d"], ["c", "e"]]  # both files have the same bytes here


# what a fine-tuned backbone has seen


def test_a_run_stands_for_the_galaxies_that_its_backbone_was_trained_on(tmp_path: Path) -> None:
    ids, parts = ["a", "b", "c", "d"], ["train", "train", "val", "test"]
    place = np.array([10.0, 20, 30, 40])
    run = write_record(tmp_path / "run", write_split(tmp_path / "run/split.parquet", ids, parts, place, np.zeros(4)))
    frame = pd.DataFrame(
        {"id_str": ["a", "x", "c", "d"], "survey": "mine", "ra": [NAN, 20 + ARCSEC, NAN, 40], "dec": [NAN, 0, NAN, 0],
         "image": ["a.png", "x.png", "c.png", "d.png"]}
    )  # fmt: skip
    Catalog(frame, (), str(tmp_path)).write(tmp_path / "b.parquet")
    (run / "backbone").mkdir()
    for folder in (run, run / "backbone"):
        found = audit(folder, tmp_path / "b.parquet")
        assert counts(found) == {"id": 1, "position": 1, "image": None, "embedding": None}
        assert found.b.ids[found.leaked].tolist() == ["a", "x"]
    record = found.to_dict()
    assert (record["a"]["kind"], record["a"]["rows"]) == ("run", 2)
    assert record["notes"] == [
        f"1 validation galaxies chose the epoch of {run.resolve()}; they are not counted as trained on"
    ]
    assert found.to_columns()["survey_a"] == ["sdss", "sdss"]
    with pytest.raises(SommelierError, match=r"is a run: it can be what was trained on \(A\)"):
        audit(tmp_path / "b.parquet", run)
    with pytest.raises(RunError, match="is not a run"):
        audit(tmp_path, tmp_path / "b.parquet")


def test_runs_that_a_run_began_from_count_as_well(tmp_path: Path) -> None:
    first = write_record(
        tmp_path / "first", write_split(tmp_path / "first/split.parquet", ["a", "b"], ["train", "test"])
    )
    start = {"name": str(first), "revision": None, "weights_sha256": "0" * 64}
    digest = write_split(tmp_path / "second/split.parquet", ["b", "c"], ["train", "test"])
    second = write_record(tmp_path / "second", digest, backbone=start)
    frame = pd.DataFrame({"id_str": ["a", "b", "c"], "survey": "mine", "ra": NAN, "dec": NAN, "image": "none.png"})
    Catalog(frame, (), str(tmp_path)).write(tmp_path / "b.parquet")
    found = audit(second, tmp_path / "b.parquet")
    assert found.b.ids[found.leaked].tolist() == ["a", "b"]
    assert found.a.notes == (f"{second} began from {first}: galaxies that were trained on there count as well",)
    first.rename(tmp_path / "elsewhere")
    found = audit(second, tmp_path / "b.parquet")
    assert found.b.ids[found.leaked].tolist() == ["b"]
    assert found.a.notes == (f"{second} began from {first}, which is not there: what that was trained on is not known",)
