"""Embeddings in, vote fractions out, and how good they are."""

from heads.comparison import compare_heads
from heads.evaluation import fit_head
from heads.io import FittedHead, load_head, make_head
from heads.training import Labels

__all__ = ["FittedHead", "Labels", "compare_heads", "fit_head", "load_head", "make_head"]
