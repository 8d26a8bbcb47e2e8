"""The demo: what it writes, that it resumes, that it refuses; the real sky offline."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import demo, runner
from benchmarks.demo import run_demo
from benchmarks.suite import Suite, load_suite
from embeddings.errors import SommelierError
from embeddings.files import claim_folder
from extract.pipeline import Extraction
from extract.simulation import Sky
from sommelier import main
from tests.benchmarks.skies import write_sky

N = 150
PICTURES = ("contact_sheet.png", "scores.png", "neighbours.png")


@pytest.fixture
def sky(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The simulator replaced by something quick, the suite by a smaller one; the skies that were asked for."""
    made: list[Path] = []

    def simulate(folder: Path, galaxies: int, seed: int, **options: object) -> None:
        made.append(folder)
        if not folder.exists():
            write_sky(folder, galaxies, seed, monkeypatch)

    def load_small(name: Path, overrides: list[str]) -> Suite:
        small = ["extraction.size=28", "extraction.layers=[-1]", "budgets=[20, 100000]", "seeds.heads=2"]
        return load_suite(name, [*overrides, *small, "models={mean: {head: mean}, ridge: {head: ridge}}"])

    monkeypatch.setattr(demo, "simulate_sky", simulate)
    monkeypatch.setattr(demo, "load_suite", load_small)
    return made


@pytest.mark.slow
def test_a_stopped_demo_goes_on_makes_everything_and_a_rerun_computes_nothing(
    sky: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(runner, "_compute", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_demo(out, N, 3)
    monkeypatch.setattr(Extraction, "_embed", lambda *_: pytest.fail("embedded again"))
    made = run_demo(out, N, 3, lines.append)
    said = [line for line in lines if not line.startswith("  ")]
    assert [line.split(" ")[0] for line in said] == ["simulated", "read", "embedded", "drew"]
    assert all(re.search(r": (\d+\.\d s|already there)$", line) for line in said)
    for name in PICTURES:
        with Image.open(out / name) as image:
            assert min(image.size) > 500
    record = json.loads((out / "scores.json").read_text())
    assert record == json.loads(json.dumps(made.to_dict()))
    assert {cell["head"] for cell in record["scores"]} == {"mean", "ridge"}
    assert (out / record["report"]).exists()
    assert set(record["trainings"]["mixed, equal budget"]) == {"sdss", "decals"}
    assert sum(record["trainings"]["mixed, equal budget"].values()) == record["trainings"]["sdss"]["sdss"]
    assert {(cell["test"], cell["objects"]) for cell in record["scores"]} == {
        ("sdss", "new"), ("decals", "new"), ("ukidss", "new"), ("ukidss", "same"),
    }  # fmt: skip
    counts = {(cell["test"], cell["objects"]): cell["n"] for cell in record["scores"]}
    assert counts["ukidss", "same"] == N
    # what looks like a training galaxy is left out: blobs of 28 pixels may
    assert counts["sdss", "new"] + made.results.record["split"]["excluded"]["sdss-new"] == round(0.3 * N)
    assert {entry.budget for entry in made.results.entries} == {0, 20}  # more than there are is left out
    text = (out / "demo.md").read_text()
    assert all(table.title in text and table.meaning in text for table in made.tables)
    assert all((out / name).exists() for name in re.findall(r"\]\((.*?)\)", text))

    monkeypatch.setattr(runner, "fit_cell", lambda *_: pytest.fail("fitted again"))
    again = run_demo(out, N, 3)
    assert again.to_dict() == made.to_dict()


def test_stopped_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "run_demo", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    result = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "out")])
    assert result.exit_code == 130
    assert "run the same command to go on" in result.output
    assert result.output.startswith("Simulating 1500 galaxies")
    assert f"All goes into {tmp_path / 'out'}. The first time this takes 2 to 5 minutes on two cores." in result.output


def test_what_cannot_be_takes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SommelierError, match="a seed from 0 on"):
        run_demo(tmp_path / "out", N, -1)
    assert not (tmp_path / "out").exists()


SKY = {"galaxies": 100, "seed": 0}


def test_another_record_does_not_go_into_the_same_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert claim_folder(out, "sky.json", SKY, "sky") == SKY
    (out / "more.txt").write_text("made since")
    assert claim_folder(out, "sky.json", SKY, "sky") == SKY
    (out / "sky.json").write_text(json.dumps(SKY | {"complete": True}))
    assert claim_folder(out, "sky.json", SKY, "sky") == SKY | {"complete": True}
    with pytest.raises(SommelierError, match=r"out holds another sky: seed 0 there, 1 here\. Choose another folder\."):
        claim_folder(out, "sky.json", SKY | {"seed": 1}, "sky")
    with pytest.raises(SommelierError, match=r"version None there, 2 here\. Try --out\."):
        claim_folder(out, "sky.json", SKY | {"version": 2}, "sky", "Try --out.")
    assert json.loads((out / "sky.json").read_text()) == SKY | {"complete": True}


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for place, words in ((tmp_path, "holds other things"), (tmp_path / "mine.txt", "is a file")):
        with pytest.raises(SommelierError, match=f"{words}.*Choose another folder"):
            claim_folder(place, "sky.json", SKY, "sky")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed/.sky.json.17.tmp").write_text("{")  # a kill while the record was being written
    assert claim_folder(tmp_path / "killed", "sky.json", SKY, "sky") == SKY


@pytest.mark.parametrize("content", [b"[]", b"null", b"3", b"{", b"", b"\xff\xfe"])
def test_what_is_no_record_is_refused_without_a_traceback(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_bytes(content)
    result = CliRunner().invoke(main, ["demo", "--out", str(tmp_path)])
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert "demo.json is no record of a demo of a simulated sky" in result.output
    assert "--out" in result.output
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("demo.json", content)]


def test_a_demo_of_an_older_sky_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "simulate_sky", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path / "out", N, 3)
    held = json.loads((tmp_path / "out/demo.json").read_text())
    assert held == Sky(N, 3, demo.IMAGE_SIDE).record | {"format": "galaxy-sommelier demo"}
    (tmp_path / "out/demo.json").write_text(json.dumps(held | {"version": held["version"] - 1}))
    with pytest.raises(SommelierError, match=r"version \d+ there, \d+ here\. Choose another folder with --out"):
        run_demo(tmp_path / "out", N, 3)


def test_the_demo_is_the_first_command_and_as_large_as_the_library_says() -> None:
    assert next(iter(main.commands)) == "demo"
    defaults = {parameter.name: parameter.default for parameter in main.commands["demo"].params}
    assert defaults["galaxies"] == demo.GALAXIES


REFUSE_NETWORK = """
import sys

def refuse(event, args):
    remote = event == "socket.connect" and isinstance(args[1], tuple)  # a path is a socket of this machine
    if remote or event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        raise OSError("this test has no network")

sys.addaudithook(refuse)
"""


@pytest.fixture
def offline(tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    """Words before a command, and its environment, that leave it no network: Python's sockets refuse everywhere."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(REFUSE_NETWORK)
    cut = ["unshare", "--map-root-user", "--net"]  # where it is allowed, no other library's sockets either
    if not shutil.which("unshare") or subprocess.run([*cut, "true"], capture_output=True, check=False).returncode:
        cut = []
    return cut, os.environ | {"PYTHONPATH": str(tmp_path / "site")}


def measure_memory(process: int) -> int:
    """Bytes that a process and all below it hold, shared pages counted once; 0 when it has ended."""
    try:
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        below = [child for task in Path(f"/proc/{process}/task").iterdir()
                 for child in (task / "children").read_text().split()]  # fmt: skip
    except OSError:
        return 0
    own = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return (int(own[1]) * 1024 if own else 0) + sum(measure_memory(int(child)) for child in below)


def run_measured(words: list[str], environment: dict[str, str], output: Path) -> tuple[int, int, float]:
    """Exit status, most memory of all processes together in bytes, seconds."""
    start, peak = time.perf_counter(), 0
    with output.open("w") as file, subprocess.Popen(words, stdout=file, env=environment) as process:
        while process.poll() is None:
            peak = max(peak, measure_memory(process.pid))
            time.sleep(0.1)
    return process.returncode, peak, time.perf_counter() - start


def test_the_network_is_cut_in_every_process(offline: tuple[list[str], dict[str, str]], tmp_path: Path) -> None:
    """What the proof below rests on."""
    script = tmp_path / "ask.py"
    script.write_text(
        "import socket\nfrom concurrent.futures import ProcessPoolExecutor\nfrom multiprocessing import get_context\n"
        "def ask(host):\n"
        "    try: socket.create_connection((host, 9))\n"
        "    except OSError as error: return str(error)\n"
        "if __name__ == '__main__':\n"
        "    hosts = ['127.0.0.1', 'localhost', 'example.org']\n"
        "    with ProcessPoolExecutor(1, get_context('spawn')) as pool:\n"
        "        print({*map(ask, hosts), *pool.map(ask, hosts)})\n"
    )
    cut, environment = offline
    for prefix in ([], cut):
        words = [*prefix, sys.executable, str(script)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
        assert done.stdout.strip() == "{'this test has no network'}"


@pytest.mark.slow
def test_the_real_sky_offline_in_bounded_time_and_memory(
    offline: tuple[list[str], dict[str, str]], tmp_path: Path
) -> None:
    """The command as a newcomer runs it, without any network."""
    cut, environment = offline
    words = [*cut, sys.executable, "-m", "sommelier", "demo", "--galaxies", "400", "--out", str(tmp_path / "out")]
    status, peak, seconds = run_measured(words, environment, tmp_path / "printed")
    assert status == 0
    print(f"400 galaxies: {seconds:.0f} s, at most {peak / 1e9:.2f} GB in all processes")
    assert 1e8 < peak < 2e9  # less than that cannot be: then nothing was measured
    assert seconds < 300
    record = json.loads((tmp_path / "out/scores.json").read_text())
    assert record["trained"] is True
    assert record["questions"][0] == "smooth-or-featured"
    assert all((tmp_path / "out" / name).exists() for name in (*PICTURES, "demo.md", "sky/truth.parquet"))
    assert all(low <= value <= high for c in record["ceilings"] for value, low, high in (c["r"], c["r2"]))
    assert record["copied_votes"]["decals-new"][1] > 0.2  # two surveys' volunteers see the same galaxies
    printed = (tmp_path / "printed").read_text()
    assert "SDSS, new objects: in-domain" in printed
    assert "Next, on real data:" in printed
