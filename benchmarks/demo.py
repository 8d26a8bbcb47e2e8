"""The whole way on a simulated sky: simulate, read, embed, fit, score, show. No network, no data, no licence."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Bar, BarGroup, draw_bars
from benchmarks.galaxies import Galaxies, gather_galaxies, name_survey
from benchmarks.gallery import Album, draw_contact_sheet, draw_neighbours
from benchmarks.report import PAGE
from benchmarks.results import Entry, Results
from benchmarks.runner import run_suite
from benchmarks.samples import Sample
from benchmarks.statistics import Score
from benchmarks.story import COMMANDS, Setting, describe_setting, pick_models, tell_tables
from benchmarks.suite import Suite, load_suite
from benchmarks.tables import METRICS, Table
from embeddings.files import claim_folder, replace_file
from embeddings.provenance import Space
from embeddings.store import EmbeddingStore
from extract.catalog import Catalog
from extract.pipeline import Report
from extract.simulation import Sky, simulate_sky
from extract.simulation.sky import TRUTH
from extract.surveys import read_catalog
from extract.weights import find_backbone

GALAXIES = 1500
IMAGE_SIDE = 128  # pixels
SUITE = Path(__file__).with_name("suites") / "demo.yaml"  # whatever is called demo where the user is
SURVEYS = ("sdss", "decals", "ukidss")
BENCHMARK = "benchmark"  # folder of the suite's results
RECORD, FORMAT, KIND = "demo.json", "galaxy-sommelier demo", "demo of a simulated sky"

Say = Callable[[str], None]
Watch = Callable[[str, str], AbstractContextManager[Report | None]]


@dataclass(frozen=True)
class Demo:
    """
    What the demo found.

    Attributes
    ----------
    folder : Path
        Holds `contact_sheet.png`, `scores.png`, `neighbours.png`, `scores.json`, `demo.md`, the suite's results with
        their report in ``benchmark/``, and what they are made of.
    setting : Setting
    results : Results
    """

    folder: Path
    setting: Setting
    results: Results

    @property
    def report(self) -> Path:
        """The page that a scientist would read."""
        return self.folder / BENCHMARK / PAGE

    @property
    def introduction(self) -> list[str]:
        """Paragraphs that say what was done."""
        return describe_setting(self.setting, self.results)

    @property
    def tables(self) -> list[Table]:
        """All scores, with a sentence each."""
        return tell_tables(self.results)

    def to_dict(self) -> dict[str, Any]:
        """As `scores.json` has it."""
        results = self.results
        return {
            **vars(self.setting),
            "questions": [question.name for question in results.questions],
            "left_out": results.record["left_out"],
            "trainings": results.record["trainings"],
            "scores": [_describe(results, entry) for entry in results.headline],
            "ceilings": [
                {"test": s.survey, "objects": s.objects, **results.ceilings[name].to_dict()}
                for name, s in results.samples.items()
                if name in results.ceilings
            ],
            "copied_votes": {test: found.macro["r"].to_list() for test, found in results.yardsticks.items()},
            "report": str(Path(BENCHMARK) / PAGE),
        }


def _describe(results: Results, entry: Entry) -> dict[str, Any]:
    """An entry as JSON can hold it; each score is ``[value, low, high]``."""
    sample = results.samples[entry.test]
    where = {"training": entry.training, "test": sample.survey, "objects": sample.objects, "head": entry.model}
    return where | {"n": sample.n_labelled, "runs": len(entry.seeds)} | {m: entry.macro[m].to_list() for m in METRICS}


def run_demo(
    folder: Path, galaxies: int = GALAXIES, seed: int = 0, say: Say = lambda line: None,
    watch: Watch = lambda title, first: nullcontext(),
) -> Demo:  # fmt: skip
    """
    Simulate a sky and show on it what the program does.

    What is there already is not made again: after an interruption the same call goes on.

    Parameters
    ----------
    folder : Path
    galaxies, seed : int
        Of the simulated sky.
    say : callable
        Called with a line when a step is done.
    watch : callable
        Gives a context manager around a long step, from its title; what it yields is called with images done, images
        failed, images in all.

    Raises
    ------
    SommelierError
        When the folder holds something else, or there are too few galaxies.
    """
    sky = Sky(galaxies, seed, IMAGE_SIDE)  # refuses what cannot be, before the folder is taken
    claim_folder(folder, RECORD, sky.record | {"format": FORMAT}, KIND, "Choose another folder with --out.")
    with _step(
        say, f"simulated {galaxies} galaxies as three surveys see them, and their volunteers", folder / "sky" / TRUTH
    ):
        _simulate(folder / "sky", galaxies, seed, watch)
    with _step(say, "read the three releases into catalogs"):
        read_releases(folder)
    suite = make_suite(folder, seed)
    with _step(say, "embedded all images, fine-tuned, fitted heads, scored them, wrote the report", folder / BENCHMARK):
        results = run_suite(suite, folder / BENCHMARK, 1, lambda line: say(f"  {line}"), watch)
    backbone = find_backbone(suite.backbone)
    joined = results.record["joined_space"]
    demo = Demo(folder, Setting(galaxies, seed, backbone.label, backbone.trained, joined), results)
    with _step(say, "drew contact_sheet.png, scores.png, neighbours.png"):
        draw_figures(demo)
    write_texts(demo)
    return demo


def make_suite(folder: Path, seed: int) -> Suite:
    """The suite ``demo`` on the catalogs of a folder."""
    catalogs = [f"surveys.{survey}.catalog={_find_catalog(folder, survey)}" for survey in SURVEYS]
    return load_suite(SUITE, [*catalogs, f"split.seed={seed}", f"seeds.first={seed}"])


def _find_catalog(folder: Path, survey: str) -> Path:
    return folder / "catalogs" / f"{survey}.parquet"


def _simulate(sky: Path, galaxies: int, seed: int, watch: Watch) -> None:
    with watch("Simulating", "drawing galaxies") as report:
        simulate_sky(sky, galaxies=galaxies, seed=seed, size=IMAGE_SIDE, progress=report)


def read_releases(folder: Path) -> list[Catalog]:
    """The three catalogs, read from the simulated releases as from real ones, and kept as Parquet."""
    sky, kept = folder / "sky", folder / "catalogs"
    catalogs = []
    for survey in SURVEYS:
        options: dict[str, Any] = {}
        if survey == "ukidss":
            options = {"crosswalk": sky / "ukidss/crosswalk.csv", "positions": kept / "sdss.parquet"}
        catalog = read_catalog(survey, sky / survey, **options)
        catalog.write(_find_catalog(folder, survey))
        catalogs.append(catalog)
    return catalogs


def draw_figures(demo: Demo) -> None:
    """The three pictures."""
    results = demo.results
    files = [results.record["surveys"][survey]["stores"][0]["path"] for survey in SURVEYS]
    stores = [EmbeddingStore.open(file) for file in files]
    albums = [Album.of(store) for store in stores]
    surveys: list[Galaxies] = gather_galaxies(stores, Space.parse(demo.setting.space))
    draw_contact_sheet(demo.folder / "contact_sheet.png", surveys, albums)
    draw_neighbours(demo.folder / "neighbours.png", surveys[0], albums[0], demo.setting.backbone)
    home = next(iter(results.samples.values()))
    panels = {
        "Pearson r, mean over answers": "r",
        "R2, mean over answers": "r2",
        "pooled r: flatters whoever knows the means": "pooled_r",
    }
    title = f"Trained on {name_survey(home.survey)}: what holds in-domain, and what is left on other surveys"
    subtitle = (
        f"{demo.setting.backbone}; 95 % intervals; mean looks at no image; constant: it says the same of every "
        "galaxy, and so there is no r"
    )
    groups = {
        label: [_group(results, sample, home.survey, metric) for sample in results.samples.values()]
        for label, metric in panels.items()
    }
    draw_bars(demo.folder / "scores.png", title, subtitle, groups, list(pick_models(results, home.name)))


def _group(results: Results, sample: Sample, home: str, metric: str) -> BarGroup:
    where = "in-domain" if sample.survey == home else "out-of-domain"
    seen = "new objects\n" + where if sample.objects == "new" else "all objects\n(some seen)"
    scores = [entry.macro[metric] for entry in pick_models(results, sample.name).values()]
    ceiling = results.ceilings[sample.name].scores.get(metric) if sample.name in results.ceilings else None
    bars = [_bar(score) for score in scores]
    return BarGroup(f"{name_survey(sample.survey)}\n{seen}", bars, _bar(ceiling) if ceiling else None)


def _bar(score: Score) -> Bar:
    return Bar(score.value, *score.interval)


def write_texts(demo: Demo) -> None:
    """`scores.json`, and `demo.md` with everything that was printed."""
    with replace_file(demo.folder / "scores.json") as temporary:
        temporary.write_text(json.dumps(demo.to_dict(), indent=1) + "\n")
    pictures = [f"![{name}]({name}.png)" for name in ("contact_sheet", "scores", "neighbours")]
    commands = ["Next, on real data:", "```sh\n" + "\n".join(COMMANDS) + "\n```"]
    tables = [table.to_markdown() for table in demo.tables]
    page = f"All of it, with figures, audit and provenance: [the report]({BENCHMARK}/{PAGE})."
    parts = ["# The demo", *demo.introduction, page, pictures[0], pictures[1], *tables, pictures[2], *commands]
    with replace_file(demo.folder / "demo.md") as temporary:
        temporary.write_text("\n\n".join(parts) + "\n")


@contextmanager
def _step(say: Say, what: str, *files: Path) -> Iterator[None]:
    """Say what was done and how long it took, or that all its files were there."""
    start, before = time.perf_counter(), _date_files(files)
    yield
    there = bool(before) and None not in before and _date_files(files) == before
    say(f"{what}: {'already there' if there else f'{time.perf_counter() - start:.1f} s'}")


def _date_files(files: Sequence[Path]) -> list[int | None]:
    return [path.stat().st_mtime_ns if path.exists() else None for path in files]
