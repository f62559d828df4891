"""The last resort: sympy, fed by explicit constructors from a tree whose limits were checked, never by text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rzero_mega.grading.expressions.tree import Call, Constant, Name, Node, Number, Power, Product, Sum

if TYPE_CHECKING:
    import sympy


def to_sympy(node: Node) -> sympy.Expr:
    """Return the sympy expression for a scalar tree (`tree.is_scalar`). May compute: call it in a killable process."""
    import sympy

    match node:
        case Number(value):
            return sympy.Rational(value.numerator, value.denominator)
        case Name(name):
            return sympy.Symbol(name, integer=True) if name in ("n", "m", "k") else sympy.Symbol(name, real=True)
        case Constant(name):
            constants: dict[str, Any] = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "infinity": sympy.oo}
            return constants[name]
        case Sum(terms):
            return sympy.Add(*map(to_sympy, terms))
        case Product(factors):
            return sympy.Mul(*map(to_sympy, factors))
        case Power(base, exponent):
            return sympy.Pow(to_sympy(base), to_sympy(exponent))
        case Call(function, arguments):
            return function_table()[function](*map(to_sympy, arguments))
    raise ValueError(f"{type(node).__name__} is not a scalar")


def function_table() -> dict[str, Any]:
    """Return the sympy constructor of every function of the tree."""
    import sympy

    trigonometric = ("sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan")
    hyperbolic = ("sinh", "cosh", "tanh", "coth", "sech", "csch")
    others = ("log", "floor", "ceiling", "factorial", "binomial")
    return {
        **{name: getattr(sympy, name) for name in (*trigonometric, *hyperbolic, *others)},
        "ln": sympy.log,
        "abs": sympy.Abs,
        "root": lambda radicand, degree: sympy.real_root(radicand, degree),
        "max": sympy.Max,
        "min": sympy.Min,
    }


def same_expression(left: Node, right: Node) -> bool:
    """Whether sympy can show that two scalar trees are equal. No time limit of its own."""
    import sympy

    try:
        return bool(sympy.simplify(to_sympy(left) - to_sympy(right)) == 0)
    except sympy.PrecisionExhausted:  # a floor or ceiling next to a huge integer
        return False
