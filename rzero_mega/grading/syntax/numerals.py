r"""Numbers: mixed ones (``2\frac{1}{2}``), in a base (``1011_2``), in words (``two thirds``, ``zero point five``)."""

from __future__ import annotations

from fractions import Fraction

from rzero_mega.grading.expressions.tree import Node, Number, Quantity, Unreadable
from rzero_mega.grading.syntax.cursor import Cursor
from rzero_mega.grading.text.units import base_unit
from rzero_mega.grading.text.vocabulary import DIGITS, ONES, PARTS, SCALES, TENS


def read_number(cursor: Cursor, whole: Fraction) -> Node:
    """Read what a number begins whose digits have been read: a mixed number, one in a base, "2 thirds", or itself."""
    start = cursor.position
    if whole.denominator == 1 and cursor.skip("_"):
        return _in_base(whole, cursor.subscript())
    if whole.denominator == 1 and cursor.at("frac") and not (cursor.peek(1).text == "{" and cursor.peek(2).roman):
        cursor.next()
        top, bottom = cursor.argument(), cursor.argument()
        if isinstance(top, Number) and isinstance(bottom, Number) and 0 < top.value < bottom.value:
            return Number(whole + top.value / bottom.value)
        cursor.position = start
        return Number(whole)
    above, sign, below = cursor.peek(), cursor.peek(1), cursor.peek(2)
    proper = above.spaced and sign.text == "/" and 0 < (above.value or 0) < (below.value or 0)
    if whole.denominator == 1 and proper and above.value is not None and below.value is not None:
        cursor.position += 3
        return Number(whole + above.value / below.value)
    return Number(read_parts(cursor, whole))


def _in_base(digits: Fraction, subscript: str) -> Quantity:
    """Return a numeral with its base, which may be left off as a unit may, and is never converted."""
    base = subscript.strip("()").lower().removeprefix("base")
    base = str(ONES.get(base, base))
    if not base.isdigit() or not 2 <= int(base) <= 36 or any(int(digit) >= int(base) for digit in str(digits)):
        raise Unreadable("no base")
    return Quantity(Number(digits), base_unit(base))


def read_numeral(cursor: Cursor) -> Fraction | None:
    """Read a number in words and go on behind it; None, without a move, if there is none here."""
    start = cursor.position
    if cursor.at_word("half"):
        cursor.next()
        return Fraction(1, 2)
    total, group = 0, _below_thousand(cursor)
    if group is None:
        return None
    while (word := cursor.peek().text.lower()) in SCALES and cursor.peek().kind == "word":
        cursor.next()
        total += group * SCALES[word]
        cursor.skip("and")
        group = _below_thousand(cursor) or 0
    value = Fraction(total + group)
    if cursor.at_word("point") and cursor.peek(1).text.lower() in DIGITS:
        return value + _decimals(cursor)
    if _word(cursor) in (*ONES, *TENS, *SCALES, "hundred"):
        cursor.position = start  # "five six" is no number
        return None
    return value


def read_parts(cursor: Cursor, whole: Fraction) -> Fraction:
    """Return the number that a whole one and what follows it make: "2 thirds", "two and three quarters"."""
    start = cursor.position
    cursor.skip("-")
    if (part := PARTS.get(_word(cursor))) is not None:
        cursor.next()
        return whole / part
    cursor.position = start
    if cursor.skip("and"):
        if cursor.peek().text == "a":
            cursor.next()
            numerator: Fraction | None = Fraction(1)
        else:
            numerator = read_numeral(cursor)
        part = PARTS.get(_word(cursor))
        if numerator is not None and part is not None and numerator < part:
            cursor.next()
            return whole + numerator / part
    cursor.position = start
    return whole


def _word(cursor: Cursor) -> str:
    token = cursor.peek()
    return token.text.lower() if token.kind == "word" else ""


def _decimals(cursor: Cursor) -> Fraction:
    cursor.next()
    digits = ""
    while _word(cursor) in DIGITS:
        digits += str(DIGITS[_word(cursor)])
        cursor.next()
    return Fraction(int(digits), 10 ** len(digits))


def _below_thousand(cursor: Cursor) -> int | None:
    """Read "three hundred and sixty-five" and the like."""
    small = _below_hundred(cursor)
    if small is None:
        return None
    if not cursor.skip("hundred"):
        return small
    start = cursor.position
    cursor.skip("and")
    rest = _below_hundred(cursor)
    if rest is None:
        cursor.position = start
    return 100 * small + (rest or 0)


def _below_hundred(cursor: Cursor) -> int | None:
    word = _word(cursor)
    if word in ONES:
        cursor.next()
        return ONES[word]
    if word not in TENS:
        return None
    cursor.next()
    start = cursor.position
    cursor.skip("-")
    ones = ONES.get(_word(cursor), 0)
    if not 0 < ones < 10:
        cursor.position = start
        return TENS[word]
    cursor.next()
    return TENS[word] + ones
