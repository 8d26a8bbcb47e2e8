"""Learning from pictures alone: resumed bit for bit, watched for collapse, and written as any other backbone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel

from embeddings.errors import SommelierError
from embeddings.provenance import Space
from extract.weights import find_backbone
from finetune import pretrain as module
from finetune.data import TrainingError
from finetune.predictor import make_network, make_targets
from finetune.pretrain import Pretrainer, Pretraining, pretrain
from finetune.sightings import Sightings

SMALL = Pretraining(
    galaxies=6, seed=4, image_side=32, side=42, small_side=28, small_steps=3, whole_steps=2, batch=4, learning_rate=1e-3
)


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    population = Sightings(SMALL.galaxies, SMALL.seed, SMALL.image_side, SMALL.side)
    return population.make(tmp_path_factory.mktemp("galaxies"), 1)


@pytest.fixture(scope="module")
def trained(squares: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Pretrainer:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as each test has, before which this is made
    trainer = Pretrainer(SMALL, squares, tmp_path_factory.mktemp("at-once"))
    trainer.train(every=2)
    torch.set_num_threads(n_threads)
    return trainer


def state(trainer: Pretrainer) -> dict[str, torch.Tensor]:
    return trainer.network.state_dict() | {f"average/{k}": value for k, value in trainer.average.values.items()}


@pytest.mark.parametrize("stop", [1, 3, 4])  # within the small steps, between, within the whole ones
def test_a_stopped_training_goes_on_bit_for_bit(
    stop: int, squares: torch.Tensor, trained: Pretrainer, tmp_path: Path
) -> None:
    Pretrainer(SMALL, squares, tmp_path).train(until=stop)
    records: list[dict[str, Any]] = []
    again = Pretrainer(SMALL, squares, tmp_path)
    again.train(records.append, every=1)
    assert [record["step"] for record in records] == list(range(stop + 1, 6))
    for name, value in state(trained).items():
        assert torch.equal(state(again)[name], value), name
    assert again.seconds > 0


def test_every_step_has_its_side(monkeypatch: pytest.MonkeyPatch, squares: torch.Tensor, tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []
    trainer = Pretrainer(SMALL, squares, tmp_path)
    trainer.network.backbone.register_forward_pre_hook(
        lambda _, args, options: seen.append(tuple(options["pixel_values"].shape)), with_kwargs=True
    )
    trainer.train()
    assert seen == [(4, 3, 28, 28)] * 3 + [(4, 3, 42, 42)] * 2


@pytest.mark.slow
def test_it_learns(squares: torch.Tensor, tmp_path: Path) -> None:
    records: list[dict[str, Any]] = []
    settings = Pretraining(
        galaxies=6, seed=4, image_side=32, side=42, small_side=42, small_steps=60, whole_steps=0, batch=24
    )
    Pretrainer(settings, squares, tmp_path).train(records.append, every=20)
    constant = 2 * 5 / 6  # the loss of whoever says the mean: variances have 6 - 1 below them
    assert records[0]["loss"] > 0.9 * constant
    assert records[-1]["loss"] < 0.9 * constant


def test_targets_are_standardised_and_the_same_for_all_surveys(squares: torch.Tensor) -> None:
    targets = make_targets(squares).view(SMALL.galaxies, 3, -1)
    varying = targets.std(dim=0) > 0
    torch.testing.assert_close(targets.mean(dim=0)[varying], torch.zeros(int(varying.sum())), atol=1e-4, rtol=0)
    torch.testing.assert_close(targets.std(dim=0)[varying], torch.ones(int(varying.sum())), atol=1e-3, rtol=0)
    assert varying.float().mean() > 0.9


@pytest.mark.parametrize("what", ["loss", "spread"])
def test_a_collapse_is_an_error_and_leaves_the_last_checkpoint(
    what: str, squares: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Pretrainer(SMALL, squares, tmp_path)
    trainer.train(until=2)
    kept = (tmp_path / "last.safetensors").read_bytes()
    figures = (float("nan"), 0.1) if what == "loss" else (1.0, 1e-6)
    monkeypatch.setattr(trainer, "_take_step", lambda step: figures)
    with pytest.raises(TrainingError, match="training has collapsed"):
        trainer.train(every=1)
    assert (tmp_path / "last.safetensors").read_bytes() == kept


def test_from_nothing_to_a_folder_that_extraction_loads(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = []
    folder = pretrain(tmp_path / "run", SMALL, workers=1, say=records.append)
    assert list(records[0]) == ["simulated", "of"]
    assert records[-1]["step"] == 5
    source = find_backbone(str(folder))
    assert (source.depth, source.embed_dim, source.patch_size) == (6, 192, 14)
    model = AutoModel.from_pretrained(folder)
    assert {weight.dtype for weight in model.parameters()} == {torch.float16}
    images = torch.randn(2, 3, 42, 42)
    vectors = source.load().embed(images, [Space(6, "cls")])[Space(6, "cls")]
    with torch.no_grad():
        expected = model.float().eval()(pixel_values=images).last_hidden_state[:, 0]
    torch.testing.assert_close(vectors, expected, atol=1e-4, rtol=1e-4)

    before = (folder / "model.safetensors").read_bytes()
    assert pretrain(tmp_path / "run", SMALL, workers=1) == folder  # done: trains no more
    assert (folder / "model.safetensors").read_bytes() == before
    other = Pretraining(galaxies=6, seed=5)
    with pytest.raises(SommelierError, match="holds another pretraining"):
        pretrain(tmp_path / "run", other, workers=1)


def test_what_is_kept_is_the_average(trained: Pretrainer) -> None:
    averages = {name: value.clone() for name, value in trained.average.values.items()}
    weights = AutoModel.from_pretrained(trained.export()).state_dict()
    name = "encoder.layer.0.mlp.fc1.weight"
    torch.testing.assert_close(weights[name], averages[f"backbone.{name}"].half(), atol=0, rtol=0)
    apart = weights[name].float() - trained.network.backbone.float().state_dict()[name]
    assert apart.abs().max() > 1e-5


def test_the_rate_rises_and_falls_twice() -> None:
    settings = Pretraining(small_steps=100, whole_steps=50, learning_rate=1e-3, whole_learning_rate=4e-4)
    rates = [settings.rate_at(step) for step in range(settings.steps)]
    assert rates[0] == pytest.approx(1e-3 / 3)  # three steps to rise in
    assert max(rates[:100]) == rates[2] == pytest.approx(1e-3)
    assert rates[2:100] == sorted(rates[2:100], reverse=True)
    assert rates[99] < 0.02 * 1e-3 < rates[100]
    assert max(rates[100:]) == pytest.approx(4e-4)
    assert rates[149] < 0.02 * 4e-4


def test_the_first_weights_follow_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = make_network(3).state_dict()
    drawn = torch.rand(3)
    torch.manual_seed(1)
    torch.testing.assert_close(torch.rand(3), drawn)  # making it leaves the caller's random numbers alone
    again, other = make_network(3).state_dict(), make_network(4).state_dict()
    name = "encoder.layer.0.mlp.fc1.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])
    bound = (6 / (192 + 768)) ** 0.5  # Glorot & Bengio 2010, eq. 16
    assert 0.99 * bound < first[name].abs().max() <= bound


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(module, "Pretraining", lambda: SMALL)
    monkeypatch.setattr("sys.argv", ["pretrain", str(tmp_path / "run"), "--threads", str(threads)])
    module.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(tmp_path / "run" / "backbone")
    kept = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert kept == [json.loads(line) for line in lines[:-1]]
