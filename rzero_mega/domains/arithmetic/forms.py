"""Exact forms of arithmetic, for expressions of the nano world."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from rzero_mega.domains.arithmetic.expressions import Chain, parse
from rzero_mega.domains.reexpression.form import Form

_INTEGER = re.compile(r"-?[0-9]{1,64}")
_TRIES_PER_FORM = 8


@dataclass(frozen=True)
class Negated(Form):
    """An expression with all signs turned around."""

    def restore(self, answer: str | None) -> str | None:
        """The negative of an integer; None for any other answer."""
        text = "" if answer is None else answer.strip()
        return str(-int(text)) if _INTEGER.fullmatch(text) else None


def exact_forms(question: str, most: int) -> list[Form]:
    """Up to `most` other forms of an expression, always the same ones; none for any other text.

    Terms change places (``a+b`` to ``b+a``), all signs are turned around (``a-b`` to ``b-a``), one-digit factors change
    places. The first term keeps a plus, and the number after a ``*`` one digit, as in what the base was trained on.
    """
    chain = parse(question)
    if chain is None or not chain.operators:
        return []
    rng = Random(f"reexpressions of {chain}")
    found: dict[str, Form] = {}
    for _ in range(_TRIES_PER_FORM * most):
        negated = rng.random() < 0.5
        terms = [_Term(term.positive != negated, _swapped(term.factors, rng)) for term in _terms(chain)]
        rng.shuffle(terms)
        first = next((place for place, term in enumerate(terms) if term.positive), None)
        if first is None:
            continue
        terms.insert(0, terms.pop(first))
        text = "".join(("+" if term.positive else "-") + "*".join(map(str, term.factors)) for term in terms)[1:]
        if text != str(chain):
            found.setdefault(text, Negated(text) if negated else Form(text))
    return list(found.values())[:most]


@dataclass(frozen=True, slots=True)
class _Term:
    positive: bool
    factors: tuple[int, ...]


def _terms(chain: Chain) -> list[_Term]:
    """The terms of a sum; a minus before the first number belongs to its term."""
    terms = [_Term(chain.numbers[0] >= 0, (abs(chain.numbers[0]),))]
    for operator, number in zip(chain.operators, chain.numbers[1:], strict=True):
        if operator == "*":
            terms[-1] = _Term(terms[-1].positive, (*terms[-1].factors, number))
        else:
            terms.append(_Term(operator == "+", (number,)))
    return terms


def _swapped(factors: tuple[int, ...], rng: Random) -> tuple[int, ...]:
    """The factors in some order, of those in which each but the first has one digit; else as they are."""
    order = rng.sample(factors, len(factors))
    return tuple(order) if all(factor < 10 for factor in order[1:]) else factors
