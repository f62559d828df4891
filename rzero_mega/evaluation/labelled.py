"""Labelled data: questions with known answers or written completions, which the Solver is trained on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rzero_mega.config.schema import Config
from rzero_mega.config.schema.labelled import GRPO, SFT, VOTES
from rzero_mega.domains.registry import domain_named, domain_names
from rzero_mega.errors import UserError
from rzero_mega.evaluation.benchmarks import Benchmark
from rzero_mega.text_file import is_missing, read_rows

SHARED_WORDS = 13
"""So many words in a row that an example shares with a benchmark's question count as having been copied from it, as in
GPT-3's training data (arXiv 2005.14165, appendix C)."""

_INPUTS, _OUTPUTS = ("question", "prompt"), ("answer", "completion")


@dataclass(frozen=True)
class LabelledExample:
    """A line of the data. The text that a model is given is one of `question` and `prompt`.

    A question is put into the Solver's prompt, a prompt is whole as it stands. `line` counts from 1.
    """

    line: int
    question: str | None = None
    prompt: str | None = None
    answer: str | None = None
    completion: str | None = None

    @property
    def given(self) -> str:
        """What is asked."""
        return (self.question if self.question is not None else self.prompt) or ""

    def target(self) -> str:
        r"""What fine-tuning has the model say: the completion, or else the answer alone in \boxed{}."""
        return self.completion if self.completion is not None else f"\\boxed{{{self.answer}}}"


@dataclass(frozen=True)
class CleanedData:
    """The examples that are trained on, in order, and how many were dropped why."""

    kept: tuple[LabelledExample, ...]
    dropped: dict[str, int]


def load_labelled(config: Config) -> list[LabelledExample]:
    """What `labelled.data` names, for the method; UserError names the first line that is wrong, and how."""
    name, method = str(config.labelled.data), config.labelled.method
    kind, _, size = name.partition(":")
    worked = domain_named(kind).worked_examples if kind in domain_names() else None
    if worked is not None:
        if not (size.isdecimal() and 1 <= int(size) <= worked.most):
            raise UserError(f"labelled.data: {name!r}: {kind}:N takes an N from 1 to {worked.most}")
        drawn = enumerate(worked.draw(int(size), config.seed), 1)
        return [LabelledExample(line, row.question, None, row.answer, row.completion) for line, row in drawn]
    path = Path(name)
    if path.suffix != ".jsonl" or is_missing(path):
        raise UserError(
            f"labelled.data: {name!r} is neither arithmetic:N nor a .jsonl file; give a file whose lines are objects "
            "with question and answer, or with prompt and completion"
        )
    examples = [_example(path, line, row, method) for line, row in read_rows(path)]
    if not examples:
        raise UserError(f"{path}: holds no examples")
    return examples


def labelled_text(config: Config) -> str | None:
    """The data as the run keeps it, a line of JSON per example; None where the labels are the Solver's votes."""
    if config.labelled.method == VOTES:
        return None
    rows = ({k: v for k, v in asdict(example).items() if v is not None} for example in load_labelled(config))
    return "".join(json.dumps(row) + "\n" for row in rows)


def parse_labelled(text: str) -> list[LabelledExample]:
    """The examples that `labelled_text` wrote down."""
    return [LabelledExample(**json.loads(line)) for line in text.split("\n") if line]


def cleaned(examples: Sequence[LabelledExample], method: str, benchmarks: Iterable[Benchmark]) -> CleanedData:
    """Without repetitions and without what benchmarks ask.

    For GRPO an example repeats an earlier one that asks the same, for fine-tuning one that has the same target too. An
    example is held out if its question is a benchmark's, whatever the case and the whitespace, or if anything of it
    shares `SHARED_WORDS` words in a row with one.
    """
    asked = [_words(problem.question) for benchmark in benchmarks for problem in benchmark.problems]
    whole, runs = set(asked), {run for words in asked for run in _runs(words)}
    seen: set[tuple[tuple[str, ...], str | None]] = set()
    kept, dropped = [], {"duplicate": 0, "held_out": 0}
    for example in examples:
        given, said = _words(example.given), _words(example.completion or "")
        key = tuple(example.given.split()), example.target() if method == SFT else None
        if key in seen:
            dropped["duplicate"] += 1
        elif given in whole or any(run in runs for words in (given, said) for run in _runs(words)):
            dropped["held_out"] += 1
        else:
            kept.append(example)
        seen.add(key)
    return CleanedData(tuple(kept), dropped)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.casefold().split())


def _runs(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (words[start : start + SHARED_WORDS] for start in range(len(words) - SHARED_WORDS + 1))


def _example(path: Path, line: int, row: Mapping[str, Any], method: str) -> LabelledExample:
    """The example of a line; keys that are none of ours are passed over. Numbers come as they stand there."""
    place, found = f"{path}:{line}", dict[str, str]()
    for key in (*_INPUTS, *_OUTPUTS):
        value = row.get(key)
        if value is None:
            continue
        if not isinstance(value, str):
            raise UserError(f"{place}: {key} has to be a text or a number")
        if not value.strip():
            raise UserError(f"{place}: {key} is empty; fill it in, or remove the line")
        found[key] = value
    given = [key for key in _INPUTS if key in found]
    if len(given) != 1:
        what = "both question and prompt" if given else "neither question nor prompt"
        raise UserError(f"{place}: has {what}; give one of them")
    if not any(key in found for key in _OUTPUTS):
        raise UserError(f"{place}: has neither answer nor completion; give one of them")
    if method == GRPO and "answer" not in found:
        raise UserError(f"{place}: has no answer, which labelled.method grpo rewards; give one, or set it to sft")
    return LabelledExample(line, **found)
