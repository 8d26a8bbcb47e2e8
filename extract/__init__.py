"""Catalogs and images in, embeddings out."""
