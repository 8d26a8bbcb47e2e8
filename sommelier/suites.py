"""Commands that run suites: what beats what."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sommelier.benchmark import benchmark
from sommelier.group import PATH, as_json, explain_stop, print_table, print_warnings, show_progress


@benchmark.command("run")
@click.argument("suite")
@click.option("-o", "--output", type=PATH, help="Folder of the results; results/SUITE by default.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="In place of the file's; repeat for several."
)
@click.option("--jobs", default=1, type=click.IntRange(1), help="Processes that fit heads side by side.")
@click.option("--show", is_flag=True, help="Print the suite, with all that --set changes, and stop.")
@as_json
def benchmark_run(suite: str, output: Path | None, overrides: tuple[str, ...], jobs: int, show: bool,
                  as_json: bool) -> None:  # fmt: skip
    """
    Run a suite: from catalogs or stores to tables, figures and a report.

    SUITE is a YAML file, or one that comes with the program: see benchmark list. What is missing is extracted and
    computed; what is there is kept, so that a run that was stopped goes on.

    \b
    sommelier benchmark run stages --set surveys.sdss.catalog=sdss.parquet -o results/stages
    sommelier benchmark run survey-shift --show > mine.yaml
    sommelier benchmark run mine.yaml --jobs 4 -o results/mine
    """
    from benchmarks.suite import load_suite, read_suite

    loaded = load_suite(suite, overrides)
    if show:
        click.echo((loaded.to_yaml() if overrides else read_suite(suite)).rstrip())
        return
    folder = output or Path("results") / Path(suite).name.removesuffix(".yaml")
    from benchmarks.runner import run_suite

    with explain_stop(f"What is done is kept in {folder}"), print_warnings():
        results = run_suite(loaded, folder, jobs, lambda line: click.echo(line, err=True), show_progress)
    if as_json:
        click.echo(json.dumps(results.to_dict(), indent=1))


@benchmark.command("list")
@as_json
def benchmark_list(as_json: bool) -> None:
    """
    The suites that come with the program.

    \b
    sommelier benchmark list
    """
    from benchmarks.suite import list_suites, load_suite

    suites = {name: load_suite(name) for name in list_suites()}
    if as_json:
        record = [{"suite": name, "question": suite.question} for name, suite in suites.items()]
        click.echo(json.dumps(record, indent=1))
        return
    print_table(("suite", "what it answers"), [(name, suite.question) for name, suite in suites.items()], "suites")
