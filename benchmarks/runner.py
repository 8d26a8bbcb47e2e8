"""Runs a suite: extracts what is missing, cuts the split, audits the tests, computes the cells that are not there."""

from __future__ import annotations

import json
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.auditing import audit_samples, exclude_leaks
from benchmarks.cautions import list_cautions
from benchmarks.cells import Cell, Outcome, read_outcome
from benchmarks.fits import Bench, Vectors, find_frozen, fit_cell
from benchmarks.gathering import read_results
from benchmarks.material import (
    SurveyTable,
    cut_samples,
    find_columns,
    keep_answered,
    read_table,
    share_questions,
)
from benchmarks.plan import plan_cells
from benchmarks.results import CELLS, FORMAT, KIND, RECORD, SAMPLES, SPLIT, SUITE, VERSION, Results
from benchmarks.splits import SkySplit, cut_stores
from benchmarks.statistics import MIN_LABELS
from benchmarks.suite import FROZEN, Suite
from benchmarks.supply import CACHE, Supply, Watch, watch_nothing
from benchmarks.trainings import count_objects, draw_training
from embeddings.errors import SommelierError
from embeddings.files import claim_folder, replace_file
from embeddings.parts import FileLock
from embeddings.provenance import Space, require_same_model
from embeddings.questions import list_targets
from embeddings.store import EmbeddingStore
from extract.processes import count_cpus

Array = np.ndarray[Any, Any]
Say = Callable[[str], None]
PACKAGES = ("numpy", "scikit-learn", "torch", "transformers", "xgboost", "faiss-cpu", "h5py", "galaxy-sommelier")
