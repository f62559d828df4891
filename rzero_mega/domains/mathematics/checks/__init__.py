"""The checks of mathematics, one file per way to earn: what a Challenger would learn, and why the check closes it."""

from __future__ import annotations

from rzero_mega.coevolution.checks import Check, mostly_unanswered, no_majority, too_long
from rzero_mega.domains.mathematics.checks.answer_in_question import answer_in_question
from rzero_mega.domains.mathematics.checks.no_answer import no_answer
from rzero_mega.domains.mathematics.checks.no_question import no_question
from rzero_mega.domains.mathematics.checks.random_choice import random_choice
from rzero_mega.domains.mathematics.checks.several_questions import several_questions

CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        several_questions,
        no_question,
        answer_in_question,
        random_choice,
        too_long,
        mostly_unanswered,
        no_answer,
        no_majority,
    )
}
"""Each by its own name, which is that of its switch in `ChecksConfig`, in the order of the switches."""
