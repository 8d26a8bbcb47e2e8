"""Commands that show what a benchmark found, and what changed since another one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sommelier.benchmark import benchmark
from sommelier.group import PATH, as_json, print_table, show_progress

if TYPE_CHECKING:
    from benchmarks.changes import Changes
    from benchmarks.tables import Table


@benchmark.command("report")
@click.argument("folder", type=PATH)
def benchmark_report(folder: Path) -> None:
    """
    Write the report of a benchmark: one page that needs no network, tables and figures for a paper.

    FOLDER is what `benchmark run` wrote, which ends with this; later it writes the report anew from the cells.

    \b
    sommelier benchmark report results/stages
    """
    from benchmarks.gathering import read_record, read_results
    from benchmarks.report import write_report
    from benchmarks.reporting.contenders import find_headline
    from benchmarks.reporting.verdict import tell_answer
    from embeddings.parts import FileLock

    read_record(folder)  # before a lock is made where there is no benchmark
    with FileLock(folder / ".lock"):
        with show_progress("scoring", "reading") as report:
            results = read_results(folder, report)
        page = write_report(results)
    click.echo(tell_answer(results, find_headline(results)))
    click.echo(f"{page}; tables/ and figures/ beside it")


@benchmark.command("compare")
@click.argument("a", type=PATH, metavar="DIR_A")
@click.argument("b", type=PATH, metavar="DIR_B")
@as_json
def benchmark_compare(a: Path, b: Path, as_json: bool) -> None:
    """
    What changed from one run of a benchmark to another, and whether it is more than noise.

    Scores are compared in pairs where both were tested on the same galaxies; runs of different splits are not, and a
    warning says so.

    \b
    sommelier benchmark compare results/before results/after
    """
    from benchmarks.changes import compare_results
    from benchmarks.gathering import read_results

    with show_progress("scoring", "reading") as report:
        changes = compare_results(read_results(a, report), read_results(b, report))
    if as_json:
        click.echo(json.dumps(changes.to_dict(), indent=1))
    else:
        _print_changes(changes)


def _print_changes(changes: Changes) -> None:
    for warning in changes.warnings:
        click.secho(warning, fg="red", bold=True)
    if changes.suite:
        _print(changes.tabulate_suite())
    else:
        click.echo("the suites are the same")
    if changes.scores:
        _print(changes.tabulate_scores())
    for name, lone in (("A", changes.only_a), ("B", changes.only_b)):
        if lone:
            click.echo(f"only in {name}: {len(lone)} scores, of {', '.join(sorted({each[1] for each in lone}))}")


def _print(table: Table) -> None:
    print_table(table.columns, table.texts, table.title)
    if table.meaning:
        click.echo(table.meaning)
