"""The functions an answer may use: their spellings, and the one name each has in the tree."""

from __future__ import annotations

from typing import Final

UNARY: Final = {
    "sin": "sin", "cos": "cos", "tan": "tan", "cot": "cot", "sec": "sec", "csc": "csc",
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "asin": "asin", "acos": "acos", "atan": "atan",
    "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "coth": "coth", "sech": "sech", "csch": "csch",
    "ln": "ln", "log": "ln", "lg": "lg", "exp": "exp", "cis": "cis", "abs": "abs",
}  # fmt: skip
"""Spelling -> name. ``log`` without a base is the natural logarithm here; the parser has the other reading too."""

N_ARY: Final = {"max": "max", "min": "min"}

INVERSES: Final = {"sin": "asin", "cos": "acos", "tan": "atan"}
"""What ``\\sin^{-1}`` means."""

TREE_FUNCTIONS: Final = frozenset(
    {*UNARY.values(), *N_ARY.values(), "log", "root", "floor", "ceiling", "factorial", "binomial"}
    - {"exp", "cis", "lg"}  # read as powers of e and as logarithms to base 10
)
"""All values of `tree.Call.function` once plus-minus signs are expanded.

``log`` is (argument, base); ``root`` is (radicand, odd degree) and real for a negative radicand.
"""

_GREEK_LETTERS = """
alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega
Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar
"""
GREEK: Final = frozenset(_GREEK_LETTERS.split())
"""Commands that are letters."""

CONSTANTS: Final = {"pi": "pi", "infty": "infinity", "inf": "infinity", "infinity": "infinity", "oo": "infinity"}
