"""What a Challenger could exploit, one file per way: what it would learn, and why the check closes it.

A check looks at one question and its votes. Those that `checks` in the configuration switches on make a question
flawed: its reward is that of a malformed one, and curation drops it. All of them are counted, whatever is on.
"""

from __future__ import annotations

from rzero_mega.coevolution.checks.answer_in_question import answer_in_question
from rzero_mega.coevolution.checks.check import Check
from rzero_mega.coevolution.checks.mostly_unanswered import mostly_unanswered
from rzero_mega.coevolution.checks.no_answer import no_answer
from rzero_mega.coevolution.checks.no_majority import no_majority
from rzero_mega.coevolution.checks.no_question import no_question
from rzero_mega.coevolution.checks.random_choice import random_choice
from rzero_mega.coevolution.checks.several_questions import several_questions
from rzero_mega.coevolution.checks.too_long import too_long
from rzero_mega.coevolution.records import VotedQuestion
from rzero_mega.config.schema import ChecksConfig

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


def found(asked: VotedQuestion, config: ChecksConfig) -> tuple[str, ...]:
    """Names of all checks that find something, switched on or not."""
    return tuple(name for name, check in CHECKS.items() if check(asked, config))


def flaw(asked: VotedQuestion, config: ChecksConfig) -> str | None:
    """The name of the first check that is switched on and finds something; None for a question to be asked."""
    return next((name for name, check in CHECKS.items() if getattr(config, name) and check(asked, config)), None)
