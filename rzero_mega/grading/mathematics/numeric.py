"""Numeric equality: two expressions are compared at fixed points, first in doubles, then in as many digits as it takes.

A difference that stands out from rounding refutes equality. A difference that vanishes to far more digits than the
expressions' own size could explain confirms it; for expressions with variables that is the Schwartz-Zippel argument
(J. Schwartz, JACM 27 (1980)) over fixed points. It holds for analytic expressions. Where one has kinks (``|x - 3|``),
points on both sides of each kink join; what has values between which nothing can be said (`functions.OPAQUE`) counts as
a variable of its own. `Undecided` is raised where a value is not defined or too large to be computed safely.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from typing import Any, TypeAlias

from rzero_mega.grading.expressions.functions import OPAQUE
from rzero_mega.grading.expressions.tree import (
    MAX_BITS,
    MINUS_ONE,
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
from rzero_mega.grading.mathematics.exact import exact_value

Point: TypeAlias = tuple[int, str, Fraction]
"""An index from which every variable gets its value, and one variable with a value of its own ("" for none)."""

POSITIVE_POINTS = 3
POINTS = 6
"""Points 0-2 give every variable a positive value, 3-5 values of either sign.

At the latter an expression without i has a value only if all parts of it are real, as ``\\sqrt{x}\\sqrt{y}`` then is
``\\sqrt{xy}`` wherever both have one.
"""
_FAR = (40, 3_000_000)
"""Sizes of variables at further points, of either sign, where an expression has kinks."""
_MAX_KINKS = 12
_BESIDE = Fraction(1, 1_009)

_FIRST_BITS = 128
_GAP_BITS = 128
_MAX_SPAN = 2_000
_INTEGERS = {"n": 5, "m": 3, "k": 2}
"""Variables that stand for integers by custom; with integer points ``(-1)^n`` equals ``\\cos(n\\pi)``."""


class Undecided(ArithmeticError):
    """The expression has no finite value here, or none that is safe to compute."""


@dataclass(frozen=True, slots=True)
class PointValue:
    """The value of an expression at one point, and the largest ``|log2|`` met on the way to it."""

    value: Any
    span: int


@lru_cache(maxsize=4096)
def coordinate(name: str, index: int) -> Fraction:
    """Return the value of variable `name` at point `index`: fixed, different for each name, never zero."""
    digest = int.from_bytes(hashlib.blake2b(f"{name}:{index}".encode(), digest_size=8).digest(), "big")
    whole = name in _INTEGERS
    if index >= POINTS:
        size = Fraction(_FAR[(index - POINTS) // 2]) * (500_009 + digest % 1_000_003) / 1_000_003
        return Fraction(round(size) if whole else size) * (1 if (index + (digest >> 40)) % 2 else -1)
    if whole:
        return Fraction(_INTEGERS[name] + 2 * index if index < POSITIVE_POINTS else -_INTEGERS[name] - index)
    size = Fraction(300_007 + digest % 2_500_009, 1_000_003)
    return -size if index >= POSITIVE_POINTS and (digest >> 40) % 3 else size


class Evaluator:
    """Evaluates trees in one mpmath context (`mpmath.fp` for doubles, an `MPContext` for more) at one point."""

    def __init__(self, context: Any, point: Point, max_bits: int = MAX_BITS) -> None:
        self._context = context
        self._point = point
        self._max_bits = max_bits
        self._span = 0
        self._real = False
        self._functions = _functions(context)

    def evaluate(self, node: Node) -> PointValue:
        """Return the value of `node`; raises `Undecided` where it has none."""
        self._span = 0
        self._real = self._point[0] >= POSITIVE_POINTS and Constant("i") not in walk(node)
        try:
            return PointValue(self._value(node), self._span)
        except (ArithmeticError, ValueError, TypeError, NotImplementedError) as error:
            raise Undecided(str(error)) from error

    def _value(self, node: Node) -> Any:
        match node:
            case Number(value):
                result = self._rational(value)
            case Name(name):
                index, own, value = self._point
                result = self._rational(value if name == own else coordinate(name, index))
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
            case Call(function, arguments) if function in OPAQUE:
                result = self._opaque(node)
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

    def _opaque(self, node: Call) -> Any:
        exact = exact_value(node)
        if exact is not None:
            return self._rational(exact)
        if names(node):
            return self._rational(coordinate(fingerprint(node), self._point[0]))
        return self._call(node.function, [self._value(argument) for argument in node.arguments])

    def _call(self, function: str, values: list[Any]) -> Any:
        if any(abs(value) > 2.0**30 for value in values) and function not in ("ln", "log", "abs", "max", "min", "root"):
            raise Undecided("argument too large")
        return self._functions[function](*values)


_CIRCULAR = ("sin", "cos", "tan", "cot", "sec", "csc")


def _functions(context: Any) -> Mapping[str, Callable[..., Any]]:
    direct = (*_CIRCULAR, *(f"{name}h" for name in _CIRCULAR), "asin", "acos", "atan", "ln", "binomial")
    return {
        **{name: getattr(context, name) for name in direct},
        **_inverses(context),
        "log": lambda argument, base: context.ln(argument) / context.ln(base),
        "abs": abs,
        "floor": lambda value: context.floor(_clear_of_integers(context, value)),
        "ceiling": lambda value: context.ceil(_clear_of_integers(context, value)),
        "factorial": _factorial(context),
        "root": lambda value, degree: _real_root(context, value, degree),
        "max": lambda *values: max(map(_real, values)),
        "min": lambda *values: min(map(_real, values)),
        "gcd": _not_computed, "lcm": _not_computed,
    }  # fmt: skip


def _inverses(context: Any) -> Mapping[str, Callable[[Any], Any]]:
    """Return the inverse functions that mpmath's doubles have not, by those that they have."""

    def asinh(x: Any) -> Any:
        return -asinh(-x) if getattr(x, "real", x) < 0 else context.ln(x + context.sqrt(x * x + 1))

    def acosh(x: Any) -> Any:
        return context.ln(x + context.sqrt(x - 1) * context.sqrt(x + 1))

    def atanh(x: Any) -> Any:
        return (context.ln(1 + x) - context.ln(1 - x)) / 2

    return {
        "asinh": asinh, "acosh": acosh, "atanh": atanh,
        "acot": lambda x: context.atan(1 / x), "asec": lambda x: context.acos(1 / x),
        "acsc": lambda x: context.asin(1 / x), "acoth": lambda x: atanh(1 / x),
        "asech": lambda x: acosh(1 / x), "acsch": lambda x: asinh(1 / x),
    }  # fmt: skip


def _not_computed(*values: Any) -> Any:
    raise Undecided("exact arithmetic has not decided it")


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


@lru_cache(maxsize=4096)
def fingerprint(node: Call) -> str:
    """Return a name for an opaque call: the same for arguments that have the same values at two points."""
    context = _context(_FIRST_BITS)
    found = []
    for argument in node.arguments:
        values = [Evaluator(context, (index, "", Fraction(0))).evaluate(argument).value for index in (0, 1)]
        found.append("/".join(str(context.nstr(value, 30)) for value in values))
    return f"{node.function}({','.join(sorted(found))}) of {sorted(names(node))}"


@lru_cache(maxsize=8192)
def values_in_doubles(node: Node) -> tuple[PointValue | None, ...]:
    """Return the values of `node` in doubles, None where undecided; at one point only if it has no variables."""
    indices = range(POINTS if names(node) else 1)
    return tuple(_in_doubles(node, (index, "", Fraction(0))) for index in indices)


def _in_doubles(node: Node, point: Point) -> PointValue | None:
    from mpmath import fp  # not at import: 20 ms that callers of extract_answer need not pay

    try:
        return Evaluator(fp, point, max_bits=1_000).evaluate(node)
    except Undecided:
        return None


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


def points_for(left: Node, right: Node) -> list[Point]:
    """Return the points at which two expressions are to be compared."""
    nothing = Fraction(0)
    if not (names(left) | names(right)):
        return [(0, "", nothing)]
    points = [(index, "", nothing) for index in range(POINTS)]
    kinks = [*_kinks(left), *_kinks(right)]
    if kinks:
        points += [(POINTS + index, "", nothing) for index in range(2 * len(_FAR))]
        for kink in kinks[:_MAX_KINKS]:
            points += [point for name in sorted(names(kink)) for point in _beside(kink, name)]
    return points


def _kinks(node: Node) -> Iterator[Node]:
    """Yield the expressions at whose zeros `node` may change from one formula to another."""
    for part in walk(node):
        match part:
            case Call("abs", (argument,)) if names(argument):
                yield argument
            case Call("max" | "min", arguments):
                for a, b in combinations(arguments, 2):
                    difference = Sum((a, Product((MINUS_ONE, b))))
                    if names(difference):
                        yield difference
            case Power(base, Number(exponent)) if exponent.denominator != 1 and names(base) and not _is_monomial(base):
                yield base


def _is_monomial(node: Node) -> bool:
    return isinstance(node, Name)


def _beside(kink: Node, name: str) -> Iterator[Point]:
    """Yield points on both sides of the zeros, and of the vertex, of a kink that is a quadratic in `name` or less.

    The other variables have their values at the signed points.
    """
    for index in range(POSITIVE_POINTS, POSITIVE_POINTS + 2):
        found = [_in_doubles(kink, (index, name, Fraction(at))) for at in (0, 1, 2, 3)]
        values = [float(value.value.real) for value in found if value is not None and _is_real(value.value)]
        if len(values) < len(found):
            continue
        a, b, c = (values[2] - 2 * values[1] + values[0]) / 2, 0.0, values[0]
        b = values[1] - values[0] - a
        if abs(9 * a + 3 * b + c - values[3]) > 1e-6 * max(map(abs, values)):
            continue
        for zero in _zeros(a, b, c):
            yield index, name, Fraction(zero) + _BESIDE
            yield index, name, Fraction(zero) - _BESIDE


def _zeros(a: float, b: float, c: float) -> list[float]:
    if abs(a) < 1e-9:
        return [-c / b] if b else []
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return [(-b - root) / (2 * a), -b / (2 * a), (-b + root) / (2 * a)]


def same_value(left: Node, right: Node) -> bool:
    """Whether two expressions are equal at every point where both can be computed. Raises `Undecided` if none."""
    points = points_for(left, right)
    decided = 0
    for point in points:
        try:
            if not _same_at(left, right, point):
                return False
            decided += 1
        except Undecided:
            continue
    if decided < min(len(points), 2):
        raise Undecided("no point where both have values")
    return True


def _same_at(left: Node, right: Node, point: Point) -> bool:
    a, b = values_at((left, right), point, _FIRST_BITS)
    if point[0] >= POSITIVE_POINTS and not (_is_real(a.value) and _is_real(b.value)):
        raise Undecided("not real here")
    span = max(a.span, b.span)
    if 2 * span + 10 < _FIRST_BITS and abs(a.value - b.value) > _rounding(span, _FIRST_BITS):
        return False
    if span > _MAX_SPAN:
        raise Undecided("too wide a span")
    # A small argument hides a difference of its third power: sin x and x.
    a, b = values_at((left, right), point, 6 * span + 3 * _GAP_BITS)
    return is_negligible(a.value - b.value, 4 * span)


def is_negligible(difference: Any, span: int) -> bool:
    """Whether a difference computed with at least ``span + 384`` bits to spare is nothing but rounding."""
    if difference == 0:
        return True
    return bool(difference.context.mag(difference) < -(_GAP_BITS + span))


def values_at(nodes: tuple[Node, ...], point: Point, bits: int) -> tuple[PointValue, ...]:
    """Return the values of `nodes` at `point`, computed with `bits` bits."""
    evaluator = Evaluator(_context(-(-bits // 64) * 64), point)
    return tuple(evaluator.evaluate(node) for node in nodes)


@lru_cache(maxsize=64)
def _context(bits: int) -> Any:
    """Return an mpmath context of its own for each precision: nobody sets the precision of another's."""
    from mpmath.ctx_mp import MPContext

    context = MPContext()
    context.prec = bits
    return context


def is_rounded(rounded: Node, exact: Node) -> bool | None:
    """Whether a decimal is a constant rounded, or cut off, at its last digit; None if doubles can't tell."""
    decimal, value = exact_value(rounded), values_in_doubles(exact)[0]
    if decimal is None or value is None or not _is_real(value.value):
        return False
    digits = 0
    while digits < 15 and (decimal * 10**digits).denominator != 1:
        digits += 1
    size = float(value.value.real)
    missing = (size - float(decimal)) * (1 if size > 0 else -1) * 10.0**digits
    return -0.5 <= missing <= (0.999999 if digits else 0.5) and abs(size) < 1e15


def proportional(left: Node, right: Node, positive: bool) -> bool:
    """Whether ``left = c * right`` for one non-zero constant c (`positive`: c > 0), so that both vanish together.

    Raises `Undecided` if too few points have values.
    """
    if names(left) != names(right):
        return False
    found = _precisely(left, right)
    if any(is_negligible(a, span) != is_negligible(b, span) for a, b, span in found):
        return False
    pairs = [(a, b, span) for a, b, span in found if not is_negligible(a, span)]
    if len(pairs) < 2:
        raise Undecided("no point where both have values")
    a0, b0, span0 = pairs[0]
    if any(not is_negligible(a * b0 - a0 * b, span + span0) for a, b, span in pairs[1:]):
        return False
    return not positive or bool((a0 / b0).real > 0)


def _precisely(left: Node, right: Node) -> list[tuple[Any, Any, int]]:
    """Return both values at every point that has them, with the span, in digits enough for products of two of them."""
    pairs = []
    for point in points_for(left, right):
        try:
            a, b = values_at((left, right), point, _FIRST_BITS)
            span = max(a.span, b.span)
            if span > _MAX_SPAN or (point[0] >= POSITIVE_POINTS and not (_is_real(a.value) and _is_real(b.value))):
                continue
            a, b = values_at((left, right), point, 4 * span + 3 * _GAP_BITS)
        except Undecided:
            continue
        pairs.append((a.value, b.value, span))
    if len(pairs) < 2:
        raise Undecided("no point where both have values")
    return pairs
