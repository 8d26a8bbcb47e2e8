"""Embeddings in, vote fractions out, and how good they are."""

from heads.evaluation import Labels, fit_head
from heads.io import FittedHead, load_head, make_head

__all__ = ["FittedHead", "Labels", "fit_head", "load_head", "make_head"]
