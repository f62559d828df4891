"""Normalised text to tokens. What has no place in an expression, prose above all, raises `Unreadable`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from rzero_mega.grading.expressions.functions import CONSTANTS, N_ARY, UNARY
from rzero_mega.grading.expressions.tree import MAX_DIGITS, MAX_SOURCE_CHARS, Unreadable

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<repeating>\d*\.\d*\\(?:overline|bar)\s*\{\d+\})
    |(?P<number>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,4}(?![\d.a-zA-Z]))?)
    |(?P<environment>\\(?:begin|end)\s*\{[a-zA-Z]+\})
    |(?P<text>\\text\s*\{[^{}]*\})
    |(?P<axis>\\axis\s*\{[ijk]\})
    |(?P<field>\\mathbb\s*\{[A-Z]\}|\\mathbb\s*[A-Z])
    |(?P<command>\\(?:[a-zA-Z]+|.))
    |(?P<word>[a-zA-Z]+)
    |(?P<symbol>[-+*/^_!=<>(){}\[\],;:&|'])""",
    re.VERBOSE,
)
_MAX_POWER_OF_TEN = 1_000
_SHORT_WORDS = """
no yes is or and the not on of in if at by as it so we he up do an all any one two six ten odd nil our its are has
cm mm km kg ft mi hr lb oz am pm mg ml us dne red ten she him her his who why how may jun jul sun mon tue wed thu
fri sat day dog cat car cup job age son win won lot low top big few new old yet per sum set gcd lcm
"""
_WORDS = frozenset(_SHORT_WORDS.split())
"""Short words, which are not products of variables."""

_CONNECTORS = {
    "or": ("connector", "or"), "and": ("connector", "and"), "": ("connector", ","), "to": ("symbol", ":"),
    "if": ("connector", "if"), "for": ("connector", "if"), "when": ("connector", "if"),
    "such that": ("symbol", "|"),
}  # fmt: skip
"""What words between expressions stand for. The last of these are left out before a condition."""

_SPLITTABLE = ("arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "sin", "cos", "tan", "log", "ln")


@dataclass(frozen=True, slots=True)
class Token:
    """One token. `kind` is number, name, function, constant, field, connector, command, environment, symbol or end."""

    kind: str
    text: str
    value: Fraction | None = None
    after_space: bool = False


END = Token("end", "")


def tokenise(text: str) -> list[Token]:
    """Return the tokens of a normalised answer, without the end mark.

    Raises `Unreadable` for text over `MAX_SOURCE_CHARS`, numbers over `MAX_DIGITS`, unknown characters, and prose.
    """
    if len(text) > MAX_SOURCE_CHARS:
        raise Unreadable("too long")
    tokens: list[Token] = []
    position, spaced = 0, False
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise Unreadable(f"unknown character {text[position]!r}")
        position = match.end()
        kind, source = str(match.lastgroup), match.group()
        if kind == "space":
            spaced = True
            continue
        tokens.extend(_tokens_of(kind, source, spaced))
        spaced = False
    return tokens


def _tokens_of(kind: str, source: str, spaced: bool) -> list[Token]:
    match kind:
        case "number":
            return [Token("number", source, _number(source), spaced)]
        case "repeating":
            return [Token("number", source, _repeating(source), spaced)]
        case "word":
            return _word(source, spaced)
        case "text":
            return _text(source[source.index("{") + 1 : -1].strip(), spaced)
        case "command":
            return [_command(source[1:], spaced)]
        case "axis":
            return [Token("name", f"axis {source.rstrip('} ')[-1]}", None, spaced)]
        case "field":
            return [Token("field", source.rstrip("} ")[-1], None, spaced)]
        case _:
            return [Token(kind, re.sub(r"\s", "", source), None, spaced)]


def _number(source: str) -> Fraction:
    if len(source) > MAX_DIGITS:
        raise Unreadable("too many digits")
    mantissa, _, exponent = source.lower().partition("e")
    if exponent and abs(int(exponent)) > _MAX_POWER_OF_TEN:
        raise Unreadable("power of ten too large")
    return Fraction(mantissa) * Fraction(10) ** int(exponent or 0)


def _repeating(source: str) -> Fraction:
    """Read ``0.1\\overline{6}`` as 1/6."""
    if len(source) > MAX_DIGITS:
        raise Unreadable("too many digits")
    plain, _, block = source.partition("\\")
    whole, _, fixed = plain.partition(".")
    period = block[block.index("{") + 1 : -1]
    tail = Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(fixed))
    return Fraction(int(whole or "0")) + Fraction(int(fixed or "0"), 10 ** len(fixed)) + tail


def _command(name: str, spaced: bool) -> Token:
    if name in UNARY or name in N_ARY:
        return Token("function", name, None, spaced)
    if name in CONSTANTS:
        return Token("constant", CONSTANTS[name], None, spaced)
    return Token("command", name, None, spaced)


def _text(content: str, spaced: bool) -> list[Token]:
    words = content.lower().strip(", ")
    if words in _CONNECTORS:
        return [Token(*_CONNECTORS[words], None, spaced)] if content else []
    if content.isupper() and content.isalpha() and content.isascii() and len(content) <= 4:
        return [Token("name", content, None, spaced)]
    if len(content) == 1 and content.isalpha() and content.isascii():
        return [Token("name", content, None, spaced)]
    if content and content.replace(" ", "").isalpha():
        return [Token("words", content.casefold(), None, spaced)]
    raise Unreadable("prose")


def _word(word: str, spaced: bool) -> list[Token]:
    """Read a run of letters: a function, a constant, one variable, or a product of at most three of them."""
    if word in _CONNECTORS:
        return [Token(*_CONNECTORS[word], None, spaced)]
    if word in UNARY or word in N_ARY:
        return [Token("function", word, None, spaced)]
    if word in CONSTANTS:
        return [Token("constant", CONSTANTS[word], None, spaced)]
    if word == "sqrt":
        return [Token("command", "sqrt", None, spaced)]
    if word.lower() in _WORDS:
        raise Unreadable("prose")
    if len(word) == 1 or (word.isupper() and len(word) <= 4):
        return [Token("name", word, None, spaced)]
    for function in _SPLITTABLE:
        if word.startswith(function) and len(word) == len(function) + 1:
            return [Token("function", function, None, spaced), Token("name", word[-1])]
    if word.endswith("pi") and len(word) == 3:
        return [Token("name", word[0], None, spaced), Token("constant", "pi")]
    if len(word) <= 3:
        return [Token("name", letter, None, spaced and index == 0) for index, letter in enumerate(word)]
    raise Unreadable("prose")
