"""`canonical`: one spelling for trees that rational arithmetic and the order of terms make equal, and for no others."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from itertools import combinations, product

import pytest

from rzero_mega.grading.expressions.tree import Call, Constant, Name, Node, Number, Power, Product, Sum
from rzero_mega.grading.mathematics.exact import canonical
from rzero_mega.grading.mathematics.numeric import refuted_in_doubles
from rzero_mega.grading.syntax.parser import parse

LEAVES: list[Node] = [Name("x"), Name("y"), Constant("e"), *(Number(Fraction(n)) for n in ("2", "-1", "1/2"))]


def combined(left: list[Node], right: list[Node]) -> list[Node]:
    """Every sum, product and power of one of `left` and one of `right`, and their sines."""
    trees: list[Node] = [Call("sin", (node,)) for node in left]
    for a, b in product(left, right):
        trees += [Sum((a, b)), Product((a, b)), Power(a, b)]
    return trees


def test_trees_that_are_spelt_alike_are_equal() -> None:
    once = combined(LEAVES, LEAVES)
    spelt: dict[str, list[Node]] = defaultdict(list)
    for tree in (*LEAVES, *once, *combined(LEAVES, once), *combined(once, LEAVES)):
        spelt[canonical(tree)].append(tree)
    assert len(spelt) > 1_000
    assert max(map(len, spelt.values())) > 10
    for spelling, trees in spelt.items():
        assert not any(refuted_in_doubles(a, b) for a, b in combinations(trees[:20], 2)), (spelling, trees)


@pytest.mark.parametrize(
    ("a", "b"), [("x + 1 + y", "y + x + 1"), ("2 x y", "y \\frac{4}{2} x"), ("x^{1+1}", "x^2"), ("\\sqrt{4} x", "2x")]
)
def test_rational_arithmetic_and_the_order_of_terms_make_no_difference(a: str, b: str) -> None:
    assert canonical(parse(a)) == canonical(parse(b))
