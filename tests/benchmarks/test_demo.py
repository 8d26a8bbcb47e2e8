"""The demo: what it writes, that it resumes, that it refuses; the real sky offline."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import demo
from benchmarks.demo import claim_folder, run_demo
from benchmarks.shift import COPY
from embeddings.errors import SommelierError
from extract.pipeline import Extraction
from heads.io import HEADS
from sommelier import main
from tests.benchmarks.skies import write_sky

N = 90
PICTURES = ("contact_sheet.png", "scores.png", "neighbours.png")


@pytest.fixture
def sky(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The simulator replaced by something quick; the skies that were asked for."""
    made: list[Path] = []

    def simulate(folder: Path, galaxies: int, seed: int, **options: object) -> None:
        made.append(folder)
        if not folder.exists():
            write_sky(folder, galaxies, seed, monkeypatch)

    monkeypatch.setattr(demo, "simulate_sky", simulate)
    monkeypatch.setattr(demo, "BACKBONE_SIDE", 28)
    return made


@pytest.mark.slow
def test_a_stopped_demo_goes_on_makes_everything_and_a_rerun_embeds_nothing(
    sky: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(demo, "run_shift", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_demo(out, N, 3)
    monkeypatch.setattr(Extraction, "_embed", lambda *_: pytest.fail("embedded again"))
    made = run_demo(out, N, 3, lines.append)
    assert len(lines) == 5
    assert all(re.search(r": \d+\.\d s$", line) for line in lines)
    for name in PICTURES:
        with Image.open(out / name) as image:
            assert min(image.size) > 500
    record = json.loads((out / "scores.json").read_text())
    assert record == json.loads(json.dumps(made.to_dict()))
    assert record["trained"] is False
    assert {cell["head"] for cell in record["scores"]} >= {"mean", "knn", "ridge"}
    assert set(record["trainings"]) == {"sdss", "sdss+decals"}
    assert {(cell["test"], cell["objects"]) for cell in record["scores"]} == {
        ("sdss", "new"), ("decals", "new"), ("ukidss", "new"), ("ukidss", "same"), ("decals", "paired"),
        ("ukidss", "paired"),
    }  # fmt: skip
    counts = {(cell["test"], cell["objects"]): cell["n"] for cell in record["scores"]}
    # the first galaxy of UKIDSS is not in the crosswalk: an object of its own, it is no SDSS training object
    assert counts["ukidss", "new"] + counts["ukidss", "same"] in (N - 1, N)
    assert counts["sdss", "new"] + record["trainings"]["sdss"] == N
    text = (out / "demo.md").read_text()
    assert "random weights" in text
    assert all(table.title in text and table.meaning in text for table in made.tables)
    assert all((out / name).exists() for name in re.findall(r"\]\((.*?)\)", text))

    before = {path: path.stat().st_mtime_ns for path in (out / "stores").glob("*.h5")}
    again = run_demo(out, N, 3)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert again.to_dict() == made.to_dict()


def test_stopped_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "run_demo", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    result = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "out")])
    assert result.exit_code == 130
    assert "run the same command to go on" in result.output


def test_what_cannot_be_takes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SommelierError, match="a seed from 0 on"):
        run_demo(tmp_path / "out", N, -1)
    assert not (tmp_path / "out").exists()


def test_another_sky_does_not_go_into_the_same_folder(tmp_path: Path) -> None:
    claim_folder(tmp_path / "out", {"galaxies": 100, "seed": 0})
    claim_folder(tmp_path / "out", {"galaxies": 100, "seed": 0})
    with pytest.raises(
        SommelierError, match="holds a demo of galaxies 100, seed 0; asked for was galaxies 100, seed 1"
    ):
        claim_folder(tmp_path / "out", {"galaxies": 100, "seed": 1})


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(SommelierError, match="Choose another folder"):
            claim_folder(place, {"galaxies": 100, "seed": 0})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed/.demo.json.17.tmp").write_text("{")  # a kill while the record was being written
    claim_folder(tmp_path / "killed", {"galaxies": 100, "seed": 0})


def test_the_demo_is_the_first_command_and_as_large_as_the_library_says() -> None:
    assert next(iter(main.commands)) == "demo"
    defaults = {parameter.name: parameter.default for parameter in main.commands["demo"].params}
    assert defaults["galaxies"] == demo.GALAXIES
    assert set(HEADS) - demo.SLOW_HEADS >= {"mean", "knn", "ridge"}


@pytest.mark.slow
def test_the_real_sky_offline(tmp_path: Path) -> None:
    """The command as a newcomer runs it, in a network namespace without any network."""
    cut = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare") or subprocess.run([*cut, "true"], capture_output=True, check=False).returncode:
        cut = []  # no such right here: it runs all the same
    words = [sys.executable, "-m", "sommelier", "demo", "--galaxies", "400", "--out", str(tmp_path / "out")]
    done = subprocess.run([*cut, *words, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["questions"][0] == "smooth-or-featured"
    assert all((tmp_path / "out" / name).exists() for name in (*PICTURES, "demo.md", "sky/truth.parquet"))
    copied = next(cell for cell in record["scores"] if cell["head"] == COPY and cell["test"] == "decals")
    assert copied["r"][1] > 0.2  # two surveys' volunteers see the same galaxies
    printed = subprocess.run([*cut, *words], capture_output=True, text=True, check=True).stdout
    assert "sdss, new objects: in-domain" in printed
    assert "Next, on real data:" in printed
