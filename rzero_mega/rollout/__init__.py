"""Prompts in, samples with log-probabilities and the version of the weights out."""
