"""Passages that are to be said in two sentences: a domain for real language models."""
