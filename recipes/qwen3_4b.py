"""Qwen3-4B-Base on one node of eight GPUs of 80 GB, which learner and servers have in turns.

Four copies of the model over two GPUs each. The planner finds context parallelism a little faster; it is for sequences
longer than these.
"""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config

from ._paper import paper_on_a_node


def qwen3_4b(overrides: Sequence[str] = ()) -> Config:
    """The paper's smaller run."""
    return paper_on_a_node("qwen3_4b", "Qwen/Qwen3-4B-Base", tp=2, overrides=overrides)
