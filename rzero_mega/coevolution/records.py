"""What phases hand on to each other, the report included: records with their JSON (see `rzero_mega.records`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from rzero_mega.coevolution.votes import SourceVotes, Vote
from rzero_mega.records import bounded, field, optional_field, typed


@dataclass(frozen=True)
class WrittenQuestion:
    """questions.jsonl: what the Challenger asks, and what it thinks is the answer (whole, not only its last character).

    R-Zero never trains on `own_answer`; the label is the Solver's majority.
    """

    text: str
    own_answer: str | None

    def as_json(self) -> dict[str, Any]:
        """The row of the file."""
        return {"question": self.text, "own_answer": self.own_answer}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> WrittenQuestion:
        """Checked; see `Record`."""
        return cls(field(row, "question", str), optional_field(row, "own_answer", str))


@dataclass(frozen=True)
class VotedQuestion:
    """A question and the Solver's vote on it: what checks and curation look at."""

    question: WrittenQuestion
    vote: Vote

    @cached_property
    def text(self) -> str:
        """The question in one line and in small letters, for patterns to read."""
        return " ".join(self.question.text.casefold().split())


@dataclass(frozen=True)
class AnsweredQuestion(VotedQuestion):
    """A voted question with the answers behind the vote, by sample index.

    An answer is None where a sample gave none. `tokens` counts those of all samples.
    """

    answers: tuple[str | None, ...]
    tokens: int

    def as_json(self) -> dict[str, Any]:
        """The row of the file. `share` is there for readers of the file."""
        vote = self.vote
        return {
            **self.question.as_json(),
            "answer": vote.answer,
            "share": vote.share,
            "count": vote.count,
            "samples": vote.samples,
            "answered": vote.answered,
            "answers": list(self.answers),
            "tally": [list(pair) for pair in vote.tally],
            "cut_off": vote.cut_off,
            "tokens": self.tokens,
            **({"by_source": [asdict(votes) for votes in vote.by_source]} if vote.by_source else {}),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> AnsweredQuestion:
        """Checked; see `Record`."""
        vote = Vote(
            answer=optional_field(row, "answer", str),
            count=field(row, "count", int),
            samples=field(row, "samples", int),
            answered=field(row, "answered", int),
            tally=tuple((typed(a, str, "tally"), typed(count, int, "tally")) for a, count in field(row, "tally", list)),
            cut_off=field(row, "cut_off", int),
            by_source=tuple(_source_votes(entry) for entry in row.get("by_source", ())),
        )
        answers = tuple(None if a is None else typed(a, str, "answers") for a in field(row, "answers", list))
        if vote.samples < 1 or len(answers) != vote.samples:
            raise ValueError(f"{len(answers)} answers of {vote.samples} samples")
        return cls(WrittenQuestion.from_json(row), vote, answers, field(row, "tokens", int))


def _probability(row: Mapping[str, Any], name: str) -> float | None:
    return bounded(field(row, name, float), name, 0, 1) if name in row else None


def _source_votes(row: Mapping[str, Any]) -> SourceVotes:
    tally = tuple(typed(count, int, "tally") for count in row.get("tally", ()))
    return SourceVotes(field(row, "source", str), field(row, "count", int), field(row, "samples", int), tally)


@dataclass(frozen=True)
class Answers:
    """A part of the labels phase: what a model says to a question, by sample index; mostly votes on it.

    An answer is None where a sample gave none. `tokens` counts those of all samples, `cut_off` the samples that did not
    end by themselves. The seconds are this question's even share of its part's: of drawing and reading, and of loading
    the model before.
    """

    answers: tuple[str | None, ...]
    tokens: int
    cut_off: int
    seconds: float = 0.0
    load_seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The row of the file."""
        return {**asdict(self), "answers": list(self.answers)}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Answers:
        """Checked; see `Record`."""
        answers = tuple(None if a is None else typed(a, str, "answers") for a in field(row, "answers", list))
        seconds = float(row.get("seconds", 0.0)), float(row.get("load_seconds", 0.0))
        return cls(answers, field(row, "tokens", int), field(row, "cut_off", int), *seconds)


@dataclass(frozen=True)
class CheckedParaphrase(Answers):
    """A part of the labels phase: a paraphrase, and the checker's answers to the question, then as many to it.

    There are no answers where nobody was asked. `passed` says whether the majorities of both are equal.
    """

    paraphrase: str | None = None
    passed: bool = False

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> CheckedParaphrase:
        """Checked; see `Record`."""
        drawn, text = vars(Answers.from_json(row)), optional_field(row, "paraphrase", str)
        return cls(**drawn, paraphrase=text, passed=field(row, "passed", bool))


@dataclass(frozen=True)
class ParaphrasedQuestion:
    """paraphrases.jsonl: a question in other words, what became of that, and the answers by which it was checked.

    `paraphrase` is None where the response had none. Only with the verdict "passed" is it asked in the question's
    place.
    """

    question: str
    paraphrase: str | None
    verdict: str
    answers: tuple[str | None, ...]
    answers_to_paraphrase: tuple[str | None, ...]

    def as_json(self) -> dict[str, Any]:
        """The row of the file."""
        lists = {"answers": list(self.answers), "answers_to_paraphrase": list(self.answers_to_paraphrase)}
        return {**asdict(self), **lists}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ParaphrasedQuestion:
        """Checked; see `Record`."""
        answers = (
            tuple(None if answer is None else typed(answer, str, key) for answer in field(row, key, list))
            for key in ("answers", "answers_to_paraphrase")
        )
        verdict = field(row, "verdict", str)
        return cls(field(row, "question", str), optional_field(row, "paraphrase", str), verdict, *answers)


@dataclass(frozen=True)
class LabelledQuestion:
    """labelled.jsonl: an answered question, why curation dropped it (None: kept), and its label held against the truth.

    `truth` is None where it cannot be computed, `correct` also where there is no label. `confidence` is how likely the
    label is right by the panel's disagreements, `weight` what the Solver's training makes of that; None where
    `labels.selection` and `labels.weighting` don't ask. `acceptance` is the share of a Verifier's verdicts that accept
    the label, None where it was not asked.
    """

    answered: AnsweredQuestion
    dropped: str | None
    truth: str | None
    correct: bool | None
    confidence: float | None = None
    weight: float | None = None
    acceptance: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the Solver may train on it."""
        return self.dropped is None

    def as_json(self) -> dict[str, Any]:
        """The row of the file. `kept` is there for readers of the file."""
        verdict = {"kept": self.kept, "dropped": self.dropped, "truth": self.truth, "correct": self.correct}
        weighing = {"confidence": self.confidence, "weight": self.weight, "acceptance": self.acceptance}
        told = {key: value for key, value in weighing.items() if value is not None}
        return {**self.answered.as_json(), **verdict, **told}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> LabelledQuestion:
        """Checked; see `Record`."""
        return cls(
            AnsweredQuestion.from_json(row),
            optional_field(row, "dropped", str),
            optional_field(row, "truth", str),
            optional_field(row, "correct", bool),
            _probability(row, "confidence"),
            _probability(row, "weight"),
            _probability(row, "acceptance"),
        )


@dataclass(frozen=True)
class ReplayedQuestion:
    """replayed.jsonl: an earlier question that was asked again, and the label that it had."""

    labelled: LabelledQuestion
    label: str

    def as_json(self) -> dict[str, Any]:
        """The row of the file."""
        return {**self.labelled.as_json(), "label": self.label}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ReplayedQuestion:
        """Checked; see `Record`."""
        return cls(LabelledQuestion.from_json(row), field(row, "label", str))


@dataclass(frozen=True)
class TrainingQuestion:
    """dataset.jsonl: a question that the Solver trains on, with its label.

    `weight` scales its advantages, from 0 to 1; None where labels have none and all count alike.
    """

    question: str
    answer: str
    weight: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The row of the file."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> TrainingQuestion:
        """Checked; see `Record`."""
        return cls(field(row, "question", str), field(row, "answer", str), _probability(row, "weight"))
