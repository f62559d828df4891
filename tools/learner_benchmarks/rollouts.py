"""Rollouts with the lengths that R-Zero trains on, scaled down to a small model on a CPU.

Neither the paper (arXiv 2508.05004v4) nor the official code publish the distribution; known are the limits, 2,048
tokens of prompt and 4,096 of response. Lengths of sampled responses have a long right tail, so they are ASSUMED
log-normal and cut off at the limit. A Challenger's prompt is always the same text.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rzero_mega.assets import nano_base_path
from rzero_mega.coevolution.advantages import group_advantages
from rzero_mega.config.schema import AdvantageConfig
from rzero_mega.learner.batch import TrainingSequence
from tools.random_model import write_random_model

LONGEST_PROMPT, LONGEST_RESPONSE = 2048, 4096
SCALE = 8
SEQUENCES, GROUP = 64, 4
MICRO_BATCH = 4  # sequences of a micro-batch in the official code
# What a padded trainer has to have room for is the token budget of packed micro-batches.
TOKEN_BUDGET = MICRO_BATCH * (LONGEST_PROMPT + LONGEST_RESPONSE) // SCALE
VOCABULARY = 2048
SPOKEN = 100  # tokens that rollouts consist of; the tokenizer of the nano base knows them
MODEL: dict[str, Any] = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "num_hidden_layers": 4,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class LengthDistribution:
    """Tokens before scaling: medians, and the standard deviations of the logarithm."""

    prompt_median: int
    prompt_sigma: float
    response_median: int
    response_sigma: float

    def __str__(self) -> str:
        return (
            f"prompts of median {self.prompt_median} (sigma {self.prompt_sigma}), "
            f"responses of median {self.response_median} (sigma {self.response_sigma})"
        )


ROLES = {
    "solver": LengthDistribution(150, 0.3, 600, 0.8),
    "challenger": LengthDistribution(200, 0.0, 300, 0.6),
}


@dataclass(frozen=True)
class Rollouts:
    """Sequences, those of one prompt next to each other, and their rewards."""

    sequences: Sequence[TrainingSequence]
    rewards: Sequence[float]

    @property
    def tokens(self) -> int:
        """Tokens of prompts and responses."""
        return sum(sequence.length for sequence in self.sequences)


def rollouts(role: str, count: int = SEQUENCES, seed: int = 0) -> Rollouts:
    """`count` rollouts in groups of GROUP: random tokens, rewards 0 or 1, lengths divided by SCALE."""
    draw, lengths = random.Random(seed), ROLES[role]
    rewards = [float(draw.random() < 0.5) for _ in range(count)]
    advantages = group_advantages(rewards, GROUP, AdvantageConfig()).values
    found = []
    for index in range(count):
        if index % GROUP == 0:
            prompt = _tokens(draw, lengths.prompt_median, lengths.prompt_sigma, LONGEST_PROMPT)
        response = _tokens(draw, lengths.response_median, lengths.response_sigma, LONGEST_RESPONSE)
        found.append(TrainingSequence(prompt, response, (-4.0,) * len(response), advantages[index]))
    return Rollouts(found, rewards)


def _tokens(draw: random.Random, median: int, sigma: float, longest: int) -> tuple[int, ...]:
    length = min(longest, round(draw.lognormvariate(0.0, sigma) * median)) // SCALE
    return tuple(draw.randrange(4, SPOKEN) for _ in range(max(1, length)))


def write_model(folder: Path) -> Path:
    """A random model of about four million parameters in fp32, with the nano base's tokenizer."""
    write_random_model(folder, MODEL, torch.float32, tokenizer=nano_base_path())
    return folder
