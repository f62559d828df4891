from __future__ import annotations

from collections import Counter
from fractions import Fraction
from random import Random
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.question_memory import QuestionMemory
from rzero_mega.config.schema import MemoryConfig, RepetitionConfig

words = st.lists(st.sampled_from(["a", "b", "B", "c"]), max_size=9).map(" ".join)


def memory(
    texts: list[str],
    threshold: float = 0.5,
    shingle: int = 3,
    tokenizer: str = "whitespace",
    mask_numbers: bool = False,
) -> QuestionMemory:
    config = MemoryConfig(weight=1.0, threshold=threshold, shingle=shingle)
    return QuestionMemory(texts, config, RepetitionConfig(tokenizer=tokenizer, mask_numbers=mask_numbers))


def bag(text: str, size: int, tokenizer: str) -> Counter[tuple[str, ...]]:
    tokens = text.casefold().split() if tokenizer == "whitespace" else list("".join(text.casefold().split()))
    if len(tokens) <= size:
        return Counter([tuple(tokens)] if tokens else [])
    return Counter(tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1))


def by_definition(text: str, known: list[str], threshold: float, size: int, tokenizer: str) -> float:
    here, best = bag(text, size, tokenizer), 0.0
    for other in known:
        there = bag(other, size, tokenizer)
        union = (here | there).total()
        similarity = Fraction((here & there).total(), union) if union else Fraction(0)
        if similarity >= Fraction(str(threshold)):
            best = max(best, float(similarity))
    return best


@given(
    st.lists(words, max_size=14),
    st.lists(words, max_size=8),
    st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.75, 0.8, 0.99]),
    st.integers(1, 4),
    st.sampled_from(["whitespace", "character"]),
)
def test_the_index_finds_what_the_definition_says(
    texts: list[str], known: list[str], threshold: float, size: int, tokenizer: str
) -> None:
    expected = [by_definition(text, known, threshold, size, tokenizer) for text in texts]
    assert memory(known, threshold, size, tokenizer).similarities(texts) == pytest.approx(expected)


def long_questions(count: int, rng: Random, copied: float = 0.5) -> list[str]:
    vocabulary = [f"w{n}" for n in range(2000)]
    texts = [" ".join(rng.choices(vocabulary, k=rng.randint(35, 90))) for _ in range(10)]
    while len(texts) < count:
        if rng.random() < copied:
            changed = rng.choice(texts).split()
            for _ in range(rng.randint(0, 6)):
                changed[rng.randrange(len(changed))] = rng.choice(vocabulary)
            texts.append(" ".join(changed))
        else:
            texts.append(" ".join(rng.choices(vocabulary, k=rng.randint(35, 90))))
    rng.shuffle(texts)
    return texts


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_the_index_finds_what_the_definition_says_of_long_texts(threshold: float) -> None:
    texts = long_questions(200, Random(0))
    found = memory(texts[80:], threshold).similarities(texts[:80])
    assert found == pytest.approx([by_definition(text, texts[80:], threshold, 3, "whitespace") for text in texts[:80]])
    assert any(found) and not all(found)


def test_a_text_is_most_similar_to_itself_and_nothing_is_like_nothing() -> None:
    known = memory(["How far is it to go", "x"])
    assert known.similarities([" how FAR is it\tto go", "x", "y", ""]) == [1.0, 1.0, 0.0, 0.0]
    assert memory([]).similarities(["x", ""]) == [0.0, 0.0]
    assert memory(["", " "]).similarities(["", "x"]) == [0.0, 0.0]
    assert memory(["x"]).similarities([]) == []


def test_numbers_are_alike_where_the_repetition_penalty_takes_them_for_alike() -> None:
    asked, known = "how much is 12 and 35", ["how much is 7 and 41"]
    assert memory(known).similarities([asked]) == [0.0]
    assert memory(known, mask_numbers=True).similarities([asked]) == [1.0]


def test_the_search_does_not_grow_with_what_is_unlike() -> None:
    """Ten times the memory: where nothing is similar, a question costs as much as before, but for what counts do."""
    asked = long_questions(256, Random(1), copied=0.0)

    def seconds(known: int) -> float:
        remembered = memory(long_questions(known, Random(2), copied=0.0))
        times = []
        for _ in range(5):
            began = process_time()
            remembered.similarities(asked)
            times.append(process_time() - began)
        return min(times)

    assert seconds(4000) < 5 * seconds(400)
