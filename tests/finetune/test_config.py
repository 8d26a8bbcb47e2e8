"""Configurations: what is read, what is refused and in which words, and the five that come with the program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from finetune.config import Config, ConfigError, is_smaller_better, list_changes, list_shipped, load_config, read_config
from finetune.keys import list_keys
from tests.keys import tabulate_keys

ROOT = Path(__file__).parents[2]
KEYS = list_keys(Config)
SMALL: dict[str, Any] = {
    "run": "runs/x", "data": {"catalogs": ["a.parquet"]}, "model": {"backbone": "tiny"}, "training": {"epochs": 1},
}  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


def refusal(source: Path | str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(source, overrides)
    return str(caught.value)


def find(config: Config, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


# reading


def test_four_keys_are_enough(small: Path) -> None:
    config = load_config(small)
    assert config.run == Path("runs/x")
    assert config.data.catalogs == (Path("a.parquet"),)
    assert config.training.epochs == 1
    assert config.init is None


def test_a_saved_configuration_reads_as_itself(small: Path, tmp_path: Path) -> None:
    config = load_config(small, ["training.early_stopping.patience=2", "data.bands=[g, r]", "data.cutout=30"])
    saved = tmp_path / "config.yaml"
    saved.write_text(config.to_yaml())
    assert Config.from_yaml(saved) == config
    assert yaml.safe_load(config.to_yaml())["data"]["catalogs"] == ["a.parquet"]


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("training.learning_rate=1e-4", "training.learning_rate", 1e-4),  # PyYAML alone takes this for text
        ("training.learning_rate=.5E-3", "training.learning_rate", 5e-4),
        ("training.weight_decay=0", "training.weight_decay", 0.0),
        ("training.clip=null", "training.clip", None),
        ("training.clip=", "training.clip", None),
        ("data.catalogs=b.parquet", "data.catalogs", (Path("b.parquet"),)),
        ("data.catalogs=[b.parquet,c.parquet]", "data.catalogs", (Path("b.parquet"), Path("c.parquet"))),
        ("data.targets=*_smooth", "data.targets", ("*_smooth",)),
        ("data.targets=['*_smooth', bar_*]", "data.targets", ("*_smooth", "bar_*")),
        ("tracking.name=2026-11-24", "tracking.name", "2026-11-24"),
        ("model.head.hidden=[]", "model.head.hidden", ()),
        ("training.early_stopping.patience=7", "training.early_stopping.patience", 7),
        ("split={val: 0.3, test: 0.2}", "split.val", 0.3),
    ],
)
def test_overrides_are_yaml(small: Path, override: str, key: str, value: object) -> None:
    assert find(load_config(small, [override]), key) == value


def test_the_last_override_holds(small: Path) -> None:
    assert load_config(small, ["seed=1", "seed=2"]).seed == 2


def test_a_file_comes_before_a_shipped_one_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config("full") == load_config("full.yaml")
    Path("full.yaml").write_text(yaml.safe_dump(SMALL))
    assert load_config("full.yaml").model.backbone == "tiny"
    assert load_config("full").model.backbone == "facebook/dinov2-base"


# refusing


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.epoch=3", "there is no key 'training.epoch'. Did you mean 'training.epochs'?"),
        ("training.dropout=0", "there is no key 'training.dropout'. Did you mean 'model.head.dropout' or"),
        ("optimizer.lr=1", "there is no key 'optimizer.lr'."),
        ("run.x=1", "there is no key 'run.x'."),
        ("training.epochs=three", "training.epochs is 'three'; allowed: a whole number, at least 1."),
        ("training.epochs=2.5", "training.epochs is 2.5; allowed: a whole number, at least 1."),
        ("training.epochs=true", "training.epochs is True; allowed: a whole number, at least 1."),
        ("training.epochs=0", "training.epochs is 0; allowed: a whole number, at least 1."),
        ("training.epochs=", "training.epochs is None; allowed: a whole number, at least 1."),
        ("training.ema=1", "training.ema is 1; allowed: a number, at least 0 and below 1."),
        ("training.ema=.nan", "training.ema is nan; allowed: a number"),
        ("training.learning_rate=.inf", "training.learning_rate is inf; allowed: a number, above 0."),
        ("training.clip=-1", "training.clip is -1; allowed: a number, above 0; or null."),
        ("training.loss=mze", "dirichlet-multinomial, beta-binomial. Did you mean 'mse'?"),
        ("training.loss=huber", "training.loss is 'huber'; allowed: mse, bce, multinomial, dirichlet"),
        ("augmentation.flip=3", "augmentation.flip is 3; allowed: true or false."),
        ("data.catalogs=[]", "data.catalogs is []; allowed: a list of paths, not empty."),
        ("data.catalogs=[3]", "data.catalogs is 3; allowed: a list of paths"),
        ("model=tiny", "model is 'tiny'; it is a section: write its keys below it."),
        ("training.early_stopping=soon", "training.early_stopping is 'soon'; allowed: a section; or null."),
        ("training.early_stopping.metric=loss", "training.early_stopping.metric is 'loss'; allowed: val_loss, val_mae"),
        ("data.mixing=budget", "data.mixing is 'budget' and data.budget is null"),
        ("data.budget=100", "data.mixing is 'natural' and data.budget is 100"),
        ("split.val=0.9", "split.val 0.9 and split.test 0.1 leave no galaxies to train on."),
        ("model.head.hidden=[0]", "model.head.hidden is [0]; widths are whole numbers from 1."),
        ("training.epochs", "write key=value"),
        ("data.targets=[*_smooth]", "is no YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(small: Path, override: str, words: str) -> None:
    text = refusal(small, override)
    assert words in text
    assert text.startswith(("--set", str(small)))
    assert f"{(key := override.partition('=')[0])}: {key}" not in text  # a key is not said twice


def test_a_count_likelihood_takes_no_zeros(small: Path) -> None:
    for loss in ("multinomial", "dirichlet-multinomial", "beta-binomial"):
        assert "data.unasked is 'zero'" in refusal(small, "data.unasked=zero", f"training.loss={loss}")
    for loss in ("mse", "bce"):
        assert load_config(small, ["data.unasked=zero", f"training.loss={loss}"]).training.loss == loss


def test_every_error_of_a_file_is_named_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("runs: x\ndata: {catalogs: [a], size: big}\nmodel: {}\n")
    lines = refusal(path).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    said = "\n".join(lines)
    assert "there is no key 'runs'. Did you mean 'run'?" in said
    assert "run is missing (the run folder)." in said
    assert "model.backbone is missing (hub id" in said
    assert "data.size is 'big'; allowed: a whole number, at least 14." in said
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a configuration has keys"),
        ("- 1", "a configuration has keys"),
        ("run: [", "is no YAML"),
        ("seed: 1\nseed: 2", "the key 'seed' stands twice"),
    ],
)
def test_what_is_no_configuration(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert words in refusal(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "Did you mean 'full'?" in refusal("ful.yaml")
    assert "is no file" in refusal(tmp_path / "full.yaml")  # a folder was named: no shipped one is meant
    assert "cannot be read as text" in refusal(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"run: \xe9")
    assert "cannot be read as text" in refusal(tmp_path / "latin.yaml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(name=st.sampled_from(sorted(KEYS)), value=JSON)
def test_any_value_is_taken_or_refused_by_name(
    name: str, value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    values: dict[str, Any] = yaml.safe_load(yaml.safe_dump(SMALL))
    *sections, last = name.split(".")
    inner = values
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[last] = value
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    loaded = load_or_refuse(path)
    if isinstance(loaded, ConfigError):
        assert name in str(loaded)
    else:
        path.write_text(loaded.to_yaml(), encoding="utf-8")
        assert Config.from_yaml(path) == loaded


def load_or_refuse(path: Path) -> Config | ConfigError:
    try:
        return load_config(path)
    except ConfigError as error:
        return error


# comparing


def test_changes_are_listed_and_places_are_not(small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    old = load_config(small)
    same = ["run=y", "data.images=z", "data.cache=false", "data.workers=2", "training.device=cpu", "training.threads=2",
            "training.checkpoint_steps=5", "tracking.wandb=true", "tracking.mode=offline",
            f"data.catalogs=[{tmp_path}/a.parquet]"]  # fmt: skip
    assert list_changes(old, load_config(small, same)) == []
    new = load_config(small, ["training.epochs=5", "data.catalogs=b.parquet", "training.early_stopping.patience=2"])
    assert list_changes(old, new) == [
        f"data.catalogs: ['{tmp_path}/a.parquet'] (there), ['{tmp_path}/b.parquet'] (here)",
        "training.epochs: 1 (there), 5 (here)",
        "training.early_stopping.metric: null (there), val_loss (here)",
        "training.early_stopping.patience: null (there), 2 (here)",
        "training.early_stopping.min_delta: null (there), 0.0 (here)",
    ]


def test_which_way_metrics_are_better() -> None:
    assert [is_smaller_better(name) for name in ("val_loss", "val_mae", "val_r", "val_r2")] == [
        True,
        True,
        False,
        False,
    ]


# what comes with the program


@pytest.mark.parametrize("name", list_shipped())
def test_shipped_ones_are_sound_and_explained(name: str) -> None:
    config = load_config(name)
    assert config.run == Path(f"runs/{name}")
    assert config.model.backbone == "facebook/dinov2-base"
    text = read_config(name)
    assert f"sommelier finetune {name} --set" in text
    assert max(map(len, text.splitlines())) <= 120
    if not name.startswith("published"):  # the sound protocol
        assert config.split.method == "hash"
        assert config.data.unasked == "missing"
        assert config.augmentation == load_config("full").augmentation


def test_the_five_that_are_promised() -> None:
    assert list_shipped() == ["full", "head", "lora", "published_full", "published_head"]


# scripts/train_baseline.py and the configurations of SandyYuan/galaxy-sommelier at d2ff7e9 and bedb808
STUDY = yaml.safe_load("""
data: {size: 224, weights: published, unasked: zero, min_votes: 0}
split: {method: sequential, val: 0.1, test: 0.1}
model: {pooling: cls, drop_path: 0.0, head: {hidden: [512, 256], dropout: 0.2}}
augmentation: {rotation: 180.0, flip: true, scale: 0.0, brightness: 0.2, contrast: 0.2, noise: 0.0, padding: zeros,
               interpolation: nearest}
training: {loss: mse, head_learning_rate: 0.0001, weight_decay: 0.01, warmup: 0.0, final_learning_rate: 0.01, clip: 1.0,
           layer_decay: 1.0, ema: 0.0, accumulate: 1, early_stopping: null, best: val_loss}
""")
STAGES = {
    "published_head": {"init": None, "model.method": "head", "training.batch_size": 32, "training.epochs": 5},
    "published_full": {"init": "runs/published_head", "model.method": "full", "training.batch_size": 16,
                       "training.epochs": 10, "training.learning_rate": 5e-6},
}  # fmt: skip


@pytest.mark.parametrize("name", STAGES)
def test_published_stages_are_the_studys(name: str) -> None:
    config = load_config(name)
    given = yaml.safe_load(config.to_yaml())
    for section, values in STUDY.items():
        assert {key: given[section][key] for key in values} == values
    for key, value in STAGES[name].items():
        found = find(config, key)
        assert (str(found) if isinstance(found, Path) else found) == value


def test_every_key_is_in_the_documentation() -> None:
    text = (ROOT / "docs/finetuning.md").read_text()
    assert tabulate_keys(Config) in text


def test_every_key_has_an_effect_somewhere() -> None:
    """The reference study had a dozen keys that no code read."""
    passive = {"config.py", "keys.py", "sections.py"}
    code = "\n".join(path.read_text() for path in sorted((ROOT / "finetune").glob("*.py")) if path.name not in passive)
    unread = [name for name in KEYS if not re.search(rf"\.{name.rpartition('.')[2]}\b", code)]
    assert unread == []
