"""Benchmarks, evaluation protocols, and the arithmetic world whose truth is computable."""
