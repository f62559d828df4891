"""What phases need to know of a domain, and nothing more. Parts that not every domain has are None or empty."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

from rzero_mega.coevolution.checks import GENERAL, Check
from rzero_mega.coevolution.critic_pairs.intact_over_corrupted import Corrupt
from rzero_mega.coevolution.label_audit import COMPUTED
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.config.schema import GradingConfig
from rzero_mega.domains.benchmark import BuiltIn
from rzero_mega.domains.reexpression.form import Reexpress
from rzero_mega.grading.grader import Grader, TextGrader


class ReadQuestion(Protocol):
    """Finds the question in a Challenger's response."""

    def __call__(self, text: str, finished: bool, require_boxed: bool) -> WrittenQuestion | None:
        """None of a malformed response; with `require_boxed` that is also one without an answer of its own.

        `finished` says that the model ended the response itself.
        """
        ...


@dataclass(frozen=True)
class Oracle:
    """Computes true answers: for audits of labels, and for the ablation `true_labels`. Shown as "exact SUBJECT"."""

    subject: str
    answer: Callable[[str], str | None]
    """Of a question; None where it can't be computed."""

    @property
    def name(self) -> str:
        """What audits call it."""
        return f"{COMPUTED} {self.subject}"


@dataclass(frozen=True)
class Verdicts:
    """How a Verifier says whether an answer is right, and what it is warmed up and measured on."""

    read: Callable[[str], bool | None]
    """What a finished response says of the answer; None where it says neither."""

    write: Callable[[bool], str]
    """A response that says so, which `read` reads."""

    alter: Callable[[str, Random], str | None]
    """A wrong answer that looks like this right one; None where it can't be made."""


@dataclass(frozen=True)
class CheckableAnswers:
    """Answers that are right or wrong: equal ones are one vote, and the majority is the label."""

    read: Callable[[str], str | None]
    """The answer in a finished response; None where there is none."""

    grader: Callable[[GradingConfig], Grader]
    """Opens what says which answers are equal, without starting anything yet."""

    oracle: Oracle | None = None
    reexpress: Reexpress | None = None
    """Exact forms of a question, for `labels.panel.reexpression: exact`."""

    verdicts: Verdicts | None = None
    """For a Verifier, `verifier.train`."""


@dataclass(frozen=True)
class Decomposition:
    """How a question is asked part by part. Neither function knows what an answer is worth."""

    parts: Callable[[str], Sequence[str]]
    """Questions that are smaller, and together ask the same; none where it can't be taken apart."""

    recombine: Callable[[Sequence[str]], str | None]
    """An answer to the whole, out of one to each part, in their order; None where it can't be made."""


@dataclass(frozen=True)
class Comparison:
    """How a Critic says which of two answers is better."""

    read: Callable[[str], bool | None]
    """Whether a finished response says that it is the first one; None where it names neither."""

    write: Callable[[bool], str]
    """A response that says so, which `read` reads."""


@dataclass(frozen=True)
class ScoredAnswers:
    """Answers that are better or worse, and none of them simply right: each has a score, and nobody votes."""

    read: Callable[[str], str | None]
    """The answer in a finished response; None where there is none."""

    score: Callable[[str, str], float]
    """Of a question and an answer to it, from 0 to 1: what the roles are rewarded by."""

    quality: Callable[[str, str], float | None] | None = None
    """Of a question and an answer to it, from 0 to 1, what the answer is really worth; None where that can't be
    computed. As an oracle it is for audits and benchmarks alone, and no role learns of it."""

    corruptions: Mapping[str, Corrupt] = field(default_factory=dict)
    """For a Critic, `critic.train`: ways to make an answer worse, by what each does to it. They know nothing of
    `quality`, and leave alone an answer that they might not make worse."""

    decomposition: Decomposition | None = None
    """For a Critic's pairs of the kind recombined_over_one_shot, `critic.recombined_answers`."""

    comparison: Comparison | None = None
    """For a Critic that writes verdicts, `critic.form: generative`."""


@dataclass(frozen=True)
class WorkedExample:
    """A question, its answer, and a response that works it out."""

    question: str
    answer: str
    completion: str


@dataclass(frozen=True)
class WorkedExamples:
    """Labelled data that a domain computes, `labelled.data=DOMAIN:N` with N up to `most`."""

    most: int
    draw: Callable[[int, int], Iterator[WorkedExample]]
    """So many examples by a seed, none of which a benchmark of the domain asks."""


@dataclass(frozen=True)
class Domain:
    """A domain. Everything in it is a pure function, but for what a grader starts."""

    name: str
    prompts: Mapping[str, Path]
    """The prompt files of roles: `challenger` and `solver`; maybe `verifier`, `critic`, `paraphrase`, `program`, and
    `oracle` for audits."""

    read_question: ReadQuestion
    answers: CheckableAnswers | ScoredAnswers
    checks: Mapping[str, Check] = field(default_factory=lambda: dict(GENERAL))
    """By name, in the order in which a flaw is looked for; one that `checks` has no switch for is always on.

    They look at votes: a domain of scored answers has none."""

    benchmarks: Mapping[str, BuiltIn] = field(default_factory=dict)
    """By name, which no other benchmark has."""
    worked_examples: WorkedExamples | None = None

    @property
    def checkable(self) -> CheckableAnswers:
        """The answers, for what takes votes or a truth; TypeError if they are scored."""
        if not isinstance(self.answers, CheckableAnswers):
            raise TypeError(f"answers of domain {self.name} are scored, and not right or wrong")
        return self.answers

    def open_grader(self, config: GradingConfig) -> Grader:
        """What says which answers are equal, without starting anything yet; scored ones are if they are the same."""
        return self.answers.grader(config) if isinstance(self.answers, CheckableAnswers) else TextGrader(str)
