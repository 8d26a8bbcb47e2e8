"""Whose data and models a benchmark used: licences, and what to cite."""

from __future__ import annotations

import json
from dataclasses import dataclass

from benchmarks.galaxies import name_survey
from benchmarks.results import Results

SIMULATED = "simulat"  # in the names of what the simulated sky writes


@dataclass(frozen=True)
class Source:
    """What to cite, its licence as far as known, and where it is."""

    what: str
    citation: str
    licence: str
    address: str = ""


SIMULATED_SKY = Source(
    "The simulated sky",
    "Galaxies, pictures and votes were drawn by this program; they are no data of a survey and show how methods behave, "
    "not how galaxies are.",
    "none needed",
)
SURVEYS = {
    "sdss": [
        Source("Galaxy Zoo 2 (SDSS)", "Willett et al. 2013, MNRAS 435, 2835", "see the release",
               "https://data.galaxyzoo.org"),
        Source("Its debiased votes", "Hart et al. 2016, MNRAS 461, 3663", "see the release",
               "https://data.galaxyzoo.org"),
    ],
    "decals": [
        Source("Galaxy Zoo DECaLS", "Walmsley et al. 2022, MNRAS 509, 3966", "CC-BY-4.0",
               "https://doi.org/10.5281/zenodo.4573248"),
    ],
    "ukidss": [
        Source("Galaxy Zoo UKIDSS", "Masters et al. 2024, RNAAS, arXiv:2408.10160", "see the release",
               "https://doi.org/10.3847/2515-5172/ad6f10"),
    ],
}  # fmt: skip
HUB = Source(
    "Galaxy Zoo on the Hugging Face hub (mwalmsley)", "Walmsley et al. 2024, arXiv:2404.02973",
    "CC-BY-NC-SA-4.0, with the request that the source of trained models be released", "https://huggingface.co/mwalmsley",
)  # fmt: skip
DINOV2 = Source("DINOv2", "Oquab et al. 2023, arXiv:2304.07193", "Apache-2.0", "https://github.com/facebookresearch/dinov2")
SAME_SURVEY = {"gz2": "sdss", "sloan": "sdss", "desi": "decals", "legacy": "decals"}


def list_sources(results: Results) -> list[Source]:
    """The sources of the surveys and the backbone that occur, each once."""
    record = results.record.get("surveys", {})
    told = json.dumps([record, str(results.suite.backbone)], default=str).lower()
    found = [SIMULATED_SKY] if is_simulated(results) else []
    if not found:
        for name in record or results.suite.surveys:
            lower = name.lower()
            lower = next((survey for prefix, survey in SAME_SURVEY.items() if lower.startswith(prefix)), lower)
            found += next((sources for prefix, sources in SURVEYS.items() if lower.startswith(prefix)), [_ask(name)])
        if "mwalmsley" in told:
            found.append(HUB)
    if "dinov2" in told:
        found.append(DINOV2)
    return list(dict.fromkeys(found))


def _ask(survey: str) -> Source:
    return Source(name_survey(survey), "not known to this program: ask whoever gave the data", "not known")


def is_simulated(results: Results) -> bool:
    """Whether the record says that the galaxies were simulated."""
    record = results.record
    return bool(record.get("simulated")) or SIMULATED in json.dumps(record.get("surveys", {}), default=str).lower()
