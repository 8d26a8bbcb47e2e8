"""Commands that fit heads and use them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sommelier.group import PATH, Group, as_json, print_table, print_warnings, seed

if TYPE_CHECKING:
    from heads.comparison import Contender

METRICS = {"r": "Pearson r", "r2": "R2", "mae": "MAE", "auc": "AUC"}
NAMES = "mean, random, knn, ridge, logistic, mlp, xgboost or votes"


@click.group(cls=Group)
def head() -> None:
    """Fit light models on embeddings, and use them."""


def learning_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What galaxies, labels and spaces heads learn from, and how they are scored."""
    for option in reversed(
        (
            click.argument("stores", nargs=-1, required=True, type=PATH),
            click.option("--catalog", type=PATH, help="Labels from this catalog instead of the store's."),
            click.option("--targets", multiple=True, help="Only targets that match this glob; repeat for several."),
            click.option("--min-votes", default=0, help="Questions with fewer votes count as not asked."),
            click.option("--weight-by-votes", is_flag=True, help="Learn more from galaxies with more votes."),
            click.option("--layer", type=int, help="Only this layer. [default: chosen inside the folds]"),
            click.option(
                "--pool",
                help="Only this pooling: cls, patch-mean or cls+patch-mean. [default: chosen inside the folds]",
            ),
            click.option(
                "--folds",
                "n_folds",
                default=5,
                type=click.IntRange(2),
                help="Outer folds of the nested cross-validation.",
            ),
            click.option("--seen", is_flag=True, help="Score galaxies too that the backbone was fine-tuned on."),
        )
    ):
        command = option(command)
    return command


def read_learning_options(
    stores: Sequence[Path], catalog: Path | None, layer: int | None, pool: str | None
) -> dict[str, Any]:
    """What `fit_head` and `compare_heads` take, of what the command line gave."""
    from embeddings.store import EmbeddingStore
    from heads.evaluation import select_candidates
    from heads.training import Labels

    opened = [EmbeddingStore.open(path) for path in stores]
    labels = None
    if catalog:
        from extract.catalog import Catalog

        read = Catalog.read(catalog)
        labels = Labels(read.ids.astype(str), read.columns, read.questions)
    return {"stores": opened, "labels": labels, "spaces": select_candidates(opened, layer, pool)}


@head.command("fit")
@learning_options
@click.option("--head", "name", default="ridge", help=f"{NAMES}.")
@click.option("-o", "--output", required=True, type=PATH, help="Folder for the fitted head.")
@seed
@as_json
def head_fit(stores: tuple[Path, ...], name: str, catalog: Path | None, layer: int | None, pool: str | None,
             output: Path, seed: int, as_json: bool, **options: Any) -> None:  # fmt: skip
    """
    Fit a head and print nested cross-validated scores.

    Layer, pooling and penalty are chosen inside the folds: the scores come from galaxies that chose nothing. With a
    fine-tuned backbone, the split of its run takes the place of the folds.

    \b
    sommelier head fit spiral.h5 --head ridge -o models/ridge
    """
    from heads.evaluation import fit_head
    from heads.io import refuse_foreign

    refuse_foreign(output)
    learning = read_learning_options(stores, catalog, layer, pool)
    with print_warnings():
        fitted = fit_head(head=name, random_state=seed, **learning, **options)
    fitted.save(output)
    if as_json:
        record = {"head": name, "scores": fitted.scores, "space": fitted.space.name, "details": fitted.details}
        click.echo(json.dumps(record, indent=1))
    else:
        _print_scores(name, fitted.scores, fitted.details)
        whole = f"all {fitted.details['galaxies']} galaxies"
        learned = whole if fitted.details["folds"] > 1 else "the training galaxies of the backbone's run"
        click.echo(f"{output}: {name} on {fitted.space.name}, fitted on {learned}")


def _print_scores(name: str, scores: list[dict[str, Any]], details: dict[str, Any]) -> None:
    rows = [(score["target"], *_show_scores(score), str(score["n"])) for score in scores]
    print_table(("target", *METRICS.values(), "n"), rows, f"{name} on {_describe_split(details)}")
    for question in details["questions"]:
        accuracy = _show_score(question["accuracy"], question["accuracy_sd"])
        click.echo(f"leading answer to {question['question']} right: {accuracy} of {question['n']} galaxies")
    chosen = details["chosen_in_folds"]
    where = f"inside the {details['folds']} folds" if details["folds"] > 1 else "without the test galaxies"
    click.echo(f"chosen {where}: {_count_spaces(chosen)} (of {', '.join(details['spaces_tried'])})")
    _warn_of_seen(details)


def _describe_split(details: dict[str, Any]) -> str:
    spread = ", mean ± sd over folds" if details["folds"] > 1 else ""
    return f"{details['backbone']}: {details['split']}{spread}"


def _warn_of_seen(details: dict[str, Any]) -> None:
    """Say that scores are of galaxies which the backbone was trained on."""
    if details["seen"]:
        seen = f"{details['seen']} of these {details['galaxies']} galaxies"
        click.secho(f"the backbone has seen {seen}: new ones would score less", fg="yellow")


def _count_spaces(chosen: Sequence[str]) -> str:
    return ", ".join(f"{space} in {chosen.count(space)}" for space in dict.fromkeys(chosen))


def _show_scores(record: dict[str, Any]) -> list[str]:
    return [_show_score(record[metric], record[f"{metric}_sd"]) for metric in METRICS]


def _show_score(mean: float | None, sd: float | None) -> str:
    """No figure is a dash; one fold has no spread."""
    if mean is None:
        return "-"
    return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"


@head.command("compare")
@learning_options
@click.option("--head", "heads", multiple=True, help=f"{NAMES}; repeat for several. [default: all]")
@seed
@as_json
def head_compare(stores: tuple[Path, ...], catalog: Path | None, layer: int | None, pool: str | None,
                 seed: int, as_json: bool, **options: Any) -> None:  # fmt: skip
    """
    Fit all heads under one split, and print scores with seconds and memory.

    A head that does worse than the mean of the labels says so.

    \b
    sommelier head compare spiral.h5
    sommelier head compare sdss.h5 decals.h5 --head knn --head ridge --targets 'smooth-or-featured_*'
    """
    from heads.comparison import compare_heads

    learning = read_learning_options(stores, catalog, layer, pool)

    def report(contender: Contender) -> None:
        if sys.stderr.isatty():
            click.echo(f"{contender.name}: {contender.seconds:.1f} s", err=True)

    with print_warnings():
        contenders = compare_heads(random_state=seed, report=report, **learning, **options)
    if as_json:
        click.echo(json.dumps({"heads": [contender.to_record() for contender in contenders]}, indent=1))
    else:
        _print_comparison(contenders)


def _print_comparison(contenders: Sequence[Contender]) -> None:
    """A table of averages and costs, one of targets where there are several, and what is to be said of some heads."""
    ran = [(c, c.fitted) for c in contenders if c.fitted]
    details = ran[0][1].details
    targets = [score["target"] for score in ran[0][1].scores]
    rows = [
        (c.name, *_show_scores(fitted.details["average"]), f"{c.seconds:.1f}", _show_mebibytes(c.peak_bytes),
         _count_spaces(fitted.details["chosen_in_folds"]))
        for c, fitted in ran
    ]  # fmt: skip
    what = targets[0] if len(targets) == 1 else f"averages over {len(targets)} targets"
    title = f"{what}, {details['galaxies']} galaxies, {_describe_split(details)}"
    print_table(("head", *METRICS.values(), "seconds", "peak MiB", "chosen in the folds"), rows, title)
    if len(targets) > 1:
        columns = zip(*([_show_score(score["r2"], score["r2_sd"]) for score in f.scores] for _, f in ran), strict=True)
        counts = [str(score["n"]) for score in ran[0][1].scores]
        rows = [(target, *figures, n) for target, figures, n in zip(targets, columns, counts, strict=True)]
        print_table(("target", *(c.name for c, _ in ran), "n"), rows, "R2 of each target")
    for contender in contenders:
        if contender.refusal:
            click.echo(f"{contender.name} was left out: {contender.refusal}")
        if contender.lost:
            click.secho(f"{contender.name} is worse than the mean (R2) on: {', '.join(contender.lost)}", fg="yellow")
    _warn_of_seen(details)


def _show_mebibytes(n_bytes: int | None) -> str:
    return "-" if n_bytes is None else f"{n_bytes / 2**20:.0f}"


@head.command("predict")
@click.argument("folder", type=PATH)
@click.argument("store", type=PATH)
@click.option("-o", "--output", required=True, type=PATH, help="A Parquet file: id_str and one column a target.")
def head_predict(folder: Path, store: Path, output: Path) -> None:
    """
    Predict the galaxies of a store, with a head or with the head of a fine-tuning run.

    \b
    sommelier head predict models/ridge spiral.h5 -o predictions.parquet
    sommelier head predict runs/full tuned.h5 -o predictions.parquet
    """
    from embeddings.export import write_predictions
    from embeddings.store import EmbeddingStore
    from heads.io import load_head

    fitted = load_head(folder)
    predictions = fitted.predict(EmbeddingStore.open(store))
    write_predictions(output, predictions.ids, *predictions.tabulate())
    click.echo(f"{output}: {len(predictions.ids)} galaxies, {', '.join(predictions.targets)}")
    if predictions.seen:
        run = fitted.details.get("run")
        honest = f"in {run}/metrics.json" if run else "those that 'head fit' printed"
        who = "are galaxies that the run was trained on" if run else "have ids that the head was fitted on"
        click.secho(
            f"  {predictions.seen} of them {who}: on those its predictions look better than they are; its honest "
            f"scores are {honest}",
            fg="yellow", err=True,
        )  # fmt: skip
