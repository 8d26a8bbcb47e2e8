"""Catalogs from tables and folders, on disk and back, and joined with others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embeddings.errors import CatalogError, SommelierError
from embeddings.layout import decode_strings, encode_column
from embeddings.questions import Question
from extract.catalog import Catalog, catalog_from_folder, catalog_from_table, concatenate_catalogs, split_surveys
from tests.extract.tables import IDS, KINDS, ROWS, as_floats, touch_images, write_table

NAN = np.nan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return touch_images(tmp_path)


def small(folder: Path, frame: pd.DataFrame, labels: Any = (), **options: Any) -> Catalog:
    """A catalog of a table with columns `name` and `file`."""
    for name in frame["file"].dropna():
        (folder / str(name)).touch()
    frame.to_parquet(folder / "small.parquet")
    return catalog_from_table(folder / "small.parquet", folder, "name", "file", labels, **options)


def named(*ids: str, survey: str = "mine", root: str = "/images", **columns: Any) -> Catalog:
    core = {"id_str": list(ids), "survey": survey, "ra": NAN, "dec": NAN, "image": [f"{i}.png" for i in ids]}
    return Catalog(pd.DataFrame(core | columns), (), root)


# from tables


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ids", [str, int])
def test_every_kind_of_table_gives_the_same_catalog(kind: str, ids: type, folder: Path) -> None:
    file = write_table(folder, kind, ids)
    catalog = catalog_from_table(file, folder, "objid", "file", ["kind", "seen", "t"], survey="sky")
    assert catalog.ids.tolist() == IDS
    assert catalog.frame["image"].tolist() == ROWS["file"]
    assert catalog.surveys == ["sky"]
    np.testing.assert_array_equal(catalog.frame["ra"], as_floats(ROWS["RA"]))
    np.testing.assert_array_equal(catalog.frame["dec"], as_floats(ROWS["DEC"]))
    assert catalog.questions == (Question("kind", ("flat", "round")), Question("seen"), Question("t", kind="value"))
    Y, votes = catalog.labels()
    np.testing.assert_array_equal(Y, [[0, 1, 1, -5], [1, 0, 0, 0], [NAN, NAN, 1, 3], [0, 1, 1, 10]])
    np.testing.assert_array_equal(votes, [[0, 1, NAN, NAN], [1, 0, NAN, NAN], [NAN] * 4, [0, 1, NAN, NAN]])
    columns = catalog.columns
    assert set(columns) == {
        *("kind_total-votes", "kind_flat", "kind_flat_fraction", "kind_round", "kind_round_fraction"),
        *("seen_fraction", "kind", "seen", "t", "mag", "specobjid"),
    }
    np.testing.assert_array_equal(columns["mag"], as_floats(ROWS["mag"]))
    assert decode_strings(encode_column(columns["specobjid"])).tolist() == [
        "" if value is None else str(value) for value in ROWS["specobjid"]
    ]


@pytest.mark.parametrize("order", [[2, 0, 1], [0, 2]], ids=["sorted", "filtered"])
def test_a_saved_index_does_not_mix_rows(order: list[int], folder: Path) -> None:
    """`DataFrame.to_parquet` keeps the index, and pandas aligns by it."""
    frame = pd.DataFrame({"name": list("abc"), "file": ["a.png", "b.png", "c.png"], "mag": [1.0, 2, 3], "t": [0, 5, 9]})
    made = small(folder, frame.iloc[order], ["t"])
    expected = frame.iloc[order]
    assert made.ids.tolist() == expected["name"].tolist()
    assert made.frame["image"].tolist() == expected["file"].tolist()
    assert made.frame["mag"].tolist() == expected["mag"].tolist()
    np.testing.assert_array_equal(made.labels()[0][:, 0], expected["t"])


def test_an_id_that_was_the_index(folder: Path) -> None:
    frame = pd.DataFrame({"objid": [7, 5], "file": ["a.png", "b.png"]}).set_index("objid")
    frame.to_parquet(folder / "x.parquet")
    assert catalog_from_table(folder / "x.parquet", folder, "objid", "file").ids.tolist() == ["7", "5"]


def test_min_votes(folder: Path) -> None:
    catalog = catalog_from_table(write_table(folder, "csv"), folder, "objid", "file", ["kind"])
    assert np.isnan(catalog.labels(min_votes=2)[0]).all()
    assert np.isnan(catalog.labels(min_votes=1)[0]).sum() == 2


@pytest.mark.parametrize("missing", ["id", "image", "label", "ra"])
def test_a_missing_column_names_the_nearest(missing: str, folder: Path) -> None:
    names = {"id": "objid", "image": "file", "label": "kind", "ra": "RA"} | {missing: "mog"}
    with pytest.raises(CatalogError, match=r"survey\.csv has no column 'mog'\. Did you mean 'mag'\?"):
        catalog_from_table(
            write_table(folder, "csv"), folder, names["id"], names["image"], [names["label"]], "s", names["ra"], "DEC"
        )


def test_a_table_without_rows(folder: Path) -> None:
    (folder / "x.csv").write_text("name,file\n")
    with pytest.raises(CatalogError, match=r"x\.csv has no rows"):
        catalog_from_table(folder / "x.csv", folder, "name", "file")


def test_no_image_there(folder: Path) -> None:
    with pytest.raises(CatalogError, match=r"none of the 4 images is there; looked for .*Check --images"):
        catalog_from_table(write_table(folder, "csv"), folder / "elsewhere", "objid", "file")


def test_images_that_are_not_there_are_counted(folder: Path) -> None:
    (folder / "c.png").unlink()
    catalog = catalog_from_table(write_table(folder, "csv"), folder, "objid", "file")
    assert catalog.missing_images() == [str(folder / "c.png")]


def test_rows_without_an_image_name(folder: Path) -> None:
    for values in (["a.png", None], pd.Categorical(["a.png", None])):
        made = small(folder, pd.DataFrame({"name": ["x", "y"], "file": values}))
        assert made.frame["image"].tolist() == ["a.png", ""]
        assert len(made.missing_images()) == 1


def test_images_named_by_numbers(folder: Path) -> None:
    made = small(folder, pd.DataFrame({"name": ["x", "y"], "file": pd.array([12, None], "Int64")}))
    assert made.frame["image"].tolist() == ["12", ""]


@pytest.mark.parametrize("core", ["id_str", "survey", "ra", "dec", "image"])
def test_columns_named_like_the_catalogs_own(core: str, folder: Path) -> None:
    frame = pd.DataFrame({"name": ["a", "b"], "file": ["a.png", "b.png"], core: ["p", "q"]})
    made = small(folder, frame, survey="mine") if core not in ("ra", "dec") else small(folder, frame)
    assert list(made.frame.columns) == ["id_str", "survey", "ra", "dec", "image", f"{core}_original"]
    assert made.frame[f"{core}_original"].tolist() == ["p", "q"]
    assert made.ids.tolist() == ["a", "b"]
    assert made.frame["image"].tolist() == ["a.png", "b.png"]
    assert made.surveys == ["mine"]


def test_a_renamed_column_does_not_replace_another(folder: Path) -> None:
    columns = {"survey_original": [1, 2], "survey": ["p", "q"], "survey_original_original": [3, 4]}
    made = small(folder, pd.DataFrame({"name": ["a", "b"], "file": ["a.png", "b.png"]} | columns))
    kept = [made.frame[name].tolist() for name in made.frame.columns if name.startswith("survey_")]
    assert sorted(map(str, kept)) == sorted(["[1, 2]", "['p', 'q']", "[3, 4]"])


def test_other_positions_than_those_asked_for_are_kept(folder: Path) -> None:
    frame = pd.DataFrame({"name": ["a"], "file": ["a.png"], "ra": ["old"], "RA2000": [5.0], "DE2000": [6.0]})
    made = small(folder, frame, ra_column="RA2000", dec_column="DE2000")
    assert (made.frame["ra"].tolist(), made.frame["dec"].tolist()) == ([5.0], [6.0])
    assert made.frame["ra_original"].tolist() == ["old"]
    assert "RA2000" not in made.frame


@pytest.mark.parametrize(
    ("labels", "taken"), [(["ra"], "ra"), (["disk", "disk_fraction"], "disk_fraction")], ids=["core", "each-other"]
)
def test_labels_that_would_replace_a_column(labels: list[str], taken: str, folder: Path) -> None:
    columns = {"ra": [5.0, 6.0], "dec": [1.0, 2.0], "disk": [0.5, 0.25], "disk_fraction": [0, 1]}
    frame = pd.DataFrame({"name": ["a", "b"], "file": ["a.png", "b.png"]} | columns)
    with pytest.raises(CatalogError, match=f"'{labels[-1]}' makes a column '{taken}', which the catalog has already"):
        small(folder, frame, labels)


def test_a_label_given_twice_is_one_question(folder: Path) -> None:
    frame = pd.DataFrame({"name": ["a", "b"], "file": ["a.png", "b.png"], "t": [2, 3]})
    assert small(folder, frame, ["t", "t"]).questions == (Question("t", kind="value"),)


AWKWARD = {
    "Int64": pd.array([299489677444933632, None], "Int64"),
    "small": pd.array([3, None], "Int16"),
    "whole": pd.array([3, 4], "Int32"),
    "Float64": pd.array([1.5, None], "Float64"),
    "boolean": pd.array([True, None], "boolean"),
    "string": pd.array(["p", None], "string"),
    "date": pd.to_datetime(["2020-01-02", None]),
    "day": pd.to_datetime(["2020-01-02", None]).date,
    "zone": pd.to_datetime(["2020-01-02", None]).tz_localize("UTC"),
    "length": pd.to_timedelta([5, None], unit="s"),
    "category": pd.Categorical(["p", None]),
    "numbers": pd.Categorical([1, None]),
    "truth": pd.Categorical([True, None]),
    "float32": np.array([1.5, NAN], np.float32),
    "nothing": [None, None],
    "a/b%": [1, 2],
}
STORED = {
    "Int64": ["299489677444933632", ""],
    "small": [3.0, NAN],
    "whole": [3, 4],
    "Float64": [1.5, NAN],
    "string": ["p", ""],
    "date": ["2020-01-02 00:00:00", ""],
    "day": ["2020-01-02", ""],
    "zone": ["2020-01-02 00:00:00+00:00", ""],
    "length": ["0 days 00:00:05", ""],
    "category": ["p", ""],
    "float32": [1.5, NAN],
    "nothing": ["", ""],
    "a/b%": [1, 2],
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_columns_survive_the_disk_and_become_what_a_store_can_hold(name: str, folder: Path) -> None:
    frame = pd.DataFrame({"name": ["a", "b"], "file": ["a.png", "b.png"], name: AWKWARD[name]})
    made = small(folder, frame)
    again = Catalog.read(made.write(folder / "catalog.parquet"))
    for catalog in (made, again):
        values = encode_column(catalog.columns[name])
        assert values.dtype.kind in "biufS"
        if name in STORED:
            held = decode_strings(values) if values.dtype.kind == "S" else values
            np.testing.assert_array_equal(held, STORED[name])


# from folders


def test_a_folder_and_below(tmp_path: Path) -> None:
    names = ["b.png", "a.JPG", "deep/er/c.jpeg", "deep/b.tif", "galaxy.v2.png", "notes.txt", "x.fits", "noending"]
    hidden = ["._a.JPG", ".cache/d.png", "deep/._b.tif", ".png"]
    for name in names + hidden:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    catalog = catalog_from_folder(tmp_path, "mine")
    found = dict(zip(catalog.ids, catalog.frame["image"], strict=True))
    assert found == {
        "a": "a.JPG",
        "b": "b.png",
        "deep/b": "deep/b.tif",
        "deep/er/c": "deep/er/c.jpeg",
        "galaxy.v2": "galaxy.v2.png",
        "x": "x.fits",
    }
    assert catalog_from_folder(tmp_path, pattern="*.fits").ids.tolist() == ["x"]
    assert catalog_from_folder(tmp_path, pattern="deep/*").ids.tolist() == ["deep/b", "deep/er/c"]
    with pytest.raises(CatalogError, match=r"holds no images that match '\*\.webp'"):
        catalog_from_folder(tmp_path, pattern="*.webp")
    assert catalog.image_root == str(tmp_path.resolve())
    assert catalog.frame["ra"].isna().all()
    assert catalog.questions == ()
    assert not catalog.missing_images()


def test_a_hidden_folder_above_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / ".data").mkdir()
    (tmp_path / ".data" / "a.png").touch()
    assert catalog_from_folder(tmp_path / ".data").ids.tolist() == ["a"]


def test_files_that_would_share_an_id(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "b.png", "sub"):
        (tmp_path / name).mkdir() if name == "sub" else (tmp_path / name).touch()
    (tmp_path / "sub" / "b.png").touch()
    with pytest.raises(CatalogError, match="1 ids appear more than once: a"):
        catalog_from_folder(tmp_path)


def test_files_named_by_hashes(tmp_path: Path) -> None:
    for name in ("12e45678", "00000e01", "deadbeef"):
        (tmp_path / f"{name}.png").touch()
    assert catalog_from_folder(tmp_path).ids.tolist() == ["00000e01", "12e45678", "deadbeef"]


def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"holds no images\. Known endings: \.jpg, "):
        catalog_from_folder(tmp_path)
    with pytest.raises(CatalogError, match="is not a folder"):
        catalog_from_folder(tmp_path / "nowhere")


# on disk


def test_a_round_trip(folder: Path) -> None:
    made = catalog_from_table(write_table(folder, "fits"), folder, "objid", "file", ["kind", "seen", "t"], "sky")
    again = Catalog.read(made.write(folder / "out" / "sky.parquet"))
    assert again.questions == made.questions
    assert again.image_root == made.image_root == str(folder.resolve())
    assert list(again.frame.columns) == list(made.frame.columns)
    for name in made.frame.columns:
        left, right = (
            frame[name].astype(object).where(frame[name].notna(), None) for frame in (made.frame, again.frame)
        )
        assert left.tolist() == right.tolist(), name
    np.testing.assert_array_equal(again.labels()[0], made.labels()[0])
    assert [path.name for path in (folder / "out").iterdir()] == ["sky.parquet"]


def test_questions_with_parents_survive(tmp_path: Path) -> None:
    questions = (Question("a", ("x", "y")), Question("b", ("p",), parent="a_x"), Question("c", kind="value"))
    Catalog(named("1").frame, questions, "/r").write(tmp_path / "c.parquet")
    assert Catalog.read(tmp_path / "c.parquet").questions == questions


def test_any_program_can_read_it(folder: Path) -> None:
    made = catalog_from_table(write_table(folder, "csv"), folder, "objid", "file", ["kind"])
    table = pq.read_table(made.write(folder / "c.parquet"))
    assert table["id_str"].to_pylist() == IDS
    assert pa.types.is_large_string(table["id_str"].type) or pa.types.is_string(table["id_str"].type)
    assert table["ra"].to_pylist()[:2] == [160.5, 0.0]
    assert table["kind_round_fraction"].to_pylist()[1] == 0.0


def test_what_is_not_a_catalog(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"no\.parquet does not exist\. Make it with: sommelier catalog table"):
        Catalog.read(tmp_path / "no.parquet")
    (tmp_path / "text.parquet").write_text("id,file\n")
    with pytest.raises(CatalogError, match="cannot be read as Parquet"):
        Catalog.read(tmp_path / "text.parquet")
    pq.write_table(pa.table({"id": [1]}), tmp_path / "plain.parquet")
    with pytest.raises(CatalogError, match=r"is a Parquet table, but not a catalog\. Make a catalog"):
        Catalog.read(tmp_path / "plain.parquet")


def test_a_catalog_of_another_version(tmp_path: Path) -> None:
    path = named("1").write(tmp_path / "c.parquet")
    table = pq.read_table(path)
    metadata = dict(table.schema.metadata)
    for version, fine in ((b"1.9", True), (b"2.0", False)):
        pq.write_table(table.replace_schema_metadata(metadata | {b"version": version}), path)
        if fine:
            assert len(Catalog.read(path)) == 1
        else:
            with pytest.raises(CatalogError, match=r"catalog version 2\.0; this program reads 1\.0"):
                Catalog.read(path)


def test_a_catalog_cut_short(tmp_path: Path) -> None:
    path = named(*map(str, range(1000))).write(tmp_path / "c.parquet")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CatalogError, match="cannot be read as Parquet"):
        Catalog.read(path)


# several


def test_catalogs_one_after_another() -> None:
    together, roots, index = concatenate_catalogs(
        [named("a", "b", root="/one", x=[1, 2]), named("c", root="/two", y=["p"]), named("d", root="/one", x=[4])]
    )
    assert together.ids.tolist() == ["a", "b", "c", "d"]
    assert roots == ["/one", "/two"]
    assert index.tolist() == [0, 0, 1, 0]
    np.testing.assert_array_equal(together.columns["x"], [1, 2, NAN, 4])
    assert together.columns["y"].tolist() == [None, None, "p", None]


def test_an_id_in_two_catalogs() -> None:
    with pytest.raises(CatalogError, match="the catalogs together: 1 ids appear more than once: b"):
        concatenate_catalogs([named("a", "b"), named("b", "c")])


def test_questions_that_disagree() -> None:
    first, second = (Catalog(named(name).frame, (Question("q", (name,)),)) for name in "ab")
    with pytest.raises(SommelierError, match="question 'q' is defined in two ways"):
        concatenate_catalogs([first, second])


def test_surveys_go_to_stores_of_their_own() -> None:
    mixed = Catalog(
        pd.concat([named("a", survey="sdss").frame, named("b", "c", survey="decals").frame], ignore_index=True),
        (Question("q"),),
        "/images",
    )
    more = named("d", survey="sdss", root="/more")
    assert mixed.surveys == ["decals", "sdss"]
    split = {str(path): group for path, group in split_surveys([mixed, more], "out/{survey}.h5")}
    assert {path: [c.ids.tolist() for c in group] for path, group in split.items()} == {
        "out/sdss.h5": [["a"], ["d"]],
        "out/decals.h5": [["b", "c"]],
    }
    kept = split["out/decals.h5"][0]
    assert (kept.questions, kept.image_root, kept.frame.index.tolist()) == ((Question("q"),), "/images", [0, 1])


def test_one_store_without_a_place_for_the_survey() -> None:
    catalogs = [named("a", survey="sdss"), named("b", survey="decals")]
    ((path, group),) = split_surveys(catalogs, "all.h5")
    assert (str(path), group) == ("all.h5", catalogs)
