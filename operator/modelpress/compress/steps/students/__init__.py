"""Smaller models that learn from the source: fewer channels, fewer blocks, or a model of the user's."""
