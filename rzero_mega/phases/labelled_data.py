"""Labelled data as the Solver is trained on it: cleaned, in tokens, without what is too long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rzero_mega.config.schema import Config
from rzero_mega.config.schema.labelled import SFT
from rzero_mega.errors import UserError
from rzero_mega.evaluation.benchmarks import Benchmark
from rzero_mega.evaluation.labelled import LabelledExample, cleaned
from rzero_mega.phases.budgets import engine_context, longest_trainable, longest_trained
from rzero_mega.rollout.limits import end_token
from rzero_mega.rollout.tokenization import PromptEncoder
from rzero_mega.weights.shape import read_shape

Asked = Callable[[str], tuple[int, ...]]
"""The tokens of a question in the Solver's prompt."""


@dataclass(frozen=True)
class EncodedExample:
    """What the Solver is given, in tokens, and what it is to say: by GRPO the answer, else the target's tokens."""

    prompt: tuple[int, ...]
    answer: str
    target: tuple[int, ...]


@dataclass(frozen=True)
class TrainingData:
    """The examples in the data's order; how many were dropped why, and the line of the first that is too long."""

    examples: tuple[EncodedExample, ...]
    dropped: dict[str, int]
    first_overlong: int | None

    def epochs(self, steps: int, per_step: int) -> float:
        """How often so many steps go over the data."""
        return steps * per_step / len(self.examples)

    def in_words(self) -> str:
        """For instance "1980 examples (dropped: duplicate 12, overlong 8, the first on line 3)"."""
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.dropped.items() if count)
        first = f", the first on line {self.first_overlong}" if self.first_overlong else ""
        return f"{len(self.examples)} examples" + (f" (dropped: {reasons}{first})" if reasons else "")


def training_data(
    config: Config,
    examples: Sequence[LabelledExample],
    benchmarks: Sequence[Benchmark],
    encoder: PromptEncoder,
    asked: Asked,
    model: Path,
) -> TrainingData:
    """What of the examples is trained on; `model` is a folder. UserError if nothing is left."""
    method = config.labelled.method
    clean = cleaned(examples, method, benchmarks)
    positions, end = read_shape(model).max_positions, end_token(model)
    longest_prompt = min(engine_context(config, positions) - 1, longest_trainable(config, "solver"))
    longest = min(positions, longest_trained(config))
    found, overlong = [], []
    for example in clean.kept:
        prompt = encoder.encode_text(example.given) if example.question is None else asked(example.question)
        target = (*encoder.encode_said(example.target()), end) if method == SFT else ()
        fits = len(prompt) + len(target) <= longest if method == SFT else len(prompt) <= longest_prompt
        if fits:
            found.append(EncodedExample(prompt, example.answer or "", target))
        else:
            overlong.append(example.line)
    data = TrainingData(tuple(found), {**clean.dropped, "overlong": len(overlong)}, overlong[0] if overlong else None)
    if not found:
        raise UserError(f"labelled.data: {config.labelled.data} has {data.in_words()}; there is nothing to train on")
    return data


def examples_per_step(config: Config) -> int:
    """How many examples a step takes."""
    if config.labelled.method == SFT:
        return config.labelled.sft.sequences_per_update
    return config.solver.training.prompts_per_step
