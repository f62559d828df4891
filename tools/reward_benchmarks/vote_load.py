"""Answers as votes bring them: ten to a question, most of them the majority's in one of few spellings.

The shares below are assumed, not measured: how often a sample agrees with the majority is drawn evenly from 30 to 95 %
per question, the majority's plain spelling is the most frequent, and one answer in twelve is none or not worth reading.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from fractions import Fraction

Spellings = Sequence[str]
"""One value, its plain spelling first."""

GARBAGE = (
    r"\text{cannot be determined}", "the answer", r"\frac{1}{", "x = ", r"\sqrt", "12 or so", "?", "((1, 2)",
    r"\text{see above}", r"\begin{pmatrix} 1 & 2 \\ 3",
)  # fmt: skip


def vote_load(questions: int, answers: int = 10, seed: int = 0) -> list[list[str | None]]:
    """Return the answers to each of so many questions, None where a sample gave none."""
    return [_question(random.Random(f"votes/{seed}/{index}"), answers) for index in range(questions)]


def _question(draw: random.Random, answers: int) -> list[str | None]:
    kind = draw.choices([make for make, _ in KINDS], [weight for _, weight in KINDS])[0]
    majority = kind(draw)
    others = [wrong for wrong in (kind(draw) for _ in range(3)) if wrong[0] != majority[0]]
    agreement = draw.uniform(0.3, 0.95)
    return [_answer(draw, majority, others, agreement) for _ in range(answers)]


def _answer(draw: random.Random, majority: Spellings, others: Sequence[Spellings], agreement: float) -> str | None:
    if draw.random() < 1 / 12:
        return draw.choice((None, None, draw.choice(GARBAGE)))
    value = majority if draw.random() < agreement or not others else draw.choice(others)
    return value[0] if draw.random() < 0.6 else draw.choice(value)


def _integer(draw: random.Random) -> Spellings:
    n = draw.choice((draw.randint(0, 20), draw.randint(0, 200), draw.randint(1_000, 99_999)))
    return (f"{n}", f"x = {n}", f"{n}.0", f"{n:,}", rf"\text{{{n}}}", rf"{n}\,", f"{2 * n}/2", rf"${n}$")


def _fraction(draw: random.Random) -> Spellings:
    value = Fraction(draw.randint(-30, 30) or 1, draw.choice((2, 3, 4, 5, 7, 8, 9, 12)))
    top, bottom = value.numerator, value.denominator
    return (
        rf"\frac{{{top}}}{{{bottom}}}", rf"\dfrac{{{top}}}{{{bottom}}}", f"{top}/{bottom}",
        rf"\frac{{{2 * top}}}{{{2 * bottom}}}", rf"\left(\frac{{{top}}}{{{bottom}}}\right)",
        rf"x = \frac{{{top}}}{{{bottom}}}",
    )  # fmt: skip


def _decimal(draw: random.Random) -> Spellings:
    hundredths = draw.randint(1, 9_999)
    value = Fraction(hundredths, 100)
    plain = f"{hundredths / 100:.2f}"
    fraction = rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
    return (plain, rf"\${plain}", f"{plain}0", fraction, rf"{plain}\text{{ cm}}")


def _percent(draw: random.Random) -> Spellings:
    n = draw.randint(1, 99)
    return (rf"{n}\%", f"{n}%", f"{n}", rf"{n} \text{{ percent}}")


def _radical(draw: random.Random) -> Spellings:
    a, b = draw.randint(2, 9), draw.choice((2, 3, 5, 6, 7))
    return (rf"{a}\sqrt{{{b}}}", rf"\sqrt{{{a * a * b}}}", rf"{a} \sqrt {b}", rf"\frac{{{a * b}}}{{\sqrt{{{b}}}}}")


def _multiple_of_pi(draw: random.Random) -> Spellings:
    a, b = draw.randint(1, 11), draw.choice((2, 3, 4, 6))
    doubled = rf"\dfrac{{{2 * a} \pi}}{{{2 * b}}}"
    return (rf"\frac{{{a}\pi}}{{{b}}}", rf"\frac{{{a}}}{{{b}}}\pi", rf"{a}\pi/{b}", doubled)


def _polynomial(draw: random.Random) -> Spellings:
    a, b = draw.randint(1, 9), draw.randint(1, 9)
    return (
        f"x^2 + {a + b}x + {a * b}", f"(x+{a})(x+{b})", f"x^{{2}}+{a + b}x+{a * b}", f"{a * b}+{a + b}x+x^2",
        f"f(x) = x^2+{a + b}x+{a * b}",
    )  # fmt: skip


def _pair(draw: random.Random) -> Spellings:
    a, b = draw.randint(-9, 9), draw.randint(-9, 9)
    return (f"({a}, {b})", rf"\left({a},{b}\right)", f"({a}, {2 * b}/2)", f"({a},{b})")


def _interval(draw: random.Random) -> Spellings:
    a = draw.randint(-9, 9)
    b = a + draw.randint(1, 9)
    return (f"[{a}, {b})", rf"\left[{a}, {b}\right)", rf"{a} \le x < {b}", rf"x \in [{a},{b})")


def _set(draw: random.Random) -> Spellings:
    a, b, c = sorted(draw.sample(range(-9, 30), 3))
    return (f"{a}, {b}, {c}", rf"\{{{a}, {b}, {c}\}}", f"{c}, {a}, {b}", rf"x = {a}, {b} \text{{ or }} {c}")


def _words(draw: random.Random) -> Spellings:
    word = draw.choice(("Yes", "No", "Monday", "increasing", "no solution", "isosceles", "the median"))
    return (rf"\text{{{word}}}", word, word.lower(), f"{word}.")


def _choice(draw: random.Random) -> Spellings:
    letter = draw.choice("ABCDE")
    return (letter, f"({letter})", rf"\text{{{letter}}}", f"{letter}.", rf"\textbf{{({letter})}}")


KINDS: tuple[tuple[Callable[[random.Random], Spellings], float], ...] = (
    (_integer, 45), (_fraction, 14), (_decimal, 8), (_percent, 3), (_radical, 6), (_multiple_of_pi, 5),
    (_polynomial, 5), (_pair, 3), (_interval, 3), (_set, 3), (_words, 3), (_choice, 2),
)  # fmt: skip
"""What answers are, and how often out of a hundred."""
