r"""What of a row's field is the answer: the forms in which data sets keep it. Several answers are all right."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rzero_mega.grading.text.extraction import extract_answer

AnswerForm = Callable[[Any], tuple[str, ...]]


def plain(value: Any) -> tuple[str, ...]:
    """The field as it is; a number without a fraction as an integer: 27.0 is 27."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return (str(value).strip(),)


def after_marks(value: Any) -> tuple[str, ...]:
    """What follows the last `####`, as in GSM8K."""
    return (str(value).rpartition("####")[2].strip(),)


def last_box(value: Any) -> tuple[str, ...]:
    r"""What stands in the last \boxed{} of a solution, as in Minerva."""
    found = extract_answer(str(value))
    return (found,) if found else ()


def first_of_list(value: Any) -> tuple[str, ...]:
    """The only entry of a list, as in OlympiadBench: several answers stand in it, separated by commas."""
    return plain(value[0] if isinstance(value, list) and value else value)


def without_unit(value: Any) -> tuple[str, ...]:
    """`9 (apples)`, as in ASDiv: the number, and the number with its unit."""
    text = str(value).strip()
    match = re.fullmatch(r"(\S+)\s+\(([^()]*)\)", text)
    return (match[1], f"{match[1]} {match[2]}") if match else (text,)


ANSWER_FORMS: dict[str, AnswerForm] = {
    form.__name__: form for form in (plain, after_marks, last_box, first_of_list, without_unit)
}
