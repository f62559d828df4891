"""Answers in words: number words, phrases that say what a formula says, and the spelling that prose compares by."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_TEXT_COMMAND = re.compile(r"\\text\s*\{([^{}]*)\}")
_ARTICLE = re.compile(r"^(?:the|a|an)\s+(?=\S)")
_SYNONYMS = {
    "none exist": "none exists", "dne": "does not exist", "the limit does not exist": "does not exist",
    "limit does not exist": "does not exist", "no real roots": "no real root",
}  # fmt: skip
_MAX_CHARS = 200

_SOLUTIONS = r"(?:real )?(?:number )?(?:solutions?|values? (?:of )?[a-z]?|such (?:[a-z]|[a-z]+s))(?: exists?)?"
_MEANINGS = (
    (
        r"(?:(?:this |the )?(?:equation|system|inequality|problem) has |there (?:is|are) |it has |has )?"
        rf"no {_SOLUTIONS}"
        r"|empty set|null set|empty|none(?: exists?)?",
        r"\emptyset",
    ),
    (
        r"(?:[a-z] (?:is|can be) )?(?:set of )?"
        r"(?:(?:all|any|every)(?: the)? (?:real numbers?|reals?|real values?)|real numbers|reals)"
        r"(?: of)?(?: [a-z])?",
        r"\mathbb{R}",
    ),
    (r"(?:set of )?(?:all )?integers", r"\mathbb{Z}"),
    (
        r"(?:there are )?(?:an )?(?:infinitely many|infinite number(?: of)?|infinite)(?: (?:real )?solutions?)?"
        r"|(?:positive )?infinity",
        r"\infty",
    ),
    (r"(?:negative |minus |- ?)infinity", r"-\infty"),
)
_MEANING = re.compile("|".join(f"(?P<m{index}>{pattern})" for index, (pattern, _) in enumerate(_MEANINGS)))
_EXCEPT = re.compile(
    r"^(?:\\mathbb\{R\}|(?:all )?real numbers?|all reals)(?: [a-z])?,? "
    r"(?:except|other than|but)(?: for)? (?:[a-z] ?(?:=|\\ne) ?)?(.{1,60})$",
    re.IGNORECASE,
)

_ONES = {
    word: value
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ]
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2
    )
}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {
    "half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8,
    "ninth": 9, "tenth": 10,
}  # fmt: skip
_NUMBER_WORDS = frozenset((*_ONES, *_TENS, *_SCALES, "hundred"))


@lru_cache(maxsize=4096)
def prose_key(text: str) -> str:
    """Return the spelling by which answers that aren't expressions are compared.

    Words are compared without case, articles and final punctuation; formulas (anything with a backslash or digit)
    without white space and needless braces.
    """
    text = _TEXT_COMMAND.sub(r" \1 ", text)
    if "\\" in text or any(character.isdigit() for character in text):
        text = re.sub(r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", text)
        return re.sub(r"(?<=[\^_])\{(\w)\}", r"\1", "".join(text.split()))
    words = _ARTICLE.sub("", " ".join(text.casefold().replace('"', "").split()).strip(" .,;:!"))
    return _SYNONYMS.get(words, words)


def in_symbols(text: str) -> str:
    """Return a normalised answer with words replaced by the formula that says the same, if there is one.

    "no solution" is the empty set, "all real numbers" their set, "twenty-five apples" is "25 apples".
    """
    if len(text) > _MAX_CHARS or not re.match(r"(?:\\text\s*\{\s*|-)?[a-zA-Z]{2}|\\mathbb", text):
        return text
    plain = " ".join(_TEXT_COMMAND.sub(r" \1 ", text).split())
    if exception := _EXCEPT.match(plain):
        return rf"\mathbb{{R}} \setminus \{{{exception[1]}\}}"
    if meaning := _MEANING.fullmatch(prose_key(plain)):
        return next(formula for index, (_, formula) in enumerate(_MEANINGS) if meaning[f"m{index}"])
    spelt = _numeral(plain)
    return text if spelt is None else spelt


def _numeral(text: str) -> str | None:
    """Return an answer that begins with a number in words with that number in digits, else None."""
    words = text.replace("-", " - ").split()
    words = [word for word in words if word != "-"] if not text.startswith("-") else words
    lower = [word.lower().strip(",.") for word in words]
    negative = lower[:1] in (["minus"], ["negative"])
    position = start = int(negative)
    total, group = 0, 0
    while position < len(lower):
        word = lower[position]
        if word in _ONES or word in _TENS:
            group += _ONES.get(word, _TENS.get(word, 0))
        elif word == "hundred" and position > start:
            group *= 100
        elif word in _SCALES and position > start:
            total, group = total + group * _SCALES[word], 0
        elif not (
            word == "and" and position > start and lower[position + 1 : position + 2] and _continues(lower, position)
        ):
            break
        position += 1
    if position == start:
        if lower[start : start + 1] != ["half"]:
            return None
        value: Fraction = Fraction(1)
    else:
        value = Fraction(total + group)
    value, position = _with_parts(value, lower, position)
    if any(not word.isalpha() for word in lower[position:]):
        return None
    spelt = str(value) if value.denominator == 1 else rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
    return " ".join([("-" if negative else "") + spelt, *words[position:]])


def _continues(lower: list[str], position: int) -> bool:
    """Whether "and" goes on with the same number: "three hundred and five", not "three and five"."""
    return lower[position - 1] in ("hundred", *_SCALES) and lower[position + 1] in _NUMBER_WORDS


def _with_parts(value: Fraction, lower: list[str], position: int) -> tuple[Fraction, int]:
    """Read on after a whole number: "two thirds", "two and a half"."""
    if lower[position : position + 3] == ["and", "a", "half"]:
        return value + Fraction(1, 2), position + 3
    if position < len(lower):
        word = lower[position]
        part = _PARTS.get(word) or _PARTS.get(word.removesuffix("s"))
        if part:
            return value / part, position + 1
    return value, position
