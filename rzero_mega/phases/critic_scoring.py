"""Who scores answers: the domain itself, or a Critic that the gate lets, by the learner's forward pass or verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rzero_mega import spmd
from rzero_mega.activity import Activity
from rzero_mega.coevolution.critic_measures import LengthBias, sigmoid
from rzero_mega.coevolution.plan import Source
from rzero_mega.domains.domain import ScoredAnswers
from rzero_mega.learner.scorer import SequenceScorer
from rzero_mega.phases.budgets import longest_trained
from rzero_mega.phases.comparing import Comparer
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.place import Place
from rzero_mega.phases.scoring import DomainScorer, Scorer
from rzero_mega.tracking.critic import measured_critic
from rzero_mega.tracking.label_costs import LabelCost
from rzero_mega.weights.shape import read_shape


def scorer_of(
    ctx: RunContext,
    domain: ScoredAnswers,
    critic: Source | None,
    place: Place | None = None,
    journalled: ActivePhase | None = None,
) -> Scorer:
    """The Critic's, if there is one and its gate is open; else the domain's. For all ranks.

    A generative one writes its verdicts in the place, without one in the Challenger's, and into the journal of the
    phase if it is asked once in it, see `Comparer`.
    """
    own = DomainScorer(domain)
    if critic is None or not ctx.config.critic.weight:
        return own
    measured = spmd.on_rank_0(measured_critic, ctx.run, critic.iteration)
    if not measured.takes_part:
        return own
    name, model = f"{critic}@{ctx.hashes([critic])[str(critic)][:12]}", ctx.model(critic)
    says: Comparer | Sigmoids
    if ctx.config.critic.generative:
        says = Comparer(ctx, model, place or Place(ctx, "challenger"), journalled)
    else:
        says = Sigmoids(AnswerScorer(ctx, model), measured.length if ctx.config.critic.remove_length else None)
    return CriticScorer(says, own, name, ctx.config.critic.weight)


def scorer_facts(scorer: Scorer) -> dict[str, str]:
    """For a phase's summary: which Critic scored in it; nothing where the domain did."""
    return {} if scorer.name is None else {"scorer": scorer.name}


class CriticScorer:
    """What a Critic says of answers, or a mean of that and the domain's own score."""

    def __init__(self, says: Comparer | Sigmoids, domain: DomainScorer, name: str, weight: float) -> None:
        """`weight` is the Critic's share."""
        self._says, self._domain, self._weight = says, domain, weight
        self.name: str | None = name

    @property
    def cost(self) -> LabelCost | None:
        """See `Scorer`."""
        return self._says.cost

    def scores(self, given: Sequence[tuple[str, str | None]]) -> list[float]:
        """See `Scorer`."""
        found = iter(self._says.worth([(question, answer) for question, answer in given if answer is not None]))
        said = [0.0 if answer is None else next(found) for _, answer in given]
        if self._weight == 1.0:
            return said
        own = self._domain.scores(given)
        return [self._weight * his + (1.0 - self._weight) * its for his, its in zip(said, own, strict=True)]


class Sigmoids:
    """σ of a scalar Critic's scores, 0 of what it can't score."""

    cost = None

    def __init__(self, scorer: AnswerScorer, bias: LengthBias | None) -> None:
        """The `bias` is removed from scores, None leaves them as they are."""
        self._scorer, self._bias = scorer, bias

    def worth(self, answered: Sequence[tuple[str, str]]) -> list[float]:
        """Of each (question, answer). For all ranks."""
        scores = self._scorer.scores(answered)
        return [self._of(answer, score) for (_, answer), score in zip(answered, scores, strict=True)]

    def _of(self, answer: str, score: float | None) -> float:
        if score is None:
            return 0.0
        return sigmoid(score if self._bias is None else self._bias.removed(score, answer))


class AnswerScorer:
    """A Critic's scores of answers. Every rank makes the same calls."""

    def __init__(self, ctx: RunContext, folder: Path) -> None:
        """Load the Critic of the folder, into host memory; it is built where servers may have been."""
        self._ctx = ctx
        ctx.rest_servers()
        with ctx.stopwatch.timeline.measure(Activity.START_LEARNER):
            self._scorer = SequenceScorer(folder, ctx.layout, ctx.config.learner)
        self._tokens = AnswerTokens(ctx)

    def scores(self, answered: Sequence[tuple[str, str]]) -> list[float | None]:
        """Of each (question, answer), any number; None of what no micro-batch and no context holds."""
        tokens = [self._tokens.of(question, answer) for question, answer in answered]
        self._ctx.rest_servers()
        found = iter(self._scorer.score([one for one in tokens if len(one) <= self._tokens.most]))
        return [next(found) if len(one) <= self._tokens.most else None for one in tokens]


class AnswerTokens:
    """What a Critic reads: the Solver's prompt and the answer, at whose last token the score stands.

    There the base tells whether the answer goes on, for which it has to know what is missing. At the token that ends an
    answer it has learnt to tell nothing.
    """

    def __init__(self, ctx: RunContext) -> None:
        self._ctx = ctx
        self.budget = longest_trained(ctx.config)
        # The score takes the place of a token more.
        self.most = min(read_shape(ctx.base).max_positions, self.budget) - 1

    def of(self, question: str, answer: str) -> tuple[int, ...]:
        """Of a question and an answer to it."""
        return (*self._ctx.solver_prompt(question), *self._ctx.encoder.encode_said(answer))

    def fits(self, question: str, answer: str) -> bool:
        """Whether a Critic can score it."""
        return len(self.of(question, answer)) <= self.most
