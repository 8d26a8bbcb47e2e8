"""What is to be said before anyone reads a table: what flatters, what is not comparable, what is one run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.results import Results
from benchmarks.scoring import find_unasked, predict_means
from heads.metrics import score_pooled

FEW = 4  # seeds
GAP = 0.005  # between r squared and R2, from which on it is worth a word


def list_cautions(results: Results) -> list[dict[str, str]]:
    """
    Warnings that follow from what was run and found.

    Returns
    -------
    list of dict
        ``about`` (a word for the kind) and ``text``.
    """
    found = [
        *_seen(results), *_tuned(results), *_means(results), *_squares(results), *_zeros(results), *_sizes(results),
        *_order(results), *_zeroed(results), *_lookalikes(results), *_single(results),
    ]  # fmt: skip
    return [{"about": about, "text": text} for about, text in found]


def _seen(results: Results) -> Iterator[tuple[str, str]]:
    for sample in results.samples.values():
        if sample.seen.any():
            yield (
                "seen",
                (
                    f"{int(sample.seen.sum())} of the {len(sample)} test galaxies of {sample.title.split(',')[0]} "
                    f"({sample.name}) are sky objects that training showed, in this survey or another: a score of "
                    "them is not one of new galaxies."
                ),
            )


def _tuned(results: Results) -> Iterator[tuple[str, str]]:
    for name, n in results.record["split"].get("tuned", {}).items():
        left_out = results.samples[name].objects == "new" and results.suite.protocol == "sound"
        what = "They are left out." if left_out else "They are tested all the same, and say nothing of new galaxies."
        if n:
            yield (
                "tuned",
                f"{n} galaxies of {name} are sky objects that the backbone itself was trained on or chosen by. {what}",
            )


def _means(results: Results) -> Iterator[tuple[str, str]]:
    found = {}
    for sample in results.samples.values():
        filled = np.nan_to_num(sample.whole)
        pooled = score_pooled(filled, predict_means(filled, filled))["pooled_r"]
        if np.isfinite(pooled) and pooled >= 0.05:
            found[sample.name] = f"{pooled:.3f} on {sample.name}"
    if found:
        yield (
            "pooled r",
            (
                "The mean of each of the test's own answers, predicted for every galaxy alike, looks at no image and "
                f"has a pooled r of {', '.join(found.values())}. Read pooled r against this, and not against 0."
            ),
        )


def _squares(results: Results) -> Iterator[tuple[str, str]]:
    if results.suite.protocol != "published":
        return
    apart = [(e.pooled["pooled_r_squared"] - e.pooled["r2"], e) for e in results.entries]
    apart = [(gap, entry) for gap, entry in apart if gap > GAP]
    if apart:
        entry = max(apart, key=lambda pair: pair[0])[1]
        yield (
            "r squared",
            (
                f"The reference study printed the square of pooled r as R2. It is not the share of the variance that "
                f"is explained: of {len(apart)} entries it is higher than that, most for {entry.model} trained on "
                f"{entry.training}, on {entry.test}: {entry.pooled['pooled_r_squared']:.3f}, where R2 is "
                f"{entry.pooled['r2']:.3f}."
            ),
        )


def _zeros(results: Results) -> Iterator[tuple[str, str]]:
    if results.suite.protocol != "published":
        return
    ends = np.cumsum([len(question.targets) for question in results.questions])
    columns = [columns.tolist() for columns in np.split(np.arange(len(results.targets)), ends[:-1])]
    found = {}
    for sample in results.samples.values():
        share = float(np.isnan(sample.whole).mean()) or float(find_unasked(sample.whole, columns).mean())
        if share:
            found[sample.name] = f"{share:.0%} on {sample.name}"
    if found:
        yield (
            "zeros",
            (
                f"Of the labels, zeros of questions that nobody was asked are {', '.join(found.values())}. They count "
                "as answers, in training and in scores, as in the reference study: a model scores by learning the tree."
            ),
        )


def _sizes(results: Results) -> Iterator[tuple[str, str]]:
    suite = results.suite
    usual = suite.extraction.size or 224
    sizes = {name: training.size or usual for name, training in suite.trainings.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size} px" for name, size in sizes.items())
        yield (
            "sizes",
            (
                f"Training sets were seen at different resolutions ({listed}): a difference between them may be that "
                "of the resolution, and says nothing of the surveys."
            ),
        )
    if suite.test_size and any(size != suite.test_size for size in sizes.values()):
        yield (
            "sizes",
            (
                f"Images of other surveys are tested at {suite.test_size} px, whatever the training was: models that "
                "were trained at another resolution pay for it there."
            ),
        )


def _order(results: Results) -> Iterator[tuple[str, str]]:
    if results.suite.split.method == "sequential":
        yield (
            "order",
            (
                "The split follows the order of the catalogs, and does not keep a sky object on one side. Catalogs are "
                "not in random order: the test may be of other galaxies than the training."
            ),
        )


def _zeroed(results: Results) -> Iterator[tuple[str, str]]:
    for name, training in results.suite.trainings.items():
        if training.zeroed:
            yield (
                "zeroed",
                (
                    f"In the training set {name}, all labels of {', '.join(training.zeroed)} are 0, as happened in the "
                    "reference study: what it scores says nothing of such a training set."
                ),
            )


def _single(results: Results) -> Iterator[tuple[str, str]]:
    runs = {entry.model: len(entry.seeds) for entry in results.entries}
    single = sorted(model for model, n in runs.items() if n == 1)
    if single:
        yield (
            "single run",
            (
                f"{', '.join(single)}: a single run each. Their intervals say what other galaxies would change, and "
                "nothing of other training sets or seeds."
            ),
        )
    few = sorted(name for name, n in runs.items() if 1 < n < FEW and not results.suite.models[name].is_floor)
    if few:
        yield (
            "few seeds",
            (
                f"{', '.join(few)}: two or three seeds. What others would change is hardly known from so few, and the "
                "intervals are as wide as that; five or more make them narrower."
            ),
        )


def _lookalikes(results: Results) -> Iterator[tuple[str, str]]:
    """Tests that lost galaxies to what only embeddings tell."""
    counts: dict[str, int] = {}
    for audit in results.record.get("audit", []):
        tests = {test["test"]: test for test in audit.get("tests", [])}
        known = sum(int(tests[name]["rows"] or 0) for name in ("id", "position", "image") if name in tests)
        near = int(tests.get("embedding", {}).get("rows") or 0)
        counts[audit["test"]] = max(counts.get(audit["test"], 0), near if near > known else 0)
    found = [f"{n} on {test}" for test, n in counts.items() if n]
    if found:
        yield (
            "look-alikes",
            (
                "By nearly identical embeddings alone the audit takes galaxies for copies of such that training shows: "
                f"up to {', '.join(found)}. Some may only look alike, the more so the smaller images are: see them "
                "with sommelier duplicates, or leave out that comparison with audit: false."
            ),
        )
