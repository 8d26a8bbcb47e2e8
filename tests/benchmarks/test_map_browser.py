"""The map in a real browser: load, zoom, hover, click, colour change, wide and narrow, a silent console."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.map import write_map
from embeddings.search import open_index
from tests.benchmarks.browser import SIZES, Page, open_page
from tests.benchmarks.stores import write_pictured

# where a row is drawn, in pixels of the window
PLACE = """
const [row] = arguments, plot = document.getElementById("plot"), box = plot.getBoundingClientRect();
const {xaxis, yaxis} = plot._fullLayout;
return [box.left + xaxis._offset + xaxis.d2p(x[row]), box.top + yaxis._offset + yaxis.d2p(y[row])];
"""
CHOOSE = "const s = document.getElementById('color'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))"


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("map")
    write_pictured(folder / "sdss.h5", "sdss", 40, 1, redshift=np.linspace(0, 0.2, 40))
    write_pictured(folder / "ukidss.h5", "ukidss", 20, 2, kind=["<!--<script>round", "</script><b>flat"] * 10)
    return [folder / "sdss.h5", folder / "ukidss.h5"]


@pytest.fixture(scope="module")
def page_file(stores: list[Path]) -> Path:
    path = stores[0].with_name("map.html")
    write_map(path, open_index(stores), ["survey", "redshift", "kind"], thumbnails=30)
    return path


def x_range(page: Page) -> float:
    low, high = page.run("return document.getElementById('plot')._fullLayout.xaxis.range")
    return float(high - low)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_one_can_walk_in_the_map(size: str, page_file: Path, stores: list[Path], tmp_path: Path) -> None:
    index = open_index(stores)
    with open_page(page_file, size, tmp_path / "profile") as page:
        page.wait("document.body.dataset.ready === 'yes'")
        assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")
        assert page.run("return document.getElementById('plot').data.map(t => t.name)") == ["sdss", "ukidss"]
        assert page.run("return document.getElementById('plot').data[0].type") == "scattergl"

        # no point beside it, so that it is hit and not its neighbour
        row = page.run("""
            const rows = Array.from(x.keys()), far = (i, j) => Math.hypot(x[i] - x[j], y[i] - y[j]);
            const gap = i => Math.min(...rows.filter(j => j !== i).map(j => far(i, j)));
            return rows.sort((a, b) => gap(b) - gap(a))[0];
        """)
        place = page.run(PLACE, row)
        if size == "desktop":
            page.mouse("mouseMoved", *place)
            page.wait("document.getElementById('hover').style.display === 'block'")
            page.wait("document.querySelector('#hover img').naturalWidth > 0")  # loaded without network
            assert (
                page.run("return document.querySelector('#hover .id').textContent")
                == index.rows.describe(row)["id_str"]
            )
            page.click(*place)
        else:
            page.tap(*place)
        page.wait("document.querySelectorAll('.neighbour').length === 8")
        expected = index.search(row, 8)  # another way to the same neighbours
        shown = page.run("return Array.from(document.querySelectorAll('.neighbour .id')).map(e => e.textContent)")
        assert shown == [neighbour["id_str"] for neighbour in expected.neighbours]
        page.wait("Array.from(document.querySelectorAll('#panel img')).every(i => i.complete && i.naturalWidth)")
        link = page.run("return document.querySelector('#panel a').href")
        assert f"{10 + (row % 40) / 10:.6f}" in link

        page.run("document.querySelectorAll('.neighbour')[0].click()")
        page.wait(f"document.querySelector('.query .id').textContent === {shown[0]!r}")

        before = x_range(page)
        if size == "desktop":
            page.mouse("mouseWheel", *place, deltaX=0, deltaY=-300)
            page.wait(f"Math.abs(document.getElementById('plot')._fullLayout.xaxis.range[1]"
                      f" - document.getElementById('plot')._fullLayout.xaxis.range[0]) < {0.95 * before}")  # fmt: skip
            zoomed = x_range(page)
        page.run(CHOOSE, "redshift")
        page.wait("document.querySelector('#plot .colorbar, #plot .cbbg')")
        assert page.run("return document.getElementById('plot').data.map(t => t.name)") == ["missing", "redshift"]
        if size == "desktop":
            assert x_range(page) == pytest.approx(zoomed)  # one stays where one has walked to
        page.run(CHOOSE, "kind")
        page.wait("document.getElementById('plot').data.length === 3")
        names = page.run("return Array.from(document.querySelectorAll('#plot .legendtext')).map(e => e.textContent)")
        assert sorted(names) == ["<!--<script>round", "</script><b>flat", "missing"]
        page.save(tmp_path / "shot.png")
        assert page.errors() == []
