"""OctoThinker-8B-Hybrid-Base (Llama 3.1) on one node of eight GPUs of 80 GB, which learner and servers have in turns.

Two copies of the model over four GPUs each, for the reasons of `qwen3_8b`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config

from ._paper import paper_on_a_node


def octothinker_8b(overrides: Sequence[str] = ()) -> Config:
    """The paper's larger model of another family."""
    return paper_on_a_node("octothinker_8b", "OctoThinker/OctoThinker-8B-Hybrid-Base", tp=4, overrides=overrides)
