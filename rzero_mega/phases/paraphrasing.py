"""Questions in other words for the votes on them: a model writes them, and the base model's answers check them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from rzero_mega import spmd
from rzero_mega.coevolution.plan import Paraphrasers
from rzero_mega.coevolution.records import Answers, CheckedParaphrase, ParaphrasedQuestion, WrittenQuestion
from rzero_mega.domains.reexpression.paraphrase import (
    Paraphrases,
    Verdict,
    first_verdict,
    same_majority,
)
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.drawing import QuestionsAsked
from rzero_mega.phases.responses import answers_of, written_questions
from rzero_mega.phases.rounds import Round
from rzero_mega.rollout.protocol import Request, Sample

_log = logging.getLogger(__name__)

WRITING, CHECKING = "paraphrases", "paraphrases_checked"
"""The two rounds, as the phase's costs call them."""


@dataclass(frozen=True)
class Paraphrasing:
    """The two rounds of a labels phase, with the numbers of their parts: all ranks make the same calls."""

    ctx: RunContext
    phase: ActivePhase
    writing: range
    checking: range

    def rounds(self, who: Paraphrasers) -> list[Round]:
        """First paraphrases are written, then checked."""
        by_challenger = self.ctx.config.labels.panel.paraphrase.writer == "challenger"
        return [
            Round(WRITING, self.writing, "challenger" if by_challenger else "solver", who.writer, self._write),
            Round(CHECKING, self.checking, "solver", who.checker, self._check, after=(WRITING,)),
        ]

    def forms(self, number: int, questions: Sequence[WrittenQuestion]) -> Paraphrases:
        """The paraphrases of a part that passed, as forms of its questions. Both rounds have had their say on it."""
        return Paraphrases(spmd.on_rank_0(self._passed, number, questions))

    def written(self, numbers: range) -> list[Answers]:
        """What was written in these parts of the round: one text for each question, or None. On rank 0 alone."""
        return self.phase.directory.read_parts(Answers, self.writing[numbers.start : numbers.stop])

    def checked(self, numbers: range) -> list[CheckedParaphrase]:
        """What the checker said in these parts of the round. On rank 0 alone."""
        return self.phase.directory.read_parts(CheckedParaphrase, self.checking[numbers.start : numbers.stop])

    def outcome(self, questions: Sequence[WrittenQuestion], numbers: range | None = None) -> list[ParaphrasedQuestion]:
        """What became of the questions of these parts (all by default) in both rounds. On rank 0 alone."""
        numbers = range(len(self.writing)) if numbers is None else numbers
        found = []
        for question, checked in zip(questions, self.checked(numbers), strict=True):
            text, half = checked.paraphrase, len(checked.answers) // 2
            verdict = first_verdict(question.text, text) or (Verdict.PASSED if checked.passed else Verdict.MEANING)
            answers = checked.answers[:half], checked.answers[half:]
            found.append(ParaphrasedQuestion(question.text, text, verdict.value, *answers))
        return found

    def _passed(self, number: int, questions: Sequence[WrittenQuestion]) -> dict[str, str]:
        found = self.outcome(questions, range(number, number + 1))
        return {row.question: row.paraphrase for row in found if row.paraphrase and row.verdict == Verdict.PASSED}

    def _write(self, number: int, questions: Sequence[WrittenQuestion]) -> QuestionsAsked:
        key, sampling = self.phase.seed_key(WRITING, number), self.ctx.config.labels.panel.paraphrase.sampling
        requests = [
            Request(f"{key}/{i}", self.ctx.paraphrase_prompt(question.text), 1, sampling, logprobs=False)
            for i, question in enumerate(questions)
        ]
        return QuestionsAsked(requests, self._texts)

    def _texts(self, samples: Sequence[Sample]) -> list[Answers]:
        # In the form in which the Challenger's questions are.
        written = written_questions(self.ctx, samples, require_boxed=False)
        texts = [None if question is None else question.text for question in written]
        return [
            Answers((text,), len(sample.tokens), int(not sample.finished))
            for text, sample in zip(texts, samples, strict=True)
        ]

    def _check(self, number: int, questions: Sequence[WrittenQuestion]) -> QuestionsAsked:
        """The checker answers the questions whose paraphrase nothing speaks against so far, and these paraphrases."""
        config, key = self.ctx.config.labels, self.phase.seed_key(CHECKING, number)
        samples_each, sampling = config.panel.paraphrase.gate_samples, config.votes.sampling
        written = [row.answers[0] for row in spmd.on_rank_0(self.written, range(number, number + 1))]
        pairs = {
            i: (question.text, text)
            for i, (question, text) in enumerate(zip(questions, written, strict=True))
            if text is not None and first_verdict(question.text, text) is None
        }
        requests = [
            Request(f"{key}/{i}/{form}", self.ctx.solver_prompt(text), samples_each, sampling, logprobs=False)
            for i, pair in pairs.items()
            for form, text in zip(("question", "paraphrase"), pair, strict=True)
        ]
        return QuestionsAsked(requests, partial(self._checked, written, list(pairs)))

    def _checked(
        self, written: Sequence[str | None], places: Sequence[int], samples: Sequence[Sample]
    ) -> list[CheckedParaphrase]:
        """A record for each of the paraphrases; `samples` are of those at `places`."""
        found = [CheckedParaphrase((), 0, 0, paraphrase=text) for text in written]
        size = 2 * self.ctx.config.labels.panel.paraphrase.gate_samples
        answers = answers_of(self.ctx, samples)
        cut = [slice(size * at, size * (at + 1)) for at in range(len(places))]
        classes = self.ctx.grader.equivalence_classes([answers[here] for here in cut])
        for place, here, equal in zip(places, cut, classes, strict=True):
            tokens = sum(len(sample.tokens) for sample in samples[here])
            cut_off = sum(not sample.finished for sample in samples[here])
            found[place] = replace(
                found[place], answers=tuple(answers[here]), tokens=tokens, cut_off=cut_off, passed=same_majority(equal)
            )
        return found


def shares(outcome: Sequence[ParaphrasedQuestion]) -> dict[str, float]:
    """Of all questions, those whose paraphrase got past each check, in the order of the checks."""
    verdicts = [Verdict(row.verdict) for row in outcome]
    ranks = list(Verdict)
    past = {
        what: sum(ranks.index(verdict) > ranks.index(check) for verdict in verdicts) / len(verdicts)
        for what, check in (("parsed", Verdict.UNPARSED), ("kept_numbers", Verdict.NUMBERS), ("used", Verdict.MEANING))
    }
    words = ", ".join(f"{share:.1%} {what.replace('_', ' ')}" for what, share in past.items())
    _log.info("paraphrases of %d questions: %s", len(verdicts), words)
    return past
