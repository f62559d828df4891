"""Qwen3-8B-Base on one node of eight GPUs of 80 GB, which learner and servers have in turns.

Two copies of the model over four GPUs each. Over two GPUs each a step would be a seventh faster by the planner's
estimate, and leave no memory but its margin.
"""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config

from ._paper import paper_on_a_node


def qwen3_8b(overrides: Sequence[str] = ()) -> Config:
    """The paper's main run."""
    return paper_on_a_node("qwen3_8b", "Qwen/Qwen3-8B-Base", tp=4, overrides=overrides)
