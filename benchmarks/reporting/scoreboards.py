"""Who is how good on each test: between floor and ceiling, with what is and is not told apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from benchmarks.comparison import show_rank
from benchmarks.reporting.contenders import (
    CEILING_ROW,
    MEAN_ROW,
    count_answers,
    count_galaxies,
    find_comparison,
    find_floor,
    find_rank,
    iterate_samples,
    list_rivals,
    name_contender,
    name_file,
    name_model,
    name_rival,
    name_training,
    pick_whole,
    sum_costs,
)
from benchmarks.results import COPY, Contest, Entry, Results
from benchmarks.tables import METRICS, NOTHING, Content, Quantity, Table

AUC = "AUC"
COLUMNS = (
    METRICS["r"], METRICS["r2"], METRICS["mae"], "r less the reference's", "p (Holm)", "verdict", "rank", "runs",
    "seconds", "worst answer", "its r",
)  # fmt: skip
REFERENCE, UNKNOWN = "reference", "not available"


def tabulate_contest(results: Results, contest: Contest, test: str) -> Table | None:
    """All contenders on one test, the floor, the copied votes and the ceiling below them; None where nobody is."""
    rivals = list_rivals(results, contest, test)
    if not rivals:
        return None
    rows = [_list_rival(results, contest, entry) for entry in rivals]
    rows += _list_yardsticks(results, contest, test, rivals)
    columns = [contest.varies, *COLUMNS]
    if any("auc" in entry.macro for entry in rivals):  # some labels are classes
        areas = [Quantity.of(entry.macro.get("auc"), 3) for entry in rivals]
        rows = [[*row[:4], area, *row[4:]] for row, area in zip_longest(rows, areas, fillvalue=NOTHING)]
        columns.insert(4, AUC)
    sample = results.samples[test]
    fixed = (name_training if contest.varies == "training" else name_model)(results, contest.reference)
    n = max(count_answers(results, entry) for entry in rivals)
    over = f"{sample.n_labelled} galaxies" + (f", means over {n} answers" if n > 1 else "")
    meaning = "95 % intervals over galaxies and, where there are several runs, over seeds. "
    if contest.comparisons:
        meaning += (
            f"Differences in r from {fixed} are paired: both were tested on the same galaxies. p and verdict are "
            f"corrected (Holm) for all {len(contest.comparisons)} comparisons with it, on all tests: where an interval "
            "leaves out 0, the difference may be within luck all the same. Ranks hold together with a confidence of "
            "95 %. Floors are neither compared nor ranked. "
        )
    else:
        meaning += "Points of a curve are not compared. "
    meaning += (
        "Seconds are those of one run, with the fine-tune that it needs and without the frozen embeddings, which all "
        "share."
    )
    title = f"{sample.title}: {describe_contest(results, contest)} ({over})"
    return Table(
        title,
        columns,
        rows,
        meaning,
        name_file("contest", f"{contest.varies}s", contest.fixed, test),
    )


def describe_contest(results: Results, contest: Contest) -> str:
    """``models learned from SDSS``, or ``ridge learned from each training set``."""
    if contest.varies == "model":
        return f"models that learned from {name_training(results, contest.fixed)}"
    return f"{name_model(results, contest.fixed)}, by what it learned from"


def _list_rival(results: Results, contest: Contest, entry: Entry) -> list[Content]:
    comparison = find_comparison(contest, entry)
    if comparison is None:
        is_reference = bool(contest.comparisons) and getattr(entry, contest.varies) == contest.reference
        beside: list[Content] = [REFERENCE if is_reference else NOTHING, NOTHING, NOTHING]
    else:
        difference = Quantity.of(comparison.difference, sign=True)
        beside = [difference, Quantity(comparison.p_family, digits=4), comparison.verdict]
    worst: list[Content] = [NOTHING, NOTHING]
    if entry.worst is not None and np.isfinite(entry.macro["r"].value):
        worst = [entry.worst.target, Quantity.of(entry.worst.score)]
    label = comparison.note if comparison is not None and comparison.note else entry.macro["r"].label
    rank = show_rank(find_rank(contest, entry))
    cost = Quantity(sum_costs(results, entry), digits=1)
    return [name_rival(results, contest, entry), *list_scores(entry), *beside, rank, label, cost, *worst]


def list_scores(entry: Entry) -> list[Content]:
    """Macro r, R2 and MAE."""
    return [Quantity.of(entry.macro["r"]), Quantity.of(entry.macro["r2"]), Quantity.of(entry.macro["mae"], 3)]


def _list_yardsticks(results: Results, contest: Contest, test: str, rivals: Sequence[Entry]) -> Iterator[list[Content]]:
    """The rows that are no contenders: each as wide as theirs."""
    rest: list[Content] = [NOTHING] * (len(COLUMNS) - 3)
    training = contest.fixed if contest.varies == "model" else contest.reference
    floor = find_floor(results, training, test)
    if floor is not None and floor not in rivals:
        learned = f" of {name_training(results, training)}" if contest.varies == "training" else ""
        yield [MEAN_ROW + learned, *list_scores(floor), *rest]
    copied = results.yardsticks.get(test)
    if copied is not None:
        scores = [Quantity.of(copied.macro.get(name), 3 if name == "mae" else 2) for name in ("r", "r2", "mae")]
        yield [f"{COPY} ({count_galaxies(copied)} galaxies)", *scores, *rest]
    ceiling = results.ceilings.get(test)
    if ceiling is None:
        yield [CEILING_ROW, UNKNOWN, UNKNOWN, NOTHING, *rest]
    else:
        yield [CEILING_ROW, Quantity.of(ceiling.scores.get("r")), Quantity.of(ceiling.scores.get("r2")), NOTHING, *rest]


def tabulate_budgets(results: Results, test: str) -> Table | None:
    """Macro r of each contender by the number of training objects; None for a suite without budgets."""
    entries = results.pick(test=test)
    budgets = sorted({entry.budget for entry in entries if entry.budget})
    if not budgets:
        return None
    rows: dict[tuple[str, str, str], dict[int, Entry]] = {}
    for entry in entries:
        rows.setdefault((entry.model, entry.training, entry.space), {})[entry.budget] = entry
    lines = [
        [name_contender(results, replace(next(iter(found.values())), budget=0)),
         *(_show_budget(found.get(budget)) for budget in (*budgets, 0))]
        for found in rows.values()
        if set(found) - {0}
    ]  # fmt: skip
    title = f"{results.samples[test].title}: Pearson r by the number of training objects"
    meaning = "Means over answers, 95 % intervals over galaxies and seeds; each seed draws its own objects."
    columns = ["contender", *(str(budget) for budget in budgets), "all"]
    return Table(title, columns, lines, meaning, f"budgets-{test}")


def _show_budget(entry: Entry | None) -> Content:
    return NOTHING if entry is None else Quantity.of(entry.macro["r"])


def tabulate_layers(results: Results, test: str) -> list[Table]:
    """Of each contender that reads several spaces, macro r by layer and pooling."""
    found: dict[tuple[str, str], dict[tuple[str, str], Entry]] = {}
    for entry in results.pick(test=test, budget=0):
        if entry.space and np.isfinite(entry.macro["r"].value):
            layer, _, pool = entry.space.partition("-")
            found.setdefault((entry.model, entry.training), {})[layer, pool] = entry
    tables = []
    for (model, training), entries in found.items():
        if len(entries) == 1:
            continue
        layers, pools = order_spaces(entries)
        rows = [[layer, *(_show_budget(entries.get((layer, pool))) for pool in pools)] for layer in layers]
        who = f"{name_model(results, model)} on {name_training(results, training)}"
        title = f"{results.samples[test].title}: Pearson r of {who}, by layer and pooling"
        tables.append(
            Table(title, ["layer", *pools], rows, "Means over answers, 95 % intervals.",
                  name_file("layers", model, training, test))
        )  # fmt: skip
    return tables


def order_spaces(spaces: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Layers from the first to the last, poolings from single to joined, of ``("L6", "cls")``."""
    layers, pools = (set(names) for names in zip(*spaces, strict=True))
    return sorted(layers, key=lambda name: int(name[1:])), sorted(pools, key=lambda name: (name.count("+"), name))


def tabulate_study(results: Results) -> Table:
    """The reference study's figures beside sound ones, for every contender on every test."""
    cautions = [one["text"] for one in results.record.get("cautions", [])] if is_published(results) else []
    rows = []
    for test, sample in iterate_samples(results):
        for entry in pick_whole(results, test=test):
            pooled = [Quantity.of(entry.pooled.get(name), 3) for name in ("pooled_r", "pooled_r_squared", "mae", "mse")]
            true = Quantity.of(entry.pooled.get("r2"), 3)
            rows.append([sample.title, name_contender(results, entry), *pooled, true, *list_scores(entry)])
    columns = (
        "test", "contender", "pooled r", "\"R2\" as printed (r squared)", "pooled MAE", "pooled MSE", "pooled R2",
        "Pearson r", "R2", "MAE",
    )  # fmt: skip
    meaning = (
        "The first four figures are computed as the reference study Galaxy Sommelier (SandyYuan/galaxy-sommelier) "
        "computed them: the answers of all galaxies as one list, with 0 for the label of a question that was not "
        "asked; its R2 is the square of pooled r. Pooled R2 is the coefficient of determination of the same list. The "
        "last three are the means over answers of what was asked, with 95 % intervals. A constant prediction of each "
        "answer's mean has a high pooled r; its Pearson r does not exist."
    )
    return Table("The reference study's figures, beside sound ones", columns, rows, meaning, "study", cautions)


def is_published(results: Results) -> bool:
    """Whether the suite repeats the reference study's choices."""
    return results.suite.protocol == "published"
