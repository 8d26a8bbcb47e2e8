"""Backbones from folders and from a hub: the right weights, or an error that says what to do."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from embeddings.errors import BackboneError
from embeddings.provenance import Space
from extract import weights
from extract.weights import find_backbone
from tests.extract.hub import Hub, Repo, ask, serve
from tests.extract.models import FAMILIES, expected_vectors, make_model, save_model

ROOT = Path(__file__).parents[2]


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_model(tmp_path / "model")


# folders


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder(family: str, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", family)
    source = find_backbone(str(folder))
    assert source.weights_sha256 == sha256(folder / "model.safetensors")
    assert (source.name, source.label, source.folder) == (str(folder), str(folder), str(folder.resolve()))
    assert (source.depth, source.embed_dim, source.patch_size) == (3, 32, 16 if family == "dinov3" else 14)
    assert source.revision is None
    assert source.trained
    side = 4 * source.patch_size
    images = torch.randn(2, 3, side, side)
    expected = expected_vectors(make_model(family), family, images)
    for space, vectors in source.load().embed(images, [Space(*space) for space in expected]).items():
        torch.testing.assert_close(vectors, expected[space], atol=1e-5, rtol=1e-5)


def test_weights_stored_in_half_precision_run_in_fp32(tmp_path: Path) -> None:
    make_model().half().save_pretrained(tmp_path / "model")
    model = find_backbone(str(tmp_path / "model")).load().model
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    expected = make_model().half().float().state_dict()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, expected[name], atol=0, rtol=0)


def test_the_record_tells_models_apart(tmp_path: Path) -> None:
    """Other weights, and the same weights under another configuration."""
    one = save_model(tmp_path / "one")
    other = save_model(tmp_path / "other", seed=1)
    heads = save_model(tmp_path / "heads")
    config = json.loads((heads / "config.json").read_text()) | {"num_attention_heads": 4}
    (heads / "config.json").write_text(json.dumps(config))
    activation = save_model(tmp_path / "activation", hidden_act="relu")
    records = [json.dumps(find_backbone(str(f)).to_dict(), sort_keys=True) for f in (one, other, heads, activation)]
    assert len(set(records)) == 4
    copy = save_model(tmp_path / "copy")
    assert json.dumps(find_backbone(str(copy)).to_dict(), sort_keys=True) == records[0]


def test_a_folder_without_a_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(BackboneError, match=r"model has no config\.json: it is not a transformers model folder"):
        find_backbone(str(folder))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"model_type": "no-such-model"}'])
def test_a_config_that_is_none(text: str, folder: Path) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(BackboneError, match=r"config\.json is not a configuration that transformers knows"):
        find_backbone(str(folder))


@pytest.mark.parametrize("model_type", ["bert", "clip", "swin", "resnet"])
def test_a_model_that_is_no_vision_transformer(model_type: str, folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(BackboneError, match=rf"a {model_type} model has no .*; a vision transformer is needed"):
        find_backbone(str(folder))


def test_a_folders_own_code_is_never_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "code.Mine"}}))
    (folder / "code.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")

    asked: list[Any] = []
    monkeypatch.setattr("builtins.input", lambda *question: [asked.append(question), "y"][1])
    with pytest.raises(BackboneError, match="not a configuration that transformers knows"):
        find_backbone(str(folder))
    assert not (folder / "ran").exists()
    assert asked == []


def test_pickled_weights_are_refused(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        BackboneError,
        match=r"has no model\.safetensors \(it holds .*pytorch_model\.bin\)\. Pickled weights are not read",
    ):
        find_backbone(str(folder))


@pytest.mark.parametrize("keep", [0.5, 0.999, 0])
def test_weights_cut_short(keep: float, folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * keep)])
    with pytest.raises(BackboneError, match=r"cannot be loaded; the file may be cut short.*Fetch it again"):
        find_backbone(str(folder)).load()


@pytest.mark.parametrize("lost", ["layernorm.weight", "encoder.layer.1.mlp.fc1.bias", "embeddings.cls_token"])
def test_missing_weights_are_refused_rather_than_random(lost: str, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (name,) = [name for name in weights if name.endswith(lost)]
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=rf"lacks 1 weights of a Dinov2Model \({lost} .*would be random"):
        find_backbone(str(folder)).load()


def test_weights_of_another_size_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"mlp_ratio": 3}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BackboneError, match=r"cannot be loaded|would be random"):
        find_backbone(str(folder)).load()


def test_a_missing_pooler_does_not_matter(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", "vit")
    weights = {n: w for n, w in load_file(folder / "model.safetensors").items() if not n.startswith("pooler.")}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    images = torch.randn(1, 3, 56, 56)
    expected = expected_vectors(make_model("vit"), "vit", images)[3, "cls"]
    vectors = find_backbone(str(folder)).load().embed(images, [Space(3, "cls")])[3, "cls"]
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=1e-5)


def test_several_weight_files_are_hashed_by_their_names_in_order(tmp_path: Path) -> None:
    """FORMAT.md: of the lines `<sha256>  <name>` in order of name."""
    make_model().save_pretrained(tmp_path / "model", max_shard_size="20KB")
    files = sorted((tmp_path / "model").glob("*.safetensors"))
    assert len(files) > 2
    lines = "".join(f"{sha256(file)}  {file.name}\n" for file in files)
    source = find_backbone(str(tmp_path / "model"))
    assert source.weights_sha256 == hashlib.sha256(lines.encode()).hexdigest()
    expected = make_model().state_dict()
    for name, weight in source.load().model.state_dict().items():
        torch.testing.assert_close(weight, expected[name], atol=0, rtol=0)
    files[1].unlink()
    with pytest.raises(BackboneError, match=f"has no {files[1].name}"):
        find_backbone(str(tmp_path / "model"))


# names


def test_tiny_comes_with_the_program_and_says_what_it_learned_from() -> None:
    source = find_backbone("tiny")
    file = weights.TINY_FOLDER / "model.safetensors"
    assert source.weights_sha256 == sha256(file) == weights.TINY_SHA256
    assert source.weights_sha256 in (ROOT / "docs/backbone.md").read_text()
    assert file.stat().st_size <= 6_000_000
    assert source.trained
    assert source.label == "tiny (trained on simulated galaxies alone)"
    assert source.folder is None  # so that a store names it, and no place on this machine
    assert (source.config["model_type"], source.patch_size, source.depth) == ("dinov2", 14, 6)
    kept, loaded = load_file(file), source.load().model.state_dict()
    assert {tensor.dtype for tensor in kept.values()} == {torch.float16}
    assert len(kept) == len(loaded)
    for name in ("embeddings.patch_embeddings.projection.weight", "encoder.layer.5.mlp.fc1.weight"):
        torch.testing.assert_close(loaded[name], kept[name].float(), atol=0, rtol=0)
    images = torch.randn(2, 3, 56, 56)
    spaces = [Space(source.depth, "cls")]
    (one,), (other,) = (find_backbone("tiny").load().embed(images, spaces).values() for _ in range(2))
    assert torch.equal(one, other)
    assert one.shape == (2, 192) == (2, source.embed_dim)


def test_a_tiny_that_was_tampered_with_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "TINY_FOLDER", save_model(tmp_path / "tiny"))
    with pytest.raises(BackboneError, match=r"does not hold the weights of tiny .* Install the program again"):
        find_backbone("tiny")


def test_an_untrained_network_says_so(folder: Path) -> None:
    assert replace(find_backbone(str(folder)), trained=False).label == f"{folder} (untrained, random weights)"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("dinov2-base", "Did you mean 'facebook/dinov2-base'?"),
        ("dinov3-vits16-pretrain-lvd1689m", "Did you mean 'facebook/dinov3-vits16-pretrain-lvd1689m'?"),
        ("tinny", "Did you mean 'tiny'?"),
        ("./nowhere", "Known: tiny, facebook/dinov2-small"),
        ("/no/such/folder", "Known: tiny, facebook/dinov2-small"),
    ],
)
def test_an_unknown_name(name: str, hint: str) -> None:
    with pytest.raises(BackboneError) as problem:
        find_backbone(name)
    assert str(problem.value).startswith(f"the backbone {name!r} is neither a folder nor a hub id. {hint}")


def test_a_folder_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "facebook" / "dinov2-base")
    assert find_backbone("facebook/dinov2-base").folder == str(tmp_path / "facebook" / "dinov2-base")


def test_sizes_that_the_patches_do_not_fill(folder: Path) -> None:
    source = find_backbone(str(folder))
    for size in (14, 224, 518):
        source.check_size(size)
    for size, nearest in ((225, "224 and 238"), (223, "210 and 224"), (7, "14 and 28"), (0, "14 and 28")):
        with pytest.raises(BackboneError, match=rf"--size {size} is not a multiple of the 14-pixel .* are {nearest}\."):
            source.check_size(size)


# the hub

OLD, NEW = "a" * 40, "b" * 40


def describe(hub: Hub, folders: dict[str, Path]) -> None:
    two = {OLD: folders["old"], NEW: folders["new"]}
    hub.repos |= {
        "galaxies/small": Repo(two, {"main": NEW, "v1": OLD}),
        "galaxies/uncached": Repo(two, {"main": NEW}),
        "galaxies/gated": Repo(two, {"main": NEW}, gated=True),
        "galaxies/pickled": Repo({OLD: folders["pickled"]}, {"main": OLD}),
        "galaxies/down": Repo(two, {"main": NEW}, status=502),
        "galaxies/portal": Repo(two, {"main": NEW}, status=203),  # a login page in place of the hub
    }


ONLINE: dict[str, tuple[str, str | None]] = {
    "main": ("galaxies/small", None),
    "tag": ("galaxies/small", "v1"),
    "commit": ("galaxies/small", OLD),
    "wrong repo": ("galaxies/smal", None),
    "wrong revision": ("galaxies/small", "v2"),
    "wrong commit": ("galaxies/small", "c" * 40),
    "gated": ("galaxies/gated", None),
    "pickled": ("galaxies/pickled", None),
    "down": ("galaxies/down", None),
    "portal": ("galaxies/portal", None),
}
CACHED = {name: ONLINE[name] for name in ("main", "tag", "commit")} | {"not cached": ("galaxies/uncached", None)}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the client said: online first, then the same cache without a server, then told to stay offline."""
    root = tmp_path_factory.mktemp("hub")
    folders = {"old": save_model(root / "old"), "new": save_model(root / "new", seed=1), "pickled": root / "pickled"}
    (root / "new" / "pytorch_model.bin").write_bytes(b"never fetched")
    folders["pickled"].mkdir()
    (folders["pickled"] / "config.json").write_text((folders["old"] / "config.json").read_text())
    (folders["pickled"] / "pytorch_model.bin").write_bytes(b"never fetched")
    with serve(Hub({})) as server:
        describe(server, folders)
        online = ask(list(ONLINE.values()), server.url, root / "home")
        asked = list(server.requests)
        offline = ask(list(CACHED.values()), server.url, root / "home", HF_HUB_OFFLINE="1")
        leaked = server.requests[len(asked) :]
    gone = ask(list(CACHED.values()), server.url, root / "home")
    return SimpleNamespace(
        url=server.url,
        folders=folders,
        asked=asked,
        leaked=leaked,
        online=dict(zip(ONLINE, online, strict=True)),
        offline=dict(zip(CACHED, offline, strict=True)),
        gone=dict(zip(CACHED, gone, strict=True)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", ["online", "offline", "gone"])
@pytest.mark.parametrize(
    ("what", "commit", "folder"),
    [("main", NEW, "new"), ("tag", OLD, "old"), ("commit", OLD, "old")],
    ids=["main", "tag", "commit"],
)
def test_a_hub_id_is_the_commit_that_it_meant(how: str, what: str, commit: str, folder: str, hub: Any) -> None:
    """With the hub there; then from the cache, with the hub out of reach or switched off."""
    name, revision, digest, place = getattr(hub, how)[what]
    assert (name, revision) == ("galaxies/small", commit)
    assert digest == sha256(hub.folders[folder] / "model.safetensors")
    assert sha256(Path(place) / "model.safetensors") == digest


@pytest.mark.slow
def test_the_fetched_model_loads(hub: Any) -> None:
    images = torch.randn(2, 3, 56, 56)
    expected = expected_vectors(make_model(seed=1), "dinov2", images)[3, "cls"]
    vectors = find_backbone(hub.online["main"][3]).load().embed(images, [Space(3, "cls")])[3, "cls"]
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_only_safetensors_and_the_config_are_fetched(hub: Any) -> None:
    fetched = {request.rsplit("/", 1)[1] for request in hub.asked if "/resolve/" in request}
    assert fetched == {"config.json", "model.safetensors"}
    assert hub.leaked == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("wrong repo", "{url} has no model 'galaxies/smal' (or it is private: hf auth login). Known: tiny, facebook/"),
        ("wrong revision", "galaxies/small has no revision 'v2' on {url}."),
        ("wrong commit", "galaxies/small has no revision '" + "c" * 40 + "' on {url}."),
        (
            "gated",
            "galaxies/gated is gated: accept its licence on {url}/galaxies/gated, then log in with: hf auth login",
        ),
    ],
)
def test_what_the_hub_refuses(what: str, said: str, hub: Any) -> None:
    assert hub.online[what].startswith(said.format(url=hub.url))


@pytest.mark.slow
def test_a_hub_model_with_pickled_weights_only(hub: Any) -> None:
    assert "has no model.safetensors (it holds config.json). Pickled weights are not read" in hub.online["pickled"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "what"), [("gone", "not cached"), ("offline", "not cached"), ("online", "down"), ("online", "portal")]
)
def test_without_the_hub_the_error_says_what_to_do(how: str, what: str, hub: Any) -> None:
    said = getattr(hub, how)[what]
    name = (ONLINE | CACHED)[what][0]
    assert said.startswith(f"{name} ")
    assert hub.url in said
    assert f"hf download {name} --local-dir DIR, copy DIR here and give DIR as the backbone" in said
    assert "Or give tiny" in said
