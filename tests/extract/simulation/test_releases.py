"""Simulated releases: read back by the readers of the real ones, and held against real rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import integrate, optimize, special

from embeddings.errors import SommelierError, StoreError
from extract.catalog import Catalog
from extract.schema import CAMPAIGNS, Dialect
from extract.simulation.answers import expect_shares
from extract.simulation.names import image_path, name_decals, name_places, name_sdss, name_ukidss
from extract.simulation.releases import (
    CONCENTRATIONS,
    DECALS_ORDER,
    PETROSIAN_RATIOS,
    UKIDSS_ORDER,
    classify_gz2,
    estimate_petrosian_radius,
    measure_source_distance,
    write_decals,
    write_sdss,
    write_ukidss,
)
from extract.simulation.volunteers import debias_fractions, draw_volunteers, walk_tree
from extract.study import study_columns
from extract.surveys import read_catalog
from tests.extract.simulation.sky import draw_sight, draw_truth

FIXTURES = "gz_native_format_fixtures"
DIALECTS = {
    "sdss": Dialect.raw_gz2(),
    "decals": Dialect.modern(CAMPAIGNS["dr12"]),
    "ukidss": Dialect.modern(CAMPAIGNS["ukidss"], "-ukidss"),
}
TABLES = {
    "sdss": "sdss/gz2_hart16.csv",
    "decals": "decals/gz_decals_volunteers_1_and_2.csv",
    "ukidss": "ukidss/ukidss_catalog.csv",
}
N, SEED = 400, 5


def draw_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (1, 1)).save(path)


@pytest.fixture(scope="module")
def truth() -> pd.DataFrame:
    sky = draw_truth(N)
    return pd.concat([sky, sky.iloc[:1].assign(galaxy=3 * N)], ignore_index=True)  # two at one place


@pytest.fixture(scope="module")
def votes(truth: pd.DataFrame) -> dict[str, dict[str, np.ndarray]]:
    """Of each survey, with the debiased fractions under ``debiased``."""
    drawn = {}
    for number, (survey, dialect) in enumerate(DIALECTS.items()):
        rng, sight = np.random.default_rng(number), draw_sight(truth, survey)
        shares = expect_shares(truth, sight, dialect.campaign, rng)
        drawn[survey] = walk_tree(shares, dialect.campaign, draw_volunteers(survey, len(truth), rng), rng)
        drawn[survey]["debiased"] = debias_fractions(drawn[survey], truth, sight, dialect.campaign)
    return drawn


@pytest.fixture(scope="module")
def sky(truth: pd.DataFrame, votes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three releases; the first hundred galaxies have images, and UKIDSS is a part of SDSS."""
    root = tmp_path_factory.mktemp("sky")
    write_all(root, truth, votes)
    galaxies = truth["galaxy"].to_numpy()
    names = {
        "sdss": name_sdss(galaxies, SEED)["asset_id"],
        "decals": name_decals(truth["ra"].to_numpy(), truth["dec"].to_numpy()),
        "ukidss": name_ukidss(galaxies[::2], SEED),
    }
    for survey, those in names.items():
        for name in list(those)[:100]:
            draw_image(root / survey / image_path(survey, name))
    return root


def write_all(root: Path, truth: pd.DataFrame, votes: dict[str, Any]) -> None:
    write_sdss(root / "sdss", truth, votes["sdss"], votes["sdss"]["debiased"], SEED)
    distances = np.linspace(140, 165, len(truth))
    write_decals(root / "decals", truth, votes["decals"], votes["decals"]["debiased"], distances)
    part = {name: values[::2] for name, values in votes["ukidss"].items() if name != "debiased"}
    write_ukidss(root / "ukidss", truth[::2], part, SEED)


@pytest.mark.parametrize("survey", DIALECTS)
def test_the_real_reader_gives_back_the_votes(survey: str, sky: Path, votes: dict[str, Any]) -> None:
    catalog = read_catalog(survey, sky / survey)
    every = 2 if survey == "ukidss" else 1
    assert len(catalog) == len(range(0, N + 1, every))
    for question in DIALECTS[survey].campaign.questions:
        counts = np.stack([votes[survey][target][::every] for target in question.targets], axis=1)
        total = counts.sum(axis=1)
        np.testing.assert_array_equal(catalog.frame[list(question.targets)], counts)
        np.testing.assert_array_equal(catalog.frame[question.total_column], total)
        fractions = catalog.frame[[f"{target}_fraction" for target in question.targets]].to_numpy()
        np.testing.assert_array_equal(np.isnan(fractions).all(axis=1), total == 0)
        asked = total > 0
        np.testing.assert_allclose(fractions[asked], counts[asked] / total[asked, None], atol=6e-4)  # three digits
    assert not any("are not votes / total" in note or "only zero fractions" in note for note in catalog.notes)
    there = [Path(catalog.image_root, image).is_file() for image in catalog.frame["image"]]
    assert there == [row < 100 for row in range(len(catalog))]


def test_names_and_places_agree(sky: Path, truth: pd.DataFrame) -> None:
    for survey in ("sdss", "decals"):
        frame = read_catalog(survey, sky / survey).frame
        np.testing.assert_allclose(frame["ra"], truth["ra"], atol=2e-5)
        np.testing.assert_allclose(frame["dec"], truth["dec"], atol=2e-5)
        assert frame["id_str"].is_unique
    named = SkyCoord([f"{n[1:3]}h{n[3:5]}m{n[5:10]}s {n[10:13]}d{n[13:15]}m{n[15:]}s" for n in frame["id_str"]])
    apart = named.separation(SkyCoord(truth["ra"], truth["dec"], unit="deg")).arcsec
    assert apart[:-1].max() < 0.19  # 0.01 s and 0.1 arcsec are cut
    assert apart[-1] < 0.3  # the second galaxy of that place
    assert frame["id_str"].iloc[0] != frame["id_str"].iloc[-1]
    ids = read_catalog("sdss", sky / "sdss").ids
    assert {len(name) for name in ids} == {18}
    table = pd.read_csv(sky / TABLES["sdss"], dtype=str)
    assert table["rastring"].str.fullmatch(r"\d\d:\d\d:\d\d\.\d\d").all()
    assert table["decstring"].str.fullmatch(r"[+-]\d\d:\d\d:\d\d\.\d").all()


def test_ukidss_galaxies_are_those_of_sdss(sky: Path, tmp_path: Path, truth: pd.DataFrame) -> None:
    sdss = read_catalog("sdss", sky / "sdss")
    sdss.write(tmp_path / "sdss.parquet")
    crosswalk = sky / "ukidss/crosswalk.csv"
    ukidss = read_catalog("ukidss", sky / "ukidss", crosswalk=crosswalk, positions=tmp_path / "sdss.parquet")
    assert ukidss.frame["dr7objid"].tolist() == sdss.ids[::2].tolist()
    np.testing.assert_allclose(ukidss.frame["ra"], truth["ra"][::2], atol=2e-5)
    assert len(Catalog.read(tmp_path / "sdss.parquet")) == N + 1


@pytest.mark.parametrize(
    ("survey", "fixture"),
    [("sdss", "galaxy_zoo_2/gz2_hart16.csv"), ("decals", "galaxy_zoo_decals/gz_decals_volunteers_1_and_2.csv")],
)
def test_columns_are_the_real_ones(survey: str, fixture: str, sky: Path, real_data: Path) -> None:
    real, made = pd.read_csv(real_data / FIXTURES / fixture), pd.read_csv(sky / TABLES[survey])
    assert made.columns.tolist() == real.columns.tolist()
    # a whole column of blanks or of one kind of number is read as the real one is
    differ = {name for name in real if real[name].dtype.kind != made[name].dtype.kind}
    assert not differ
    mapping = pd.read_csv(sky / "sdss/gz2_filename_mapping.csv")
    assert (
        mapping.columns.tolist()
        == pd.read_csv(real_data / FIXTURES / "galaxy_zoo_2/gz2_filename_mapping.csv").columns.tolist()
    )


def test_the_studys_columns_are_there_in_order(sky: Path) -> None:
    sdss, decals, ukidss = (pd.read_csv(sky / TABLES[survey], nrows=2).columns for survey in DIALECTS)
    assert len(sdss) == 231
    assert len(ukidss) == 62
    fractions = [name for name in sdss if "_fraction" in name and name.startswith("t")]
    assert fractions == list(study_columns("study-74", DIALECTS["sdss"]))
    for survey, columns in (("sdss", sdss), ("decals", decals), ("ukidss", ukidss)):
        assert set(study_columns("study-26", DIALECTS[survey])) <= set(columns)
    for survey, columns in (("sdss", sdss), ("ukidss", ukidss)):
        assert set(study_columns("study-11", DIALECTS[survey])) <= set(columns)
    assert ukidss[:2].tolist() == ["subfolder", "filename"]
    assert not pd.read_csv(sky / TABLES["ukidss"]).isna().any(axis=None)


def test_what_was_not_asked_is_zero_and_what_is_not_debiased_is_blank(
    sky: Path, truth: pd.DataFrame, votes: dict[str, Any]
) -> None:
    sdss, decals = pd.read_csv(sky / TABLES["sdss"]), pd.read_csv(sky / TABLES["decals"])
    unasked = votes["sdss"]["disk-edge-on_yes"] == 0
    shapes = sdss.filter(like="t09_bulge_shape").loc[unasked]
    assert len(shapes)
    assert (shapes == 0).all(axis=None)
    assert not sdss.isna().any(axis=None)
    z, mag = truth["redshift"], truth["absmag_r"]
    first = sum(
        votes["decals"][f"smooth-or-featured_{answer}"] for answer in ("smooth", "featured-or-disk", "artifact")
    )
    inside = (z > 0.02) & (z < 0.15) & (mag < -21.5) & (mag > -23) & (first >= 30)
    assert 0 < inside.sum() < N
    debiased = decals.filter(like="_debiased")
    np.testing.assert_array_equal(debiased.notna().all(axis=1), inside)
    np.testing.assert_array_equal(debiased.isna().all(axis=1), ~inside)
    np.testing.assert_array_equal(decals["wrong_size_warning"], decals["wrong_size_statistic"] > 161)
    np.testing.assert_allclose(22.5 - 2.5 * np.log10(decals["sersic_nmgy_r"]), truth["mag_r"], atol=1e-5)


def test_few_votes_lose_weight(sky: Path) -> None:
    """In GZ2 artifacts lose about a quarter of their mean by it (0.041 to 0.032), all else hardly anything."""
    sdss = pd.read_csv(sky / TABLES["sdss"])
    for question in DIALECTS["sdss"].campaign.questions:
        stems = [DIALECTS["sdss"].stems[target] for target in question.targets]
        weights, counts = (sdss[[f"{stem}{end}" for stem in stems]].to_numpy() for end in ("_weight", "_count"))
        assert ((weights <= counts) & (weights >= 0)).all()
        kept = weights.sum(axis=0) / counts.sum(axis=0)
        lost = [0.78 if target.endswith("_artifact") else 0.985 for target in question.targets]
        np.testing.assert_allclose(kept, lost, atol=0.06)
        total = weights.sum(axis=1)
        weighted = sdss[[f"{stem}_weighted_fraction" for stem in stems]].to_numpy()[total > 0]
        np.testing.assert_allclose(weighted, weights[total > 0] / total[total > 0, None], atol=2e-3)


def test_the_same_seed_writes_the_same_bytes(
    sky: Path, truth: pd.DataFrame, votes: dict[str, Any], tmp_path: Path
) -> None:
    write_all(tmp_path, truth, votes)
    for table in (*TABLES.values(), "sdss/gz2_filename_mapping.csv", "ukidss/crosswalk.csv"):
        assert (tmp_path / table).read_bytes() == (sky / table).read_bytes()


def test_a_table_is_written_whole_or_not_at_all(
    truth: pd.DataFrame, votes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(tmp_path, truth, votes)
    before = (tmp_path / TABLES["sdss"]).read_bytes()

    def fail(frame: pd.DataFrame, path: Path, **options: Any) -> None:
        Path(path).write_text("half a tab")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(StoreError, match="No space left on device"):
        write_all(tmp_path, truth, votes)
    assert (tmp_path / TABLES["sdss"]).read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "sdss").iterdir()) == ["gz2_filename_mapping.csv", "gz2_hart16.csv"]


# real rows


def read_shares(frame: pd.DataFrame, dialect: Dialect, ending: str) -> dict[str, np.ndarray]:
    stems = {q.name: [dialect.stems[target] for target in q.targets] for q in dialect.campaign.questions}
    return {name: frame[[f"{stem}{ending}" for stem in those]].to_numpy() for name, those in stems.items()}


def test_real_gz2_rows_are_made_again_from_their_counts(real_data: Path, tmp_path: Path) -> None:
    """All but names and weights, to the last digit."""
    real, dialect = pd.read_csv(real_data / FIXTURES / "galaxy_zoo_2/gz2_hart16.csv"), DIALECTS["sdss"]
    counts = {target: real[f"{stem}_count"].to_numpy() for target, stem in dialect.stems.items()}
    write_sdss(
        tmp_path,
        real[["ra", "dec"]].assign(galaxy=range(len(real))),
        counts,
        read_shares(real, dialect, "_debiased"),
        0,
    )
    made = pd.read_csv(tmp_path / "gz2_hart16.csv")
    assert made["gz2_class"].tolist() == real["gz2_class"].tolist() == ["Sc+t", "Sb?m(m)", "Ser"]
    for name in real:
        if name in ("ra", "dec") or (name.endswith(("_fraction", "_debiased")) and "weighted" not in name):
            np.testing.assert_allclose(made[name], real[name], atol=1e-15, rtol=1e-14, err_msg=name)
        elif name.endswith(("_count", "_flag", "string", "sample", "total_classifications", "total_votes")):
            assert made[name].tolist() == real[name].tolist(), name


def test_real_decals_rows_are_made_again_from_their_counts(real_data: Path, tmp_path: Path) -> None:
    file = real_data / FIXTURES / "galaxy_zoo_decals/gz_decals_volunteers_1_and_2.csv"
    real, dialect = pd.read_csv(file), DIALECTS["decals"]
    counts = {target: real[stem].to_numpy() for target, stem in dialect.stems.items()}
    truth = real.iloc[:, :9].rename(
        columns={"elpetro_absmag_r": "absmag_r", "petro_th50": "petro_r50", "petro_th90": "petro_r90"}
    )
    truth["mag_r"] = 22.5 - 2.5 * np.log10(real["sersic_nmgy_r"])
    debiased = read_shares(real, dialect, "_debiased")
    write_decals(tmp_path, truth, counts, debiased, real["wrong_size_statistic"].to_numpy())
    made = pd.read_csv(tmp_path / file.name)
    for name in real:
        if name.endswith("_fraction") or "wrong_size" in name or name in ("ra", "dec", "sersic_nmgy_r", "redshift"):
            np.testing.assert_allclose(made[name], real[name], rtol=2e-7, atol=1e-14, err_msg=name)
        elif name.endswith("_total-votes") or name in dialect.stems.values():
            assert made[name].tolist() == real[name].tolist(), name
    np.testing.assert_allclose(made["petro_theta"], real["petro_theta"], rtol=0.15)
    same = made["iauname"].str[:10] == real["iauname"].str[:10]  # the others are of positions that have moved since
    assert same.tolist() == [True, False, True, True, True, False]


def test_real_images_have_the_published_distance(real_data: Path) -> None:
    folder = real_data / FIXTURES / "galaxy_zoo_decals"
    real = pd.read_csv(folder / "gz_decals_volunteers_5.csv")
    for name, published in zip(real["iauname"], real["wrong_size_statistic"], strict=True):
        (image,) = folder.rglob(f"{name}.png")
        assert measure_source_distance(np.asarray(Image.open(image))) == pytest.approx(published, abs=0.1)


# formulae


def test_the_source_distance_by_hand() -> None:
    image = np.full((4, 4, 3), 10, np.uint8)
    assert np.isnan(measure_source_distance(image))
    image[0, 0] = image[1, 1] = 200  # at 1.5 sqrt 2 and 0.5 sqrt 2 from the centre
    assert measure_source_distance(image) == pytest.approx(np.sqrt(2))


def solve_petrosian(n: float) -> tuple[float, float]:
    """R90 / R50 and the Petrosian radius / R50 of a Sersic profile, by quadrature."""
    b = special.gammaincinv(2 * n, 0.5)

    def light(r: float) -> float:
        return float(integrate.quad(lambda x: 2 * np.pi * x * np.exp(-b * x ** (1 / n)), 0, r, epsabs=1e-12)[0])

    def ratio(r: float) -> float:  # SDSS: the brightness between 0.8 and 1.25 r over that within r
        return (light(1.25 * r) - light(0.8 * r)) / (1.25**2 - 0.8**2) / light(r) - 0.2

    radius = optimize.brentq(ratio, 0.5, 4)
    r50, r90 = (
        optimize.brentq(lambda r, part=part: light(r) - part * light(2 * radius), 1e-2, 2 * radius)
        for part in (0.5, 0.9)
    )
    return r90 / r50, radius / r50


def test_the_petrosian_radius_is_that_of_a_sersic_profile() -> None:
    for row, n in enumerate((0.5, 1, 2, 3, 4, 6)):
        assert solve_petrosian(n) == pytest.approx((CONCENTRATIONS[row], PETROSIAN_RATIOS[row]), abs=1e-3)
    concentration, ratio = solve_petrosian(1.5)  # between two of the table
    assert estimate_petrosian_radius(np.array([2.0]), np.array([2 * concentration])) == pytest.approx(
        2 * ratio, rel=0.01
    )


def test_classes_of_gz2_by_hand() -> None:
    def classify(**answers: int) -> str:
        questions = CAMPAIGNS["gz2"].questions
        chosen = {question.name: answers.get(question.name.replace("-", "_"), 1) for question in questions}
        return classify_gz2({q.name: np.eye(len(q.answers))[[chosen[q.name]]] for q in questions})[0]

    assert classify(smooth_or_featured=2) == "A"
    assert classify(smooth_or_featured=0, how_rounded=2) == "Ec"
    assert classify(smooth_or_featured=0, how_rounded=0, something_odd=0, odd_feature_gz2=0) == "Er(r)"
    assert classify(disk_edge_on=0, bulge_shape=2) == "Sen"
    assert classify(bar=0, bulge_size=3) == "SBa"
    assert classify(has_spiral_arms=0, spiral_arm_count=1, spiral_winding=2, bulge_size=0) == "Sd2l"
    assert classify(bar=0, has_spiral_arms=0, spiral_arm_count=5, something_odd=0, odd_feature_gz2=6) == "SBc?m(u)"


# names


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 360), st.floats(-90, 90), st.booleans())
def test_a_name_tells_its_place(ra: float, dec: float, cut: bool) -> None:
    (name,) = name_places(np.array([ra]), np.array([dec]), cut)
    words = f"{name[1:3]}h{name[3:5]}m{name[5:10]}s {name[10:13]}d{name[13:15]}m{name[15:]}s"
    assert len(name) == 19
    assert float(name[5:10]) < 60 > float(name[15:])
    assert SkyCoord(words).separation(SkyCoord(ra, dec, unit="deg")).arcsec < (0.19 if cut else 0.1)


def test_places_at_the_seams() -> None:
    ra = np.array([359.9999999, 0.0, 126.572601, 15.0, 228.0974579])
    dec = np.array([-0.00001, 89.99999, 54.204586, -9.9999999, 7.496871])
    assert name_places(ra, dec) == [
        "J000000.00-000000.0", "J000000.00+900000.0", "J082617.42+541216.5", "J010000.00-100000.0",
        "J151223.39+072948.7",
    ]  # fmt: skip
    assert name_places(ra, dec, cut=True) == [
        "J235959.99-000000.0", "J000000.00+895959.9", "J082617.42+541216.5", "J010000.00-095959.9",
        "J151223.38+072948.7",
    ]  # fmt: skip


def test_galaxies_at_one_place_have_names_of_their_own() -> None:
    names = name_decals(np.array([15.0] * 3 + [30.0]), np.array([-10.0] * 3 + [0.0]))
    assert names == ["J010000.00-100000.0", "J010000.00-095959.9", "J010000.00-095959.8", "J020000.00+000000.0"]


def test_names_are_unique_and_their_seeds_own() -> None:
    galaxies = np.concatenate([np.arange(200_000), [2**24 - 1]])
    first, second = name_sdss(galaxies, 0), name_sdss(galaxies, 1)
    for names in (first, second):
        assert names["dr7objid"].is_unique
        assert names["asset_id"].is_unique
        assert names["dr7objid"].str.fullmatch(r"5877\d{14}").all()
    assert (first["dr7objid"] != second["dr7objid"]).all()
    pd.testing.assert_frame_equal(name_sdss(galaxies[5:7], 0), first[5:7].reset_index(drop=True))
    subjects = name_ukidss(galaxies, 0)
    assert len(set(subjects)) == len(galaxies)
    assert not set(subjects) & set(name_ukidss(galaxies, 1))
    assert all(len(name) == 24 and int(name, 16) for name in subjects[:9])
    assert len({name[:21] for name in subjects[:4096]}) == 1  # a folder holds 4,096, as in the real archive
    with pytest.raises(SommelierError, match="names up to number 16777215"):
        name_sdss(np.array([2**24]), 0)


def test_images_lie_where_the_releases_have_them() -> None:
    assert image_path("sdss", 16126) == "images/16126.jpg"
    assert image_path("decals", "J125434.08+184156.7") == "gz_decals_dr5_png_part1/J125/J125434.08+184156.7.png"
    subject = "524482bc3ae74054bf009c8f"
    assert image_path("ukidss", subject) == f"images/524482bc3ae74054bf009/{subject}.jpg"
    with pytest.raises(SommelierError, match=r"no release of 'ukids' has images\. Did you mean 'ukidss'"):
        image_path("ukids", subject)


def test_the_orders_of_the_tables_are_whole() -> None:
    for order, campaign in ((DECALS_ORDER, "dr12"), (UKIDSS_ORDER, "ukidss")):
        tree = {question.name: question for question in CAMPAIGNS[campaign].questions}
        assert order.keys() == tree.keys()
        for name, answers in order.items():
            assert sorted(answers.split()) == sorted(tree[name].answers)
