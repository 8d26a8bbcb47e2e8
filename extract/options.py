"""What an extraction is asked for, and what it takes where nothing was asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from embeddings.errors import RunError, SommelierError
from embeddings.provenance import POOLINGS, list_differences
from embeddings.runs import RunRecord
from embeddings.store import EmbeddingStore
from extract.fits import MAX_MISSING
from extract.preprocessing import Recipe
from extract.rendering import Rendering


@dataclass(frozen=True)
class Options:
    """How to extract; see `extract.pipeline.extract_embeddings`."""

    layers: tuple[int, ...] = (-1,)
    pools: tuple[str, ...] = ()
    size: int | None = None
    recipe: str | None = None
    stretch: str | None = None
    bands: tuple[str, ...] = ()
    cutout: float | None = None
    max_missing: float = MAX_MISSING
    revision: str | None = None
    image_root: str | None = None
    precision: str = "auto"
    storage: str = "float16"
    batch_size: int | None = None
    workers: int | None = None
    threads: int | None = None
    device: str = "auto"
    shard: tuple[int, int] = (1, 1)
    retry_failed: bool = False
    max_failures: str | float = 0.1


def choose_recipe(options: Options, run: RunRecord | None) -> tuple[Recipe, str]:
    """
    The recipe that is asked for; where nothing is, that of the run that trained the backbone, or the default.

    Returns
    -------
    recipe : Recipe
    caution : str
        What is to be said aloud when a fine-tuned backbone is shown other images than it learned on; else empty.

    Raises
    ------
    RunError
        When the run's record has no recipe.
    """
    own = Recipe() if run is None else read_recipe(run)
    recipe = replace(own, name=options.recipe or own.name, size=options.size or own.size)
    if run is None or recipe == own:
        return recipe, ""
    return recipe, (
        f"the backbone of {run.folder} was fine-tuned with --size {own.size} --recipe {own.name}, and now sees --size "
        f"{recipe.size} --recipe {recipe.name}: vectors and scores will be those of another model, and the run's head "
        "refuses them. Leave both options out to take the run's own."
    )


def read_recipe(run: RunRecord) -> Recipe:
    """How a run prepared its images."""
    record = run.record["recipe"]
    try:
        return Recipe(record["name"], int(record["size"]), tuple(record["mean"]), tuple(record["std"]))
    except (LookupError, TypeError, ValueError) as error:
        raise RunError(f"{run.folder}: the run's record has no recipe that can be read ({error!r}).") from error


def read_run_rendering(run: RunRecord | None) -> Rendering | None:
    """
    How a run made pictures of its image files; None where there is no run, or its record does not say.

    Raises
    ------
    RunError
        When what its record says cannot be read.
    """
    record = run.record.get("rendering") if run else None
    if not run or not record:
        return None
    try:
        return Rendering.from_dict(record)
    except (LookupError, TypeError, ValueError, SommelierError) as error:
        raise RunError(f"{run.folder}: the run's record has no rendering that can be read ({error!r}).") from error


def caution_of_rendering(rendering: Rendering, run: RunRecord | None) -> str:
    """What is to be said aloud when a fine-tuned backbone is shown FITS images drawn otherwise; else empty."""
    own = read_run_rendering(run)
    if run is None or own is None or own.stretch is None or rendering.stretch is None:
        return ""
    learned, shown = (replace(each, max_missing=MAX_MISSING).to_dict() for each in (own, rendering))
    changes = "; ".join(list_differences(learned, shown))
    return changes and (
        f"the backbone of {run.folder} (here) was fine-tuned on FITS images that were drawn otherwise than these "
        f"(there): {changes}. Leave --stretch, --bands and --cutout out to draw them as the run did."
    )


def choose_pools(options: Options, run: RunRecord | None) -> tuple[str, ...]:
    """
    The poolings that are asked for; where none is, those that the run's head reads, or CLS.

    Raises
    ------
    RunError
        When the run's record has no pooling.
    """
    if options.pools or run is None:
        return options.pools or POOLINGS[:1]
    try:
        return tuple(run.record["space"]["pooling"].split("+"))
    except (LookupError, TypeError, AttributeError) as error:
        raise RunError(f"{run.folder}: the run's record has no space that can be read ({error!r}).") from error


def require_run(store: EmbeddingStore, run: RunRecord | None, backbone: str) -> None:
    """
    Refuse to add to a store in a way that would lose what it says of galaxies that its backbone was trained on.

    Raises
    ------
    SommelierError
        When the store was made with a run, and the backbone comes without one.
    """
    if store.has_parts and run is None:
        made = [record["finetune"]["run"] for record in store.provenance.runs if "finetune" in record]
        raise SommelierError(
            f"{store.path} knows which galaxies its backbone was trained on, and {backbone} does not. Give the run "
            f"itself: --backbone {made[-1] if made else 'RUN_DIR'}, or write to another file."
        )
