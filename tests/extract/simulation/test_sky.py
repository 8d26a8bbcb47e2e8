"""The whole sky: the same whatever the workers and kills, names that join, folders that are not ours, the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from embeddings.errors import SommelierError, StoreError
from extract.simulation import Sky, simulate_sky
from extract.simulation import sky as sky_module
from extract.simulation.instruments import INSTRUMENTS
from extract.simulation.names import image_path
from extract.simulation.population import draw_population
from extract.surveys import read_catalog
from sommelier import main
from tests.test_commands import run

GALAXIES, SEED, SIZE = 60, 3, 32  # in three parts
NAMES = {"sdss": "asset_id", "decals": "iauname", "ukidss": "subject_id"}
IDS = {"sdss": "dr7objid", "decals": "iauname", "ukidss": "subject_id"}


def simulate(folder: Path, workers: int = 1, galaxies: int = GALAXIES, seed: int = SEED) -> pd.DataFrame:
    return simulate_sky(folder, galaxies, seed, SIZE, workers)


def read_all(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def list_times(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def list_images(folder: Path, truth: pd.DataFrame) -> list[Path]:
    """Those that a table of galaxies promises."""
    rows = [(survey, name) for survey, column in NAMES.items() for name in truth[column] if name]
    return [folder / survey / image_path(survey, name) for survey, name in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by one process, without a stop."""
    folder = tmp_path_factory.mktemp("sky") / "whole"
    simulate(folder)
    return folder


@pytest.fixture(scope="module")
def truth(whole: Path) -> pd.DataFrame:
    return pd.read_parquet(whole / "truth.parquet")


def test_what_a_sky_holds(whole: Path, truth: pd.DataFrame) -> None:
    assert json.loads((whole / "sky.json").read_text()) == Sky(GALAXIES, SEED, SIZE).record | {"complete": True}
    assert {path.name for path in whole.iterdir()} == {"sky.json", "truth.parquet", "sdss", "decals", "ukidss"}
    assert truth["galaxy"].tolist() == list(range(GALAXIES))
    there = {path for path in whole.rglob("*") if path.suffix in (".jpg", ".png")}
    assert there == set(list_images(whole, truth))
    for path in there:
        with Image.open(path) as image:
            assert image.size == (SIZE, SIZE)
    drawn = draw_population(GALAXIES, SEED)
    pd.testing.assert_frame_equal(truth[list(drawn)], drawn, check_dtype=False)
    for survey, column in NAMES.items():
        np.testing.assert_array_equal(truth[column] != "", truth[f"in_{survey}"])
        np.testing.assert_array_equal(truth[f"{survey}_snr"].notna(), truth[f"in_{survey}"])
        assert truth[column][truth[column] != ""].is_unique


@pytest.mark.parametrize("survey", INSTRUMENTS)
def test_truth_joins_the_releases(survey: str, whole: Path, truth: pd.DataFrame) -> None:
    """Through the readers of the real ones: every galaxy, its place and its image."""
    inside = truth[truth[f"in_{survey}"]].set_index(IDS[survey], drop=False)
    catalog = read_catalog(survey, whole / survey)
    frame = catalog.frame.set_index("id_str")
    assert set(frame.index) == set(inside.index)
    for name, row in frame.iterrows():
        image = Path(catalog.image_root, row["image"])
        assert image == whole / survey / image_path(survey, inside.loc[name, NAMES[survey]])
        assert image.is_file()
    if survey != "ukidss":  # whose release has no places
        places = inside.loc[frame.index]
        np.testing.assert_allclose(frame["ra"], places["ra"], atol=5e-5)  # GZ2's are in single precision
        np.testing.assert_allclose(frame["dec"], places["dec"], atol=5e-6)


def test_the_crosswalk_leads_from_ukidss_to_sdss(whole: Path, truth: pd.DataFrame) -> None:
    crosswalk = pd.read_csv(whole / "ukidss/crosswalk.csv", dtype=str).set_index("subject_id")["dr7objid"]
    inside = truth[truth["in_ukidss"]].set_index("subject_id")["dr7objid"]
    assert crosswalk.to_dict() == inside.to_dict()
    assert len(inside) > 5


def test_images_and_names_of_a_smaller_sky_are_those_of_a_larger(whole: Path, tmp_path: Path) -> None:
    few = simulate(tmp_path / "few", galaxies=5)
    for path in list_images(tmp_path / "few", few):
        assert path.read_bytes() == (whole / path.relative_to(tmp_path / "few")).read_bytes()
    other = simulate(tmp_path / "other", galaxies=5, seed=SEED + 1)
    assert not {path.name for path in list_images(Path(), few)} & {path.name for path in list_images(Path(), other)}


def test_a_sky_of_one_galaxy(tmp_path: Path) -> None:
    """Not in every survey: its table is empty, and the others are whole."""
    truth = simulate(tmp_path / "one", galaxies=1)
    empty = [survey for survey in INSTRUMENTS if not truth[f"in_{survey}"].any()]
    assert empty
    for survey in set(INSTRUMENTS) - set(empty):
        assert len(read_catalog(survey, tmp_path / "one" / survey)) == truth[f"in_{survey}"].sum()


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(whole: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int, int]] = []
    simulate_sky(tmp_path / "two", GALAXIES, SEED, SIZE, 2, lambda *numbers: calls.append(numbers))
    assert read_all(tmp_path / "two") == read_all(whole)
    images = len(list_images(whole, pd.read_parquet(whole / "truth.parquet")))
    assert len(calls) == 3
    assert calls[-1] == (images, 0, images)


def test_a_finished_sky_is_not_made_again(whole: Path, truth: pd.DataFrame) -> None:
    before = list_times(whole)
    pd.testing.assert_frame_equal(simulate(whole), truth)
    assert list_times(whole) == before


def test_parts_that_are_missing_are_made_again_and_no_others(
    whole: Path, truth: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after all parts, before the tables; then the middle part is lost."""
    folder = tmp_path / "sky"
    with monkeypatch.context() as patch:
        patch.setattr(sky_module, "_write_release", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            simulate(folder)
    assert not (folder / "truth.parquet").exists()
    (folder / ".parts/00000024.parquet").unlink()
    lost = list_images(folder, truth.iloc[24:48])
    lost[0].unlink()
    before = list_times(folder)
    simulate(folder)
    after = list_times(folder)
    again = {name for name, time in before.items() if after.get(name, time) != time}
    promised = {str(path.relative_to(folder)) for path in lost[1:]}
    assert again == promised | {"sky.json"}
    assert read_all(folder) == read_all(whole)


def test_a_lost_truth_is_made_again(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sky"
    simulate(folder, galaxies=3)
    before = read_all(folder)
    (folder / "truth.parquet").unlink()
    simulate(folder, galaxies=3)
    assert read_all(folder) == before


CODE = """
import sys
from pathlib import Path
from extract.simulation import simulate_sky
if __name__ == "__main__":
    simulate_sky(Path(sys.argv[1]), *map(int, sys.argv[2:]))
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Begin a sky in a session of its own; what is left of it ends with the test."""
    script = tmp_path / "script.py"
    script.write_text(CODE)
    started: list[subprocess.Popen[bytes]] = []

    def begin(folder: Path, workers: int) -> subprocess.Popen[bytes]:
        words = [sys.executable, script, folder, *(str(number) for number in (GALAXIES, SEED, SIZE, workers))]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
        started.append(subprocess.Popen(words, start_new_session=True, env=environment))
        return started[-1]

    yield begin
    for process in started:
        if is_alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_alive(group: int) -> bool:
    """Whether a process of the group runs: one that nobody waited for is none."""
    command = ["ps", "-eo", "pgid=,stat="]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return any(int(line.split()[0]) == group and not line.split()[1].startswith("Z") for line in lines)


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_kill_in_the_middle_loses_only_the_part_in_hand(
    workers: int, whole: Path, truth: pd.DataFrame, tmp_path: Path, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    folder = tmp_path / "sky"
    process = start(folder, workers)
    wait_for(lambda: [*(folder / ".parts").glob("0*.parquet")])
    process.kill()
    process.wait()
    wait_for(lambda: not is_alive(process.pid), 10)  # a pool's processes leave with their parent
    assert not (folder / "truth.parquet").exists()
    finished = [int(path.stem) for path in (folder / ".parts").glob("0*.parquet")]
    kept = [path for first in finished for path in list_images(folder, truth.iloc[first : first + 24])]
    assert len(kept) > 20
    before = {path: path.stat().st_mtime_ns for path in kept}
    simulate(folder)
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert read_all(folder) == read_all(whole)


def test_a_kill_while_the_first_record_is_written_is_survived(tmp_path: Path) -> None:
    (tmp_path / ".sky.json.123.tmp").write_text('{"form')
    simulate(tmp_path, galaxies=1)
    assert (tmp_path / "truth.parquet").exists()


@pytest.mark.parametrize(
    ("galaxies", "seed", "size", "words"),
    [
        (GALAXIES + 1, SEED, SIZE, "galaxies 60 there, 61 here"),
        (GALAXIES, SEED + 1, SIZE, "seed 3 there, 4 here"),
        (GALAXIES, SEED, SIZE + 1, "size 32 there, 33 here"),
    ],
)
def test_another_skys_folder_is_left_alone(galaxies: int, seed: int, size: int, words: str, whole: Path) -> None:
    before = list_times(whole)
    with pytest.raises(SommelierError, match=f"holds another sky: {words}. Choose another folder"):
        simulate_sky(whole, galaxies, seed, size, 1)
    assert list_times(whole) == before


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("notes.txt", "mine", "holds other things: a sky is written into a new or empty folder"),
        ("sky.json", "{", "is no record of a sky"),
        ("sky.json", "[1, 2]", r"is no record of a sky \(it holds \[1, 2\]\)"),
        ("sky.json", "null", "is no record of a sky"),
        ("sky.json", '{"format": "a weather forecast"}', "holds another sky: format a weather forecast there"),
        ("sky.json", "\xff\xfe", "is no record of a sky"),
    ],
)
def test_a_foreign_folder_is_left_alone(file: str, content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text(content, encoding="latin-1")
    before = read_all(tmp_path)
    with pytest.raises(SommelierError, match=words):
        simulate(tmp_path, galaxies=1)
    assert read_all(tmp_path) == before


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SommelierError, match="file is a file; a sky needs a folder"):
        simulate(tmp_path / "file", galaxies=1)
    with pytest.raises(StoreError, match="could not be written"):
        simulate(tmp_path / "file/below", galaxies=1)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(("galaxies", "seed", "size"), [(0, 0, 64), (-3, 0, 64), (5, -1, 64), (5, 0, 31)])
def test_a_sky_that_cannot_be(galaxies: int, seed: int, size: int, tmp_path: Path) -> None:
    with pytest.raises(SommelierError, match="a sky has at least 1 galaxy, images of at least 32 pixels and a seed"):
        simulate_sky(tmp_path / "sky", galaxies, seed, size)
    assert not (tmp_path / "sky").exists()


def test_the_command(whole: Path, truth: pd.DataFrame, tmp_path: Path) -> None:
    words = ("simulate", "--galaxies", GALAXIES, "--seed", SEED, "--size", SIZE, "--workers", 1, "--to")
    output = run(*words, tmp_path / "sky")
    assert read_all(tmp_path / "sky") == read_all(whole)
    assert f"{GALAXIES} galaxies" in " ".join(output.split())
    both = (truth["in_sdss"] & truth["in_decals"]).sum()
    rows = [line.replace("│", " ").split() for line in output.splitlines()]
    (row,) = [row for row in rows if row[:1] == ["sdss"]]
    assert [int(word) for word in row[1:]] == [truth["in_sdss"].sum(), both, truth["in_ukidss"].sum()]
    commands = [line.removeprefix("  sommelier ") for line in output.splitlines() if line.startswith("  sommelier ")]
    assert commands[0] == f"catalog sdss {tmp_path / 'sky'}/sdss -o sdss.parquet"
    assert [command.split()[1] for command in commands] == ["sdss", "decals", "ukidss"]
    for command in commands:  # they run as they are printed, in the folder that they are run in
        words_of_it = [str(tmp_path / word) if word.endswith("s.parquet") else word for word in command.split()]
        run(*words_of_it)
    before = list_times(tmp_path / "sky")
    run(*words, tmp_path / "sky")
    assert list_times(tmp_path / "sky") == before

    result = CliRunner().invoke(main, [str(word) for word in (*words, tmp_path)])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "holds other things" in result.output
    for option in (("--galaxies", "0"), ("--size", "16"), ("--workers", "none")):
        assert CliRunner().invoke(main, [*(str(word) for word in words), str(tmp_path), *option]).exit_code == 2


def test_a_stopped_command_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(sky_module, "render_part", stop)
    words = ["simulate", "--galaxies", "2", "--size", "32", "--to", str(tmp_path / "sky"), "--workers", "1"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 130
    assert "run the same command to go on" in result.output
    monkeypatch.undo()
    assert CliRunner().invoke(main, words).exit_code == 0
    assert len(pd.read_parquet(tmp_path / "sky/truth.parquet")) == 2
