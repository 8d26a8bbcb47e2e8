"""A label column of the user's own as a Question and its catalog columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from embeddings.errors import CatalogError
from embeddings.questions import Question

MAX_CATEGORIES = 200  # more than any morphology has: the column is an id or free text


def label_columns(column: pd.Series[Any], name: str, file: Path) -> tuple[Question, dict[str, np.ndarray[Any, Any]]]:
    """
    Turn one column into a question.

    Parameters
    ----------
    column : Series
        Text: each category is an answer, with one vote a galaxy. Numbers: a fraction where all lie in
        [0, 1] (0/1 labels and booleans too), otherwise a value. Missing entries stay missing.
    name : str
        The question's name; a trailing ``_fraction`` is dropped.
    file : Path
        For error messages.

    Returns
    -------
    question : Question
    columns : dict of str to (n_galaxies,) float array
        Votes, totals and fractions under the catalog's names.

    Raises
    ------
    CatalogError
        When the column is empty, or text with too many categories.
    """
    if pd.api.types.infer_dtype(column) == "boolean":  # True, False and gaps: pandas has no one type for it
        column = column.astype("boolean")
    if column.isna().all():
        raise CatalogError(f"{file}: the label column {name!r} is empty.")
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_numeric_dtype(column.dtype):
        values = column.to_numpy(dtype=float, na_value=np.nan)
        finite = values[np.isfinite(values)]
        if len(finite) and ((finite >= 0) & (finite <= 1)).all():
            question = Question(name.removesuffix("_fraction"))
        else:
            question = Question(name, kind="value")
        return question, {question.target_columns[0]: values}
    return _categorical_columns(column, name, file)


def _categorical_columns(
    column: pd.Series[Any], name: str, file: Path
) -> tuple[Question, dict[str, np.ndarray[Any, Any]]]:
    stripped = column.astype(object).where(column.notna(), "").astype(str).str.strip()
    answered, text = (stripped != "").to_numpy(dtype=bool), stripped.to_numpy(dtype=object)
    answers = sorted(set(text[answered]))
    if not answers:
        raise CatalogError(f"{file}: the label column {name!r} is empty.")
    if len(answers) > MAX_CATEGORIES:
        raise CatalogError(
            f"{file}: the label column {name!r} has {len(answers)} different values ({', '.join(answers[:3])} ...): "
            f"more than {MAX_CATEGORIES} are not a classification. Choose another column."
        )
    question = Question(name, tuple(answers))
    columns = {question.total_column: np.where(answered, 1.0, 0.0)}
    for answer, target in zip(answers, question.targets, strict=True):
        chosen = np.where(answered, (text == answer).astype(float), np.nan)
        columns |= {target: chosen, f"{target}_fraction": chosen}
    return question, columns
