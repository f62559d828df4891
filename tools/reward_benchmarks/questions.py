"""Word problems as a Challenger might write them: 35 to 90 words, many turns of phrase in common, some near-copies."""

from __future__ import annotations

import random
import re

WORDS = range(35, 91)
NEAR_COPIES = 0.25
"""Share of questions that repeat an earlier one with other numbers."""

_SENTENCES = (
    "{name} buys {n} {things} at the {place} and gives {n} of them to {name} on {day}.",
    "A {place} sells {n} {things} every day, and each of the {things} costs {n} dollars.",
    "There are {n} {things} in a box, {n} of which are {colour} and the rest are {colour}.",
    "The ratio of the number of {things} to the number of {things} is {n} to {n}.",
    "After {n} hours, the number of {things} has grown by {n} percent.",
    "{name} walks from the {place} to the {place} at a constant speed of {n} kilometers per hour.",
    "Let $f(x) = {n}x^2 - {n}x + {n}$ be a function defined for all real numbers $x$.",
    "A rectangle has a length of {n} meters, and its width is {n} meters less than its length.",
    "Each {colour} token is worth {n} points, while each {colour} token is worth only {n} points.",
    "In a class of {n} students, exactly {n} students play at least one of {n} sports.",
    "Suppose that $a$ and $b$ are positive integers such that ${n}a + {n}b = {n}$.",
    "{name} has {n} times as many {things} as {name}, who lost {n} of them near the {place}.",
    "A sequence is defined by $a_1 = {n}$ and $a_{{n+1}} = {n}a_n + {n}$ for every positive integer $n$.",
    "Two {things} are chosen at random without replacement from the {n} {things} in the {place}.",
)
_ASKS = (
    "How many {things} does {name} have at the end?",
    "What is the probability that both of them are {colour}?",
    "Find the smallest positive integer $n$ for which this is possible.",
    "What is the total number of {things} that {name} can buy with {n} dollars?",
    "Determine the area of the rectangle in square meters.",
    "What is the remainder when this number is divided by {n}?",
)
_WORDS = {
    "name": "Alice Ben Carla David Elena Farid Grace Hugo Ines Jamal Kira Liam Maya Noor Oscar Priya Rosa Tomas",
    "place": "market library farm station bakery school museum harbor workshop garden stadium theater",
    "things": "apples marbles tickets books pencils coins chairs cookies stamps bottles lamps boxes roses keys",
    "colour": "red blue green yellow white black purple orange",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
}
_FILLERS = {kind: words.split() for kind, words in _WORDS.items()}


def questions(count: int, seed: int = 0) -> list[str]:
    """The same `count` questions every time; the first ones of a longer list are those of a shorter."""
    rng = random.Random(seed)
    made: list[str] = []
    while len(made) < count:
        if made and rng.random() < NEAR_COPIES:
            question = re.sub(r"\d+", lambda _: str(rng.randint(2, 999)), rng.choice(made))
        else:
            question = _question(rng)
        if len(question.split()) in WORDS:
            made.append(question)
    return made


def _question(rng: random.Random) -> str:
    frames = [*rng.sample(_SENTENCES, rng.randint(2, 5)), rng.choice(_ASKS)]
    return " ".join(re.sub(r"\{(n|name|place|things|colour|day)\}", lambda m: _filler(rng, m[1]), f) for f in frames)


def _filler(rng: random.Random, kind: str) -> str:
    return str(rng.randint(2, 999)) if kind == "n" else rng.choice(_FILLERS[kind])
