"""EmbeddingStore: one HDF5 file, one survey, one provenance. FORMAT.md is its definition."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import h5py
import numpy as np

from embeddings import layout
from embeddings.errors import StoreError, did_you_mean
from embeddings.labels import read_labels
from embeddings.layout import Array, Header, Vectors
from embeddings.provenance import POOLINGS, Provenance, Space, digest_json
from embeddings.questions import Question, list_targets, select_questions


@dataclass(frozen=True)
class Table:
    """
    What a head needs, row by row the same galaxy. Unpacks as ``ids, X, Y, votes``.

    Attributes
    ----------
    ids : (n_galaxies,) array of str
    X : (n_galaxies, embed_dim) float32 array
        Vectors.
    Y : (n_galaxies, n_targets) float32 array
        Targets; NaN where a question was not asked.
    votes : (n_galaxies, n_targets) float32 array
        Vote counts of each answer; NaN where the release has none or the question was not asked.
    questions : tuple of Question
        What the columns of Y are.
    """

    ids: Array
    X: Array
    Y: Array
    votes: Array
    questions: tuple[Question, ...]

    @property
    def targets(self) -> list[str]:
        """The names of the columns of Y."""
        return list_targets(self.questions)

    def __iter__(self) -> Iterator[Array]:
        return iter((self.ids, self.X, self.Y, self.votes))


class EmbeddingStore:
    """
    A finished store, opened for reading.

    Examples
    --------
    >>> store = EmbeddingStore.open("spiral.h5")        # doctest: +SKIP
    >>> ids, X, Y, votes = store.table()                # doctest: +SKIP
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = layout.open_file(self.path)
        try:
            with layout.name_damage(self.path, "the root attributes"):
                self.header = Header.from_attributes(layout.read_text(self._file))
        except BaseException:
            self._file.close()
            raise

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> EmbeddingStore:
        """
        Open a store.

        Raises
        ------
        StoreError
            When it is missing, cut short, not a store, or of a newer format version.
        """
        return cls(path)

    def close(self) -> None:
        """Close the file; memory-mapped vectors stay readable."""
        self._file.close()

    def __enter__(self) -> EmbeddingStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[[Path], EmbeddingStore], tuple[Path]]:
        return EmbeddingStore.open, (self.path,)

    def __len__(self) -> int:
        return int(self._file["id_str"].shape[0])

    def __repr__(self) -> str:
        return (
            f"<EmbeddingStore {self.path}: {len(self)} rows of {self.survey}, {', '.join(s.name for s in self.spaces)}>"
        )

    # what it is

    @property
    def survey(self) -> str:
        """The survey's name."""
        return self.header.survey

    @property
    def provenance(self) -> Provenance:
        """What made the vectors."""
        return self.header.provenance

    @property
    def questions(self) -> tuple[Question, ...]:
        """What the labels are."""
        return self.header.questions

    @property
    def targets(self) -> list[str]:
        """The names of the columns of ``table().Y``."""
        return list_targets(self.questions)

    @property
    def spaces(self) -> tuple[Space, ...]:
        """The layers and poolings it holds."""
        return self.provenance.spaces

    # what it holds, one value a row

    @property
    def ids(self) -> Array:
        """(n_rows,) str."""
        return layout.decode_strings(self.dataset("id_str"))

    @property
    def ra(self) -> Array:
        """(n_rows,) right ascension in degrees ICRS; NaN where unknown."""
        return self.dataset("ra")

    @property
    def dec(self) -> Array:
        """(n_rows,) declination in degrees ICRS; NaN where unknown."""
        return self.dataset("dec")

    @property
    def images(self) -> Array:
        """(n_rows,) str, the image's path below `image_root`."""
        return layout.decode_strings(self.dataset("image"))

    @property
    def image_roots(self) -> Array:
        """(n_rows,) str, the folder that holds each image."""
        return np.array(self.header.image_roots or ("",))[self.dataset("image_root")]

    @property
    def status(self) -> Array:
        """(n_rows,) str: ``ok``, or ``failed: reason``."""
        return layout.decode_strings(self.dataset("status"))

    @property
    def ok(self) -> Array:
        """(n_rows,) bool: the rows that have vectors."""
        return np.asarray(self.dataset("status") == layout.OK)

    @property
    def has_parts(self) -> bool:
        """Whether a fine-tuned backbone made the vectors, whose split was matched with the rows."""
        return layout.PART in self._file

    @property
    def parts(self) -> Array:
        """(n_rows,) str: the backbone was trained on ``train``, chosen on ``val``; ``test``; empty where unknown."""
        return layout.decode_strings(self.dataset(layout.PART)) if self.has_parts else np.full(len(self), "")

    @property
    def columns(self) -> list[str]:
        """The names of the catalog's columns."""
        with layout.name_damage(self.path, "catalog"):
            return [layout.unescape_name(name) for name in self._file["catalog"]] if "catalog" in self._file else []

    def column(self, name: str) -> Array:
        """
        One catalog column, (n_rows,).

        Raises
        ------
        StoreError
            When there is none of that name.
        """
        if name not in self.columns:
            raise StoreError(f"{self.path} has no column {name!r}. {did_you_mean(name, self.columns)}")
        values = self.dataset(f"catalog/{layout.escape_name(name)}")
        return layout.decode_strings(values) if values.dtype.kind == "S" else values

    def dataset(self, name: str) -> Array:
        """One dataset as it is stored, checked against its checksums."""
        return layout.read_dataset(self.path, self._file, name)

    def checksums(self, name: str) -> Array:
        """The checksums of one dataset's blocks, (n_blocks, 16) uint8: they change when it does."""
        return layout.read_checksums(self.path, self._file, name)

    # vectors

    def space(self, layer: int = -1, pooling: str | None = None) -> Space:
        """
        Name a space of this store.

        Parameters
        ----------
        layer : int
            Counted from 1; -1 is the highest layer that the store holds.
        pooling : str, optional
            ``cls``, ``patch-mean`` or ``cls+patch-mean`` (side by side); by default ``cls`` where there is one.

        Raises
        ------
        StoreError
            When the store does not hold it.
        """
        number = max(space.layer for space in self.spaces) if layer == -1 else layer
        held = [space.pooling for space in self.spaces if space.layer == number]
        if pooling is None and held:
            pooling = next((known for known in POOLINGS if known in held), held[0])
        wanted = Space(number, pooling or POOLINGS[0])
        for part in wanted.parts():
            if part not in self.spaces:
                names = ", ".join(space.name for space in self.spaces)
                raise StoreError(
                    f"{self.path} does not hold {part.name}; it holds {names}. Extract it with --layer and --pool."
                )
        return wanted

    def space_id(self, space: Space) -> str:
        """The digest of model, layer and pooling: equal ids may be compared."""
        return self.provenance.space_id(space)

    def vectors(self, layer: int = -1, pooling: str | None = None) -> Array:
        """
        Vectors of one space, memory-mapped: nothing is read until it is used, nothing is checked.

        Returns
        -------
        (n_rows, embed_dim) read-only array
            float16 or float32 as stored; failed rows are NaN.
        """
        space = self.space(layer, pooling)
        if len(space.parts()) > 1:
            raise StoreError(f"{space.name} does not lie in {self.path} as one array: use read_vectors or table.")
        return self._map(f"vectors/{space.name}")

    def vector_blocks(self, space: Space) -> Vectors:
        """The vectors of one space as they are stored, each block checked as it is read: what copies are made of."""
        name = f"vectors/{space.name}"
        mapped, sums = self._map(name), layout.read_checksums(self.path, self._file, name)

        def read(start: int, stop: int) -> Array:
            layout.check_block(self.path, name, start, mapped[start:stop], sums[start // layout.CHECKSUM_ROWS])
            return mapped[start:stop]

        return Vectors(mapped.shape[1], read)

    def read_vectors(self, space: Space, rows: Array | None = None) -> Array:
        """
        Read vectors as float32 and check them against their checksums.

        Parameters
        ----------
        space : Space
            May be a concatenation (``cls+patch-mean``).
        rows : (n_rows,) bool array, optional
            Which rows; all by default.

        Returns
        -------
        (n_selected, embed_dim) float32 array
        """
        parts = self.space(space.layer, space.pooling).parts()
        keep = np.ones(len(self), bool) if rows is None else np.asarray(rows)
        if keep.dtype != bool or keep.shape != (len(self),):
            raise StoreError(f"rows of {self.path} are chosen by {len(self)} booleans, not {keep.shape} {keep.dtype}")
        ends = np.concatenate([[0], np.cumsum(keep)])
        sources = [self.vector_blocks(part) for part in parts]
        widths = np.cumsum([0, *(source.embed_dim for source in sources)])
        out = np.empty((int(ends[-1]), int(widths[-1])), np.float32)
        for source, left, right in zip(sources, widths[:-1], widths[1:], strict=True):
            for start, stop in layout.block_ranges(len(self)):
                values = source.read(start, stop)
                whole = ends[stop] - ends[start] == stop - start
                out[ends[start] : ends[stop], left:right] = values if whole else values[keep[start:stop]]
        return out

    def _map(self, name: str) -> Array:
        dataset = self._file[name]
        offset = dataset.id.get_offset()
        if offset is None:  # an empty store, or a file written by another program in chunks
            return np.asarray(dataset[()])
        # the open file's own descriptor: the path may have been replaced since
        with os.fdopen(os.dup(self._file.id.get_vfd_handle()), "rb") as raw:
            return np.memmap(raw, dataset.dtype, "r", offset, dataset.shape)

    # labels

    def table(
        self,
        layer: int = -1,
        pooling: str | None = None,
        targets: Sequence[str] = (),
        min_votes: int = 0,
    ) -> Table:
        """
        The galaxies that have vectors, with their labels.

        Parameters
        ----------
        layer, pooling
            As in `space`.
        targets : sequence of str
            Globs over target names; all by default.
        min_votes : int
            A question that fewer volunteers answered is NaN for that galaxy.

        Returns
        -------
        Table
            Unpacks as ``ids, X, Y, votes``.
        """
        ok = self.ok
        X = self.read_vectors(self.space(layer, pooling), ok)
        questions = select_questions(self.questions, targets)
        Y, votes = self.labels(questions, min_votes)
        return Table(self.ids[ok], X, Y[ok], votes[ok], questions)

    def labels(self, questions: Iterable[Question], min_votes: int = 0) -> tuple[Array, Array]:
        """
        Targets and vote counts of all rows, failed ones included.

        Returns
        -------
        Y, votes : (n_rows, n_targets) float32 arrays
            NaN where not asked, where the release has none, or below `min_votes`.
        """
        return read_labels(questions, self.columns, self.column, len(self), min_votes, str(self.path), self.questions)

    # whole files

    def to_arrays(self) -> dict[str, Array]:
        """Every dataset but the vectors, by name."""
        names = [*layout.STORE_DATASETS, *([layout.PART] if self.has_parts else [])]
        names += [f"catalog/{layout.escape_name(name)}" for name in self.columns]
        return {name: self.dataset(name) for name in names}

    def verify(self) -> list[str]:
        """
        Check every checksum and digest.

        Returns
        -------
        list of str
            What is wrong; empty when nothing is.
        """
        problems: list[str] = []
        try:
            with layout.name_damage(self.path, "the structure of the file"):
                for problem in chain(self._verify_attributes(), self._verify_datasets()):
                    problems.append(problem)
        except StoreError as error:
            problems.append(str(error))
        return problems

    def _verify_attributes(self) -> Iterator[str]:
        attributes = layout.read_text(self._file)
        stated = attributes.pop("attributes_digest")
        if digest_json({name: str(value) for name, value in attributes.items()}) != stated:
            yield f"{self.path}: the root attributes changed after they were written (attributes_digest)"
        if self.provenance.cache_digest != attributes["cache_digest"]:
            yield f"{self.path}: cache_digest does not belong to the provenance"
        for space in self.spaces:
            if layout.read_text(self._file[f"vectors/{space.name}"]).get("space_id") != self.provenance.space_id(space):
                yield f"{self.path}: vectors/{space.name} has a space_id that does not belong to the provenance"

    def _verify_datasets(self) -> Iterator[str]:
        names: list[str] = []
        self._file.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
        for name in (name for name in names if not name.startswith("checksums/")):
            try:
                yield from self._verify_dataset(name)
            except StoreError as error:
                yield str(error)
        ids, counts = np.unique(self._file["id_str"][()], return_counts=True)
        if (counts > 1).any():
            yield f"{self.path}: ids appear twice: {', '.join(i.decode() for i in ids[counts > 1][:5])}"
        if b"" in ids.tolist():
            yield f"{self.path}: a row has no id"
        unknown = {*self._file[layout.PART][()].tolist()} - layout.PARTS if self.has_parts else set()
        for part in sorted(unknown):
            yield f"{self.path}: a row has the part {part.decode(errors='replace')!r}"

    def _verify_dataset(self, name: str) -> Iterator[str]:
        sums = layout.read_checksums(self.path, self._file, name)
        with layout.name_damage(self.path, name):
            values = self._map(name) if name.startswith("vectors/") else self._file[name][()]
        if name.startswith("catalog/") and len(values) != len(self):
            yield f"{self.path}: {name} has {len(values)} rows, id_str has {len(self)}"
        for block, (start, stop) in enumerate(layout.block_ranges(len(values))):
            try:
                layout.check_block(self.path, name, start, values[start:stop], sums[block])
            except StoreError as error:
                yield str(error)
