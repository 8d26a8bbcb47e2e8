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
from benchmarks.shift import Shift, run_shift
from benchmarks.statistics import Score
from benchmarks.story import COMMANDS, Setting, describe_setting, tell_tables
from benchmarks.tables import Table
from embeddings.files import claim_folder, replace_file
from embeddings.store import EmbeddingStore
from extract.catalog import Catalog
from extract.pipeline import Report, extract_embeddings
from extract.schema import CAMPAIGNS, shared_questions
from extract.simulation import Sky, simulate_sky
from extract.simulation.sky import TRUTH
from extract.surveys import read_catalog
from extract.weights import find_backbone
from heads.io import HEADS

GALAXIES = 1500
IMAGE_SIDE, BACKBONE_SIDE = 128, 126  # pixels; the second a multiple of tiny's patch of 14
BACKBONE = "tiny"
POOLING = "cls+patch-mean"
SURVEYS = {"sdss": "gz2", "decals": "dr12", "ukidss": "ukidss"}  # and whose votes each has; the first is trained on
SLOW_HEADS = frozenset({"mlp", "xgboost"})  # the slowest: not for a first look; and xgboost is an extra
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
        Holds `contact_sheet.png`, `scores.png`, `neighbours.png`, `scores.json`, `demo.md`, and what they are made of.
    setting : Setting
    shift : Shift
    """

    folder: Path
    setting: Setting
    shift: Shift

    @property
    def introduction(self) -> list[str]:
        """Paragraphs that say what was done."""
        return describe_setting(self.setting, self.shift)

    @property
    def tables(self) -> list[Table]:
        """All scores, with a sentence each."""
        return tell_tables(self.shift)

    def to_dict(self) -> dict[str, Any]:
        """As `scores.json` has it."""
        shift = self.shift
        return {
            **vars(self.setting),
            "questions": [question.name for question in shift.questions],
            "left_out": [question.name for question in shift.left_out],
            "trainings": shift.trainings,
            "scores": [cell.to_dict() for cell in shift.cells],
            "ceilings": [{"test": test, "objects": o, **c.to_dict()} for (test, o), c in shift.ceilings.items()],
        }


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
        catalogs = read_releases(folder)
    backbone, count = find_backbone(BACKBONE), sum(map(len, catalogs))
    kept = [folder / "stores" / f"{survey}.h5" for survey in SURVEYS]
    with _step(say, f"embedded {count} images with {backbone.label}", *kept):
        stores = embed_catalogs(catalogs, folder, watch)
    with _step(say, "fitted heads on one survey and scored them on all"):
        heads = [name for name in HEADS if name not in SLOW_HEADS]
        questions = shared_questions(*(CAMPAIGNS[name] for name in SURVEYS.values()))
        space = stores[0].space(-1, POOLING)
        surveys = gather_galaxies(stores, questions, space)
        shift = run_shift(surveys, questions, heads, seed)
    demo = Demo(folder, Setting(galaxies, seed, backbone.label, backbone.trained, space.name), shift)
    with _step(say, "drew contact_sheet.png, scores.png, neighbours.png"):
        draw_figures(demo, surveys, stores)
    write_texts(demo)
    return demo


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
        catalog.write(kept / f"{survey}.parquet")
        catalogs.append(catalog)
    return catalogs


def embed_catalogs(catalogs: list[Catalog], folder: Path, watch: Watch) -> list[EmbeddingStore]:
    """One store a survey, under ``stores/``; what they hold already is not embedded again."""
    stores = []
    for survey, catalog in zip(SURVEYS, catalogs, strict=True):
        path = folder / "stores" / f"{survey}.h5"
        with watch(f"Embedding {survey}", "loading the backbone") as report:
            store = extract_embeddings(
                catalog, BACKBONE, path, report, pools=tuple(POOLING.split("+")), size=BACKBONE_SIDE, device="cpu"
            )
        assert store is not None  # only shards leave a store to others
        stores.append(store)
    return stores


def draw_figures(demo: Demo, surveys: list[Galaxies], stores: list[EmbeddingStore]) -> None:
    """The three pictures."""
    albums = [Album.of(store) for store in stores]
    draw_contact_sheet(demo.folder / "contact_sheet.png", surveys, albums)
    draw_neighbours(demo.folder / "neighbours.png", surveys[0], albums[0], demo.setting.backbone)
    home = next(iter(demo.shift.trainings))
    tests = list(dict.fromkeys((c.test, c.objects) for c in demo.shift.cells if c.objects != "paired"))
    heads = [cell.head for cell in demo.shift.pick(home, home, "new")]
    panels = {
        "Pearson r, mean over answers": "r",
        "R2, mean over answers": "r2",
        "pooled r: flatters whoever knows the means": "pooled_r",
    }
    title = f"Trained on {name_survey(home)}: what holds in-domain, and what is left on other surveys"
    subtitle = (
        f"{demo.setting.backbone}; 95 % intervals over test galaxies; mean looks at no image; constant: it says the "
        "same of every galaxy, and so there is no r"
    )
    groups = {label: [_group(demo.shift, home, *test, metric) for test in tests] for label, metric in panels.items()}
    draw_bars(demo.folder / "scores.png", title, subtitle, groups, heads)


def _group(shift: Shift, home: str, test: str, objects: str, metric: str) -> BarGroup:
    where = "in-domain" if test == home else "out-of-domain"
    label = f"{name_survey(test)}\n{objects} objects\n{where if objects == 'new' else '(seen in training)'}"
    scores = [cell.scores[metric] for cell in shift.pick(home, test, objects)]
    ceiling = shift.ceilings[test, objects].scores.get(metric)
    return BarGroup(label, [_bar(score) for score in scores], _bar(ceiling) if ceiling else None)


def _bar(score: Score) -> Bar:
    return Bar(score.value, *score.interval)


def write_texts(demo: Demo) -> None:
    """`scores.json`, and `demo.md` with everything that was printed."""
    with replace_file(demo.folder / "scores.json") as temporary:
        temporary.write_text(json.dumps(demo.to_dict(), indent=1) + "\n")
    pictures = [f"![{name}]({name}.png)" for name in ("contact_sheet", "scores", "neighbours")]
    commands = ["Next, on real data:", "```sh\n" + "\n".join(COMMANDS) + "\n```"]
    tables = [table.to_markdown() for table in demo.tables]
    parts = ["# The demo", *demo.introduction, pictures[0], pictures[1], *tables, pictures[2], *commands]
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
