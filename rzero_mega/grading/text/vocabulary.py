"""The words an answer may be made of beside formulas and units: closed lists. Any other word makes it prose."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_ONES = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen
"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
ONES: Final = {word: value for value, word in enumerate(_ONES.split())}
DIGITS: Final = {word: value for word, value in ONES.items() if value < 10}
TENS: Final = {word: 10 * value for value, word in enumerate(_TENS.split(), start=2)}
SCALES: Final = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
PARTS: Final = {
    word + plural: value
    for plural in ("", "s")
    for word, value in {
        "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
        "tenth": 10, "hundredth": 100, "thousandth": 1000,
    }.items()
} | {"half": 2, "halves": 2}  # fmt: skip

CONNECTORS: Final = {"or": "or", "and": "and", "to": ":", "if": "if", "when": "if"}
MARKS: Final = {
    "percent": "%", "pct": "%", "percentage": "%", "degree": "degree", "degrees": "degree", "deg": "degree",
}  # fmt: skip
EQUALS: Final = frozenset(("is", "are", "equals", "equal"))

_LABELS = """
altitude amount angle area average base center centre circumference coefficient constant cost count degree
denominator derivative determinant diameter difference dimension dimensions directrix discriminant distance domain
eccentricity edge equation expression factor focus fraction function gcd gcf greatest hcf height hypotenuse
intercept inverse lcm least length limit line max maximum mean median min minimum mode multiple number numerator
order percentage perimeter period point points polynomial price probability product quotient radius range rank rate
ratio remainder resulting root roots sequence series side slope smallest largest solutions speed sum surface term
terms time total value values variance vector velocity vertex volume ways weight width x-intercept y-intercept zeros
the of final common possible positive real such required for this that its all distinct two three
"""
LABELS: Final = frozenset(_LABELS.split())
"""Words that may name what is asked for, in front of an equals sign, a colon or "is": ``Area = 5``."""
_BESIDE_LABELS = "the of final common possible positive real such for this that its all"

_TEXT_COMMAND = re.compile(r"\\text\s*\{([^{}]*)\}")
_ARTICLE = re.compile(r"^(?:the|a|an)\s+(?=\S)")
_SYNONYMS: Final = {
    "none exist": "none exists", "dne": "does not exist", "the limit does not exist": "does not exist",
    "limit does not exist": "does not exist", "no real roots": "no real root",
}  # fmt: skip
_MAX_CHARS = 200

_NO_SOLUTION = (
    r"(?:(?:this |the )?(?:equation|system|inequality|problem) has |there (?:is|are) |it has |has )?"
    r"no (?:real )?(?:number )?(?:solutions?|values? (?:of )?[a-z]?|such (?:[a-z]|[a-z]+s))(?: exists?)?"
    r"|empty set|null set|empty|none(?: exists?)?"
)
_ALL_REALS = (
    r"(?:[a-z] (?:is|can be) )?(?:set of )?"
    r"(?:(?:all|any|every)(?: the)? (?:real numbers?|reals?|real values?)|real numbers|reals)(?: of)?(?: [a-z])?"
)
_INFINITE = (
    r"(?:there are )?(?:an )?(?:infinitely many|infinite number(?: of)?|infinite)(?: (?:real )?solutions?)?"
    r"|(?:positive )?infinity"
)
_PHRASES: Final = (
    (re.compile(_NO_SOLUTION), r"\emptyset"),
    (re.compile(_ALL_REALS), r"\mathbb{R}"),
    (re.compile(r"(?:set of )?(?:all )?integers"), r"\mathbb{Z}"),
    (re.compile(_INFINITE), r"\infty"),
    (re.compile(r"(?:negative |minus |- ?)infinity"), r"-\infty"),
)
_EXCEPT = re.compile(
    r"^(?:\\mathbb\{R\}|(?:all )?real numbers?|all reals)(?: [a-z])?,? "
    r"(?:except|other than|but)(?: for)? (?:[a-z] ?(?:=|\\ne) ?)?(.{1,60})$",
    re.IGNORECASE,
)


_BETWEEN = r"(?:\\text\s?\{|\\quad(?![a-zA-Z])|[\s}~])"
_INTEGER = re.compile(
    rf"(?:\\text\s?\{{|\\quad(?![a-zA-Z])|[\s,;~(])+(?:(?:for|where|with){_BETWEEN}+)?"
    rf"(?:(?:all|any|every|each){_BETWEEN}+)?"
    rf"(?:integers?{_BETWEEN}+(?P<after>[kmn])|(?P<before>[kmn]){_BETWEEN}*(?:\\in\s*\\mathbb\s*(?:\{{\s*Z\s*\}}|Z)"
    rf"|(?:is{_BETWEEN}+)?(?:(?:an|any){_BETWEEN}+)?integer))[\s}}).]*$"
)
_ARTICLE_BEFORE_NUMBER = re.compile(
    rf"^(\\text\s*\{{\s*)?an? (?={'|'.join(sorted({*PARTS, *SCALES, 'hundred'}))}\b)", re.IGNORECASE
)


def without_integer(text: str) -> str:
    """Return an answer without "where k is an integer" behind it, which k, m and n in an answer are here anyway."""
    clause = _INTEGER.search(text, max(0, len(text) - 80))
    letter = clause and (clause["after"] or clause["before"])
    if clause is None or not re.search(rf"(?<![a-zA-Z\\]){letter}(?![a-z])|(?<=\d){letter}", text[: clause.start()]):
        return text
    return text[: clause.start()]


def is_label(words: list[str]) -> bool:
    """Whether these words, in lower case, name what is asked for: nouns of the list, at least one of them."""
    meant = [word.removesuffix("s") if word not in LABELS else word for word in words if len(word) > 1]
    return all(word in LABELS for word in meant) and any(word not in _BESIDE_LABELS.split() for word in meant)


@lru_cache(maxsize=4096)
def prose_key(text: str) -> str:
    """Return the spelling by which answers that aren't expressions are compared.

    Words are compared without case, articles and final punctuation; formulas (anything with a backslash or digit)
    without needless braces and without white space, except where it keeps two letters or digits apart.
    """
    text = " ".join(_TEXT_COMMAND.sub(r" \1 ", text).split())
    if "\\" in text or any(character.isdigit() for character in text):
        text = re.sub(r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", text)
        text = re.sub(r"([\^_])\s*([a-zA-Z0-9])", r"\1{\2}", text)
        return re.sub(r"(?<![a-zA-Z0-9])\s+|\s+(?![a-zA-Z0-9])", "", text)
    words = _ARTICLE.sub("", " ".join(text.casefold().replace('"', "").split()).strip(" .,;:"))
    return _SYNONYMS.get(words, words)


def in_symbols(text: str) -> str:
    """Return a normalised answer of words as the formula that says the same, if there is one: "no solution" is ∅."""
    text = _ARTICLE_BEFORE_NUMBER.sub(r"\1one ", text)
    if len(text) > _MAX_CHARS or not re.match(r"(?:\\text\s*\{\s*|-)?[a-zA-Z]{2}|\\mathbb", text):
        return text
    plain = " ".join(_TEXT_COMMAND.sub(r" \1 ", text).split())
    if exception := _EXCEPT.match(plain):
        return rf"\mathbb{{R}} \setminus \{{{exception[1]}\}}"
    words = prose_key(plain)
    return next((formula for phrase, formula in _PHRASES if phrase.fullmatch(words)), text)
