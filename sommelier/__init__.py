"""The command line: one click group; a command opens, calls one library function, prints."""

from __future__ import annotations

import os

import click

import sommelier.reports
import sommelier.suites
import sommelier.surveys  # noqa: F401 - its commands join the group catalog
from sommelier.benchmark import benchmark
from sommelier.catalogs import catalog
from sommelier.demo import demo
from sommelier.doctor import doctor
from sommelier.download import download
from sommelier.finetune import finetune
from sommelier.group import Group
from sommelier.heads import head
from sommelier.search import duplicates, index, map_, search
from sommelier.simulate import simulate
from sommelier.stores import export, extract, info, relabel, verify

# idle OpenMP threads sleep instead of spinning: on a machine that others use too, spinning costs more than it gains;
# it must be set before torch loads
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="galaxy-sommelier")
def main() -> None:
    """
    Embeddings of galaxies: made once, kept with proof, put to use in seconds.

    \b
    sommelier catalog folder images -o mine.parquet
    sommelier extract mine.parquet --backbone facebook/dinov2-base -o mine.h5
    sommelier head fit mine.h5 -o models/ridge
    """


for command in (demo, simulate, download, catalog, extract, info, verify, export, relabel, head, finetune,
                index, search, duplicates, map_, benchmark, doctor):  # fmt: skip
    main.add_command(command)
