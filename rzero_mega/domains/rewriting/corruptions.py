"""Ways to make a rewritten row worse that are seen in the row itself, for a Critic to learn from."""

from __future__ import annotations

from random import Random
from string import ascii_lowercase

from rzero_mega.domains.rewriting.rows import LONGEST_WORD


def dropped_word(question: str, answer: str, rng: Random) -> str | None:
    """Without a word of the question that the answer has once."""
    words, asked = answer.split(), set(question.split())
    places = [place for place, word in enumerate(words) if word in asked and words.count(word) == 1]
    if len(words) < 2 or not places:
        return None
    place = rng.choice(places)
    return " ".join(words[:place] + words[place + 1 :])


def repeated_word(question: str, answer: str, rng: Random) -> str | None:
    """With a word once more, behind itself, where the order is right and stays so."""
    words = answer.split()
    if words != sorted(words) or not set(words) & set(question.split()):
        return None
    place = rng.randrange(len(words))
    return " ".join([*words[: place + 1], *words[place:]])


def foreign_word(question: str, answer: str, rng: Random) -> str | None:
    """With a word that is in neither, where the order is right and no word is there twice."""
    words, known = answer.split(), {*question.split(), *answer.split()}
    if words != sorted(set(words)) or not set(words) & set(question.split()):
        return None
    while True:
        word = "".join(rng.choices(ascii_lowercase, k=rng.randint(2, LONGEST_WORD)))
        if word not in known:
            place = rng.randint(0, len(words))
            return " ".join([*words[:place], word, *words[place:]])


def swapped_word(question: str, answer: str, rng: Random) -> str | None:
    """With a word that is in neither, as long as the one of the question that it takes the place of."""
    words, asked = answer.split(), set(question.split())
    places = [place for place, word in enumerate(words) if word in asked and words.count(word) == 1]
    if not places:
        return None
    place = rng.choice(places)
    # An answer may have all letters of the alphabet as words.
    for _ in range(100):
        word = "".join(rng.choices(ascii_lowercase, k=len(words[place])))
        if word not in asked and word not in words:
            return " ".join([*words[:place], word, *words[place + 1 :]])
    return None


def broken_order(question: str, answer: str, rng: Random) -> str | None:
    """With the words that are in the order of the alphabet, of which there are two at least, turned round."""
    words = answer.split()
    if len(set(words)) < 2 or words != sorted(words) or not set(words) & set(question.split()):
        return None
    return " ".join(reversed(words))


CORRUPTIONS = {
    "dropped_word": dropped_word,
    "repeated_word": repeated_word,
    "foreign_word": foreign_word,
    "swapped_word": swapped_word,
    "broken_order": broken_order,
}
