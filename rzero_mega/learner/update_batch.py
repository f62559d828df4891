"""The batch of one optimizer update on its own: all that its loss is made of but the weights. Independent of layouts.

On disk it is `batch.safetensors`, a tensor [n] for each of the columns below, of all sequences laid end to end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rzero_mega.atomic import storage_errors
from rzero_mega.errors import UserError, first_line
from rzero_mega.learner.batch import TrainingSequence

FILE = "batch.safetensors"
# One number per sequence, per token (prompt and response), per response token.
SEQUENCE_COLUMNS = {
    "prompt_length": torch.int64,
    "response_length": torch.int64,
    "advantage": torch.float64,
    "train": torch.bool,
}
TOKEN_COLUMN = "token"
RESPONSE_COLUMNS = ("rollout_logprob", "old_logprob", "reference_logprob", "base_logprob")


@dataclass(frozen=True)
class UpdateBatch:
    """The sequences of an update, with log-probabilities per sequence and response token.

    `old_logprobs`, `reference_logprobs` and `base_logprobs` are None as `TokenInputs` says.
    """

    sequences: tuple[TrainingSequence, ...]
    old_logprobs: tuple[tuple[float, ...], ...] | None
    reference_logprobs: tuple[tuple[float, ...], ...] | None
    base_logprobs: tuple[tuple[float, ...], ...] | None = None

    def non_finite(self) -> str | None:
        """The first number that is not finite, in words; None if all are."""
        for index, sequence in enumerate(self.sequences):
            if not math.isfinite(sequence.advantage):
                return f"the advantage of sequence {index} is {sequence.advantage}"
        for name, values in self._columns():
            for index, row in enumerate(values):
                for position, value in enumerate(row):
                    if not math.isfinite(value):
                        return f"{name} {position} of sequence {index} is {value}"
        return None

    def _columns(self) -> Iterator[tuple[str, Sequence[Sequence[float]]]]:
        yield "rollout_logprob", [sequence.rollout_logprobs for sequence in self.sequences]
        if self.old_logprobs is not None:
            yield "old_logprob", self.old_logprobs
        if self.reference_logprobs is not None:
            yield "reference_logprob", self.reference_logprobs
        if self.base_logprobs is not None:
            yield "base_logprob", self.base_logprobs

    def write(self, folder: Path) -> None:
        """Write `batch.safetensors` into an existing folder; log-probabilities in float64, as Python has them."""
        found = self.sequences
        tensors = {
            "prompt_length": torch.tensor([len(s.prompt) for s in found]),
            "response_length": torch.tensor([len(s.response) for s in found]),
            "advantage": torch.tensor([s.advantage for s in found], dtype=torch.float64),
            "train": torch.tensor([s.train for s in found]),
            TOKEN_COLUMN: torch.tensor(list(chain.from_iterable((*s.prompt, *s.response) for s in found))),
        }
        for name, values in self._columns():
            tensors[name] = torch.tensor(list(chain.from_iterable(values)), dtype=torch.float64)
        with storage_errors(folder):
            save_file(tensors, folder / FILE)


def read_batch(folder: Path, vocabulary: int) -> UpdateBatch:
    """Read what `UpdateBatch.write` wrote; UserError names the file and what is wrong with it.

    Tokens must lie below `vocabulary`.
    """
    path = folder / FILE
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not readable: {first_line(error)}") from None
    wrong = _wrong(tensors, vocabulary)
    if wrong is not None:
        raise UserError(f"{path}: {wrong}; it is not the batch of an update")
    return _from_tensors(tensors)


def _wrong(tensors: dict[str, Tensor], vocabulary: int) -> str | None:
    needed = {**SEQUENCE_COLUMNS, TOKEN_COLUMN: torch.int64, "rollout_logprob": torch.float64}
    dtypes = {**dict.fromkeys(RESPONSE_COLUMNS, torch.float64), **needed}
    for name in (*needed, *(tensors.keys() - needed.keys())):
        if name not in tensors or name not in dtypes:
            return f"{name} is {'missing' if name in dtypes else 'unknown'}"
        if tensors[name].dtype != dtypes[name] or tensors[name].dim() != 1:
            return f"{name} has dtype {tensors[name].dtype} and {tensors[name].dim()} dimensions"
    prompts, responses, tokens = tensors["prompt_length"], tensors["response_length"], tensors[TOKEN_COLUMN]
    count = len(prompts)
    if not count or any(len(tensors[name]) != count for name in SEQUENCE_COLUMNS):
        return f"has {count} prompt lengths and not as many of {', '.join(SEQUENCE_COLUMNS)}"
    # Bounded by the number of tokens, the lengths cannot overflow their sum.
    if prompts.min() < 1 or responses.min() < 0 or max(int(prompts.max()), int(responses.max())) > len(tokens):
        return "has lengths of sequences that its tokens cannot have"
    if int((prompts + responses).sum()) != len(tokens):
        return f"has {len(tokens)} tokens for sequences of {int((prompts + responses).sum())}"
    for name in set(RESPONSE_COLUMNS) & tensors.keys():
        if len(tensors[name]) != int(responses.sum()):
            return f"has {len(tensors[name])} of {name} for {int(responses.sum())} response tokens"
    if int(tokens.min()) < 0 or int(tokens.max()) >= vocabulary:
        return f"has tokens outside of the model's {vocabulary}"
    return None


def _from_tensors(tensors: dict[str, Tensor]) -> UpdateBatch:
    prompts, responses = tensors["prompt_length"].tolist(), tensors["response_length"].tolist()
    tokens = tensors[TOKEN_COLUMN].split([n for pair in zip(prompts, responses, strict=True) for n in pair])
    columns = {
        name: tuple(tuple(values.tolist()) for values in tensors[name].split(responses))
        for name in RESPONSE_COLUMNS
        if name in tensors
    }
    sequences = tuple(
        TrainingSequence(tuple(prompt.tolist()), tuple(response.tolist()), logprobs, advantage, train)
        for prompt, response, logprobs, advantage, train in zip(
            tokens[::2],
            tokens[1::2],
            columns["rollout_logprob"],
            tensors["advantage"].tolist(),
            tensors["train"].tolist(),
            strict=True,
        )
    )
    compared = (columns.get(name) for name in RESPONSE_COLUMNS[1:])
    return UpdateBatch(sequences, *compared)
