"""Checkpoints in Megatron's distributed format: saving, loading, checking untrusted files, conversion."""
