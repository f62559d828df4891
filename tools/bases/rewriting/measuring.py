"""What rows are worth that a model writes, and how its Challenger's tasks look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from rzero_mega.coevolution.scores import spread
from rzero_mega.domains.rewriting.domain import read_question
from rzero_mega.domains.rewriting.rows import brevity, measured_tasks, quality, read_row
from tools.bases.rewriting.documents import CHALLENGER_PROMPT, MAX_NEW_TOKENS, PER_LEVEL, solver_prompt
from tools.bases.sampling import complete


@dataclass(frozen=True, slots=True)
class Worth:
    """Of answers to tasks, all from 0 to 1, means over the tasks; no row is worth nothing."""

    tasks: int
    quality: float
    """Hidden quality of a sample, on average."""
    greedy: float
    """Of the greedy answer."""
    best: float
    """Of the sample with the most of it."""
    shortest: float
    """Of the sample with the best score, the first one of several."""
    score: float
    """Of a sample, on average."""
    spread: float
    """Of the samples' scores."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What answers to the benchmark's tasks are worth, over all and per level."""

    samples: int
    overall: Worth
    levels: dict[int, Worth]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the finished model does on the benchmark's tasks, and how the Challenger's look."""

    answers: Answers
    questions_sampled: int
    questions_well_formed: float
    questions_distinct: float


def judged(tasks: Sequence[tuple[int, str]], greedy: Sequence[str], sampled: Sequence[Sequence[str]]) -> Answers:
    """Of (level, task) the greedy answer and some samples each, as many for each task."""
    figures: dict[int, list[tuple[float, ...]]] = {}
    for (level, task), likeliest, answers in zip(tasks, greedy, sampled, strict=True):
        qualities, scores = zip(*(_judged(task, answer) for answer in answers), strict=True)
        shortest = qualities[scores.index(max(scores))]
        of_task = (fmean(qualities), _judged(task, likeliest)[0], max(qualities), shortest)
        figures.setdefault(level, []).append((*of_task, fmean(scores), spread(scores)))
    levels = {level: _worth(rows) for level, rows in figures.items()}
    return Answers(len(sampled[0]), _worth([row for rows in figures.values() for row in rows]), levels)


def _worth(rows: Sequence[tuple[float, ...]]) -> Worth:
    return Worth(len(rows), *(round(fmean(column), 4) for column in zip(*rows, strict=True)))


def _judged(task: str, text: str) -> tuple[float, float]:
    """Hidden quality and score, 0 where the text is no row."""
    row = read_row(text)
    return (quality(task, row) or 0.0, brevity(task, row)) if row is not None else (0.0, 0.0)


def measure(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    *,
    per_level: int = PER_LEVEL,
    samples: int = 8,
    questions: int = 1000,
) -> Measurement:
    """Measure the model on the benchmark's tasks and look at those that it writes as the Challenger."""
    torch.manual_seed(seed)
    tasks = list(measured_tasks(per_level))
    prompts = [solver_prompt(task) for _, task in tasks]
    greedy = complete(model, tokenizer, prompts, greedy=True, max_new_tokens=MAX_NEW_TOKENS)
    repeated = [prompt for prompt in prompts for _ in range(samples)]
    drawn = complete(model, tokenizer, repeated, greedy=False, max_new_tokens=MAX_NEW_TOKENS)
    sampled = [drawn[start : start + samples] for start in range(0, len(drawn), samples)]
    asked = complete(model, tokenizer, [CHALLENGER_PROMPT] * questions, greedy=False, max_new_tokens=MAX_NEW_TOKENS)
    read = [question.text for text in asked if (question := read_question(text, True, False)) is not None]
    return Measurement(
        answers=judged(tasks, greedy, sampled),
        questions_sampled=questions,
        questions_well_formed=round(len(read) / questions, 4),
        questions_distinct=round(len(set(read)) / max(1, len(read)), 4),
    )


def table(rows: Mapping[str, Mapping[str, Any]], heading: str) -> str:
    """In Markdown, in percent: a row per name, of a `Worth` as it stands in cards."""
    columns = ("quality", "greedy", "best", "shortest", "score", "spread")
    lines = [" | ".join([name, *(f"{100 * row[column]:.1f}" for column in columns)]) for name, row in rows.items()]
    return "\n".join(f"| {line} |" for line in [f"{heading} | {' | '.join(columns)}", " | ".join(["---"] * 7), *lines])


def print_answers(answers: Answers, console: Console) -> None:
    """Print what answers are worth as a table."""
    some = answers.samples
    table = Table("level", "quality", "greedy", f"best of {some}", f"shortest of {some}", "score", "spread")
    for name, row in [*answers.levels.items(), ("all", answers.overall)]:
        figures = (row.quality, row.greedy, row.best, row.shortest, row.score, row.spread)
        table.add_row(str(name), *(f"{value:.3f}" for value in figures))
    console.print(table)


def print_measurement(measured: Measurement, console: Console) -> None:
    """Print the measured figures."""
    print_answers(measured.answers, console)
    console.print(
        f"of {measured.questions_sampled} tasks written {measured.questions_well_formed:.1%} are well-formed, "
        f"{measured.questions_distinct:.1%} of these distinct"
    )
