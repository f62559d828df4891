"""Weights from Hugging Face names to Megatron's shards and to servers; see README.md."""
