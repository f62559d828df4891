"""OctoThinker-3B-Hybrid-Base (Llama 3.2) on one node of eight GPUs of 80 GB, which learner and servers have in turns.

The GPUs hold a copy of the model each, which is the fastest layout by the planner's estimate.
"""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config

from ._paper import paper_on_a_node


def octothinker_3b(overrides: Sequence[str] = ()) -> Config:
    """The paper's small model of another family."""
    return paper_on_a_node("octothinker_3b", "OctoThinker/OctoThinker-3B-Hybrid-Base", tp=1, overrides=overrides)
