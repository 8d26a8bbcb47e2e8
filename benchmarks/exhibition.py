"""The result of searches as one HTML page: pictures, similarities, ids, links to the survey's viewer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.pages import write_page
from benchmarks.thumbnails import encode_picture, make_thumbnails
from benchmarks.viewers import link_viewer
from embeddings.search import Found, GalaxyIndex

SIDE = 200  # of the pictures, in pixels
Picture = np.ndarray[Any, Any]


def write_gallery(
    path: Path, index: GalaxyIndex, results: Sequence[tuple[Found, int | Picture | None]], title: str = ""
) -> None:
    """
    Write a page with one row of pictures a search.

    Parameters
    ----------
    path : Path
        Of the page; a page that was made here is replaced, nothing else.
    index : GalaxyIndex
        That was searched.
    results : sequence of pairs
        What was found, and the query: its position, its picture ((height, width, 3) uint8), or None.
    title : str

    Raises
    ------
    SommelierError
        When the path is another file.
    """
    shown = np.concatenate([_list_positions(found, query) for found, query in results])
    pictures = iter(list(make_thumbnails(index.rows, shown.astype(np.int64), SIDE)))
    parts = [_lay_out(found, query, pictures) for found, query in results]
    title = title or (parts[0]["title"] if len(parts) == 1 else f"Neighbours of {len(parts)} galaxies")
    write_page(path, "gallery.html", title=title, subtitle=describe_search(index), parts=parts, width=SIDE)


def describe_search(index: GalaxyIndex) -> str:
    """What was compared, and how surely the nearest were found, in a sentence or two."""
    run = index.rows.stores[0].provenance.runs
    backbone = Path(str(run[-1].get("backbone", "a backbone"))).name if run else "a backbone"
    vectors = "whitened embeddings" if index.whitening is not None else "embeddings"
    whole = f"{len(index)} galaxies of {', '.join(index.rows.surveys)}; cosine of {vectors} of {backbone}, "
    return whole + f"{index.rows.space.name}. {describe_recall(index.label)}"


def describe_recall(label: dict[str, Any]) -> str:
    """How surely the nearest were found: ``ivf, recall@10 0.973 ± 0.002 on 1000 held-out galaxies``."""
    if label["kind"] == "exact":
        return "Exact search."
    if label.get("filtered"):
        return f"{label['kind']}; exact among the galaxies that passed the filters."
    if "recall_at_10" not in label:
        return f"{label['kind']}, approximate: its recall was not measured, because too few galaxies could be held out."
    share = f"{label['recall_at_10']:.3f} ± {label['standard_error']:.3f}"
    return f"{label['kind']}, approximate: recall@10 {share} on {label['queries']} held-out galaxies."


def _list_positions(found: Found, query: int | Picture | None) -> np.ndarray:
    first = [query] if isinstance(query, int | np.integer) else []
    return np.array([*first, *found.positions.tolist()], np.int64)


def _lay_out(found: Found, query: int | Picture | None, pictures: Any) -> dict[str, Any]:
    name = str(found.query.get("id_str") or found.query.get("image") or "a vector")
    cards = []
    if isinstance(query, int | np.integer):
        cards.append(_make_card(found.query, next(pictures)))
    elif query is not None:
        cards.append(_make_card({"id_str": name, "survey": ""}, encode_picture(Image.fromarray(query), SIDE)))
    cards += [_make_card(neighbour, next(pictures)) for neighbour in found.neighbours]
    left = ", ".join(f"{row['id_str']} ({row['survey']})" for row in found.itself)
    note = f"Left out, because they show the query galaxy: {left}." if left else ""
    return {"title": f"Galaxies that look like {name}", "cards": cards, "note": note}


def _make_card(row: dict[str, Any], picture: str) -> dict[str, Any]:
    card = {"is_query": "similarity" not in row, "picture": picture, "link": "", **row}
    if not card["is_query"]:  # of vectors of length one
        card["distance"] = math.sqrt(max(2 - 2 * row["similarity"], 0))
    if "ra" in row:
        card["viewer"], card["link"] = link_viewer(row["survey"], row["ra"], row["dec"])
    return card
