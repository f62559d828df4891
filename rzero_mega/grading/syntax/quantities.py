r"""Units behind a value (``5 \text{ cm}^2``, ``9.8 m/s^2``, ``12 (apples)``) and currencies before it (``\$5``)."""

from __future__ import annotations

from rzero_mega.grading.expressions.tree import Node, Number, Product, Quantity, Sum, Unit
from rzero_mega.grading.syntax.cursor import Cursor
from rzero_mega.grading.text.units import CURRENCY_WORDS, ENLARGED, base_unit, unit_of
from rzero_mega.grading.text.vocabulary import ONES

_AFTER = frozenset((",", ";", ")", "]", "}", "=", "<", ">", "le", "ge", "or", "and", "if", "for", "\\", "&", ":"))
_MAX_FACTORS = 6


def read_currency(cursor: Cursor) -> tuple[bool, Unit] | None:
    """Read a currency before its value, and a minus sign before it; None, without a move, if there is none here."""
    start = cursor.position
    token = cursor.peek()
    if token.kind != "money" and token.text != "-" and not token.glued:
        return None
    minus = cursor.skip("-")
    token = cursor.peek()
    word = token.glued if token.glued.lower() in CURRENCY_WORDS else ""
    unit = unit_of([(word or token.text, 1)]) if word or token.kind == "money" else None
    if unit is None:
        cursor.position = start
        return None
    cursor.position += len(word) if word and token.text != word else 1
    cursor.skip(".")
    return minus, unit


def read_quantity(cursor: Cursor, value: Node) -> Node:
    """Return `value` with the unit that follows it, if one does."""
    if isinstance(value, Quantity):  # a currency stands before it already
        unit = read_unit(cursor, value.unit.name)
        return value if unit is None else Quantity(value.value, unit)
    unit = read_unit(cursor)
    if unit is None:
        return value
    while unit.dimension and (smaller := _smaller(cursor, unit)) is not None:
        value = Sum((value, Product((smaller.value, Number(smaller.unit.scale / unit.scale)))))
    return Quantity(value, unit)


def _smaller(cursor: Cursor, unit: Unit) -> Quantity | None:
    """Read what goes on with a quantity in a smaller unit, as "2 hours and 15 minutes" does."""
    start = cursor.position
    cursor.skip("and", ",")
    number = cursor.next().value
    smaller = None if number is None else read_unit(cursor)
    if number is None or smaller is None or smaller.dimension != unit.dimension or smaller.scale >= unit.scale:
        cursor.position = start
        return None
    return Quantity(Number(number), smaller)


def read_unit(cursor: Cursor, currency: str = "") -> Unit | None:
    """Read a unit that ends an item, and go on behind it; None, without a move, if there is none here.

    currency: that of a sign before the value, which joins in: ``\\$4 \\text{ per hour}``.
    """
    start = cursor.position
    if cursor.peek().kind == "end" or cursor.peek().text in _AFTER:
        return None
    if (unit := _base(cursor) or _modulus(cursor)) is None:
        bracket = cursor.skip("(")
        factors = _factors(cursor, [(currency, 1)] if currency else [])
        unit = None if factors is None or (bracket and not cursor.skip(")")) else unit_of(factors)
    token = cursor.peek()
    ends = token.kind in ("end", "number") or token.text in _AFTER
    if unit is None or not ends or cursor.position == start:
        cursor.position = start
        return None
    return unit


def _base(cursor: Cursor) -> Unit | None:
    """Read the base of a numeral: ``(base 4)``, ``base seven``."""
    start = cursor.position
    bracket = cursor.skip("(")
    if cursor.skip("base"):
        cursor.skip("-")
        token = cursor.next()
        number = int(token.value) if token.value is not None else ONES.get(token.text.lower(), 0)
        if number > 1 and (not bracket or cursor.skip(")")):
            return base_unit(str(number))
    cursor.position = start
    return None


def _modulus(cursor: Cursor) -> Unit | None:
    r"""Read ``\pmod 7``, ``(mod 7)``, ``\bmod n``."""
    start = cursor.position
    bracket = cursor.skip("(")
    if cursor.skip("pmod", "bmod", "mod", "modulo"):
        brace = cursor.skip("{")
        token = cursor.next()
        closed = (not brace or cursor.skip("}")) and (not bracket or cursor.skip(")"))
        if token.kind in ("number", "name") and closed:
            return Unit(f"mod {token.text}", f"mod {token.text}", modulus=token.text)
    cursor.position = start
    return None


def _factors(cursor: Cursor, found: list[tuple[str, int]]) -> list[tuple[str, int]] | None:
    """Read the factors of a unit with their exponents, as ``km/h``, ``square feet``, ``m s^-2`` have them."""
    while len(found) < _MAX_FACTORS:
        start = cursor.position
        sign = 1
        if cursor.skip("/", "per"):
            sign = -1
        elif found:
            cursor.skip("*", "-")
        if cursor.at("frac") and not found:
            return _quotient(cursor)
        enlarged = ENLARGED.get(cursor.peek().text.lower(), 1)
        if enlarged > 1:
            cursor.next()
            cursor.skip(".")
        word = _symbol(cursor, free=not found or sign < 0 or cursor.tokens[cursor.position - 1].text == "*")
        if not word:
            cursor.position = start
            return found or None
        cursor.skip(".")
        found.append((word, sign * enlarged * _power(cursor)))
    return found


def _quotient(cursor: Cursor) -> list[tuple[str, int]] | None:
    r"""Read ``\frac{\text{m}}{\text{s}^2}``."""
    cursor.next()
    parts: list[list[tuple[str, int]]] = []
    for _ in range(2):
        inside = _factors(cursor, []) if cursor.skip("{") else None
        if inside is None or not cursor.skip("}"):
            return None
        parts.append(inside)
    return parts[0] + [(word, -power) for word, power in parts[1]]


def is_prefixed(cursor: Cursor) -> bool:
    r"""Whether a unit is here whose prefix is another token: ``\mu\text{m}``, ``\text{k}\Omega``."""
    token, unit = cursor.peek(), cursor.peek(1)
    if token.kind == "command" and token.text == "mu":
        return unit.roman and bool(unit.glued)
    return token.kind == "name" and token.roman and token.text in "kmMG" and unit.text == "Omega"


def _symbol(cursor: Cursor, free: bool) -> str:
    """Read one word or symbol of a unit, a run of letters as one; "" if there is none.

    free: whether it may be a letter without ``\\text``, which beside another is a variable: ``2 m g h``.
    """
    token = cursor.peek()
    prefix = ""
    if token.kind == "command" and token.text == "mu":
        cursor.next()
        prefix, token = "µ", cursor.peek()
    elif token.kind == "name" and token.text in "kmMG" and cursor.peek(1).text == "Omega":
        cursor.next()
        prefix, token = token.text, cursor.peek()
    if token.kind == "money" or (token.kind == "command" and token.text == "Omega"):
        cursor.next()
        return prefix + token.text.replace("Omega", "ohm")
    if token.kind == "word" or (token.kind == "function" and token.glued):
        cursor.next()
        return prefix + token.text
    run = token.glued or token.text
    known = token.roman or prefix or (token.glued if len(run) > 1 or token.spaced else free and not token.spaced)
    if token.kind != "name" or not known or (len(run) == 1 and not (free or token.roman)):
        return ""
    cursor.position += 1 if token.text == run else len(run)
    return prefix + run


def _power(cursor: Cursor) -> int:
    if not cursor.skip("^"):
        return 1
    brace = cursor.skip("{")
    sign = -1 if cursor.skip("-") else 1
    value = cursor.next().value
    if value is None or value.denominator != 1 or value > 9 or (brace and not cursor.skip("}")):
        return 99  # no power that a unit has
    return sign * int(value)
