"""Labelled fine-tuning of Qwen3-4B: GRPO on true answers with the Solver's settings, on the GPUs of `qwen3_4b`.

`labelled.data` is a file of yours, for instance MATH's 7,500 training problems as question and answer: fifteen steps of
512 go over them once. With `model.path=RUN/iterations/3/solver/model` it goes on from a Solver of R-Zero. The paper
reports the gain of the one over the other (2.35 points at 4B) without data or steps: these are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.config import Config, with_overrides
from rzero_mega.config.schema import LabelledConfig

from .qwen3_4b import qwen3_4b


def qwen3_4b_labelled(overrides: Sequence[str] = ()) -> Config:
    """The Solver's phase of `qwen3_4b`, on labelled data."""
    config = qwen3_4b()
    config.recipe, config.iterations = "qwen3_4b_labelled", 1
    config.labelled = LabelledConfig("grpo", "math_train.jsonl")
    return with_overrides(config, overrides)
