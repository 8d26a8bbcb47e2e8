"""The embedding as a picture that one can walk in: one HTML page, without server or network."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exhibition import describe_search
from benchmarks.pages import refuse_foreign_page, write_page
from benchmarks.thumbnails import find_pictures, make_thumbnails, name_address
from benchmarks.viewers import link_viewer
from embeddings.errors import SommelierError, did_you_mean
from embeddings.search import GalaxyIndex
from embeddings.search.rows import Rows, read_column
from embeddings.search.whitening import transform

Array = np.ndarray[Any, Any]

LAYOUTS = ("pca", "umap")
N_NEIGHBOURS = 8
SIDE = 96  # of the thumbnails, in pixels
MAX_CATEGORIES = 20  # of a text column; the rest is "other"
COLUMNS_OFFERED = 12  # of the labels, where no column was named
Say = Callable[[str], None]


def write_map(
    path: Path,
    index: GalaxyIndex,
    colors: Sequence[str] = (),
    layout: str = "pca",
    thumbnails: int = 5000,
    random_state: int = 0,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """
    Write the map of an index.

    Parameters
    ----------
    path : Path
        Of the page; a page that was made here is replaced, nothing else.
    index : GalaxyIndex
    colors : sequence of str
        Columns to colour by, the first one at first; ``survey`` is always offered. By default also the first labels.
    layout : {'pca', 'umap'}
    thumbnails : int
        How many pictures stand in the page itself; those of other galaxies are shown from where they lie on disk.
    random_state : int
    say : callable
        Told what is being done.

    Returns
    -------
    dict
        ``points, thumbnails, bytes``.

    Raises
    ------
    SommelierError
    """
    refuse_foreign_page(path)
    rows = index.rows
    columns = {name: encode_column(gather_column(rows, name)) for name in choose_columns(rows, colors)}
    say("reading vectors")
    X = rows.read_vectors(lambda X: transform(X, index.whitening))
    say(f"laying out by {layout}")
    places, axes = lay_out(X, layout, random_state)
    say("finding neighbours")
    near, similarity = find_near(index, X)
    say("drawing thumbnails")
    embedded = choose_embedded(len(rows), thumbnails, random_state)
    pictures = dict(zip(embedded.tolist(), make_thumbnails(rows, embedded, SIDE), strict=True))
    data = {
        "x": encode_array(places[:, 0]), "y": encode_array(places[:, 1]), "axes": axes,
        "ids": rows.text("id_str", np.arange(len(rows))),
        "near": encode_array(near.astype(np.int32)), "similarity": encode_array(similarity), "k": near.shape[1],
        "columns": columns, "first": next(iter(columns)), "pictures": pictures, **describe_places(rows),
        **describe_files(rows, len(pictures) < len(rows)),
    }  # fmt: skip
    title = f"Map of {len(rows)} galaxies of {', '.join(rows.surveys)}"
    write_page(path, "map.html", title=title, subtitle=describe_search(index), script=read_plotly(),
               data=json.dumps(data).replace("<", "\\u003c"))  # no name may open or close a script  # fmt: skip
    return {"points": len(rows), "thumbnails": len(pictures), "bytes": path.stat().st_size}


def lay_out(X: Array, layout: str, random_state: int = 0) -> tuple[Array, list[str]]:
    """
    Two coordinates a row, and what the axes are.

    Parameters
    ----------
    X : (n_rows, embed_dim) array
    layout : {'pca', 'umap'}
    random_state : int

    Raises
    ------
    SommelierError
        When UMAP is asked for and not installed.
    """
    if layout == "pca":
        centred = X - X.mean(axis=0)
        variances, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        shares = variances[::-1][:2] / max(variances.sum(), np.finfo(np.float64).tiny)
        places = centred @ directions[:, ::-1][:, :2].astype(np.float32)
        return places, [f"PC{i + 1} ({share:.0%} of variance)" for i, share in enumerate(shares)]
    try:
        import umap
    except ImportError:
        raise SommelierError("--layout umap needs umap-learn: pip install 'galaxy-sommelier[umap]'.") from None
    import warnings

    with warnings.catch_warnings():  # a fixed seed means one thread, of which it warns
        warnings.simplefilter("ignore")
        reducer = umap.UMAP(metric="cosine", random_state=random_state, n_neighbors=min(15, len(X) - 1))
        return np.asarray(reducer.fit_transform(X), np.float32), ["UMAP 1", "UMAP 2"]


def find_near(index: GalaxyIndex, X: Array) -> tuple[Array, Array]:
    """The `N_NEIGHBOURS` nearest other rows of every row, and their cosines; -1 where there are fewer."""
    k = min(N_NEIGHBOURS, len(X) - 1)
    near, similarity = np.full((len(X), k), -1, np.int64), np.zeros((len(X), k), np.float32)
    for start in range(0, len(X), 1024):
        block = np.arange(start, min(start + 1024, len(X)))
        cosines, positions = index.search_prepared(X[block], k + 1)
        for place, row in enumerate(block):
            others = positions[place] != row
            near[row], similarity[row] = positions[place][others][:k], cosines[place][others][:k]
    return near, similarity


def choose_embedded(n_rows: int, thumbnails: int, random_state: int) -> Array:
    """Whose pictures stand in the page, in ascending order."""
    rng = np.random.default_rng(random_state)
    return np.sort(rng.choice(n_rows, min(n_rows, thumbnails), replace=False))


def choose_columns(rows: Rows, colors: Sequence[str]) -> list[str]:
    """The columns that are offered to colour by, the one to begin with first."""
    known = rows.list_columns()
    for name in colors:
        if name not in known:
            raise SommelierError(f"no column is called {name!r} to colour by. {did_you_mean(name, known)}")
    labels = [name for store in rows.stores for q in store.questions for name in q.target_columns]
    offered = colors or [name for name in dict.fromkeys(labels) if name in known][:COLUMNS_OFFERED]
    return list(dict.fromkeys([*(colors[:1] or ["survey"]), "survey", *offered]))


def gather_column(rows: Rows, name: str) -> Array:
    """A column of all rows; NaN, or empty text, where a store lacks it."""
    parts = []
    for number, store in enumerate(rows.stores):
        values, mine = read_column(store, name), np.flatnonzero(rows.store == number)
        parts.append((mine, None if values is None else values[rows.row[mine]]))
    text = any(values is not None and values.dtype.kind in "US" for _, values in parts)
    out = np.full(len(rows), "" if text else np.nan, dtype=object if text else np.float64)
    for mine, values in parts:
        if values is not None:
            out[mine] = values.astype(str) if text else values
    return out


def encode_column(values: Array) -> dict[str, Any]:
    """A column as the page reads it: numbers, or the categories that are most frequent and "other"."""
    if values.dtype != object:
        return {"kind": "number", "values": encode_array(values.astype(np.float32))}
    names, codes, counts = np.unique(values.astype(str), return_inverse=True, return_counts=True)
    kept = np.argsort(-counts, kind="stable")[:MAX_CATEGORIES]
    rank = np.full(len(names), len(kept), np.uint8)
    rank[kept] = np.arange(len(kept))
    labels = [str(names[code]) or "missing" for code in kept] + (["other"] if len(names) > len(kept) else [])
    return {"kind": "category", "labels": labels, "codes": encode_array(rank[codes])}


def encode_array(values: Array) -> str:
    """The bytes of an array, little-endian, in base64."""
    return base64.b64encode(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()).decode()


def describe_places(rows: Rows) -> dict[str, Any]:
    """Positions on the sky and the surveys' viewers, where positions are known."""
    ra, dec = rows.column("ra"), rows.column("dec")
    if np.isnan(ra).all():
        return {"ra": "", "dec": "", "viewers": []}
    mark = (123.456789, 12.345678)  # turned into the page's own placeholders
    viewers = []
    for store in rows.stores:
        name, address = link_viewer(store.survey, *mark)
        address = address.replace(f"{mark[0]:.6f}", "{ra}").replace(f"%2B{mark[1]:.6f}", "{dec}")
        viewers.append([name, address.replace(f"{mark[1]:.6f}", "{dec}")])
    return {"ra": encode_array(ra.astype(np.float64)), "dec": encode_array(dec.astype(np.float64)), "viewers": viewers}


def describe_files(rows: Rows, wanted: bool) -> dict[str, Any]:
    """Of which store each row is; where pictures lie on disk, as far as a browser can show them."""
    stores = {"store": encode_array(rows.store.astype(np.uint16)), "surveys": [store.survey for store in rows.stores]}
    if not wanted:
        return {**stores, "files": [], "folder": ""}
    addresses = [name_address(path) for path in find_pictures(rows, np.arange(len(rows)))]
    shown = [address for address in addresses if address]
    folder = shown[0].rsplit("/", 1)[0] + "/" if shown else ""
    while shown and not all(address.startswith(folder) for address in shown):
        folder = folder.rstrip("/").rsplit("/", 1)[0] + "/"
    return {**stores, "files": [address[len(folder) :] for address in addresses], "folder": folder}


def read_plotly() -> str:
    """The drawing library, whole."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
