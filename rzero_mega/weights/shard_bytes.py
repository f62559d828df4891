"""How large the files of a model are."""

SHARD_BYTES = 4 * 1024**3
"""Most bytes of tensors in a safetensors file that is written here, or one tensor that alone is larger."""
