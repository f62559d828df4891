"""What a finished base does on held-out problems, and how its Challenger's questions look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from rzero_mega.domains.arithmetic.clock import held_out_clock_set
from rzero_mega.domains.arithmetic.expressions import ArithmeticProblem, further_held_out_set, held_out_set, truth
from tools.bases.arithmetic.documents import MAX_NEW_TOKENS
from tools.bases.arithmetic.written import CHALLENGER_PROMPT, boxed_integer, solver_prompt
from tools.bases.sampling import complete


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The problems of both families that a base is measured on, and `more` expressions for greedy decoding alone."""

    arithmetic: Sequence[ArithmeticProblem]
    clock: Sequence[ArithmeticProblem]
    more: Sequence[ArithmeticProblem]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Accuracy on held-out problems: of one sample on average, of greedy decoding, and of the plurality vote."""

    problems: int
    mean_sampled: float
    greedy: float
    vote: float


@dataclass(frozen=True, slots=True)
class FamilyAccuracy:
    """Accuracy on a family of problems, over all and per level."""

    overall: Accuracy
    levels: dict[int, Accuracy]


@dataclass(frozen=True, slots=True)
class GreedyAccuracy:
    """Accuracy of greedy decoding alone."""

    problems: int
    greedy: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the finished model does on both families, and how the Challenger's questions look."""

    votes: int
    arithmetic: FamilyAccuracy
    clock: FamilyAccuracy
    more: GreedyAccuracy
    questions_sampled: int
    questions_well_formed: float
    questions_distinct: float


def measure_accuracy(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, problems: Sequence[ArithmeticProblem], votes: int
) -> dict[int, list[tuple[float, float, float]]]:
    """Return for each level one ``(mean sampled, greedy, vote)`` triple in [0, 1] per problem.

    A vote without any boxed integer is wrong; of several answers with the most votes the first drawn counts.
    """
    prompts = [solver_prompt(problem.expression) for problem in problems]
    greedy = [
        boxed_integer(text) for text in complete(model, tokenizer, prompts, greedy=True, max_new_tokens=MAX_NEW_TOKENS)
    ]
    repeated = [prompt for prompt in prompts for _ in range(votes)]
    sampled = [
        boxed_integer(text)
        for text in complete(model, tokenizer, repeated, greedy=False, max_new_tokens=MAX_NEW_TOKENS)
    ]
    figures: dict[int, list[tuple[float, float, float]]] = {}
    for index, problem in enumerate(problems):
        answers = sampled[index * votes : (index + 1) * votes]
        counted = Counter(answer for answer in answers if answer is not None).most_common(1)
        vote = counted[0][0] if counted else None
        right = fmean(answer == problem.answer for answer in answers)
        triple = (right, float(greedy[index] == problem.answer), float(vote == problem.answer))
        figures.setdefault(problem.level, []).append(triple)
    return figures


def measure(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    *,
    problems: HeldOut | None = None,
    votes: int = 10,
    questions: int = 1000,
) -> Measurement:
    """Measure the model on held-out problems, all of them by default, and look at the questions that it asks."""
    torch.manual_seed(seed)
    problems = problems or HeldOut(held_out_set(), held_out_clock_set(), further_held_out_set())
    arithmetic = measure_accuracy(model, tokenizer, problems.arithmetic, votes)
    clock = measure_accuracy(model, tokenizer, problems.clock, votes)
    asked = complete(model, tokenizer, [CHALLENGER_PROMPT] * questions, greedy=False, max_new_tokens=MAX_NEW_TOKENS)
    expressions = [expression for text in asked if (expression := well_formed_question(text)) is not None]
    more = complete(
        model,
        tokenizer,
        [solver_prompt(problem.expression) for problem in problems.more],
        greedy=True,
        max_new_tokens=MAX_NEW_TOKENS,
    )
    right = [boxed_integer(text) == problem.answer for text, problem in zip(more, problems.more, strict=True)]
    return Measurement(
        votes=votes,
        arithmetic=_family(arithmetic),
        clock=_family(clock),
        more=GreedyAccuracy(len(right), round(fmean(right), 4)),
        questions_sampled=questions,
        questions_well_formed=round(len(expressions) / questions, 4),
        questions_distinct=round(len(set(expressions)) / max(1, len(expressions)), 4),
    )


def well_formed_question(text: str) -> str | None:
    """Return the expression of a Challenger completion that is exactly in the document's form, else None."""
    body = text.removeprefix("<question>")
    expression, closing, rest = body.partition("</question>")
    if body == text or not closing or truth(expression) is None or boxed_integer(rest) is None:
        return None
    return expression


def _family(levels: dict[int, list[tuple[float, float, float]]]) -> FamilyAccuracy:
    return FamilyAccuracy(
        overall=_average([triple for triples in levels.values() for triple in triples]),
        levels={level: _average(triples) for level, triples in levels.items()},
    )


def _average(triples: Sequence[tuple[float, float, float]]) -> Accuracy:
    means = [round(fmean(column), 4) for column in zip(*triples, strict=True)]
    return Accuracy(len(triples), *means)


def print_measurement(measured: Measurement, console: Console) -> None:
    """Print the measured figures as a table."""
    table = Table("family", "level", "problems", "mean sampled", "greedy", f"vote of {measured.votes}")
    for family, accuracy in (("arithmetic", measured.arithmetic), ("clock", measured.clock)):
        for level, row in [*accuracy.levels.items(), ("all", accuracy.overall)]:
            figures = (f"{value:.3f}" for value in (row.mean_sampled, row.greedy, row.vote))
            table.add_row(family, str(level), str(row.problems), *figures)
    console.print(table)
    console.print(f"greedy on {measured.more.problems} other expressions: {measured.more.greedy:.3f}")
    console.print(
        f"of {measured.questions_sampled} questions asked {measured.questions_well_formed:.1%} are well-formed, "
        f"{measured.questions_distinct:.1%} of these distinct"
    )
