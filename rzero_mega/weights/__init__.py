"""Weights between Hugging Face names and Megatron layouts: mapping, gathering, reading and writing folders."""
