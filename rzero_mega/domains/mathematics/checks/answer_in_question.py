r"""The answer stands in the question: who reads it copies it, who reasons may come to something else.

What a Challenger would learn: to a problem beyond the Solver it adds "Hint: the answer is 7". Some samples copy 7, the
rest get lost, the vote comes out as even as one could wish, and the label is the Challenger's own word, right or wrong.
A number that also occurs among the givens is no such thing, so the check looks for the Challenger's answer and for the
majority's only where a text says that this is the answer: after "the answer is", "hint:", in a ``\boxed{}``, as what is
to be shown, or behind the equals sign of a bare expression.
"""

from __future__ import annotations

import re

from rzero_mega.coevolution.records import VotedQuestion
from rzero_mega.config.schema import ChecksConfig
from rzero_mega.grading import extract_answer, normalise

_LONGEST = 200
_SAID = re.compile(
    r"\b(?:answers?|solutions?|results?|ans)\b\.?(?:\s(?:to|of|for)\s(?:this|the|that)\s[a-z]{1,20})?\s?"
    r"(?:is|are|was|equals|must be|should be|will be|would be|turns out to be|being|:|=)\s?"
    r"(?:(?:just|simply|clearly|exactly|precisely|known to be|equal to|always)\s)?"
    r"|\bhint\s?:\s?(?:it is\s|it's\s|think of\s|try\s)?"
)
_TO_SHOW = re.compile(r"\b(?:show|prove|verify|confirm|check)\sthat\b")
# Not the given in "for n = 12".
_IS = re.compile(
    r"\bis\s(?:equal\sto\s)?|\bequals\s|(?<!\b(?:if|at)\s[a-z]\s)(?<!\bfor\s[a-z]\s)(?<!\b(?:when|with)\s[a-z]\s)=\s?"
)
_DRESS = re.compile(r"[\s$\\([{]{0,6}")
_BARE = re.compile(r"[\d\s+\-*/×÷^().]*=")
_GOES_ON = re.compile(r"[a-z0-9]|[.,/^*+\-]\d")


def answer_in_question(asked: VotedQuestion, config: ChecksConfig) -> bool:
    """Whether the text says the Challenger's own or the majority's answer, as an answer."""
    answers = {answer for answer in (asked.question.own_answer, asked.vote.answer) if answer is not None}
    forms = {form for answer in answers for form in _forms(answer)}
    if not forms:
        return False
    boxed = extract_answer(asked.question.text)
    if boxed is not None and forms & set(_forms(boxed)):
        return True
    text = asked.text
    ends = [found.end() for found in _SAID.finditer(text)] + _shown(text)
    bare = _BARE.match(text)
    if bare is not None:
        ends.append(bare.end())
    return any(_stands_at(text, end, form) for end in ends for form in forms)


def _forms(answer: str) -> list[str]:
    """How an answer may stand in a text: as it is, and without its LaTeX dress."""
    if len(answer) > _LONGEST:
        return []
    found = (" ".join(form.casefold().split()) for form in (answer, normalise(answer)))
    return [form for form in found if form]


def _shown(text: str) -> list[int]:
    """Where a claim ends in its result: behind each "is" and "=" from the first "show that" on."""
    claim = _TO_SHOW.search(text)
    return [found.end() for found in _IS.finditer(text, claim.end())] if claim is not None else []


def _stands_at(text: str, at: int, form: str) -> bool:
    dress = _DRESS.match(text, at)
    for start in {at, dress.end() if dress is not None else at}:
        if text.startswith(form, start) and _GOES_ON.match(text, start + len(form)) is None:
            return True
    return False
