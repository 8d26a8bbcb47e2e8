"""What a catalog holds, in a few lines or as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from embeddings.questions import Question, expected_shares
from extract.catalog import CORE, Catalog
from extract.matching import has_position
from extract.schema import CROSSINGS, MAP_VERSION, NO_CROSSING
from extract.votes import BESIDE, ENDINGS, RAW_BESIDE


def summarise_catalog(catalog: Catalog) -> dict[str, Any]:
    """
    Count what a catalog holds.

    Parameters
    ----------
    catalog : Catalog

    Returns
    -------
    dict
        ``rows, surveys, image_root, images, missing_images`` (count and the first few), ``positions, questions, notes,
        other_columns``. Of each question: its answers, who is asked, how many galaxies were, and the share of
        volunteers that reached it beside the share that the tree and the fractions let expect.
    """
    missing = catalog.missing_images()
    labels = {name for question in catalog.questions for name in _columns_of(question)}
    return {
        "rows": len(catalog),
        "surveys": catalog.surveys,
        "image_root": catalog.image_root,
        "images": len(catalog) - len(missing),
        "missing_images": {"count": len(missing), "first": missing[:3]},
        "positions": int(has_position(catalog).sum()),
        "questions": _summarise_questions(catalog),
        "notes": list(catalog.notes),
        "other_columns": [name for name in catalog.frame.columns if name not in CORE and name not in labels],
    }


def _columns_of(question: Question) -> list[str]:
    """The columns that a reader makes of a question; a catalog need not have all."""
    if question.kind == "value":
        return [question.name]
    endings = ("", RAW_BESIDE, *ENDINGS.values(), *BESIDE)
    return [question.total_column, *(target + ending for target in question.targets for ending in endings)]


def _summarise_questions(catalog: Catalog) -> list[dict[str, Any]]:
    frame = catalog.frame
    totals = {q.name: frame[q.total_column].to_numpy() for q in catalog.questions if q.total_column in frame}
    everybody = next((q.name for q in catalog.questions if not q.parent and not q.unless and q.name in totals), None)
    expected = expected_shares(catalog.questions, lambda target: _raw_fraction(catalog, target))
    began = totals[everybody].astype(float) > 0 if everybody else np.ones(len(frame), bool)
    summary = []
    for question in catalog.questions:
        label = frame[question.target_columns[0]].to_numpy(dtype=float)
        record: dict[str, Any] = question.to_dict() | {"asked": int(np.isfinite(label).sum())}
        if question.name in totals:
            total = totals[question.name].astype(float)
            record["mean_votes"] = _mean(total)
            if everybody and question.name in expected:
                record["share_reached"] = _mean(total[began] / totals[everybody][began])
        if question.name in expected:
            record["share_expected"] = _mean(expected[question.name][began])
        summary.append(record)
    return summary


def _raw_fraction(catalog: Catalog, target: str) -> np.ndarray[Any, Any]:
    """Shares of votes: what leads through the tree, whatever the labels are."""
    frame = catalog.frame
    column = target + (RAW_BESIDE if target + RAW_BESIDE in frame else ENDINGS["raw"])
    return frame[column].to_numpy(dtype=float)


def _mean(values: np.ndarray[Any, Any]) -> float | None:
    """To four digits; None where there is nothing."""
    finite = values[np.isfinite(values)]
    return round(float(finite.mean()), 4) if len(finite) else None


def describe_crossings() -> dict[str, Any]:
    """The lossy maps between campaigns, and the questions that have none, as JSON can hold them."""
    maps = {
        name: {
            "target": crossing.target.name,
            "answers": {answer: list(parts) for answer, parts in crossing.answers.items()},
            "reason": crossing.reason,
            "loss": crossing.loss,
        }
        for name, crossing in CROSSINGS.items()
    }
    return {"version": MAP_VERSION, "maps": maps, "none": dict(NO_CROSSING)}
