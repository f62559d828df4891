"""The model's configuration for Megatron."""

from __future__ import annotations

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import LearnerConfig
from rzero_mega.learner.megatron.model import transformer_config
from rzero_mega.weights.shape import ModelShape

DENSE = ModelShape("qwen3", 4, 32, 48, 8, 2, 4, 100, 64, 1e-6, 1e4, None, False, True, False)


def test_an_interleaved_pipeline_never_batches_its_transfers(alone: ParallelLayout) -> None:
    """Batched, they hang over gloo, or hand chunks each other's tensors."""
    layout = ParallelLayout(pp=2, vpp=2)
    config = transformer_config(DENSE, layout, LearnerConfig(dtype="float32"))
    assert config.overlap_p2p_comm and not config.batch_p2p_comm
