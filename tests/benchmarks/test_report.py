"""The report says what the results say: numbers in tables, sentences by rules, a page that stands alone."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from benchmarks.report import write_report
from benchmarks.reporting.answers import tabulate_answers, tabulate_bins, tabulate_questions
from benchmarks.reporting.contenders import Headline, find_headline, find_home, name_file, pick_whole, sum_costs
from benchmarks.reporting.curves import draw_curves
from benchmarks.reporting.degradation import change_in_percent, tabulate_curve, tabulate_degradation, tabulate_drop
from benchmarks.reporting.records import tabulate_audit, tabulate_costs, tabulate_exclusion, tabulate_split
from benchmarks.reporting.scoreboards import tabulate_budgets, tabulate_contest, tabulate_layers, tabulate_study
from benchmarks.reporting.sources import DINOV2, SIMULATED_SKY, find_source, list_sources
from benchmarks.reporting.verdict import show_p, tell_answer, tell_more
from benchmarks.reporting.worst import SURE, choose_worst, list_worst
from benchmarks.results import Results
from benchmarks.statistics import Score
from benchmarks.tables import NOTHING, Quantity, Table
from embeddings.errors import SommelierError
from tests.benchmarks.benches import VOTES, N, draw_sample, make_samples, make_suite, write_bench
from tests.benchmarks.browser import SIZES, open_page
from tests.benchmarks.stores import write_pictured


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return write_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def page(results: Results) -> Path:
    return write_report(results)


def read_rows(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(table.to_csv())))


def find_row(table: Table, *start: str) -> dict[str, object]:
    """The row that starts like this, by column."""
    (row,) = [row for row in table.rows if [str(cell) for cell in row[: len(start)]] == list(start)]
    return dict(zip(table.columns, row, strict=True))


def test_a_contest_has_everyone_between_floor_and_ceiling(results: Results) -> None:
    contest = results.contests[0]
    assert (contest.varies, contest.fixed, contest.reference) == ("model", "sdss", "ridge")
    table = tabulate_contest(results, contest, "ukidss-new")
    assert table is not None
    names = [str(row[0]) for row in table.rows]
    assert names == [
        "mean predictor",
        "ridge",
        "knn",
        "full",
        f"copied votes ({N // 2} galaxies)",
        "vote-noise ceiling",
    ]
    full, reference, floor = (find_row(table, name) for name in ("full", "ridge", "mean predictor"))
    entry = results.pick(training="sdss", model="full", test="ukidss-new")[0]
    assert isinstance(full["Pearson r"], Quantity)
    assert (full["Pearson r"].value, full["Pearson r"].low) == (entry.macro["r"].value, entry.macro["r"].interval[0])
    # each answer's r by numpy, and their mean
    (P,) = results.predictions(entry).values()
    Y = results.samples["ukidss-new"].Y
    by_hand = []
    for column in range(5):
        asked = ~np.isnan(Y[:, column])
        by_hand.append(np.corrcoef(Y[asked, column], P[asked, column])[0, 1])
    assert full["Pearson r"].value == pytest.approx(np.mean(by_hand), abs=1e-6)
    assert full["its r"].value == pytest.approx(min(by_hand), abs=1e-6)  # type: ignore[attr-defined]
    assert full["worst answer"] == results.targets[int(np.argmin(by_hand))]
    difference = (
        entry.macro["r"].value - results.pick(training="sdss", model="ridge", test="ukidss-new")[0].macro["r"].value
    )
    assert full["r less the reference's"].value == pytest.approx(difference)  # type: ignore[attr-defined]
    assert full["runs"] == "single run"
    assert full["seconds"] == Quantity(324.5, digits=1)  # 300 of training, 20 of its embeddings, 0.5 + 4 of the fit
    assert (reference["r less the reference's"], reference["verdict"], reference["runs"]) == (
        "reference",
        "-",
        "4 seeds",
    )
    assert (str(floor["Pearson r"]), floor["verdict"], floor["worst answer"]) == (NOTHING, NOTHING, NOTHING)


def test_ceilings_that_are_not_known_say_so(results: Results) -> None:
    blind = Results(**{**vars_of(results), "ceilings": {}})
    table = tabulate_contest(blind, results.contests[0], "sdss-new")
    assert table is not None
    assert [str(cell) for cell in table.rows[-1][:3]] == ["vote-noise ceiling", "not available", "not available"]


def vars_of(results: Results) -> dict[str, object]:
    return {name: getattr(results, name) for name in Results.__dataclass_fields__}


def normal(value: float, sd: float, seed: int, n: int = 20_000) -> Score:
    return Score(value, value + sd * np.random.default_rng(seed).standard_normal(n))


def test_a_change_is_in_per_cent_of_home() -> None:
    change = change_in_percent(normal(0.8, 0.02, 1), normal(0.4, 0.03, 2))
    assert change is not None
    assert change.value == pytest.approx(-50)
    # delta method: 100 * 0.5 * sqrt((0.03 / 0.4)^2 + (0.02 / 0.8)^2) = 3.95
    low, high = change.interval
    assert (high - low) / 2 / 1.96 == pytest.approx(3.95, rel=0.03)
    assert change_in_percent(normal(0.02, 0.02, 1), normal(0.4, 0.03, 2)) is None  # home may be 0
    assert change_in_percent(normal(0.8, 0.02, 1), Score(np.nan, np.full(10, np.nan))) is None


def test_what_seeds_add_to_a_change_cancels_where_both_share_it() -> None:
    luck = 0.1 * np.random.default_rng(3).standard_normal(20_000)
    home, away = (Score(value, np.full(20_000, value), 5, value * luck, 4.0) for value in (0.8, 0.4))
    change = change_in_percent(home, away)
    assert change is not None
    assert change.luck is None or np.ptp(change.luck) == pytest.approx(0, abs=1e-9)
    other = Score(0.4, np.full(20_000, 0.4), 5, np.roll(0.4 * luck, 1), 4.0)
    apart = change_in_percent(home, other)
    assert apart is not None
    assert apart.luck is not None
    assert apart.luck.std() == pytest.approx(100 * 0.5 * np.sqrt(2) * 0.1, rel=0.03)


def test_degradation_is_from_each_training_sets_home(results: Results) -> None:
    table = tabulate_degradation(results)
    assert table is not None
    row = find_row(table, "ridge", "mixed (SDSS+DECaLS)", "DECaLS, new objects")
    assert row["learned from too"] == "yes"
    home, away = (
        results.pick(model="ridge", training="mixed", test=test)[0].macro["r"].value
        for test in ("sdss-new", "decals-new")
    )
    assert row["change of r, %"].value == pytest.approx(100 * (away / home - 1))  # type: ignore[attr-defined]
    assert find_row(table, "ridge", "SDSS", "UKIDSS, all objects")["learned from too"] == "no"
    assert sum(str(line[0]) == "mean predictor" for line in table.rows) == 3  # one floor is enough: of SDSS


def test_parts_of_a_drop_add_up(results: Results) -> None:
    drop = next(one for one in results.drops if (one.model, one.away) == ("full", "ukidss-new"))
    table = tabulate_drop(results, drop)
    value = {str(row[0]): row[1].value for row in table.rows}  # type: ignore[union-attr]
    lost = value["lost by other images"] + value["lost by other labels"]
    assert value["SDSS's images, SDSS's labels"] - value["UKIDSS's images, UKIDSS's labels"] == pytest.approx(lost)
    assert value["lost in all: galaxies + images + labels"] == pytest.approx(lost + value["lost by other galaxies"])


def test_recalibration_starts_without_labels_and_ends_at_home(results: Results) -> None:
    curve = next(one for one in results.curves if one.model == "ridge")
    table = tabulate_curve(results, curve)
    assert [str(row[0]) for row in table.rows] == ["none", "10", "30", "at home: SDSS, new objects"]
    away, home = (
        results.pick(model="ridge", training="sdss", test=test)[0].macro["r2"].value
        for test in ("ukidss-new", "sdss-new")
    )
    assert table.rows[0][1].value == pytest.approx(away, abs=1e-6)  # type: ignore[union-attr]
    assert table.rows[-1][1].value == pytest.approx(home)  # type: ignore[union-attr]


def test_every_answer_and_question(results: Results) -> None:
    entry = results.pick(model="ridge", training="sdss", test="sdss-new")[0]
    answers, questions = tabulate_answers(results, entry), tabulate_questions(results, entry)
    assert [row[0] for row in answers.rows] == results.targets
    assert [row[1] for row in answers.rows] == (~np.isnan(results.samples["sdss-new"].Y)).sum(axis=0).tolist()
    bar = find_row(questions, "bar")
    parts = [find_row(answers, f"bar_{answer}")["Pearson r"].value for answer in ("yes", "no")]  # type: ignore[attr-defined]
    assert bar["Pearson r"].value == pytest.approx(np.mean(parts))  # type: ignore[attr-defined]
    Y, P = results.samples["sdss-new"].Y, np.mean(list(results.predictions(entry).values()), axis=0)
    asked = ~np.isnan(Y[:, 3])
    right = np.where(P[asked, 3] > P[asked, 4], Y[asked, 3] >= 0.5, Y[asked, 3] <= 0.5)
    assert bar["leading answer right"].value == pytest.approx(right.mean())  # type: ignore[attr-defined]
    assert tabulate_bins(results, entry) is None  # nothing is known of a hundred galaxies


def test_the_studys_figures_stand_beside_sound_ones(results: Results) -> None:
    table = tabulate_study(results)
    row = find_row(table, "SDSS, new objects", "full, learned from SDSS")
    entry = results.pick(model="full", training="sdss", test="sdss-new")[0]
    (P,) = results.predictions(entry).values()
    y, p = np.nan_to_num(results.samples["sdss-new"].Y).ravel(), P.ravel()
    r = np.corrcoef(y, p)[0, 1]
    assert row["pooled r"].value == pytest.approx(r, abs=1e-6)  # type: ignore[attr-defined]
    assert row['"R2" as printed (r squared)'].value == pytest.approx(r**2, abs=1e-6)  # type: ignore[attr-defined]
    assert row["pooled R2"].value == pytest.approx(1 - ((y - p) ** 2).mean() / y.var(), abs=1e-5)  # type: ignore[attr-defined]
    assert table.cautions == []


def test_cautions_stand_above_the_studys_figures_under_its_protocol(results: Results) -> None:
    published = Results(**{**vars_of(results), "suite": make_suite(protocol="published")})
    assert tabulate_study(published).to_markdown().index("drawn from SDSS") < tabulate_study(
        published
    ).to_markdown().index("| test")


def test_not_checkable_is_never_none_found(results: Results) -> None:
    table = tabulate_audit(results)
    assert table is not None
    (row,) = table.rows
    assert dict(zip(table.columns, row, strict=True)) == {
        "learned from": "SDSS", "test": results.samples["ukidss-same"].title, "its rows": N, "id": 2,
        "position": "not checkable", "any": "at least 2",
    }  # fmt: skip
    assert "position, no positions in UKIDSS" in table.meaning


def test_scores_before_and_after_exclusion(results: Results) -> None:
    table = tabulate_exclusion(results)
    assert table is not None
    row = find_row(table, "UKIDSS", "ridge, learned from SDSS")
    same, new = (
        results.pick(model="ridge", training="sdss", test=f"ukidss-{what}")[0].macro["r"].value
        for what in ("same", "new")
    )
    assert (row["r before"].value, row["r after"].value) == (same, new)  # type: ignore[attr-defined]


def test_the_published_protocol_reports_its_test_without_what_leaked_too(tmp_path: Path) -> None:
    samples = make_samples()
    leaked, most = np.arange(N) < 9, np.arange(N) < N - 9
    whole = replace(samples["sdss-new"], Y=np.nan_to_num(samples["sdss-new"].Y), seen=leaked)
    there = replace(samples["decals-new"], Y=np.nan_to_num(samples["decals-new"].Y), leaked=most)
    samples |= {"sdss-new": replace(whole, leaked=leaked), "decals-new": there}
    results = write_bench(tmp_path / "bench", make_suite(protocol="published"), samples=samples)
    table = tabulate_exclusion(results)
    assert table is not None
    row = find_row(table, "SDSS", "ridge, learned from SDSS")
    assert [str(row[name]) for name in ("n before", "n after")] == [str(N), str(N - 9)]
    entry = results.pick(model="ridge", training="sdss", test="sdss-new")[0]
    predictions = results.predictions(entry)
    r = [
        [stats.pearsonr(y, p).statistic for y, p in zip(whole.Y[9:].T, P[9:].T, strict=True)]
        for P in predictions.values()
    ]
    assert row["r after"].value == pytest.approx(np.mean(r), abs=1e-6)  # type: ignore[attr-defined]
    assert row["r before"].value == entry.macro["r"].value  # type: ignore[attr-defined]
    few = find_row(table, "DECaLS", "ridge, learned from SDSS")  # nine are left: no score of them
    assert (few["r after"], str(few["n after"])) == (NOTHING, "9")
    assert (tmp_path / "bench" / "report.html") == write_report(results)


def test_costs_and_split(results: Results) -> None:
    costs, split = tabulate_costs(results), tabulate_split(results)
    assert [str(cell) for cell in costs.rows[0]] == [
        "embeddings of SDSS, 224 px, dinov2", "320", "61.5", "-", "-", "-", "-", "cpu",
    ]  # fmt: skip
    full = find_row(costs, "full, learned from SDSS")
    assert str(full["fine-tune, s"]) == "300"
    assert str(full["peak memory, MiB"]) == "128"
    assert split is not None
    assert "ab" * 32 in split.meaning


def test_budgets_and_layers(tmp_path: Path) -> None:
    suite = make_suite(
        budgets=[50, 100], spaces="both", trainings={"sdss": {"surveys": ["sdss"]}}, seeds={"heads": 1, "finetunes": 1},
        models={"mean": {"head": "mean"}, "ridge": {"head": "ridge"}}, recalibration={"labels": []},
    )  # fmt: skip
    samples = {name: sample for name, sample in make_samples(40).items() if name in ("sdss-new", "ukidss-new")}
    results = write_bench(tmp_path / "bench", suite, samples)
    budgets = tabulate_budgets(results, "sdss-new")
    assert budgets is not None
    assert list(budgets.columns) == ["contender", "50", "100", "all"]
    cell = find_row(budgets, "ridge")["100"]
    assert cell == Quantity.of(results.pick(model="ridge", budget=100, test="sdss-new", space="L2-cls")[0].macro["r"])
    (layers,) = tabulate_layers(results, "sdss-new")
    assert [str(row[0]) for row in layers.rows] == ["L1", "L2"]
    assert layers.rows[0][1] == Quantity.of(
        results.pick(model="ridge", space="L1-cls", budget=0, test="sdss-new")[0].macro["r"]
    )
    assert {entry.space for entry in pick_whole(results)} == {"L2-cls"}
    html = write_report(results).read_text()
    assert "Label efficiency on SDSS, new objects" in html
    assert "Which layer and pooling to read: SDSS, new objects" in html
    assert draw_curves(results, ["ridge"], tmp_path) is None


def test_the_headline_is_the_best_rank_and_says_who_shares_it(results: Results) -> None:
    headline = find_headline(results)
    assert headline is not None
    ranks = results.contests[0].ranks["sdss-new"]
    assert headline.test == "sdss-new"
    assert ranks[headline.entry.model] is not None
    best = min(rank[0] for rank in ranks.values() if rank)
    assert ranks[headline.entry.model][0] == best  # type: ignore[index]
    assert set(headline.peers) == {m for m, rank in ranks.items() if rank and rank[0] == best} - {headline.entry.model}


def test_the_answer_follows_from_the_numbers(results: Results) -> None:
    headline = find_headline(results)
    assert headline is not None
    answer = tell_answer(results, headline)
    entry = headline.entry
    does = "is the best" if results.contests[0].ranks["sdss-new"][entry.model] == (1, 1) else "scores highest"
    assert answer.startswith(f"Of 3 models that learned from SDSS, {entry.model} {does} on new SDSS galaxies")
    low, high = entry.macro["r"].interval
    assert f"{entry.macro['r'].value:.2f} [{low:.2f}, {high:.2f}]" in answer
    away = results.pick(model=entry.model, training="sdss", test="ukidss-new")[0].macro["r"].value
    assert f"on UKIDSS ({100 * (away / entry.macro['r'].value - 1):+.0f} [" in answer
    told = next(c for c in results.contests[0].comparisons if (c.model, c.test) == (entry.model, "sdss-new"))
    assert ("more than luck explains" in answer) is (told.verdict in ("higher", "lower"))
    more = " ".join(tell_more(results, headline))
    ceiling = results.ceilings["sdss-new"].scores["r"].value
    assert f"at most an r of {ceiling:.2f} " in more
    assert "a pooled r of" in more


def test_where_nobody_predicts_anything_the_answer_says_so(results: Results) -> None:
    nobody = Results(**{**vars_of(results), "entries": results.pick(model="mean"), "contests": [], "drops": []})
    assert find_headline(nobody) is None
    assert tell_answer(nobody, None) == "No contender predicts any answer: there is no correlation to report."
    assert [show_p(p) for p in (0.0001, 0.0004, 0.0312)] == ["< 0.001", "< 0.001", "0.031"]


def test_without_comparisons_the_best_is_named_all_the_same(results: Results) -> None:
    alone = Results(**{**vars_of(results), "contests": []})
    headline = find_headline(alone)
    assert isinstance(headline, Headline)
    assert headline.entry.macro["r"].value == max(
        e.macro["r"].value for e in results.pick(training="sdss", test="sdss-new") if np.isfinite(e.macro["r"].value)
    )
    assert find_home(results, "mixed") == "sdss-new"


def test_a_head_on_a_fine_tune_costs_both(results: Results) -> None:
    models = dict(results.suite.models)
    models["knn"] = models["knn"].model_copy(update={"embeddings": "full"})
    models["full"] = models["full"].model_copy(update={"set": {"init": "ridge"}})
    tuned = Results(**{**vars_of(results), "suite": results.suite.model_copy(update={"models": models})})
    entry = results.pick(model="knn", training="sdss", test="sdss-new")[0]
    assert sum_costs(results, entry) == 3.5
    assert sum_costs(tuned, entry) == 3.5 + 324.5 + 5.5  # the fine-tune, and the head that it starts from


def test_the_worst_errors_are_the_largest_of_sure_labels() -> None:
    sample = draw_sample("sdss", "new", 0, 30)
    predictions = sample.Y.copy()
    predictions[np.isnan(predictions)] = 0.5
    predictions[3, 0] += 0.9
    predictions[8, 1] -= 0.7
    predictions[5, 0] += 1.0
    sample.totals[5, 0] = SURE - 1  # hardly a vote: noise
    assert choose_worst(sample, predictions, 2) == [(3, 0), (8, 1)]
    sample.groups[8] = sample.groups[3]  # one galaxy is shown once
    sample.totals[:] = np.nan  # nothing known of votes
    assert choose_worst(sample, predictions, 2)[:2] == [(5, 0), (3, 0)]


def test_worst_errors_have_pictures_where_the_store_is(results: Results, tmp_path: Path) -> None:
    write_pictured(tmp_path / "sdss.h5", "sdss", 5, 1)
    sample = results.samples["sdss-new"]
    entry = results.pick(model="ridge", training="sdss", test="sdss-new")[0]
    worst = list_worst(results, entry, 1)[0]
    assert worst.picture == ""
    assert "Aladin" not in worst.viewer
    assert "skyserver" in worst.link
    assert f"of {VOTES} votes" in worst.words
    ids = sample.ids.copy()
    ids[ids == worst.id_str] = "sdss-2"  # as the store calls it
    stores = {"sdss": {"stores": [{"path": "gone.h5"}, {"path": str(tmp_path / "sdss.h5")}]}}
    there = Results(**{
        **vars_of(results), "record": results.record | {"surveys": stores},
        "samples": results.samples | {"sdss-new": type(sample)(**{**sample.__dict__, "ids": ids})},
    })  # fmt: skip
    assert list_worst(there, entry, 1)[0].picture.startswith("data:image/jpeg;base64,")


def test_sources_are_of_what_occurs(results: Results, tmp_path: Path) -> None:
    named = [source.what for source in list_sources(results)]
    assert named == ["Galaxy Zoo 2 (SDSS)", "Galaxy Zoo DECaLS", "Galaxy Zoo UKIDSS", "DINOv2"]
    assert find_source("decals").licence == "CC-BY-4.0"
    assert find_source("euclid").licence == "not known"
    assert "2304.07193" in DINOV2.citations[0]
    (tmp_path / "sky.json").write_text("{}")
    write_pictured(tmp_path / "sdss.h5", "sdss", 3, 1)
    record = {"surveys": {"sdss": {"stores": [{"path": str(tmp_path / "sdss.h5")}]}}}
    drawn = Results(**{**vars_of(results), "record": results.record | record, "suite": make_suite(backbone="tiny")})
    assert list_sources(drawn) == [SIMULATED_SKY]
    entry = results.pick(model="ridge", training="sdss", test="sdss-new")[0]
    assert {card.link for card in list_worst(drawn, entry)} == {""}  # its places are on no real sky


class Reader(HTMLParser):
    """What a page refers to, and whether its tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.bad: list[str] = []
        self.headers: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.addresses += [(tag, found[name] or "") for name in ("src", "href") if name in found]
        if tag == "img" and not found.get("alt"):
            self.bad.append("an image without words")
        if tag == "th":
            self.headers.append(found.get("scope"))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.bad.append(f"</{tag}>")


def test_the_page_stands_alone(page: Path) -> None:
    text = page.read_text()
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    assert not reader.bad
    assert set(reader.headers) == {"row", "col"}
    assert all(address.startswith("data:") for tag, address in reader.addresses if tag in ("img", "link", "script"))
    links = {address for tag, address in reader.addresses if tag == "a" and not address.startswith("#")}
    known = r"https://(skyserver\.sdss\.org|www\.legacysurvey\.org|aladin\.cds\.unistra\.fr|zenodo\.org|arxiv\.org|github\.com/facebook)"
    assert links
    assert all(re.match(known, link) for link in links)
    anchors = {address[1:] for tag, address in reader.addresses if tag == "a" and address.startswith("#")}
    assert anchors <= set(re.findall(r'id="([^"]+)"', text))
    assert "Heads &amp; a &lt;fine-tune&gt;" in text
    assert "<seen>" not in text
    assert "@media print" in text
    assert len(text) < 8e6


def test_every_table_and_figure_has_its_files(results: Results, page: Path) -> None:
    names = re.findall(r"tables/([^<]+)\.csv, \.md, \.tex", page.read_text())
    assert len(names) == len(set(names)) > 20
    for name in names:
        assert all((page.parent / "tables" / f"{name}.{ending}").stat().st_size for ending in ("csv", "md", "tex"))
    figures = re.findall(r"figures/([^<]+)\.png, \.pdf", page.read_text())
    assert {"stages", "drop-per-answer", "recalibration", "cost", "distributions-sdss-new"} <= set(figures)
    for name in figures:
        with Image.open(page.parent / "figures" / f"{name}.png") as picture:
            assert min(picture.size) > 200
            assert picture.convert("L").entropy() > 0.2  # bits a pixel: an empty one has none
        assert (page.parent / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    text = (page.parent / "report.md").read_text()
    assert set(re.findall(r"\]\(figures/(.*?)\.png\)", text)) == set(figures)
    assert tell_answer(results, find_headline(results)) in text


def test_a_csv_has_all_digits(results: Results, page: Path) -> None:
    name = name_file("contest", "models", "sdss", "sdss-new")
    rows = list(csv.DictReader((page.parent / "tables" / f"{name}.csv").read_text().splitlines()))
    (row,) = [row for row in rows if row["model"] == "full"]
    score = results.pick(model="full", training="sdss", test="sdss-new")[0].macro["r"]
    assert [float(row[f"Pearson r{end}"]) for end in ("", " low", " high")] == [score.value, *score.interval]
    assert [row["Pearson r"] for row in rows if row["model"] == "mean predictor"] == [""]


def test_a_page_of_somebody_else_is_not_replaced(results: Results, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(SommelierError, match="would be lost"):
        write_report(Results(**{**vars_of(results), "folder": tmp_path}))
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_it_is_read_at_any_width(size: str, page: Path, tmp_path: Path) -> None:
    with open_page(page, size, tmp_path / "profile") as browser:
        browser.wait("document.readyState === 'complete'")
        browser.run("document.querySelectorAll('details').forEach(each => each.open = true)")
        browser.run("document.querySelectorAll('img').forEach(each => each.loading = 'eager')")
        browser.wait("Array.from(document.images).every(each => each.complete && each.naturalWidth > 0)")
        assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
        right = "e.getBoundingClientRect().right > innerWidth + 1"
        wide = f"Array.from(document.querySelectorAll('main *')).filter(e => !e.closest('.scroll') && {right})"
        assert browser.run(f"return {wide}.map(e => e.outerHTML.slice(0, 80))") == []
        look = "e => [e.scrollWidth > e.clientWidth, getComputedStyle(e).overflowX]"
        boxes = browser.run(f"return Array.from(document.querySelectorAll('.scroll')).map({look})")
        assert any(overflows for overflows, _ in boxes) or size == "desktop"
        assert {style for _, style in boxes} == {"auto"}
        assert browser.errors() == []
