"""All that an evaluation asks, in one queue over all servers, and what comes of it kept as it comes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rzero_mega import spmd
from rzero_mega.config.steps import PERCENT
from rzero_mega.errors import UserError
from rzero_mega.evaluation.asking import asking
from rzero_mega.evaluation.benchmarks import Benchmark
from rzero_mega.evaluation.predictions import Response
from rzero_mega.evaluation.readings import reading_named
from rzero_mega.phases.context import ActivePhase, InferenceContext, RunContext
from rzero_mega.phases.drawing import fits
from rzero_mega.rollout.protocol import FinishReason, Request, RolloutEngine, Sample
from rzero_mega.run.journal import Journal
from rzero_mega.tracking.label_costs import LabelCost
from rzero_mega.tracking.progress import PhaseProgress

_log = logging.getLogger(__name__)

# Samples that are kept together. Of servers few, so that one long answer keeps few others from the journal; the
# embedded engine decodes a batch and refills its places from a second one.
UNIT_FOR_SERVERS = 8
BATCHES_PER_UNIT = 2

Place = tuple[str, int, int | None]


@dataclass(frozen=True)
class Ask:
    """One answer that is wanted: to which problem of which benchmark, greedily or as which sample, by which request."""

    benchmark: str
    problem: int
    sample: int | None
    request: Request

    @property
    def place(self) -> Place:
        """What tells it from the others."""
        return self.benchmark, self.problem, self.sample

    @property
    def work(self) -> int:
        """How much of the work it is, as far as anybody knows before: its longest answer."""
        return self.request.sampling.max_new_tokens


def asks_of(ctx: InferenceContext, context: int) -> list[Ask]:
    """Every answer that the benchmarks want, long ones first; warns of what the model's `context` cuts short.

    Those that are long are begun early, lest a few of them keep everything waiting at the end.
    """
    asks: list[Ask] = []
    for benchmark in ctx.benchmarks:
        how, reading = asking(benchmark, ctx.config.evaluation), reading_named(benchmark.reading, ctx.domain)
        prompts = [ctx.solver_prompt(reading.prompt(problem)) for problem in benchmark.problems]
        _warn(benchmark, prompts, how.sampling.max_new_tokens, context)
        # The same streams for every iteration: two models are compared on the same draws.
        keys = [f"{ctx.config.seed}/evaluate/{benchmark.name}/{i}" for i in range(len(prompts))]
        for problem, (key, prompt) in enumerate(zip(keys, prompts, strict=True)):
            for sample in range(how.samples):
                request = Request(key, prompt, 1, how.sampling, sample, logprobs=False)
                asks.append(Ask(benchmark.name, problem, sample, request))
        if how.greedy:
            for problem, (key, prompt) in enumerate(zip(keys, prompts, strict=True)):
                request = Request(key, prompt, 1, how.greedy_sampling, logprobs=False)
                asks.append(Ask(benchmark.name, problem, None, request))
    return sorted(asks, key=lambda ask: -ask.work)


def responses_to(
    ctx: InferenceContext,
    solver: RolloutEngine,
    asks: Sequence[Ask],
    journal: Journal | None,
    bar: PhaseProgress | None,
    asked_to_stop: Callable[[], bool] = lambda: False,
    then: Sequence[Ask] = (),
) -> list[Response]:
    """The response to every ask, on rank 0, in the order in which they came; nothing on the others.

    What `journal` holds is not asked again; rank 0 has one, and what comes is kept there. Once somebody has asked to
    stop, no more is drawn, and the responses are not all there. `then` is asked after the others and apart from them:
    what is drawn together may differ in last bits from what is not.
    """
    queues = [[ask for ask in queue if fits(ask.request.prompt_tokens, solver.context)] for queue in (asks, then)]
    possible = [ask for queue in queues for ask in queue]
    kept = spmd.kept_on_rank_0(_kept, journal) or []
    done = spmd.on_rank_0(lambda: {(response.benchmark, response.problem, response.sample) for response in kept})
    size = UNIT_FOR_SERVERS if ctx.server_pool is not None else BATCHES_PER_UNIT * ctx.config.rollout.batch_sequences
    # Cut before anything is left out: what is drawn together is the same after a kill.
    cut = [queue[start : start + size] for queue in queues for start in range(0, len(queue), size)]
    units = [left for unit in cut if (left := [ask for ask in unit if ask.place not in done])]
    intake = _Intake(ctx, units, journal, bar, asked_to_stop, possible, done)
    if units:
        solver.generate_units([[ask.request for ask in unit] for unit in units], intake.take)
    impossible = [ask for ask in (*asks, *then) if not fits(ask.request.prompt_tokens, solver.context)]
    unasked = [Response(*ask.place, "", 0, FinishReason.LENGTH.value) for ask in impossible]
    return [*kept, *intake.responses, *unasked]


def responses_kept_by(
    ctx: RunContext, phase: ActivePhase, engine: RolloutEngine, asks: Sequence[Ask]
) -> list[Response]:
    """As `journalled_responses`; then the engine closes."""
    found = journalled_responses(ctx, phase, engine, asks)
    engine.close()
    return found


def journalled_responses(
    ctx: RunContext, phase: ActivePhase, engine: RolloutEngine, asks: Sequence[Ask]
) -> list[Response]:
    """As `responses_to`, with the phase's journal, which may hold what others ask in the phase.

    `asks` are all of one name. `Stopped` is raised if somebody has asked for that and responses are missing.
    """
    journal = phase.directory.journal() if spmd.rank() == 0 else None
    responses = responses_to(ctx, engine, asks, journal, None, lambda: ctx.stop.requested)
    own = [response for response in responses if response.benchmark == asks[0].benchmark]
    if spmd.on_rank_0(len, own) < len(asks):
        ctx.stop_if_asked()
    return own


def cost_of(responses: Sequence[Response], began: float, loaded: float) -> LabelCost:
    """Of responses that have just come, whose model was sent for at `began` and there at `loaded` (`time.monotonic`).

    The seconds are those of this attempt, whatever a journal held.
    """
    tokens = sum(response.tokens for response in responses)
    return LabelCost(len(responses), tokens, time.monotonic() - loaded, loaded - began)


class _Intake:
    """Takes the samples of units on rank 0: into the journal, and onto the progress bar."""

    def __init__(
        self,
        ctx: InferenceContext,
        units: Sequence[Sequence[Ask]],
        journal: Journal | None,
        bar: PhaseProgress | None,
        asked_to_stop: Callable[[], bool],
        all_asks: Iterable[Ask],
        done: set[Place],
    ) -> None:
        self._ctx, self._units, self._journal, self._bar = ctx, units, journal, bar
        self._asked_to_stop = asked_to_stop
        works = {ask.place: ask.work for ask in all_asks}
        self._whole, self._before = sum(works.values()), sum(works[place] for place in done if place in works)
        self._done, self._shown, self._began = self._before, -1, time.monotonic()
        self.responses: list[Response] = []

    def take(self, number: int, samples: Sequence[Sample]) -> bool:
        """The samples of a unit; whether to go on."""
        unit, texts = self._units[number], self._ctx.texts(samples)
        responses = [
            Response(*ask.place, text, len(sample.tokens), sample.finish.value)
            for ask, text, sample in zip(unit, texts, samples, strict=True)
        ]
        work = sum(ask.work for ask in unit)
        if self._journal is not None:
            self._journal.append({"responses": [r.as_json() for r in responses]}, work, self._whole)
        self.responses += responses
        self._done += work
        self._show()
        return not self._asked_to_stop()

    def _show(self) -> None:
        percent = PERCENT * self._done // self._whole
        if self._bar is not None and percent > self._shown:
            spent, gained = time.monotonic() - self._began, self._done - self._before
            left = spent * (self._whole - self._done) / gained
            self._bar.advance(percent, left)
            self._shown = percent


def _kept(journal: Journal | None) -> list[Response]:
    if journal is None:
        return []
    try:
        found = [Response.from_json(response) for row in journal.rows() for response in row["responses"]]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{journal.path}: malformed ({error!r}); remove it to begin afresh") from None
    # A response that was kept twice counts once.
    return list({(response.benchmark, response.problem, response.sample): response for response in found}.values())


def _warn(benchmark: Benchmark, prompts: Sequence[Sequence[int]], limit: int, context: int) -> None:
    if spmd.rank() != 0:
        return
    unasked = sum(not fits(prompt, context) for prompt in prompts)
    if unasked:
        _log.warning(
            "%s: %d problems are too long for the context of %d tokens and count as not answered",
            benchmark.name,
            unasked,
            context,
        )
    if limit > context:
        _log.warning(
            "%s: answers of up to %d tokens are asked for, and the context of %d cuts them short",
            benchmark.name,
            limit,
            context,
        )
