"""A suite: which surveys, training sets and models are compared, and by which protocol; one validated YAML file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from benchmarks.splits import SplitRecipe
from embeddings.errors import did_you_mean
from embeddings.provenance import Space
from finetune import documents
from finetune.documents import ConfigError as ConfigError
from finetune.sections import Section

FROZEN = "frozen"
FLOORS = ("mean", "random")  # heads that look at no image, or at no label
PACKAGE, FOLDER = "benchmarks", "suites"
Protocol = Literal["sound", "published"]
Objects = Literal["new", "same", "both"]


class Survey(Section):
    """Where a survey's galaxies are."""

    catalog: Annotated[
        Path | None, Field(description="galaxies with images and votes: what is missing is extracted")
    ] = None
    store: Annotated[Path | None, Field(description="embeddings that are there, instead of a catalog")] = None
    images: Annotated[Path | None, Field(description="folder of the images, instead of the catalog's")] = None

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.catalog is None and self.store is None:
            raise ValueError("a survey needs a catalog, or a store: surveys.NAME.catalog=FILE.parquet.")
        return self


class Extraction(Section):
    """How images become the frozen embeddings; as `sommelier extract` has it."""

    layers: Annotated[tuple[int, ...], Field(min_length=1, description="blocks of the backbone, from 1; -1: last")] = (
        -1,
    )
    pools: Annotated[tuple[str, ...], Field(min_length=1, description="cls, patch-mean")] = ("cls", "patch-mean")
    size: Annotated[int | None, Field(ge=14, description="side of the square that the backbone sees; null: 224")] = None
    recipe: Annotated[Literal["whole", "hf"] | None, Field(description="as extract has it")] = None
    stretch: Annotated[str | None, Field(description="for FITS, as extract has it")] = None
    bands: Annotated[tuple[str, ...], Field(description="for FITS, blue to red")] = ()
    cutout: Annotated[float | None, Field(gt=0, description="for FITS: arcsec")] = None
    precision: Annotated[str, Field(description="auto, fp32, bf16, fp16")] = "auto"
    device: Annotated[str, Field(description="auto, cpu, cuda, cuda:1, mps")] = "auto"
    batch_size: Annotated[int | None, Field(ge=1, description="images in a batch; null: as the device has")] = None
    workers: Annotated[int | None, Field(ge=1, description="processes; null: as the machine has")] = None
    threads: Annotated[int | None, Field(ge=1, description="of each worker; null: as the machine has")] = None


class Split(Section):
    """Who learns, who chooses, who is tested."""

    method: Annotated[
        Literal["hash", "blocks", "sequential"],
        Field(description="sky objects by a hash of their names; blocks of sky; rows in their order, as the study did"),
    ] = "hash"
    val: Annotated[float, Field(gt=0, lt=1, description="share that chooses")] = 0.1
    test: Annotated[float, Field(gt=0, lt=1, description="share that is tested")] = 0.2
    seed: Annotated[int, Field(ge=0, description="another one cuts otherwise")] = 0
    nside: Annotated[int, Field(ge=1, description="of the blocks, a power of 2")] = 8

    def to_recipe(self) -> SplitRecipe:
        """As `benchmarks.splits` takes it."""
        return SplitRecipe(self.method, self.val, self.test, self.seed, nside=self.nside)


class Training(Section):
    """One training set."""

    surveys: Annotated[tuple[str, ...], Field(min_length=1, description="names of surveys; the first is at home")]
    balance: Annotated[
        Literal["natural", "equal"], Field(description="as many rows as there are, or equally many of each survey")
    ] = "natural"
    select: Annotated[
        Literal["all", "overlap", "most-votes"],
        Field(
            description="all rows; or of the first survey as many as the second has: first those that both saw, or "
            "those with most votes"
        ),
    ] = "all"
    budget: Annotated[str | None, Field(description="as many sky objects as this other training set has")] = None
    size: Annotated[int | None, Field(ge=14, description="another size of the images than extraction.size")] = None
    zeroed: Annotated[
        tuple[str, ...], Field(description="surveys whose labels are all 0, as happened in the study")
    ] = ()


class Model(Section):
    """A head on embeddings, or a fine-tune."""

    head: Annotated[str | None, Field(description="a head: mean, random, ridge, knn, ...")] = None
    embeddings: Annotated[str, Field(description="of what: frozen, or the name of a fine-tune among the models")] = (
        FROZEN
    )
    finetune: Annotated[str | None, Field(description="a configuration: head, lora, full, or a file")] = None
    set: Annotated[
        dict[str, Any], Field(default_factory=dict, description="what replaces the configuration's: training.epochs: 5")
    ]
    seeds: Annotated[int | None, Field(ge=1, description="how many; null: as seeds has it")] = None
    trainings: Annotated[tuple[str, ...], Field(description="training sets that it learns from; []: all")] = ()
    budgets: Annotated[
        bool | None, Field(description="whether it is trained with each budget; null: heads on frozen embeddings are")
    ] = None

    @property
    def is_tuned(self) -> bool:
        """Whether a backbone is trained for it."""
        return self.finetune is not None or self.embeddings != FROZEN

    @property
    def is_floor(self) -> bool:
        """Whether it is a yardstick, which is neither ranked nor compared."""
        return self.head in FLOORS

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if (self.head is None) == (self.finetune is None):
            raise ValueError("a model is either a head or a fine-tune: write head: ridge, or finetune: full.")
        if self.finetune is not None and self.embeddings != FROZEN:
            raise ValueError("embeddings goes with head; a fine-tune sees images.")
        if self.head is not None and self.set:
            raise ValueError("set goes with finetune; heads choose their settings by themselves.")
        return self


class Seeds(Section):
    """How many seeds; each draws the training set and the initialisation anew."""

    heads: Annotated[int, Field(ge=1, description="of each head")] = 5
    finetunes: Annotated[int, Field(ge=1, description="of each fine-tune, and heads on it")] = 3
    first: Annotated[int, Field(ge=0, description="the first seed; the others follow")] = 0
    redraw: Annotated[
        float, Field(gt=0, le=1, description="share of the training objects that each seed learns from; 1: all")
    ] = 0.8


class Recalibration(Section):
    """How few labels of the target survey buy back the drop."""

    labels: Annotated[tuple[int, ...], Field(description="numbers of galaxies; [] for none")] = (10, 30, 100, 300, 1000)
    draws: Annotated[int, Field(ge=2, description="of each number")] = 20


class Reference(Section):
    """What all others are compared with."""

    model: Annotated[str | None, Field(description="a model; null: the first head that is no floor")] = None
    training: Annotated[str | None, Field(description="a training set; null: the first")] = None


class Suite(Section):
    """
    What a benchmark compares.

    Every key is described in its section.
    """

    title: Annotated[str, Field(description="of the report")] = "Benchmark"
    question: Annotated[str, Field(description="what the report answers")] = ""
    protocol: Annotated[
        Protocol, Field(description="sound, or published: the choices of the reference study, to lay beside its tables")
    ] = "sound"
    objects: Annotated[
        Objects,
        Field(description="tests of galaxies that no survey showed in training (new), that one may have (same), both"),
    ] = "new"
    surveys: Annotated[dict[str, Survey], Field(min_length=1, description="by name")]
    backbone: Annotated[str, Field(min_length=1, description="hub id, model folder, run folder, or tiny")]
    revision: Annotated[str | None, Field(description="branch, tag or commit on the hub")] = None
    extraction: Extraction = Extraction()
    spaces: Annotated[
        Literal["joined", "each", "both"],
        Field(
            description="heads read the last layer with all pools side by side; or each layer and pool on its own; or "
            "the first, and the reference model the second as well"
        ),
    ] = "joined"
    targets: Annotated[tuple[str, ...], Field(min_length=1, description="globs of the answers to predict")] = ("*",)
    min_votes: Annotated[
        int, Field(ge=0, description="a label of fewer votes counts as not asked, where votes are")
    ] = 2
    split: Split = Split()
    trainings: Annotated[dict[str, Training], Field(min_length=1, description="training sets by name")]
    budgets: Annotated[
        tuple[int, ...], Field(description="training objects of the reference training set, beside all")
    ] = ()
    models: Annotated[dict[str, Model], Field(min_length=1, description="by name")]
    tests: Annotated[tuple[str, ...], Field(description="surveys; []: all")] = ()
    test_size: Annotated[
        int | None, Field(ge=14, description="size of test images of other surveys; null: as trained")
    ] = None
    seeds: Seeds = Seeds()
    resamples: Annotated[int, Field(ge=10_000, description="draws of sky objects that intervals come from")] = 10_000
    reference: Reference = Reference()
    audit: Annotated[bool, Field(description="look for near-identical embeddings of training and test galaxies")] = True
    recalibration: Recalibration = Recalibration()

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        finetunes = [name for name, model in self.models.items() if model.finetune]
        for name, training in self.trainings.items():
            for survey in (*training.surveys, *training.zeroed):
                _require(survey, self.surveys, f"trainings.{name}.surveys")
            if training.budget:
                _require(
                    training.budget, [other for other in self.trainings if other != name], f"trainings.{name}.budget"
                )
                if self.trainings[training.budget].budget:
                    raise ValueError(f"trainings.{name}.budget is {training.budget!r}, which has a budget itself.")
            if training.select != "all" and len(training.surveys) != 2:
                raise ValueError(f"trainings.{name}.select is {training.select!r}; that needs two surveys.")
        for name, model in self.models.items():
            if model.head and model.embeddings != FROZEN:
                _require(model.embeddings, finetunes, f"models.{name}.embeddings")
            for learned in model.trainings:
                _require(learned, self.trainings, f"models.{name}.trainings")
            self._check_origin(name, finetunes)
        for survey in self.tests:
            _require(survey, self.surveys, "tests")
        if self.reference.model:
            _require(self.reference.model, self.models, "reference.model")
        if self.reference.training:
            _require(self.reference.training, self.trainings, "reference.training")
        if self.reference_training not in self.list_trainings(self.reference_model):
            raise ValueError(
                f"reference.model is {self.reference_model!r}, which does not learn from {self.reference_training!r}, "
                "the training set of reference.training: nothing could be compared with it."
            )
        for name, numbers in (("budgets", self.budgets), ("recalibration.labels", self.recalibration.labels)):
            if min(numbers, default=1) < 1 or len(set(numbers)) < len(numbers):
                raise ValueError(f"{name} is {list(numbers)}: whole numbers from 1 were expected, each once.")
        if finetunes and any(survey.catalog is None for survey in self.surveys.values()):
            raise ValueError("fine-tunes see images: give every survey a catalog, surveys.NAME.catalog=FILE.parquet.")
        for section in ("surveys", "trainings", "models"):
            _check_files(section, getattr(self, section))
        return self

    def _check_origin(self, name: str, finetunes: Sequence[str]) -> None:
        """Raise unless the fine-tune that a model needs has what it needs of it, and does not need it in turn."""
        before = self.find_origin(name)
        if before is None:
            return
        if before not in finetunes:
            raise ValueError(f"models.{name}.set.init is {before!r}, which is no fine-tune.")
        if not {*self.list_trainings(name)} <= {*self.list_trainings(before)}:
            raise ValueError(f"models.{name}.trainings has training sets that {before}, which it needs, has not.")
        if self.models[name].budgets and not self.models[before].budgets:
            raise ValueError(f"models.{name}.budgets is true: {before}, which it needs, needs budgets: true as well.")
        chain = [name]
        while (origin := self.find_origin(chain[-1])) is not None:
            if origin in chain:
                raise ValueError(f"models.{name} needs {', which needs '.join([*chain[1:], origin])}: none is first.")
            chain.append(origin)

    @property
    def tested(self) -> tuple[str, ...]:
        """The surveys to test on."""
        return self.tests or tuple(self.surveys)

    @property
    def learned(self) -> tuple[str, ...]:
        """The surveys that any training set has."""
        return tuple(name for name in self.surveys if any(name in t.surveys for t in self.trainings.values()))

    @property
    def reference_model(self) -> str:
        """The named model, or the first that looks at images and learns, best from the reference training set."""
        floors = ("mean", "random")
        heads = [name for name, model in self.models.items() if model.head not in floors]
        home = [name for name in heads if self.reference_training in self.list_trainings(name)]
        return self.reference.model or (home or heads or list(self.models))[0]

    @property
    def reference_training(self) -> str:
        """The training set that others are compared with."""
        return self.reference.training or next(iter(self.trainings))

    def find_origin(self, model: str) -> str | None:
        """The fine-tune among the models that a model reads the embeddings of, or starts from; None for none."""
        asked = self.models[model]
        before = asked.embeddings if asked.embeddings != FROZEN else asked.set.get("init")
        return before if before in self.models else None

    def join_space(self, layers: Sequence[int]) -> Space:
        """The highest of the layers with all pools side by side."""
        return Space(max(layers), "+".join(self.extraction.pools))

    def list_trainings(self, model: str) -> tuple[str, ...]:
        """The training sets that a model learns from."""
        return self.models[model].trainings or tuple(self.trainings)

    def list_budgets(self, model: str, training: str) -> tuple[int, ...]:
        """Training objects, 0 for all."""
        asked = self.models[model]
        wanted = not asked.is_tuned if asked.budgets is None else asked.budgets
        return (*self.budgets, 0) if wanted and training == self.reference_training else (0,)

    def list_spaces(self, model: str, training: str, layers: Sequence[int]) -> list[Space]:
        """The spaces that a head reads, of the layers that the stores hold, counted from 1."""
        joined = self.join_space(layers)
        each = [Space(layer, pool) for layer in sorted(layers) for pool in self.extraction.pools]
        if self.spaces == "each":
            return each
        alone = self.spaces == "both" and (model, training) == (self.reference_model, self.reference_training)
        return [joined, *(space for space in each if alone and space != joined)]

    def to_yaml(self) -> str:
        """Every key, as YAML that `load_suite` reads."""
        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, width=110))

    @property
    def digest(self) -> str:
        """Of all keys, 16 hex digits."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]


def _require(name: str, known: Any, where: str) -> None:
    if name not in known:
        raise ValueError(f"{where} names {name!r}. {did_you_mean(name, known)}")


def name_file(name: str) -> str:
    """A name as those of files have it."""
    return name.replace(" ", "_")


def _check_files(section: str, names: Iterable[str]) -> None:
    """Raise where names are none of files, or where two become one."""
    seen: dict[str, str] = {}
    for name in names:
        if not re.fullmatch(r"[^/\s-](?:(?!--)[^/])*(?<![\s-])", name):
            raise ValueError(
                f"{section} has the name {name!r}: names become names of files, whose parts -- divides. Take one "
                "without / and --, that does not begin or end with a blank or -."
            )
        file = name_file(name).casefold()  # there are disks that do not tell A from a
        if file in seen:
            raise ValueError(f"{section}: {seen[file]!r} and {name!r} become one name of files. Rename one.")
        seen[file] = name


def list_suites() -> list[str]:
    """The names of the suites that come with the program."""
    return documents.list_shipped(PACKAGE, FOLDER)


def read_suite(source: Path | str) -> str:
    """
    The text of a suite, comments and all: of a file, or of one that comes with the program.

    Raises
    ------
    ConfigError
        When it cannot be read.
    """
    return documents.read_document(source, PACKAGE, FOLDER, "suite")


def load_suite(source: Path | str, overrides: Sequence[str] = ()) -> Suite:
    """
    Read and check a suite.

    Parameters
    ----------
    source : path or str
        A YAML file, or the name of one that comes with the program: ``stages``.
    overrides : sequence of str
        ``surveys.sdss.catalog=my.parquet``: what replaces the file's; values are YAML.

    Raises
    ------
    ConfigError
        For what is no suite, an unknown key, with the nearest, or a wrong value, with what is allowed.
    """
    return documents.validate_document(read_suite(source), source, Suite, overrides, "suite")
