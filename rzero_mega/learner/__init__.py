"""The Megatron-core learner: device, parallel layout, model, packing, losses, train step, checkpoints."""

from rzero_mega.learner.megatron import no_triton

# Before any module of this package imports Megatron-core.
no_triton.install()
