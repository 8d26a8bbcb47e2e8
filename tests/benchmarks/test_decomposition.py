"""The drop's parts against scikit-learn and scipy, planted shifts, and simulated truths."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import r2_score

from benchmarks.ceilings import measure_ceiling
from benchmarks.decomposition import Decomposition, Whole, decompose_drop
from benchmarks.resampling import resample_objects
from embeddings.errors import SommelierError

Array = np.ndarray
N = 300


def make_pairs(seed: int, n: int = N) -> tuple[dict[int, Array], dict[int, Array], Array, Array]:
    """Two seeds' predictions from both surveys' images, and both surveys' labels, with gaps of their own."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(size=(n, 3))
    on_s = {run: 0.1 + 0.8 * truth + rng.normal(0, 0.1, truth.shape) for run in (0, 1)}
    on_u = {run: 0.2 + 0.5 * truth + rng.normal(0, 0.2, truth.shape) for run in (0, 1)}
    Y_s, Y_u = (np.clip(truth**power + rng.normal(0, 0.1, truth.shape), 0, 1) for power in (1, 2))
    Y_s[rng.uniform(size=Y_s.shape) < 0.1] = np.nan
    Y_u[rng.uniform(size=Y_u.shape) < 0.2] = np.nan
    return on_s, on_u, Y_s, Y_u


def decompose(*args, **options) -> Decomposition:
    found = decompose_drop(*args, **{"n_resamples": 200} | options)
    assert found is not None
    return found


def test_cells_and_effects_are_those_of_the_formulae() -> None:
    on_s, on_u, Y_s, Y_u = make_pairs(0)
    found = decompose(on_s, on_u, Y_s, Y_u, np.arange(N))
    both = ~np.isnan(Y_s + Y_u)  # not the labels that one survey alone has

    def score(metric: str, runs: dict[int, Array], Y: Array) -> float:
        return float(np.mean([
            pearsonr(Y[keep, t], P[keep, t]).statistic if metric == "r" else r2_score(Y[keep, t], P[keep, t])
            for P in runs.values() for t, keep in enumerate(both.T)
        ]))  # fmt: skip

    for metric, drop in found.drops.items():
        ss, us, su, uu = (score(metric, runs, Y) for Y in (Y_s, Y_u) for runs in (on_s, on_u))
        values = {name: part.value for name, part in drop.list_parts()}
        expected = {"ss": ss, "us": us, "su": su, "uu": uu, "image": (ss - us + su - uu) / 2,
                    "annotation": (ss - su + us - uu) / 2, "interaction": ss - us - su + uu,
                    "total": ss - uu}  # fmt: skip
        assert values == pytest.approx(expected)
        assert drop.total.draws == pytest.approx(drop.image.draws + drop.annotation.draws)
        assert drop.image.luck is not None
        assert drop.annotation.luck is not None
        assert drop.total.luck == pytest.approx(drop.image.luck + drop.annotation.luck)
        assert (drop.image.runs, drop.image.freedom) == (2, 1)
        wider = decompose(on_s, on_u, Y_s, Y_u, np.arange(N), inflation=3).drops[metric].image.luck
        assert wider == pytest.approx(3 * drop.image.luck)
    assert (found.n_objects, found.answers.tolist(), found.runs) == (int(both.any(axis=1).sum()), [0, 1, 2], 2)


def test_where_only_images_or_only_labels_differ_the_other_effect_is_nothing_at_all() -> None:
    on_s, on_u, Y_s, Y_u = make_pairs(1)
    drop = decompose(on_s, on_u, Y_s, Y_s, np.arange(N)).drops["r2"]
    assert drop.image.value == pytest.approx(drop.total.value)
    assert drop.image.interval[0] > 0
    for nothing in (drop.annotation, drop.interaction):
        assert (nothing.value, *nothing.interval) == pytest.approx((0, 0, 0), abs=1e-12)
    drop = decompose(on_s, on_s, Y_s, Y_u, np.arange(N)).drops["r2"]
    assert drop.annotation.value == pytest.approx(drop.total.value)
    assert drop.annotation.interval[0] > 0
    assert (drop.image.value, *drop.image.interval) == pytest.approx((0, 0, 0), abs=1e-12)


@pytest.mark.slow
def test_intervals_of_the_effects_hold_the_truth() -> None:
    """Normal labels and predictions that share a latent value: r = 1 / sqrt((1 + noise^2) (1 + other^2))."""
    on_s, on_u, by_s, by_u = 0.3, 0.8, 0.2, 0.6
    ss, us, su, uu = (((1 + x**2) * (1 + y**2)) ** -0.5 for y in (by_s, by_u) for x in (on_s, on_u))
    truth = {"image": (ss - us + su - uu) / 2, "annotation": (ss - su + us - uu) / 2, "interaction": ss - us - su + uu}
    rng, held = np.random.default_rng(2), dict.fromkeys(truth, 0)
    for trial in range(250):
        latent, objects = rng.normal(size=(300, 1)), np.arange(300)
        p_s, p_u, y_s, y_u = (latent + rng.normal(0, noise, latent.shape) for noise in (on_s, on_u, by_s, by_u))
        drop = decompose({0: p_s}, {0: p_u}, y_s, y_u, objects, trial, n_resamples=300, metrics=("r",)).drops["r"]
        for name in held:
            low, high = getattr(drop, name).interval
            held[name] += low <= truth[name] <= high
    assert {name: count / 250 for name, count in held.items()} == pytest.approx(dict.fromkeys(truth, 0.95), abs=0.04)


def test_the_population_effect_is_of_all_test_galaxies_and_what_they_share_cancels() -> None:
    on_s, on_u, Y_s, Y_u = make_pairs(3)
    both = ~np.isnan(Y_s + Y_u)
    Y_s, Y_u = np.where(both, Y_s, np.nan), np.where(both, Y_u, np.nan)
    same = Whole(on_s, Y_s, np.arange(N))
    drop = decompose(on_s, on_u, Y_s, Y_u, np.arange(N), whole=same).drops["r2"]
    assert drop.population is not None
    assert (drop.population.value, *drop.population.interval) == (0, 0, 0)

    # the mean absolute error of a quarter less that of all: variance v (1 / (n / 4) - 1 / n) = 3 v / n
    rng, n = np.random.default_rng(4), 4000
    y, error = rng.normal(size=(n, 1)), rng.exponential(0.2, (n, 1))
    half = rng.permutation(n)[: n // 4]
    whole = Whole({0: y + error}, y, np.arange(n))
    arguments = ({0: (y + error)[half]}, {0: y[half]}, y[half], y[half], half)
    drop = decompose(*arguments, n_resamples=4000, metrics=("mae",), whole=whole).drops["mae"]
    assert drop.population is not None
    assert drop.population.value == pytest.approx(error.mean() - error[half].mean())
    assert drop.population.draws.std() == pytest.approx(error.std() * np.sqrt(3 / n), rel=0.06)
    assert drop.overall is not None
    assert drop.overall.value == pytest.approx(error.mean())  # the model knows what the images of U show
    parts = drop.population.draws + drop.image.draws + drop.annotation.draws
    assert drop.overall.draws == pytest.approx(parts, abs=1e-6)


def test_the_ceilings_are_of_the_same_entries_and_draws() -> None:
    on_s, on_u, Y_s, Y_u = make_pairs(5)
    rng = np.random.default_rng(0)
    totals = {survey: rng.integers(2, 40, Y_s.shape).astype(float) for survey in "su"}
    objects = np.arange(N) // 2
    found = decompose(on_s, on_u, Y_s, Y_u, objects, 7, totals_s=totals["s"], totals_u=totals["u"])
    both, weights = ~np.isnan(Y_s + Y_u), resample_objects(objects, 7, 200)
    for survey, Y in (("s", Y_s), ("u", Y_u)):
        expected = measure_ceiling(np.where(both, Y, np.nan), totals[survey], weights)
        for metric, score in found.ceilings[survey].scores.items():
            assert score.value == pytest.approx(expected.scores[metric].value)
            assert score.draws == pytest.approx(expected.scores[metric].draws, abs=1e-5)
            assert np.isfinite((score - found.drops[metric].cells["ss"]).interval).all()
    names = [name for metric, name, _ in found.to_rows() if metric == "r"]
    assert names == ["ss", "us", "su", "uu", "image", "annotation", "interaction", "total", "ceiling_s", "ceiling_u"]
    alone = decompose(on_s, on_u, Y_s, Y_u, objects, totals_u=totals["u"], metrics=("mae",))
    assert list(alone.ceilings) == ["u"]
    assert "ceiling_u" not in [name for _, name, _ in alone.to_rows()]


def test_json_has_every_part() -> None:
    on_s, on_u, Y_s, Y_u = make_pairs(6)
    whole = Whole(on_s, Y_s, np.arange(N))
    found = decompose(on_s, on_u, Y_s, Y_u, np.arange(N), whole=whole, totals_s=np.full(Y_s.shape, 20))
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    drop = found.drops["r"]
    assert record["metrics"]["r"]["annotation"] == [drop.annotation.value, *drop.annotation.interval]
    assert set(record["metrics"]["r"]) >= {"whole", "population", "overall"}
    assert (record["objects"], record["answers"], list(record["ceilings"])) == (found.n_objects, [0, 1, 2], ["s"])
    # a model that says the same of every galaxy has no r
    flat = dict.fromkeys((0, 1), np.full(Y_s.shape, 0.5))
    record = decompose(flat, flat, Y_s, Y_u, np.arange(N)).to_dict()
    assert record["metrics"]["r"]["image"] == [None, None, None]
    assert record["metrics"]["r2"]["image"][0] == 0


def test_answers_with_too_few_labels_in_both_are_left_out() -> None:
    on_s, on_u, Y_s, Y_u = make_pairs(7)
    both = np.flatnonzero(~np.isnan(Y_s[:, 1] + Y_u[:, 1]))
    Y_u[both[19:], 1] = np.nan
    found = decompose(on_s, on_u, Y_s, Y_u, np.arange(N))
    assert found.answers.tolist() == [0, 2]
    columns = [0, 2]
    without = decompose(
        {seed: P[:, columns] for seed, P in on_s.items()}, {seed: P[:, columns] for seed, P in on_u.items()},
        Y_s[:, columns], Y_u[:, columns], np.arange(N),
    )  # fmt: skip
    assert found.drops["r"].total.interval == pytest.approx(without.drops["r"].total.interval)
    Y_s[:, columns] = np.nan
    assert decompose_drop(on_s, on_u, Y_s, Y_u, np.arange(N)) is None
    none = {seed: P[:0] for seed, P in on_s.items()}
    assert decompose_drop(none, none, Y_s[:0], Y_u[:0], np.arange(0)) is None


def test_what_does_not_fit_is_refused() -> None:
    on_s, on_u, Y_s, Y_u = make_pairs(8)
    with pytest.raises(SommelierError, match=r"seeds \[0, 1\] and \[0\] should be equal"):
        decompose(on_s, {0: on_u[0]}, Y_s, Y_u, np.arange(N))
    with pytest.raises(SommelierError, match=r"pairs have the shapes \[\(299, 3\), \(300, 3\)\] for 300 sky"):
        decompose(on_s, on_u, Y_s[1:], Y_u, np.arange(N))
    with pytest.raises(SommelierError, match=r"pairs have the shapes \[\(0, 3\), \(300, 3\)\] for 300 sky"):
        decompose(on_s, on_u, Y_s, Y_u[:0], np.arange(N))
    with pytest.raises(SommelierError, match=r"no metric 'R2'\. Known: r, r2"):
        decompose(on_s, on_u, Y_s, Y_u, np.arange(N), metrics=("R2",))
    with pytest.raises(SommelierError, match="whole test set have the shapes"):
        decompose(on_s, on_u, Y_s, Y_u, np.arange(N), whole=Whole(on_s, Y_s[:, :2], np.arange(N)))
    with pytest.raises(SommelierError, match="20 of 300 pairs show sky objects that the whole test set lacks"):
        decompose(on_s, on_u, Y_s, Y_u, np.arange(N), whole=Whole(on_s, Y_s, np.arange(N) + 20))
