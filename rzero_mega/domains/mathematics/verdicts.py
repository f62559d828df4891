"""A verdict on an answer, yes or no in a box; and how a right answer is made a wrong one."""

from __future__ import annotations

import re
from random import Random

from rzero_mega.domains.domain import Verdicts
from rzero_mega.grading import extract_answer

_VERDICTS = {"yes": True, "no": False}
_WORD = re.compile(r"\\(?:text|mathrm|textbf)\s*\{\s*(\w+)\s*\}|(\w+)")
_NUMERAL = re.compile(r"(?<![\d.])(?:0|[1-9]\d{0,17})(?![\d.]|,\d)")
_INTEGER = re.compile(r"-?(?:0|[1-9]\d{0,17})")


def read_verdict(text: str) -> bool | None:
    r"""What the last box says: \boxed{yes} or \boxed{no}, whatever the case; None for anything else."""
    found = _WORD.fullmatch(extract_answer(text) or "")
    return None if found is None else _VERDICTS.get((found[1] or found[2]).casefold())


def write_verdict(right: bool) -> str:
    """The shortest response that says so."""
    return r"\boxed{yes}" if right else r"\boxed{no}"


def alter(answer: str, rng: Random) -> str | None:
    """A wrong answer: another digit, another sign, or off by 1 or 10; of an answer in which numerals stand, one of them
    with another digit. None for an answer without a plain numeral."""
    if _INTEGER.fullmatch(answer):
        number = int(answer)
        ways = [_other_digit(answer, rng), str(number + rng.choice((-1, 1))), str(number + rng.choice((-10, 10)))]
        return rng.choice([*ways, *([str(-number)] if number else [])])
    numerals = list(_NUMERAL.finditer(answer))
    if not numerals:
        return None
    chosen = rng.choice(numerals)
    return answer[: chosen.start()] + _other_digit(chosen[0], rng) + answer[chosen.end() :]


def _other_digit(numeral: str, rng: Random) -> str:
    """The numeral with another digit at one place, and none more or less."""
    places = [place for place, character in enumerate(numeral) if character.isdigit()]
    place = rng.choice(places)
    first_of_several = place == places[0] and len(places) > 1
    digits = [digit for digit in "0123456789" if digit != numeral[place] and not (digit == "0" and first_of_several)]
    return numeral[:place] + rng.choice(digits) + numeral[place + 1 :]


VERDICTS = Verdicts(read_verdict, write_verdict, alter)
