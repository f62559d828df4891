"""Training on Megatron-core: micro-batches, losses, updates and their guard, checkpoints. README.md says how."""

from rzero_mega.learner.megatron import importing

# Before any module of this package imports Megatron-core.
importing.prepare()
