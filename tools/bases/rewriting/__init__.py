"""The base of the world of rewriting."""
