"""An answer as it is compared: what its text may mean, each meaning as a tree with its unit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from rzero_mega.grading.expressions.building import product
from rzero_mega.grading.expressions.tree import Group, Matrix, Name, Node, Number, Relation, Unreadable, is_scalar
from rzero_mega.grading.mathematics.exact import canonical, exact_value
from rzero_mega.grading.syntax.parser import Parsed, parse, readings_of
from rzero_mega.grading.text.clauses import without_clauses
from rzero_mega.grading.text.extraction import MAX_ANSWER_CHARS
from rzero_mega.grading.text.moments import read_date, read_time
from rzero_mega.grading.text.normalisation import PLAIN_NUMBER, normalise
from rzero_mega.grading.text.numerals import read_numeral, split_modulus
from rzero_mega.grading.text.quantities import Quantity, quantity
from rzero_mega.grading.text.units import DEGREE, PERCENT, Unit
from rzero_mega.grading.text.words import in_symbols, prose_key

_OTHER_NAMES = {"lb": Unit("sterling", "sterling")}
"""What else a unit's name may mean."""

_CHOICE = re.compile(r"^(?:\\text\{ ?)?(?:\(([A-J])\) ?\}?|([A-J])[.)] ?\}?(?= )) ?(?=[^ (])(.+)$")
_CHOOSE = re.compile(r"C\((\d{1,4}), ?(\d{1,4})\)|(?:\{ ?\})?[_^] ?\{?(\d{1,4})\}? ?C ?_ ?\{?(\d{1,4})\}?")
_LIST_IN_TEXT = re.compile(r"^\\text\{((?:\([A-Z]\)|[A-Z]|\d|and|or|,| )+)\}$")
_RELATION = re.compile(r"[<>=!]|\\(?:le|ge|ne)\b")
_MAX_LABEL_CHARS = 200


@dataclass(frozen=True, slots=True)
class Reading:
    """One meaning of an answer.

    key: equal for meanings that are equal by text or by rational arithmetic, units apart. tree: the answer as written,
    its unit apart; None if the text isn't an expression within limits, which is then compared by `key` alone.
    value: the same in base units (of a percentage, an angle or a numeral the number it stands for).
    rational: the exact value of `tree` if that is a plain rational number. scalar: whether it is a number at all.
    """

    key: str
    tree: Node | None
    value: Node | None
    unit: Unit | None = None
    rational: Fraction | None = None
    scalar: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read.

    readings: what it may mean, the likeliest first. text: its normalised text. key, unit: together they tell whether
    two answers have the same readings. tree: that of the first reading.
    """

    key: str
    unit: str
    tree: Node | None
    readings: tuple[Reading, ...]
    text: str


def read_answer(text: str) -> Answer:
    """Read an extracted answer. Never raises; a text over the length limit equals only itself."""
    if len(text) > MAX_ANSWER_CHARS:
        key = "overlong:" + text
        return Answer(key, "", None, (Reading(key, None, None),), "")  # not kept: thousands of megabytes could be
    return _read(text)


@lru_cache(maxsize=8192)
def _read(text: str) -> Answer:
    normalised = without_clauses(normalise(text))
    readings = tuple(_readings(normalised)) or (Reading("text:" + prose_key(normalised), None, None),)
    first = readings[0]
    key = " | ".join([first.key, *(f"{other.key} {other.unit.name if other.unit else ''}" for other in readings[1:])])
    return Answer(key, first.unit.name if first.unit else "", first.tree, readings, normalised)


def _readings(text: str) -> Iterator[Reading]:
    if PLAIN_NUMBER.fullmatch(text):
        tree = Number(Fraction(text))
        yield Reading(canonical(tree), tree, tree, None, tree.value, True)
        return
    if date := read_date(text):
        yield Reading("text:date " + date, None, None)
        return
    if time := read_time(text):
        numbers = [
            Group("time", tuple(Number(Fraction(part)) for part in parts)) for parts in (time.written, time.value)
        ]
        yield _reading(numbers[0], numbers[1], Unit(time.half, "", number=True) if time.half else None)
        if time.half or 0 < time.written[1] < 10:  # 3:05 is no ratio
            return
    text = in_symbols(text)
    if numeral := read_numeral(text):
        digits = numeral.digits
        written = Number(Fraction(digits)) if digits.lstrip("-").isdigit() else Name(digits)
        yield _reading(written, Number(Fraction(numeral.value)), Unit(f"base {numeral.base}", "", number=True))
        return
    if residue := split_modulus(text):
        yield from _residue(*residue)
        return
    if (choice := _CHOICE.match(text)) and (content := list(_expressions(choice[3]))):
        letter = Name(choice[1] or choice[2])
        for reading in content:
            yield _labelled(letter, reading)
        yield _reading(letter, letter)
        return
    if choose := _CHOOSE.fullmatch(text):  # C(6, 2) may be a point, too
        above, below = [digits for digits in choose.groups() if digits]
        yield from _expressions(rf"\binom{{{above}}}{{{below}}}")
    found = list(_expressions(text))
    yield from found or _named(text)


def _reading(tree: Node, value: Node, unit: Unit | None = None) -> Reading:
    return Reading(canonical(tree), tree, value, unit, exact_value(tree), is_scalar(tree))


def _labelled(label: Node, reading: Reading) -> Reading:
    assert reading.tree is not None and reading.value is not None
    return _reading(Relation("=", label, reading.tree), Relation("=", label, reading.value), reading.unit)


def _expressions(text: str) -> Iterator[Reading]:
    """Yield the readings of a text as an expression, with its unit and without."""
    split = quantity(text)
    found = False
    if split.unit is not None or split.body != text:
        for reading in _of_quantity(split):
            found = True
            yield reading
    if found and not split.doubtful:
        return
    try:
        parsed = readings_of(text)
    except Unreadable:
        return
    yield from map(_marked, parsed)


def _of_quantity(split: Quantity) -> Iterator[Reading]:
    try:
        parsed = readings_of(split.body)
    except Unreadable:
        return
    unit = split.unit
    for each in parsed:
        if unit is None:
            yield _marked(each)
            continue
        yield _reading(each.tree, _scaled(each.tree, Number(unit.scale)), unit)
        if other := _OTHER_NAMES.get(unit.name):
            yield _reading(each.tree, each.tree, other)


def _marked(parsed: Parsed) -> Reading:
    """Return the reading of an expression with percent or degree signs, which count as its unit."""
    unit = PERCENT if parsed.percent else DEGREE if parsed.degrees else None
    return _reading(parsed.tree, parsed.value, unit)


def _residue(body: str, modulus: str) -> Iterator[Reading]:
    unit = Unit(f"mod {modulus}", f"mod {modulus}", number=True)
    try:
        tree = parse(body)
    except Unreadable:
        return
    divisor = int(modulus) if modulus.isdigit() else 0

    def reduced(node: Node) -> Node:
        value = exact_value(node)
        return Number(value % divisor) if value is not None and value.denominator == 1 and divisor else node

    yield _reading(tree, map_values(tree, reduced), unit)


def _named(text: str) -> Iterator[Reading]:
    r"""Yield the readings of an answer whose left side is only a name for this grader (``\text{Area} = 5``)."""
    if listed := _LIST_IN_TEXT.match(text):
        yield from _expressions(listed[1])
        return
    left, sign, right = text.rpartition("=")
    outside = re.sub(r"\{[^{}]*\}", "", left)
    if sign and left.strip() and len(left) <= _MAX_LABEL_CHARS and not _RELATION.search(outside):
        for reading in _expressions(right.strip()):
            yield _labelled(Name("text " + prose_key(left)), reading)


def _scaled(node: Node, size: Node) -> Node:
    return map_values(node, lambda value: product([size, value]))


def map_values(node: Node, change: Callable[[Node], Node]) -> Node:
    """Return `node` with `change` applied to the values in it: the right sides, members, bounds and entries."""
    match node:
        case Relation(operator, left, right):
            return Relation(operator, left, map_values(right, change))
        case Group(kind, items):
            return Group(kind, tuple(map_values(item, change) for item in items))
        case Matrix(rows):
            return Matrix(tuple(tuple(map_values(entry, change) for entry in row) for row in rows))
        case _:
            return change(node)
