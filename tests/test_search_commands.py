"""index, search, duplicates and map by the command line, on stores that the commands themselves made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from embeddings.store import EmbeddingStore
from sommelier import main
from tests.embeddings.conftest import names_in


def call(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def run(*words: object) -> str:
    code, output = call(*words)
    assert code == 0, output
    return output


@pytest.fixture(scope="module")
def stores(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Forty galaxies as north, twenty of them encoded again as JPEG in south, both by ``tiny``."""
    folder = tmp_path_factory.mktemp("stores")
    images = folder / "south-images"
    images.mkdir()
    for number in range(20):
        Image.open(image_folder / f"g{number:02}.png").save(images / f"s{number:02}.jpg", quality=98, subsampling=0)
    shutil.copy(image_folder / "labels.csv", folder / "labels.csv")
    table = ["catalog", "table", folder / "labels.csv", "--images", image_folder, "--id", "name", "--image", "file"]
    run(*table, "--label", "kind", "--survey", "north", "-o", folder / "north.parquet")
    run("catalog", "folder", images, "--survey", "south", "-o", folder / "south.parquet")
    for survey in ("north", "south"):
        run(
            "extract", folder / f"{survey}.parquet", "--backbone", "tiny", "--size", "56", "-o", folder / f"{survey}.h5"
        )
    return {survey: folder / f"{survey}.h5" for survey in ("north", "south")}


def test_from_stores_to_a_gallery(stores: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    output = run("search", stores["north"], stores["south"], "--id", "g03", "-k", "4", "--gallery", page)
    assert "Like g03, of 60 galaxies" in output
    assert "Exact search." in output
    html = page.read_text()
    assert html.count("data:image/jpeg;base64,") == 5  # the query and four neighbours
    assert "s03" in html
    assert "http" not in html.replace("https://aladin.cds.unistra.fr", "")  # links, and nothing to be fetched
    assert "target=10.300000%20-5.500000" in html
    run("search", stores["north"], "--id", "g04", "--gallery", page)  # its own page is replaced
    page.write_text("mine")
    code, output = call("search", stores["north"], "--id", "g04", "--gallery", page)
    assert (code, page.read_text()) == (1, "mine")
    assert "was not made by this program" in output


def test_json_has_its_names_and_nothing_else_is_printed(stores: dict[str, Path]) -> None:
    record = json.loads(run("search", stores["north"], "--id", "g03", "-k", "3", "--json"))
    assert record["query"]["id_str"] == "g03"
    assert [set(row) for row in record["neighbours"]] == [{"id_str", "survey", "similarity", "ra", "dec"}] * 3
    assert "g03" not in [row["id_str"] for row in record["neighbours"]]
    X = EmbeddingStore.open(stores["north"]).table().X.astype(float)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    expected = np.argsort(-(X @ X[3]))[1:4]
    assert [row["id_str"] for row in record["neighbours"]] == [f"g{row:02}" for row in expected]


def test_an_index_is_built_searched_and_added_to(stores: dict[str, Path], tmp_path: Path) -> None:
    index = tmp_path / "galaxies.index"
    assert "40 rows, 40 of them new; exact (40 rows" in run("index", stores["north"], "-o", index, "--recall", "0.95")
    assert "60 rows, 20 of them new" in run("index", stores["north"], stores["south"], "-o", index)
    filtered = ["--survey", "north", "--where", "kind = flat", "--where", "size < 3"]
    record = json.loads(run("search", index, "--radec", "10.3001,-5.5", "--radius", "5", *filtered, "--json"))
    assert record["query"]["id_str"] == "g03"
    labels = pd.read_csv(stores["north"].with_name("labels.csv")).set_index("name")
    allowed = labels[(labels["kind"] == "flat") & (labels["size"] < 3)].index
    assert {row["id_str"] for row in record["neighbours"]} == set(allowed) - {"g03"}
    assert record["searched"] == len(allowed)


def test_a_survey_without_the_column_of_a_condition_is_named(stores: dict[str, Path]) -> None:
    said = "size < 3: left out all of south, where there is no column 'size'"
    words = ["search", *stores.values(), "--id", "g03", "--where", "size < 3"]
    assert said in run(*words)
    assert said not in run(*words, "--survey", "north")
    assert "left out all" not in run("search", *stores.values(), "--id", "g03", "--where", "ra > 0")


def test_pictures_and_vectors_are_queries(stores: dict[str, Path], image_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.png"
    shutil.copy(image_folder / "g05.png", copy)
    page = tmp_path / "out.html"
    record = json.loads(run("search", stores["north"], "--image", copy, "-k", "2", "--gallery", page, "--json"))
    assert record["query"] == {"image": str(copy)}
    assert record["neighbours"][0]["id_str"] == "g05"
    assert record["neighbours"][0]["similarity"] > 0.99999
    assert page.read_text().count("data:image/jpeg") == 3
    np.save(tmp_path / "v.npy", EmbeddingStore.open(stores["north"]).vectors()[6].astype(np.float32))
    record = json.loads(run("search", stores["north"], "--vector", tmp_path / "v.npy", "-k", "1", "--json"))
    assert record["neighbours"][0]["id_str"] == "g06"
    record = json.loads(run("search", *stores.values(), "--image", copy, "-k", "3", "--distinct", "--json"))
    assert len({row["id_str"][1:] for row in record["neighbours"]} & {"05"}) == 0  # both are copies of the query


def test_duplicates_are_the_copies(stores: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    output = run("duplicates", *stores.values(), "-o", path)
    pairs = pd.read_parquet(path)
    assert list(pairs) == ["id_a", "survey_a", "id_b", "survey_b", "similarity"]
    assert set(zip(pairs["id_a"], pairs["id_b"], strict=True)) >= {(f"g{n:02}", f"s{n:02}") for n in range(20)}
    assert f"{len(pairs)} pairs of near-identical images among 60" in output
    summary = json.loads(run("duplicates", *stores.values(), "-o", path, "--plain", "--threshold", "-1", "--json"))
    assert summary == {"rows": 60, "pairs": 60 * 59 // 2, "within_a_store": 40 * 39 // 2 + 20 * 19 // 2,
                       "threshold": -1.0, "vectors": "plain"}  # fmt: skip


def test_a_map_is_one_page(stores: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "map.html"
    output = run("map", *stores.values(), "--color", "kind", "--color", "size", "-o", page)
    assert "60 galaxies by pca, 60 thumbnails" in output
    data = json.loads(page.read_text().split('id="data">')[1].split("</script>")[0])
    assert list(data["columns"]) == ["kind", "survey", "size"]
    assert sorted(data["columns"]["kind"]["labels"]) == ["flat", "missing", "round"]
    assert data["surveys"] == ["north", "south"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--id", "g99"], "no galaxy has the id 'g99'. Did you mean"),
        (["--radec", "11,-5.5004", "--radius", "1"], "The nearest is g10 of north, 1.44 arcsec away"),
        (["--radec", "200,80"], "degrees away"),
        (["--radec", "10.3,-5.5", "--radius", "nan"], "an angle of 0 or more arcsec"),
        (["--id", "g01", "--as", "south"], "g01 is not in south, but in north"),
        (["--id", "g01", "--where", "kid = flat"], "no column is called 'kid'. Did you mean 'kind'"),
        (["--id", "g01", "--where", "kind < 3"], "kind is text in"),
        (["--id", "g01", "--where", "size = big"], "size holds numbers in"),
        (["--id", "g01", "--where", "size"], "is no condition"),
        (["--id", "g01", "--survey", "nort"], "no survey is called 'nort'. Did you mean 'north'"),
        (["--image", "nothing.png"], "nothing.png: no such file. It cannot be embedded as the images of"),
        (["--vector", "nothing.npy"], "nothing.npy does not exist"),
        (["--id", "g01", "--layer", "2"], "does not hold L2-cls"),
    ],
)  # fmt: skip
def test_bad_input_is_explained(words: list[str], message: str, stores: dict[str, Path]) -> None:
    code, output = call("search", stores["north"], *words)
    assert code == 1
    assert message in output
    assert output.startswith("Error: ")


def test_wrong_usage(stores: dict[str, Path], tmp_path: Path) -> None:
    assert "give one query" in call("search", stores["north"])[1]
    assert "give one query" in call("search", stores["north"], "--id", "g01", "--radec", "1,2")[1]
    assert "is no place: write RA,DEC" in call("search", stores["north"], "--radec", "here")[1]
    np.savez(tmp_path / "v.npz", a=np.ones(3))
    assert "no single array" in call("search", stores["north"], "--vector", tmp_path / "v.npz")[1]
    (tmp_path / "v.npy").write_text("no numbers")
    assert "no .npy file of numbers" in call("search", stores["north"], "--vector", tmp_path / "v.npy")[1]
    assert (
        "no column is called 'kid' to colour by"
        in call("map", stores["north"], "--color", "kid", "-o", tmp_path / "m")[1]
    )
    for words in (["map", stores["north"], "-o"], ["search", stores["north"], "--id", "g01", "--gallery"]):
        for taken in (stores["north"], tmp_path):
            code, output = call(*words, taken)
            assert code == 1
            assert "would be lost" in output
    assert f"{tmp_path} is no .npy file" in call("search", stores["north"], "--vector", tmp_path)[1]


def test_names_are_no_markup(image_folder: Path, tmp_path: Path) -> None:
    """In a terminal, a gallery and a map."""
    names = ["[/bold]", "<script>alert(1)</script>", "<!--<script>", "[red]x", '"><img src=x onerror=alert(1)>', "a&b"]
    rows = [(f"{name} {n}", f"g0{n}.png", name) for n, name in enumerate(names)]
    pd.DataFrame(rows, columns=["name", "file", "kind"]).to_csv(tmp_path / "t.csv", index=False)
    run("catalog", "table", tmp_path / "t.csv", "--images", image_folder, "--id", "name", "--image", "file",
        "--label", "kind", "--survey", "<i>sky</i>", "-o", tmp_path / "t.parquet")  # fmt: skip
    run("extract", tmp_path / "t.parquet", "--backbone", "tiny", "--size", "28", "-o", tmp_path / "t.h5")
    page = tmp_path / "out.html"
    output = run("search", tmp_path / "t.h5", "--id", "[/bold] 0", "--gallery", page)
    assert all(name in output for name, *_ in rows)
    html = page.read_text()
    assert not any(f"<{tag}" in html for tag in ("script", "!--<", "img src=x", "i>"))
    assert html.count("&lt;i&gt;sky&lt;/i&gt;") >= 6
    run("map", tmp_path / "t.h5", "--color", "kind", "-o", page)
    text = page.read_text().split('id="data">')[1].split("</script>")[0]
    assert "<" not in text
    assert set(json.loads(text)["columns"]["kind"]["labels"]) == set(names)


def test_a_store_is_given_once(stores: dict[str, Path], tmp_path: Path) -> None:
    link = tmp_path / "link.h5"
    link.symlink_to(stores["north"])
    pages = {"search": ["--id", "g01"], "index": ["-o", tmp_path / "i"], "duplicates": ["-o", tmp_path / "p"],
             "map": ["-o", tmp_path / "m"]}  # fmt: skip
    for command, words in pages.items():
        code, output = call(command, stores["north"], link, *words)
        assert code == 1
        assert "north.h5 is given twice" in output
        assert names_in(tmp_path) == ["link.h5"]


def test_an_index_of_two_models_is_refused(stores: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    run("extract", stores["north"].with_name("south.parquet"), "--backbone", "tiny", "--size", "28", "-o", other)
    code, output = call("index", stores["north"], other, "-o", tmp_path / "index")
    assert code == 1
    assert "come from different models" in output
    assert "model.resize.size: 56 here, 28 there" in output
    assert not (tmp_path / "index").exists()
