"""Transformer Engine's modules against Megatron's local ones: same weights, same packed batch."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from rzero_mega.config.schema import LearnerConfig
from rzero_mega.learner.megatron.spec import LayerSpec, layer_spec, local_spec
from tools.gpu_steps.models import Gap, Sizes, chains, free_memory, gap, logprobs_and_gradients


@dataclass(frozen=True)
class Settings:
    """Sizes of the model and of the batch, and what is compared with the local modules (there: in fp32)."""

    model: Sizes = field(default_factory=Sizes)
    lengths: tuple[int, ...] = (700, 33, 256, 1)
    spec: LayerSpec = layer_spec


@dataclass(frozen=True)
class Parity:
    """Differences of log-probabilities (in nats) and of gradients, by what is compared.

    `local_bfloat16` is the local modules' own bf16 against their fp32: the rounding that any bf16 model has.
    """

    logprobs: dict[str, Gap]
    gradients: dict[str, Gap]


def run(settings: Settings) -> Parity:
    """Compare in fp32 and in bf16. In fp32 Transformer Engine's linear layers compute in TF32."""
    sequences = [
        sequence
        for seed, length in enumerate(settings.lengths)
        for sequence in chains(1, length + 1, settings.model.vocab, seed)
    ]
    cases: dict[str, tuple[str, LayerSpec]] = {
        "local_float32": ("float32", local_spec),
        "local_bfloat16": ("bfloat16", local_spec),
        "float32": ("float32", settings.spec),
        "bfloat16": ("bfloat16", settings.spec),
    }
    found = {}
    with tempfile.TemporaryDirectory() as name:
        # bf16 weights for all, so that fp32 differs in arithmetic alone.
        folder = settings.model.write(Path(name))
        for case, (dtype, spec) in cases.items():
            learner = LearnerConfig(dtype=dtype, tokens_per_micro_batch=1 << 20)
            found[case] = logprobs_and_gradients(folder, learner, sequences, spec)
            free_memory()
    pairs = {
        "float32": ("local_float32", "float32"),
        "bfloat16": ("local_bfloat16", "bfloat16"),
        "local_bfloat16": ("local_float32", "local_bfloat16"),
        "bfloat16_against_float32": ("local_float32", "bfloat16"),
    }
    return Parity(
        {pair: gap({"logprobs": found[a][0]}, {"logprobs": found[b][0]}) for pair, (a, b) in pairs.items()},
        {pair: gap(found[a][1], found[b][1]) for pair, (a, b) in pairs.items()},
    )
