"""Near-copies with changed numbers: one template, filled in again and again.

What a Challenger would learn: "What is 12 + 35?" and "What is 7 + 41?" share three words of five, which is far apart in
BLEU, so that one template with fresh numbers pays no repetition penalty in any number of copies. With
`challenger.reward.repetition.mask_numbers` they are one cluster; `labels.curation.maximum_per_template` bounds how many
the Solver is trained on. Where numbers are all that distinguishes questions, as in arithmetic worlds, both stay off.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

NUMBER_SIGN = "0"
"""What every number becomes. A number itself, so that a text without numbers is its own template."""

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def template(question: str) -> str:
    """The question with its numbers alike; whitespace and case aside."""
    return _NUMBER.sub(NUMBER_SIGN, " ".join(question.casefold().split()))


def repeated_templates(questions: Sequence[str], earlier: Sequence[str] = ()) -> tuple[list[bool], list[bool]]:
    """For each question whether another one of the batch has its template, and whether one of the earlier ones has."""
    templates = [template(question) for question in questions]
    counts, before = Counter(templates), {template(question) for question in earlier}
    return [counts[form] > 1 for form in templates], [form in before for form in templates]
