"""An answer as it is compared: its text, or a tree with its unit set apart."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from rzero_mega.grading.expressions.building import product
from rzero_mega.grading.expressions.tree import (
    DEGREE,
    Group,
    Name,
    Node,
    Number,
    Quantity,
    Relation,
    Unit,
    Unreadable,
    is_scalar,
    rebuilt,
    walk,
)
from rzero_mega.grading.mathematics.exact import canonical, exact_value
from rzero_mega.grading.syntax.parser import parse
from rzero_mega.grading.text.extraction import MAX_ANSWER_CHARS
from rzero_mega.grading.text.normalisation import PLAIN_NUMBER, normalise
from rzero_mega.grading.text.units import DEGREES
from rzero_mega.grading.text.vocabulary import in_symbols, prose_key, without_integer

CHOICE = "choice "
"""How the name of a choice begins that is given with what stands beside it."""

_LETTER = r"(?:\(([A-J])\):?|([A-J])[.):])"
_BESIDE = r"(?!\\text|and |or )([\w\\$.]|-[\d.])"
_CHOICES = (
    re.compile(rf"^\\text\{{ ?{_LETTER} ?\}} ?(?={_BESIDE})(?P<beside>.+)$"),
    re.compile(rf"^\\text\{{ ?{_LETTER} (?={_BESIDE})(?P<beside>[^{{}}]+)\}}$"),
    re.compile(rf"^{_LETTER} (?={_BESIDE})(?P<beside>.+)$"),
)
_CHOOSE = re.compile(r"C\((\d{1,4}), ?(\d{1,4})\)")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read.

    key, unit: equal for answers that are equal by text or by rational arithmetic. tree: the answer as written, its unit
    apart; None if the text isn't an expression within limits, which is then compared by `key` alone. value: the same in
    base units (of a percentage or an angle the number it stands for). rational: the exact value of `tree` if that is a
    plain rational number. scalar: whether it is a number at all. text: its normalised text.
    """

    key: str
    text: str
    tree: Node | None = None
    value: Node | None = None
    unit: Unit | None = None
    rational: Fraction | None = None
    scalar: bool = False


def read_answer(text: str) -> Answer:
    """Read an extracted answer. Never raises; a text over the length limit equals only itself."""
    if len(text) > MAX_ANSWER_CHARS:
        return Answer("overlong:" + text, "")  # not kept: thousands of megabytes could be
    return _read(text)


@lru_cache(maxsize=8192)
def _read(text: str) -> Answer:
    normalised = normalise(text)
    if PLAIN_NUMBER.fullmatch(normalised):
        tree = Number(Fraction(normalised))
        return Answer(canonical(tree), normalised, tree, tree, None, tree.value, True)
    try:
        return _with_unit(_tree(in_symbols(without_integer(normalised))), normalised)
    except Unreadable:
        return Answer("text:" + prose_key(normalised), normalised)


def _tree(text: str) -> Node:
    if choice := next(filter(None, (form.match(text) for form in _CHOICES)), None):
        try:
            beside = parse(choice["beside"])
        except Unreadable:
            beside = Name("text " + prose_key(choice["beside"]))
        return Relation("=", Name(CHOICE + (choice[1] or choice[2])), beside)
    if choose := _CHOOSE.fullmatch(text):
        text = rf"\binom{{{choose[1]}}}{{{choose[2]}}}"
    return parse(text)


def _with_unit(tree: Node, text: str) -> Answer:
    """Set the unit of a tree apart. Raises `Unreadable` for units of two kinds, or inside arithmetic."""
    units = {part.unit for part in walk(tree) if isinstance(part, Quantity)}
    if len({(unit.dimension, unit.number and unit.name) for unit in units}) > 1:
        raise Unreadable("units of several kinds")
    unit = None if not units else units.pop() if len(units) == 1 else Unit("base", units.pop().dimension)
    value = tree
    if unit is not None:
        common = unit.name != "base"
        value = _replaced(tree, _in_base_units)
        tree = _replaced(tree, lambda quantity: quantity.value if common else _in_base_units(quantity))
    return Answer(canonical(tree), text, tree, value, unit, exact_value(tree), is_scalar(tree))


def _replaced(node: Node, change: Callable[[Quantity], Node], inside: bool = False) -> Node:
    if isinstance(node, Quantity):
        if inside and not node.unit.number:
            raise Unreadable("a unit inside arithmetic")
        return _each(node.value, lambda value: change(Quantity(value, node.unit)))
    whole = isinstance(node, Group | Relation)
    return rebuilt(node, lambda part: _replaced(part, change, inside or not whole))


def _each(node: Node, change: Callable[[Node], Node]) -> Node:
    """Apply a change to what has a unit: all items of a list or interval."""
    return rebuilt(node, lambda item: _each(item, change)) if isinstance(node, Group) else change(node)


def _in_base_units(quantity: Quantity) -> Node:
    if quantity.unit == DEGREES:
        return product([quantity.value, DEGREE])
    if quantity.unit.modulus.isdigit() and (divisor := int(quantity.unit.modulus)):
        number = exact_value(quantity.value)
        whole = number is not None and number.denominator == 1
        return Number(number % divisor) if number is not None and whole else quantity.value
    return quantity.value if quantity.unit.scale == 1 else product([Number(quantity.unit.scale), quantity.value])
