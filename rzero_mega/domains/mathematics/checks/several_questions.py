"""Several questions in one: some samples box the answer of one part, some of another.

What a Challenger would learn: two easy questions side by side have two right answers of which a sample can box one, so
that the vote splits although the Solver is sure of both. The check finds two question marks that end a sentence, parts
of which a later one ((b), ii., 2)) makes a demand, and a demand after "also". Conditions and choices under (i), (A) or
1. are left alone: what follows those is no demand.
"""

from __future__ import annotations

import re

from rzero_mega.coevolution.records import VotedQuestion
from rzero_mega.config.schema import ChecksConfig
from rzero_mega.domains.mathematics.checks.words import ASKS

# A blank to fill in ("3 + ? = 7") follows a sign or a space, and the question of a person in a story ends in a quote.
_QUESTION_MARK = re.compile(r"[^\s=+\-*/(?？]([?？][?？!]*)(?=\s|$|\()")
# After a full stop or at the start of a line only: "a triangle with legs a and b. Find ..." has no part b.
_LATER_PART = re.compile(
    r"(?:^|[.?!;:]\s|\n)\s?(?:part\s|question\s)?(?:\((?:[b-h]|ii|iii|iv|[2-9])\)|(?:[b-h]|ii|iii|iv|[2-9])[).:])"
    r"\s?(?:then\s|hence\s)?" + ASKS
)
_LIST = re.compile(r"\b(?:find|compute|determine|calculate|evaluate)\s?:?\s\((?:a|i)\)\s")
_ALSO = re.compile(
    r"(?:^|[.;:,?]\s?|\band\s)(?:also|additionally|furthermore|moreover|in addition),?\s(?:please\s)?" + ASKS
)


def several_questions(asked: VotedQuestion, config: ChecksConfig) -> bool:
    """Whether more than one thing is asked for."""
    text = asked.text
    lines = "\n".join(" ".join(line.split()) for line in asked.question.text.casefold().splitlines())
    return len(_QUESTION_MARK.findall(text)) > 1 or any(
        found is not None for found in (_LATER_PART.search(lines), _LIST.search(text), _ALSO.search(text))
    )
