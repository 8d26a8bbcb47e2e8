"""Releases by the command line: catalogs, what they hold, who is in both, embeddings, a head over two surveys."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from click.testing import CliRunner

from embeddings.store import EmbeddingStore
from extract.schema import CAMPAIGNS
from sommelier import main
from tests.extract.galaxy_zoo import N, draw_image, write_decals, write_sdss, write_ukidss
from tests.test_commands import run


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three releases."""
    monkeypatch.chdir(tmp_path)
    write_sdss(tmp_path / "gz2")
    write_decals(tmp_path / "gzd", "decals5")
    write_ukidss(tmp_path / "gzu")
    return tmp_path


def fail(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 1, result.output
    assert result.output.startswith("Error: ")
    return result.output


def test_from_releases_to_a_head_over_two_surveys(place: Path) -> None:
    output = run("catalog", "sdss", "gz2", "-o", "sdss.parquet")
    assert f"sdss.parquet: {N} galaxies of sdss, images under {(place / 'gz2').resolve()}" in output
    assert "bulge-size: no | just-noticeable | obvious | dominant" in output
    run("catalog", "ukidss", "gzu", "--crosswalk", "gzu/crosswalk.csv", "--positions", "sdss.parquet",
        "-o", "ukidss.parquet")  # fmt: skip
    run("catalog", "decals", "gzd", "--drop", "wrong_size_warning", "--cross", "bar-dr5", "-o", "decals.parquet")

    info = json.loads(run("catalog", "info", "decals.parquet", "--json"))
    assert (info["rows"], info["images"], info["positions"]) == (N - 1, N - 1, N - 1)
    questions = {record["name"]: record for record in info["questions"]}
    assert questions["merging-dr5"]["unless"] == "smooth-or-featured_artifact"
    assert questions["smooth-or-featured"]["share_expected"] == questions["smooth-or-featured"]["share_reached"] == 1
    for record in questions.values():  # everybody walked the tree: what it lets expect is what was counted
        assert record["share_expected"] == pytest.approx(record["share_reached"], abs=2e-4)
    assert "made of bar-dr5 by the lossy map" in run("catalog", "info", "decals.parquet")

    match = json.loads(run("catalog", "match", "sdss.parquet", "ukidss.parquet", "-o", "pairs.parquet", "--json"))
    assert (match["pairs"], match["unplaced_b"]) == (N - 1, 1)
    assert len(match["labels"]) == 30
    pairs = pd.read_parquet("pairs.parquet")
    assert list(pairs) == ["id_a", "survey_a", "id_b", "survey_b", "separation_arcsec"]
    walk = pd.read_csv("gzu/crosswalk.csv", dtype=str).set_index("subject_id")["dr7objid"]
    assert pairs["id_a"].tolist() == walk[pairs["id_b"]].tolist()

    run("extract", "sdss.parquet", "ukidss.parquet", "--backbone", "tiny", "--size", "28", "-o", "{survey}.h5")
    store = EmbeddingStore.open("sdss.h5")
    assert store.questions == CAMPAIGNS["gz2"].questions
    record = json.loads(
        run("head", "fit", "sdss.h5", "ukidss.h5", "--head", "mean", "--folds", "2", "--targets", "smooth-or-*",
            "-o", "head", "--json")
    )  # fmt: skip
    assert [score["n"] for score in record["scores"]] == [2 * N] * 3

    run("catalog", "sdss", "gz2", "--fractions", "debiased", "-o", "debiased.parquet")
    run("relabel", "sdss.h5", "debiased.parquet")
    assert EmbeddingStore.open("sdss.h5").questions[0].fractions == "debiased"


def test_raw_and_debiased_labels_are_not_mixed(place: Path) -> None:
    run("catalog", "sdss", "gz2", "-o", "raw.parquet")
    run("catalog", "sdss", "gz2", "--fractions", "debiased", "--survey", "other", "-o", "debiased.parquet")
    run("extract", "raw.parquet", "debiased.parquet", "--backbone", "tiny", "--size", "28", "-o", "{survey}.h5")
    assert "'smooth-or-featured' is defined in two ways" in fail("head", "fit", "sdss.h5", "other.h5", "-o", "head")


def test_outputs_replace_nothing_of_the_release(place: Path) -> None:
    table = place / "gz2/gz2_hart16.csv"
    before = table.read_bytes()
    assert "would lose it" in fail("catalog", "sdss", table, "-o", table)
    assert "no Parquet file: it would be lost" in fail("catalog", "decals", "gzd", "-o", table)
    assert table.read_bytes() == before


def test_outputs_replace_only_what_we_wrote(place: Path) -> None:
    """Releases are Parquet too."""
    release = place / "gzd/gz_decals_volunteers_5.parquet"
    pd.read_csv(place / "gzd/gz_decals_volunteers_5.csv").to_parquet(release)
    before = release.read_bytes()
    assert "was not made by this program" in fail("catalog", "decals", "gzd", "-o", release)
    run("catalog", "decals", "gzd", "-o", "decals.parquet")
    run("catalog", "decals", "gzd", "-o", "decals.parquet")
    run("catalog", "sdss", "gz2", "-o", "sdss.parquet")
    assert "was not made by this program" in fail("catalog", "match", "sdss.parquet", "decals.parquet", "-o", release)
    assert release.read_bytes() == before


def test_a_catalogs_question_takes_the_stores_votes_with_it(place: Path) -> None:
    """Predictions must not lie beside the votes of another campaign."""
    run("catalog", "decals", "gzd", "-o", "votes.parquet")
    table = pd.read_csv("gzd/gz_decals_volunteers_5.csv")
    fractions = [name for name in table if name.endswith("_fraction")]
    predicted = table[["iauname", "ra", "dec", *fractions]].assign(**dict.fromkeys(fractions, 0.25))
    predicted.to_csv("gzd/gz_decals_auto_posteriors.csv", index=False)
    run("catalog", "decals", "gzd/gz_decals_auto_posteriors.csv", "-o", "predicted.parquet")
    for catalog in ("votes.parquet", "predicted.parquet"):
        run("extract", catalog, "--backbone", "tiny", "--size", "28", "-o", "d.h5")
    store = EmbeddingStore.open("d.h5")
    assert set(store.column("bar-dr5_strong_fraction")) == {0.25}
    assert not {"bar-dr5_strong", "bar-dr5_total-votes"} & set(store.columns)
    assert "petro_theta" in store.columns


def test_jpegs_and_fits_share_a_store(place: Path) -> None:
    rng = np.random.default_rng(0)
    for folder, name in (("first", "a"), ("second", "b")):
        (place / folder).mkdir()
        if name == "a":
            fits.writeto(place / folder / "a.fits", rng.normal(5, 1, (40, 40)).astype(np.float32))
        else:
            draw_image(place / folder / "b.jpg", 99)
        run("catalog", "folder", folder, "--survey", "mine", "-o", f"{folder}.parquet")
    extract = ["--backbone", "tiny", "--size", "28", "-o", "mine.h5"]
    run("extract", "first.parquet", *extract)
    assert "2 rows, 2 ok, 0 failed" in run("extract", "second.parquet", *extract)
    assert "--stretch, --bands and --cutout are for FITS images" in fail(
        "extract", "second.parquet", *extract[:-1], "other.h5", "--stretch", "asinh"
    )


def test_match_says_what_cannot_be_checked(place: Path) -> None:
    run("catalog", "sdss", "gz2", "-o", "sdss.parquet")
    run("catalog", "ukidss", "gzu", "-o", "ukidss.parquet")
    output = fail("catalog", "match", "sdss.parquet", "ukidss.parquet", "-o", "pairs.parquet")
    assert "the second catalog (ukidss) has no positions" in output
    assert not Path("pairs.parquet").exists()


def test_schema(place: Path) -> None:
    output = run("catalog", "schema", "dr5")
    assert "bulge-size-dr5: dominant | large | moderate | small | none, after disk-edge-on_no" in output
    assert "bulge-size-dr5: no map; its five sizes have no exact counterpart" in output
    record = json.loads(run("catalog", "schema", "--json"))
    assert len(record["lists"]["study-52"]) == 52
    assert record["crossings"]["maps"]["bar-dr5"]["answers"]["yes"] == ["strong", "weak"]


def test_fits_images_by_the_command_line(place: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        for band in ("g", "r"):
            fits.writeto(place / f"{name}-{band}.fits", rng.normal(5, 1, (40, 40)).astype(np.float32))
    (place / "t.csv").write_text("id,image\na,a-{band}.fits\nb,b-{band}.fits\nc,c-{band}.fits\n")
    run("catalog", "table", "t.csv", "--images", ".", "--id", "id", "--image", "image", "-o", "t.parquet")
    extract = ["extract", "t.parquet", "--backbone", "tiny", "--size", "28", "-o", "t.h5", "--max-failures", "50%"]
    assert "say which there are with --bands" in fail(*extract)
    assert "3 rows, 2 ok, 1 failed" in run(*extract, "--bands", "g,r")
    before = (place / "t.h5").stat().st_mtime_ns
    assert "3 rows, 2 ok, 1 failed" in run(*extract, "--bands", "g,r")
    assert (place / "t.h5").stat().st_mtime_ns == before  # nothing was computed again
    assert "images.bands" in fail(*extract, "--bands", "r,g")
    assert "worst cosine 1.0000000" in run("verify", "t.h5", "--deep", "2")
    assert "'lupto' is not known. Did you mean 'lupton'" in fail(*extract, "--bands", "g,r", "--stretch", "lupto")
    usage = CliRunner().invoke(main, [*extract, "--max-missing", "30"])
    assert usage.exit_code == 2
    assert "write 20% or 0.2" in usage.output
