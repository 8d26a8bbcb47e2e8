"""Whose data and models a benchmark used: licences, and what to cite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.galaxies import name_survey
from benchmarks.results import Results
from benchmarks.viewers import SAME_SURVEY
from embeddings.errors import SommelierError
from embeddings.store import EmbeddingStore
from extract.download.releases import RELEASES
from extract.simulation.sky import RECORD


@dataclass(frozen=True)
class Source:
    """What was used, what to cite for it, its licence, and where it is."""

    what: str
    citations: tuple[str, ...]
    licence: str
    address: str = ""


SIMULATED_SKY = Source(
    "The simulated sky",
    ("galaxies, pictures and votes were drawn by this program: they show how methods behave, not how galaxies are",),
    "none is needed",
)
HUB = Source(
    "Galaxy Zoo on the Hugging Face hub, mwalmsley",
    ("Walmsley et al. 2024, arXiv:2404.02973",),
    "CC-BY-NC-SA-4.0, with the request that the source of trained models be released",
    "https://huggingface.co/mwalmsley",
)
DINOV2 = Source(
    "DINOv2", ("Oquab et al. 2023, arXiv:2304.07193",), "Apache-2.0", "https://github.com/facebookresearch/dinov2"
)


def list_sources(results: Results) -> list[Source]:
    """The sources of the surveys and of the backbone that occur, each once."""
    surveys = results.record.get("surveys") or {name: {} for name in results.suite.surveys}
    stores = [store for survey in surveys.values() for store in survey.get("stores") or []]
    backbones = " ".join([results.suite.backbone, *(str(store.get("backbone", "")) for store in stores)])
    found = [SIMULATED_SKY if is_simulated(results, name) else find_source(name) for name in surveys]
    found += [HUB] if "mwalmsley" in json.dumps(surveys, default=str) else []
    found += [DINOV2] if "dinov2" in backbones.lower() else []
    return list(dict.fromkeys(found))


def find_source(survey: str) -> Source:
    """A survey's release, by how its name starts."""
    name = survey.lower()
    name = next((known for prefix, known in SAME_SURVEY.items() if name.startswith(prefix)), name)
    release = next((release for prefix, release in RELEASES.items() if name.startswith(prefix)), None)
    if release is None:
        return Source(name_survey(survey), ("not known to this program: ask whoever gave the data",), "not known")
    address = release.home
    if address.startswith("arXiv:"):
        address = f"https://arxiv.org/abs/{address.removeprefix('arXiv:')}"
    return Source(release.title, release.citations, release.licence, address)


def is_simulated(results: Results, survey: str) -> bool:
    """Whether a survey's pictures lie in a simulated sky: its record is beside them, or was when this was run."""
    if results.record.get("simulated"):
        return True
    for store in open_stores(results, survey):
        with store:
            roots = [Path(root).resolve() for root in store.header.image_roots]
            if any((folder / RECORD).is_file() for root in roots for folder in (root, *root.parents)):
                return True
    return False


def open_stores(results: Results, survey: str) -> Iterator[EmbeddingStore]:
    """The stores of a survey that are still where the record says, as it is or from the results' folder."""
    known: list[dict[str, Any]] = results.record.get("surveys", {}).get(survey, {}).get("stores") or []
    for path in (Path(store["path"]) for store in known if store.get("path")):
        for place in (path, results.folder / path):
            try:
                yield EmbeddingStore.open(place)
                break
            except (SommelierError, OSError):
                continue
