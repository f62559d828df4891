"""Checkpoints in Megatron's distributed format: saving, loading, what their files may hold."""
