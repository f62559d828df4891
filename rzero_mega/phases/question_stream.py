"""Questions that are answered one by one, as soon as each is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rzero_mega.coevolution.records import Answers, WrittenQuestion
from rzero_mega.config.schema import VotesConfig
from rzero_mega.phases.context import InferenceContext
from rzero_mega.phases.drawing import QuestionsAsked, fits, with_nothing
from rzero_mega.phases.responses import written_questions
from rzero_mega.phases.voting import ask_source, solver_alone
from rzero_mega.rollout.protocol import Request, Sample


class QuestionStream:
    """What the Solver is asked about the Challenger's responses, and what comes of it. On rank 0 alone.

    Random streams are named by a question's place among the responses: how many of those before it hold a question is
    not known when it is asked.
    """

    def __init__(
        self, ctx: InferenceContext, votes: VotesConfig, require_boxed: bool, solver_context: int, key: str
    ) -> None:
        """`key` names the random streams."""
        self._ctx, self._votes, self._require_boxed = ctx, votes, require_boxed
        self._context, self._key = solver_context, key
        self._source = solver_alone(votes)
        self._asked: dict[int, tuple[WrittenQuestion, QuestionsAsked]] = {}

    def follow(self, position: int, sample: Sample) -> Request | None:
        """The votes that are wanted on a response's question; None where it has none, or none that fits."""
        (question,) = written_questions(self._ctx, [sample], self._require_boxed)
        if question is None:
            return None
        asked = ask_source(self._ctx, [question], self._source, self._votes.sampling, f"{self._key}/{position}")
        self._asked[position] = question, asked
        (request,) = asked.requests
        return request if fits(request.prompt_tokens, self._context) else None

    def outcome(
        self, responses: int, votes: Mapping[int, Sequence[Sample]]
    ) -> tuple[list[WrittenQuestion | None], list[Answers]]:
        """The question of every response, None where there is none, and the answers to each, in their order."""
        found = {position: self._asked[position] for position in range(responses) if position in self._asked}
        answers = [
            of_one
            for position, (_, asked) in found.items()
            for of_one in asked.read(with_nothing(asked.requests, votes.get(position, ()), self._context))
        ]
        return [found[position][0] if position in found else None for position in range(responses)], answers
