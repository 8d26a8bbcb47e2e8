"""The drop's parts by votes beside the truth: known effects come out, and the ceiling undoes votes' noise."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from benchmarks.decomposition import Decomposition, decompose_drop
from benchmarks.results import Results
from benchmarks.samples import Sample
from embeddings.errors import SommelierError
from embeddings.questions import Question
from extract.schema import CAMPAIGNS
from extract.simulation import Sky
from extract.simulation.answers import expect_shares
from extract.simulation.chances import read_chances
from extract.simulation.volunteers import raw_fractions, walk_tree
from tests.benchmarks import benches
from tests.extract.simulation.sky import draw_sight, draw_truth

ROOT = Path(__file__).parents[2]
CAMPAIGN = CAMPAIGNS["gz2"]
ASKED = CAMPAIGN.questions[:4]  # down to bars and arms
FEATURED = 1  # its column
VOLUNTEERS = 25
Array = np.ndarray


@pytest.fixture(scope="module")
def drop() -> ModuleType:
    """The script docs/drop.py."""
    spec = importlib.util.spec_from_file_location("docs_drop", ROOT / "docs/drop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, spec.name, module)  # as dataclasses want it
        spec.loader.exec_module(module)
    return module


def stack(values: dict[str, Array]) -> Array:
    return np.concatenate([values[question.name] for question in ASKED], axis=1)


def vote(chances: dict[str, Array], rng: np.random.Generator) -> tuple[Array, Array]:
    """Fractions and totals of 25 volunteers a galaxy."""
    votes = walk_tree(chances, CAMPAIGN, np.full(len(chances["bar"]), VOLUNTEERS), rng)
    Y = stack({question.name: raw_fractions(votes, question) for question in ASKED})
    totals = np.stack([sum(votes[t] for t in q.targets) for q in ASKED for _ in q.targets], axis=1)
    return np.where(totals < 2, np.nan, Y), totals


def part(
    images: tuple[Array, Array], chances: tuple[dict[str, Array], dict[str, Array]], answer: int | None = None
) -> tuple[Decomposition, ...]:
    """With votes as labels, and with the chances where votes have labels; of all answers or of one."""
    rng = np.random.default_rng(3)
    (Y_s, totals_s), (Y_u, totals_u) = (vote(one, rng) for one in chances)
    if answer is not None:
        Y_s, Y_u = (np.where(np.arange(Y.shape[1]) == answer, Y, np.nan) for Y in (Y_s, Y_u))
    truth = [np.where(np.isnan(Y), np.nan, stack(one)) for Y, one in zip((Y_s, Y_u), chances, strict=True)]
    runs = [{0: P} for P in images]
    objects = np.arange(len(Y_s))
    votes = decompose_drop(*runs, Y_s, Y_u, objects, n_resamples=500, totals_s=totals_s, totals_u=totals_u)
    true = decompose_drop(*runs, *truth, objects, n_resamples=500)
    assert votes is not None
    assert true is not None
    return votes, true


def holds(score, value: float) -> bool:  # type: ignore[no-untyped-def]
    low, high = score.interval
    return low <= value <= high


@pytest.fixture(scope="module")
def galaxies() -> tuple[dict[str, Array], dict[str, Array]]:
    """What volunteers would say of 1,500 galaxies on a good survey's images and on a poor one's."""
    truth = draw_truth(1500)
    return tuple(expect_shares(truth, draw_sight(truth, survey), CAMPAIGN) for survey in ("decals", "ukidss"))  # type: ignore[return-value]


def test_identical_images_and_other_probabilities_are_an_annotation_effect_only(
    galaxies: tuple[dict[str, Array], dict[str, Array]], drop: ModuleType
) -> None:
    good, poor = galaxies
    seen = stack(good) + np.random.default_rng(0).normal(0, 0.1, stack(good).shape)
    votes, true = part((seen, seen), (good, poor))
    for found in (votes, true):
        for metric in ("r", "r2"):
            image = found.drops[metric].image
            assert (image.value, *image.interval) == pytest.approx((0, 0, 0), abs=1e-12)
            assert found.drops[metric].annotation.value == pytest.approx(found.drops[metric].total.value)
    # what the model says is near the truth of S, so that the effect is that of the labels of U alone
    assert true.drops["r"].annotation.interval[0] > 0.01
    assert votes.drops["r"].cells["ss"].interval[1] < true.drops["r"].cells["ss"].value
    votes, true = part((seen, seen), (good, poor), FEATURED)
    for metric in ("r", "r2"):
        freed, wanted = drop.free_parts(votes, metric), true.drops[metric]
        assert holds(freed["annotation"] - wanted.annotation, 0)
        assert freed["annotation"].value == pytest.approx(wanted.annotation.value, abs=0.03)
        assert freed["ss"].value == pytest.approx(wanted.cells["ss"].value, rel=0.02)


def test_identical_probabilities_and_other_images_are_an_image_effect_only(
    galaxies: tuple[dict[str, Array], dict[str, Array]], drop: ModuleType
) -> None:
    good, _ = galaxies
    rng = np.random.default_rng(1)
    clear, blurred = (stack(good) + rng.normal(0, noise, stack(good).shape) for noise in (0.05, 0.3))
    votes, true = part((clear, blurred), (good, good))
    annotation = true.drops["r"].annotation
    assert abs(annotation.value) < 1e-3  # the same labels, but for entries that too few volunteers answered
    assert true.drops["r"].image.interval[0] > 0.1
    for metric in ("r", "r2"):
        assert holds(votes.drops[metric].annotation, 0)
        freed = drop.free_parts(votes, metric)
        assert holds(freed["annotation"], 0)
    # votes' noise makes the effect of images smaller; the ceiling gives it back
    assert votes.drops["r"].image.value < 0.97 * true.drops["r"].image.value
    votes, true = part((clear, blurred), (good, good), FEATURED)
    for metric in ("r", "r2"):
        freed, wanted = drop.free_parts(votes, metric), true.drops[metric]
        assert freed["image"].value == pytest.approx(wanted.image.value, rel=0.05)


def write_sky(folder: Path, n: int) -> Path:
    """The record and the truth of a sky that nobody painted."""
    truth = draw_truth(n).assign(galaxy=np.arange(n))
    for survey, name in (("sdss", "dr7objid"), ("decals", "iauname"), ("ukidss", "subject_id")):
        truth = truth.join(draw_sight(truth, survey).add_prefix(f"{survey}_"))
        truth = truth.assign(**{f"in_{survey}": True, name: [f"{survey}{number}" for number in range(n)]})
    folder.mkdir()
    truth.sample(frac=1, random_state=0).to_parquet(folder / "truth.parquet", index=False)
    (folder / "sky.json").write_text(json.dumps(Sky(n).record | {"complete": True}))
    return folder


def draw_sample(sky: Path, survey: str, questions: tuple[Question, ...]) -> Sample:
    chances = read_chances(sky, survey)
    rng, n = np.random.default_rng(len(survey)), len(chances)
    votes = np.concatenate(
        [rng.multinomial(VOLUNTEERS, chances[list(q.targets)].to_numpy()) for q in questions], axis=1
    )
    votes = votes.astype(np.float32)
    Y, nothing = votes / VOLUNTEERS, np.full(n, np.nan)
    totals, ids = np.full_like(Y, VOLUNTEERS), np.array(chances.index, str)
    return Sample(survey, "new", ids, Y, Y, votes, totals, np.arange(n), np.full(n, False), nothing, nothing)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    """A finished benchmark on a sky: models of 300 galaxies in three surveys, all of them paired."""
    folder = tmp_path_factory.mktemp("drop")
    sky = write_sky(folder / "sky", 300)
    questions = (CAMPAIGN.questions[0], CAMPAIGN.questions[2])
    samples = {f"{survey}-new": draw_sample(sky, survey, questions) for survey in ("sdss", "decals", "ukidss")}
    targets = [target for question in questions for target in question.targets]

    def predict(sample: Sample, model: str, training: str, seed: int) -> Array:
        P = read_chances(sky, sample.survey)[targets].to_numpy()
        noise = {"sdss": 0.1, "decals": 0.15, "ukidss": 0.3}[sample.survey] * (0.5 if training == "mixed" else 1)
        return (P + np.random.default_rng(seed).normal(0, noise, P.shape)).astype(np.float32)

    models = {"ridge": {"head": "ridge"}, "full": {"finetune": "full"}}
    suite = benches.make_suite(models=models, seeds={"heads": 4, "finetunes": 1}, recalibration={"labels": []})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benches, "predict", predict)
        results = benches.write_bench(
            folder / "benchmark", suite, samples, questions=[question.to_dict() for question in questions]
        )
    return results, sky


@pytest.mark.slow
def test_the_tables_hold_votes_beside_the_truth(bench: tuple[Results, Path], drop: ModuleType) -> None:
    results, sky = bench
    found = list(drop.compare_drops(results, sky, ["ridge"]))
    assert [(one.drop.model, one.drop.away, one.metric) for one in found] == [
        ("ridge", away, metric) for away in ("decals-new", "ukidss-new") for metric in ("r", "r2")
    ]
    for one in found:
        # the model knows the chances but for noise of its own: votes lower every r, by as much as the ceiling says
        if one.metric == "r":
            assert all(one.votes[cell].value < one.chances[cell].value for cell in ("ss", "us", "su", "uu"))
            assert all(abs(one.find_error(cell).value) < 0.05 for cell in ("ss", "us", "su", "uu"))
            truth = read_chances(sky, "sdss")[results.targets].to_numpy()
            (entry,) = results.pick(training="sdss", model="ridge", test="sdss-new")
            runs = results.predictions(entry).values()
            r = [np.corrcoef(truth[:, t], P[:, t])[0, 1] for P in runs for t in range(5)]
            assert one.chances["ss"].value == pytest.approx(np.mean(r), abs=1e-4)
        text = drop.tabulate(results, one).to_markdown()
        assert ("With votes 4 of the 4 cells are nearer to 0 than in truth." in text) or one.metric == "r2"
        assert drop.show_score(one.find_error("image"), 3, sign=True) in text


@pytest.mark.slow
def test_galaxies_of_another_sky_are_refused(bench: tuple[Results, Path], drop: ModuleType) -> None:
    results, sky = bench
    stranger = results.samples["sdss-new"].take(np.arange(300) < 5)
    stranger.ids[0] = "nobody"
    with pytest.raises(SommelierError, match="1 galaxies of the test sdss-new, such as nobody, are not in the sky"):
        drop.label_truly(stranger, results.targets, sky)


@pytest.mark.slow
def test_mixing_is_said_to_help_where_the_verdict_is_higher(bench: tuple[Results, Path], drop: ModuleType) -> None:
    said = drop.tell_mixing(bench[0])
    assert said.startswith(
        "On 300 new galaxies of UKIDSS, which nothing learned from, mixing surveys in training helps (as mixed): "
    )
    (comparison,) = [
        one for contest in bench[0].contests if (contest.varies, contest.fixed) == ("training", "ridge")
        for one in contest.comparisons if one.test == "ukidss-new"
    ]  # fmt: skip
    assert comparison.difference.value > 0.05  # half of the noise
    assert f"mixed {drop.show_score(comparison.difference, 3, sign=True)} (p {comparison.p_family:.3f}, higher)" in said


def test_what_is_concluded_follows_from_the_verdicts(drop: ModuleType) -> None:
    class Found:
        def __init__(self, model: str, verdict: str) -> None:
            self.model, self.verdict = model, verdict

    assert "no way of mixing" in drop.conclude([Found("a", "not told apart"), Found("b", "not told apart")])
    assert drop.conclude([Found("a", "lower"), Found("b", "not told apart")]).endswith("harms (as a)")
    assert drop.conclude([Found("a", "lower"), Found("b", "higher")]).endswith("helps as b and harms as a")
