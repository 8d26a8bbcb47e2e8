"""A GZ2 table of full size, made of real rows: how long it takes, and how much memory, beside reading it alone."""

from __future__ import annotations

import gzip
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table

from extract.catalog import Catalog
from extract.matching import match_catalogs
from tests.perf.timing import measure

pytestmark = [pytest.mark.perf, pytest.mark.slow]
ROWS, COLUMNS = 239_695, 231
DECALS_ROWS = 92_960
# the child's own peak: maxrss of a child counts its parent's pages too
COMMAND = """
import sys
from sommelier import main
try:
    main(["catalog", "sdss", sys.argv[1], "-o", sys.argv[2]])
finally:
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print("PEAK", int(peak.split()[1]) * 1024)
"""


@pytest.fixture(scope="module")
def release(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gz2_hart16.csv with as many rows and columns as the real one: votes of Stripe 82, columns of gz2_hart16."""
    folder = tmp_path_factory.mktemp("gz2")
    columns = pd.read_csv(real_data / "gz_native_format_fixtures/galaxy_zoo_2/gz2_hart16.csv", nrows=1).columns
    votes = pd.read_csv(real_data / "gz2_table5_stripe82/table5.csv.gz").sample(ROWS, replace=True, random_state=0)
    rng = np.random.default_rng(0)
    sky = {"ra": rng.uniform(0, 360, ROWS).round(6), "dec": rng.uniform(-10, 70, ROWS).round(6)}
    words = {"rastring": "", "decstring": "", "gz2_class": rng.choice(["Sc+t", "Sb?m(m)", "Ser"], ROWS)}
    made = {"dr7objid": 587722952231026744 + np.arange(ROWS)} | sky | words
    table = pd.concat(
        [votes.drop(columns=["ra", "dec"]).reset_index(drop=True), pd.DataFrame(made)], axis=1
    )[columns]  # fmt: skip
    assert table.shape == (ROWS, COLUMNS)
    table.to_csv(folder / "gz2_hart16.csv", index=False)
    return folder


def test_reading_a_full_release(release: Path) -> None:
    """Each in a process of its own, for what is read first pays for the memory of what is read next."""
    file = str(release / "gz2_hart16.csv")
    ways = {
        "catalog": f"from extract.surveys import read_catalog\nread = lambda: read_catalog('sdss', {file!r})",
        "pandas": f"import pandas\nread = lambda: pandas.read_csv({file!r})",
        "pyarrow": f"import pyarrow.csv\nread = lambda: pyarrow.csv.read_csv({file!r})",
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(5):
        for way, code in ways.items():
            timed = f"{code}\nimport time\nstart = time.perf_counter()\nread()\nprint(time.perf_counter() - start)"
            done = subprocess.run([sys.executable, "-c", timed], check=True, capture_output=True, text=True)
            seconds[way].append(float(done.stdout))
    times = {way: statistics.median(values) for way, values in seconds.items()}
    print("  " + ", ".join(f"{way} {value:.3g} s" for way, value in times.items()))
    print(f"  {times['catalog'] / times['pandas']:.2f} x pandas, {times['catalog'] / times['pyarrow']:.2f} x pyarrow")
    assert times["catalog"] / max(times["pandas"], times["pyarrow"]) < 1.5


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".fits.gz"])
def test_memory_of_the_whole_command(ending: str, release: Path, tmp_path: Path) -> None:
    plain, file = release / "gz2_hart16.csv", tmp_path / f"gz2_hart16{ending}"
    if ending == ".fits.gz":
        Table.from_pandas(pd.read_csv(plain)).write(file.with_suffix(""))
        subprocess.run(["gzip", "-1", str(file.with_suffix(""))], check=True)
    elif ending == ".csv.gz":
        file.write_bytes(gzip.compress(plain.read_bytes(), 1))
    else:
        file.symlink_to(plain)
    start = time.perf_counter()
    command = [sys.executable, "-c", COMMAND, str(file), str(tmp_path / "sdss.parquet")]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    peak = int(output.split("PEAK")[1])
    seconds = time.perf_counter() - start
    print(f"  {ending}: the command, Parquet written: {seconds:.1f} s, peak {peak / 2**20:.0f} MiB ({peak:.3g} bytes)")
    assert peak < 2e9
    assert len(Catalog.read(tmp_path / "sdss.parquet")) == ROWS


def make_sky(n_rows: int, seed: int) -> Catalog:
    rng = np.random.default_rng(seed)
    ids = [str(number) for number in range(n_rows)]
    sky = {"ra": rng.uniform(110, 260, n_rows), "dec": rng.uniform(-5, 60, n_rows)}
    return Catalog(pd.DataFrame({"id_str": ids, "survey": "s", **sky, "image": ""}))


def test_matching_two_surveys() -> None:
    sdss, decals = make_sky(ROWS, 1), make_sky(DECALS_ROWS, 2)
    same = decals.frame.index[:50_000]
    sdss.frame.loc[same, ["ra", "dec"]] = decals.frame.loc[same, ["ra", "dec"]] + 0.2 / 3600
    times = measure(3, match=lambda: match_catalogs(sdss, decals))
    assert len(match_catalogs(sdss, decals)) >= 50_000
    assert times["match"] < 10
