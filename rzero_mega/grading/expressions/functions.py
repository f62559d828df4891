"""The functions an answer may use, a closed list: their spellings, and the one name each has in the tree."""

from __future__ import annotations

from typing import Final

_TRIGONOMETRIC = ("sin", "cos", "tan", "cot", "sec", "csc")
_HYPERBOLIC = ("sinh", "cosh", "tanh", "coth", "sech", "csch")

UNARY: Final = {
    **{name: name for name in (*_TRIGONOMETRIC, *_HYPERBOLIC, "abs", "ln", "floor", "exp", "cis", "lg")},
    **{f"{prefix}{name}": f"a{name}" for name in _TRIGONOMETRIC for prefix in ("arc", "a")},
    **{f"{prefix}{name}": f"a{name}" for name in _HYPERBOLIC for prefix in ("arc", "ar", "a")},
    "log": "ln", "ceil": "ceiling",
}  # fmt: skip
"""Spelling -> name. ``log`` without a base is the natural logarithm here; the parser has the other reading too."""

N_ARY: Final = {"max": "max", "min": "min", "gcd": "gcd", "lcm": "lcm"}

INVERSES: Final = {name: f"a{name}" for name in (*_TRIGONOMETRIC, *_HYPERBOLIC)}
"""What ``\\sin^{-1}`` means."""

OPAQUE: Final = frozenset({"floor", "ceiling", "gcd", "lcm"})
"""Functions whose values at some points say nothing of others: of variables they count as variables of their own."""

UNORDERED: Final = frozenset(N_ARY.values())

TREE_FUNCTIONS: Final = frozenset(
    {*UNARY.values(), *N_ARY.values(), "log", "root", "ceiling", "factorial", "binomial"}
    - {"exp", "cis", "lg"}  # read as powers of e and as logarithms to base 10
)
"""All values of `tree.Call.function` once plus-minus signs are expanded.

``log`` is (argument, base); ``root`` is (radicand, odd degree) and real for a negative radicand. Beside them stands
``about`` of a decimal that is given as an approximation.
"""

_GREEK_LETTERS = """
alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega
Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar aleph
"""
GREEK: Final = frozenset(_GREEK_LETTERS.split())
"""Commands that are letters."""

CONSTANTS: Final = {"pi": "pi", "infty": "infinity", "inf": "infinity", "infinity": "infinity", "oo": "infinity"}
