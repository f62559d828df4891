"""A question without an answer: "cannot be determined" competes with guesses.

What a Challenger would learn: to leave a given out. Some samples say that it can't be determined, others assume
something, and the vote splits as if the question were hard. The check finds that such words win the vote, have a third
of all samples, or are the Challenger's own answer. "No solution" is among them: an equation without solutions is a fair
question, but what tells it from a broken one is a proof that the vote does not have. Answers of mathematics that only
sound alike ("does not exist", "undefined", "no real solutions", "0") are left alone.
"""

from __future__ import annotations

import re

from rzero_mega.coevolution.records import VotedQuestion
from rzero_mega.config.schema import ChecksConfig

_SHARE = 3
_LONGEST = 300
_NOT_LETTERS = re.compile(r"\\(?:text[a-z]{0,2}|mathrm|mbox)\b|[^a-z]+")
_REFUSAL = re.compile(
    r"\b(?:can ?not|can t|could not|impossible to|not possible to|unable to) (?:be )?(?:uniquely )?"
    r"(?:determined?|found|find|answered?|solved?|computed?|calculated?|known?)\b"
    r"|\b(?:not enough|insufficient|incomplete|missing|lack of|more) (?:information|data|info|given)"
    r"|\bno (?:answer|unique answer|unique solution|question|valid answer)\b|^no solutions?$|^no solution exists$"
    r"|\bunanswerable\b|\bundetermined\b|\bindeterminable\b|\bambiguous\b|\bill (?:defined|posed)\b|^unknown$"
    r"|^impossible$|^n a$|^unclear$|^not (?:determinable|given|specified|possible)$|^unsolvable$"
)


def no_answer(asked: VotedQuestion, config: ChecksConfig) -> bool:
    """Whether the samples, or the Challenger, say that there is no answer."""
    vote, own = asked.vote, asked.question.own_answer
    if any(answer is not None and _refuses(answer) for answer in (own, vote.answer)):
        return True
    refusals = sum(count for answer, count in vote.tally if _refuses(answer))
    return refusals > 0 and _SHARE * refusals >= vote.samples


def _refuses(answer: str) -> bool:
    if len(answer) > _LONGEST:
        return False
    words = _NOT_LETTERS.sub(" ", answer.casefold()).strip()
    return _REFUSAL.search(words) is not None
