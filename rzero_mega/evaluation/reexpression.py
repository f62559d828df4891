"""The same question in another form, with the map of its answer back: exact, for expressions of the nano world."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from rzero_mega.evaluation.arithmetic import Chain, parse

_INTEGER = re.compile(r"-?[0-9]{1,64}")
_TRIES_PER_FORM = 8


@dataclass(frozen=True, slots=True)
class Reexpression:
    """A question whose answer is that of the first question, or its negative."""

    question: str
    negated: bool

    def restore(self, answer: str | None) -> str | None:
        """The answer to the first question; None if an answer that has to be negated is no integer."""
        if answer is None or not self.negated:
            return answer
        text = answer.strip()
        return str(-int(text)) if _INTEGER.fullmatch(text) else None


def reexpressions(question: str, most: int) -> list[Reexpression]:
    """Up to `most` other forms of an expression, always the same ones; none for any other text.

    Terms change places (``a+b`` to ``b+a``), all signs are turned around (``a-b`` to ``b-a``), one-digit factors change
    places. The first term keeps a plus, and the number after a ``*`` one digit, as in what the base was trained on.
    """
    chain = parse(question)
    if chain is None or not chain.operators:
        return []
    rng = Random(f"reexpressions of {chain}")
    found: dict[str, Reexpression] = {}
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
            found.setdefault(text, Reexpression(text, negated))
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
