"""Labels by hand, from the table that the catalog was made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from embeddings.errors import CatalogError, SommelierError
from embeddings.questions import Question
from extract.catalog import Catalog
from finetune.data import GalaxyTable, TrainingError, read_galaxies

NUMBERS = np.arange(40)


def change(catalog: Catalog, survey: str, **columns: object) -> Catalog:
    return replace(catalog, frame=catalog.frame.assign(survey=survey, **columns))


def write_votes(folder: Path, survey: str = "voted", **changes: object) -> Path:
    """Three galaxies with 10, 3 and no votes on their shape."""
    frame = pd.DataFrame(
        {
            "id_str": ["a", "b", "c"], "survey": survey, "ra": np.nan, "dec": np.nan, "image": ["a.png", "b.png", ""],
            "shape_smooth": [8.0, 1.0, 0.0], "shape_disk": [2.0, 2.0, 0.0], "shape_total-votes": [10.0, 3.0, 0.0],
            "shape_smooth_fraction": [0.8, 1 / 3, np.nan], "shape_disk_fraction": [0.2, 2 / 3, np.nan],
        } | changes
    )  # fmt: skip
    return Catalog(frame, (Question("shape", ("smooth", "disk")),), "/images").write(folder / f"{survey}.parquet")


def test_labels_votes_and_paths_are_the_tables(galaxies: GalaxyTable, image_folder: Path) -> None:
    flat, odd = NUMBERS % 3 == 0, NUMBERS % 2
    assert galaxies.targets == ["kind_flat", "kind_round", "odd"]
    assert np.array_equal(galaxies.Y, np.stack([flat, ~flat, odd], axis=1).astype(np.float32))
    assert galaxies.Y.dtype == galaxies.votes.dtype == np.float32
    assert np.array_equal(galaxies.votes[:, :2], galaxies.Y[:, :2])  # a category is one vote
    assert np.isnan(galaxies.votes[:, 2]).all()  # a fraction of nobody knows how many
    assert galaxies.paths.tolist() == [str(image_folder / f"g{number:02}.png") for number in NUMBERS]
    assert galaxies.places == [(pytest.approx(10 + number / 10), -5.5) for number in NUMBERS]
    assert [(question.name, list(columns)) for question, columns in galaxies.columns] == [
        ("kind", [0, 1]),
        ("odd", [2]),
    ]


def test_images_are_looked_for_where_told(catalog_file: Path) -> None:
    table = read_galaxies([catalog_file], Path("/elsewhere"), ["odd"])
    assert table.paths[7] == "/elsewhere/g07.png"


def test_what_a_survey_does_not_ask_is_missing(catalog: Catalog, tmp_path: Path) -> None:
    odd, kind = (tuple(q for q in catalog.questions if q.name == name) for name in ("odd", "kind"))
    first = replace(change(catalog, "first"), questions=odd).write(tmp_path / "first.parquet")
    second = replace(change(catalog, "second"), questions=kind).write(tmp_path / "second.parquet")
    table = read_galaxies([first, second])
    assert table.targets == ["odd", "kind_flat", "kind_round"]
    assert table.surveys.tolist() == ["first"] * 40 + ["second"] * 40
    assert np.array_equal(table.Y[:40, 0], NUMBERS % 2)
    assert np.isnan(table.Y[:40, 1:]).all()
    assert np.isnan(table.Y[40:, 0]).all()
    assert np.array_equal(table.Y[40:, 1], NUMBERS % 3 == 0)


def test_galaxies_without_a_label_are_left_out(tmp_path: Path) -> None:
    table = read_galaxies([write_votes(tmp_path)])
    assert (table.ids.tolist(), table.rows.tolist()) == (["a", "b"], [0, 1])
    assert table.votes == pytest.approx(np.array([[8, 2], [1, 2]]))
    assert table.paths.tolist() == ["/images/a.png", "/images/b.png"]
    voted = read_galaxies([write_votes(tmp_path)], min_votes=4)
    assert voted.ids.tolist() == ["a"]
    assert voted.Y.tolist() == [pytest.approx([0.8, 0.2])]


def test_votes_count_whichever_answers_are_learned(tmp_path: Path) -> None:
    table = read_galaxies([write_votes(tmp_path)], targets=["shape_disk"], min_votes=10)
    assert (table.ids.tolist(), table.targets, table.votes.tolist()) == (["a"], ["shape_disk"], [[2.0]])


def test_a_limit_draws_by_the_seed(catalog_file: Path) -> None:
    def draw(limit: int, seed: int) -> list[str]:
        return list(read_galaxies([catalog_file], targets=["odd"], limit=limit, seed=seed).ids)

    ten = draw(10, 0)
    assert (len(ten), ten) == (10, sorted(ten))
    assert ten != [f"g{number:02}" for number in range(10)]  # catalogs are sorted: the first are no sample
    assert draw(10, 0) == ten != draw(10, 1)
    assert set(draw(5, 0)) < set(ten)
    assert len(draw(99, 0)) == 40


def test_galaxies_that_are_taken_keep_their_rows(galaxies: GalaxyTable) -> None:
    some = galaxies.take(galaxies.Y[:, 2] == 1).take(np.array([3, 0]))
    assert some.rows.tolist() == [7, 1]
    assert some.ids.tolist() == ["g07", "g01"]
    assert np.array_equal(some.Y, galaxies.Y[[7, 1]])


def test_no_catalog_is_an_error() -> None:
    with pytest.raises(TrainingError, match=r"data\.catalogs names no catalog"):
        read_galaxies([])


@pytest.mark.parametrize("targets", [(), ("*",)])
def test_a_catalog_without_labels_is_an_error(catalog: Catalog, tmp_path: Path, targets: tuple[str, ...]) -> None:
    file = replace(catalog, questions=()).write(tmp_path / "plain.parquet")
    with pytest.raises(TrainingError, match=r"plain\.parquet has no labels to learn\. .*--label"):
        read_galaxies([file], targets=targets)


def test_a_value_is_an_error(catalog_file: Path) -> None:
    with pytest.raises(TrainingError, match=r"^size of .*catalog\.parquet is no fraction of votes.*data\.targets"):
        read_galaxies([catalog_file])


def test_a_glob_without_a_target_is_an_error(catalog_file: Path) -> None:
    with pytest.raises(SommelierError, match=r"no target matches 'kind_flatt'.*kind_flat"):
        read_galaxies([catalog_file], targets=["kind_flatt"])


def test_a_catalog_without_images_is_an_error(catalog: Catalog, tmp_path: Path) -> None:
    seen = change(catalog, "seen").write(tmp_path / "seen.parquet")
    unseen = change(catalog, "unseen", image="").write(tmp_path / "unseen.parquet")
    with pytest.raises(TrainingError, match=r"unseen\.parquet names no images.*--images"):
        read_galaxies([seen, unseen], targets=["odd"])


def test_a_target_that_no_row_has_is_an_error(tmp_path: Path) -> None:
    gaps = dict.fromkeys(("shape_disk", "shape_disk_fraction"), np.nan)
    file = write_votes(tmp_path, **gaps)
    with pytest.raises(
        TrainingError, match=r"no galaxy of .*voted\.parquet has a label for shape_disk\. .*data\.targets"
    ):
        read_galaxies([file])
    with pytest.raises(TrainingError, match=r"has a label of at least 11 votes \(data\.min_votes\)\.$"):
        read_galaxies([write_votes(tmp_path)], min_votes=11)


def test_a_galaxy_of_one_survey_named_twice_is_an_error(catalog: Catalog, tmp_path: Path) -> None:
    files = [change(catalog, survey).write(tmp_path / f"{survey}.parquet") for survey in ("a", "b")]
    assert len(read_galaxies(files, targets=["odd"])) == 80  # of two surveys, they are two pictures
    with pytest.raises(CatalogError, match=r"one survey twice: a g00, a g01, a g02\."):
        read_galaxies([files[0], files[1], files[0]], targets=["odd"])
