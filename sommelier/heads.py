"""Commands that fit heads and use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from sommelier.group import PATH, Group, as_json, print_table, seed


@click.group(cls=Group)
def head() -> None:
    """Fit light models on embeddings, and use them."""


@head.command("fit")
@click.argument("stores", nargs=-1, required=True, type=PATH)
@click.option("--head", "name", default="ridge", help="mean, knn or ridge.")
@click.option("--catalog", type=PATH, help="Labels from this catalog instead of the store's.")
@click.option("--targets", multiple=True, help="Only targets that match this glob; repeat for several.")
@click.option("--min-votes", default=0, help="Questions with fewer votes count as not asked.")
@click.option("--layer", type=int, help="Only this layer. [default: chosen inside the folds]")
@click.option("--pool", help="Only this pooling: cls, patch-mean or cls+patch-mean. [default: chosen inside the folds]")
@click.option(
    "--folds", "n_folds", default=5, type=click.IntRange(2), help="Outer folds of the nested cross-validation."
)
@click.option("-o", "--output", required=True, type=PATH, help="Folder for the fitted head.")
@seed
@as_json
def head_fit(stores: tuple[Path, ...], name: str, catalog: Path | None, layer: int | None, pool: str | None,
             output: Path, seed: int, as_json: bool, **options: Any) -> None:  # fmt: skip
    """
    Fit a head and print nested cross-validated scores.

    Layer, pooling and penalty are chosen inside the folds: the scores come from galaxies that chose nothing.

    \b
    sommelier head fit spiral.h5 --head ridge -o models/ridge
    """
    from embeddings.store import EmbeddingStore
    from heads.evaluation import Labels, fit_head, select_candidates
    from heads.io import refuse_foreign

    refuse_foreign(output)
    opened = [EmbeddingStore.open(path) for path in stores]
    labels = None
    if catalog:
        from extract.catalog import Catalog

        read = Catalog.read(catalog)
        labels = Labels(read.ids.astype(str), read.columns, read.questions)
    spaces = select_candidates(opened, layer, pool)
    fitted = fit_head(opened, name, labels, spaces=spaces, random_state=seed, **options)
    fitted.save(output)
    if as_json:
        record = {"head": name, "scores": fitted.scores, "space": fitted.space.name, "details": fitted.details}
        click.echo(json.dumps(record, indent=1))
    else:
        _print_scores(name, fitted.scores, fitted.details)
        click.echo(f"{output}: {name} on {fitted.space.name}, fitted on all {fitted.details['galaxies']} galaxies")


def _print_scores(name: str, scores: list[dict[str, Any]], details: dict[str, Any]) -> None:
    folds = details["folds"]
    metrics = {"r": "Pearson r", "r2": "R2", "mae": "MAE", "auc": "AUC"}
    rows = [
        (score["target"], *(_show_score(score[metric], score[f"{metric}_sd"]) for metric in metrics), str(score["n"]))
        for score in scores
    ]
    title = f"{name} on {details['backbone']}: nested {folds}-fold cross-validation, mean ± sd over folds"
    print_table(("target", *metrics.values(), "n"), rows, title)
    chosen = details["chosen_in_folds"]
    picks = ", ".join(f"{space} in {chosen.count(space)}" for space in dict.fromkeys(chosen))
    click.echo(f"chosen inside the {folds} folds: {picks} (of {', '.join(details['spaces_tried'])})")


def _show_score(mean: float | None, sd: float | None) -> str:
    """No figure is a dash; one fold has no spread."""
    if mean is None:
        return "-"
    return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"


@head.command("predict")
@click.argument("folder", type=PATH)
@click.argument("store", type=PATH)
@click.option("-o", "--output", required=True, type=PATH, help="A Parquet file: id_str and one column a target.")
def head_predict(folder: Path, store: Path, output: Path) -> None:
    """
    Predict the galaxies of a store.

    \b
    sommelier head predict models/ridge spiral.h5 -o predictions.parquet
    """
    from embeddings.export import write_predictions
    from embeddings.store import EmbeddingStore
    from heads.io import load_head

    predictions = load_head(folder).predict(EmbeddingStore.open(store))
    write_predictions(output, predictions.ids, predictions.P, predictions.targets)
    click.echo(f"{output}: {len(predictions.ids)} galaxies, {', '.join(predictions.targets)}")
    if predictions.seen:
        click.secho(
            f"  {predictions.seen} of them have ids that the head was fitted on: on those its predictions look better "
            "than they are; its honest scores are those that 'head fit' printed",
            fg="yellow", err=True,
        )  # fmt: skip
