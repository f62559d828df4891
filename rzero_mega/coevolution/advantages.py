"""Group-relative advantages of GRPO (DeepSeekMath, arXiv 2402.03300; R-Zero, arXiv 2508.05004, section 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rzero_mega.config.schema import AdvantageConfig


@dataclass(frozen=True)
class Advantages:
    """One advantage per rollout, and whether the rollout is trained on."""

    values: tuple[float, ...]
    keep: tuple[bool, ...]


def group_advantages(rewards: Sequence[float], group_size: int, config: AdvantageConfig) -> Advantages:
    """(r - mean) / (std + epsilon) within each group of `group_size` consecutive rewards, the rollouts of one prompt.

    With `config.scale` none it is r - mean (Dr. GRPO, arXiv 2503.20783). A group whose rewards are all the same gets
    exact zeros; with `drop_zero_variance` its rollouts are not kept. `config.ddof` 1 is the sample deviation. Raises
    ValueError if the groups do not come out even or are too small.
    """
    if group_size <= config.ddof or len(rewards) % group_size:
        raise ValueError(f"{len(rewards)} rewards cannot be grouped by {group_size} (ddof {config.ddof})")
    if not all(math.isfinite(reward) for reward in rewards):
        raise ValueError("a reward is not finite")
    values: list[float] = []
    keep: list[bool] = []
    for start in range(0, len(rewards), group_size):
        group = rewards[start : start + group_size]
        varies = has_signal(group)
        values += _normalised(group, config) if varies else [0.0] * group_size
        keep += [varies or not config.drop_zero_variance] * group_size
    return Advantages(tuple(values), tuple(keep))


def has_signal(group: Sequence[float]) -> bool:
    """Whether the rewards of one prompt's rollouts differ, so that their advantages are not all zero."""
    # Asked of the rewards, not of the deviation: rounding in the mean can make that of equal rewards nonzero.
    return min(group) < max(group)


def _normalised(group: Sequence[float], config: AdvantageConfig) -> list[float]:
    mean = math.fsum(group) / len(group)
    if config.scale == "none":
        return [reward - mean for reward in group]
    variance = math.fsum((reward - mean) ** 2 for reward in group) / (len(group) - config.ddof)
    return [(reward - mean) / (math.sqrt(variance) + config.epsilon) for reward in group]
