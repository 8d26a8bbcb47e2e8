"""Of a benchmark's entries: where the out-of-domain drop comes from, and how few labels buy it back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks.results import Curve, Drop, Results
from benchmarks.samples import Sample


def list_drops(results: Results) -> Iterator[Drop]:
    yield from ()


def list_curves(results: Results, samples: Mapping[str, Sample]) -> Iterator[Curve]:
    yield from ()
