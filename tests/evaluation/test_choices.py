"""Option letters, read from responses as models write them."""

from __future__ import annotations

import pytest

from rzero_mega.evaluation.choices import extract_choice

CITIES = ["London", "New York", "Paris", "Rome", "Madrid", "Berlin", "Vienna", "Oslo", "Lisbon", "Bern"]
NUMBERS = ["0.5 m", "5 m", "12.5 m", "15 m"]
COUNTS = ["I only", "II only", "I and II only", "None of the above"]


@pytest.mark.parametrize(
    "text",
    [
        "C",
        "(C)",
        "C.",
        "**C**",
        "C. Paris",
        "C) Paris",
        "Paris",
        "Option C",
        "c",
        "The answer is (C).",
        "The answer is C",
        "the answer is c.",
        "The answer is **C**.",
        "The answer is: C) Paris",
        "The correct answer is option C, because it lies on the Seine.",
        "The correct answer is therefore (C): Paris.",
        "**Answer:** C",
        "**Answer: (C) Paris**",
        "### Answer\n\nC",
        "ANSWER: C",
        "Answer - [C]",
        "Answer: $\\boxed{C}$",
        "So it is $\\boxed{\\text{C}}$.",
        r"\boxed{(C)}",
        r"\boxed{\textbf{(C) } Paris}",
        r"\boxed{Paris}",
        r"\boxed C",
        r"The final answer is $\boxed{\text{Paris}}$.",
        "<answer>C</answer>",
        "The answer is Paris.",
        'The answer is "Paris".',
        "Therefore, the capital of France is Paris.",
        "I choose C.",
        "I would go with option C.",
        "The best choice here would be (C).",
        "C is the correct answer.",
        "Option C is the best choice among those given.",
        "(C) Paris is the right answer.",
        "London is in England and Rome in Italy. Therefore, (C).",
        "So the answer must be C!",
        "答案是C。",
        "正确答案：C",
        "The most likely capital is C. Paris. It has been so for centuries.",
        "The capital of France is Paris (C). London is the capital of another country.",
        "It isn't London, since that is in England.\n\nHence it must be option C.",
    ],
)
def test_an_answer_is_read_however_it_is_stated(text: str) -> None:
    assert extract_choice(text, CITIES) == "C"


@pytest.mark.parametrize(
    "text",
    [
        "The answer is (B). Wait, that is in America. The answer is (C).",
        "At first I thought the answer is B. However, the answer is C.",
        r"$\boxed{B}$ … let me check. No: $\boxed{C}$",
        r"$\boxed{B}$\n\nActually, the answer is C.".replace(r"\n", "\n"),
        "The answer is (B).\n\nWait, this is wrong: New York is no capital.\n\nThe answer is (C).",
        "<think>The answer is B, surely. Or D?</think>The answer is C.",
        "Option A is wrong. Option B is incorrect. Option D is not correct. Option C is correct.",
        "If the answer were B, it would lie in America. The answer is C.",
        "The answer is not A. The answer is not (B). The answer is C.",
        "The answer cannot be D, so the answer is C.",
    ],
)
def test_the_last_word_counts(text: str) -> None:
    assert extract_choice(text, CITIES) == "C"


@pytest.mark.parametrize(
    "text",
    [
        "France's capital lies on the Seine. The answer is (C).\n\nQuestion: What is the capital of Italy?\n"
        "Answer: Let's think step by step. The answer is (D).",
        "France's capital lies on the Seine. The answer is (C).\nThe answer is (A).\nThe answer is (E).\nThe answer is",
        "France's capital lies on the Seine. The answer is (C).\n\nItaly's lies on the Tiber. The answer is (D).",
        "The answer is (C).<|im_end|>\n<|im_start|>user\nAnd of Spain? The answer is (E).",
    ],
)
def test_what_a_model_goes_on_with_is_another_question(text: str) -> None:
    assert extract_choice(text, CITIES) == "C"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I don't know.",
        "I cannot answer this question.",
        "A capital is a city. I think about it.",
        "The answer is (A) or (D).",
        "The answer is (B, G).",
        "The answers are (A) and (C).",
        "The answer is not listed.",
        "The answer is not C.",
        "The answer is vitamin C.",
        "The answer is Z.",
        "Let's go through the options.\nA. London\nB. New York\nC. Paris\nD. Rome",
        "Both option A and option C are possible.",
        r"\boxed{42}",
        r"\boxed{A, C}",
    ],
)
def test_what_names_no_option_or_several_is_no_answer(text: str) -> None:
    assert extract_choice(text, CITIES) is None


@pytest.mark.parametrize(
    ("text", "options", "letter"),
    [
        (r"Then x = \boxed{12.5}.", ["0.5", "5", "12.5", "15"], "C"),
        (r"Then x = $\boxed{12.5\text{ m}}$.", NUMBERS, "C"),
        ("The answer is 5 m.", NUMBERS, "B"),
        ("The answer is 0.5 m.", NUMBERS, "A"),
        ("The answer is I and II only.", COUNTS, "C"),
        ("The answer is I only.", COUNTS, "A"),
        ("The answer is none of the above.", COUNTS, "D"),
        ("The answer is (B) I only.", COUNTS, "B"),
        ("The answer is A good deal harder to find.", ["x", "y"], None),
        ("The answer is C4 plants.", ["moss", "C3 plants", "fern", "C4 plants"], "D"),
        ("The answer is E. coli.", ["yeast", "E. coli", "mould", "fern", "moss"], "B"),
        ("The option was bought at 5 m, and no one knows at how much it was sold.", NUMBERS, None),
        ("The answer is E.", ["a", "b", "c", "d"], None),
        ("The answer is J.", CITIES, "J"),
        ("The answer is I.", CITIES, "I"),
        ("I would say that I am not sure.", CITIES, None),
        ("F = ma, so the force is 5 m", NUMBERS, "B"),
    ],
)
def test_options_of_every_kind(text: str, options: list[str], letter: str | None) -> None:
    assert extract_choice(text, options) == letter


def test_time_is_linear_in_the_text() -> None:
    assert extract_choice("the answer option is not " * 20_000, CITIES) is None
    assert extract_choice("(" * 200_000, CITIES) is None
    assert extract_choice("answer " * 30_000 + "The answer is (C).", CITIES) == "C"


def test_a_question_has_up_to_26_options() -> None:
    with pytest.raises(ValueError, match="0 options"):
        extract_choice("A", [])
