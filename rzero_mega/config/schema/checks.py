"""Questions with a flaw that a Challenger could learn to earn by."""

from __future__ import annotations

from dataclasses import dataclass, fields

from rzero_mega.config.schema.metadata import check, number


@dataclass
class ChecksConfig:
    """A question in which a check that is on finds a flaw is rewarded as malformed, and kept from the Solver.

    Neither paper nor official code has checks, so all are off by default; the preset `hardened` has them on, and the
    ablation no_checks takes them away. Whatever is off is counted all the same, at the bounds given here. Each check is
    a file, in `rzero_mega/coevolution/checks/` or, where it reads English, in `rzero_mega/domains/mathematics/checks/`.
    """

    several_questions: bool = check("several questions in one")
    """Several questions in one, whose parts split the vote."""

    no_question: bool = check("no question")
    """A statement that asks nothing, of which every sample makes another question."""

    answer_in_question: bool = check("answer in the question")
    """The answer stands in the question."""

    random_choice: bool = check("free choice")
    """A free choice ("pick a number"), which splits the vote without being hard."""

    too_long: bool = check("question too long")
    """More than `maximum_question_chars` characters: padding that hides repetition and uses up the Solver's tokens."""

    mostly_unanswered: bool = check("mostly without an answer")
    """A share of the samples above `maximum_unanswered` gave no answer: endless work."""

    no_answer: bool = check("answer: none possible")
    """Words such as "cannot be determined" win the vote, have a third of it, or are the Challenger's own answer."""

    no_majority: bool = check("majority too small")
    """The majority has a share of the samples below `minimum_majority`: noise rather than difficulty."""

    maximum_question_chars: int = number(2000, 1)
    """Longest question that `too_long` passes, characters. 2,000 are about 500 tokens; a problem of a competition has a
    few hundred characters."""

    maximum_unanswered: float = number(0.5, 0.0, 1.0)
    """Largest share of samples without an answer that `mostly_unanswered` passes."""

    minimum_majority: float = number(0.25, 0.0, 1.0)
    """Smallest share of all samples that `no_majority` asks of the majority. Keep it at `labels.curation.low` or below:
    a question below that is not trained on, so none should be rewarded."""


CHECK_LABELS: dict[str, str] = {
    switch.name: switch.metadata["label"] for switch in fields(ChecksConfig) if "label" in switch.metadata
}
"""The checks, in the order in which a question's flaw is looked for: {name of the switch: what the report calls it}."""
