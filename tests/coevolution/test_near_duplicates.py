from __future__ import annotations

from collections import Counter
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.curation import curate
from rzero_mega.coevolution.near_duplicates import Copies, find_copies
from rzero_mega.coevolution.records import VotedQuestion, WrittenQuestion
from rzero_mega.coevolution.votes import Vote
from rzero_mega.config import load_config

FRAME = "a train leaves the station at {} and travels for {} hours at a constant speed how far does it get"


def bag(text: str, size: int, tokenizer: str) -> Counter[tuple[str, ...]]:
    tokens = text.casefold().split() if tokenizer == "whitespace" else list("".join(text.casefold().split()))
    if len(tokens) <= size:
        return Counter([tuple(tokens)] if tokens else [])
    return Counter(tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1))


def similar(one: str, other: str, threshold: float, size: int, tokenizer: str) -> bool:
    here, there = bag(one, size, tokenizer), bag(other, size, tokenizer)
    union = (here | there).total()
    return union > 0 and Fraction((here & there).total(), union) >= Fraction(str(threshold))


def by_definition(texts: list[str], earlier: list[str], threshold: float, size: int, tokenizer: str) -> Copies:
    def first(text: str, others: list[tuple[int, str]]) -> int | None:
        return next((n for n, other in others if similar(text, other, threshold, size, tokenizer)), None)

    originals: list[tuple[int, str]] = []
    repeated = []
    for place, text in enumerate(texts):
        repeated.append(first(text, originals))
        if repeated[-1] is None:
            originals.append((place, text))
    return Copies(tuple(first(text, list(enumerate(earlier))) for text in texts), tuple(repeated))


words = st.lists(st.sampled_from(["a", "b", "B", "c"]), max_size=9).map(" ".join)
thresholds = st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.75, 0.8, 0.9, 1.0])


@given(
    st.lists(words, max_size=14),
    st.lists(words, max_size=8),
    thresholds,
    st.integers(1, 4),
    st.sampled_from(["whitespace", "character"]),
)
def test_the_index_finds_what_the_definition_says(
    texts: list[str], earlier: list[str], threshold: float, size: int, tokenizer: str
) -> None:
    expected = by_definition(texts, earlier, threshold, size, tokenizer)
    assert find_copies(texts, earlier, threshold, size, tokenizer) == expected


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_the_index_finds_what_the_definition_says_of_long_texts(threshold: float) -> None:
    rng = Random(0)
    vocabulary = [f"w{n}" for n in range(60)]
    texts = [" ".join(rng.choices(vocabulary, k=rng.randint(35, 90))) for _ in range(30)]
    for _ in range(120):
        changed = rng.choice(texts).split()
        for _ in range(rng.randint(0, 6)):
            changed[rng.randrange(len(changed))] = rng.choice(vocabulary)
        texts.append(" ".join(changed))
    rng.shuffle(texts)
    found = find_copies(texts[50:], texts[:50], threshold)
    assert found == by_definition(texts[50:], texts[:50], threshold, 3, "whitespace")
    assert any(of is not None for of in found.repeated) and any(of is not None for of in found.seen)


def test_a_long_question_with_another_number_is_a_near_duplicate() -> None:
    texts = [FRAME.format("nine", 3), FRAME.format("nine", 4), FRAME.format("ten", 4)]
    assert find_copies(texts, threshold=0.7).repeated == (None, 0, None)


def test_expressions_need_characters_and_repeated_parts_count() -> None:
    assert find_copies(["12*3+4", "12*3+5"], tokenizer="whitespace").repeated == (None, None)
    assert find_copies(["12*3+4", "12 * 3 + 4"], tokenizer="character").repeated == (None, 0)
    assert find_copies(["12+12", "12+12+12"], tokenizer="character").repeated == (None, None)


def test_case_and_whitespace_are_no_difference_and_nothing_is_like_nothing() -> None:
    assert find_copies(["What is it", " what  is IT\n"]).repeated == (None, 0)
    assert find_copies(["", " ", ""], [""]) == Copies((None,) * 3, (None,) * 3)
    assert find_copies([]) == Copies((), ())


def test_the_first_stays_and_the_earlier_iterations_come_first() -> None:
    found = find_copies(["x y z", "x y z", "u v w"], ["u v w", "x y z", "x y z"])
    assert found == Copies(seen=(1, 1, 0), repeated=(None, 0, None))


@given(st.lists(words, max_size=10), st.permutations(range(10)))
def test_what_is_found_depends_on_nothing_but_the_order(texts: list[str], order: list[int]) -> None:
    assert find_copies(texts) == find_copies(list(texts))
    shuffled = [texts[place] for place in order if place < len(texts)]
    assert find_copies(shuffled) == by_definition(shuffled, [], 0.8, 3, "whitespace")


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.1])
def test_an_impossible_threshold_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        find_copies(["a"], threshold=threshold)


def labelled(text: str, count: int = 5) -> VotedQuestion:
    return VotedQuestion(WrittenQuestion(text, None), Vote("7", count, 10, 10))


def test_curation_drops_copies_where_the_configuration_says_so() -> None:
    items = [labelled(FRAME.format("nine", 3), 10), labelled(FRAME.format("nine", 4)), labelled("how far is it to go")]
    copies = find_copies([item.question.text for item in items], ["How far is it to go"], 0.7)
    settings = ["labels.curation.near_duplicates.drop=true", "labels.curation.near_duplicates.drop_seen=true"]

    def reasons(*overrides: str) -> tuple[str | None, ...]:
        config = load_config(["paper"], overrides).labels.curation
        # One more that is kept, so that there is something to train on.
        everything = Copies((*copies.seen, None), (*copies.repeated, None))
        return curate([*items, labelled("another thing")], config, copies=everything).reasons[:3]

    assert reasons() == ("above_band", None, None)
    # the first of near-duplicates is looked at, whatever becomes of it
    assert reasons(settings[0]) == ("above_band", "near_duplicate", None)
    assert reasons(*settings) == ("above_band", "near_duplicate", "seen_before")
