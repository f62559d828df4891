"""Weights to FP8 on their way to a server: one file per scheme."""
