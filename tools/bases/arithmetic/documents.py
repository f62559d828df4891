"""Pre-training documents: written solutions and questions, made up as they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from rzero_mega.domains.arithmetic.clock import LEVELS as CLOCK_LEVELS
from rzero_mega.domains.arithmetic.clock import is_clock_held_out, parse_clock, random_clock_question
from rzero_mega.domains.arithmetic.expressions import LEVELS, is_held_out, random_expression
from tools.bases.arithmetic.settings import ArithmeticSettings
from tools.bases.arithmetic.written import CHALLENGER_PROMPT, boxed_integer, solution, solver_prompt, written_steps
from tools.bases.base import Document

MAX_NEW_TOKENS = 80
"""Every completion of the documents fits with its end-of-text token, so a sampling budget of 80 truncates little."""


def documents(settings: ArithmeticSettings, rng: Random) -> Iterator[Document]:
    """Yield pre-training documents without end; none contains a held-out expression as a question or a step."""
    while True:
        solves = rng.random() < settings.solve_share
        question = _draw_question(settings, rng, with_clocks=solves)
        written = solution(question, rng, settings.slip, settings.split, settings.folklore)
        if len(written) >= MAX_NEW_TOKENS or _shows_held_out(question, written):
            continue
        if solves:
            yield Document(solver_prompt(question), written)
        else:
            answer = boxed_integer(written)
            yield Document(CHALLENGER_PROMPT, f"<question>{question}</question>\\boxed{{{answer}}}")


def _draw_question(settings: ArithmeticSettings, rng: Random, *, with_clocks: bool) -> str:
    if with_clocks and rng.random() < settings.clock_share:
        return random_clock_question(rng.choice(CLOCK_LEVELS), rng)
    return random_expression(rng.choices(list(LEVELS), settings.level_weights)[0], rng)


def _shows_held_out(question: str, written: str) -> bool:
    """Whether a document holds anything held out: its question, the expression on its clock, or a written step."""
    clock = parse_clock(question)
    expressions = [clock.expression if clock else question, *written_steps(written)]
    return is_clock_held_out(question) or any(map(is_held_out, expressions))
