r"""Normalised text to tokens, ``\text{...}`` and bare text alike. Words are looked up in closed lists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from rzero_mega.grading.expressions.functions import CONSTANTS, N_ARY, UNARY
from rzero_mega.grading.expressions.tree import MAX_DIGITS, MAX_SOURCE_CHARS, Unreadable
from rzero_mega.grading.text.units import CURRENCIES, CURRENCY_WORDS, ENLARGED, LONE_LETTERS, measure
from rzero_mega.grading.text.vocabulary import (
    CONNECTORS,
    EQUALS,
    LABELS,
    MARKS,
    ONES,
    PARTS,
    SCALES,
    TENS,
)

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<repeating>\d*\.\d*\\(?:overline|bar)\s*\{\d+\})
    |(?P<number>(?:\d+(?:\.\d+|\.(?=\s?[-+*/^)\]}]))?|\.\d+)(?:[eE][+-]?\d{1,4}(?![\d.a-zA-Z]))?)
    |(?P<environment>\\(?:begin|end)\s*\{[a-zA-Z]+\})
    |(?P<text>\\text\s*\{)
    |(?P<styled>\\math(?:bb|cal|frak|scr)\s*(?:\{\s*[a-zA-Z]\s*\}|[A-Z]))
    |(?P<gap>\\quad(?![a-zA-Z]))
    |(?P<money>\\\$|[€£¥₹])
    |(?P<command>\\(?:[a-zA-Z]+|.))
    |(?P<letters>[a-zA-Z]+(?:\.[a-zA-Z]+)*)
    |(?P<symbol>[-+*/^_!=<>(){}\[\],;:&|'µ.])""",
    re.VERBOSE,
)
_MAX_POWER_OF_TEN = 1_000
_WORDS = frozenset(
    {*CONNECTORS, *MARKS, *EQUALS, *LABELS, *ONES, *TENS, *SCALES, *PARTS, *ENLARGED, "hundred", "per", "base"}
    | {
        "negative",
        "minus",
        "mod",
        "modulo",
        "such",
        "where",
        "every",
        "any",
        "each",
        "some",
        "real",
        "constant",
        "cent",
    }
)
_SPLITTABLE = ("arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "sin", "cos", "tan", "log", "ln")
_PRODUCT = re.compile("[xyz]+|[abc]+|[^aeiouy]+")
"""A run of letters that is a product where an answer is nothing else (xy, mgh, abc); others are words (cat, by)."""


@dataclass(frozen=True, slots=True)
class Token:
    r"""One token.

    `kind` is number, name, word, function, constant, styled, command, environment, symbol, connector, mark, money, gap
    or end. spaced: after white space. roman: from ``\text{...}``. glued: the unit that the run of letters which begins
    here may be ("" for none).
    """

    kind: str
    text: str
    value: Fraction | None = None
    spaced: bool = False
    roman: bool = False
    glued: str = ""


END = Token("end", "")


def tokenise(text: str) -> list[Token]:
    """Return the tokens of a normalised answer, without the end mark.

    Raises `Unreadable` for text over `MAX_SOURCE_CHARS`, numbers over `MAX_DIGITS`, and unknown characters.
    """
    if len(text) > MAX_SOURCE_CHARS:
        raise Unreadable("too long")
    tokens = list(_lex(text))
    if not tokens:
        raise Unreadable("nothing")
    if all(token.kind == "letters" for token in tokens) and any(_is_word(token.text) for token in tokens):
        raise Unreadable("words")
    resolved: list[Token] = []
    for token, following in zip(tokens, [*tokens[1:], END], strict=True):
        resolved.extend(_resolved(token, resolved[-1] if resolved else END, following))
    return _without_gaps(resolved)


def _is_word(run: str) -> bool:
    known = run in CONSTANTS or run in UNARY or (run.isupper() and len(run) <= 4) or run.lower() in _WORDS
    return len(run) > 1 and not known and not _PRODUCT.fullmatch(run) and measure(run) is None


def _lex(text: str) -> Iterator[Token]:
    position, depth, spaced = 0, 0, False
    roman: int | None = None  # how deep the braces were where it began
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise Unreadable(f"unknown character {text[position]!r}")
        position = match.end()
        kind, source = str(match.lastgroup), match.group()
        if kind == "space":
            spaced = True
            continue
        depth -= source == "}"
        if kind == "text":
            roman = depth if roman is None else roman
        elif source == "}" and depth == roman:
            roman, spaced = None, True
        else:
            yield from _of_kind(kind, source, Token(kind, source, None, spaced, roman is not None))
            spaced = False
        depth += source == "{" or kind == "text"


def _of_kind(kind: str, source: str, token: Token) -> Iterator[Token]:
    match kind:
        case "number":
            yield replace(token, value=_number(source))
        case "repeating":
            yield replace(token, kind="number", value=_repeating(source))
        case "styled":
            yield replace(token, text=f"{source[5 : 7 + (source[5] != 'b')]} {source.rstrip('} ')[-1]}")
        case "money":
            yield replace(token, text=CURRENCIES[source.lstrip("\\")])
        case "command":
            yield _command(token, source[1:])
        case "environment":
            yield replace(token, text=re.sub(r"\s", "", source))
        case _:
            yield token


def _number(source: str) -> Fraction:
    if len(source) > MAX_DIGITS:
        raise Unreadable("too many digits")
    mantissa, _, exponent = source.lower().partition("e")
    if exponent and abs(int(exponent)) > _MAX_POWER_OF_TEN:
        raise Unreadable("power of ten too large")
    return Fraction(mantissa.rstrip(".")) * Fraction(10) ** int(exponent or 0)


def _repeating(source: str) -> Fraction:
    """Read ``0.1\\overline{6}`` as 1/6."""
    if len(source) > MAX_DIGITS:
        raise Unreadable("too many digits")
    plain, _, block = source.partition("\\")
    whole, _, fixed = plain.partition(".")
    period = block[block.index("{") + 1 : -1]
    tail = Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(fixed))
    return Fraction(int(whole or "0")) + Fraction(int(fixed or "0"), 10 ** len(fixed)) + tail


def _command(token: Token, name: str) -> Token:
    if name in UNARY or name in N_ARY:
        return replace(token, kind="function", text=name)
    if name in CONSTANTS:
        return replace(token, kind="constant", text=CONSTANTS[name])
    if name == "times":
        return replace(token, kind="symbol", text="*")
    if name == "Omega":
        return replace(token, kind="command", text=name, glued="ohm")
    return replace(token, text=name, kind="mark" if name in ("degree", "%") else "command")


def _resolved(token: Token, before: Token, following: Token) -> list[Token]:
    """Return what a run of letters is: a function, a constant, words, one variable, or a product of a few of them."""
    if token.kind != "letters":
        return [token]
    run, lower = token.text, token.text.lower()
    if run in UNARY or run in N_ARY:
        return [replace(token, kind="function", glued=run if run in ("min", "sec") else "")]
    if run in CONSTANTS:
        return [replace(token, kind="constant", text=CONSTANTS[run])]
    if run == "sqrt":
        return [replace(token, kind="command")]
    unit = run if measure(run) is not None else ""
    if len(run) == 1:
        lone = unit if token.roman or (token.spaced and run in LONE_LETTERS) else ""
        return [replace(token, kind="name", glued=lone)]
    begins = token.roman or token.spaced or before is END or before.kind in ("symbol", "word")
    if lower in CONNECTORS and begins:
        return [replace(token, kind="connector", text=CONNECTORS[lower])]
    if lower in MARKS and before is not END:
        return [replace(token, kind="mark", text=MARKS[lower])]
    if token.spaced and before.kind == "number" and run.isupper() and not unit:
        return [replace(token, kind="word", text=run)]
    apart = _names_beside(before) and _names_beside(following)
    alone = token.roman or apart or before.kind == "command"
    if run.isupper() and len(run) <= 4 and (alone or unit):
        return [replace(token, kind="name", glued=unit)]
    if split := _split_function(token):
        return split
    prose = (token.spaced and before.kind == "number" and following.text not in "^_") or apart
    if (
        token.roman
        or len(run) > 3
        or (begins and lower in _WORDS)
        or (prose and not unit and not _PRODUCT.fullmatch(run))
    ):
        return [replace(token, kind="word", text=run, glued=run if lower in CURRENCY_WORDS else "")]
    first = replace(token, kind="name", text=run[0], glued=unit)
    return [first, *(replace(first, text=letter, spaced=False, glued="") for letter in run[1:])]


def _names_beside(token: Token) -> bool:
    """Whether a run of capitals beside this is a name as in ``AB = 5``, and no product as in ``t/RC``."""
    return token is END or token.text in (",", ";", "=", ":", "|", "and", "or")


def _split_function(token: Token) -> list[Token]:
    """Read ``sinx`` and ``xpi``; nothing for other runs of letters."""
    run = token.text
    for function in _SPLITTABLE:
        if run.startswith(function) and len(run) == len(function) + 1:
            return [replace(token, kind="function", text=function), Token("name", run[-1])]
    if run.endswith("pi") and len(run) == 3:
        return [replace(token, kind="name", text=run[0]), Token("constant", "pi")]
    return []


_ENDS = frozenset(("symbol", "connector", "word", "end"))


def _without_gaps(tokens: list[Token]) -> list[Token]:
    r"""Leave out each ``\quad`` beside a sign or word; one between two factors stays, and makes the text unreadable."""
    kept: list[Token] = []
    for index, token in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else END
        before = kept[-1] if kept else END
        if token.kind == "gap" and (_separates(before) or _separates(following)):
            continue
        kept.append(token)
    return kept


def _separates(token: Token) -> bool:
    if token.kind == "symbol":
        return token.text not in (")", "]", "}", "(", "[", "{", "|", "'")
    return token.kind in _ENDS or (token.kind == "command" and token.text in _SIGNS)


_SIGN_NAMES = r"le ge ne in notin approx to forall pm mp cup cap setminus \ equiv pmod bmod"
_SIGNS = frozenset(_SIGN_NAMES.split())
