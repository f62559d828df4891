"""Another form of an expression has the same answer, or its negative, and looks like the base's documents."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.domains.arithmetic.expressions import LEVELS, parse, random_expression, truth
from rzero_mega.domains.arithmetic.forms import exact_forms

EXPRESSIONS = st.builds(
    lambda level, seed: random_expression(level, Random(seed)), st.sampled_from(sorted(LEVELS)), st.integers(0, 10**6)
)
CHAINS = st.from_regex(r"\A-?[0-9]{1,3}(?:[+*-][0-9]{1,3}){1,6}\Z")


@given(st.one_of(EXPRESSIONS, CHAINS))
def test_the_answer_of_every_form_comes_back_to_that_of_the_question(question: str) -> None:
    forms = exact_forms(question, 3)
    assert len({form.question for form in forms}) == len(forms) <= 3
    for form in forms:
        assert form.question != question
        assert form.restore(str(truth(form.question))) == str(truth(question))


@given(EXPRESSIONS)
def test_a_form_looks_like_the_documents_of_the_base(question: str) -> None:
    for form in exact_forms(question, 3):
        chain = parse(form.question)
        assert chain is not None and form.question[0] != "-"
        after_times = [n for op, n in zip(chain.operators, chain.numbers[1:], strict=True) if op == "*"]
        assert all(number < 10 for number in after_times)


@pytest.mark.parametrize(
    ("question", "forms"),
    [("12+5", {"5+12"}), ("12-5", {"5-12"}), ("12*5", set()), ("7*5", {"5*7"}), ("-3+5", {"5-3", "3-5"})],
)
def test_forms_of_short_expressions(question: str, forms: set[str]) -> None:
    assert {form.question for form in exact_forms(question, 5)} == forms


def test_the_forms_are_always_the_same_ones() -> None:
    assert exact_forms("12+5*3-7", 3) == exact_forms("12+5*3-7", 3)


@pytest.mark.parametrize("text", ["", "12", "What is 12 + 5?", "(12+5)%7", "12/5", "1+" * 40 + "1"])
def test_what_is_no_expression_has_no_other_form(text: str) -> None:
    assert exact_forms(text, 3) == []


def test_an_answer_to_be_negated_has_to_be_an_integer() -> None:
    (form,) = exact_forms("12-5", 1)
    assert [form.restore(answer) for answer in ("-7", " 7 ", "0", "7.5", "seven", None)] == ["7", "-7", "0"] + [
        None
    ] * 3
