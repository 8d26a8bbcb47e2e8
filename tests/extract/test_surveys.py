"""Releases in, one tidy catalog out: small ones made here, and the real rows."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from embeddings.errors import CatalogError
from embeddings.questions import expected_shares, list_targets
from extract.catalog import Catalog
from extract.matching import compare_labels, match_catalogs
from extract.schema import CAMPAIGNS, Dialect
from extract.surveys import read_catalog
from tests.extract.galaxy_zoo import (
    DEC,
    DIALECTS,
    RA,
    N,
    draw_image,
    name_place,
    write_decals,
    write_sdss,
    write_ukidss,
)

FIXTURES = "gz_native_format_fixtures"


def brightness(catalog: Catalog) -> list[int]:
    """What each row's picture tells of itself."""
    return [round(np.asarray(Image.open(Path(catalog.image_root) / image)).mean()) for image in catalog.frame["image"]]


def check_fractions(catalog: Catalog, table: pd.DataFrame, dialect: Dialect) -> None:
    """Every fraction is the release's to the last digit where it was asked, and NaN elsewhere."""
    for question in catalog.questions:
        stems = [dialect.stems[target] for target in question.targets]
        raw = table[[f"{stem}_fraction" for stem in stems]].to_numpy(dtype=float)
        counts = table[[stem + dialect.count_ending for stem in stems]].to_numpy(dtype=float)
        asked = (counts.sum(axis=1) > 0) & (np.nan_to_num(raw) > 0).any(axis=1)
        read = catalog.frame[list(question.target_columns)].to_numpy()
        np.testing.assert_array_equal(read[asked], raw[asked])
        assert np.isnan(read[~asked]).all()
        np.testing.assert_array_equal(catalog.frame[list(question.vote_columns)], counts)
        total = f"{dialect.heads[question.name]}_total-votes"
        expected = table[total] if total in table else counts.sum(axis=1)
        np.testing.assert_array_equal(catalog.frame[question.total_column], expected)


# what releases say


def test_sdss(tmp_path: Path) -> None:
    table = write_sdss(tmp_path)
    catalog = read_catalog("sdss", tmp_path)
    assert catalog.ids.tolist() == table["dr7objid"].tolist()
    assert catalog.surveys == ["sdss"]
    np.testing.assert_array_equal(catalog.frame["ra"], RA)
    np.testing.assert_array_equal(catalog.frame["dec"], DEC)
    assert brightness(catalog) == [10 * number for number in range(N)]  # by id, though the mapping has another order
    check_fractions(catalog, table, DIALECTS["sdss"])
    for target in list_targets(catalog.questions):
        stem = DIALECTS["sdss"].stems[target]
        asked = catalog.frame[f"{target}_fraction"].notna()
        for ending in ("weighted_fraction", "debiased"):
            expected = table[f"{stem}_{ending}"].where(asked)
            np.testing.assert_array_equal(catalog.frame[f"{target}_{ending}"], expected)
        np.testing.assert_array_equal(catalog.frame[f"{target}_weight"], table[f"{stem}_weight"])
        np.testing.assert_array_equal(catalog.frame[f"{target}_flag"], table[f"{stem}_flag"])
    assert {"sample", "gz2_class", "total_classifications", "rastring"} <= set(catalog.frame.columns)
    assert len(catalog.questions) == 11


@pytest.mark.parametrize("kind", ["decals", "decals5"])
def test_decals(kind: str, tmp_path: Path) -> None:
    table = write_decals(tmp_path, kind)
    catalog = read_catalog("decals", tmp_path)
    assert catalog.ids.tolist() == table["iauname"].tolist()
    assert brightness(catalog) == [10 * number for number in range(N)]
    check_fractions(catalog, table, DIALECTS[kind])
    assert catalog.questions == DIALECTS[kind].campaign.questions
    # -9999 is no redshift, and neither is a blank
    np.testing.assert_array_equal(catalog.frame["redshift"], [0.05, np.nan, 0.1, np.nan, 0.2, 0.03, 0.04, 0.06])
    assert "-9999 taken as missing in redshift (1)" in catalog.notes


def test_ukidss(tmp_path: Path) -> None:
    table = write_ukidss(tmp_path / "ukidss")
    write_sdss(tmp_path / "sdss")
    catalog = read_catalog("ukidss", tmp_path / "ukidss")
    assert catalog.ids.tolist() == [name.removesuffix(".jpg") for name in table["filename"]]
    assert brightness(catalog) == [10 * number for number in range(N)]
    assert catalog.frame["ra"].isna().all()
    assert f"{N} of {N} galaxies have no position" in catalog.notes
    check_fractions(catalog, table, DIALECTS["ukidss"])
    assert catalog.questions == CAMPAIGNS["ukidss"].questions


def test_positions_of_ukidss_come_by_the_crosswalk(tmp_path: Path) -> None:
    write_ukidss(tmp_path / "ukidss")
    write_sdss(tmp_path / "sdss")
    sdss = read_catalog("sdss", tmp_path / "sdss").write(tmp_path / "sdss.parquet")
    walk = tmp_path / "ukidss/crosswalk.csv"
    without = read_catalog("ukidss", tmp_path / "ukidss", crosswalk=walk)
    assert without.frame["ra"].isna().all()
    assert without.frame["dr7objid"].tolist()[1:] == [str(587722952231026744 + 7 * number) for number in range(1, N)]
    catalog = read_catalog("ukidss", tmp_path / "ukidss", crosswalk=walk, positions=sdss)
    np.testing.assert_array_equal(catalog.frame["ra"], [np.nan, *RA[1:]])
    np.testing.assert_array_equal(catalog.frame["dec"], [np.nan, *DEC[1:]])
    placed = pd.read_csv(walk, dtype=str).assign(ra=RA[:0:-1], dec=DEC[:0:-1])  # a crosswalk that has positions itself
    placed.to_csv(tmp_path / "placed.csv", index=False)
    catalog = read_catalog("ukidss", tmp_path / "ukidss", crosswalk=tmp_path / "placed.csv")
    np.testing.assert_array_equal(catalog.frame["ra"], [np.nan, *RA[1:]])
    pd.DataFrame({"subject_id": ["ffff"], "dr7objid": ["1"]}).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(CatalogError, match=r"other\.csv names none of the 8 subjects: it has 'ffff'"):
        read_catalog("ukidss", tmp_path / "ukidss", crosswalk=tmp_path / "other.csv")


def test_kaggles_products_become_fractions(tmp_path: Path) -> None:
    """Class2.1 = 0.12 of all is edge-on; 0.6 of all were asked: 0.2 of those asked."""
    row = {f"Class{task}.{answer}": 0.0 for task, n in enumerate((3, 2, 2, 2, 4, 2, 3, 7, 3, 3, 6), 1)
           for answer in range(1, n + 1)}  # fmt: skip
    row |= {"Class1.1": 0.3, "Class1.2": 0.6, "Class1.3": 0.1, "Class2.1": 0.12, "Class2.2": 0.48}
    row |= {"Class6.1": 0.25, "Class6.2": 0.75, "Class8.7": 0.25, "Class11.5": 0.02, "Class11.6": 0.06}
    pd.DataFrame([{"GalaxyID": 100008} | row]).to_csv(tmp_path / "training_solutions_rev1.csv", index=False)
    draw_image(tmp_path / "images_training_rev1/100008.jpg", 77)
    catalog = read_catalog("kaggle", tmp_path)
    first = catalog.frame.iloc[0]
    assert first["id_str"] == "100008"
    assert brightness(catalog) == [77]
    assert first["disk-edge-on_yes_fraction"] == pytest.approx(0.2)  # 0.12 / (0.12 + 0.48)
    assert first["smooth-or-featured_artifact_fraction"] == pytest.approx(0.1)
    assert first["odd-feature-gz2_dust-lane_fraction"] == pytest.approx(1)
    assert first["spiral-arm-count_more-than-4_fraction"] == pytest.approx(0.25)  # 0.02 / 0.08
    assert np.isnan(first["how-rounded_round_fraction"])  # all zero: nobody was asked
    assert first["Class2.1"] == 0.12
    assert any("no vote counts" in note for note in catalog.notes)


@pytest.mark.parametrize("ending", [".csv.gz", ".parquet", ".fits", ".fits.gz"])
def test_other_kinds_of_table(ending: str, tmp_path: Path) -> None:
    table = write_sdss(tmp_path)
    expected = read_catalog("sdss", tmp_path)
    plain = tmp_path / "gz2_hart16.csv"
    if ending == ".csv.gz":
        (tmp_path / "gz2_hart16.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    elif ending == ".parquet":
        table.assign(dr7objid=table["dr7objid"].astype("int64")).to_parquet(tmp_path / "gz2_hart16.parquet")
    else:
        from astropy.table import Table

        integers = table.assign(dr7objid=table["dr7objid"].astype("int64"))
        Table.from_pandas(integers).write(tmp_path / f"gz2_hart16{ending}")
    plain.unlink()
    catalog = read_catalog("sdss", tmp_path)
    assert catalog.questions == expected.questions
    pd.testing.assert_frame_equal(catalog.frame, expected.frame, check_dtype=False)


# which fractions


def test_debiased_fractions_are_missing_where_the_release_is_blank(tmp_path: Path) -> None:
    stem = "smooth-or-featured_smooth"
    blank = [0.5, None, 0.25, None, 0.1, 0.2, 0.3, 0.4]
    table = write_decals(tmp_path, **{f"{stem}_debiased": blank})
    catalog = read_catalog("decals", tmp_path, fractions="debiased")
    np.testing.assert_array_equal(catalog.frame[f"{stem}_fraction"], np.array(blank, float))
    np.testing.assert_array_equal(catalog.frame[f"{stem}_raw_fraction"], table[f"{stem}_fraction"])
    assert {question.fractions for question in catalog.questions} == {"debiased"}
    path = catalog.write(tmp_path / "catalog.parquet")
    assert Catalog.read(path).questions == catalog.questions
    assert Catalog.read(path).notes == catalog.notes
    raw = read_catalog("decals", tmp_path)
    np.testing.assert_array_equal(raw.frame[f"{stem}_debiased"], np.array(blank, float))
    sums = catalog.frame[[f"smooth-or-featured_{a}_fraction" for a in ("smooth", "featured-or-disk", "artifact")]].sum(
        axis=1
    )
    assert (sums < 0.99).any()  # need not add up to one, and is not made to


def test_weighted_fractions_are_gz2s_alone(tmp_path: Path) -> None:
    table = write_sdss(tmp_path / "sdss")
    catalog = read_catalog("sdss", tmp_path / "sdss", fractions="weighted")
    np.testing.assert_array_equal(
        catalog.frame["smooth-or-featured_smooth_fraction"],
        table["t01_smooth_or_features_a01_smooth_weighted_fraction"],
    )
    write_decals(tmp_path / "decals")
    with pytest.raises(CatalogError, match=r"no weighted fractions of 'smooth-or-featured'\. It has: raw, debiased"):
        read_catalog("decals", tmp_path / "decals", fractions="weighted")


def test_fractions_that_are_not_votes_over_total_are_taken_and_told(tmp_path: Path) -> None:
    table = write_sdss(tmp_path)
    stem = "t01_smooth_or_features_a01_smooth"
    table.loc[2, f"{stem}_fraction"] += 0.1 if table[f"{stem}_fraction"][2] < 0.5 else -0.1
    table.loc[5, f"{stem}_fraction"] += 0.0019 if table[f"{stem}_fraction"][5] < 0.5 else -0.0019  # a matter of digits
    table.loc[6, [column for column in table if column.startswith("t01") and column.endswith("_fraction")]] = 0.0
    table.to_csv(tmp_path / "gz2_hart16.csv", index=False)
    catalog = read_catalog("sdss", tmp_path)
    notes = "\n".join(catalog.notes)
    assert "smooth-or-featured: the fractions of 1 of 7 galaxies are not votes / total, by more than 0.002" in notes
    assert "(median 0.100, most 0.100)" in notes
    assert "smooth-or-featured: 1 galaxies with votes have only zero fractions and count as not asked" in notes
    assert catalog.frame["smooth-or-featured_smooth_fraction"][2] == table[f"{stem}_fraction"][2]
    assert np.isnan(catalog.frame["smooth-or-featured_smooth_fraction"][6])
    assert catalog.labels()[1][6, 0] != catalog.labels()[1][6, 0]  # votes of what was not asked are NaN too


def test_totals_under_both_names(tmp_path: Path) -> None:
    table = write_decals(tmp_path)
    expected = read_catalog("decals", tmp_path)
    renamed = {"bar_total-votes": "bar_total", "smooth-or-featured_total-votes": "smooth-or-featured_total"}
    table.rename(columns=renamed).to_csv(tmp_path / "gz_decals_volunteers_1_and_2.csv", index=False)
    pd.testing.assert_frame_equal(read_catalog("decals", tmp_path).frame, expected.frame)


# cuts


def test_cuts_say_what_they_leave_out(tmp_path: Path) -> None:
    write_decals(tmp_path, **{"smooth-or-featured_total-votes": [30, 30, 5, 30, 30, 3, 30, 40]})
    catalog = read_catalog("decals", tmp_path, min_votes=30, drop=("wrong_size_warning",))
    assert [round(ra, 3) for ra in catalog.frame["ra"]] == [126.573, 0.001, 359.999, 200.25, 45.0]  # a blank is no flag
    assert "2 rows left out: fewer than 30 votes for smooth-or-featured" in catalog.notes
    assert "1 rows left out: flagged wrong_size_warning" in catalog.notes
    with pytest.raises(CatalogError, match=r"no column 'wrong_size' to drop by\. Did you mean 'wrong_size_warning'"):
        read_catalog("decals", tmp_path, drop=("wrong_size",))
    with pytest.raises(CatalogError, match=r"column 'petro_theta' is no flag"):
        read_catalog("decals", tmp_path, drop=("petro_theta",))
    with pytest.raises(CatalogError, match=r"no galaxy is left of 8: 8 rows left out: fewer than 100 votes"):
        read_catalog("decals", tmp_path, min_votes=100)


def test_of_repeated_rows_the_one_with_most_votes_stays(tmp_path: Path) -> None:
    names = [name_place(*place) for place in zip(RA, DEC, strict=True)]
    names[4], names[6] = names[1], names[2]
    places = {"ra": RA[[0, 1, 2, 3, 1, 5, 2, 7]], "dec": DEC[[0, 1, 2, 3, 1, 5, 2, 7]]}
    total = [30, 30, 30, 30, 31, 30, 30, 30]
    write_decals(tmp_path, iauname=names, **places, **{"smooth-or-featured_total-votes": total})
    catalog = read_catalog("decals", tmp_path)
    assert "2 rows left out: their id appears again with as many votes or more" in catalog.notes
    assert len(catalog) == 6
    assert catalog.frame.set_index("id_str")["smooth-or-featured_total-votes"][names[1]] == 31
    assert catalog.ids.tolist() == [names[0], names[2], names[3], names[1], names[5], names[7]]


def test_missing_images_are_counted_and_where_they_were_sought(tmp_path: Path) -> None:
    write_sdss(tmp_path)
    for number in (2, 3, 5, 7):
        (tmp_path / f"images/{1000 + number}.jpg").unlink()
    (tmp_path / "images/._1002.jpg").write_bytes(b"macOS")
    catalog = read_catalog("sdss", tmp_path)
    (note,) = [note for note in catalog.notes if "images are not there" in note]
    root = tmp_path.resolve()
    assert note == (
        f"4 of 8 images are not there; looked for {root}/images/1002.jpg, {root}/images/1003.jpg, "
        f"{root}/images/1005.jpg ..."
    )
    assert len(catalog) == 8
    assert len(catalog.missing_images()) == 4
    assert len(read_catalog("sdss", tmp_path, drop_missing=True)) == 4


def test_images_elsewhere(tmp_path: Path) -> None:
    write_sdss(tmp_path / "tables")
    shutil.move(tmp_path / "tables/images", tmp_path / "scratch")
    catalog = read_catalog("sdss", tmp_path / "tables", images=tmp_path / "scratch")
    assert brightness(catalog) == [10 * number for number in range(N)]
    with pytest.raises(CatalogError, match="nowhere is not a folder"):
        read_catalog("sdss", tmp_path / "tables", images=tmp_path / "nowhere")


# crossing


def test_strong_and_weak_bars_add_up(tmp_path: Path) -> None:
    table = write_decals(tmp_path, "decals5")
    catalog = read_catalog("decals", tmp_path, cross=("bar-dr5",))
    votes = table["bar_strong"] + table["bar_weak"]
    np.testing.assert_array_equal(catalog.frame["bar_yes"], votes)
    asked = table["bar_total-votes"] > 0
    share = (votes / table["bar_total-votes"]).where(asked)
    np.testing.assert_allclose(catalog.frame["bar_yes_fraction"], share, rtol=1e-15)
    bar = next(q for q in catalog.questions if q.name == "bar")
    assert bar == CAMPAIGNS["gz2"].questions[2]  # they may be used as one
    assert Catalog.read(catalog.write(tmp_path / "c.parquet")).questions[-1].crossed == "bar-dr5, map 1.0"
    assert any("lossy map 1.0" in note and "how strong the bar is" in note for note in catalog.notes)
    with pytest.raises(CatalogError, match="no question 'bulge-size-dr12' in this release"):
        read_catalog("decals", tmp_path, cross=("bulge-size-dr12",))


def test_an_answer_without_counterpart_stays_missing(tmp_path: Path) -> None:
    table = write_decals(tmp_path)
    catalog = read_catalog("decals", tmp_path, cross=("bulge-size-dr12",))
    assert catalog.frame["bulge-size_just-noticeable_fraction"].isna().all()
    asked = table["bulge-size_total-votes"] > 0
    np.testing.assert_array_equal(
        catalog.frame["bulge-size_no_fraction"], table["bulge-size_none_fraction"].where(asked)
    )


# what is wrong


def _swap(frame: pd.DataFrame) -> dict[str, Any]:
    return {"ra": frame["dec"], "dec": frame["ra"]}


def _scale(number: float) -> Callable[[pd.DataFrame], dict[str, Any]]:
    return lambda frame: {"ra": frame["ra"] / number}


WRONG: dict[str, tuple[Callable[[pd.DataFrame], dict[str, Any]], str]] = {
    "float ids": (lambda f: {"dr7objid": f["dr7objid"].astype(float)}, r"ids written as floats \(5\.8772"),
    "no ids": (lambda f: {"dr7objid": None, "dr8objid": 1}, r"no column .dr7objid. or .objid.*Did you mean .dr8objid"),
    "swapped": (_swap, r"'ra' has 3 values that are not in \[0, 360\].*ra and dec look swapped\."),
    "hours": (_scale(15), r"ra is in hours, not degrees\. Mend"),
    "a misspelt column": (
        lambda f: {"t03_bar_a06_bar_fraction": None, "t03_bar_a06_bar_fractoin": 0.5},
        r"no column 't03_bar_a06_bar_fraction'.*Did you mean 't03_bar_a06_bar_fractoin'",
    ),
    "a question gone": (
        lambda f: {name: None for name in f if name.startswith("t09")},
        r"no column 't09_bulge_shape_a25_rounded_fraction', which Galaxy Zoo 2 has",
    ),
    "negative votes": (lambda f: {"t06_odd_a14_yes_count": -1}, r"'t06_odd_a14_yes_count' has negative votes"),
    "per cent": (lambda f: {"t06_odd_a14_yes_fraction": 56.0}, r"no fractions \(first: 56 in row 0\).*divided by 100"),
    "words": (lambda f: {"t06_odd_a14_yes_count": "many"}, r"'t06_odd_a14_yes_count' should hold numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_table_says_what_is_wrong(case: str, tmp_path: Path) -> None:
    change, message = WRONG[case]
    write_sdss(tmp_path, **change(write_sdss(tmp_path)))
    with pytest.raises(CatalogError, match=message) as problem:
        read_catalog("sdss", tmp_path)
    assert "gz2_hart16.csv" in str(problem.value)


def test_a_sentinel_is_no_position_and_no_fraction(tmp_path: Path) -> None:
    table = write_sdss(tmp_path)
    changes = {"ra": table["ra"].where(table.index != 3, -9999), "dec": table["dec"].where(table.index != 3, -9999)}
    stem = "t01_smooth_or_features_a01_smooth_debiased"
    write_sdss(tmp_path, **changes, **{stem: table[stem].where(table.index != 2, -9999.0)})
    catalog = read_catalog("sdss", tmp_path)
    assert np.flatnonzero(catalog.frame["ra"].isna()).tolist() == [3]
    assert "1 of 8 galaxies have no position" in catalog.notes
    assert np.isnan(catalog.frame["smooth-or-featured_smooth_debiased"][2])


def test_a_sentinel_beside_a_blank_is_no_label(tmp_path: Path) -> None:
    """The least of numbers with a NaN among them is NaN."""
    given = [0.5, None, -9999.0, None, 0.1, 0.2, 0.3, 0.4]
    write_decals(tmp_path, **{"smooth-or-featured_smooth_debiased": given})
    catalog = read_catalog("decals", tmp_path, fractions="debiased")
    label = catalog.frame["smooth-or-featured_smooth_fraction"]
    np.testing.assert_array_equal(label, [0.5, np.nan, np.nan, np.nan, 0.1, 0.2, 0.3, 0.4])
    assert "smooth-or-featured_smooth_debiased (1)" in next(note for note in catalog.notes if "-9999" in note)
    write_decals(tmp_path, **{"smooth-or-featured_smooth_debiased": [7.0] + [0.5] * 7})
    with pytest.raises(CatalogError, match=r"'smooth-or-featured_smooth_debiased' has 1 values that are no fractions"):
        read_catalog("decals", tmp_path, fractions="debiased")
    assert read_catalog("decals", tmp_path).frame["smooth-or-featured_smooth_debiased"][0] == 7  # beside the labels


def test_another_things_number_is_not_taken_for_an_image(tmp_path: Path) -> None:
    write_sdss(tmp_path)
    (tmp_path / "images/1003.jpg").unlink()
    draw_image(tmp_path / "kaggle/images_training_rev1/1003.jpg", 200)
    catalog = read_catalog("sdss", tmp_path)
    assert catalog.frame["image"][3] == "images/1003.jpg"
    assert len(catalog.missing_images()) == 1


def test_the_mapping_passes_the_same_door(tmp_path: Path) -> None:
    table = write_sdss(tmp_path)
    path = tmp_path / "gz2_filename_mapping.csv"
    mapping = pd.read_csv(path, dtype=str)
    mapping.assign(objid=mapping["objid"].astype(float)).to_csv(path, index=False)
    with pytest.raises(CatalogError, match=r"gz2_filename_mapping\.csv: column 'objid' holds ids written as floats"):
        read_catalog("sdss", tmp_path)
    mapping.assign(asset_id=mapping["asset_id"].astype(float)).to_csv(path, index=False)
    assert read_catalog("sdss", tmp_path).frame["image"][3] == "images/1003.jpg"
    mapping.iloc[2:].to_csv(path, index=False)  # it is upside down: the last two galaxies are not in it
    notes = read_catalog("sdss", tmp_path).notes
    assert (
        f"2 ids are not in gz2_filename_mapping.csv and have no image: {', '.join(table['dr7objid'][-2:])} ..." in notes
    )
    coadd = mapping.assign(sample="stripe82_coadd_1", asset_id="999")  # every galaxy a second time, before the first
    pd.concat([coadd, mapping]).to_csv(path, index=False)
    assert read_catalog("sdss", tmp_path).frame["image"].tolist() == [f"images/{1000 + n}.jpg" for n in range(N)]


def test_positions_that_help_nobody(tmp_path: Path) -> None:
    write_ukidss(tmp_path / "gzu")
    write_decals(tmp_path / "gzd")
    walk = tmp_path / "gzu/crosswalk.csv"
    other = read_catalog("decals", tmp_path / "gzd").write(tmp_path / "decals.parquet")
    with pytest.raises(CatalogError, match="which is which, a --crosswalk must say"):
        read_catalog("ukidss", tmp_path / "gzu", positions=other)
    with pytest.raises(
        CatalogError, match=r"decals\.parquet has a position of none of the galaxies in .*crosswalk\.csv"
    ):
        read_catalog("ukidss", tmp_path / "gzu", crosswalk=walk, positions=other)
    notes = read_catalog("ukidss", tmp_path / "gzu", crosswalk=walk).notes
    assert any(f"names {N - 1} of {N} subjects and places 0; it has no ra and dec" in note for note in notes)


def test_ukidss_images_lie_under_their_file_names(tmp_path: Path) -> None:
    table = write_ukidss(tmp_path)
    names = [f"other-{number}.jpg" for number in range(N)]
    for number, name in enumerate(names):
        draw_image(tmp_path / f"x/{table['subfolder'][number]}/{name}", 5 * number)
    subjects = table["filename"].str.removesuffix(".jpg")
    write_ukidss(tmp_path, subject_id=subjects, filename=names, subfolder=[None, *table["subfolder"][1:]])
    catalog = read_catalog("ukidss", tmp_path)
    assert catalog.ids.tolist() == subjects.tolist()
    assert brightness(catalog) == [5 * number for number in range(N)]


def test_kaggles_numbers_must_be_probabilities_that_fit_together(tmp_path: Path) -> None:
    counts = (3, 2, 2, 2, 4, 2, 3, 7, 3, 3, 6)
    row = {f"Class{task}.{answer}": 0.0 for task, n in enumerate(counts, 1) for answer in range(1, n + 1)}
    row |= {"Class1.2": 1.0, "Class2.2": 0.4, "Class6.2": 1.0}  # 0.6 of those with features never said edge-on or not
    frame = pd.DataFrame([{"GalaxyID": 1} | row])
    frame.to_csv(tmp_path / "training_solutions_rev1.csv", index=False)
    notes = read_catalog("kaggle", tmp_path).notes
    assert "1 galaxies have a question whose answers do not add up to the share that got there" in notes
    for wrong in (7, "x"):
        frame.assign(**{"Class2.1": wrong}).to_csv(tmp_path / "training_solutions_rev1.csv", index=False)
        with pytest.raises(CatalogError, match=r"'Class2\.1' has 1 values that are no probabilities in \[0, 1\]"):
            read_catalog("kaggle", tmp_path)


def test_a_catalog_is_no_release(tmp_path: Path) -> None:
    write_decals(tmp_path)
    made = read_catalog("decals", tmp_path).write(tmp_path / "mine.parquet")
    with pytest.raises(CatalogError, match=r"mine\.parquet is a catalog already"):
        read_catalog("decals", made)
    shutil.move(tmp_path / "gz_decals_volunteers_1_and_2.csv", tmp_path / "votes.csv")
    assert len(read_catalog("decals", tmp_path)) == N  # the one table there, for ours does not count


def test_the_wrong_surveys_release_is_recognised(tmp_path: Path) -> None:
    write_ukidss(tmp_path)
    with pytest.raises(CatalogError, match=r"looks like Galaxy Zoo UKIDSS: sommelier catalog ukidss"):
        read_catalog("sdss", tmp_path / "ukidss_catalog.csv")
    write_sdss(tmp_path / "sdss")
    with pytest.raises(CatalogError, match=r"looks like Galaxy Zoo 2: sommelier catalog sdss"):
        read_catalog("decals", tmp_path / "sdss/gz2_hart16.csv")


def test_where_there_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"does not exist\. Give the folder of the release"):
        read_catalog("sdss", tmp_path / "nowhere")
    with pytest.raises(CatalogError, match=r"no table of Galaxy Zoo 2: looked for gz2_hart16.*it holds no table"):
        read_catalog("sdss", tmp_path)
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "b.csv").write_text("x\n1\n")
    with pytest.raises(CatalogError, match=r"tables there: a\.csv, b\.csv\. Give the path"):
        read_catalog("decals", tmp_path)
    with pytest.raises(CatalogError, match=r"survey 'sdsss' is not known\. Did you mean 'sdss'"):
        read_catalog("sdsss", tmp_path)


def test_several_tables_are_not_chosen_between_in_silence(tmp_path: Path) -> None:
    write_decals(tmp_path, "decals5")
    write_decals(tmp_path, "decals")
    catalog = read_catalog("decals", tmp_path)
    assert catalog.questions == CAMPAIGNS["dr12"].questions
    assert any(note.startswith("not read: gz_decals_volunteers_5.csv") for note in catalog.notes)
    assert read_catalog("decals", tmp_path / "gz_decals_volunteers_5.csv").questions == CAMPAIGNS["dr5"].questions


def test_without_the_mapping_images_are_sought_by_id(tmp_path: Path) -> None:
    table = write_sdss(tmp_path)
    (tmp_path / "gz2_filename_mapping.csv").unlink()
    draw_image(tmp_path / f"images/{table['dr7objid'][3]}.jpg", 33)
    catalog = read_catalog("sdss", tmp_path)
    assert catalog.frame["image"][3] == f"images/{table['dr7objid'][3]}.jpg"
    assert any("no gz2_filename_mapping.csv beside the table" in note for note in catalog.notes)


# real rows


@pytest.mark.parametrize(
    ("survey", "table", "dialect"),
    [
        ("sdss", "galaxy_zoo_2/gz2_hart16.csv", DIALECTS["sdss"]),
        ("decals", "galaxy_zoo_decals/gz_decals_volunteers_1_and_2.csv", DIALECTS["decals"]),
        ("decals", "galaxy_zoo_decals/gz_decals_volunteers_5.csv", DIALECTS["decals5"]),
    ],
)
def test_real_rows_join_their_images_and_give_back_their_fractions(
    survey: str, table: str, dialect: Dialect, real_data: Path
) -> None:
    file = real_data / FIXTURES / table
    given = pd.read_csv(file, dtype={"dr7objid": str})
    catalog = read_catalog(survey, file)
    assert catalog.ids.tolist() == given.iloc[:, 0].tolist()
    assert not catalog.missing_images()
    assert not any("not there" in note for note in catalog.notes)
    check_fractions(catalog, given, dialect)


def test_real_votes_for_answers_that_are_not_in_the_table(real_data: Path) -> None:
    """GZD-5 counts votes cast before it changed its answers about merging: 15 + 1 + 0 + 16 of 35, and 1 of 32."""
    catalog = read_catalog("decals", real_data / FIXTURES / "galaxy_zoo_decals/gz_decals_volunteers_5.csv")
    (note,) = [note for note in catalog.notes if note.startswith("merging-dr5")]
    assert "the votes of 2 galaxies add up to fewer than their total" in note


def test_real_automatic_posteriors(real_data: Path) -> None:
    file = real_data / FIXTURES / "galaxy_zoo_decals/gz_decals_auto_posteriors.csv"
    given, catalog = pd.read_csv(file), read_catalog("decals", file)
    assert len(catalog) == 6
    assert not catalog.missing_images()
    for target, stem in DIALECTS["decals5"].stems.items():
        np.testing.assert_array_equal(catalog.frame[f"{target}_fraction"], given[f"{stem}_fraction"])
    # the release's own share of volunteers asked is the product of fractions along the tree
    shares = expected_shares(catalog.questions, lambda target: catalog.frame[f"{target}_fraction"].to_numpy())
    for question in catalog.questions:
        head = DIALECTS["decals5"].heads[question.name]
        if not question.unless:  # its merging counts the volunteers who saw an artifact, who were not asked
            np.testing.assert_allclose(shares[question.name], given[f"{head}_proportion_volunteers_asked"], rtol=1e-6)


def test_real_kaggle_rows(real_data: Path) -> None:
    folder = real_data / FIXTURES / "galaxy_zoo_challenge"
    given, catalog = pd.read_csv(folder / "training_solutions_rev1.csv"), read_catalog("kaggle", folder)
    assert not catalog.missing_images()
    fraction = catalog.frame[[f"{t}_fraction" for t in list_targets(catalog.questions)]].to_numpy()
    shares = expected_shares(catalog.questions, lambda target: catalog.frame[f"{target}_fraction"].to_numpy())
    shares["something-odd"][:] = 1  # Kaggle counts all volunteers here
    shares["odd-feature-gz2"] = catalog.frame["something-odd_yes_fraction"].to_numpy()
    asked = np.stack([shares[q.name] for q in catalog.questions for _ in q.answers], axis=1)
    np.testing.assert_allclose(np.nan_to_num(fraction) * asked, given.iloc[:, 1:].to_numpy(), atol=2e-9)


def test_real_stripe_82(real_data: Path) -> None:
    catalog = read_catalog("sdss", real_data / "gz2_table5_stripe82")
    assert len(catalog) == 11443
    (note,) = [n for n in catalog.notes if n.startswith("smooth-or-featured: the fractions")]
    assert "5481 of 11443 galaxies are not votes / total, by more than 0.002" in note
    assert "disk-edge-on: 61 galaxies with votes have only zero fractions and count as not asked" in catalog.notes
    # the tree tells how many volunteers reach a question: against the counted ones
    shares = expected_shares(catalog.questions, lambda target: catalog.frame[f"{target}_fraction"].to_numpy())
    started = catalog.frame["smooth-or-featured_total-votes"]
    for question in catalog.questions:
        reached = catalog.frame[question.total_column] / started
        assert abs(shares[question.name].mean() - reached.mean()) < 0.02, question.name
        if question.parent:
            assert np.corrcoef(shares[question.name], reached)[0, 1] > 0.95, question.name


def test_real_surveys_share_100_galaxies(real_data: Path) -> None:
    decals = read_catalog("decals", real_data / "decals_gz_votes")
    sdss = read_catalog("sdss", real_data / "gz2_table5_stripe82")
    pairs = match_catalogs(decals, sdss, radius=2)
    assert len(pairs) == pairs["id_a"].nunique() == pairs["id_b"].nunique() == 100
    (smooth,) = [s for s in compare_labels(decals, sdss, pairs) if s["target"] == "smooth-or-featured_smooth"]
    assert smooth["n"] == 100
    assert smooth["r"] == pytest.approx(0.86, abs=0.005)
    assert len(match_catalogs(sdss, sdss)) == 2  # the table holds two galaxies twice, under other ids


def test_real_repeats_are_found(real_data: Path) -> None:
    catalog = read_catalog("decals", real_data / "decals_gz_votes")
    assert len(catalog) == 3938
    assert "9 rows left out: their id appears again with as many votes or more" in catalog.notes
    assert catalog.frame.set_index("id_str")["smooth-or-featured_total-votes"]["J120935.23-005444.8"] == 41
