"""Answers put to a generative Critic two by two, in both orders: in one queue over all servers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rzero_mega import spmd
from rzero_mega.coevolution.comparisons import Answered, TwoAnswers, Verdicts, comparisons, win_shares, won
from rzero_mega.config.schema import SamplingConfig
from rzero_mega.domains.domain import Comparison, ScoredAnswers
from rzero_mega.errors import UserError
from rzero_mega.evaluation.predictions import Response
from rzero_mega.phases.asking_queue import Ask, cost_of, journalled_responses, responses_to
from rzero_mega.phases.context import ActivePhase, InferenceContext, RunContext
from rzero_mega.phases.place import Place
from rzero_mega.phases.responses import read_by_problem
from rzero_mega.rollout.protocol import Request
from rzero_mega.tracking.label_costs import NO_COST

NAME = "critic/verdicts"
"""Stands in the journal where benchmarks have their names, of which none has a slash; names requests, too."""


def comparison_of(ctx: InferenceContext) -> Comparison:
    """The domain's; UserError where it has none."""
    answers = ctx.domain.answers
    found = answers.comparison if isinstance(answers, ScoredAnswers) else None
    if found is None:
        raise UserError(
            f"critic.form: domain {ctx.domain.name} does not say how a verdict on two answers is read (Comparison)"
        )
    return found


class Comparer:
    """A generative Critic that compares. Every rank makes the same calls.

    Its verdicts are greedy, so that the same comparisons have the same ones whenever they are asked. `cost` is that of
    all verdicts so far, on rank 0.
    """

    def __init__(self, ctx: RunContext, model: Path, place: Place, journalled: ActivePhase | None = None) -> None:
        """The Critic of the folder, which speaks in the place.

        What the journal of the phase holds is not asked again: one call of `verdicts` in it, of the same model whenever
        the phase is resumed. Without one a call is made again as a whole, as a step of training is.
        """
        self._ctx, self._model, self._place, self._journalled = ctx, model, place, journalled
        self._read, self.cost = comparison_of(ctx).read, NO_COST

    def verdicts(self, compared: Sequence[TwoAnswers]) -> list[Verdicts]:
        """Of each comparison; what no context holds can't be read. `Stopped` as `journalled_responses`."""
        if not compared:
            return []
        asks, began = self._asks(compared), time.monotonic()
        engine = self._place.engine(self._model)
        engine.prepare()
        loaded = time.monotonic()
        if self._journalled is None:
            responses = responses_to(self._ctx, engine, asks, None, None)
        else:
            responses = journalled_responses(self._ctx, self._journalled, engine, asks)
        self.cost += cost_of(responses, began, loaded)
        return spmd.on_rank_0(self._both, len(compared), responses)

    def worth(self, answered: Sequence[Answered]) -> list[float]:
        """What each answer wins of its comparisons with others to its question, see `coevolution.comparisons`."""
        compared = comparisons(answered, self._ctx.config.critic.comparing.opponents)
        return win_shares(answered, compared, list(map(won, self.verdicts(compared))))

    def _asks(self, compared: Sequence[TwoAnswers]) -> list[Ask]:
        longest = self._ctx.config.critic.comparing.max_new_tokens
        sampling, found = SamplingConfig(temperature=0.0, max_new_tokens=longest), list[Ask]()
        for number, pair in enumerate(compared):
            for order, answers in enumerate(pair.orders):
                prompt = self._ctx.critic_prompt(pair.question, *answers)
                request = Request(f"{NAME}/{number}", prompt, 1, sampling, order, logprobs=False)
                found.append(Ask(NAME, number, order, request))
        return found

    def _both(self, count: int, responses: Sequence[Response]) -> list[Verdicts]:
        read = read_by_problem(self._read, responses)
        return [(first, second) for first, second in (read[number] for number in range(count))]
