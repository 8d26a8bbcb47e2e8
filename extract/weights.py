"""Where a backbone comes from: a hub id, a folder, or the bundled `tiny`; and what proves which one it is."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from embeddings.errors import BackboneError, did_you_mean
from embeddings.files import hash_file
from embeddings.runs import BACKBONE, RunRecord, find_run
from extract.backbone import TransformersBackbone

TINY = "tiny"
TINY_FOLDER = Path(__file__).with_name(TINY)  # docs/backbone.md says how it was made
TINY_SHA256 = "0a756683e5d44aeac394c64c0fb1c2ec3caa42663dc3380653b376f65e08337d"
KNOWN = (
    TINY,
    "facebook/dinov2-small",
    "facebook/dinov2-base",
    "facebook/dinov2-large",
    "facebook/dinov2-giant",
    "facebook/dinov2-with-registers-small",
    "facebook/dinov2-with-registers-base",
    "facebook/dinov3-vits16-pretrain-lvd1689m",
    "facebook/dinov3-vitb16-pretrain-lvd1689m",
)
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "config.json")

# what of a config changes the vectors that the same weights give
ARCHITECTURE = (
    "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size", "image_size",
    "mlp_ratio", "intermediate_size", "hidden_act", "use_swiglu_ffn", "use_gated_mlp", "layer_norm_eps",
    "num_register_tokens", "rope_theta", "rope_parameters", "qkv_bias", "query_bias", "key_bias", "value_bias",
)  # fmt: skip


@dataclass(frozen=True)
class BackboneSource:
    """
    A backbone that was found but not loaded: cheap to pass to other processes.

    Attributes
    ----------
    name : str
        As the user gave it.
    folder : str or None
        Holds config.json and the weights; None for `tiny`, which comes with the program.
    revision : str or None
        The hub's commit.
    weights_sha256 : str
        Of the safetensors file (as the hub shows it); of the lines ``sha256  name`` where there are several.
    config : dict
        transformers' configuration.
    trained : bool
        False for a random network.
    run : RunRecord or None
        The fine-tuning run that trained it.
    """

    name: str
    folder: str | None
    revision: str | None
    weights_sha256: str
    config: dict[str, Any] = field(compare=False)
    trained: bool = True
    run: RunRecord | None = field(default=None, compare=False)

    @property
    def label(self) -> str:
        """The name for people: the bundled network says what it learned from, an untrained one that it did not."""
        if not self.trained:
            return f"{self.name} (untrained, random weights)"
        return self.name if self.folder else f"{self.name} (trained on simulated galaxies alone)"

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return int(self.config["num_hidden_layers"])

    @property
    def embed_dim(self) -> int:
        """Width of a vector."""
        return int(self.config["hidden_size"])

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return int(self.config["patch_size"])

    def to_dict(self) -> dict[str, Any]:
        """The weights and architecture part of a provenance's model record."""
        architecture = {key: self.config[key] for key in ARCHITECTURE if self.config.get(key) is not None}
        return {"weights_sha256": self.weights_sha256, "architecture": architecture}

    def load(self, device: str = "cpu") -> TransformersBackbone:
        """
        Load the weights.

        Raises
        ------
        BackboneError
            When a weight is missing or the file is damaged.
        """
        return TransformersBackbone(_load_folder(self.folder or str(TINY_FOLDER)), self.label, device)

    def check_size(self, size: int) -> None:
        """Raise `BackboneError` unless the image side is a multiple of the patch size."""
        if size < self.patch_size or size % self.patch_size:
            below = max(size // self.patch_size, 1) * self.patch_size
            raise BackboneError(
                f"--size {size} is not a multiple of the {self.patch_size}-pixel patches of {self.name}. "
                f"The nearest are {below} and {below + self.patch_size}."
            )


def find_backbone(name: str, revision: str | None = None) -> BackboneSource:
    """
    Find a backbone by name.

    Parameters
    ----------
    name : str
        A folder with config.json and model.safetensors, the folder of a fine-tuning run, a hub id
        (``facebook/dinov2-base``), or ``tiny``.
    revision : str, optional
        Branch, tag or commit on the hub.

    Raises
    ------
    BackboneError
        When there is none, saying what was looked for and what to do.
    RunError
        When the run is damaged, or never finished.
    """
    if Path(name).is_dir():
        run = find_run(Path(name))
        if run is None:
            return find_in_folder(name, Path(name), None)
        run.require_finished()
        return replace(find_in_folder(name, run.folder / BACKBONE, None), run=run)
    if name == TINY:
        return _find_tiny()
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith((".", "/")):
        folder = download_backbone(name, revision)
        return find_in_folder(name, folder, folder.name)
    short = {known.split("/")[-1]: known for known in KNOWN}
    hint = f"Did you mean {short[name]!r}?" if name in short else did_you_mean(name, KNOWN)
    raise BackboneError(f"the backbone {name!r} is neither a folder nor a hub id. {hint}")


def download_backbone(name: str, revision: str | None) -> Path:
    """
    Fetch a model's files from the hub into its cache, or find them there.

    Returns
    -------
    Path
        The snapshot's folder, named by its commit.

    Raises
    ------
    BackboneError
        When the hub does not answer, or does not have it for us.
    """
    from huggingface_hub import errors, snapshot_download

    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    advice = (
        f"On a machine with network: hf download {name} --local-dir DIR, copy DIR here and give DIR as the backbone. "
        "Or give tiny, which needs no network."
    )
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(WEIGHTS)))
    except errors.RevisionNotFoundError as error:
        raise BackboneError(f"{name} has no revision {revision!r} on {endpoint}.") from error
    except errors.GatedRepoError as error:
        raise BackboneError(
            f"{name} is gated: accept its licence on {endpoint}/{name}, then log in with: hf auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        hint = did_you_mean(name, KNOWN)
        raise BackboneError(f"{endpoint} has no model {name!r} (or it is private: hf auth login). {hint}") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise BackboneError(f"{name} is not in the local cache, and {endpoint} cannot be reached. {advice}") from error
    except Exception as error:  # the client passes on its transport's own errors
        raise BackboneError(
            f"{name} could not be fetched from {endpoint}: {type(error).__name__}: {error}. {advice}"
        ) from error


def find_in_folder(name: str, folder: Path, revision: str | None = None) -> BackboneSource:
    """
    Describe the model in a transformers folder, whatever else is known of it.

    Raises
    ------
    BackboneError
    """
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise BackboneError(f"{folder} has no config.json: it is not a transformers model folder.")
    try:
        from transformers import AutoConfig

        # without the last option a folder's own code asks to be run
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).to_dict()
    except (ValueError, KeyError, OSError) as error:
        raise BackboneError(f"{config_file} is not a configuration that transformers knows: {error}") from error
    missing = [
        key for key in ("num_hidden_layers", "hidden_size", "patch_size") if not isinstance(config.get(key), int)
    ]
    if missing:
        raise BackboneError(
            f"{folder}: a {config.get('model_type')} model has no {', '.join(missing)}; a vision transformer is needed."
        )
    return BackboneSource(name, str(folder.resolve()), revision, _hash_weights(folder), config)


def _hash_weights(folder: Path) -> str:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    digests = []
    for name in names:
        file = folder / name
        if not file.is_file():
            others = ", ".join(p.name for p in sorted(folder.iterdir())) or "nothing"
            raise BackboneError(
                f"{folder} has no {name} (it holds {others}). Pickled weights are not read: save as safetensors."
            )
        digests.append(hash_file(file))
    if len(digests) == 1:
        return digests[0]
    lines = "".join(f"{digest}  {name}\n" for digest, name in zip(digests, names, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def _load_folder(folder: str) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, report = AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise BackboneError(
            f"the weights in {folder} cannot be loaded; the file may be cut short or belong to another "
            f"configuration: {error}. Fetch it again."
        ) from error
    # transformers fills missing weights at random and goes on; a pooler is not used here
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise BackboneError(
            f"{folder} lacks {len(missing)} weights of a {type(model).__name__} ({', '.join(missing[:3])} ...): "
            "they would be random. Is config.json of the same model?"
        )
    return model


def _find_tiny() -> BackboneSource:
    """The bundled weights, unless the file is another than this version of the program came with."""
    source = find_in_folder(TINY, TINY_FOLDER)
    if source.weights_sha256 != TINY_SHA256:
        raise BackboneError(
            f"{TINY_FOLDER} does not hold the weights of {TINY} that this version came with (sha256 "
            f"{source.weights_sha256[:12]}..., expected {TINY_SHA256[:12]}...). Install the program again."
        )
    return replace(source, folder=None)
