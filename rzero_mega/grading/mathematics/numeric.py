"""Numeric equality: two expressions are compared at fixed points, first in doubles, then in as many digits as it takes.

A difference that stands out from rounding refutes equality. A difference that vanishes to far more digits than the
expressions' own size could explain confirms it; for expressions with variables that is the Schwartz-Zippel argument
(J. Schwartz, JACM 27 (1980)) over fixed points. Far quicker than symbolic simplification, and it doesn't depend on
whether a simplifier happens to find the way. `Undecided` is raised where a value is not defined or too large to be
computed safely.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from rzero_mega.grading.expressions.tree import (
    MAX_BITS,
    Call,
    Constant,
    Name,
    Node,
    Number,
    Power,
    Product,
    Sum,
    names,
    walk,
)

POSITIVE_POINTS = 3
POINTS = 6
"""Points 0-2 give every variable a positive value, 3-5 values of either sign.

At the latter an expression without i has a value only if all parts of it are real, as ``\\sqrt{x}\\sqrt{y}`` then is
``\\sqrt{xy}`` wherever both have one.
"""

_FIRST_BITS = 128
_GAP_BITS = 128
_MAX_SPAN = 2_000
_INTEGERS = frozenset("nmk")
"""Variables that stand for integers by custom; with integer points ``(-1)^n`` equals ``\\cos(n\\pi)``."""


class Undecided(ArithmeticError):
    """The expression has no finite value here, or none that is safe to compute."""


@dataclass(frozen=True, slots=True)
class PointValue:
    """The value of an expression at one point, and the largest ``|log2|`` met on the way to it."""

    value: Any
    span: int


@lru_cache(maxsize=4096)
def point(name: str, index: int) -> Fraction:
    """Return the value of variable `name` at point `index`: fixed, different for each name, never zero."""
    digest = int.from_bytes(hashlib.blake2b(f"{name}:{index}".encode(), digest_size=8).digest(), "big")
    if name in _INTEGERS:
        return Fraction(2 + index + 3 * (digest % 2) if index < POSITIVE_POINTS else index - 9 + digest % 3)
    size = Fraction(300_007 + digest % 2_500_009, 1_000_003)
    return -size if index >= POSITIVE_POINTS and (digest >> 40) % 3 else size


class Evaluator:
    """Evaluates trees in one mpmath context (`mpmath.fp` for doubles, an `MPContext` for more) at one point."""

    def __init__(self, context: Any, index: int, max_bits: int = MAX_BITS) -> None:
        self._context = context
        self._index = index
        self._max_bits = max_bits
        self._span = 0
        self._real = False
        self._functions = _functions(context)

    def evaluate(self, node: Node) -> PointValue:
        """Return the value of `node`; raises `Undecided` where it has none."""
        self._span = 0
        self._real = self._index >= POSITIVE_POINTS and Constant("i") not in walk(node)
        try:
            return PointValue(self._value(node), self._span)
        except (ArithmeticError, ValueError, TypeError, NotImplementedError) as error:
            raise Undecided(str(error)) from error

    def _value(self, node: Node) -> Any:
        match node:
            case Number(value):
                result = self._rational(value)
            case Name(name):
                result = self._rational(point(name, self._index))
            case Constant(name):
                result = self._constant(name)
            case Sum(terms):
                result = sum(map(self._value, terms))
            case Product(factors):
                result = self._rational(Fraction(1))
                for factor in factors:
                    result = result * self._value(factor)
            case Power(base, exponent):
                result = self._power(self._value(base), self._value(exponent), exponent)
            case Call(function, arguments):
                result = self._call(function, [self._value(argument) for argument in arguments])
            case _:
                raise Undecided("not a number")
        return self._measured(result)

    def _measured(self, value: Any) -> Any:
        if value == 0:
            return value
        if self._real and not _is_real(value):
            raise Undecided("a part of it is not real here")
        if self._context.isinf(value) or self._context.isnan(value):
            raise Undecided("not finite")
        size = abs(int(self._context.mag(value)))
        if size > self._max_bits:
            raise Undecided("too large")
        self._span = max(self._span, size)
        return value

    def _rational(self, value: Fraction) -> Any:
        if self._max_bits < MAX_BITS:
            return float(value)
        return self._context.mpf(value.numerator) / value.denominator

    def _constant(self, name: str) -> Any:
        match name:
            case "pi":
                return +self._context.pi
            case "e":
                return +self._context.e
            case "i":
                return self._context.mpc(0, 1)
        raise Undecided("infinite")

    def _power(self, base: Any, exponent: Any, written: Node) -> Any:
        """Return the principal power, after making sure that its size is bounded."""
        if base == 0:
            if getattr(exponent, "real", exponent) > 0:
                return base
            raise Undecided("power of zero")
        size = abs(exponent) * (abs(int(self._context.mag(base))) + 2)
        if size > self._max_bits:
            raise Undecided("power too large")
        if isinstance(written, Number) and written.value.denominator == 1:
            return base ** int(written.value)
        return self._context.power(base, exponent)

    def _call(self, function: str, values: list[Any]) -> Any:
        if any(abs(value) > 2.0**30 for value in values) and function not in ("ln", "log", "abs", "max", "min", "root"):
            raise Undecided("argument too large")
        return self._functions[function](*values)


def _functions(context: Any) -> Mapping[str, Callable[..., Any]]:
    return {
        **{name: getattr(context, name) for name in ("sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan")},
        **{name: getattr(context, name) for name in ("sinh", "cosh", "tanh", "coth", "sech", "csch", "ln", "binomial")},
        "log": lambda argument, base: context.ln(argument) / context.ln(base),
        "abs": abs,
        "floor": lambda value: context.floor(_clear_of_integers(context, value)),
        "ceiling": lambda value: context.ceil(_clear_of_integers(context, value)),
        "factorial": _factorial(context),
        "root": lambda value, degree: _real_root(context, value, degree),
        "max": lambda *values: max(map(_real, values)),
        "min": lambda *values: min(map(_real, values)),
    }


def _real(value: Any) -> Any:
    if getattr(value, "imag", 0) != 0:
        raise Undecided("complex numbers have no order")
    return value.real


def _clear_of_integers(context: Any, value: Any) -> Any:
    """Refuse a value so near an integer that rounding decides its floor, unless it is that integer."""
    value = _real(value)
    nearest = context.floor(value + 0.5)
    if value != nearest and abs(value - nearest) < 2.0**-30:
        raise Undecided("floor depends on rounding")
    return value


def _factorial(context: Any) -> Callable[[Any], Any]:
    def factorial(value: Any) -> Any:
        if abs(value) > 2_000:
            raise Undecided("factorial too large")
        return context.gamma(value + 1)

    return factorial


def _real_root(context: Any, value: Any, degree: Any) -> Any:
    if value == 0:
        return value
    real = _real(value)
    root = context.power(abs(real), 1 / degree)
    return root if real > 0 else -root


@lru_cache(maxsize=8192)
def values_in_doubles(node: Node) -> tuple[PointValue | None, ...]:
    """Return the values of `node` in doubles, None where undecided; at one point only if it has no variables."""
    from mpmath import fp  # type: ignore[import-untyped]  # not at import: 20 ms that callers of extract_answer need not pay

    values: list[PointValue | None] = []
    for index in range(POINTS if names(node) else 1):
        try:
            values.append(Evaluator(fp, index, max_bits=1_000).evaluate(node))
        except Undecided:
            values.append(None)
    return tuple(values)


def refuted_in_doubles(left: Node, right: Node) -> bool:
    """Whether doubles suffice to tell the two expressions apart. False means "perhaps equal"."""
    left_values, right_values = values_in_doubles(left), values_in_doubles(right)
    for index in range(max(len(left_values), len(right_values))):
        a = left_values[min(index, len(left_values) - 1)]
        b = right_values[min(index, len(right_values) - 1)]
        if a is None or b is None or (index >= POSITIVE_POINTS and not (_is_real(a.value) and _is_real(b.value))):
            continue
        if abs(a.value - b.value) > _rounding(max(a.span, b.span), 53):
            return True
    return False


def _rounding(span: int, bits: int) -> float:
    """Bound the rounding error of a value whose evaluation met sizes within ``2**±span``, with ten bits to spare."""
    return math.ldexp(1.0, min(1_000, 2 * span + 10 - bits))


def _is_real(value: Any) -> bool:
    return bool(abs(getattr(value, "imag", 0)) <= abs(value) * 2.0**-40)


def same_value(left: Node, right: Node) -> bool:
    """Whether two expressions are equal at every point where both can be computed. Raises `Undecided` if none."""
    count = POINTS if names(left) | names(right) else 1
    decided = 0
    for index in range(count):
        try:
            if not _same_at(left, right, index):
                return False
            decided += 1
        except Undecided:
            continue
    if decided < min(count, 2):
        raise Undecided("no point where both have values")
    return True


def _same_at(left: Node, right: Node, index: int) -> bool:
    a, b = values_at((left, right), index, _FIRST_BITS)
    if index >= POSITIVE_POINTS and not (_is_real(a.value) and _is_real(b.value)):
        raise Undecided("not real here")
    span = max(a.span, b.span)
    if 2 * span + 10 < _FIRST_BITS and abs(a.value - b.value) > _rounding(span, _FIRST_BITS):
        return False
    if span > _MAX_SPAN:
        raise Undecided("too wide a span")
    a, b = values_at((left, right), index, 2 * span + 3 * _GAP_BITS)
    return is_negligible(a.value - b.value, span)


def is_negligible(difference: Any, span: int) -> bool:
    """Whether a difference computed with ``2 * span + 384`` bits is nothing but rounding."""
    if difference == 0:
        return True
    return bool(difference.context.mag(difference) < -(_GAP_BITS + span))


def values_at(nodes: tuple[Node, ...], index: int, bits: int) -> tuple[PointValue, ...]:
    """Return the values of `nodes` at point `index`, computed with `bits` bits."""
    evaluator = Evaluator(_context(-(-bits // 64) * 64), index)
    return tuple(evaluator.evaluate(node) for node in nodes)


@lru_cache(maxsize=64)
def _context(bits: int) -> Any:
    """Return an mpmath context of its own for each precision: nobody sets the precision of another's."""
    from mpmath.ctx_mp import MPContext  # type: ignore[import-untyped]

    context = MPContext()
    context.prec = bits
    return context


def proportional(left: Node, right: Node, positive: bool) -> bool:
    """Whether ``left = c * right`` for one non-zero constant c (`positive`: c > 0), so that both vanish together.

    Raises `Undecided` if too few points have values.
    """
    if names(left) != names(right):
        return False
    pairs = _precisely(left, right)
    if any(is_negligible(a, span) or is_negligible(b, span) for a, b, span in pairs):
        raise Undecided("no point where both have values")
    a0, b0, span0 = pairs[0]
    if any(not is_negligible(a * b0 - a0 * b, span + span0) for a, b, span in pairs[1:]):
        return False
    return not positive or bool((a0 / b0).real > 0)


def differ_by_a_constant(left: Node, right: Node) -> bool:
    """Whether ``left - right`` is the same everywhere. Raises `Undecided` if too few points have values."""
    pairs = _precisely(left, right)
    a0, b0, span0 = pairs[0]
    return all(is_negligible((a - b) - (a0 - b0), max(span, span0)) for a, b, span in pairs[1:])


def _precisely(left: Node, right: Node) -> list[tuple[Any, Any, int]]:
    """Return both values at every positive point, with the span, in digits enough for products of two of them."""
    pairs = []
    for index in range(POSITIVE_POINTS):
        try:
            a, b = values_at((left, right), index, _FIRST_BITS)
            span = max(a.span, b.span)
            if span > _MAX_SPAN:
                continue
            a, b = values_at((left, right), index, 4 * span + 3 * _GAP_BITS)
        except Undecided:
            continue
        pairs.append((a.value, b.value, span))
    if len(pairs) < 2:
        raise Undecided("no point where both have values")
    return pairs
