"""normalise: one spelling per answer, and stable under repetition."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rzero_mega.grading import normalise

PIECES = [
    *(
        "\\frac",
        "\\dfrac",
        "{",
        "}",
        "1",
        "2",
        "1,000",
        ",",
        " ",
        "\\,",
        "\\!",
        "\\;",
        "\\left(",
        "\\right)",
        "(",
        ")",
        "$",
    ),
    *(
        "\\text{",
        "\\mathrm{cm}",
        "\\%",
        "%",
        "^\\circ",
        "^{\\circ}",
        "x",
        "=",
        "\\boxed{",
        "½",
        "²",
        "−",
        "A",
        ".",
        "\\\\",
    ),
    *(
        "\\$",
        "\\displaystyle",
        "the answer is ",
        "\\{",
        "\\}",
        "|",
        "\\le",
        "\\leq",
        "<=",
        "\x00",
        "\u202e",
        "[",
        "]",
        "\\",
    ),
    *(
        "\\left",
        "\\quad",
        "~",
        "{,}",
        "\\degree",
        "\\text{ degrees}",
        "ﷺ",
        "Ａ",
        "percent",
        "000",
        "\\(",
        "\\)",
        "**",
        "sin",
    ),
]


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        (r"\dfrac{1}{2}", r"\frac{1}{2}"),
        (r"\left( 1, 2 \right)", "( 1, 2 )"),
        (r"$ 5 $", "5"),
        (r"\(5\)", "5"),
        (r"\$5", r"\$5"),
        ("$5", r"\$5"),
        ("$5$", "5"),
        (r"5\,000", "5000"),
        ("1,234,567", "1234567"),
        ("1{,}234", "1234"),
        ("(1,234)", "(1,234)"),
        ("12 345", "12345"),
        ("50%", r"50\%"),
        (r"50 \text{ percent}", r"50 \%"),
        (r"90^\circ", r"90\degree"),
        ("90 degrees", r"90 \degree"),
        (r"\sin 30^\circ", r"\sin 30\degree"),
        (r"\text{(A)}", "A"),
        ("(B)", "B"),
        ("C.", "C"),
        (r"\textbf{(D)}", "D"),
        (r"\boxed{7}", "7"),
        ("The answer is: 7.", "7"),
        ("{{7}}", "7"),
        ("{1}+{2}", "{1}+{2}"),
        ("½", r"\frac{1}{2}"),
        ("5−3", "5-3"),
        ("x ≤ 3", r"x \le 3"),
        (r"x \leq 3", r"x \le 3"),
        (r"x \times y", r"x \times y"),  # of vectors another product than the next
        (r"x \cdot y", r"x * y"),
        ("1\x00 2\u202e", "1 2"),
        ("2½", r"2 \frac{1}{2}"),
        ("x₁²", "x_{1}^{2}"),
        ("0.1666...", r"0.1\overline{6}"),
        (r"3.14159\ldots", "3.14159..."),
        (r"p \implies q", r"p \Rightarrow q"),
        (r"\therefore x = 12", "x = 12"),
        (r"\mathbb R - \{0\}", r"\mathbb{R} \setminus \{0\}"),
        ("0.(142857)", r"0.\overline{142857}"),
        ("2.5 million", "2.5 *10^{6}"),
        (r"3 \text{ million people}", r"3 *10^{6} \text{people}"),
        ("The value of x is 95.", "The value of x is 95"),  # it names x: the parser reads that
        (r"\text{The answer is } 82", "82"),
        (r"\text{The answer is 82}", "82"),
        ("There are no solutions", "There are no solutions"),
        ("x is less than 7", "x is less than 7"),
        ("**64**", "64"),
        (r"\color{red}{62}", "62"),
        (r"{7 \choose 2}", r"\binom{7 }{ 2}"),
    ],
)
def test_known_spellings(text: str, normalised: str) -> None:
    assert normalise(text) == normalised


@settings(max_examples=800, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@example("$" * 50)
@example("{" * 30 + "1" + "}" * 30)
@example(r"\boxed{" * 30 + "1" + "}" * 30)
def test_normalising_twice_changes_nothing_for_latex(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing_for_any_text(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@pytest.mark.parametrize(
    "nuisance", [". ", ".", "\\%", ",", "{,}", "1,000", "\\text{percent}", "\\degree ", "½", "\\hspace{"]
)
def test_cost_grows_with_length_and_not_with_its_square(nuisance: str) -> None:
    """A search from every position would cost 64 times as much for 8 times the text."""

    def cost(length: int) -> float:
        text = (nuisance * length)[:length] + "x"
        best = float("inf")
        for _ in range(5):
            start = time.process_time()
            normalise(text)
            best = min(best, time.process_time() - start)
        return best

    assert cost(4000) < 32 * cost(500)
