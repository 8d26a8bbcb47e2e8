"""The sections of a fine-tuning configuration: every key with its default, its limits and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Metric = Literal["val_loss", "val_mae", "val_r", "val_r2"]


class Section(BaseModel):
    """Keys that belong together; none but these."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


class Data(Section):
    """Which galaxies and labels, and how their images become tensors."""

    catalogs: Annotated[tuple[Path, ...], Field(min_length=1, description="catalogs, one or more a survey")]
    images: Annotated[Path | None, Field(description="folder of the images, instead of the catalogs'")] = None
    targets: Annotated[tuple[str, ...], Field(min_length=1, description="globs of the targets to learn")] = ("*",)
    min_votes: Annotated[int, Field(ge=0, description="questions with fewer votes count as not asked")] = 0
    weights: Annotated[
        Literal["none", "votes", "published"],
        Field(
            description="what a label weighs: the same; its question's votes; or a galaxy's votes over the batch's "
            "most, as in the study"
        ),
    ] = "none"
    unasked: Annotated[
        Literal["missing", "zero"],
        Field(description="a question that was not asked is left out, or counts as zero, as in the study"),
    ] = "missing"
    mixing: Annotated[
        Literal["natural", "balanced", "budget"],
        Field(description="surveys as they are; in equal shares; or budget galaxies an epoch, in equal shares"),
    ] = "natural"
    budget: Annotated[int | None, Field(ge=1, description="training galaxies of an epoch, with mixing: budget")] = None
    size: Annotated[int, Field(ge=14, description="side of the square that the backbone sees, in pixels")] = 224
    recipe: Annotated[
        Literal["whole", "hf"], Field(description="resize the whole cut-out, or resize and crop as transformers does")
    ] = "whole"
    stretch: Annotated[str | None, Field(description="for FITS: auto, lupton, dr2, asinh, as extract has it")] = None
    bands: Annotated[tuple[str, ...], Field(description="for FITS, blue to red: [g, r, z]")] = ()
    cutout: Annotated[float | None, Field(gt=0, description="for FITS: cut so many arcsec at each position")] = None
    max_missing: Annotated[float, Field(ge=0, le=1, description="FITS images with more missing pixels fail")] = 0.2
    cache: Annotated[bool, Field(description="keep decoded squares in the run folder: later epochs read them")] = True
    workers: Annotated[int | None, Field(ge=1, description="threads that decode images; null: as the machine has")] = (
        None
    )
    limit: Annotated[int | None, Field(ge=1, description="galaxies of each catalog, drawn by the seed; null: all")] = (
        None
    )

    @model_validator(mode="after")
    def _check_budget(self) -> Self:
        if (self.mixing == "budget") != (self.budget is not None):
            raise ValueError(
                f"data.mixing is {self.mixing!r} and data.budget is {self.budget or 'null'}; "
                "a budget goes with mixing: budget, and mixing: budget needs one."
            )
        return self


class Split(Section):
    """Which galaxies train, choose and test."""

    method: Annotated[
        Literal["hash", "sequential"],
        Field(description="sky objects by a hash of their names, or rows in the catalogs' order, as the study did"),
    ] = "hash"
    val: Annotated[float, Field(gt=0, lt=1, description="share of galaxies that choose")] = 0.1
    test: Annotated[float, Field(ge=0, lt=1, description="share of galaxies that no choice sees")] = 0.1
    file: Annotated[Path | None, Field(description="a run's split.parquet to follow instead")] = None

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError(f"split.val {self.val} and split.test {self.test} leave no galaxies to train on.")
        return self


class HeadShape(Section):
    """The layers between features and targets."""

    hidden: Annotated[tuple[int, ...], Field(description="widths of the hidden layers; [] is a linear head")] = (
        512,
        256,
    )
    dropout: Annotated[float, Field(ge=0, lt=1, description="share of hidden values that a step leaves out")] = 0.2

    @model_validator(mode="after")
    def _check_widths(self) -> Self:
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"model.head.hidden is {list(self.hidden)}; widths are whole numbers from 1.")
        return self


class Lora(Section):
    """Low-rank adapters, merged into the weights at the end."""

    rank: Annotated[int, Field(ge=1, description="of the adapters' matrices")] = 16
    alpha: Annotated[float, Field(gt=0, description="adapters are scaled by alpha / rank")] = 32
    dropout: Annotated[float, Field(ge=0, lt=1, description="before the adapters")] = 0.1
    modules: Annotated[
        tuple[str, ...],
        Field(min_length=1, description="layers that get one, by the ends of their names in the model"),
    ] = ("q_proj", "k_proj", "v_proj", "o_proj")


class Model(Section):
    """Backbone, head, and which of it learns."""

    backbone: Annotated[str, Field(min_length=1, description="hub id, model folder, run folder, or tiny")]
    revision: Annotated[str | None, Field(description="branch, tag or commit on the hub")] = None
    pooling: Annotated[
        Literal["cls", "patch-mean", "cls+patch-mean"], Field(description="what the head sees of the last layer")
    ] = "cls"
    method: Annotated[
        Literal["head", "last", "full", "lora"],
        Field(description="what learns besides the head: nothing, the last blocks, everything, adapters"),
    ] = "full"
    last_blocks: Annotated[int, Field(ge=1, description="how many blocks learn with method: last")] = 2
    head: HeadShape = HeadShape()
    lora: Lora = Lora()
    drop_path: Annotated[float, Field(ge=0, lt=1, description="chance to skip a block's branch, growing to this")] = 0.0


class Augmentation(Section):
    """What training images undergo; validation and test images never do."""

    rotation: Annotated[float, Field(ge=0, le=180, description="degrees, either way")] = 180.0
    flip: Annotated[bool, Field(description="mirror every other image")] = True
    scale: Annotated[float, Field(ge=0, lt=1, description="zoom by up to this share, in or out")] = 0.1
    brightness: Annotated[float, Field(ge=0, le=1, description="times 1 plus or minus this")] = 0.1
    contrast: Annotated[float, Field(ge=0, le=1, description="times 1 plus or minus this, about the mean")] = 0.1
    noise: Annotated[float, Field(ge=0, le=1, description="standard deviation, white being 1")] = 0.01
    padding: Annotated[Literal["reflection", "zeros"], Field(description="what a rotation shows beyond the edge")] = (
        "reflection"
    )
    interpolation: Annotated[Literal["bilinear", "nearest"], Field(description="of rotation and zoom")] = "bilinear"


class EarlyStopping(Section):
    """When to stop before the last epoch."""

    metric: Annotated[Metric, Field(description="what has to get better")] = "val_loss"
    patience: Annotated[int, Field(ge=1, description="epochs without a gain before it stops")] = 3
    min_delta: Annotated[float, Field(ge=0, description="smaller gains do not count")] = 0.0


class Training(Section):
    """Loss, optimiser (AdamW, cosine after a linear warm-up), and what it runs on."""

    loss: Annotated[
        Literal["mse", "bce", "multinomial", "dirichlet-multinomial", "beta-binomial"],
        Field(description="of fractions: mse, bce; of counts: multinomial, dirichlet-multinomial, beta-binomial"),
    ] = "mse"
    epochs: Annotated[int, Field(ge=1, description="passes over the training galaxies")] = 10
    batch_size: Annotated[int, Field(ge=2, description="images in a batch, of all processes together")] = 64
    accumulate: Annotated[int, Field(ge=1, description="batches in an optimiser step")] = 1
    learning_rate: Annotated[float, Field(gt=0, description="of the backbone, or its adapters")] = 2e-5
    head_learning_rate: Annotated[float, Field(gt=0, description="of the head")] = 1e-3
    layer_decay: Annotated[float, Field(gt=0, le=1, description="learning rate of a block over the next one's")] = 1.0
    weight_decay: Annotated[float, Field(ge=0, description="of AdamW")] = 0.05
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of all steps in which the rates rise")] = 0.1
    final_learning_rate: Annotated[float, Field(ge=0, le=1, description="at the end, as a share of the full one")] = (
        0.01
    )
    clip: Annotated[float | None, Field(gt=0, description="largest norm of the gradient; null: no limit")] = 1.0
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"], Field(description="auto is bf16 on a GPU that has it, else fp32")
    ] = "auto"
    device: Annotated[str, Field(description="cpu, cuda, cuda:1, mps; auto takes the best")] = "auto"
    ema: Annotated[float, Field(ge=0, lt=1, description="decay of the weights' moving average; 0: none")] = 0.0
    early_stopping: Annotated[EarlyStopping | None, Field(description="null: all epochs run")] = None
    best: Annotated[Metric, Field(description="what names the best epoch, whose weights the run ends with")] = (
        "val_loss"
    )
    checkpoint_steps: Annotated[int | None, Field(ge=1, description="steps between checkpoints within an epoch")] = None
    threads: Annotated[int | None, Field(ge=1, description="of torch on a CPU; null: as torch chooses")] = None


class Tracking(Section):
    """Who is told how it goes, besides the run's own log."""

    wandb: Annotated[bool, Field(description="log to Weights & Biases too (extra wandb)")] = False
    project: Annotated[str, Field(description="of Weights & Biases")] = "galaxy-sommelier"
    entity: Annotated[str | None, Field(description="user or team; null: the account's own")] = None
    name: Annotated[str | None, Field(description="of the run there; null: the run folder's")] = None
    mode: Annotated[Literal["online", "offline"], Field(description="offline writes below the run folder")] = "online"
    log_steps: Annotated[int, Field(ge=1, description="log every so many steps")] = 1
