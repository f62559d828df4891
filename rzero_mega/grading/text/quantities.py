"""A value and its unit, told apart in the text of an answer: of one quantity, a compound one, or a list of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from rzero_mega.grading.expressions.functions import CONSTANTS, N_ARY, UNARY
from rzero_mega.grading.text.units import NO_UNIT, WORDS_OF_SENTENCES, Unit, is_known, read_unit, singular

_TAIL_CHARS = 120
"""A unit is looked for at the end of an answer only, which keeps the search linear."""

_POWER = r"\^(?:\{\s*-?\d\s*\}|\d)"
_IN_TEXT = r"\\text\s*\{[^{}]*\}"
_TOKEN = re.compile(
    rf"(?P<quotient>\\frac\s*\{{\s*{_IN_TEXT}(?:{_POWER})?\s*\}}\s*\{{\s*{_IN_TEXT}(?:{_POWER})?\s*\}})"
    rf"|(?P<text>{_IN_TEXT})|(?P<power>{_POWER})|(?P<sign>\\Omega|\\mu(?![a-zA-Z]))|(?P<command>\\[a-zA-Z]+)"
    r"|(?P<word>[a-zA-Z]+(?:\.[a-zA-Z]+)*)|(?P<space>\s+)|(?P<operator>[/*])|(?P<other>.)",
    re.DOTALL,
)
_PLAIN_NUMBER = re.compile(
    r"(?:[a-zA-Z] ?= ?)?[-+]?[\d.,/ ]+|[-+]?\d*\s*\\frac\{\d+\}\{\d+\}"
    r"|[-+]?[\d.]+(?:[eE][-+]?\d{1,3}| ?\* ?10\^(?:\{-?\d{1,2}\}|\d))"
)
_LAST_NUMBER = re.compile(r"(?:\\text\{\s*and\s*\}|\band\b|,)?\s*(?<!\d)(\d{1,20}(?:\.\d{1,20})?)$")
_AND_AT_END = re.compile(r"(?: and|,) ?\}$")
_LONE_LETTERS = frozenset("mgshLNJWV")
_LETTERS_IN_TEXT = _LONE_LETTERS | frozenset("ldtACFK")
_NOT_UNITS = frozenset((*UNARY, *N_ARY, *CONSTANTS, "sqrt")) - {"min"}
_CURRENCIES = {
    r"\$": "dollar", "€": "euro", "£": "sterling", "¥": "yen", "₹": "rupee", "₽": "rouble", "₩": "won", "₫": "dong",
}  # fmt: skip
_CURRENCY_BEFORE = re.compile(r"^(Rs\.?|INR|USD|EUR|GBP|CAD|AUD) ?(?=\d)")
_SEPARATOR = re.compile(
    r"(?P<open>\\?[({\[])|(?P<close>\\?[)}\]])|(?P<between>[,;]|\\text\s*\{\s*(?:,\s*)?(?:and|or)\s*\}|\b(?:and|or)\b)"
)
_MAX_COMPOUND = 3


@dataclass(frozen=True, slots=True)
class Quantity:
    """The text of a value, and its unit if it has one.

    doubtful: the unit is written like a product of variables (``5 m``, ``3mg``), and may be one.
    """

    body: str
    unit: Unit | None = None
    doubtful: bool = False


def quantity(text: str) -> Quantity:
    """Split a normalised answer. In a list of quantities the unit is that of all of them, or there is none."""
    currency = next((name for sign, name in _CURRENCIES.items() if sign in text), "")
    for sign in _CURRENCIES if currency else ():
        text = text.replace(sign, "")
    if not currency and (before := _CURRENCY_BEFORE.match(text)):
        text, currency = text[before.end() :], singular(before[1])
    pieces = _items(text)
    found = [_single(item, currency) for item, _ in pieces]
    units = {item.unit for item in found if item.unit is not None}
    if len({unit.dimension for unit in units}) > 1:
        return Quantity(text)
    doubtful = any(item.doubtful for item in found)
    if _is_compound(found, pieces):
        first = found[0].unit
        parts = [f"({item.body})*({item.unit.scale / first.scale})" for item in found if item.unit and first]
        return Quantity("+".join(parts), first)
    if len(units) < 2:
        bodies = [item.body for item in found]
        unit = units.pop() if units else None
    else:
        bodies = [f"({item.body})*({item.unit.scale if item.unit else 1})" for item in found]
        unit = Unit("base", next(iter(units)).dimension)
    return Quantity("".join(body + after for body, (_, after) in zip(bodies, pieces, strict=True)), unit, doubtful)


def _is_compound(found: list[Quantity], pieces: list[tuple[str, str]]) -> bool:
    """Whether "and" adds up parts in smaller and smaller units, as in "2 hours and 15 minutes"."""
    units = [item.unit for item in found if item.unit is not None]
    return (
        1 < len(units) == len(found)
        and all("and" in after for _, after in pieces[:-1])
        and all(first.scale > second.scale for first, second in pairwise(units))
    )


def _items(text: str) -> list[tuple[str, str]]:
    """Return the items of a list that is written without brackets, each with the separator after it."""
    items: list[tuple[str, str]] = []
    depth, start = 0, 0
    for match in _SEPARATOR.finditer(text):
        if match["open"]:
            depth += 1
        elif match["close"]:
            depth = max(0, depth - 1)
        elif not depth:
            items.append((text[start : match.start()], match.group()))
            start = match.end()
    return [*items, (text[start:], "")]


def _single(text: str, currency: str = "", compound: int = _MAX_COMPOUND) -> Quantity:
    stripped = text.strip()
    head, suffix, doubtful = _split(stripped)
    if currency and suffix not in (currency, f"{currency}s"):
        suffix = f"{currency} {suffix}"
    unit = read_unit(suffix) if suffix else None
    if unit is None:
        return Quantity(text)
    if compound and unit.dimension and (last := _LAST_NUMBER.search(head, len(head) - 40)) and last.start():
        larger = _single(_AND_AT_END.sub("}", head[: last.start()].strip()), compound=compound - 1)
        if larger.unit is not None and larger.unit.dimension == unit.dimension and larger.unit.scale > unit.scale:
            return Quantity(f"({larger.body})+({last[1]})*({unit.scale / larger.unit.scale})", larger.unit)
    return Quantity(head, None if unit == NO_UNIT else unit, doubtful)


def _split(text: str) -> tuple[str, str, bool]:
    """Return what stands before the unit at the end of `text`, the unit's text, and whether it may be variables."""
    offset = max(0, len(text) - _TAIL_CHARS)
    tokens = list(_TOKEN.finditer(text, offset))
    first = _first_of_unit(tokens)
    if first == len(tokens):
        return text, "", False
    head, unit = text[: tokens[first].start()].strip(), tokens[first:]
    words = [token.group() for token in unit if token.lastgroup == "word"]
    suffix = " ".join(_spelling(token) for token in unit).strip()
    suffix = suffix.replace(" ^", "^").replace(" ohm", "ohm")
    spaced = tokens[first].start() > 0 and text[tokens[first].start() - 1] == " "
    plain = spaced and _PLAIN_NUMBER.fullmatch(head) is not None
    if not head or head[-1] in "^_=<>+-*/({[&\\" or not _may_be_unit(suffix, words, head, plain):
        return text, "", False
    letters = "".join(words)
    return head, suffix, bool(words) and len(letters) <= 3 and all(token.lastgroup != "text" for token in unit)


def _first_of_unit(tokens: list[re.Match[str]]) -> int:
    """Return the index of the first token of the unit at the end, or the number of tokens."""
    first = index = len(tokens)
    while index:
        index -= 1
        kind = tokens[index].lastgroup
        if kind == "space":
            continue
        if kind == "power" and index:
            index -= 1
            kind = tokens[index].lastgroup
        if kind not in ("text", "word", "sign", "quotient"):
            break
        if kind == "word" and tokens[index].group().lower() in WORDS_OF_SENTENCES | _NOT_UNITS:
            break
        first = index
        if index > 1 and tokens[index - 1].lastgroup == "operator":
            index -= 1
    return first


def _spelling(token: re.Match[str]) -> str:
    text = token.group()
    match token.lastgroup:
        case "text":
            return text[text.index("{") + 1 : -1].strip()
        case "quotient":
            above, below = re.findall(rf"({_IN_TEXT})((?:{_POWER})?)", text)
            return "/".join(part[part.index("{") + 1 : -1].strip() + _bare(power) for part, power in (above, below))
        case "sign":
            return "ohm" if text == r"\Omega" else "µ"
        case "power":
            return _bare(text)
        case _:
            return text


def _bare(power: str) -> str:
    return re.sub(r"[{}\s]", "", power)


def _may_be_unit(suffix: str, words: list[str], head: str, plain: bool) -> bool:
    """Whether what stands at the end of an answer can be a unit there.

    A word that is no known unit counts things (``12 apples``), which takes a number before it. A lone letter is a unit
    only after a number and a space (``5 m``).
    """
    spelt = re.findall(r"[^\W\d_][^\W\d_.]*", suffix)
    if any(word.lower() in WORDS_OF_SENTENCES for word in spelt) and not all(map(is_known, spelt)):
        return False
    if any(len(word) == 1 and word not in (_LONE_LETTERS if words else _LETTERS_IN_TEXT) for word in words or spelt):
        return False
    known = all(is_known(word) or word.lower() in ("per", "square", "sq", "cubic", "cu") for word in spelt)
    if words and not plain and (not known or any(len(word) == 1 for word in words) or not re.search(r"[\d})]$", head)):
        return False
    return known or bool(re.search(r"\d", head))
