"""Search over the cache of embeddings: exact or approximate, with its own recall on the label."""

from embeddings.search.exact import ExactSearch, find_neighbours, load_faiss
from embeddings.search.index import Found, GalaxyIndex, open_index

__all__ = ["ExactSearch", "Found", "GalaxyIndex", "find_neighbours", "load_faiss", "open_index"]
