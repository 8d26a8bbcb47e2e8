"""The cache of embeddings, and search over it."""

from embeddings.errors import SommelierError
from embeddings.provenance import Provenance, Space
from embeddings.questions import Question
from embeddings.store import EmbeddingStore, Table

__all__ = ["EmbeddingStore", "Provenance", "Question", "SommelierError", "Space", "Table"]
