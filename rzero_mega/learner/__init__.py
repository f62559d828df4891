"""Training on Megatron-core: micro-batches, losses, updates and their guard, checkpoints. README.md says how."""

from rzero_mega.learner.megatron import no_triton

# Before any module of this package imports Megatron-core.
no_triton.install()
