"""Ways to make a summary worse that are seen in its text and the passage's, for a Critic to learn from."""

from __future__ import annotations

import re
from random import Random

from rzero_mega.domains.summaries.texts import MOST_OF_SUMMARY, drawn_from, is_short, sentences

_FAITHFUL = 0.7
_NUMBER = re.compile(r"\d+")
# A word with a capital letter that begins no sentence.
_NAME = re.compile(r"(?<=[^.!?] )[A-Z][^\W\d_]+")
_LONG = re.compile(r"\b[a-z]{5,}\b")


def removed_sentence(passage: str, summary: str, rng: Random) -> str | None:
    """Without one of its sentences, where it has two and both say what the passage says."""
    given = sentences(summary)
    if len(given) != MOST_OF_SUMMARY or not is_short(passage, summary):
        return None
    if len(set(given)) < len(given) or any(drawn_from(passage, one) < _FAITHFUL for one in given):
        return None
    place = rng.randrange(len(given))
    return " ".join(given[:place] + given[place + 1 :])


def swapped_fact(passage: str, summary: str, rng: Random) -> str | None:
    """With a number or a name of the passage in another one's place: the passage's, or of a number any."""
    for pattern in (_NUMBER, _NAME):
        there = dict.fromkeys(found.group() for found in pattern.finditer(passage))
        places = [found for found in pattern.finditer(summary) if found.group() in there]
        if not places:
            continue
        fact = rng.choice(places)
        given = {found.group() for found in pattern.finditer(summary)}
        others = [other for other in there if other not in given]
        if not others and pattern is _NUMBER:
            others = [_another_number(fact.group(), rng)]
        if others:
            return summary[: fact.start()] + rng.choice(others) + summary[fact.end() :]
    return None


def exchanged_words(passage: str, summary: str, rng: Random) -> str | None:
    """With two long words of a sentence in each other's place, where the sentence says what the passage says."""
    given = sentences(summary)
    places = [place for place, one in enumerate(given) if drawn_from(passage, one) >= _FAITHFUL and len(_long(one)) > 1]
    if not places:
        return None
    place = rng.choice(places)
    sentence = given[place]
    first, second = sorted(rng.sample(_long(sentence), 2), key=re.Match.start)
    between = sentence[first.end() : second.start()]
    given[place] = sentence[: first.start()] + second.group() + between + first.group() + sentence[second.end() :]
    return " ".join(given)


def broken_limit(passage: str, summary: str, rng: Random) -> str | None:
    """With sentences of the passage behind it, so many that it has one too many, where it is short."""
    if not is_short(passage, summary):
        return None
    given = sentences(summary)
    rest = [one for one in sentences(passage) if one not in given]
    missing = MOST_OF_SUMMARY + 1 - len(given)
    if len(rest) < missing:
        return None
    chosen = sorted(rng.sample(range(len(rest)), missing))
    return " ".join([*given, *(rest[place] for place in chosen)])


def _long(sentence: str) -> list[re.Match[str]]:
    """Its words of five small letters and more, each at its first place."""
    found: dict[str, re.Match[str]] = {}
    for word in _LONG.finditer(sentence):
        found.setdefault(word.group(), word)
    return list(found.values())


def _another_number(number: str, rng: Random) -> str:
    """As many digits, of which the last is another one."""
    return number[:-1] + rng.choice([digit for digit in "0123456789" if digit != number[-1]])


CORRUPTIONS = {
    "removed_sentence": removed_sentence,
    "swapped_fact": swapped_fact,
    "exchanged_words": exchanged_words,
    "broken_limit": broken_limit,
}
