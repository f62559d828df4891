"""Gold answers with one token changed: each must be another answer than its gold, whatever else a grader forgives.

A number, a letter, a sign, a command or a word is replaced by another of its kind, or one is added.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tools.reward_benchmarks.shared_data import Gold

_TOKEN = re.compile(r"\\[a-zA-Z]+|\d+(?:\.\d+)?|[a-zA-Z]+|[-+*/^<>=!]|\S")
_DRESS = re.compile(
    r"\\(?:left|right|quad|qquad|text|mathrm|mathbf|textbf|operatorname|displaystyle|begin|end|boxed|hline|big|Big|bigg"
    r"|bigl|bigr|dfrac|tfrac|limits|rm|bf|cdot|times|mathbb|math[a-z]+|textrm|mbox)$"
)
_SIGNS = {"+": "-", "-": "+", "*": "+", "/": "+", "^": "_", "<": ">", ">": "<", "=": "<", "!": "^2"}
_COMMANDS = {
    r"\sin": r"\cos", r"\cos": r"\tan", r"\tan": r"\sin", r"\ln": r"\sin", r"\log": r"\sin", r"\pi": r"\theta",
    r"\sqrt": r"\sin", r"\le": r"\ge", r"\leq": r"\geq", r"\ge": r"\le", r"\geq": r"\leq", r"\pm": "+",
    r"\cup": r"\cap", r"\cap": r"\cup", r"\in": r"\notin", r"\infty": "7", r"\frac": r"\binom",
    r"\neq": "=", r"\ne": "=", r"\circ": "2",
    r"\%": r"\$", r"\to": "+",
}  # fmt: skip
_LETTERS = "abcdhkmnpqrtuvwxyz"
_WORDS = ("green", "seven", "left", "twice", "not", "oranges", "hours", "below", "third", "only")
_ADDED = (
    "7",
    "x",
    "-1",
    "+2",
    "^2",
    "!",
    r"\pi",
    r"\text{ or } 7",
    r"\text{ squared}",
    r"\text{ thirds}",
    "'",
    ",9",
    "_1",
)
_OF_ONE = ("^2", "!", r"\text{ squared}")


@dataclass(frozen=True, slots=True)
class Mutation:
    """A gold answer and the same with one token changed."""

    gold: Gold
    text: str


def mutations(golds: Sequence[Gold], count: int, seed: int = 0) -> list[Mutation]:
    """Return so many mutations, half of them of golds that are more than a number or a letter."""
    draw = random.Random(f"mutations/{seed}")
    rich = [gold for gold in golds if len(_TOKEN.findall(gold.text)) > 1]
    plain = [gold for gold in golds if len(_TOKEN.findall(gold.text)) == 1]
    found: dict[tuple[str, str], Mutation] = {}
    while len(found) < count:
        gold = draw.choice(rich if draw.random() < 0.75 else plain)
        mutated = _added(draw, gold.text) if draw.random() < 0.2 else _changed(draw, gold.text)
        if mutated is not None and mutated != gold.text:
            found.setdefault((gold.text, mutated), Mutation(gold, mutated))
    return list(found.values())


def _added(draw: random.Random, text: str) -> str | None:
    ends = [match.end() for match in _TOKEN.finditer(text) if not match.group().startswith("\\")]
    end = draw.choice(ends) if ends and draw.random() < 0.5 else len(text.rstrip("$ ."))
    added = draw.choice(_ADDED)
    if (re.search(r"(?<!\d)[12]$", text[:end]) and added in _OF_ONE) or re.search(r"(?<!\d)0$", text[:end]):
        return None  # 1^2 is 1, 2! is 2, 0x is 0
    return f"{text[:end]}{added}{text[end:]}"


def _changed(draw: random.Random, text: str) -> str | None:
    choices = list(_replacements(draw, text))
    if not choices:
        return None
    start, end, by = draw.choice(choices)
    return text[:start] + by + text[end:]


def _replacements(draw: random.Random, text: str) -> Iterator[tuple[int, int, str]]:
    for match in _TOKEN.finditer(text):
        token = match.group()
        by = _another(draw, token)
        if by is not None and not (token.isalpha() and text[: match.start()].endswith(("begin{", "end{", "array}{"))):
            yield match.start(), match.end(), by


def _another(draw: random.Random, token: str) -> str | None:
    if token.startswith("\\"):
        return None if _DRESS.match(token) else _COMMANDS.get(token, r"\alpha" if token[1:].isalpha() else None)
    if token[0].isdigit():
        place = draw.randrange(len(token))
        digit = draw.choice([other for other in "123456789" if other != token[place]])
        return None if token[place] == "." else token[:place] + digit + token[place + 1 :]
    if len(token) == 1 and token.isalpha():
        letters = _LETTERS.upper() if token.isupper() else _LETTERS
        return draw.choice([letter for letter in letters if letter != token])
    return draw.choice(_WORDS) if token.isalpha() else _SIGNS.get(token)
