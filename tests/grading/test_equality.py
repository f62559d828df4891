"""equivalent: what must hold for any pair. Labelled pairs are in test_answer_corpus.py."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from rzero_mega.grading import equivalent, normalise
from rzero_mega.grading.expressions.functions import TREE_FUNCTIONS
from rzero_mega.grading.mathematics.numeric import Evaluator
from rzero_mega.grading.text.normalisation import PLAIN_NUMBER, _one_round


def test_every_function_that_can_be_read_can_be_computed() -> None:
    from mpmath import fp

    assert set(Evaluator(fp, (0, "", Fraction(0)))._functions) == set(TREE_FUNCTIONS)


@given(st.one_of(st.integers(), st.integers(-99, 99), st.decimals(allow_nan=False, allow_infinity=False)).map(str))
def test_plain_numbers_are_read_at_once_as_other_spellings_are_by_all_rules(text: str) -> None:
    assert _one_round(text) == text or not PLAIN_NUMBER.fullmatch(text)  # what `normalise` skips for these
    assert equivalent(text, rf"\left({text}\right)") and equivalent(text, f"{text}+0")


rationals = st.fractions(min_value=-1000, max_value=1000, max_denominator=60)


@settings(deadline=None)
@given(rationals, rationals)
def test_fractions_are_equal_exactly_when_their_values_are(a: Fraction, b: Fraction) -> None:
    written = rf"\frac{{{a.numerator}}}{{{a.denominator}}}"
    assert equivalent(written, str(b)) is (a == b)
    assert equivalent(written, str(a))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=4), st.lists(st.integers(-9, 9), min_size=1, max_size=4))
def test_polynomials_are_equal_exactly_when_their_coefficients_are(a: list[int], b: list[int]) -> None:
    def powers(c: list[int]) -> str:
        return "+".join(f"({v})x^{{{k}}}" for k, v in enumerate(c))

    def horner(c: list[int]) -> str:
        text = f"({c[-1]})"
        for v in reversed(c[:-1]):
            text = rf"\left({text} \cdot x + ({v})\right)"
        return text

    size = max(len(a), len(b))
    same = a + [0] * (size - len(a)) == b + [0] * (size - len(b))
    assert equivalent(powers(a), horner(b)) is same


expressions = st.recursive(
    st.sampled_from(["1", "2", "-3", "x", "y", r"\pi", "e", "i", "0", "n"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda p: f"({p[0]})+({p[1]})"),
        st.tuples(inner, inner).map(lambda p: f"({p[0]})({p[1]})"),
        st.tuples(inner, inner).map(lambda p: rf"\frac{{{p[0]}}}{{{p[1]}}}"),
        st.tuples(inner, st.sampled_from(["2", "-1", "1/2"])).map(lambda p: f"({p[0]})^{{{p[1]}}}"),
        inner.map(lambda e: rf"\sqrt{{{e}}}"),
        inner.map(lambda e: rf"\sin({e})"),
        inner.map(lambda e: f"|{e}|"),
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=150)
@given(expressions, expressions)
def test_equality_is_symmetric_and_reflexive_for_expressions(a: str, b: str) -> None:
    assert equivalent(a, a)
    assert equivalent(a, normalise(a))
    assert equivalent(a, b) is equivalent(b, a)


@settings(deadline=None, max_examples=100)
@given(expressions)
def test_an_expression_differs_from_itself_plus_one_where_it_has_a_value(a: str) -> None:
    if not equivalent(f"({a})-({a})", "0"):
        return  # no value anywhere, as 1/0
    assert not equivalent(a, f"({a})+1")


@settings(deadline=None, max_examples=400)
@given(st.text(max_size=40), st.text(max_size=40))
def test_equality_is_symmetric_and_reflexive_for_any_text(a: str, b: str) -> None:
    assert equivalent(a, a)
    assert equivalent(a, b) is equivalent(b, a)


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet="01239x+-*/^(){}[]|,=<>!_.\\% ", max_size=25), st.text(alphabet="0129x+-^(),= ", max_size=12))
def test_equality_never_raises_on_scraps_of_formulas(a: str, b: str) -> None:
    assert equivalent(a, b) is equivalent(b, a)
