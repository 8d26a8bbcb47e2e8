"""Commands that say how good predictions are, and whether a test is one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sommelier.group import PATH, Group, as_json, print_table, seed, show_progress
from sommelier.search import space_options

if TYPE_CHECKING:
    from benchmarks.exclusion import Exclusion
    from benchmarks.leakage import Audit
    from benchmarks.scoring import Scoring
    from benchmarks.statistics import Score

METRICS = {"r": "Pearson r", "r2": "R2", "mae": "MAE"}
UNCHECKABLE = "not checkable"


@click.group(cls=Group)
def benchmark() -> None:
    """What beats what, by how much, and whether the test was one."""


@benchmark.command("audit")
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@click.option("--radius", default=2.0, type=click.FloatRange(0, min_open=True), help="What is one place, in arcsec.")
@click.option("--head", "head_folder", type=PATH, help="Score this head, or a run's, on B, before and after exclusion.")
@click.option("-o", "--output", type=PATH, help="A Parquet file: every pair that a test found.")
@space_options
@seed
@as_json
def benchmark_audit(a: Path, b: Path, radius: float, head_folder: Path | None, output: Path | None, layer: int,
                    pooling: str | None, seed: int, as_json: bool) -> None:  # fmt: skip
    """
    Which galaxies of B, that are tested on, are also in A, that was learned from.

    A and B are stores or catalogs; A may be the folder of a fine-tuning run: the galaxies that its backbone was trained
    on. Four tests: same id, same place, same image bytes, near-identical embedding.

    \b
    sommelier benchmark audit sdss.h5 ukidss.h5 --head models/ridge -o leaks.parquet
    sommelier benchmark audit runs/full ukidss.parquet --radius 3 --json
    """
    from benchmarks.leakage import audit, refuse_foreign_leaks

    if output:
        refuse_foreign_leaks(output, a, b)
    head = None
    if head_folder:
        from heads.io import load_head

        head = load_head(head_folder)
    with show_progress("comparing", "reading") as report:
        found = audit(a, b, radius, layer, pooling, seed, report)
    scores = None
    if head:
        from benchmarks.exclusion import score_without

        scores = score_without(found, head, seed)
    if output:
        found.write(output)
    if as_json:
        record = found.to_dict() | ({"head": scores.to_dict() | {"folder": str(head_folder)}} if scores else {})
        click.echo(json.dumps(record, indent=1))
        return
    _print_audit(found)
    if scores:
        _print_exclusion(scores, str(head_folder))
    if output:
        click.echo(f"{output}: {sum(len(finding.b) for finding in found.findings)} pairs")


def _print_audit(found: Audit) -> None:
    record = found.to_dict()
    rows = [
        (test["test"], str(test["rows"]), str(test["objects"]), test["how"])
        if test["checkable"]
        else (test["test"], UNCHECKABLE, UNCHECKABLE, test["reason"])
        for test in record["tests"]
    ]
    n, objects = record["b"]["rows"], record["b"]["objects"]
    title = f"galaxies of B ({found.b.path}) that are also in A ({found.a.path})"
    print_table(("test", "rows of B", "sky objects", "what is the same"), rows, title)
    total = record["found"]
    least = "" if total["complete"] or total["rows"] == n else "at least "
    message = f"{least}{total['rows']} of {n} rows, {total['objects']} of {objects} sky objects of B are in A"
    click.secho(message, fg="yellow" if total["rows"] else None)
    for test in record["tests"]:
        for side in "ab":
            count = test[f"unchecked_{side}"]
            if count:
                what = {"position": "no position", "image": "no image that can be read or told apart"}[test["test"]]
                click.secho(f"  {count} rows of {side.upper()} have {what}: {UNCHECKABLE}", fg="yellow", err=True)
    for note in record["notes"]:
        click.echo(f"  * {note}")


def _print_exclusion(scores: Exclusion, head: str) -> None:
    over = scores.targets[0] if len(scores.targets) == 1 else f"means over {len(scores.targets)} targets"
    title = f"{head} on B, {over}, 95 % intervals"
    columns = ["", "n", *METRICS.values()]
    rows = [("before", str(scores.n_before), *_show_scores(scores.before))]
    if scores.after is not None and scores.difference is not None:
        rows.append(("after", str(scores.n_after), *_show_scores(scores.after)))
        rows.append(("paired difference", "", *_show_scores(scores.difference, sign=True)))
    print_table(columns, rows, title)
    if scores.after is None:
        click.secho(
            f"  {scores.n_after} labelled galaxies are left without those in A: too few for a score", fg="yellow"
        )
    if scores.left_out:
        click.echo(f"  left out, with too few labels or not asked alike: {', '.join(scores.left_out)}")
    if scores.seen:
        click.secho(f"  {scores.seen} galaxies have ids that the head or its backbone was trained on", fg="yellow")


def _show_scores(scores: dict[str, Score], sign: bool = False) -> Iterator[str]:
    from benchmarks.tables import show_score

    for name in METRICS:
        yield show_score(scores.get(name), 3, sign)


@benchmark.command("score")
@click.argument("predictions", type=PATH)
@click.argument("labels", required=False, type=PATH)
@click.option("--min-votes", default=0, type=click.IntRange(0), help="Questions with fewer votes count as not asked.")
@click.option("--drop-unasked", is_flag=True, help="Leave out zeros of questions that nobody was asked.")
@seed
@as_json
def benchmark_score(predictions: Path, labels: Path | None, min_votes: int, drop_unasked: bool, seed: int,
                    as_json: bool) -> None:  # fmt: skip
    """
    Score predictions from anywhere, and say what pooled figures hide.

    PREDICTIONS is an .npz with true_labels, predictions and label_columns; or a table with id_str and one column a
    target, and LABELS a catalog, a store or a table.

    \b
    sommelier benchmark score sdss_predictions.npz
    sommelier benchmark score predictions.parquet ukidss.parquet --json
    """
    from benchmarks.predictions import read_pairing
    from benchmarks.scoring import score_pairing

    scoring = score_pairing(read_pairing(predictions, labels, min_votes), drop_unasked, seed)
    if as_json:
        click.echo(json.dumps(scoring.to_dict(), indent=1))
    else:
        _print_scoring(scoring, predictions)


def _print_scoring(scoring: Scoring, predictions: Path) -> None:
    rows = [(s["target"], *(_show(s[name], 3) for name in METRICS), str(s["n"])) for s in scoring.per_target]
    print_table(("target", *METRICS.values(), "n"), rows, f"{predictions}: {scoring.rows} galaxies")
    if scoring.questions:
        rows = [
            (q["question"], _show(q["accuracy"], 3), _show(q["majority"], 3), str(q["n"])) for q in scoring.questions
        ]
        columns = ("leading answer", "predicted right", "always the commonest", "n")
        print_table(columns, rows, "how often the leading answer is right, of galaxies that were asked")
    rows = [("these predictions", *_show_scores(scoring.macro))]
    if scoring.ceiling:
        rows.append(("vote-noise ceiling", *_show_scores(scoring.ceiling.scores)))
    print_table(("mean over targets", *METRICS.values()), rows, "means over targets, 95 % intervals over galaxies")
    _print_pooled(scoring)
    for note in scoring.notes:
        click.echo(f"  {note}")
    for warning in scoring.warnings:
        click.secho(f"  * {warning}", fg="yellow")


def _print_pooled(scoring: Scoring) -> None:
    """The study's figures, with the means of the labels beside them."""
    keys = {"pooled_r": "pooled r", "pooled_r_squared": "its square", "r2": "R2", "mae": "MAE", "mse": "MSE"}
    rows = [
        (name, *(_show(figures[key], 4) for key in keys))
        for name, figures in (("these predictions", scoring.pooled), ("mean of the labels", scoring.floor))
    ]
    print_table(("all targets as one list", *keys.values()), rows, f"pooled, {scoring.pooled['n']} pairs")


def _show(value: float, digits: int) -> str:
    return "-" if value != value else f"{value:z.{digits}f}"
