"""Each way of earning without a hard question: it pays by the paper's reward, and not with its check."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.challenger_reward import challenger_rewards
from rzero_mega.coevolution.checks import Checks
from rzero_mega.coevolution.checks.shares import exploit_shares
from rzero_mega.coevolution.checks.templates import repeated_templates, template
from rzero_mega.coevolution.curation import curate
from rzero_mega.coevolution.near_duplicates import find_copies
from rzero_mega.coevolution.records import VotedQuestion, WrittenQuestion
from rzero_mega.coevolution.votes import Vote, majority_vote
from rzero_mega.config import Config, load_config
from rzero_mega.config.schema import CHECK_LABELS, ChecksConfig
from rzero_mega.domains.mathematics.checks import CHECKS
from rzero_mega.domains.mathematics.questions import MAX_QUESTION_CHARS
from tests.domains.mathematics.legitimate_questions import LEGITIMATE

PAPER = load_config(["paper"])
HARDENED = load_config(["paper", "hardened"])
PAPER_CHECKS, HARDENED_CHECKS = (Checks(CHECKS, config.checks) for config in (PAPER, HARDENED))
SURE = VotedQuestion(
    WrittenQuestion("What is the hardest thing to ask of somebody?", None), Vote("7", 5, 10, 10, (("7", 5), ("8", 5)))
)
OTHERS = [f"{word} is the name of somebody who lives alone" for word in "abcdefghijklmno"]


def counted(**answers: int) -> Vote:
    """A vote of ten: answers by their count; what is missing was cut off."""
    given_answers: list[str | None] = [name.lstrip("_") for name, count in answers.items() for _ in range(count)]
    return vote(*given_answers, *[None] * (10 - len(given_answers)))


def vote(*answers: str | None) -> Vote:
    numbers: dict[str, int] = {}
    classes = [None if answer is None else numbers.setdefault(answer, len(numbers)) for answer in answers]
    return majority_vote(classes, answers, "denominator", sum(answer is None for answer in answers))


def split(one: str = "7", other: str = "8") -> Vote:
    """The vote that pays most."""
    return vote(*[one] * 5, *[other] * 5)


def earned(text: str, votes: Vote, config: Config = PAPER, own: str | None = None, **on: Any) -> float:
    """What one question earns in a batch of sixteen, whose others are like it in nothing."""
    questions: list[WrittenQuestion | None] = [
        WrittenQuestion(text, own),
        *(WrittenQuestion(other, None) for other in OTHERS),
    ]
    checks = Checks(CHECKS, ChecksConfig(**on) if on else config.checks)
    return challenger_rewards(questions, [votes, *[split()] * len(OTHERS)], config.challenger.reward, checks)[0].total


def curated(text: str, votes: Vote, own: str | None = None, **on: bool) -> str | None:
    """Why curation drops the question."""
    items = [SURE, VotedQuestion(WrittenQuestion(text, own), votes)]
    return curate(items, PAPER.labels.curation, checks=Checks(CHECKS, ChecksConfig(**on))).reasons[1]


LONG = " ".join(f"word{n}" for n in range(400)) + " what is 7 times 8?"

EXPLOITS: list[tuple[str, str, Vote, str | None]] = [
    ("several_questions", "What is 3 + 4? What is 3 + 5?", split(), None),
    ("several_questions", "Let a = 3. (a) Find a + 4. (b) Find a + 5.", split(), None),
    ("several_questions", "Let a = 3.\na) compute a + 4\nb) compute a + 5", split(), None),
    ("several_questions", "1. Calculate 3 + 4\n2. Calculate 3 + 5", split(), None),
    ("several_questions", "For a 3 by 5 rectangle find (a) the area, (b) the perimeter.", split(), None),
    ("several_questions", "Find the area of the square of side 3. Also find its perimeter.", split(), None),
    ("several_questions", "What is the sum of 3 and 4, and also what is their product?", split(), None),
    ("several_questions", "两数之和是多少？ 两数之积是多少？", split(), None),
    ("no_question", "Two trains leave the station at noon. One is faster than the other.", split(), None),
    ("no_question", "The sum of two numbers is 15.", split(), None),
    ("answer_in_question", "Find the 1000th zero of zeta. Hint: the answer is 7", split(), "7"),
    ("answer_in_question", "Find the 1000th zero of zeta (answer: $7$).", split(), "7"),
    ("answer_in_question", "Find the 1000th zero of zeta. Hint: 7", split(), None),
    (
        "answer_in_question",
        "Find the last zero of zeta, where the answer is \\frac{1}{2}.",
        split("1/2"),
        "\\frac{1}{2}",
    ),
    ("answer_in_question", "Find the 1000th zero of zeta. \\boxed{7}", split(), None),
    ("answer_in_question", "Show that the 1000th zero of zeta is equal to 7.", split(), None),
    ("answer_in_question", "The answer to this question is 7. What is the 1000th zero of zeta?", split(), None),
    ("answer_in_question", "12*3+4=40", split("40", "41"), None),
    ("random_choice", "Pick a random number between 1 and 100.", split(), None),
    ("random_choice", "Please choose any integer.", split(), None),
    ("random_choice", "Think of a number between 1 and 10. What is it?", split(), None),
    ("random_choice", "Name any prime larger than 100.", split("101", "103"), None),
    ("random_choice", "Give an example of an irrational number.", split("e", "\\pi"), None),
    ("random_choice", "Find one possible value of x with x > 3.", split("4", "5"), None),
    ("random_choice", "What is your favorite number?", split(), None),
    ("random_choice", "Find x with x > 3; answers may vary.", split("4", "5"), None),
    ("too_long", LONG, split("56", "54"), None),
    ("no_answer", "How old is the captain of a ship with 12 sheep?", split("\\text{cannot be determined}"), None),
    ("no_answer", "How old is the captain with 12 sheep?", split("12", "\\text{Not enough information}"), None),
    ("no_answer", "How old is the captain with sheep?", vote(*["7"] * 4, *["8"] * 2, *["no answer"] * 4), None),
    ("no_answer", "Find an integer between 1/3 and 2/3?", split("No solution", "1"), None),
    ("no_answer", "How old is the captain of a ship with 12 sheep?", split(), "can't be determined"),
    ("no_majority", "Which one is it?", vote("7", "7", *"abcdefgh"), None),
    ("mostly_unanswered", "Write out all partitions of 40, then count them.", vote(*["7"] * 3, *[None] * 7), None),
]


@pytest.mark.parametrize(
    ("check", "text", "votes", "own"), EXPLOITS, ids=[f"{e[0]}-{n}" for n, e in enumerate(EXPLOITS)]
)
def test_an_exploit_pays_in_the_paper_and_not_with_its_check(
    check: str, text: str, votes: Vote, own: str | None
) -> None:
    assert earned(text, votes, own=own) > 0.2
    alone: dict[str, Any] = {check: True}
    others: dict[str, Any] = {name: True for name in CHECKS if name != check}
    assert earned(text, votes, own=own, **alone) == 0.0
    assert earned(text, votes, own=own, **others) >= 0.0
    assert earned(text, votes, HARDENED, own) == 0.0
    assert check in Checks(CHECKS).found(VotedQuestion(WrittenQuestion(text, own), votes))


@pytest.mark.parametrize(
    ("check", "text", "votes", "own"), EXPLOITS, ids=[f"{e[0]}-{n}" for n, e in enumerate(EXPLOITS)]
)
def test_a_flawed_question_is_kept_from_the_solver(check: str, text: str, votes: Vote, own: str | None) -> None:
    assert curated(text, votes, own, **{check: True}) == check
    without = curated(text, votes, own, **{name: False for name in CHECKS})
    assert without is None or without == "below_band"


@pytest.mark.parametrize(("text", "answer"), LEGITIMATE, ids=range(len(LEGITIMATE)))
def test_a_legitimate_question_is_left_alone(text: str, answer: str) -> None:
    votes = vote(*[answer] * 6, "another answer", "yet another", "a third", None)
    for own in (answer, None):
        assert HARDENED_CHECKS.found(VotedQuestion(WrittenQuestion(text, own), votes)) == ()


def test_every_exploit_has_its_check_and_every_check_a_switch_and_an_exploit() -> None:
    assert {check for check, *_ in EXPLOITS} == set(CHECKS)
    assert all(getattr(ChecksConfig(), name) is False for name in CHECKS)
    switches = {name for name, value in vars(ChecksConfig()).items() if isinstance(value, bool)}
    assert switches == set(CHECKS)
    assert list(CHECK_LABELS) == list(CHECKS)
    assert len(set(CHECK_LABELS.values())) == len(CHECKS)


def test_a_flawed_question_is_rewarded_as_a_malformed_one() -> None:
    official = load_config(["official_code"], ["checks.several_questions=true"])
    two = WrittenQuestion("What is 3 + 4? What is 3 + 5?", None)
    flawed, malformed = challenger_rewards(
        [two, None], [split(), None], official.challenger.reward, Checks(CHECKS, official.checks)
    )
    assert (flawed.total, flawed.uncertainty, flawed.flaw) == (malformed.total, 0.0, "several_questions")
    assert flawed.well_formed and not malformed.well_formed and malformed.flaw is None


def test_copies_of_a_flawed_question_pay_for_it_too() -> None:
    text = "how many primes are there below one hundred and ten"
    copies: list[WrittenQuestion | None] = [WrittenQuestion(text, None), WrittenQuestion(text, "cannot be determined")]
    rewards = challenger_rewards(
        copies, [split()] * 2, PAPER.challenger.reward, Checks(CHECKS, ChecksConfig(no_answer=True))
    )
    assert [reward.total for reward in rewards] == [0.0, 0.0]
    assert rewards[0].repetition == 1.0


def test_an_easy_question_whose_samples_are_cut_off_pays_in_the_paper_and_not_without_doubt_by_silence() -> None:
    easy = "What is 2 + 2? Write every step a thousand times."
    assert earned("What is 2 + 2?", counted(_4=10)) == 0.0
    assert earned(easy, counted(_4=5)) > 0.9
    assert earned(easy, counted(_4=5), HARDENED) == 0.0
    # half of the samples is what mostly_unanswered lets through: it is the reward that closes this
    assert "mostly_unanswered" not in HARDENED_CHECKS.found(VotedQuestion(WrittenQuestion(easy, None), counted(_4=5)))


@given(st.lists(st.sampled_from("789"), min_size=10, max_size=10), st.sets(st.integers(0, 9)))
def test_no_question_earns_more_by_having_samples_cut_off(answers: list[str], cut: set[int]) -> None:
    left = [None if place in cut else answer for place, answer in enumerate(answers)]
    text = "Compute the number of primes below ninety."
    assert earned(text, vote(*left), HARDENED) <= earned(text, vote(*answers), HARDENED) + 1e-12


def test_a_template_with_changed_numbers_pays_in_the_paper_and_not_with_numbers_masked() -> None:
    template_questions: list[WrittenQuestion | None] = [
        WrittenQuestion(f"What is {n * 7} + {n * 13}?", None) for n in range(1, 17)
    ]
    votes = [split()] * 16
    paper = challenger_rewards(template_questions, votes, PAPER.challenger.reward)
    hardened = challenger_rewards(template_questions, votes, HARDENED.challenger.reward)
    assert min(reward.total for reward in paper) > 0.6
    assert [reward.total for reward in hardened] == [0.0] * 16


def test_curation_keeps_a_template_so_many_times() -> None:
    items = [VotedQuestion(WrittenQuestion(f"What is {n} + {2 * n}?", None), SURE.vote) for n in range(1, 8)]
    config = load_config(["paper"], ["labels.curation.maximum_per_template=3"]).labels.curation
    result = curate([SURE, *items], config)
    assert [item.question.text for item in result.kept[1:]] == ["What is 1 + 2?", "What is 2 + 4?", "What is 3 + 6?"]
    assert result.dropped["template"] == 4
    assert curate([SURE, *items], PAPER.labels.curation).dropped["template"] == 0


def test_templates_differ_in_more_than_numbers() -> None:
    assert template("What is  1,234.5 + 2?") == template("what is 7 + 11?")
    assert template("What is 1 + 2?") != template("What is 1 - 2?")
    texts = ["What is 1 + 2?", "What is 3 + 4?", "Name it"]
    assert repeated_templates(texts, ["name  IT"]) == ([True, True, False], [False, False, True])


def test_shares_are_counted_whatever_is_switched_on() -> None:
    asked = [
        VotedQuestion(WrittenQuestion("What is 3 + 4? What is 3 + 5?", None), split()),
        VotedQuestion(WrittenQuestion("What is 1 + 2?", None), counted(_3=9)),
    ]
    texts = [item.question.text for item in asked]
    shares = exploit_shares(asked, find_copies(texts), PAPER_CHECKS)
    hardened = exploit_shares(asked, find_copies(texts), HARDENED_CHECKS)
    assert (shares.pop("closed"), hardened.pop("closed")) == (0.0, 0.5)
    assert shares == hardened
    assert shares["several_questions"] == shares["any"] == 0.5
    assert shares["unanswered"] == shares["cut_off"] == pytest.approx(1 / 20)
    assert shares["distinct_answers"] == 1.5 and shares["singleton"] == 0.0
    assert "seen_before" not in shares
    with_earlier = exploit_shares(asked, find_copies(texts, ["what is 1 + 2?"]), PAPER_CHECKS, ["what is 1 + 2?"])
    assert with_earlier["seen_before"] == with_earlier["template_seen"] == 0.5
    assert exploit_shares([], find_copies([]), PAPER_CHECKS) == {}


@given(st.text(max_size=300), st.none() | st.text(max_size=60), st.lists(st.none() | st.text(max_size=20), min_size=1))
def test_any_text_can_be_checked(text: str, own: str | None, answers: list[str | None]) -> None:
    asked = VotedQuestion(WrittenQuestion(text, own), vote(*answers))
    assert set(HARDENED_CHECKS.found(asked)) <= set(CHECKS)
    assert PAPER_CHECKS.flaw(asked) is None


HOSTILE = [
    "? ", "a?", "(b) ", "b) ", "also ", "also, please ", "find ", "find: (a) ", "the answer to this ", "answer is ",
    "answer is known to be ", "hint: ", "show that ", "is ", "= ", "7", "\\boxed{", "{", "\\", "$", " ", "\n", "1+",
    "pick a ", "choose any aaaa ", "please then now ", "give an ", "name any ab-cd ", "-", "a-", ". ", "think of some ",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_time_linear_in_its_length(piece: str) -> None:
    def seconds(chars: int) -> float:
        text = (piece * chars)[:chars]
        asked = VotedQuestion(WrittenQuestion(text, piece * 5), vote(piece * 9, "7"))
        spent = []
        for _ in range(3):
            began = time.process_time()
            HARDENED_CHECKS.found(asked)
            spent.append(time.process_time() - began)
        return min(spent)

    # Quadratic work would take 64 times as long. Processor time: a busy machine does not lengthen it much.
    assert seconds(MAX_QUESTION_CHARS) < 30 * seconds(MAX_QUESTION_CHARS // 8) + 0.05
