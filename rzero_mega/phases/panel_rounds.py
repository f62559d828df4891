"""All that models are asked in a labels phase: votes by every source, and paraphrases for those that vote on them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from rzero_mega.coevolution.plan import LabelsInputs
from rzero_mega.coevolution.records import AnsweredQuestion, Answers, WrittenQuestion
from rzero_mega.config.panel import VoteSource, rounds_over_questions, vote_sources
from rzero_mega.config.steps import labels_parts, parts
from rzero_mega.domains.reexpression.form import Reexpress, as_it_stands
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.drawing import QuestionsAsked
from rzero_mega.phases.open_votes import decided_votes
from rzero_mega.phases.paraphrasing import CHECKING, WRITING, Paraphrasing
from rzero_mega.phases.rounds import Round, costs, run_rounds
from rzero_mega.phases.voting import ask_source, count_votes


class PanelRounds:
    """The rounds of a phase over its questions. All ranks make the same calls."""

    def __init__(
        self,
        ctx: RunContext,
        phase: ActivePhase,
        inputs: LabelsInputs,
        questions: Sequence[WrittenQuestion],
        replayed: Sequence[WrittenQuestion] = (),
    ) -> None:
        """Nothing is drawn yet. Parts of votes are numbered first, source by source; replayed questions come last."""
        self._ctx, self._phase, self._inputs, self.asked = ctx, phase, inputs, [*questions, *replayed]
        self._config = ctx.config.labels
        self._sources = vote_sources(self._config)
        self._cut = labels_parts(len(questions), len(replayed), self._config.questions_per_part)
        self._new_parts, per_round = len(parts(len(questions), self._config.questions_per_part)), len(self._cut)
        numbers = [range(n * per_round, (n + 1) * per_round) for n in range(rounds_over_questions(self._config))]
        self._votes, others = numbers[: len(self._sources)], numbers[len(self._sources) :]
        self.paraphrasing = Paraphrasing(ctx, phase, *others) if others else None
        self._counted: tuple[list[AnsweredQuestion], dict[str, dict[str, float]]] | None = None

    def draw(self) -> None:
        """Have everything drawn that is not there yet."""
        rounds = [self._round(source, numbers) for source, numbers in zip(self._sources, self._votes, strict=True)]
        if self.paraphrasing is not None and self._inputs.paraphrasers is not None:
            rounds = [*self.paraphrasing.rounds(self._inputs.paraphrasers), *rounds]
        run_rounds(self._ctx, self._phase, self.asked, rounds, self._cut, decided_votes(self._ctx, self._phase))

    def answers(self) -> list[list[Answers]]:
        """What every source has answered to each question that was asked. On rank 0 alone."""
        return [self._phase.directory.read_parts(Answers, numbers) for numbers in self._votes]

    def count(self) -> tuple[list[AnsweredQuestion], dict[str, dict[str, float]]]:
        """The vote on every question that was asked, and what every round took, by name. On rank 0 alone."""
        self._counted = self._counted or self._count()
        return self._counted

    def _count(self) -> tuple[list[AnsweredQuestion], dict[str, dict[str, float]]]:
        answers = self.answers()
        answered = count_votes(self._ctx, self.asked, self._sources, answers, self._config.votes.unanswered)
        found = {source.name: costs(own) for source, own in zip(self._sources, answers, strict=True)}
        if self.paraphrasing is not None:
            everything = range(len(self.paraphrasing.writing))
            found[WRITING] = costs(self.paraphrasing.written(everything))
            found[CHECKING] = costs(self.paraphrasing.checked(everything))
        return answered, found

    def _round(self, source: VoteSource, numbers: range) -> Round:
        after = (CHECKING,) if source.reexpressed and self.paraphrasing is not None else ()
        model = self._inputs.model(source.voter)
        return Round(source.name, numbers, "solver", model, partial(self._vote, source), after)

    def _vote(self, source: VoteSource, number: int, questions: Sequence[WrittenQuestion]) -> QuestionsAsked:
        # The first source's streams are those of a vote without a panel.
        names: tuple[str | int, ...] = (number,) if source == self._sources[0] else (source.name, number)
        if number >= self._new_parts:
            names = ("replay", source.name, number - self._new_parts)
        key, sampling = self._phase.seed_key(*names), self._config.votes.sampling
        return ask_source(self._ctx, questions, source, sampling, key, self._forms(source, number, questions))

    def _forms(self, source: VoteSource, number: int, questions: Sequence[WrittenQuestion]) -> Reexpress:
        if not source.reexpressed:
            return as_it_stands
        if self.paraphrasing is None:
            return self._ctx.domain.checkable.reexpress or as_it_stands
        return self.paraphrasing.forms(number, questions)
